"""Convolution as a matrix product (Chellapilla, Puri and Simard 2006, section 4).

The windows of the image are unrolled into the rows of a matrix and the filters into another, so
that one product does all the work: im2col. Images are channels-last inside; see docs/layout.md.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of
from ..backends.windows import Window

PIXELS = Window((1, 1))


def nhwc(x: Array) -> Array:
    """x (N, C, H, W) as a contiguous (N, H, W, C) array: no copy if its memory has that order."""
    y = x.transpose(0, 2, 3, 1)
    return y if y.flags.c_contiguous else y.copy()


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


@operation
def conv2d(x: Array, w: Array, b: Array | None, window: Window) -> Any:
    """y = x ∗ w + b, for x (N, C, H, W), w (O, C, kh, kw), b (O,): y (N, O, H', W').

    With the windows of x as rows, (N·H'·W', kh·kw·C), and the filters as rows, (O, kh·kw·C):

        y = cols · filtersᵀ + b      d cols = g · filters      d filters = gᵀ · cols

    A 1×1 convolution at stride 1 needs no unrolling: the pixels of x are the rows already.

    The unrolled matrix is kh·kw times as large as the image, so it is made for a few images at a
    time and never kept: unrolling again for the backward pass costs less than memory does.
    """
    backend = backend_of(x)
    matmul = backend.matmul
    x = nhwc(x)
    (n, h, width, c), dtype = x.shape, x.dtype
    o, (kh, kw) = len(w), window.kernel
    oh, ow = window.output_size((h, width))
    pixels = window == PIXELS
    k = kh * kw * c
    filters = nhwc(w).reshape(o, k) if pixels else backend.im2col(nhwc(w), Window(window.kernel))
    columns = filters.shape[1]  # k, and any that im2col has filled up with zeros
    chunks = backend.chunks(n, oh * ow * filters[:1].nbytes)
    y = backend.xp.empty((n, oh, ow, o), dtype)

    def cols(chunk: slice) -> Array:  # (rows, k)
        return _rows(x[chunk]) if pixels else backend.im2col(x[chunk], window)[:, :columns]

    def forward(chunk: slice) -> None:
        matmul(cols(chunk), filters.T, _rows(y[chunk]), b)

    backend.for_chunks(forward, chunks)

    def vjp_x(g: Array) -> Array:
        g = nhwc(g)
        dx = backend.xp.empty((n, h, width, c), dtype)

        def backward(chunk: slice) -> None:
            rows = _rows(g[chunk])
            if pixels:
                matmul(rows, filters, out=_rows(dx[chunk]))
            else:
                backend.col2im(matmul(rows, filters), window, dx[chunk])

        backend.for_chunks(backward, chunks)
        return nchw(dx)

    def vjp_w(g: Array, *, out: Array | None = None) -> Array:
        g, home = nhwc(g), inside(out) if columns == k else None
        first = None if home is None else home.reshape(o, k)

        def product(chunk: slice) -> Array:
            into = first if chunk is chunks[0] else None
            return matmul(_rows(g[chunk]).T, cols(chunk), out=into)

        dfilters = backend.sum_chunks(product, chunks)
        return nchw(dfilters[:, :k].reshape(o, kh, kw, c)) if first is None else out

    return nchw(y), vjp_x, vjp_w, vjp_bias


def vjp_bias(g: Array, *, out: Array | None = None) -> Any:
    """The gradient of a bias (O,) that was added to y (N, O, H, W)."""
    return backend_of(g).sum_pixels(nhwc(g), out)
