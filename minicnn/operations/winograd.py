"""Convolution by minimal filtering (Winograd 1980; Lavin and Gray 2015, arXiv 1509.09308).

A 4×4 square of the output of an r×r filter needs a t×t tile of the input, t = r+3. Taken as
polynomials, they can be multiplied by their values at t points in place of their coefficients: one
product for each point. So for r = 3, with the points 0, ±1, ±2 and ∞ in each direction, 36 products
do where there were 144, and for r = 5, with ±1/2 as well, 64 in place of 400.

The price is accuracy: in float32 the error is about 20 times that of im2col (`python -m
benchmarks.convolution` prints both), which training does not notice and gradient checks would. And
numbers that are not finite spread: an output is a difference of products, so one infinity or NaN in
the input makes NaN of all 4×4 outputs of each tile that it lies in, where im2col has it in those
alone whose window it lies in.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

from .. import context
from ..autograd import operation
from ..backends import Array, Backend, backend_of, host
from ..backends.windows import Pair, Window
from ..versions import Version, version
from .convolution import inside, nchw, nhwc, vjp_bias

STEP = 4  # each tile yields 4×4 outputs. 2×2 from 6×6 tiles takes 1.4 times as long where r = 5
COLUMNS = 64  # of a product that are made at a time, where it is used up in the cache
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)  # the first t - 1 of these, and ∞


@cache
def matrices(r: int, dtype: str) -> tuple[Array, Array, Array]:
    """A (t, 4), G (t, r) and B (t, t) of y = Aᵀ[(G w) ⊙ (B x)], for filters of length r; t = r + 3.

    Let E_n (t, n) evaluate a polynomial of n coefficients at the points: its rows are
    (1, p, p², …), and (0, …, 0, 1) for ∞. A product of polynomials is E_t⁻¹[(E_r w) ⊙ (E_4 y)].
    That is linear in y, and correlation is its transpose: E_4ᵀ[(E_r w) ⊙ (E_t⁻ᵀ x)].
    """
    xp, t = host.xp, STEP + r - 1

    def evaluate(n: int) -> Array:
        rows = [[float(p) ** k for k in range(n)] for p in POINTS[: t - 1]]
        return xp.array([*rows, [0.0] * (n - 1) + [1.0]])

    a, g, b = evaluate(STEP), evaluate(r), xp.linalg.inv(evaluate(t)).T
    return a.astype(dtype), g.astype(dtype), b.astype(dtype)


class FixedFilters:
    """Filters that stay as they are for a while: each is transformed once, for all that use it.

    It is in force where `context.using(fixed_filters=…)` says so. Any other filter, such as one
    that a layer computes on its way, is transformed each time.
    """

    def __init__(self, filters: Iterable[Array]) -> None:
        self._filters = {id(w): w for w in filters}  # held, so that no other array has such an id
        self._transformed: dict[tuple[int, Version, bool], Array] = {}
        self._lock = threading.Lock()

    def transformed(self, w: Array, turned: bool) -> Array:
        """What `transform` returns; again if w was changed in place since."""
        if self._filters.get(id(w)) is not w:
            return transform(w, turned)
        key = id(w), version(w), turned
        with self._lock:
            if key not in self._transformed:
                self._transformed[key] = transform(w, turned)
            return self._transformed[key]


def transform(w: Array, turned: bool) -> Array:
    """U = G w Gᵀ for w (O, C, r, r): (t², C, O); or of w turned by 180°, (t², O, C)."""
    o, c, r, _ = w.shape
    backend, (_, G, _) = backend_of(w), matrices(r, str(w.dtype))
    if not turned and not backend.costly_launches:  # products with this are faster than with views
        places = w.transpose(1, 2, 3, 0)  # (C, r, r, O)
        return backend.gather_tiles(G, places, r, (0, 0), (1, 1)).reshape(-1, c, o)
    U = backend.gather_tiles(G[:, ::-1] if turned else G, nhwc(w), r, (0, 0), (1, 1))
    return U.reshape(-1, o, c) if turned else U.reshape(-1, o, c).swapaxes(1, 2)


def grid(size: Pair) -> Pair:
    """The tiles along each axis; the last ones may hang over."""
    return -(-size[0] // STEP), -(-size[1] // STEP)


def columns(backend: Backend, count: int) -> list[slice]:
    """Cut the columns of a product into parts, at least one."""
    most = max(count, 1) if backend.costly_launches else COLUMNS
    return [slice(i, min(i + most, count)) for i in range(0, max(count, 1), most)]


def cut(backend: Backend, x: Array, B: Array, to: int, tiles: Pair) -> list[slice]:
    """Cut a batch x (N, H, W, C) into chunks, for products of its tiles with (C, to)."""
    # all of V or dP, some columns of a product with it, and as much again on the way to both
    channels = x.shape[3] + columns(backend, to)[0].stop
    return backend.chunks(len(x), 2 * math.prod(tiles) * B.size * channels * x.itemsize)


def gathered(m: Array, x: Array, first: Pair, tiles: Pair) -> Array:
    """m X mᵀ for all tiles X of x (N, H, W, C), of which the first begins at -first: (t², M, C)."""
    tiled = backend_of(x).gather_tiles(m, x, STEP, first, tiles)
    return tiled.reshape(len(m) ** 2, tiled.shape[1] // x.shape[3], x.shape[3])


def convolve(
    x: Array, U: Array, b: Array | None, A: Array, B: Array, first: Pair, size: Pair
) -> Array:
    """y (N, H', W', O) of size (H', W') for x (N, H, W, C) and transformed filters U (t², C, O)."""
    backend, tiles, o = backend_of(x), grid(size), U.shape[2]
    y = backend.xp.empty((len(x), *size, o), x.dtype)

    def work(chunk: slice) -> None:
        V = gathered(B, x[chunk], first, tiles)
        for part in columns(backend, o):
            P = backend.matmul(V, U[:, :, part])
            bias = None if b is None else b[part]
            backend.scatter_tiles(A.T, P, y[chunk, :, :, part], bias)

    backend.for_chunks(work, cut(backend, x, B, o, tiles))
    return y


@operation
def conv2d(x: Array, w: Array, b: Array | None, window: Window) -> Any:
    """y = x ∗ w + b at stride 1, for x (N, C, H, W), w (O, C, r, r) with r 3 or 5, b (O,).

    For the M tiles of a few images at a time, the t² products are one stack of matrix products, of
    which a few columns are made at a time, so that they are used while they are in the cache
    (for 5×5 filters 0.9 of the time of all columns at once, forward and for either gradient):

        V = B x Bᵀ     (t², M, C)       dP = A dy Aᵀ   (t², M, O)
        U = G w Gᵀ     (t², C, O)       dU = dPᵀ V     (t², O, C)
        P = V U        (t², M, O)       dw = Gᵀ dU G
        y = Aᵀ P A     (4², M, O)

    The gradient of x is dy convolved with the filters turned by 180°, and is computed so.
    """
    backend = backend_of(x)
    A, G, B = matrices(w.shape[2], str(x.dtype))
    fixed = context.current().fixed_filters
    transformed = transform if fixed is None else fixed.transformed
    o, c, r, _ = w.shape
    x = nhwc(x)
    _, h, width, _ = x.shape
    (top, _), (left, _) = window.pads
    output = window.output_size((h, width))

    def vjp_x(g: Array) -> Array:
        U = transformed(w, True)
        return nchw(convolve(nhwc(g), U, None, A, B, (r - 1 - top, r - 1 - left), (h, width)))

    def vjp_w(g: Array, *, out: Array | None = None) -> Array:
        g, home, tiles = nhwc(g), inside(out), grid(output)
        chunks = cut(backend, x, B, o, tiles)

        def work(chunk: slice) -> Array:
            V = gathered(B, x[chunk], (top, left), tiles)
            first = home is not None and chunk is chunks[0]
            dw: Array = home if first else backend.xp.empty((o, r, r, c), x.dtype)
            for part in columns(backend, o):
                dP = gathered(A, g[chunk, :, :, part], (0, 0), tiles)
                backend.scatter_tiles(G.T, backend.matmul(dP.transpose(0, 2, 1), V), dw[part])
            return dw

        dw = backend.sum_chunks(work, chunks)
        return nchw(dw) if home is None else out

    y = convolve(x, transformed(w, False), b, A, B, (top, left), output)
    return nchw(y), vjp_x, vjp_w, vjp_bias
