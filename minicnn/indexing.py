"""Indices as PyTorch takes them, in steps that NumPy takes the same way."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from .arguments import ArgumentError, ArgumentTypeError
from .autograd import Variable, note_reading
from .axes import axis_of
from .backends import Array, backend_of, host, is_array, refuse_capture
from .dtype import int32, int64


def steps(x: Array, index: Any) -> list[Any]:
    """What to index x with, one after the other: one index, or two.

    Numbers beside index arrays go first, by themselves: NumPy would count them among the arrays,
    whose axes it then moves to the front. An index of numbers and slices ends in `...`, which makes
    a view of a single element too. Tensors become arrays on x's device, uint8 ones masks, and one
    without axes a number.
    """
    parts = [_part(part) for part in (index if isinstance(index, tuple) else (index,))]
    if not any(map(is_array, parts)):
        plain = not any(part is ... or isinstance(part, bool) for part in parts)
        return [(*parts, ...) if plain else tuple(parts)]
    parts = _spelt_out(x, parts)
    backend = backend_of(x)
    if backend is not host:
        _refuse_missing(x.shape, parts)
        parts = [_brought(backend, part) if is_array(part) else part for part in parts]
    if not any(map(_is_number, parts)):
        return [tuple(parts)]
    first: list[Any] = []
    for part in parts:
        first += [part] if _is_number(part) else [slice(None)] * _axes(part)
    return [tuple(first), tuple(part for part in parts if not _is_number(part))]


def _refuse_missing(shape: tuple[int, ...], parts: list[Any]) -> None:
    """Raise IndexError where there is no such place, which on a GPU would be another one: CuPy
    takes an index modulo the length. Of arrays on the GPU the shapes alone are looked at, as for
    their numbers it would have to be waited for."""
    parts = list(parts)
    axes = sum(map(_axes, parts))
    for i, part in enumerate(parts):
        if is_array(part) and backend_of(part) is not host:
            if part.dtype.kind == "b":
                return  # CuPy compares the shape of a mask itself
            parts[i] = np.zeros(part.shape, "int64")
    np.broadcast_to(np.zeros((), "bool"), shape[:axes])[tuple(parts)]


def _brought(backend: Any, part: Array) -> Array:
    """An index array on the device of what is indexed."""
    there = backend_of(part)
    if there is not backend or part.dtype.kind == "b":  # of a mask the number of places is asked
        refuse_capture("an index from the host, or a mask,")
    return part if there is backend else backend.from_host(there.to_host(part))


def _spelt_out(x: Array, parts: list[Any]) -> list[Any]:
    """The parts with slices in place of `...`, which NumPy counts as something between arrays, even
    where it stands for no axis."""
    if sum(part is ... for part in parts) != 1:
        return parts
    i = next(i for i, part in enumerate(parts) if part is ...)
    left = x.ndim - sum(map(_axes, parts))
    return [*parts[:i], *[slice(None)] * left, *parts[i + 1 :]]


def _axes(part: Any) -> int:
    """How many axes of an array a part of an index is about."""
    if part is None or part is ... or isinstance(part, bool):
        return 0
    return int(part.ndim) if is_array(part) and part.dtype.kind == "b" else 1


def _is_number(part: Any) -> bool:
    return isinstance(part, int) and not isinstance(part, bool)


def _part(part: Any) -> Any:
    if isinstance(part, Variable):
        part = part._read("an index")
    elif isinstance(part, (list, range)):
        part = _listed(list(part))
    elif isinstance(part, Integral) and not isinstance(part, bool):
        return int(part)
    if not is_array(part):
        return part
    if not part.ndim and part.dtype.kind in "iu":
        return int(_item(part))
    return part.astype("bool") if part.dtype == "uint8" else part


def _item(array: Array) -> Any:
    if backend_of(array) is not host:
        refuse_capture("a tensor as the number of a place")
    note_reading(array, "a tensor as the number of a place")
    return array.item()


def _listed(part: list[Any]) -> Array:
    if any(isinstance(each, (list, tuple)) for each in part):
        raise ArgumentTypeError("an index must not be a nested list; use a tuple or a tensor")
    numbers = [
        _item(each._read("an index")) if isinstance(each, Variable) else each for each in part
    ]
    return np.asarray(numbers, None if numbers else "int64")


def along(name: str, x: Variable, dim: Any, index: Variable) -> tuple[Any, ...]:
    """The index of the elements at `index` along one axis, and at their own places along others.

    Raises ArgumentError for an index that has not x's axes, or is longer along others, and what
    `check_places` raises.
    """
    axis, place = axis_of(name, x, dim), index.array
    fits = zip(place.shape, x.array.shape, strict=False)
    if place.ndim != x.array.ndim or any(n > m for i, (n, m) in enumerate(fits) if i != axis):
        raise ArgumentError(f"{name}: index {place.shape} does not fit {x.array.shape}")
    check_places(name, index, x, axis)
    if not place.ndim:
        return ()
    xp = backend_of(place).xp
    places = [
        xp.arange(n).reshape(-1, *[1] * (place.ndim - i - 1)) for i, n in enumerate(place.shape)
    ]
    return (*places[:axis], place, *places[axis + 1 :])


def check_places(name: str, index: Variable, x: Variable, axis: int) -> None:
    """Refuse places that x has not along an axis. Unlike those in brackets, none is negative.

    Raises ArgumentTypeError for an index of another type than int32 and int64, and IndexError for a
    place that there is not; on a GPU, where it would have to be waited for, the places are not
    looked at.
    """
    place, length = index.array, x.array.shape[axis] if x.array.ndim else 1
    if place.dtype not in (int32, int64):
        raise ArgumentTypeError(f"{name}: index must be int64 or int32, got {place.dtype}")
    if backend_of(place) is host and place.size and not 0 <= place.min() <= place.max() < length:
        wrong = place.min() if place.min() < 0 else place.max()
        raise IndexError(f"{name}: index {wrong} is out of range for a length of {length}")
