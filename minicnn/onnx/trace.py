"""What a call of a model computes, written down as the tape tells it (`autograd.listening`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..arguments import ArgumentError
from ..autograd import listening
from ..backends import Array, backend_of, is_array
from ..grad_mode import no_grad
from ..operations import arithmetic
from ..tensor import Tensor
from ..versions import Version, changed_by, version

COPIES = (arithmetic.copy, arithmetic.to_device)  # what they make is what they are given
Lengths = tuple[int | str | None, ...]  # a shape; see Merger.lengths in merging.py


@dataclass(frozen=True)
class Value:
    """What an operation has made, or an input, by number."""

    number: int
    shape: tuple[int, ...] = field(compare=False)
    dtype: Any = field(compare=False)


@dataclass(frozen=True)
class Constant:
    """Numbers that no operation has made, on the host; `name` is that of a parameter or buffer.

    It is to be repeated as often as the batch has rows along `rows`, if that is an axis.
    """

    array: Array
    name: str | None = None
    rows: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> Any:
        return self.array.dtype


class Step(NamedTuple):
    """One operation; in its arguments, a Value or a Constant stands for each array."""

    operation: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Value


class Trace(NamedTuple):
    """The steps of a call in their order, and what it has returned."""

    steps: list[Step]
    outputs: list[Any]  # each a Value or a Constant
    lengths: list[Lengths]


class Refused(RuntimeError):
    """A graph can't do this. On its way out through the model nobody takes it for an error of his,
    as might be with an ArgumentError."""


class Known(NamedTuple):
    """An array that the listener has seen, in the state in which it has: what it is, and whether it
    was made from the input."""

    array: Array  # held, so that no other array has such an id
    version: Version
    value: Value | Constant
    from_input: bool


class Tracer:
    """A listener that writes down what is made of these inputs and of a model's tensors."""

    def __init__(self, inputs: Iterable[Tensor], state: State) -> None:
        self.steps: list[Step] = []
        self._known: dict[int, Known] = {}
        self._count = 0
        for array, constant in state:
            self._know(array, constant, from_input=False)
        for tensor in inputs:
            self._know(tensor.array, self._new(tensor.array), from_input=True)

    def computed(
        self, operation: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], output: Array
    ) -> None:
        from_input = False

        def found(array: Array) -> Value | Constant:
            nonlocal from_input
            known = self._known.get(id(array))
            from_input = from_input or (known is not None and known.from_input)
            return self.value_of(array)

        if operation is arithmetic.assign:  # of what is written over, the shape alone counts
            self._as_it_is(args[0])
        try:
            args_, kwargs_ = mapped((tuple(args), kwargs), is_array, found)
        except Refused as error:
            raise Refused(f"{operation.__name__}: {error}") from None
        if operation in COPIES:
            self._know(output, args_[0], from_input)
            return
        value = self._new(output)
        self.steps.append(Step(operation, args_, kwargs_, value))
        self._know(output, value, from_input)

    def read(self, array: Array, by: str) -> None:
        known = self._known.get(id(array))
        if known is not None and known.from_input:
            raise Refused(
                f"{by} reads a value that comes from the input, which a graph has not got"
                " yet: a model that is to be exported computes with operations on tensors alone"
            )

    def value_of(self, array: Array) -> Value | Constant:
        """What an array is in the trace: a constant, where the listener has never heard of it."""
        known = self._known.get(id(array))
        if known is not None and version(array) == known.version:
            return known.value
        if known is not None and known.from_input:
            raise Refused(
                f"a tensor of shape {tuple(array.shape)} was changed in place, as a whole or in"
                f" part, by {changed_by(array)}; a model that is to be exported makes a new one"
            )
        constant = Constant(_on_host(array).copy())
        self._know(array, constant, from_input=False)
        return constant

    def _as_it_is(self, array: Array) -> None:
        if known := self._known.get(id(array)):
            self._know(array, known.value, known.from_input)

    def _new(self, array: Array) -> Value:
        self._count += 1
        return Value(self._count - 1, tuple(array.shape), array.dtype)

    def _know(self, array: Array, value: Value | Constant, from_input: bool) -> None:
        self._known[id(array)] = Known(array, version(array), value, from_input)


State = list[tuple[Array, Constant]]


def state_of(tensors: Mapping[str, Tensor]) -> State:
    """The tensors of a state dict as constants; one in several places has its first name."""
    found: dict[int, tuple[Array, Constant]] = {}
    for name, tensor in tensors.items():
        if id(tensor.array) not in found:
            found[id(tensor.array)] = tensor.array, Constant(_on_host(tensor.array), name)
    return list(found.values())


def _on_host(array: Array) -> Array:
    return backend_of(array).to_host(array)


def mapped(thing: Any, chosen: Callable[[Any], bool], found: Callable[[Any], Any]) -> Any:
    """Nested tuples, lists, dicts and slices, with `found(x)` for each `chosen` x in them."""
    if chosen(thing):
        return found(thing)
    if isinstance(thing, slice):
        ends = (thing.start, thing.stop, thing.step)
        return slice(*(mapped(each, chosen, found) for each in ends))
    if isinstance(thing, dict):
        return {key: mapped(each, chosen, found) for key, each in thing.items()}
    if isinstance(thing, (tuple, list)):
        parts = [mapped(each, chosen, found) for each in thing]
        return type(thing)(*parts) if hasattr(thing, "_fields") else type(thing)(parts)
    return thing


def traced(call: Callable[[list[Tensor]], Any], inputs: list[Tensor], state: State) -> Trace:
    """The trace of one call, of what leads to its outputs. It leaves the inputs as they are."""
    inputs = [tensor.detach().clone() for tensor in inputs]
    tracer = Tracer(inputs, state)
    try:
        with no_grad(), listening(tracer):
            returned = call(inputs)
        outputs = _tensors_in(returned)
        values = [tracer.value_of(tensor.array) for tensor in outputs]
    except Refused as error:
        raise ArgumentError(f"export: {error}") from None
    return Trace(_needed(tracer.steps, values), values, [t.shape for t in outputs])


def _needed(steps: list[Step], values: list[Any]) -> list[Step]:
    """The steps that lead to these values."""
    wanted, found = {each.number for each in values if isinstance(each, Value)}, []
    for step in reversed(steps):
        if step.output.number in wanted:
            found.append(step)
            arguments = step.args, step.kwargs
            mapped(arguments, lambda x: isinstance(x, Value), lambda x: wanted.add(x.number))
    return found[::-1]


def _tensors_in(returned: Any) -> list[Tensor]:
    """The tensors that a model returns, in their order."""
    if isinstance(returned, Tensor):
        return [returned]
    if isinstance(returned, dict):
        returned = list(returned.values())
    if not isinstance(returned, (tuple, list)):
        got = type(returned).__name__
        raise TypeError(f"export: the model must return Tensors, alone or in tuples, got {got}")
    return [tensor for each in returned for tensor in _tensors_in(each)]
