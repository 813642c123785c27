"""How arrays lie in memory: the order of their axes, and where they begin.

Images and filters have their channels last. What is copied, moved or pickled axis by axis would
come out row by row, and every convolution would lay it anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from .protocol import Array

ALIGNMENT = 256  # bytes: where memory on a GPU begins, as the fastest kernels need it


def memory_order(x: Array) -> tuple[list[int], list[int]]:
    """The axes of x from the longest stride to the shortest, and the order that leads back.

    `x.transpose(order)` runs along memory; `.transpose(back)` of an array like it is like x.
    """
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return order, inverse(order)


def inverse(order: Sequence[int]) -> list[int]:
    """The order of axes that undoes another one."""
    return sorted(range(len(order)), key=order.__getitem__)


def room(x: Array) -> int:
    """The elements that x takes where each of many arrays begins at a multiple of ALIGNMENT."""
    each = ALIGNMENT // x.itemsize
    return -(-x.size // each) * each
