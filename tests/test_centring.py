"""Filters that begin without a mean, and gradients that leave it so."""

from __future__ import annotations

import numpy as np

import minicnn
from minicnn import nn
from minicnn.utils.data import TensorDataset
from nin.centring import centre_filters_, centre_gradients_
from nin.fit import Training
from nin.presets import Preset

from .arrays import array


def means(weight):
    return array(weight).mean(axis=(1, 2, 3))


def test_centred_filters_have_mean_0_and_the_variance_that_centred_relus_need():
    weight = minicnn.rand(3, 4, 5, 5)
    centre_filters_(weight)
    filters = array(weight).reshape(3, 100)
    np.testing.assert_allclose(filters.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(filters.var(1) * 100, 2 / (1 - 1 / np.pi), rtol=1e-5)


def test_each_filter_of_several_channels_has_the_mean_of_its_gradient_taken_away():
    layer = nn.Conv2d(2, 3, 3)
    layer.weight.grad, layer.bias.grad = minicnn.rand(3, 2, 3, 3), minicnn.rand(3)
    before = array(layer.weight.grad).copy(), array(layer.bias.grad).copy()
    centre_gradients_(layer.parameters())
    expected = before[0] - before[0].mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(array(layer.weight.grad), expected, atol=1e-6)
    np.testing.assert_array_equal(array(layer.bias.grad), before[1])


def test_what_sees_the_images_themselves_and_what_has_no_gradient_is_left_alone():
    first, frozen = nn.Conv2d(1, 3, 3), nn.Conv2d(2, 3, 3)
    first.weight.grad = gradient = minicnn.rand(3, 1, 3, 3)
    before = array(gradient).copy()
    centre_gradients_([first.weight, frozen.weight])
    np.testing.assert_array_equal(array(gradient), before)
    assert frozen.weight.grad is None


def test_filters_stay_centred_through_a_training_with_momentum_and_decay():
    minicnn.manual_seed(0)
    preset = Preset(
        epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.1, centre_gradients=True
    )
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    centre_filters_(model[2].weight)
    before = array(model[2].weight).copy()
    data = TensorDataset(minicnn.rand(24, 1, 4, 4), minicnn.randint(0, 10, (24,)))
    Training(model, preset, data, data).fit()
    assert np.abs(array(model[2].weight) - before).max() > 1e-3
    np.testing.assert_allclose(means(model[2].weight), 0, atol=1e-6)
