"""Pooling over windows, and over regions that divide the map (adaptive pooling)."""

from __future__ import annotations

from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of
from .convolution import Margins, Pair, nchw, nhwc, pad, unpad


@operation
def max_pool2d(x: Array, kernel: Pair, stride: Pair, margins: Margins, dilation: Pair) -> Any:
    """The maximum of each window of x (N, C, H, W). Its gradient goes to the first maximum.

    Margins count as -inf. Only the place of each maximum is kept for the backward pass, one byte.
    """
    backend = backend_of(x)
    padded = pad(nhwc(x), margins, -backend.xp.inf)
    shape = padded.shape
    y, place = backend.max_pool(padded, kernel, stride, dilation)

    def vjp(g: Array) -> Array:
        dx = backend.max_unpool(nhwc(g), place, shape, kernel, stride, dilation)
        return nchw(unpad(dx, margins))

    return nchw(y), vjp


@operation
def avg_pool2d(x: Array, kernel: Pair, stride: Pair, margins: Margins, share: Array) -> Any:
    """The sum of each window of x (N, C, H, W) times `share` (H', W'), 1 / its size."""
    backend = backend_of(x)
    padded = pad(nhwc(x), margins)
    shape = padded.shape
    share = share[:, :, None]  # (H', W', 1)

    def vjp(g: Array) -> Array:
        dx = backend.sum_unpool(nhwc(g) * share, shape, kernel, stride)
        return nchw(unpad(dx, margins))

    return nchw(backend.sum_pool(padded, kernel, stride) * share), vjp


@operation
def adaptive_avg_pool2d(x: Array, rows: Array, columns: Array) -> Any:
    """rows · x · columnsᵀ for each map of x (N, C, H, W): averages over an H'×W' grid of regions.

    `rows` (H', H) and `columns` (W', W) hold 1/length where a region reaches and 0 elsewhere, so
    the mean over a region is two matrix products; the gradient takes both transposed.
    """
    return (
        nchw(_along_axes(nhwc(x), rows, columns)),
        lambda g: nchw(_along_axes(nhwc(g), rows.T, columns.T)),
    )


def _along_axes(x: Array, rows: Array, columns: Array) -> Array:
    """Σ_hw rows[i, h] · columns[j, w] · x[n, h, w, c], as x is laid out: (N, I, J, C)."""
    times = backend_of(x).matmul
    n, h, w, c = x.shape
    y = times(rows, x.reshape(n, h, w * c))  # (N, I, W·C)
    return times(columns, y.reshape(n, len(rows), w, c))  # (N, I, J, C)
