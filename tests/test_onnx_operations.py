"""Every operation as nodes of ONNX: what ONNX Runtime makes of them is what minicnn computes."""

from __future__ import annotations

import importlib
import operator
import pkgutil
from types import FunctionType

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings

import minicnn
from minicnn import nn, operations
from minicnn.arguments import ArgumentError
from minicnn.onnx.table import REFUSED, ROWS
from minicnn.onnx.trace import COPIES

from .arrays import array, tensor
from .table import MINI
from .table import ROWS as EXAMPLES

OPERATIONS = {
    f"{module.name}.{name}": function
    for module in pkgutil.iter_modules(operations.__path__)
    for name, function in vars(importlib.import_module(f"minicnn.operations.{module.name}")).items()
    if isinstance(function, FunctionType) and hasattr(function, "__wrapped__")
    if function.__module__.endswith(module.name)
}


def test_there_are_operations():
    assert len(OPERATIONS) > 30


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_has_a_row_or_is_refused(name):
    kinds = [OPERATIONS[name] in kind for kind in (ROWS, REFUSED, COPIES)]
    assert kinds.count(True) == 1


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def runner(proto):
    """A function of a file's inputs, arrays, that has ONNX Runtime compute its first output.

    The checker has to pass the file first.
    """
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]

    def compute(*inputs):
        by_rows = [np.array(x, order="C") for x in inputs]
        return session.run(None, dict(zip(names, by_rows, strict=True)))[0]

    return compute


def run(proto, *inputs):
    return runner(proto)(*inputs)


def compare(function, *inputs, **options):
    """Export a function of these arrays and compare what it gives there and here."""
    tensors = [tensor(a) for a in inputs]
    proto = minicnn.onnx.export(Function(function), tuple(tensors), **options)
    with minicnn.no_grad():
        expected = array(function(*tensors))
    got = run(proto, *inputs)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


each_row = pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: " ".join(row.names))
TRAINING = "dropout: the model is in training mode"


@pytest.mark.cpu
@each_row
def test_what_every_row_of_the_table_draws_is_the_same_in_onnx_runtime(row):
    @settings(max_examples=12)
    @given(row.examples)
    def check(example):
        inputs = [a.astype("float32") for a in example.arrays]
        try:
            compare(lambda *xs: example.call(MINI, *xs), *inputs, dynamic_axes={})
        except ArgumentError as error:
            if TRAINING not in str(error):
                raise

    check()


@pytest.mark.cpu
@each_row
def test_with_another_batch_than_the_examples_it_is_the_same_or_refused(row):
    @settings(max_examples=8)
    @given(row.examples)
    def check(example):
        first, *others = [a.astype("float32") for a in example.arrays]
        if not first.ndim or not len(first):
            return
        function = Function(lambda *xs: example.call(MINI, *xs))
        longer = np.concatenate([first, first[:1] / 2, first[::-1]])
        try:
            args = tuple(map(tensor, [first, *others]))
            proto = minicnn.onnx.export(function, args, dynamic_axes={"inputs_0": [0]})
            expected = array(function(tensor(longer), *args[1:]))
        except (ArgumentError, IndexError):  # it is not for other batches
            return
        got = run(proto, longer, *others)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)

    check()


# --- what the table does not draw ----------------------------------------------------------------

X = np.array([[3, -1, 0], [7, 2, -5]])
Y = np.array([[3, 2, 0], [-1, 2, 4]])
MASK = np.array([[True, False, True], [False, False, True]])
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
BITS = [operator.and_, operator.or_, operator.xor]
TYPES = ["float32", "float64", "int32", "int64", "uint8", "bool"]

by_name = {"ids": lambda value: getattr(value, "__name__", None)}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("function", COMPARISONS, **by_name)
def test_comparisons_are_the_same_for_every_type(function, dtype):
    compare(function, X.astype(dtype), Y.astype(dtype))
    compare(lambda x: function(x, 2), X.astype(dtype))
    compare(lambda x: function(x, 0.5), X.astype(dtype))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("function", BITS, **by_name)
def test_operations_on_bits_are_the_same_for_every_type(function, dtype):
    compare(function, X.astype(dtype), Y.astype(dtype))
    compare(lambda x: ~function(x, 1), X.astype(dtype))


