"""Sizes and ranges as arguments of transforms."""

from __future__ import annotations

from typing import Any

from ...arguments import ArgumentError, real, whole
from .tensors import several


def one_or_two(name: str, argument: str, value: Any) -> tuple[int, ...]:
    """One or two whole numbers of at least 1. Raises ArgumentError for anything else."""
    try:
        sizes = tuple(whole(name, argument, n, 1) for n in several(value))
    except ArgumentError:
        sizes = ()
    if len(sizes) not in (1, 2):
        raise ArgumentError(f"{name}: {argument} must be one or two ints ≥ 1, got {value!r}")
    return sizes


def height_and_width(name: str, argument: str, value: Any) -> tuple[int, int]:
    """Two whole numbers of at least 1, or one for both. Raises ArgumentError for anything else."""
    sizes = one_or_two(name, argument, value)
    return sizes[0], sizes[-1]


def interval(name: str, argument: str, value: Any, **bounds: float) -> tuple[float, float]:
    """Two numbers within bounds, the smaller first. Raises ArgumentError for anything else."""
    values = several(value)
    if len(values) == 2:
        low, high = (real(name, argument, v, **bounds) for v in values)
        if low <= high:
            return low, high
    raise ArgumentError(
        f"{name}: {argument} must be two numbers, the smaller one first, got {value!r}"
    )
