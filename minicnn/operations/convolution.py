"""Convolution as a matrix product (Chellapilla, Puri and Simard 2006, section 4).

The windows of the image are unrolled into the rows of a matrix and the filters into another, so
that one product does all the work: im2col. Images are channels-last inside; see docs/layout.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import iadd
from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of

Pair = tuple[int, int]
Margins = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def nhwc(x: Array) -> Array:
    """x (N, C, H, W) as a contiguous (N, H, W, C) array: no copy if its memory has that order."""
    return backend_of(x).xp.ascontiguousarray(x.transpose(0, 2, 3, 1))


def nchw(x: Array) -> Array:
    """x (N, H, W, C) seen as (N, C, H, W): never a copy."""
    return x.transpose(0, 3, 1, 2)


def pad(x: Array, margins: Margins, value: float = 0) -> Array:
    """x (N, H, W, C) with margins of `value` around H and W; x itself where they're all 0."""
    (top, bottom), (left, right) = margins
    if not (top or bottom or left or right):
        return x
    n, h, w, c = x.shape
    shape = (n, h + top + bottom, w + left + right, c)
    xp = backend_of(x).xp
    y = xp.full(shape, value, x.dtype) if value else xp.zeros(shape, x.dtype)
    y[:, top : top + h, left : left + w] = x
    return y


def unpad(y: Array, margins: Margins) -> Array:
    """The inside of y (N, H, W, C), without its margins: a view."""
    (top, bottom), (left, right) = margins
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]


def total(work: Callable[[slice], Array], cut: Sequence[slice], backend: Any) -> Array:
    """The sum of work(piece) over all pieces, always in the same order."""
    return reduce(iadd, backend.share(lambda run: reduce(iadd, map(work, run)), cut))


def sum_pixels(g: Array) -> Array:
    """The sum of g (N, H', W', O) over images and pixels, (O,): the gradient of a bias.

    Row by row, as a product with ones: BLAS is up to 6 times as fast as .sum here, and short sums
    lose fewer digits than a long one.
    """
    backend = backend_of(g)
    times = backend.matmul
    h_ones, w_ones = (backend.xp.ones(size, g.dtype) for size in g.shape[1:3])

    def work(piece: slice) -> Array:
        return times(h_ones, times(w_ones, g[piece])).sum(axis=0)  # over (n, H', O)

    return total(work, backend.pieces(len(g), g[:1].nbytes), backend)


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
    filters = nhwc(w).reshape(o, kh * kw * c)
    window = ((kh, kw), stride, dilation)
    padded = (h + sum(margins[0]), width + sum(margins[1]))
    oh, ow = backend.output_size(padded, *window)
    cut = backend.pieces(n, oh * ow * filters[:1].nbytes)
    y = xp.empty((n, oh, ow, o), dtype)

    def cols(piece: slice) -> Array:
        return backend.im2col(pad(x[piece], margins), *window)

    def forward(run: Sequence[slice]) -> None:
        for piece in run:
            rows = y[piece].reshape(-1, o)
            times(cols(piece), filters.T, out=rows)
            if b is not None:
                rows += b

    backend.share(forward, cut)

    def vjp_x(g: Array) -> Array:
        g = nhwc(g)
        dx = xp.empty((n, h, width, c), dtype)

        def backward(run: Sequence[slice]) -> None:
            for piece in run:
                dcols = times(g[piece].reshape(-1, o), filters)
                shape = (len(g[piece]), *padded, c)
                dx[piece] = unpad(backend.col2im(dcols, shape, *window), margins)

        backend.share(backward, cut)
        return nchw(dx)

    def vjp_w(g: Array) -> Array:
        g = nhwc(g)

        def work(piece: slice) -> Array:
            return times(g[piece].reshape(-1, o).T, cols(piece))

        dfilters = total(work, cut, backend)
        return nchw(dfilters.reshape(o, kh, kw, c))

    return nchw(y), vjp_x, vjp_w, lambda g: sum_pixels(nhwc(g))
