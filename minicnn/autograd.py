"""The tape: how the derivatives of operations become the derivatives of programs.

An operation is a function of arrays that returns its output together with one vector–Jacobian
product (VJP) for each differentiable input:

    @operation
    def multiply(x, y):
        return x * y, lambda g: g * y, lambda g: g * x

A VJP takes g, the gradient of the final result with respect to the operation's output, and returns
the gradient with respect to one input (the chain rule, from the back; reverse mode in Baydin et
al. 2018, "Automatic differentiation in machine learning: a survey", section 3.2). `@operation`
makes such a function work on tensors and records what it did; `backward` walks the record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from functools import wraps
from types import ModuleType
from typing import Any

from .backends import Array, backend_of

VJP = Callable[[Array], Array]


class Variable:
    """What the tape knows of a tensor.

    `array` is its value. `node` is the operation that made it, None for a leaf. A leaf with
    `requires_grad` collects the gradients that reach it in `grad_array`, whose memory is
    `grad_home` if somebody has provided that.
    """

    array: Array
    requires_grad: bool
    grad_array: Array | None
    grad_home: Array | None = None
    node: Node | None

    @staticmethod
    def from_operation(array: Array, node: Node | None) -> Variable:
        """Wrap an operation's output."""
        raise NotImplementedError

    def accumulate_grad(self, g: Array) -> None:
        # The first gradient is copied: a VJP may hand on the array it was given, or a view of it.
        if self.grad_array is not None:
            self.grad_array += g
        elif self.grad_home is not None:
            self.grad_array = self.grad_home
            self.grad_array[...] = g
        else:
            self.grad_array = g.copy(order="K")


class Node:
    """One recorded operation: for each input that needs a gradient, where it came from and its VJP.

    An edge leads to the node that made the input, or to the input itself if that is a leaf. Arrays
    are held by the VJPs alone, so an array that no derivative needs is not kept.
    """

    __slots__ = ("edges", "name")

    def __init__(self, name: str, edges: list[tuple[Node | Variable, VJP]]) -> None:
        self.name = name
        self.edges: list[tuple[Node | Variable, VJP]] | None = edges

    def __repr__(self) -> str:
        return f"<{self.name}>"


class _Mode(threading.local):
    recording = True  # each thread starts with this


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _mode.recording


class set_grad_enabled(ContextDecorator):
    """Switch recording on or off, for the rest of the thread or of a `with` block."""

    def __init__(self, mode: bool) -> None:
        self.before, _mode.recording = _mode.recording, mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _mode.recording = self.before


class _Switch(ContextDecorator):
    mode: bool

    def __init__(self) -> None:
        self.before: list[bool] = []  # a stack, as a decorated function may call itself

    def __enter__(self) -> None:
        self.before.append(_mode.recording)
        _mode.recording = self.mode

    def __exit__(self, *exc: object) -> None:
        _mode.recording = self.before.pop()


class no_grad(_Switch):
    """Operations in `with no_grad():`, or in a function decorated @no_grad(), aren't recorded."""

    mode = False


class enable_grad(_Switch):
    """Operations inside are recorded, even within `no_grad`."""

    mode = True


def common_backend(name: str, *variables: Variable) -> ModuleType:
    """The backend of all these. Raises RuntimeError if they are on different devices."""
    backend = backend_of(variables[0].array)
    for other in variables:
        if backend_of(other.array) is not backend:
            raise RuntimeError(
                f"{name}: tensors on different devices, {backend.device_type} and"
                f" {backend_of(other.array).device_type}; move one with .to(device)"
            )
    return backend


def operation(function: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """Make a function of arrays that returns (output, vjp, vjp, …) one of tensors, and record it.

    The VJPs belong to the leading positional arguments, in order; there may be fewer of them than
    arguments. Arguments that are not tensors are passed through as they are.
    """

    @wraps(function)
    def apply(*args: Any, **kwargs: Any) -> Any:
        tensors = [a for a in args if isinstance(a, Variable)]
        if not tensors:
            got = ", ".join(type(a).__name__ for a in args)
            raise TypeError(f"{function.__name__}: expected a Tensor, got ({got})")
        with common_backend(function.__name__, *tensors).quiet():
            output, *vjps = function(
                *(a.array if isinstance(a, Variable) else a for a in args), **kwargs
            )
        edges: list[tuple[Node | Variable, VJP]] = []
        if _mode.recording:
            for a, vjp in zip(args, vjps, strict=False):
                if isinstance(a, Variable) and a.requires_grad:
                    edges.append((a.node or a, vjp))
        node = Node(function.__name__, edges) if edges else None
        return tensors[0].from_operation(output, node)

    return apply


def backward(output: Variable, g: Array, retain_graph: bool) -> None:
    """Send `g`, the gradient with respect to `output`, back through the record to the leaves.

    Every node is visited once, after all that used its output; gradients that meet are added. The
    record is taken apart on the way, each VJP dropped as soon as it has run, so that what it held
    is freed, unless `retain_graph`.
    """
    if output.node is None:
        output.accumulate_grad(g)
        return
    arrived: dict[Node, Array] = {output.node: g}
    with backend_of(g).quiet():
        for node in _from_last_to_first(output.node):
            g = arrived.pop(node)
            edges = list(reversed(node.edges or ()))
            if not retain_graph:
                node.edges = None
            while edges:
                source, vjp = edges.pop()
                contribution = vjp(g)
                del vjp
                if isinstance(source, Variable):
                    source.accumulate_grad(contribution)
                elif source in arrived:
                    arrived[source] = arrived[source] + contribution
                else:
                    arrived[source] = contribution


def _from_last_to_first(last: Node) -> list[Node]:
    """The nodes that lead to `last`, each one before all that it was made from.

    The reverse of a depth-first postorder, with a stack in place of recursion: the record of a long
    loop is far deeper than Python's stack.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(last, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            if node.edges is None:
                raise RuntimeError(
                    f"backward() a second time through {node}: the first call freed what it held;"
                    " call that one as backward(retain_graph=True) if it must run twice"
                )
            seen.add(node)
            stack.append((node, True))
            stack.extend((s, False) for s, _ in node.edges if isinstance(s, Node))
    order.reverse()
    return order
