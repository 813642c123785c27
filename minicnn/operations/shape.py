"""Operations that move elements without changing them, and sums over axes."""

from __future__ import annotations

from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of

Axes = int | tuple[int, ...] | None


@operation
def reshape(x: Array, shape: tuple[int, ...]) -> Any:
    return x.reshape(shape), lambda g: g.reshape(x.shape)


@operation
def permute(x: Array, axes: tuple[int, ...]) -> Any:
    inverse = sorted(range(x.ndim), key=lambda i: axes[i] % x.ndim)
    return x.transpose(axes), lambda g: g.transpose(inverse)


@operation
def getitem(x: Array, index: Any) -> Any:
    """x[index]. The gradient goes back to the places it was taken from, once for each time."""

    def vjp(g: Array) -> Array:
        backend = backend_of(x)
        dx = backend.xp.zeros_like(x)
        backend.add_at(dx, index, g)
        return dx

    return x[index], vjp


@operation
def concatenate(*xs: Array, axis: int) -> Any:
    """The arrays one after another along an axis; each takes its own part of the gradient back."""
    axis %= xs[0].ndim
    vjps, start = [], 0
    for x in xs:
        part = (slice(None),) * axis + (slice(start, start + x.shape[axis]),)
        vjps.append(lambda g, part=part: g[part])
        start += x.shape[axis]
    return backend_of(xs[0]).xp.concatenate(xs, axis=axis), *vjps


def _expand(g: Array, x: Array, axes: Axes, keepdims: bool) -> Array:
    """g, reduced over `axes` of x, with these axes put back as ones: it broadcasts against x."""
    if keepdims or not x.ndim:
        return g
    over = range(x.ndim) if axes is None else axes if isinstance(axes, tuple) else (axes,)
    lost = {a % x.ndim for a in over}
    return g.reshape([1 if i in lost else n for i, n in enumerate(x.shape)])


@operation
def sum(x: Array, axes: Axes = None, keepdims: bool = False) -> Any:
    xp = backend_of(x).xp
    return (
        x.sum(axis=axes, keepdims=keepdims),
        lambda g: xp.broadcast_to(_expand(g, x, axes, keepdims), x.shape),
    )


@operation
def mean(x: Array, axes: Axes = None, keepdims: bool = False) -> Any:
    xp = backend_of(x).xp
    y = x.sum(axis=axes, keepdims=keepdims)
    count = x.dtype.type(x.size / y.size) if y.size else x.dtype.type(1)
    return (
        y / count,
        lambda g: xp.broadcast_to(_expand(g / count, x, axes, keepdims), x.shape),
    )


@operation
def maximum_of_all(x: Array) -> Any:
    """The largest element. Elements that share the maximum share its gradient, as in PyTorch."""
    y = x.max()
    return y, lambda g: (x == y) * (g / (x == y).sum().astype(x.dtype))


@operation
def take_along(x: Array, index: Array, axis: int) -> Any:
    """From each line of x along `axis`, the elements at `index` (int64, as many axes as x)."""
    xp = backend_of(x).xp

    def vjp(g: Array) -> Array:
        backend = backend_of(x)
        dx = xp.zeros_like(x)
        places = list(xp.indices(index.shape, sparse=True))
        places[axis] = index
        backend.add_at(dx, tuple(places), g)
        return dx

    return xp.take_along_axis(x, index, axis), vjp
