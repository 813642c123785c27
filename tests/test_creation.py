"""Tensors made from numbers and from tensors: cat, stack, arange, full."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn

from .arrays import array

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]
EMPTY = (0,)


def dtype(L, name):
    return getattr(L, name)


def outcome(call):
    """What a call gives, as something to compare; or the kind of error."""
    try:
        t = call()
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return error
    values = ["NaN" if v != v else v for v in array(t).ravel().tolist()]
    return str(t.dtype).removeprefix("torch."), array(t).shape, values


def assert_alike(call):
    """The same in both libraries, or an error that a program for PyTorch catches."""
    ours, theirs = outcome(lambda: call(minicnn)), outcome(lambda: call(torch))
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), (ours, theirs)
    else:
        assert ours == theirs


shapes = st.sampled_from([EMPTY, (), (2,), (3,), (2, 3), (2, 1), (1, 3), (0, 3), (2, 0), (2, 3, 1)])
parts = st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), max_size=4)


@given(parts, st.integers(-4, 4), st.sampled_from(["cat", "stack"]))
def test_joining_is_pytorchs_in_values_types_and_errors(parts, dim, name):
    def call(L):
        tensors = [L.ones(shape, dtype=dtype(L, kind)) for shape, kind in parts]
        return getattr(L, name)(tensors, dim)

    ours, theirs = outcome(lambda: call(minicnn)), outcome(lambda: call(torch))
    if isinstance(theirs, Exception):  # of two faults either may be told
        assert isinstance(ours, (RuntimeError, IndexError)), (ours, theirs)
    elif parts and {shape for shape, _ in parts} != {EMPTY}:  # PyTorch takes any dim for these
        assert ours == theirs


def test_a_collection_may_begin_with_nothing():
    found = minicnn.tensor([])
    for _ in range(3):
        found = minicnn.cat([found, minicnn.ones(2, 3)])
    assert found.shape == (6, 3)


def test_what_is_joined_gets_its_part_of_the_gradient_in_its_own_type():
    a = minicnn.ones(2, requires_grad=True)
    b = minicnn.ones(1, dtype=minicnn.float64, requires_grad=True)
    (minicnn.cat([a, b]) * minicnn.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([1, 2], [3])
    assert (a.grad.dtype, b.grad.dtype) == (minicnn.float32, minicnn.float64)


@pytest.mark.parametrize("name", ["cat", "stack"])
def test_what_is_no_tensor_is_named_by_its_place(name):
    with pytest.raises(TypeError, match=r"number 1 must be a Tensor, got numpy\.ndarray"):
        getattr(minicnn, name)([minicnn.ones(2), np.ones(2)])
    assert getattr(minicnn, name)(minicnn.ones(1) for _ in range(2)).numel() == 2


numbers = st.one_of(
    st.integers(-5, 5), st.floats(-5, 5, width=16), st.integers(-5, 5).map(np.int64)
)


@given(numbers, numbers, numbers)
def test_arange_is_pytorchs(start, end, step):
    if step and abs(end - start) <= 1000 * abs(step):  # further on, the last digits differ
        assert_alike(lambda L: L.arange(start, end, step))


@pytest.mark.parametrize(
    ("start", "end", "step"), [(1000, 1001, 0.1), (0, 1e5, 0.1), (7, -2, -0.3)]
)
def test_arange_has_all_digits_far_from_where_it_began(start, end, step):
    got = minicnn.arange(start, end, step)
    want = start + step * np.arange(len(got))  # PyTorch's own are off by a digit at 10⁵
    np.testing.assert_array_equal(array(got), want.astype("float32"))


def test_no_gradient_goes_back_to_what_numbers_are_drawn_about():
    mean = minicnn.zeros(3, requires_grad=True)
    assert not minicnn.normal(mean, 1.0).requires_grad


def test_one_whole_number_is_drawn_for_an_empty_size():
    assert minicnn.randint(5, size=()).shape == ()


@pytest.mark.parametrize("value", [1, 1.5, True, np.float64(1.5), np.int64(3), np.float32(2)])
def test_full_has_pytorchs_type(value):
    assert_alike(lambda L: L.full((2, 3), value))


@pytest.mark.parametrize(("value", "kind"), [(256, "uint8"), (2**40, "int32"), (1.5, "int64")])
def test_full_of_what_does_not_fit(value, kind):
    assert_alike(lambda L: L.full((2,), value, dtype=dtype(L, kind)))


BAD = {
    "a negative size": lambda L: L.zeros(-1),
    "a fraction as size": lambda L: L.ones(2.5),
    "a text as size": lambda L: L.rand("2"),
    "no range": lambda L: L.randint(5, 5, (2,)),
    "a negative number": lambda L: L.randperm(-1),
    "a huge number": lambda L: L.tensor([2**70]),
    "uneven lists": lambda L: L.tensor([[1], [1, 2]]),
    "a text": lambda L: L.tensor("text"),
    "a list for an array": lambda L: L.from_numpy([1]),
    "whole random numbers": lambda L: L.randn(2, dtype=L.int64),
    "no dtype": lambda L: L.zeros(2, dtype="float33"),
    "a step of 0": lambda L: L.arange(0, 5, 0),
    "a step the wrong way": lambda L: L.arange(5, 0),
    "an end beyond the type": lambda L: L.linspace(0, 300, 4, dtype=L.uint8),
    "a negative deviation": lambda L: L.normal(0.0, -1.0, (2,)),
    "a matrix among coordinates": lambda L: L.meshgrid(L.ones(2), L.ones(2, 2), indexing="ij"),
    "a size beside tensors": lambda L: L.normal(L.zeros(2), 1.0, (3,)),
}


@pytest.mark.parametrize("mistake", BAD)
def test_errors_are_of_a_kind_that_programs_for_pytorch_catch(mistake):
    with pytest.raises((RuntimeError, ValueError, TypeError)) as theirs:
        BAD[mistake](torch)
    with pytest.raises(theirs.type) as ours:
        BAD[mistake](minicnn)
    assert len(str(ours.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["zeros", "ones", "rand", "randn"])
def test_no_dtype_is_the_default_one(name):
    assert getattr(minicnn, name)(2, dtype=None).dtype == minicnn.float32


RANGES = [256, -1, -256, 2**40, 1.5, -2.5, float("nan"), float("inf"), 1e40, True]


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64", "float32"])
@pytest.mark.parametrize("value", RANGES, ids=repr)
def test_numbers_fit_into_types_as_in_pytorch(value, kind):
    assert_alike(lambda L: L.full((2,), value, dtype=dtype(L, kind)))
    assert_alike(lambda L: L.zeros(2, dtype=dtype(L, kind)).fill_(value))


@pytest.mark.parametrize("value", [256, 2**40, float("nan"), 1e40])
@pytest.mark.parametrize("kind", ["uint8", "int32", "float32"])
def test_lists_of_numbers_that_do_not_fit_are_refused(value, kind):
    with (
        pytest.raises(RuntimeError, match="does not fit")
        if (value == 1e40 or (kind != "float32" and not (value == 256 and kind == "int32")))
        else nullcontext()
    ):
        minicnn.tensor([0, value], dtype=dtype(minicnn, kind))


def test_like_another_with_another_type():
    x = minicnn.tensor([1.5, 2.5])
    assert minicnn.ones_like(x, dtype=minicnn.int64).tolist() == [1, 1]
    assert minicnn.zeros_like(x, requires_grad=True).requires_grad


@pytest.mark.parametrize("name", ["max", "sum", "exp", "abs", "sqrt", "mean", "zeros_like"])
def test_what_is_no_tensor_is_named(name):
    for wrong in ([1, 2], np.ones(2), 1.5):
        with pytest.raises(TypeError, match=f"{name}: input must be a Tensor, got"):
            getattr(minicnn, name)(wrong)


def test_a_size_that_was_forgotten_is_missed():
    for L in (minicnn, torch):
        with pytest.raises(TypeError):
            L.randint(1, 5)


@pytest.mark.cpu  # values are not looked at on a GPU
def test_a_negative_deviation_among_several_is_refused():
    with pytest.raises(RuntimeError, match="std"):
        minicnn.normal(minicnn.zeros(2), minicnn.tensor([1.0, -1.0]))


@pytest.mark.cpu
@pytest.mark.parametrize("make", ["tensor", "as_tensor", "from_numpy"])
@pytest.mark.parametrize("kind", ["longdouble", "complex64", "datetime64[s]", "O", "U3"])
def test_what_has_no_place_among_tensors_types_is_refused_in_a_line(make, kind):
    with pytest.raises(TypeError, match=r"(tensor|from_numpy): expected numbers"):
        getattr(minicnn, make)(np.array([1, 2]).astype(kind))
