"""Parameters laid one after another in memory keep their values, and are known again."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import context, nn
from minicnn.autograd import operation
from minicnn.backends import backend_of
from minicnn.optim.flat import Flat

from .arrays import array, tensor

rng = np.random.default_rng(0)


@pytest.fixture
def parameters():
    """A vector, and a matrix and filters whose last axis is not the one that lies together."""
    arrays = [
        rng.standard_normal(3),
        rng.standard_normal((4, 2)).T,
        rng.standard_normal((5, 3, 3, 2)).transpose(0, 3, 1, 2),
    ]
    return [nn.Parameter(tensor(a)) for a in arrays]


def test_values_and_their_order_in_memory_stay(parameters):
    before = [(array(p).copy(), p.array.strides) for p in parameters]
    Flat(parameters, {})
    for p, (values, strides) in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(array(p), values)
        assert p.array.strides == strides


def test_all_is_in_three_flat_arrays(parameters):
    buffers = {parameters[1]: tensor(np.full((2, 4), 7.0)).array}
    flat = Flat(parameters, buffers)
    for p in parameters:
        p.grad = minicnn.ones(p.shape, dtype=p.dtype)
    flat.collect_gradients()
    flat.values[...] = 5
    assert [array(p).ravel().tolist() for p in parameters] == [[5.0] * n for n in (3, 8, 90)]
    assert minicnn.Tensor(flat.gradients).sum().item() == 3 + 8 + 90
    assert minicnn.Tensor(flat.momentum).sum().item() == 8 * 7
    assert minicnn.Tensor(flat.momentum_buffers[parameters[1]]).sum().item() == 8 * 7


def test_gradients_are_put_in_place_from_then_on(parameters):
    flat = Flat(parameters, {})
    for p in parameters:
        (2 * p).sum().backward()
    assert minicnn.Tensor(flat.gradients).sum().item() == 2 * (3 + 8 + 90)


@operation
def doubled(x):
    """2x; the gradient is written where it is to lie, and that is noted."""

    def vjp(g, *, out=None):
        given.append(out)
        dx = backend_of(g).xp.empty_like(g) if out is None else out
        dx[...] = 2 * g
        return dx

    return 2 * x, vjp


given: list = []


@pytest.fixture
def homes(parameters):
    """A parameter with a home for its gradient, and that home."""
    given.clear()
    Flat(parameters, {})
    return parameters[1], parameters[1].grad_home


def backward(output):
    """output.backward() as while a graph is captured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend_of(output.array), "capturing", lambda: True)
        output.backward()


def test_a_gradient_is_written_to_its_home_without_a_copy(homes):
    p, home = homes
    backward(doubled(p).sum())
    assert [out is home for out in given] == [True]
    assert p.grad_array is home
    np.testing.assert_array_equal(array(p.grad), 2)


def test_a_gradient_that_is_added_to_another_is_not_written_over_it(homes):
    p, home = homes
    for _ in range(2):
        backward(doubled(p).sum())
    assert [out is home for out in given] == [True, False]
    np.testing.assert_array_equal(array(p.grad), 4)


def test_a_parameter_that_is_used_twice_gets_both_gradients(homes):
    p, home = homes
    backward((doubled(p) * 3 + doubled(p) * 5).sum())
    assert sum(out is home for out in given) == 1
    np.testing.assert_array_equal(array(p.grad), 16)


def test_a_gradient_that_the_record_needs_is_not_written_over(homes):
    p, _ = homes
    backward(doubled(p).sum())
    before, p.grad = p.grad, None
    x = minicnn.ones(p.shape, dtype=p.dtype, requires_grad=True)
    backward((doubled(p) + x * before).sum())
    np.testing.assert_array_equal(array(x.grad), 2)
    assert given[-1] is None


def test_outside_of_a_capture_a_gradient_is_copied_to_its_home(homes):
    p, home = homes
    doubled(p).sum().backward()
    assert given == [None]
    assert p.grad_array is home


def test_gradients_that_are_only_asked_for_are_not_put_into_homes(homes):
    p, _ = homes
    found = doubled(p).sum().gradients()
    assert given == [None]
    assert p.grad is None
    np.testing.assert_array_equal(array(minicnn.Tensor(found[p])), 2)


def test_it_holds_the_parameters_it_was_made_of_and_no_others(parameters):
    flat = Flat(parameters, {})
    assert flat.holds(parameters)
    assert not flat.holds(parameters[:2])
    assert not flat.holds([*parameters, nn.Parameter(minicnn.ones(1))])
    assert not flat.holds([parameters[0], parameters[2], parameters[1]])


def test_a_parameter_that_moved_elsewhere_is_no_longer_held(parameters):
    flat = Flat(parameters, {})
    parameters[1].array = parameters[1].array.copy()
    assert not flat.holds(parameters)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_parameter_begins_where_memory_of_its_own_would(dtype):
    sizes = (10, 3, 700, 1)
    parameters = [nn.Parameter(minicnn.ones(n, dtype=getattr(minicnn, dtype))) for n in sizes]
    flat = Flat(parameters, {})
    each = {"float32": [0, 64, 128, 832], "float64": [0, 32, 64, 768]}[dtype]
    assert len(flat.values) == each[-1] + each[1]
    ones = np.flatnonzero(array(minicnn.Tensor(flat.values)))
    assert ones.tolist() == [i + k for i, n in zip(each, sizes, strict=True) for k in range(n)]


@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
def test_a_convolution_writes_its_gradients_to_their_homes(algorithm):
    minicnn.manual_seed(0)
    flat, plain = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    plain.load_state_dict(flat.state_dict())
    Flat(list(flat.parameters()), {})
    x = minicnn.randn(2, 3, 7, 6)
    with context.using(conv_algorithm=algorithm):
        for layer in (flat, plain):
            backward(layer(x).exp().sum())
    for p, q in zip(flat.parameters(), plain.parameters(), strict=True):
        assert p.grad_array is p.grad_home
        np.testing.assert_array_equal(array(p.grad), array(q.grad))
