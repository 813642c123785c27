"""Operations that move elements without changing them, and sums over axes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ..autograd import operation, sum_copies
from ..backends import Array, backend_of
from ..backends.layout import inverse

Axes = int | tuple[int, ...] | None


@operation
def reshape(x: Array, shape: tuple[int, ...]) -> Any:
    own = x.shape
    return x.reshape(shape), lambda g: g.reshape(own)


@operation
def permute(x: Array, axes: tuple[int, ...]) -> Any:
    """The axes of x in another order, for axes counted from 0."""
    back = inverse(axes)
    return x.transpose(axes), lambda g: g.transpose(back)


@operation
def getitem(x: Array, index: Any) -> Any:
    """x[index]. The gradient goes back to the places it was taken from, once for each time.

    Slices and numbers take no place twice, so there it is put down in one assignment: for a slice
    of a million elements 200 times as fast as adding element by element.
    """
    backend = backend_of(x)
    shape, dtype = x.shape, x.dtype
    try:
        y = x[index]
    except ValueError as error:  # CuPy's for index arrays whose shapes do not fit together
        raise IndexError(str(error)) from None
    if not _takes_each_once(index):
        index = deepcopy(index)  # whoever made the array may change it

    def vjp(g: Array) -> Array:
        dx = backend.xp.zeros(shape, dtype)
        if _takes_each_once(index):
            dx[index] = g
        else:
            backend.add_at(dx, index, g)
        return dx

    return y, vjp


@operation
def put(x: Array, value: Any, index: Any) -> Any:
    """x with `value`, an array that is broadcast or a number, in the places of an index."""
    y = x.copy(order="K")
    y[index] = value
    if not _takes_each_once(index):
        index = deepcopy(index)

    def vjp_x(g: Array) -> Array:
        dx = g.copy(order="K")
        dx[index] = 0
        return dx

    def vjp_value(g: Array) -> Array:
        part = g[index]  # value may have axes of length 1 more, in front
        leading = (1,) * (value.ndim - part.ndim)
        return sum_copies(part.reshape(leading + part.shape), value.shape)

    return y, vjp_x, vjp_value


def _takes_each_once(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return not any(hasattr(part, "dtype") for part in parts)


@operation
def concatenate(*xs: Array, axis: int) -> Any:
    """The arrays one after another along an axis, counted from 0.

    Each takes its own part of the gradient back.
    """
    vjps, start = [], 0
    for x in xs:
        part = (slice(None),) * axis + (slice(start, start + x.shape[axis]),)
        vjps.append(lambda g, part=part: g[part])
        start += x.shape[axis]
    return backend_of(xs[0]).xp.concatenate(xs, axis=axis), *vjps


def _repeating(x: Array, axes: Axes, keepdims: bool) -> Callable[[Array], Array]:
    """The function that repeats a g reduced over `axes` of x along them, to x's shape."""
    xp, shape = backend_of(x).xp, x.shape
    over = range(x.ndim) if axes is None else axes if isinstance(axes, tuple) else (axes,)
    lost = {a % x.ndim for a in over}
    kept = [1 if i in lost else n for i, n in enumerate(shape)]
    return lambda g: xp.broadcast_to(g if keepdims else g.reshape(kept), shape)


@operation
def sum(x: Array, axes: Axes, keepdims: bool) -> Any:
    return x.sum(axis=axes, keepdims=keepdims), _repeating(x, axes, keepdims)


@operation
def mean(x: Array, axes: Axes, keepdims: bool) -> Any:
    repeat = _repeating(x, axes, keepdims)
    y = x.sum(axis=axes, keepdims=keepdims)
    count = x.dtype.type(x.size / y.size) if y.size else x.dtype.type(1)
    return y / count, lambda g: repeat(g / count)


@operation
def maximum_of_all(x: Array) -> Any:
    """The largest element. Elements that share the maximum share its gradient, as in PyTorch."""
    y = x.max()
    return y, lambda g: _shared_by(x, y, g)


@operation
def minimum_of_all(x: Array) -> Any:
    """The smallest element. Elements that share the minimum share its gradient, as in PyTorch."""
    y = x.min()
    return y, lambda g: _shared_by(x, y, g)


def _shared_by(x: Array, y: Array, g: Array) -> Array:
    """g in equal parts on the elements of x that are y, NaN being equal to NaN."""
    there = (x == y) | ((x != x) & (y != y))
    return there * (g / there.sum().astype(x.dtype))


@operation
def argmax(x: Array, axis: int | None, keepdims: bool) -> Any:
    """The place of the first maximum, int64."""
    return x.argmax(axis=axis, keepdims=keepdims), None


@operation
def argmin(x: Array, axis: int | None, keepdims: bool) -> Any:
    """The place of the first minimum, int64."""
    return x.argmin(axis=axis, keepdims=keepdims), None


@operation
def argsort(x: Array, axis: int, descending: bool) -> Any:
    """The places of the elements along an axis in their order, int64; equal ones stay in theirs."""
    if not descending:
        return x.argsort(axis=axis, kind="stable"), None
    back = (slice(None),) * axis + (slice(None, None, -1),)
    return x.shape[axis] - 1 - x[back].argsort(axis=axis, kind="stable")[back], None


@operation
def all_of(x: Array, axes: Axes = None, keepdims: bool = False) -> Any:
    """Whether no element is 0."""
    return x.all(axis=axes, keepdims=keepdims), None


@operation
def any_of(x: Array, axes: Axes = None, keepdims: bool = False) -> Any:
    """Whether an element is not 0."""
    return x.any(axis=axes, keepdims=keepdims), None


@operation
def norm(x: Array, axes: Axes, keepdims: bool) -> Any:
    """The square root of the sum of squares. The derivative of the norm of zeros is 0."""
    xp, repeat = backend_of(x).xp, _repeating(x, axes, keepdims)
    y = xp.sqrt((x * x).sum(axis=axes, keepdims=keepdims))

    def vjp(g: Array) -> Array:
        length = repeat(y)
        return xp.where(length == 0, 0, x * (repeat(g) / length))

    return y, vjp


@operation
def cumsum(x: Array, axis: int) -> Any:
    """The sums of all elements up to each one. Each adds to those from its own place on."""
    xp = backend_of(x).xp
    back = (slice(None),) * axis + (slice(None, None, -1),)
    return xp.cumsum(x, axis=axis), lambda g: xp.cumsum(g[back], axis=axis)[back]


@operation
def broadcast_to(x: Array, shape: tuple[int, ...]) -> Any:
    """x as often as that shape has it, in its own memory. The tape adds up the gradients."""
    return backend_of(x).xp.broadcast_to(x, shape), lambda g: g


@operation
def take_along(x: Array, index: Array, axis: int) -> Any:
    """From each line of x along `axis`, one element, at `index` (int64, of length 1 there)."""
    xp, shape, dtype = backend_of(x).xp, x.shape, x.dtype
    places = index.copy()  # whoever has the array may change it

    def vjp(g: Array) -> Array:
        dx = xp.zeros(shape, dtype)
        xp.put_along_axis(dx, places, g, axis)
        return dx

    return xp.take_along_axis(x, index, axis), vjp
