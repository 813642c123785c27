"""Numbers that are not Python's, and whole numbers at the ends of their types."""

from __future__ import annotations

import operator
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import nn
from minicnn.arguments import ArgumentError, ArgumentTypeError, number, pair, real, whole
from minicnn.nn import functional as F

from .arrays import array

DTYPES = ["uint8", "int32", "int64", "float32", "float64"]
OPERATORS = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "eq", "ne", "lt", "le", "gt", "ge")
}
WRAPPING = ("add", "sub", "mul")


def both(call, dtype, values):
    """The result in both libraries, for a tensor of these values."""
    libraries = ((minicnn, getattr(minicnn, dtype)), (torch, getattr(torch, dtype)))
    return [call(L.tensor(values, dtype=kind)) for L, kind in libraries]


def assert_equal(ours, theirs):
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_allclose(array(ours), array(theirs), rtol=1e-6)


SCALARS = st.one_of(
    st.floats(-100, 100, width=16).map(np.float64),
    st.floats(-100, 100, width=16).map(np.float32),
    st.floats(-100, 100, width=16).map(np.float16),
    st.integers(-128, 127).map(np.int8),
    st.integers(0, 255).map(np.uint8),
    st.integers(-1000, 1000).map(np.int64),
    st.integers(-1000, 1000),
    st.floats(-100, 100, width=16),
)


@given(st.sampled_from(DTYPES), st.sampled_from(sorted(OPERATORS)), SCALARS, st.booleans())
def test_a_number_of_numpys_is_a_number_as_in_pytorch(dtype, name, scalar, reflected):
    apply = OPERATORS[name]
    ends = None if dtype.startswith("float") else np.iinfo(dtype)
    in_range = ends is None or ends.min <= float(scalar) <= ends.max
    if name not in (*WRAPPING, "truediv") and not in_range:
        return  # compared as they are here, modulo 2^bits in PyTorch
    if name == "truediv" and (scalar == 0 or not in_range):
        return
    values = [1, 2, 100]

    def call(t):
        return apply(scalar, t) if reflected else apply(t, scalar)

    assert_equal(*both(call, dtype, values))


@given(st.sampled_from(["uint8", "int32", "int64"]), st.sampled_from(WRAPPING), st.booleans())
def test_whole_numbers_wrap_as_in_pytorch(dtype, name, reflected):
    apply = OPERATORS[name]
    for scalar in (-1, 255, 256, -129, 2**31, 2**40, -(2**63), 2**63 - 1):

        def call(t, scalar=scalar):
            return apply(scalar, t) if reflected else apply(t, scalar)

        assert_equal(*both(call, dtype, [0, 1, 200]))


@pytest.mark.parametrize("scalar", [2**63, -(2**70), 10**30])
def test_a_number_of_more_than_64_bits_is_refused(scalar):
    with pytest.raises(RuntimeError, match="64 bits"):
        minicnn.tensor([1]) + scalar
    with pytest.raises(ArgumentTypeError, match="64 bits"):
        minicnn.tensor([scalar])


@pytest.mark.parametrize("beyond", [-1, 256, 2**40])
def test_comparing_with_a_number_beyond_the_type_tells_the_truth(beyond):
    u = minicnn.tensor([0, 255], dtype=minicnn.uint8)
    assert (u < beyond).tolist() == [beyond > 0] * 2
    assert (u == beyond).tolist() == [False] * 2


@pytest.mark.parametrize("name", ["and_", "or_", "xor"])
@pytest.mark.parametrize("scalar", [3, np.int64(3), True, -1])
def test_bits_with_a_number(name, scalar):
    apply = getattr(operator, name)
    assert_equal(*both(lambda t: apply(t, scalar), "int64", [1, 6]))
    assert_equal(*both(lambda t: apply(scalar, t), "int64", [1, 6]))


def test_bits_of_floats_are_refused_by_name():
    for call in (lambda t: t & 1, lambda t: t | t, lambda t: 1.5 ^ t.long(), lambda t: ~t):
        with pytest.raises(TypeError, match="expected bools or whole numbers, got float32"):
            call(minicnn.tensor([1.0]))


POWERS = [(-2, -1), (-1, -2), (-1, -3), (0, 0), (1, -1), (2, 3), (3, 0), (5, -1)]


def test_whole_powers_of_whole_numbers():
    for L in (minicnn, torch):
        x, y = (L.tensor(list(each)) for each in zip(*POWERS, strict=True))
        assert (x**y).tolist() == [0, 1, -1, 1, 1, 8, 1, 0]
        assert (2**y).tolist() == [0, 0, 0, 1, 0, 8, 1, 0]
    u = minicnn.tensor([2, 200], dtype=minicnn.uint8)
    assert (u**2).tolist() == [4, 64]
    for bad in (-1, 256):
        with pytest.raises(RuntimeError, match="power"):
            u**bad


# --- arguments -----------------------------------------------------------------------------------

TWO = [2, np.int64(2), np.uint8(2), np.prod((2, 1)), minicnn.tensor(2), np.array(2)]


