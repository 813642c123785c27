"""Reading a tape: which operations were recorded, on which shapes, and what they keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minicnn import Tensor
from minicnn.autograd import VJP, Edge, Node
from minicnn.backends import Array, backend_of
from minicnn.versions import arrays_held, owner


@dataclass
class Recorded:
    """An operation on the tape.

    `inputs` are the recorded operations and the leaves that it was made from, as far as they need a
    gradient. `held` is the memory its VJPs keep: the bytes of each block, by the block's address.
    """

    node: Node
    inputs: list[Recorded | Tensor] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)
    shape: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.node.name


def read(loss: Tensor) -> list[Recorded]:
    """The operations that led to `loss`, first to last, found by sending a gradient back.

    A node knows no shapes, but a gradient that arrives at it has its output's. So `loss.backward()`
    is called, and uses up the tape.
    """
    found: dict[Node, Recorded] = {}
    order: list[Recorded] = []
    assert loss.node is not None
    stack = [loss.node]
    while stack:
        node = stack.pop()
        if node in found:
            continue
        found[node] = Recorded(node)
        for edge in node.edges or ():
            blocks = map(owner, arrays_held(edge.vjp))
            found[node].held.update({address(a): a.nbytes for a in blocks})
            if isinstance(edge.source, Node):
                stack.append(edge.source)
    for node, recorded in found.items():
        edges: list[Edge] = []
        for edge in node.edges or ():
            source: Any = edge.source
            recorded.inputs.append(found[source] if isinstance(source, Node) else source)
            edges.append(edge._replace(vjp=_noting(edge.vjp, recorded, order)))
        node.edges = edges
    loss.backward()
    return order[::-1]


def _noting(vjp: VJP, recorded: Recorded, order: list[Recorded]) -> VJP:
    """The same VJP, which notes the shape of its first gradient and when that came."""

    def noting(g: Array) -> Array:
        if not any(recorded is r for r in order):
            recorded.shape = tuple(g.shape)
            order.append(recorded)
        return vjp(g)

    return noting


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


def blocks(tensors: Iterator[Tensor] | list[Tensor]) -> set[int]:
    """The addresses of the memory of these tensors, as in `Recorded.held`."""
    return {address(t.array) for t in tensors}
