"""Parameters laid one after another in memory keep their values, and are known again."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import nn
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
    velocity = {parameters[1]: tensor(np.full((2, 4), 7.0)).array}
    flat = Flat(parameters, velocity)
    for p in parameters:
        p.grad = minicnn.ones(p.shape, dtype=p.dtype)
    flat.collect_gradients()
    flat.values[...] = 5
    assert [array(p).ravel().tolist() for p in parameters] == [[5.0] * n for n in (3, 8, 90)]
    assert minicnn.Tensor(flat.gradients).sum().item() == 3 + 8 + 90
    assert minicnn.Tensor(flat.velocities).sum().item() == 8 * 7
    assert minicnn.Tensor(flat.velocity[parameters[1]]).sum().item() == 8 * 7


def test_gradients_are_put_in_place_from_then_on(parameters):
    flat = Flat(parameters, {})
    for p in parameters:
        (2 * p).sum().backward()
    assert minicnn.Tensor(flat.gradients).sum().item() == 2 * (3 + 8 + 90)


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
