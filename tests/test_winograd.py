"""Winograd's convolution: the same numbers as im2col, forward and both gradients."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import context, gradcheck
from minicnn.backends import threads
from minicnn.backends.windows import Window
from minicnn.nn import functional as F
from minicnn.operations import convolution, winograd

from .arrays import array

pad = st.integers(0, 3)


def window(r, pads=((1, 1), (1, 1))):
    return Window((r, r), pads=pads)


@pytest.fixture
def algorithm():
    """Chooses an algorithm for the rest of the test."""
    with ExitStack() as chosen:
        yield lambda name: chosen.enter_context(context.using(conv_algorithm=name))


def leaves(n, c, o, r, h, w, dtype):
    minicnn.manual_seed(h * 100 + w)
    shapes = [(n, c, h, w), (o, c, r, r), (o,)]
    return [minicnn.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def derivatives(function, inputs, *args):
    """The output and the gradients of all inputs, for a fixed upstream gradient."""
    y = function(*inputs, *args)
    minicnn.manual_seed(0)
    for x in inputs:
        x.grad = None
    y.backward(minicnn.randn(*y.shape, dtype=y.dtype))
    return [array(y), *[array(x.grad) for x in inputs]]


def distance(a, b):
    return np.linalg.norm(np.asarray(a, "float64") - b) / (np.linalg.norm(b) or 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 3),
    c=st.integers(1, 3),
    o=st.integers(1, 3),
    r=st.sampled_from([3, 5]),
    size=st.tuples(st.integers(5, 11), st.integers(5, 11)),
    pads=st.tuples(st.tuples(pad, pad), st.tuples(pad, pad)),
)
def test_any_map_batch_and_padding_give_im2cols_numbers(n, c, o, r, size, pads):
    inputs = leaves(n, c, o, r, *size, minicnn.float64)
    got = derivatives(winograd.conv2d, inputs, window(r, pads))
    want = derivatives(convolution.conv2d, inputs, window(r, pads))
    assert [g.shape for g in got] == [w.shape for w in want]
    assert max(distance(g, w) for g, w in zip(got, want, strict=True)) <= 1e-12


@pytest.mark.parametrize("r", [3, 5])
def test_derivatives_are_its_own(r):
    inputs = leaves(1, 2, 2, r, 6, 7, minicnn.float64)
    gradcheck(lambda x, w, b: winograd.conv2d(x, w, b, window(r, ((1, 2), (0, 1)))), inputs)


@pytest.mark.parametrize("r", [3, 5])
def test_float32_is_within_1e_5_of_float64(r):
    inputs = leaves(2, 32, 32, r, 14, 14, minicnn.float32)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    got = derivatives(winograd.conv2d, inputs, window(r))
    y = convolution.conv2d(*exact, window(r))
    minicnn.manual_seed(0)
    y.backward(minicnn.randn(*y.shape).double())
    want = [array(y), *[array(x.grad) for x in exact]]
    assert max(distance(g, w) for g, w in zip(got, want, strict=True)) <= 1e-5


@pytest.mark.parametrize(("place", "limit"), [(threads, "CHUNK_BYTES"), (winograd, "COLUMNS")])
def test_images_and_columns_a_few_at_a_time_give_the_same_numbers(monkeypatch, place, limit):
    inputs = leaves(5, 5, 7, 3, 9, 9, minicnn.float64)
    whole = derivatives(winograd.conv2d, inputs, window(3))
    monkeypatch.setattr(place, limit, 2)
    parts = derivatives(winograd.conv2d, inputs, window(3))
    for got, want in zip(parts, whole, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["im2col", "winograd"])
def test_another_gradient_sent_back_through_a_convolution_is_that_ones(algorithm, name):
    algorithm(name)
    x, w, b = leaves(1, 2, 2, 3, 6, 6, minicnn.float32)
    y = F.conv2d(x, w, b)
    y.backward(minicnn.ones(*y.shape), retain_graph=True)
    first, x.grad = array(x.grad).copy(), None
    y.backward(2 * minicnn.ones(*y.shape))
    np.testing.assert_array_equal(array(x.grad), 2 * first)


def im2col(x, w, b):
    return array(convolution.conv2d(x, w, b, window(3)))


def test_fixed_filters_are_transformed_once(monkeypatch):
    x, w, b = leaves(1, 2, 2, 3, 6, 6, minicnn.float64)
    calls, real = [], winograd.transform
    monkeypatch.setattr(winograd, "transform", lambda *args: calls.append(1) or real(*args))
    with context.using(fixed_filters=winograd.FixedFilters([w.array])):
        for _ in range(3):
            winograd.conv2d(x, w, b, window(3))
    assert len(calls) == 1


def test_fixed_filters_that_change_in_place_are_transformed_again():
    x, w, b = leaves(1, 2, 2, 3, 6, 6, minicnn.float64)
    fixed = winograd.FixedFilters([w.array])
    with context.using(fixed_filters=fixed):
        winograd.conv2d(x, w, b, window(3))
        with minicnn.no_grad():
            w *= 2
        got = array(winograd.conv2d(x, w, b, window(3)))
    assert distance(got, im2col(x, w, b)) <= 1e-12


def test_filters_computed_on_the_way_never_meet_anothers_transform():
    x, w, b = leaves(1, 2, 2, 3, 6, 6, minicnn.float64)
    fixed = winograd.FixedFilters([w.array])
    with context.using(fixed_filters=fixed):
        for factor in range(2, 30):  # some of these arrays get the address of one that has gone
            got = array(winograd.conv2d(x, w * factor, b, window(3)))
            assert distance(got, im2col(x, w * factor, b)) <= 1e-12


def used(monkeypatch, weight, **options):
    """Whether F.conv2d took Winograd's algorithm."""
    calls = []
    real = winograd.conv2d
    monkeypatch.setattr(winograd, "conv2d", lambda *args: calls.append(1) or real(*args))
    F.conv2d(minicnn.zeros(1, weight.shape[1], 8, 8, dtype=weight.dtype), weight, **options)
    return bool(calls)


def test_im2col_is_the_default(monkeypatch):
    assert not used(monkeypatch, minicnn.zeros(96, 96, 3, 3))


def test_auto_takes_it_for_many_channels_only(monkeypatch, algorithm):
    algorithm("auto")
    on_a_cpu = minicnn.get_default_device().type == "cpu"  # it isn't known to be faster elsewhere
    assert used(monkeypatch, minicnn.zeros(16, 32, 3, 3)) == on_a_cpu
    assert not used(monkeypatch, minicnn.zeros(15, 96, 3, 3))


@pytest.mark.parametrize(
    ("weight", "options"),
    [
        ((4, 4, 1, 1), {}),
        ((4, 4, 3, 5), {}),
        ((4, 4, 3, 3), {"stride": 2}),
        ((4, 4, 3, 3), {"dilation": 2}),
    ],
)
def test_what_it_cannot_do_stays_with_im2col(monkeypatch, algorithm, weight, options):
    algorithm("winograd")
    assert not used(monkeypatch, minicnn.zeros(*weight), **options)


def test_float64_stays_with_im2col(monkeypatch, algorithm):
    algorithm("winograd")
    assert not used(monkeypatch, minicnn.zeros(4, 4, 3, 3, dtype=minicnn.float64))


@pytest.mark.parametrize(
    "change", [context.set_default, lambda **c: context.using(**c).__enter__()]
)
def test_an_unknown_algorithm_is_refused_by_name(change):
    with pytest.raises(ValueError, match=r"conv_algorithm.*'fft'"):
        change(conv_algorithm="fft")
    assert context.current().conv_algorithm == "im2col"
