"""Winograd's transforms Y = m X mᵀ of small matrices, one for each tile and channel.

A thread has a tile of one channel in registers: X comes from the image, or Y goes to it, without a
copy of all tiles in between, and m is written into the kernel. The letters are those of windows.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import cupy as xp

from ... import context
from ..protocol import Array
from ..windows import Pair
from .packs import PackedKernel, contiguous, coordinates
from .windows import PIXEL

# Of float32 products and of memory, each second, and seconds for one more kernel: an H100's.
FLOPS, BYTES, KERNEL = 4e13, 2.4e12, 3e-6

Matrix = tuple[tuple[float, ...], ...]

_TILE = coordinates("n p q k", "th tw c")


def _along_both(m: Matrix) -> str:
    """C for Y = m X mᵀ: the columns of X first, then the rows of what that gives."""

    def times(row: tuple[float, ...], x: str) -> str:
        terms = [f"T({c!r}) * {x.format(i)}" for i, c in enumerate(row) if c]
        return " + ".join(terms).replace("T(1.0) * ", "").replace("T(-1.0) * ", "-") or "T(0)"

    j, k = len(m), len(m[0])
    half = [f"Z[{r}][{v}] = {times(m[r], f'X[{{}}][{v}]')};" for v in range(k) for r in range(j)]
    whole = [f"Y[{r}][{s}] = {times(m[s], f'Z[{r}][{{}}]')};" for r in range(j) for s in range(j)]
    return "\n".join([f"T Z[{j}][{k}], Y[{j}][{j}];", *half, *whole])


@cache
def _gather_tiles(m: Matrix) -> PackedKernel:
    """tiles[·, i] = m X mᵀ for the i-th tile and channel, X its square of the image."""
    j, k = len(m), len(m[0])
    return PackedKernel(
        "gather_tiles",
        "raw T x, I h, I w, I c, I th, I tw, I step, int32 top, int32 left",
        "raw T tiles",
        f"""
        {_TILE}
        T X[{k}][{k}];
        #pragma unroll
        for (int u = 0; u < {k}; u++) {{
            I a = p * step + u - (I)top;
            #pragma unroll
            for (int v = 0; v < {k}; v++) {{
                I b = q * step + v - (I)left;
                X[u][v] = a < h && b < w ? x[{PIXEL}] : T(0);
            }}
        }}
        {_along_both(m)}
        #pragma unroll
        for (int r = 0; r < {j * j}; r++) tiles[r * _ind.size() + i] = Y[r / {j}][r % {j}];
        """,
    )


@cache
def _scatter_tiles(m: Matrix, bias: bool) -> PackedKernel:
    """The square of y for the i-th tile and channel: m X mᵀ, X = tiles[·, i], and a bias."""
    j, k = len(m), len(m[0])
    return PackedKernel(
        "scatter_tiles",
        f"raw T tiles, {'raw T bias, ' if bias else ''}I h, I w, I c, I th, I tw",
        "raw T y",
        f"""
        {_TILE}
        T X[{k}][{k}];
        #pragma unroll
        for (int r = 0; r < {k * k}; r++) X[r / {k}][r % {k}] = tiles[r * _ind.size() + i];
        {_along_both(m)}
        #pragma unroll
        for (int u = 0; u < {j}; u++) {{
            I a = p * {j} + u;
            #pragma unroll
            for (int v = 0; v < {j}; v++) {{
                I b = q * {j} + v;
                if (a < h && b < w) y[{PIXEL}] = Y[u][v]{" + bias[k]" if bias else ""};
            }}
        }}
        """,
    )


def gather_tiles(m: Any, x: Array, step: int, first: Pair, grid: Pair) -> Array:
    (x,), (n, h, w, c) = contiguous(x), x.shape
    tiles = xp.empty((len(m) ** 2, n * math.prod(grid) * c), x.dtype)
    kernel = _gather_tiles(_as_tuples(m))
    kernel(x, h, w, c, *grid, step, *first, tiles, size=tiles.shape[1])
    return tiles


def scatter_tiles(m: Any, tiles: Array, out: Array, bias: Array | None = None) -> None:
    (_, h, w, c), j = out.shape, len(m)
    given = contiguous(tiles) if bias is None else contiguous(tiles, bias)
    kernel = _scatter_tiles(_as_tuples(m), bias is not None)
    y = xp.ascontiguousarray(out)
    size = tiles.size // len(m[0]) ** 2
    kernel(*given, h, w, c, -(-h // j), -(-w // j), y, size=size)
    if y is not out:
        out[...] = y


def _as_tuples(m: Any) -> Matrix:
    return tuple(map(tuple, m.tolist()))


def filtering_gains(images: Sequence[int], filters: Sequence[int], pixels: Pair) -> bool:
    # Counted are the multiplications, and the bytes that are written and read again on the way,
    # forward.
    if context.current().tf32:  # products cost little, and the transforms enlarge their errors
        return False
    (n, c, *_), (o, _, r, _) = images, filters
    area, tiles = math.prod(pixels), math.prod(-(-size // 4) for size in pixels)
    places = (r + 3) ** 2
    unrolled = n * area * r * r * c
    tiled = n * tiles * places
    seconds_im2col = 2 * unrolled * o / FLOPS + 8 * unrolled / BYTES
    seconds = 2 * tiled * c * o / FLOPS + (8 * tiled * (c + o) + 8 * places * c * o) / BYTES
    return seconds + 3 * KERNEL < seconds_im2col
