"""Lazy layers: what they become, when, and what they say before."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import minicnn
from minicnn import nn, random

from .arrays import array

LAYERS = {
    "linear": (lambda L: L.nn.LazyLinear(3), (2, 5), ("Linear", (3, 5))),
    "linear, no bias": (lambda L: L.nn.LazyLinear(3, bias=False), (5,), ("Linear", (3, 5))),
    "conv2d": (
        lambda L: L.nn.LazyConv2d(4, 3, stride=2, padding=1),
        (2, 6, 5, 5),
        ("Conv2d", (4, 6, 3, 3)),
    ),
    "conv2d of one image": (
        lambda L: L.nn.LazyConv2d(4, (1, 2)),
        (6, 5, 5),
        ("Conv2d", (4, 6, 1, 2)),
    ),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def network(L):
    return L.nn.Sequential(
        L.nn.LazyConv2d(4, 3), L.nn.ReLU(), L.nn.Flatten(), L.nn.LazyLinear(2), L.nn.LazyLinear(1)
    )


@every_layer
def test_the_first_call_makes_it_the_layer_that_pytorch_makes(name):
    make, shape, (kind, weight) = LAYERS[name]
    ours, theirs = make(minicnn), make(torch)
    assert repr(ours) == repr(theirs)
    assert ours(minicnn.ones(*shape)).shape == tuple(theirs(torch.ones(*shape)).shape)
    assert repr(ours) == repr(theirs)
    assert type(ours) is getattr(nn, kind)
    assert ours.weight.shape == weight


@every_layer
def test_it_is_drawn_as_the_layer_it_becomes(name):
    make, shape, (kind, weight) = LAYERS[name]
    minicnn.manual_seed(3)
    lazy = make(minicnn)
    lazy(minicnn.ones(*shape))
    minicnn.manual_seed(3)
    sizes = (weight[2:],) if kind == "Conv2d" else ()
    eager = getattr(nn, kind)(weight[1], weight[0], *sizes, bias=lazy.bias is not None)
    np.testing.assert_array_equal(array(lazy.weight), array(eager.weight))


@every_layer
def test_before_the_first_call_nobody_can_look_at_its_parameters(name):
    layer = LAYERS[name][0](minicnn)
    for look in (
        lambda: layer.weight.shape,
        lambda: layer.weight.numel(),
        lambda: nn.init.zeros_(layer.weight),
        layer.state_dict,
    ):
        with pytest.raises(ValueError, match="has no shape before the layer's first call"):
            look()


def test_what_is_written_into_its_data_before_comes_to_nothing_with_a_warning():
    """The textbook's linear regression does that."""
    layer = nn.LazyLinear(1)
    with pytest.warns(UserWarning, match="comes to nothing"):
        layer.weight.data.normal_(0, 0.01)
    layer(minicnn.ones(1, 2))
    assert layer.weight.shape == (1, 2)
    layer.weight.data = minicnn.zeros(1, 2)
    assert not layer.weight.any()


def test_an_optimiser_made_before_the_first_call_steps_after_it():
    net = network(minicnn)
    optimizer = minicnn.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(minicnn.ones(2, 1, 4, 4)).sum().backward()
    before = array(net[0].weight).copy()
    optimizer.step()
    assert (array(net[0].weight) != before).any()


def test_it_loads_a_state_that_says_its_shape():
    source = network(minicnn)
    source(minicnn.ones(1, 2, 4, 4))
    net = network(minicnn)
    assert str(net.load_state_dict(source.state_dict())) == "<All keys matched successfully>"
    x = minicnn.randn(3, 2, 4, 4)
    np.testing.assert_array_equal(array(net(x)), array(source(x)))


def test_a_state_that_does_not_fit_is_refused():
    with pytest.raises(RuntimeError):
        nn.LazyLinear(3).load_state_dict({"weight": minicnn.zeros(4, 5), "bias": minicnn.zeros(3)})


def test_it_is_moved_before_it_has_a_shape():
    layer = nn.LazyLinear(3).to(minicnn.float64)
    assert layer(minicnn.ones(2, 5, dtype=minicnn.float64)).dtype == minicnn.float64


def test_a_copy_made_before_becomes_a_layer_by_itself():
    layer = nn.LazyLinear(3)
    twin = copy.deepcopy(layer)
    twin(minicnn.ones(1, 2))
    layer(minicnn.ones(1, 7))
    assert (twin.in_features, layer.in_features) == (2, 7)


def test_an_input_without_the_axis_is_refused_in_words():
    with pytest.raises(ValueError, match=r"expected an axis -3, got \(2, 2\)"):
        nn.LazyConv2d(1, 1)(minicnn.ones(2, 2))


@every_layer
def test_a_first_input_that_is_refused_fixes_nothing(name):
    make, shape, (kind, weight) = LAYERS[name]
    model = make(minicnn)
    before, parameters = repr(model), list(model.parameters())
    drawn = random.default_generator.get_state()
    wrong = list(shape)
    wrong[-3 if kind == "Conv2d" else -1] = 2
    with pytest.raises(RuntimeError, match="one floating-point type"):
        model(minicnn.ones(*wrong, dtype=minicnn.float64))
    assert repr(model) == before
    assert random.default_generator.get_state() == drawn
    model(minicnn.ones(*shape))
    assert (type(model), model.weight.shape) == (getattr(nn, kind), weight)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
