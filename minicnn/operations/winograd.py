"""Convolution by minimal filtering (Winograd 1980; Lavin and Gray 2015, arXiv 1509.09308).

An m×m square of the output needs an (m+r-1)×(m+r-1) tile of the input. Taken as polynomials, they
can be multiplied by their values at m+r-1 points in place of their coefficients: one product for
each point. With tiles of 6×6, from the points 0, ±1, ±2 and ∞ in each direction, 2×2 outputs of a
5×5 filter take 36 products where they took 100, and 4×4 outputs of a 3×3 filter 36, not 144.

The price is accuracy: in float32 the error is about ten times that of im2col (`python -m
benchmarks.convolution` prints both), which training does not notice and gradient checks would.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of, host
from .convolution import Margins, nchw, nhwc, pad, pieces, sum_pixels, unpad

TILE = 6  # tiles are 6×6
POINTS = (0, 1, -1, 2, -2)  # and ∞: as many as a tile is long


@lru_cache
def matrices(r: int, dtype: str) -> tuple[Array, Array, Array]:
    """A (36, m²), G (36, r²) and B (36, 36) of y = Aᵀ[(G w) ⊙ (B x)], for an r×r filter; m = 7 - r.

    In one dimension let E_n (6, n) evaluate a polynomial of n coefficients at the points: its rows
    are (1, p, p², …), and (0, …, 0, 1) for ∞. A product of polynomials is E_6⁻¹[(E_r w) ⊙ (E_m y)].
    That is linear in y, and correlation is its transpose: E_mᵀ[(E_r w) ⊙ (E_6⁻ᵀ x)]. In two
    dimensions each matrix is the Kronecker product with itself.
    """
    xp = host.xp

    def evaluate(n: int) -> Array:
        rows = [[float(p) ** k for k in range(n)] for p in POINTS]
        return xp.array([*rows, [0.0] * (n - 1) + [1.0]])

    one_way = evaluate(TILE + 1 - r), evaluate(r), xp.linalg.inv(evaluate(TILE)).T
    a, g, b = (xp.kron(m, m).astype(dtype) for m in one_way)
    return a, g, b


_kept: dict[int, Array] | None = None
_lock = threading.Lock()


@contextmanager
def fixed_weights() -> Iterator[None]:
    """While weights stay as they are, transform each filter once, for all threads and pieces."""
    global _kept
    _kept = {}
    try:
        yield
    finally:
        _kept = None


def _transformed(w: Array, g: Array) -> Array:
    """U = G w for w (O, C, r, r): (36, C, O)."""
    with _lock:
        if _kept is not None and id(w) in _kept:
            return _kept[id(w)]
        o, c, r, _ = w.shape
        u = (g @ w.transpose(2, 3, 1, 0).reshape(r * r, c * o)).reshape(TILE * TILE, c, o)
        if _kept is not None:
            _kept[id(w)] = u
        return u


@operation
def conv2d(x: Array, w: Array, b: Array | None, margins: Margins) -> Any:
    """y = x ∗ w + b at stride 1, for x (N, C, H, W), w (O, C, r, r) with r 3 or 5, b (O,).

    For the M tiles of a few images, and the 36 products at a time as one stack of matrix products:

        V = B x     (36, M, C)       dV = dP Uᵀ       dx = Bᵀ dV
        U = G w     (36, C, O)       dU = Vᵀ dP       dw = Gᵀ dU
        P = V U     (36, M, O)       dP = A dy
        y = Aᵀ P    (m², M, O)
    """
    backend = backend_of(x)
    xp = backend.xp
    A, G, B = (backend.from_host(m) for m in matrices(w.shape[2], str(x.dtype)))
    U = _transformed(w, G)
    o, c, r, _ = w.shape
    x = nhwc(x)
    n, h, width, _ = x.shape
    m, points = TILE + 1 - r, TILE * TILE
    oh, ow = (size + sum(around) - r + 1 for size, around in zip((h, width), margins, strict=True))
    th, tw = -(-oh // m), -(-ow // m)  # tiles along each axis; the last ones may hang over
    over = th * m - oh, tw * m - ow
    (top, bottom), (left, right) = margins
    reach = (top, bottom + over[0]), (left, right + over[1])
    cut = list(pieces(n, th * tw * points * (c + o) * x.dtype.itemsize))

    def tiles(piece: slice) -> Array:  # V
        padded = pad(x[piece], reach)
        gathered = backend.gather_tiles(padded, TILE, m)  # (36, M·C)
        return (B @ gathered).reshape(points, -1, c)

    def products(g: Array) -> Array:  # dP
        g = pad(g, ((0, over[0]), (0, over[1])))
        squares = g.reshape(len(g), th, m, tw, m, o).transpose(2, 4, 0, 1, 3, 5)
        return (A @ squares.reshape(m * m, -1)).reshape(points, -1, o)

    y = xp.empty((n, oh, ow, o), x.dtype)
    for piece in cut:
        P = (tiles(piece) @ U).reshape(points, -1)
        squares = (A.T @ P).reshape(m, m, -1, th, tw, o).transpose(2, 3, 0, 4, 1, 5)
        y[piece] = squares.reshape(-1, th * m, tw * m, o)[:, :oh, :ow]
        if b is not None:
            y[piece] += b

    def vjp_x(g: Array) -> Array:
        g = nhwc(g)
        dx = xp.empty(x.shape, x.dtype)
        for piece in cut:
            dV = (products(g[piece]) @ U.transpose(0, 2, 1)).reshape(points, -1)
            inside = dx[piece]
            dpadded = xp.zeros((len(inside), th * m + r - 1, tw * m + r - 1, c), x.dtype)
            backend.scatter_tiles(B.T @ dV, dpadded, TILE, m)
            inside[...] = unpad(dpadded, reach)
        return nchw(dx)

    def vjp_w(g: Array) -> Array:
        g = nhwc(g)
        dU = xp.zeros((points, c, o), x.dtype)
        for piece in cut:
            dU += tiles(piece).transpose(0, 2, 1) @ products(g[piece])
        dw = (G.T @ dU.reshape(points, -1)).reshape(r, r, c, o)
        return nchw(xp.ascontiguousarray(dw.transpose(3, 0, 1, 2)))

    return nchw(y), vjp_x, vjp_w, sum_pixels
