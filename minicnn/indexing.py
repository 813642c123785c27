"""Indices as PyTorch takes them, in steps that NumPy takes the same way."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from .arguments import ArgumentTypeError
from .autograd import Variable
from .backends import Array, backend_of, host, is_array


def steps(x: Array, index: Any) -> list[Any]:
    """What to index x with, one after the other: one index, or two.

    Numbers beside index arrays go first, by themselves: NumPy would count them among the arrays,
    whose axes it then moves to the front. An index of numbers and slices ends in `...`, which makes
    a view of a single element too. Tensors become arrays on x's device, uint8 ones masks, and one
    without axes a number.
    """
    parts = [_part(x, part) for part in (index if isinstance(index, tuple) else (index,))]
    picks = [is_array(part) for part in parts]
    numbers = [isinstance(part, int) and not isinstance(part, bool) for part in parts]
    if not any(picks):
        plain = all(part is not ... and not isinstance(part, bool) for part in parts)
        return [(*parts, ...) if plain else tuple(parts)]
    if not any(numbers):
        return [tuple(parts)]
    first: list[Any] = []
    for part, number in zip(parts, numbers, strict=True):
        if number or part is ...:
            first.append(part)
        elif part is not None:
            mask = is_array(part) and part.dtype.kind == "b"
            first += [slice(None)] * (part.ndim if mask else 1)
    return [tuple(first), tuple(p for p, number in zip(parts, numbers, strict=True) if not number)]


def _part(x: Array, part: Any) -> Any:
    if isinstance(part, Variable):
        part = part.array
    elif isinstance(part, list):
        part = _listed(part)
    elif isinstance(part, Integral) and not isinstance(part, bool):
        return int(part)
    if not is_array(part):
        return part
    if not part.ndim and part.dtype.kind in "iu":
        return int(part.item())
    backend, there = backend_of(x), backend_of(part)
    if there is not backend:
        part = backend.from_host(there.to_host(part))
    return part.astype("bool") if part.dtype == "uint8" else part


def _listed(part: list[Any]) -> Array:
    if any(isinstance(each, (list, tuple)) for each in part):
        raise ArgumentTypeError("an index must not be a nested list; use a tuple or a tensor")
    numbers = [each.array.item() if isinstance(each, Variable) else each for each in part]
    return host.asarray(numbers) if numbers else host.asarray(numbers, "int64")
