"""The tape: how the derivatives of operations become the derivatives of programs.

An operation is a function of arrays that returns its output together with one vector–Jacobian
product (VJP) for each differentiable input:

    @operation
    def multiply(x, y):
        return x * y, lambda g: g * y, lambda g: g * x

A VJP takes g, the gradient of the final result with respect to the operation's output, and returns
the gradient with respect to one input (the chain rule, from the back; reverse mode in Baydin et
al. 2018, "Automatic differentiation in machine learning: a survey", section 3.2). `@operation`
makes such a function work on tensors and records what it did; `gradients` walks the record.

A VJP with an argument `out=None` may be given the memory in which the gradient of a
parameter is to be. If it writes there, it returns `out` itself, and a copy is saved. One that has
an argument `spent=False` is told whether nobody needs g any more: it may then write its result over
it, as ReLU's does.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, Protocol

from .absent import leave_out as _leave_out
from .backends import Array, Backend, as_array, backend_of, is_array
from .grad_mode import is_grad_enabled
from .versions import (
    Version,
    alone,
    change_since,
    changed_in_place,
    known_copies,
    refuse_if_stale,
    version,
    versions,
)

VJP = Callable[[Array], Array]


class Variable:
    """What the tape knows of a tensor.

    `array` is its value. `node` is the operation that made it, None for a leaf. A leaf that
    `needs_grad` collects the gradients that reach it in `grad_array`, whose memory is `grad_home`
    if somebody has provided that. `_any_order` is explained in storage.py.
    """

    array: Array
    needs_grad: bool = False
    node: Node | None = None
    grad_array: Array | None = None
    grad_home: Array | None = None
    _any_order: bool = False

    @staticmethod
    def from_operation(array: Array, node: Node | None) -> Variable:
        """Wrap an operation's output."""
        raise NotImplementedError

    def _read(self, by: str) -> Array:
        """The values, for `by`; RuntimeError where they should have changed: see `Copied`."""
        refuse_if_stale(self.array, by)
        return self.array

    def accumulate_grad(self, g: Array) -> None:
        # The first gradient is copied: a VJP may hand on the array it was given, or a view of it.
        if self.grad_array is not None:
            changed_in_place(self.grad_array, "backward()")
            self.grad_array += g
        elif self.grad_home is not None and not _backward.depth:
            self.grad_array = self.grad_home
            if g is not self.grad_home:
                self.grad_array[...] = g
            changed_in_place(self.grad_array, "backward()")
        else:
            self.grad_array = g.copy(order="K")


class Edge(NamedTuple):
    """The way from an operation back to its input `number`, with the VJP and what it must return.

    `source` is the node that made the input, or the input itself if that is a leaf.
    """

    source: Node | Variable
    vjp: VJP
    number: int
    shape: tuple[int, ...]
    dtype: Any


class Node:
    """One recorded operation: an edge for each input that needs a gradient.

    Only the VJPs hold arrays, so an array that no derivative needs is not kept. `versions` says how
    often the inputs and the output had been changed in place.
    """

    __slots__ = ("edges", "name", "versions")

    def __init__(self, name: str, edges: list[Edge], versions: tuple[Version, ...]) -> None:
        self.name, self.versions = name, versions
        self.edges: list[Edge] | None = edges

    def __repr__(self) -> str:
        return f"<{self.name}>"


Watcher = Callable[[Node, Edge, Array], Array]


class Listener(Protocol):
    """Is told what a thread computes, whether or not the tape records it: see `listening`."""

    def computed(
        self, operation: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], output: Array
    ) -> None:
        """An operation has made `output` of arguments in which arrays stand for tensors."""

    def read(self, array: Array, by: str) -> None:
        """`by`, such as "item()", is about to hand the values of a tensor to the program."""


# --- recording -----------------------------------------------------------------------------------


def common_backend(name: str, *variables: Variable) -> Backend:
    """The backend of all these. Raises RuntimeError if they are on different devices."""
    first = variables[0].array
    backend = backend_of(first)
    for other in variables:
        if type(other.array) is not type(first):
            raise RuntimeError(
                f"{name}: tensors on different devices, {backend.device_type} and"
                f" {backend_of(other.array).device_type}; move one with .to(device)"
            )
    return backend


