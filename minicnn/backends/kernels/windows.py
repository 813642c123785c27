"""Windows over images: im2col, pooling, and their transposes.

n, a, b, k is an element of the image (N, H, W, C), or the pack of them that it is the k-th of its
pixel; p, q a window and u, v a place in it. Around the image lie zeros, `top` and `left` of the
first pixel: coordinates are unsigned, and those before the first wrap around to very large ones,
so that one comparison with h or w finds them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cupy as xp
import numpy as np

from ... import context
from ..protocol import Array
from ..windows import NO_PADS, Window
from .packs import PACK_BYTES, PackedKernel, contiguous, coordinates, pack_size

_SIZES = "I h, I w, I channels, I oh, I ow, I kh, I kw, I sh, I sw, I dh, I dw, I top, I left"


class WindowKernel(PackedKernel):
    """A kernel over the windows of images."""

    def __init__(self, name: str, inputs: str, outputs: str, body: str) -> None:
        super().__init__(name, f"{inputs}, {_SIZES}", outputs, body)

    def launch(
        self,
        window: Window,
        shape: Sequence[int],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        pack: int = 0,
    ) -> None:
        """Run it for images (N, H, W, C) of this shape, on contiguous arrays, and numbers.

        In packs of channels, if nothing else is said.
        """
        kernel, stride, dilation, ((top, _), (left, _)) = window
        _, h, w, c = shape
        pack = pack or pack_size(c, *(a for a in (*inputs, *outputs) if isinstance(a, xp.ndarray)))
        sizes = h, w, c, *window.output_size((h, w)), *kernel, *stride, *dilation, top, left
        self(*inputs, *sizes, *outputs, pack=pack, size=outputs[0].size // pack)


PIXEL = "((n * h + a) * w + b) * c + k"
_WINDOW = "(n * oh + p) * ow + q"
_PACKS = "const I c = channels / PACK;  // of a pixel"
_OUTPUT = f"{_PACKS}\n{coordinates('n p q k', 'oh ow c')}"
_ADD = "for (int l = 0; l < PACK; l++) sum.e[l] += e.e[l];"


def _taps(body: str) -> str:
    """`body` for all places of a window that lie on the image."""
    return f"""
    for (I u = 0; u < kh; u++) {{
        I a = p * sh + u * dh - top;
        if (a < h) for (I v = 0; v < kw; v++) {{
            I b = q * sw + v * dw - left;
            if (b < w) {{ {body} }}
        }}
    }}
    """


def _reaching(name: str, inputs: str, term: str) -> WindowKernel:
    """A kernel that adds up `term` over all windows that reach an element: a transpose.

    Window p along an axis reaches element a with its place u if p·stride + u·dilation = a + top, or
    left. So the first that can is the one whose last place does, and the last one begins there.
    """
    return WindowKernel(
        name,
        inputs,
        "raw T x",
        f"""
        {_PACKS}
        {coordinates("n a b k", "h w c")}
        a += top; b += left;
        I tall = (kh - 1) * dh, broad = (kw - 1) * dw;
        I p0 = a > tall ? (a - tall + sh - 1) / sh : 0, p1 = a / sh + 1 < oh ? a / sh + 1 : oh;
        I q0 = b > broad ? (b - broad + sw - 1) / sw : 0, q1 = b / sw + 1 < ow ? b / sw + 1 : ow;
        Pack sum = {{}};
        for (I p = p1; p-- > p0;) {{  // u ascends, as it does on the CPU
            I u = a - p * sh;
            if (dh > 1) {{ if (u % dh) continue; u /= dh; }}
            for (I q = q1; q-- > q0;) {{
                I v = b - q * sw;
                if (dw > 1) {{ if (v % dw) continue; v /= dw; }}
                {term}
            }}
        }}
        ((Pack *)&x[0])[i] = sum;
        """,
    )


_im2col = WindowKernel(
    "im2col",
    "raw T x",
    "raw T cols",
    f"""
    {_PACKS}
    {coordinates("n p q u v k", "oh ow kh kw c")}
    I a = p * sh + u * dh - top, b = q * sw + v * dw - left;
    Pack e = {{}};
    if (a < h && b < w) e = ((const Pack *)&x[0])[{PIXEL}];
    ((Pack *)&cols[0])[i] = e;
    """,
)
# Where the channels don't fill packs: rows of `length` elements, which end in zeros.
_im2col_ragged = WindowKernel(
    "im2col_ragged",
    "raw T x, I length",
    "raw T cols",
    f"""
    const I c = channels, packs = length / PACK;
    {coordinates("n p q j", "oh ow packs")}
    j *= PACK;
    I k = j % c, v = j / c % kw, u = j / c / kw;
    Pack e = {{}};
    for (int l = 0; l < PACK; l++) {{
        I a = p * sh + u * dh - top, b = q * sw + v * dw - left;
        if (u < kh && a < h && b < w) e.e[l] = x[{PIXEL}];
        if (++k == c) {{ k = 0; if (++v == kw) {{ v = 0; u++; }} }}
    }}
    ((Pack *)&cols[0])[i] = e;
    """,
)
_col2im = _reaching(
    "col2im",
    "raw T cols, I length",
    f"""
    Pack e = ((const Pack *)&cols[0])[({_WINDOW}) * (length / PACK) + (u * kw + v) * c + k];
    {_ADD}
    """,
)
_max_pool = WindowKernel(
    "max_pool",
    "raw T x, T least",
    "raw T y, raw P argmax",
    f"""
    {_OUTPUT}
    Pack best;
    Places at = {{}};
    bool none = true;  // so far
    for (int l = 0; l < PACK; l++) best.e[l] = least;  // where no place lies on the image
    """
    + _taps(f"""
        Pack e = ((const Pack *)&x[0])[{PIXEL}];
        for (int l = 0; l < PACK; l++) if (none || e.e[l] > best.e[l] || e.e[l] != e.e[l]) {{
            best.e[l] = e.e[l];
            at.e[l] = u * kw + v;
        }}
        none = false;
    """)
    + """
    ((Pack *)&y[0])[i] = best;
    ((Places *)&argmax[0])[i] = at;
    """,
)
_max_unpool = _reaching(
    "max_unpool",
    "raw T g, raw P argmax",
    f"""
    I at = ({_WINDOW}) * c + k;
    Places from = ((const Places *)&argmax[0])[at];
    Pack e = ((const Pack *)&g[0])[at];
    for (int l = 0; l < PACK; l++) if (from.e[l] == u * kw + v) sum.e[l] += e.e[l];
    """,
)
_sum_pool = WindowKernel(
    "sum_pool",
    "raw T x",
    "raw T y",
    f"{_OUTPUT} Pack sum = {{}};"
    + _taps(f"Pack e = ((const Pack *)&x[0])[{PIXEL}]; {_ADD}")
    + "((Pack *)&y[0])[i] = sum;",
)
_sum_unpool = _reaching(
    "sum_unpool", "raw T g", f"Pack e = ((const Pack *)&g[0])[({_WINDOW}) * c + k]; {_ADD}"
)


def im2col(x: Array, window: Window) -> Array:
    (x,), (n, h, w, c) = contiguous(x), x.shape
    k, pack = math.prod(window.kernel) * c, PACK_BYTES // x.itemsize
    length = -(-k // pack) * pack  # so that rows begin at multiples of 16 bytes
    # In TF32 all columns are multiplied, as the tensor cores' faster kernels want such rows, the
    # filters' too: conv1 of `article`, with 121 columns, takes 0.54 of the time. In float32 it
    # takes the same.
    columns = length if context.current().tf32 and x.dtype == np.float32 else k
    if window.kernel == (h, w) and window.pads == NO_PADS and columns == k:
        return x.reshape(n, k)
    cols = xp.empty((n * math.prod(window.output_size((h, w))), length), x.dtype)
    if c % pack == 0:
        _im2col.launch(window, x.shape, [x], [cols])
    else:
        _im2col_ragged.launch(window, x.shape, [x, length], [cols], pack_size(length, cols))
    return cols[:, :columns]


def col2im(cols: Array, window: Window, out: Array) -> None:
    (cols,) = contiguous(cols)
    _col2im.launch(window, out.shape, [cols, cols.shape[1]], [out])


def _pooled(x: Array, window: Window, dtype: Any) -> Array:
    """Room for a number for each window and channel: (N, H', W', C)."""
    return xp.empty((len(x), *window.output_size(x.shape[1:3]), x.shape[3]), dtype)


def max_pool(x: Array, window: Window) -> tuple[Array, Array]:
    (x,), places = contiguous(x), np.min_scalar_type(math.prod(window.kernel) - 1)
    y, argmax = _pooled(x, window, x.dtype), _pooled(x, window, places)
    _max_pool.launch(window, x.shape, [x, -np.inf], [y, argmax])
    return y, argmax


def max_unpool(g: Array, argmax: Array, shape: Sequence[int], window: Window) -> Array:
    x = xp.empty(shape, g.dtype)
    _max_unpool.launch(window, shape, contiguous(g, argmax), [x])
    return x


def sum_pool(x: Array, window: Window) -> Array:
    y = _pooled(x, window, x.dtype)
    _sum_pool.launch(window, x.shape, contiguous(x), [y])
    return y


def sum_unpool(g: Array, shape: Sequence[int], window: Window) -> Array:
    x = xp.empty(shape, g.dtype)
    _sum_unpool.launch(window, shape, contiguous(g), [x])
    return x
