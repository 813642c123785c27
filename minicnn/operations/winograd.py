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

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of, constant, context, host
from ..versions import Version, version
from .convolution import Margins, nchw, nhwc, pad, sum_pixels, total, unpad

STEP = 4  # each tile yields 4×4 outputs. 2×2 from 6×6 tiles takes 1.4 times as long where r = 5
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)  # the first t - 1 of these, and ∞


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

    def transformed(self, w: Array, g: Array, transposed: bool) -> Array:
        """What `_transform` returns; again if w was changed in place since."""
        if self._filters.get(id(w)) is not w:
            return _transform(w, g, transposed)
        key = id(w), version(w), transposed
        with self._lock:
            if key not in self._transformed:
                self._transformed[key] = _transform(w, g, transposed)
            return self._transformed[key]


def _transform(w: Array, g: Array, transposed: bool) -> Array:
    """U = G w Gᵀ for w (O, C, r, r): (t², C, O), or (t², O, C) if `transposed`."""
    o, c, r, _ = w.shape
    places = w.transpose((2, 3, 0, 1) if transposed else (2, 3, 1, 0)).reshape(r * r, -1)
    return backend_of(w).along_both(g, places).reshape(-1, *((o, c) if transposed else (c, o)))


@operation
def conv2d(x: Array, w: Array, b: Array | None, margins: Margins) -> Any:
    """y = x ∗ w + b at stride 1, for x (N, C, H, W), w (O, C, r, r) with r 3 or 5, b (O,).

    For the M tiles of a few images, and the t² products at a time as one stack of matrix products,
    of which a few columns are made at a time, so that they are used while they are in the cache
    (for 5×5 filters 0.9 of the time of all columns at once, forward and for either gradient):

        V = B x Bᵀ     (t², M, C)       dV = dP Uᵀ       dx = Bᵀ dV B
        U = G w Gᵀ     (t², C, O)       dU = Vᵀ dP       dw = Gᵀ dU G
        P = V U        (t², M, O)       dP = A dy Aᵀ
        y = Aᵀ P A     (4², M, O)
    """
    backend = backend_of(x)
    xp, times, along_both = backend.xp, backend.matmul, backend.along_both
    A, G, B = constant(backend, matrices, w.shape[2], str(x.dtype))
    fixed = context.current().fixed_filters
    transformed = _transform if fixed is None else fixed.transformed
    U = transformed(w, G, False)
    o, c, r, _ = w.shape
    x = nhwc(x)
    (n, h, width, _), dtype = x.shape, x.dtype
    m, t = STEP, STEP + r - 1
    oh, ow = (size + sum(around) - r + 1 for size, around in zip((h, width), margins, strict=True))
    th, tw = -(-oh // m), -(-ow // m)  # tiles along each axis; the last ones may hang over
    over = th * m - oh, tw * m - ow
    (top, bottom), (left, right) = margins
    reach = (top, bottom + over[0]), (left, right + over[1])

    def cut(of: int, to: int) -> list[slice]:
        # all of V or dP, some columns of a product with it, and as much again on the way to both
        channels = of + backend.columns(to)[0].stop
        return backend.pieces(n, 2 * th * tw * t * t * channels * dtype.itemsize)

    def tiles(piece: slice) -> Array:  # V
        gathered = backend.gather_tiles(pad(x[piece], reach), t, m)  # (t², M·C)
        return along_both(B, gathered).reshape(t * t, -1, c)

    def products(g: Array) -> Array:  # dP
        g = pad(g, ((0, over[0]), (0, over[1])))
        squares = g.reshape(len(g), th, m, tw, m, g.shape[3]).transpose(2, 4, 0, 1, 3, 5)
        return along_both(A, squares).reshape(t * t, -1, g.shape[3])

    y = xp.empty((n, oh, ow, o), dtype)

    def forward(run: Sequence[slice]) -> None:
        for piece in run:
            V = tiles(piece)
            for part in backend.columns(o):
                P = times(V, U[:, :, part])
                squares = along_both(A.T, P).reshape(m, m, -1, th, tw, part.stop - part.start)
                rows = squares.transpose(2, 3, 0, 4, 1, 5).reshape(-1, squares.shape[5])
                if b is not None:
                    rows += b[part]
                image = rows.reshape(-1, th * m, tw * m, rows.shape[1])
                y[piece, :, :, part] = image[:, :oh, :ow]

    backend.share(forward, cut(c, o))

    def vjp_x(g: Array) -> Array:
        g = nhwc(g)
        dx = xp.empty((n, h, width, c), dtype)
        Ut = transformed(w, G, True)  # BLAS is 1.04 to 1.4 times as fast with it as with U's view

        def backward(run: Sequence[slice]) -> None:
            for piece in run:
                dP = products(g[piece])
                for part in backend.columns(c):
                    dV = times(dP, Ut[:, :, part])
                    shape = (len(g[piece]), th * m + r - 1, tw * m + r - 1, dV.shape[2])
                    dtiles = along_both(B.T, dV)
                    dx[piece, :, :, part] = unpad(backend.scatter_tiles(dtiles, shape, t, m), reach)

        backend.share(backward, cut(o, c))
        return nchw(dx)

    def vjp_w(g: Array) -> Array:
        g = nhwc(g)

        def work(piece: slice) -> Array:
            Vt = tiles(piece).transpose(0, 2, 1)
            dw = xp.empty((o, r, r, c), dtype)
            for part in backend.columns(o):
                dU = times(Vt, products(g[piece, :, :, part]))
                places = along_both(G.T, dU).reshape(r, r, c, dU.shape[2])
                dw[part] = places.transpose(3, 0, 1, 2)
            return dw

        return nchw(total(work, cut(c, o), backend))

    return nchw(y), vjp_x, vjp_w, lambda g: sum_pixels(nhwc(g))