def operation(function: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """Make a function of arrays that returns (output, vjp, vjp, …) one of tensors, and record it.

    The VJPs belong to the leading positional arguments, in order; there may be fewer of them than
    arguments, and None stands for an argument that the output does not depend on smoothly. A VJP
    returns an array of its input's dtype and shape, or of the output's shape where the input was
    broadcast to it: then the tape adds up what belongs to one element. Arguments that are not
    tensors are passed through as they are.

    Raises TypeError, naming the operation, for tensors that are not arguments by position, for a
    function that returns anything else, and for an input that requires grad and has no VJP.
    """
    name = getattr(function, "__name__", repr(function))
    most = _most_vjps(function)

    @wraps(function)
    def apply(*args: Any, **kwargs: Any) -> Any:
        inputs, values, arrays, tracked, any_order = [], [], [], False, False
        for a in args:
            if isinstance(a, Variable):
                inputs.append(a)
                values.append(a.array)
                arrays.append(a.array)
                tracked = tracked or a.needs_grad
                any_order = any_order or a._any_order
                if known_copies:
                    refuse_if_stale(a.array, name)
            else:
                arrays.append(a)
                if type(a) in (list, tuple, dict):
                    _refuse_hidden(name, args, {})
        if kwargs:
            _refuse_hidden(name, args, kwargs)
        if not inputs:
            got = ", ".join(type(a).__name__ for a in args)
            raise TypeError(f"{name}: expected a Tensor, got ({got})")
        with common_backend(name, *inputs).quiet():
            returned = function(*arrays, **kwargs)
        output, vjps = _output_and_vjps(name, returned, max(most, len(args)))
        if _forward.listener is not None:
            _forward.listener.computed(apply, arrays, kwargs, output)
        node = None
        if tracked and is_grad_enabled() and (edges := _edges(name, args, vjps)):
            if output.dtype.kind not in "fc":
                raise TypeError(f"{name}: a {output.dtype} output has no derivative")
            node = Node(name, edges, versions([*values, output]))
        result = inputs[0].from_operation(output, node)
        if any_order and output.ndim > 1:
            result._any_order = True
        return result

    return apply


def _edges(name: str, args: tuple[Any, ...], vjps: list[VJP | None]) -> list[Edge]:
    """The ways back to those arguments that need a gradient."""
    edges = []
    for number, a in enumerate(args):
        if isinstance(a, Variable) and a.needs_grad:
            if number >= len(vjps):
                raise TypeError(
                    f"{name}: argument {number} requires grad, and the operation returns"
                    f" {len(vjps)} VJPs; return None for one that has no derivative"
                )
            vjp = vjps[number]
            if vjp is not None:
                edges.append(Edge(a.node or a, vjp, number, a.array.shape, a.array.dtype))
    return edges


def _most_vjps(function: Callable[..., Any]) -> int:
    """How many arguments by position a function takes, those with defaults among them."""
    parameters = inspect.signature(function).parameters.values()
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _refuse_hidden(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise TypeError for tensors where the tape would not see them."""
    for where, value in (*enumerate(args), *kwargs.items()):
        by_name = isinstance(where, str) and isinstance(value, Variable)
        inside = False
        if type(value) in (list, tuple, dict):
            held = value.values() if type(value) is dict else value
            inside = any(isinstance(v, Variable) for v in held)
        if by_name or inside:
            raise TypeError(
                f"{name}: argument {where} {'is' if by_name else 'holds'} a Tensor; an operation"
                " takes tensors by position, each as an argument of its own"
            )


def _output_and_vjps(name: str, returned: Any, arguments: int) -> tuple[Array, list[VJP | None]]:
    """What an operation's function has returned, taken apart; TypeError for what it should not."""
    if not isinstance(returned, tuple):
        raise TypeError(
            f"{name}: an operation returns (output, vjp, …), one VJP for each input, got"
            f" {type(returned).__name__}"
        )
    output, *vjps = returned
    if not is_array(output):
        try:
            output = as_array(output)
        except TypeError as error:
            raise TypeError(f"{name}: the output of an operation: {error}") from None
    for number, vjp in enumerate(vjps):
        if vjp is not None and not callable(vjp):
            raise TypeError(
                f"{name}: the VJP of argument {number} must be a function of g, or None, got"
                f" {type(vjp).__name__}"
            )
    if len(vjps) > arguments:
        raise TypeError(f"{name}: {len(vjps)} VJPs for {arguments} arguments")
    return output, vjps


class _Forward(threading.local):
    listener: Listener | None = None


_forward = _Forward()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` of all operations of this thread, in their order."""
    before, _forward.listener = _forward.listener, listener
    try:
        yield
    finally:
        _forward.listener = before


def note_reading(array: Array, by: str) -> None:
    """Tell who listens in this thread that the program is about to see these values."""
    if _forward.listener is not None:
        _forward.listener.read(array, by)


# --- going back ----------------------------------------------------------------------------------


def gradients(
    output: Variable, g: Array, retain_graph: bool = False, into_homes: bool = False
) -> dict[Variable, Array]:
    """Send `g`, the gradient with respect to `output`, back through the record to the leaves.

    Every node is visited once, after all that used its output; gradients that meet are added. The
    record is taken apart on the way, each VJP dropped as soon as it has run, so that what it held
    is freed, unless `retain_graph`. Returns the gradient of each leaf that requires one; it may
    share memory with `g` and with those of other leaves. With `into_homes` it may be the leaf's
    `grad_home`, if the leaf has no gradient yet, for whoever adds it to the leaf at once. That is
    so while a graph is captured, which then has a copy less for each leaf: in one thread, and not
    within the VJP of another record.

    Raises RuntimeError, before anything is freed, where the record was taken apart already and
    where a value was changed in place that a VJP needs; TypeError and RuntimeError, naming the
    operation, for a VJP that returns anything but the gradient of its input.
    """
    if output.node is None:
        return {output: g}
    order = _from_last_to_first(output.node)
    record = _taken(order, retain_graph)
    homes = into_homes and not _backward.depth and backend_of(g).capturing()
    _backward.depth += 1
    try:
        with backend_of(g).quiet():
            return _sent_to_leaves(output.node, g, order, record, homes)
    finally:
        _backward.depth -= 1


class _Backward(threading.local):
    depth = 0  # of calls in this thread, one within the VJP of another
    watcher: Watcher | None = None


_backward = _Backward()


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let `watcher(node, edge, g)` take gradients back in this thread, in place of `edge.vjp(g)`.

    It is called for each edge on the way, and returns what `edge.vjp(g)` gives. So it sees which
    operations were recorded, in the order in which gradients reach them, and can time them.
    """
    before, _backward.watcher = _backward.watcher, watcher
    try:
        yield
    finally:
        _backward.watcher = before


def _sent_to_leaves(
    last: Node, g: Array, order: list[Node], record: dict[Node, list[Edge]], homes: bool
) -> dict[Variable, Array]:
    begins = version(g)[0]  # the memory of what is sent, which VJPs read
    arrived: dict[Node, Array] = {last: g}
    leaves: dict[Variable, Array] = {}
    for node in order:
        g, edges = arrived.pop(node), record.pop(node)
        while edges:  # from the last: a layer's input comes first, and what it needs may go before
            edge = edges.pop()
            if isinstance(edge.source, Variable) and not edge.source.needs_grad:
                continue  # it was frozen since
            source: Any = edge.source
            into: dict[Any, Array] = arrived if isinstance(source, Node) else leaves
            home = None
            if homes and into is leaves and source.grad_home is not None:
                home = _free_home(source, leaves, order, begins)
            spent = not edges and alone(g)
            contribution = _sent_back(node, edge, g, home, spent)
            del edge
            if source in into:
                into[source] = as_array(into[source] + contribution)
            else:
                into[source] = contribution
            del contribution  # so that what it is in has it alone
    return leaves


def _free_home(
    leaf: Variable, found: dict[Variable, Array], order: list[Node], begins: int
) -> Array | None:
    """The home of a leaf's gradient, if that can be written there at once.

    Not if there is a gradient already, and not if something recorded in `order` has used that
    memory, as the gradient of a step before, or it `begins` there: it may be needed yet.
    """
    if leaf.grad_array is not None or leaf in found:
        return None
    memory, _ = version(leaf.grad_home)
    used = memory == begins or any(key == memory for node in order for key, _ in node.versions)
    return None if used else leaf.grad_home


def add_to_leaves(totals: dict[Variable, Array]) -> None:
    """Add gradients to those that the leaves have collected; of several threads one at a time."""
    with _adding:
        for leaf, g in totals.items():
            leaf.accumulate_grad(g)


def _taken(order: list[Node], retain_graph: bool) -> dict[Node, list[Edge]]:
    """The edges of these nodes, which nobody else can take any more.

    Raises RuntimeError if another thread was faster.
    """
    with _taking:
        for node in order:
            if node.edges is None:
                raise RuntimeError(AGAIN.format(node))
        record = {node: list(node.edges or ()) for node in order}
        if not retain_graph:
            for node in order:
                node.edges = None
    return record


AGAIN = (
    "backward() a second time through {}: the first call freed what it held; call that one as"
    " backward(retain_graph=True) if it must run twice"
)
_adding, _taking = threading.Lock(), threading.Lock()


def _renew_locks() -> None:
    global _adding, _taking
    _adding, _taking = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):  # some thread of the parent's may have held them
    os.register_at_fork(after_in_child=_renew_locks)


def _sent_back(node: Node, edge: Edge, g: Array, home: Array | None, spent: bool) -> Array:
    """What a VJP makes of g, checked to be a gradient of its input; in `home`, if it can."""
    vjp: Any = edge.vjp
    by_name = getattr(vjp, "__kwdefaults__", None) or ()
    try:
        if _backward.watcher is not None:
            contribution = _backward.watcher(node, edge, g)
        elif home is not None and "out" in by_name:
            contribution = vjp(g, out=home)
        elif spent and "spent" in by_name:
            contribution = vjp(g, spent=True)
        else:
            contribution = vjp(g)
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError):
            raise
        what = f"{node.name}: the VJP of argument {edge.number}: {error}"
        raise type(error)(what) from error
    if not is_array(contribution):
        try:
            contribution = as_array(contribution)
        except TypeError as error:
            raise TypeError(f"{node.name}: the VJP of argument {edge.number}: {error}") from None
    if contribution.dtype != edge.dtype:
        raise TypeError(
            f"{node.name}: the VJP of argument {edge.number} returned {contribution.dtype}, its"
            f" argument is {edge.dtype}"
        )
    if contribution.shape == edge.shape:
        return contribution
    if contribution.shape == g.shape and broadcasts(edge.shape, g.shape):
        return sum_copies(contribution, edge.shape)
    raise RuntimeError(
        f"{node.name}: the VJP of argument {edge.number} returned shape {contribution.shape}, its"
        f" argument has {edge.shape}"
    )


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of this shape can be repeated to fit that one."""
    added = len(to) - len(shape)
    return added >= 0 and all(n in (1, m) for n, m in zip(shape, to[added:], strict=True))


def sum_copies(g: Array, shape: tuple[int, ...]) -> Array:
    """Sum g over the axes along which an input of this shape was repeated to fit.

    Broadcasting uses an element many times, so its gradient is the sum over its copies.
    """
    added = g.ndim - len(shape)
    repeated = [added + i for i, n in enumerate(shape) if n == 1]
    return as_array(g.sum(axis=(*range(added), *repeated))).reshape(shape)


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
            edges = node.edges  # read once, as another thread may take them
            if edges is None:
                raise RuntimeError(AGAIN.format(node))
            for edge in edges:
                if by := change_since(node.versions, edge.vjp):
                    raise RuntimeError(
                        f"backward() through {node}: a value that its derivative needs was changed"
                        f" in place afterwards, by {by}; change a copy, as with clone(), or go"
                        " back before"
                    )
            seen.add(node)
            stack.append((node, True))
            stack.extend((e.source, False) for e in edges if isinstance(e.source, Node))
    order.reverse()
    return order


_leave_out(__name__)
