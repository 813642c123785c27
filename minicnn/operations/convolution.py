"""Convolution as a matrix product (Chellapilla, Puri and Simard 2006, section 4).

The windows of the image are unrolled into the rows of a matrix and the filters into another, so
that one product does all the work: im2col. Images are channels-last inside; see docs/layout.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import iadd
from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of

Pair = tuple[int, int]
Margins = tuple[Pair, Pair]  # ((top, bottom), (left, right)); of zeros, around the image


def nhwc(x: Array) -> Array:
    """x (N, C, H, W) as a contiguous (N, H, W, C) array: no copy if its memory has that order."""
    return backend_of(x).xp.ascontiguousarray(x.transpose(0, 2, 3, 1))


def nchw(x: Array) -> Array:
    """x (N, H, W, C) seen as (N, C, H, W): never a copy."""
    return x.transpose(0, 3, 1, 2)


def inside(out: Array | None) -> Array | None:
    """out (N, C, H, W), if given, as a contiguous (N, H, W, C) to write into, if it is one."""
    y = None if out is None else out.transpose(0, 2, 3, 1)
    return y if y is not None and y.flags.c_contiguous else None


def _rows(x: Array) -> Array:
    """The pixels of x (N, H, W, C) as rows, (N·H·W, C): a view."""
    return x.reshape(math.prod(x.shape[:3]), x.shape[3])


def total(work: Callable[[slice], Array], cut: Sequence[slice], backend: Any) -> Array:
    """The sum of work(piece) over all pieces, always in the same order."""
    return reduce(iadd, backend.share(lambda run: reduce(iadd, map(work, run)), cut))


@operation
def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair,
    margins: Margins,
    dilation: Pair,
) -> Any:
    """y = x ∗ w + b, for x (N, C, H, W), w (O, C, kh, kw), b (O,): y (N, O, H', W').

    With the windows of x as rows, (N·H'·W', kh·kw·C), and the filters as rows, (O, kh·kw·C):

        y = cols · filtersᵀ + b      d cols = g · filters      d filters = gᵀ · cols

    A 1×1 convolution at stride 1 needs no unrolling: the pixels of x are the rows already.

    The unrolled matrix is kh·kw times as large as the image, so it is made for a few images at a
    time and never kept: unrolling again for the backward pass costs less than memory does.
    """
    backend = backend_of(x)
    xp, times = backend.xp, backend.matmul
    x = nhwc(x)
    (n, h, width, c), dtype = x.shape, x.dtype
    o, kh, kw = w.shape[0], w.shape[2], w.shape[3]
    window = ((kh, kw), stride, dilation, margins)
    oh, ow = backend.output_size((h, width), *window)
    pixels = kh == kw == 1 == stride[0] == stride[1] and not any(map(any, margins))
    k = kh * kw * c
    filters = nhwc(w).reshape(o, k)
    columns = k if pixels else backend.factor_columns(k, dtype)
    if columns > k:  # filters are windows, too: of themselves
        filters = backend.im2col(nhwc(w), ((kh, kw), (1, 1), (1, 1), ((0, 0), (0, 0))))
    cut = backend.pieces(n, oh * ow * filters[:1].nbytes)
    y = xp.empty((n, oh, ow, o), dtype)

    def cols(piece: slice) -> Array:
        if pixels:
            return _rows(x[piece])
        return backend.im2col(x[piece], window)[:, :columns]

    def forward(run: Sequence[slice]) -> None:
        for piece in run:
            backend.affine(cols(piece), filters, b, _rows(y[piece]))

    backend.share(forward, cut)

    def vjp_x(g: Array) -> Array:
        g = nhwc(g)
        dx = xp.empty((n, h, width, c), dtype)

        def backward(run: Sequence[slice]) -> None:
            for piece in run:
                rows = _rows(g[piece])
                if pixels:
                    times(rows, filters, out=_rows(dx[piece]))
                else:
                    backend.col2im(times(rows, filters), window, dx[piece])

        backend.share(backward, cut)
        return nchw(dx)

    def vjp_w(g: Array, *, out: Array | None = None) -> Array:
        g, home = nhwc(g), inside(out) if columns == k else None
        first = None if home is None else home.reshape(o, k)

        def work(piece: slice) -> Array:
            rows = _rows(g[piece])
            return times(rows.T, cols(piece), out=first if piece is cut[0] else None)

        dfilters = total(work, cut, backend)
        return nchw(dfilters[:, :k].reshape(o, kh, kw, c)) if first is None else out

    def vjp_b(g: Array, *, out: Array | None = None) -> Any:
        return backend.sum_pixels(nhwc(g), out)

    return nchw(y), vjp_x, vjp_w, vjp_b
