"""A graph of ONNX's while it grows: nodes, and the constants that they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..arguments import ArgumentError
from ..backends import Array
from .inputs import Input
from .trace import Constant, Lengths, Trace, Value, mapped

LAST = np.iinfo("int64").max  # of a slice that goes to the end
MOST = 2**31 - 2**20  # bytes of weights: protocol buffers have less than 2 GiB, with all the rest


class Operand:
    """A tensor in the graph, by name. Its shape is the example's: a batch may be longer."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.name, self.shape, self.dtype = name, shape, np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Graph:
    """Nodes in the order in which they are computed, and constants by name.

    `library` is the package onnx; `taken` are the names that inputs, weights and outputs have.
    """

    def __init__(self, library: Any, inputs: list[Input], taken: Iterable[str]) -> None:
        self.onnx, self.inputs = library, inputs
        self.nodes: list[Any] = []
        self.outputs: list[tuple[str, Any, Lengths]] = []
        self.initializers: dict[str, Array] = {}
        self.weights: set[str] = set()  # those among them that are parameters or buffers
        self._taken = {*taken, *(each.name for each in inputs)}
        self._values: dict[int, Operand] = {}  # by the number of a Value
        self._constants: dict[int, tuple[Constant, Operand]] = {}  # by id, and held
        for number, each in enumerate(inputs):
            self._values[number] = Operand(each.name, each.example.shape, each.example.dtype)

    # --- what a row of the table uses ------------------------------------------------------------

    def node(
        self,
        kind: str,
        *inputs: Operand | None,
        dtype: Any = None,
        second: bool = False,
        **attributes: Any,
    ) -> Any:
        """Add a node; what it computes, which has the first input's type unless another is given.

        Of a node with two outputs it is the first or the `second`.

        An input may be None where ONNX has an optional one. (The shape is not worked out: the
        operation's own is known from the trace.)
        """
        first, names = inputs[0], [each.name if each else "" for each in inputs]
        assert first is not None
        output = Operand(self._new(kind), first.shape, dtype or first.dtype)
        while not names[-1]:
            names.pop()
        outputs = [*[self._new(kind)] * second, output.name]
        made = self.onnx.helper.make_node(kind, names, outputs, output.name, **attributes)
        self.nodes.append(made)
        return output

    def constant(self, value: Any, dtype: Any) -> Operand:
        """A number, or an array of numbers."""
        array = np.array(value, dtype)
        operand = Operand(self._new("constant"), array.shape, array.dtype)
        self.initializers[operand.name] = array
        return operand

    def whole(self, *numbers: int) -> Operand:
        """A list of whole numbers, such as axes or a shape."""
        return self.constant(numbers, "int64")

    def shape(self, lengths: Sequence[int | None]) -> Operand:
        """A shape, with None for the length of the batch."""
        if None not in lengths:
            return self.constant(lengths, "int64")
        batch = next(each for each in self.inputs if each.batch is not None)
        whole = Operand(batch.name, batch.example.shape, batch.example.dtype)
        rows = self.node("Shape", whole, start=0, end=1, dtype="int64")
        parts = [rows if n is None else self.whole(n) for n in lengths]
        return self.node("Concat", *parts, axis=0) if len(parts) > 1 else rows

    def cast(self, x: Operand, dtype: Any) -> Operand:
        """x in another type; x itself if that is its own."""
        dtype = np.dtype(dtype)
        return x if x.dtype == dtype else self.node("Cast", x, dtype=dtype, to=self._type(dtype))

    # --- from a trace ----------------------------------------------------------------------------

    def operands(self, arguments: Any) -> Any:
        """Arguments with the operand for each Value and Constant in them."""
        return mapped(arguments, lambda x: isinstance(x, (Value, Constant)), self._operand)

    def name(self, value: Value, operand: Operand) -> None:
        """From now on, `operand` stands for a value of the trace."""
        self._values[value.number] = Operand(operand.name, value.shape, value.dtype)

    def _operand(self, value: Value | Constant) -> Operand:
        if isinstance(value, Value):
            return self._values[value.number]
        if id(value) not in self._constants:
            self._constants[id(value)] = value, self._made(value)
        return self._constants[id(value)][1]

    def _made(self, constant: Constant) -> Operand:
        if constant.name is not None:
            self.initializers[constant.name] = constant.array
            self.weights.add(constant.name)
            return Operand(constant.name, constant.shape, constant.dtype)
        operand, axis = self.constant(constant.array, constant.dtype), constant.rows
        if axis is None:
            return operand
        lengths = [None if i == axis else n for i, n in enumerate(constant.shape)]
        return self.node("Expand", operand, self.shape(lengths))

    def finish(self, trace: Trace, names: Sequence[str]) -> None:
        """Give the outputs of a trace, whose steps are all there, their names."""
        made = {node.output[0] for node in self.nodes}
        renamed: dict[str, str] = {}
        for value, lengths, name in zip(trace.outputs, trace.lengths, names, strict=True):
            operand = self._operand(value)
            if operand.name in made and operand.name not in renamed:
                renamed[operand.name] = name
            else:  # an input, a constant, or for the second time
                self.nodes.append(
                    self.onnx.helper.make_node("Identity", [operand.name], [name], name)
                )
            self.outputs.append((name, operand.dtype, lengths))
        for node in self.nodes:
            for place in (node.input, node.output):
                place[:] = [renamed.get(each, each) for each in place]

    def model(self, name: str, opset: int, values: bool, weights_as_inputs: bool) -> Any:
        """The graph as a `ModelProto`; without the values of weights, these are inputs."""
        from .. import __version__

        helper = self.onnx.helper
        used = {each for node in self.nodes for each in node.input}
        arrays = {name: a for name, a in self.initializers.items() if name in used}
        inputs = [
            self._described(each.name, each.example.dtype, (each.batch, *each.example.shape[1:]))
            if each.batch
            else self._described(each.name, each.example.dtype, each.example.shape)
            for each in self.inputs
        ]
        if weights_as_inputs or not values:
            weights = [name for name in arrays if name in self.weights]
            inputs += [self._described(n, arrays[n].dtype, arrays[n].shape) for n in weights]
        if not values:
            arrays = {name: a for name, a in arrays.items() if name not in self.weights}
        if sum(prod(a.shape) * a.itemsize for a in arrays.values()) > MOST:
            raise ArgumentError("export: weights of 2 GiB or more do not go into one ONNX file")
        graph = helper.make_graph(
            self.nodes,
            name,
            inputs,
            [self._described(*each) for each in self.outputs],
            [self.onnx.numpy_helper.from_array(_by_rows(a), n) for n, a in arrays.items()],
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="minicnn",
            producer_version=__version__,
        )

    def _described(self, name: str, dtype: Any, lengths: Lengths) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), lengths)

    def _type(self, dtype: Any) -> int:
        """ONNX's number of an element type."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _new(self, kind: str) -> str:
        """A name that nothing has yet."""
        name, number = kind.lower(), 1
        while name in self._taken:
            number += 1
            name = f"{kind.lower()}_{number}"
        self._taken.add(name)
        return name


def _by_rows(a: Array) -> Array:
    """The values row by row; one without axes stays so."""
    return np.ascontiguousarray(a).reshape(a.shape)
