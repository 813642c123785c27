"""Pooling over windows, and over regions that divide the map (adaptive pooling)."""

from __future__ import annotations

from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of
from ..backends.windows import Pair, Window
from .convolution import nchw, nhwc

Regions = list[Pair]  # where each begins and ends along an axis


@operation
def max_pool2d(x: Array, window: Window) -> Any:
    """The maximum of each window of x (N, C, H, W). Its gradient goes to the first maximum.

    Padding never wins. Only the place of each maximum is kept for the backward pass, one byte for
    up to 256 places.
    """
    backend = backend_of(x)
    x = nhwc(x)
    shape = x.shape
    y, argmax = backend.max_pool(x, window)
    return nchw(y), lambda g: nchw(backend.max_unpool(nhwc(g), argmax, shape, window))


@operation
def avg_pool2d(x: Array, window: Window, scale: Array) -> Any:
    """The sum of each window of x (N, C, H, W) times `scale` (H', W', 1), 1 / its size."""
    backend = backend_of(x)
    x = nhwc(x)
    shape = x.shape
    y = backend.sum_pool(x, window) * scale
    return nchw(y), lambda g: nchw(backend.sum_unpool(nhwc(g) * scale, shape, window))


@operation
def global_avg_pool2d(x: Array) -> Any:
    """The mean of each map of x (N, C, H, W): (N, C, 1, 1).

    Its gradient is spread at once, in the order in which x lies: the convolution before it reads it
    three times.
    """
    x = nhwc(x)
    xp, shape = backend_of(x).xp, x.shape
    pixels = x.dtype.type(shape[1] * shape[2])

    def vjp(g: Array) -> Array:
        dx = xp.empty(shape, g.dtype)
        xp.divide(nhwc(g), pixels, out=dx)
        return nchw(dx)

    return nchw(x.mean(axis=(1, 2), keepdims=True)), vjp


@operation
def adaptive_avg_pool2d(x: Array, rows: Regions, columns: Regions) -> Any:
    """The mean of each region of an H'×W' grid over the maps of x (N, C, H, W).

    `rows` holds the first row of each region and the one after its last, `columns` the same. The
    mean over a region is the mean over columns of the means over rows. They are sums, and no
    product with a matrix of 1/length and 0, since 0 · ∞ would carry an infinity everywhere.
    """
    x = nhwc(x)
    xp, (_, h, w, _) = backend_of(x).xp, x.shape
    y = _means(xp, _means(xp, x, rows, 1), columns, 2)
    return nchw(y), lambda g: nchw(_spread(xp, _spread(xp, nhwc(g), columns, 2, w), rows, 1, h))


def _part(axis: int, start: int, end: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, end),)


def _means(xp: Any, x: Array, regions: Regions, axis: int) -> Array:
    """x with, along an axis, the mean of each region."""
    means = [x[_part(axis, *r)].sum(axis=axis, keepdims=True) / (r[1] - r[0]) for r in regions]
    shape = (*x.shape[:axis], 0, *x.shape[axis + 1 :])
    return xp.concatenate(means, axis=axis) if means else xp.zeros(shape, x.dtype)


def _spread(xp: Any, g: Array, regions: Regions, axis: int, length: int) -> Array:
    """The transpose of _means: each element shared out over its region, as long as x was."""
    dx = xp.zeros((*g.shape[:axis], length, *g.shape[axis + 1 :]), g.dtype)
    for i, (start, end) in enumerate(regions):
        dx[_part(axis, start, end)] += g[_part(axis, i, i + 1)] / (end - start)
    return dx
