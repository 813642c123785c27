"""Reading a tape: which operations were recorded, on which shapes, and what they keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from minicnn import Tensor
from minicnn.autograd import Edge, Node, watching
from minicnn.backends import Array, backend_of
from minicnn.versions import arrays_held, owner


@dataclass
class Recorded:
    """An operation on the tape, and the shape of its output.

    `inputs` are the recorded operations and the leaves that it was made from, as far as they need a
    gradient. `held` is the memory its VJPs keep: the bytes of each block, by the block's address.
    """

    node: Node
    shape: tuple[int, ...]
    inputs: list[Any] = field(default_factory=list)  # Recorded, and Tensor for the leaves
    held: dict[int, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.node.name


def read(loss: Tensor) -> list[Recorded]:
    """The operations that led to `loss`, first to last, as a gradient finds them on its way back.

    So `loss.backward()` is called, and uses up the tape.
    """
    found: dict[Node, Recorded] = {}

    def watcher(node: Node, edge: Edge, g: Array) -> Array:
        recorded = found.setdefault(node, Recorded(node, tuple(g.shape)))
        recorded.held |= {address(a): owner(a).nbytes for a in arrays_held(edge.vjp)}
        recorded.inputs.append(edge.source)
        return edge.vjp(g)

    with watching(watcher):
        loss.backward()
    for recorded in found.values():
        recorded.inputs = [found.get(source, source) for source in recorded.inputs]
    return list(found.values())[::-1]


def address(array: Array) -> int:
    """Where the memory begins that an array is, or is a view of."""
    block = owner(array)
    return int(block.ctypes.data if backend_of(block).device_type == "cpu" else block.data.ptr)


def held(recorded: list[Recorded], known: set[int]) -> list[int]:
    """The bytes that each operation is the first to hold, but for the blocks already `known`."""
    totals = []
    for each in recorded:
        new = {block: n for block, n in each.held.items() if block not in known}
        known |= set(new)
        totals.append(sum(new.values()))
    return totals


def blocks(tensors: Iterable[Tensor]) -> set[int]:
    """The addresses of the memory of these tensors, as in `Recorded.held`."""
    return {address(t.array) for t in tensors}