@pytest.mark.parametrize("dtype", TYPES[:-1])
@pytest.mark.parametrize("function", [operator.add, operator.sub, operator.mul], **by_name)
def test_arithmetic_is_the_same_for_every_type(function, dtype):
    compare(function, X.astype(dtype), Y.astype(dtype))
    compare(lambda x: function(2, x), X.astype(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("to", TYPES)
def test_casts_are_the_same_between_all_types(dtype, to):
    compare(lambda x: x.to(np.dtype(to)), (X * 1.5 if dtype[0] == "f" else abs(X)).astype(dtype))


FUNCTIONS = {
    "abs": lambda x: x.abs(),
    "negative": lambda x: -x,
    "relu": lambda x: x.relu(),
    "a whole power": lambda x: x**3,
    "the largest": lambda x: x.max(),
    "the largest along an axis": lambda x: x.max(1).values,
    "its place": lambda x: x.max(1, keepdim=True).indices,
    "the place of the largest": lambda x: x.argmax(),
    "with its axes": lambda x: x.argmax(keepdim=True),
    "along an axis": lambda x: x.argmax(0),
    "the smallest": lambda x: x.min(),
    "its place along an axis": lambda x: x.argmin(1),
    "the larger": lambda x: x.max(x.t().reshape(x.shape)),
    "between": lambda x: x.clamp(-1, 2),
    "the sign": lambda x: x.sign(),
    "rounded": lambda x: x.round(),
    "where": lambda x: minicnn.where(x, x, -2),
    "sums up to each": lambda x: x.cumsum(1),
    "all": lambda x: x.all(),
    "any": lambda x: x.any(1),
    "a sum": lambda x: x.sum(0),
    "divided": lambda x: x / 2,
    "a product of matrices": lambda x: x.t() @ x,
    "of floats and whole numbers": lambda x: x * 0.5 + x.float(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_the_same_for_every_type(name, dtype):
    compare(FUNCTIONS[name], X.astype(dtype), dynamic_axes={})


@pytest.mark.parametrize("name", ["the largest", "its place", "all", "any", "a sum", "divided"])
def test_functions_of_uint8_are_the_same(name):
    compare(FUNCTIONS[name], abs(X).astype("uint8"), dynamic_axes={})


def test_logic_of_bools_is_arithmetic():
    compare(lambda x, y: (x + y) * y.max(x), MASK, ~MASK)


INDICES = {
    "a number": lambda x: x[1],
    "from the end": lambda x: x[:, -1],
    "numbers": lambda x: x[1, -2, 0],
    "slices": lambda x: x[1:, :2, ::2],
    "slices from the end": lambda x: x[-2:, :-1],
    "beyond the end": lambda x: x[:, 1:100],
    "new axes": lambda x: x[None, :, None, 1, ..., None],
    "the rest": lambda x: x[..., 2],
    "all": lambda x: x[...],
    "places": lambda x: x[[2, 0, 2, -1]],
    "places along the last axis": lambda x: x[:, :, [1, 3]],
    "places and a number": lambda x: x[1, [0, 2]],
    "places and a slice": lambda x: x[1:, [0, 2]],
    "places of two axes": lambda x: x[minicnn.tensor([0, 2]), minicnn.tensor([1, -1])],
    "places that are broadcast": lambda x: x[minicnn.tensor([[0], [2]]), minicnn.tensor([1, 0])],
    "places of later axes": lambda x: x[:, minicnn.tensor([0, 2]), minicnn.tensor([1, -1])],
    "places apart": lambda x: x[minicnn.tensor([0, 2]), :, minicnn.tensor([1, -1])],
    "a mask": lambda x: x[minicnn.tensor([True, False, True])],
    "a mask of two axes": lambda x: x[:, minicnn.tensor(np.arange(12).reshape(3, 4) % 3 == 0)],
    "computed places": lambda x: x[(x.sum((1, 2)) * 0 + 2).long()],
    "a computed place": lambda x: x[0, x[:, 0, 0].argmax(keepdim=True) * 0],
    "turned round": lambda x: reversed(x),
}


@pytest.mark.parametrize("name", INDICES)
def test_indices_are_the_same(name):
    x = np.random.default_rng(0).standard_normal((3, 3, 4)).astype("float32")
    compare(INDICES[name], x, dynamic_axes={})


IN_PLACE = {
    "relu_": lambda x: nn.ReLU(inplace=True)(x * 1) + 1,
    "of what is used again": lambda x: x.relu_() + x,
    "arithmetic": lambda x: add_in_place(x * 2, x),
    "of the input": lambda x: add_in_place(x, 1),
    "broadcast": lambda x: add_in_place(x * 2, x[:1]),
    "of another type": lambda x: add_in_place(x * 2, x > 0),
    "a copy": lambda x: (x * 2).copy_(x[:1]),
}


def add_in_place(x, y):
    x += y
    return x


@pytest.mark.parametrize("name", IN_PLACE)
def test_changes_in_place_are_the_same_and_leave_the_example_as_it_is(name):
    x = np.random.default_rng(0).standard_normal((2, 3)).astype("float32")
    before = x.copy()
    proto = minicnn.onnx.export(Function(IN_PLACE[name]), tensor(x))
    np.testing.assert_array_equal(x, before)
    expected = array(IN_PLACE[name](tensor(x.copy())))
    np.testing.assert_allclose(run(proto, x), expected, rtol=1e-6)
