"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import operation, sum_copies
from ..backends import Array, backend_of


@operation
def matmul(x: Array, y: Array) -> Any:
    """x @ y for matrices, vectors and stacks of matrices, as in NumPy.

    For z = x y the chain rule gives dx = g yᵀ and dy = xᵀ g. A vector is a matrix with one row (x)
    or one column (y), so both rules cover it once its missing axis is put in. A matrix that met a
    whole stack takes the sum of what comes back from it.
    """
    times = backend_of(x).matmul
    rows, columns = x.ndim == 1, y.ndim == 1
    x2 = x[None, :] if rows else x  # (…, n, k)
    y2 = y[:, None] if columns else y  # (…, k, m)

    def whole(g: Array) -> Array:  # g with the axes that z lacks: (…, n, m)
        if columns:
            g = g[..., None]
        return g[..., None, :] if rows else g

    # Shapes by themselves: the gradient with respect to x needs y, and of x no number.
    xs, x2s, ys, y2s = x.shape, x2.shape, y.shape, y2.shape
    return (
        times(x, y),
        lambda g: _unstacked(times(whole(g), y2.swapaxes(-1, -2)), x2s).reshape(xs),
        lambda g: _unstacked(times(x2.swapaxes(-1, -2), whole(g)), y2s).reshape(ys),
    )


def _unstacked(g: Array, shape: tuple[int, ...]) -> Array:
    return g if g.shape == shape else sum_copies(g, shape)


@operation
def linear(x: Array, w: Array, b: Array | None = None) -> Any:
    """y = x wᵀ + b, for x (…, K), w (M, K), b (M,)."""
    times = backend_of(x).matmul
    y = times(x, w.T)
    if b is not None:
        y += b
    x2 = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # (N, K)
    rows = len(x2), len(w)  # of g, seen as (N, M)
    return (
        y,
        lambda g: times(g, w),
        lambda g: times(g.reshape(rows).T, x2),
        lambda g: g.reshape(rows).sum(axis=0),
    )