@pytest.mark.parametrize("two", TWO, ids=lambda n: type(n).__name__)
def test_a_size_is_whatever_index_takes(two):
    x = minicnn.ones(2, 2, 4, 4)
    assert nn.Linear(two, two)(minicnn.ones(3, 2)).shape == (3, 2)
    assert nn.Conv2d(two, two, two, stride=two, padding=two)(x).shape == (2, 2, 4, 4)
    assert F.max_pool2d(x, two).shape == F.avg_pool2d(x, two, two).shape == (2, 2, 2, 2)
    assert F.adaptive_avg_pool2d(x, (two, two)).shape == (2, 2, 2, 2)
    assert minicnn.zeros(two, two).shape == minicnn.ones((two, two)).shape == (2, 2)
    assert minicnn.full((two,), 1).shape == minicnn.rand(two).shape == (2,)
    assert minicnn.randint(0, two, (two,)).shape == minicnn.randperm(two).shape == (2,)
    assert x.reshape(two, -1).shape == x.flatten(1).view(two, 32).shape == (2, 32)
    assert x.sum(two).shape == (2, 2, 4)
    assert x.sum((two, 3)).shape == (2, 2)
    assert x.argmax(two).shape == (2, 2, 4)
    assert x.transpose(two, 3).permute(0, 1, two, 3).unsqueeze(two).squeeze(two).size(two) == 4
    assert F.softmax(x, two).shape == x.shape
    assert minicnn.cat([x, x], two).shape == (2, 2, 8, 4)
    assert minicnn.stack([x, x], two).shape == (2, 2, 2, 4, 4)
    assert minicnn.arange(two).dtype == minicnn.int64
    assert x[two - 1].shape == (2, 4, 4)
    minicnn.manual_seed(two)


@pytest.mark.parametrize("wrong", [2.0, "2", None, [2.5], np.float64(2)], ids=repr)
def test_a_size_that_is_no_whole_number_is_refused(wrong):
    x = minicnn.ones(2, 2)
    calls = [
        lambda: minicnn.zeros(wrong),
        lambda: x.reshape(wrong, 2),
        lambda: nn.Linear(wrong, 2),
        lambda: nn.Conv2d(1, 1, wrong),
        lambda: minicnn.randperm(wrong),
        lambda: minicnn.stack([x], wrong),
        lambda: x.transpose(0, wrong),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


def test_real_numbers_become_pythons():
    for value in (0.5, np.float64(0.5), np.float32(0.5), Fraction(1, 2), minicnn.tensor(0.5)):
        assert type(real("f", "p", value)) is float
        assert real("f", "p", value, least=0, most=1) == 0.5
    for value in (True, np.bool_(True), np.array(True)):
        assert number(value) is True
    assert type(number(np.int8(3))) is int


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), np.inf, "0.5", None, 1j, [0.5]])
def test_numbers_out_of_bounds_are_refused_by_the_arguments_name(wrong):
    with pytest.raises(ArgumentError, match="f: p must be a number at least 0 and at most 1"):
        real("f", "p", wrong, least=0, most=1)


def test_whole_numbers_and_pairs_are_refused_by_the_arguments_name():
    with pytest.raises(ArgumentError, match="f: n must be an int ≥ 1, got 0"):
        whole("f", "n", 0, 1)
    for wrong in ((1, 2, 3), (1, 0), (1, 1.5), 0, "11", None):
        with pytest.raises(ArgumentError, match="f: k must be an int ≥ 1 or two, got"):
            pair("f", "k", wrong, 1)


def test_statistics_of_numpy_leave_images_float32():
    data = np.arange(48, dtype="uint8").reshape(1, 3, 4, 4)
    x = (minicnn.tensor(data).float() - data.mean()) / data.std()
    assert x.dtype == minicnn.float32
    nn.Conv2d(3, 2, 3)(x)


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.cpu
def test_subclasses_of_numpys_arrays_are_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6, dtype="float32").reshape(2, 3))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r+")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix([[1.0, 2.0]])
    for subclass in (mapped, matrix, np.rec.array(np.zeros(3))):
        for made in (minicnn.from_numpy(subclass), minicnn.tensor(subclass)):
            assert type(made.array) is np.ndarray
            np.testing.assert_array_equal(array(made * 2), 2 * np.asarray(subclass))
    t = minicnn.from_numpy(mapped)
    t.fill_(7)
    assert (mapped == 7).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.ma.array([1.0, 2.0], mask=[0, 1]),
        np.array(["a"]),
        np.array([None]),
        np.array([1 + 1j]),
        np.array([np.datetime64("2020-01-01")]),
        np.zeros(2, [("a", "f4")]),
    ],
    ids=lambda a: f"{type(a).__name__} {a.dtype}",
)
def test_arrays_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(TypeError):
        minicnn.tensor(wrong)
    if wrong.dtype.kind != "c":
        with pytest.raises(TypeError):
            minicnn.from_numpy(wrong)


def test_another_byte_order_is_brought_to_this_machines_or_refused():
    big = np.array([1.0, 2.0], dtype=">f4")
    t = minicnn.tensor(big)
    assert t.tolist() == [1, 2]
    assert t.dtype == minicnn.float32
    with pytest.raises(TypeError, match="byte order"):
        minicnn.from_numpy(big)


@pytest.mark.cpu
def test_a_read_only_array_says_so():
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        minicnn.from_numpy(frozen).fill_(1)


TYPED = [
    [np.float64(1), np.float64(2)],
    [np.float32(1), 2.0],
    [1, 2],
    [1, 2.5],
    [True, False],
    [[1.0], [2.0]],
    np.float64(2),
    np.int8(3),
    2.5,
]


@pytest.mark.parametrize("data", TYPED, ids=repr)
def test_the_type_of_a_new_tensor_is_pytorchs(data):
    assert str(minicnn.tensor(data).dtype) == str(torch.tensor(data).dtype).removeprefix("torch.")


def test_tensors_in_lists_are_numbers_in_lists():
    inner = [minicnn.tensor(1.0), minicnn.tensor(2.0)]
    assert minicnn.tensor(inner).tolist() == [1, 2]
    assert minicnn.tensor([minicnn.tensor([1, 2]), minicnn.tensor([3, 4])]).tolist()[1] == [3, 4]
