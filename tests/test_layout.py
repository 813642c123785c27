"""Filters have their channels last in memory, and keep them there wherever they go."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.backends.layout import inverse, memory_order

from .arrays import array

SHAPE = (5, 4, 3, 2)


def channels_last(x):
    """Whether x (N, C, H, W) lies in memory as a contiguous (N, H, W, C)."""
    return bool(x.transpose(0, 2, 3, 1).flags.c_contiguous)


@pytest.fixture
def filters():
    return nn.Conv2d(4, 5, (3, 2)).weight


def loaded(state, path):
    minicnn.save(state, path)
    return minicnn.load(path)


WAYS = {
    "to another type": lambda w, _: w.double(),
    "to the CPU": lambda w, _: w.cpu(),
    "there and back": lambda w, _: w.cpu().to(w.device),
    "clone": lambda w, _: w.clone(),
    "contiguous": lambda w, _: w.contiguous(),
    "copy": lambda w, _: copy.copy(w),
    "deepcopy": lambda w, _: copy.deepcopy(w),
    "pickle": lambda w, _: pickle.loads(pickle.dumps(w)),
}


@pytest.mark.parametrize("way", WAYS)
def test_filters_have_their_channels_last_after(way, filters, tmp_path):
    moved = WAYS[way](filters, tmp_path)
    assert channels_last(moved.array)
    np.testing.assert_array_equal(array(moved), array(filters))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_gradients_lie_in_a_copy_as_they_did(way):
    w = nn.Conv2d(4, 5, (3, 2)).weight.detach().requires_grad_()
    w.grad = w.detach().clone()
    assert channels_last(way(w).grad.array)


def test_what_shares_an_array_shares_its_deepcopy(filters):
    one, other = copy.deepcopy([filters, filters.detach()])
    one.detach().fill_(7)
    assert other[0, 0, 0, 0].item() == 7


def test_a_network_that_moves_keeps_its_layout(backend):
    layer = nn.Conv2d(4, 5, (3, 2), device="cpu").to(backend.device_type)
    assert channels_last(layer.weight.array)
    assert channels_last(layer.cpu().weight.array)


@pytest.mark.parametrize("through_a_file", [False, True])
def test_a_network_that_is_loaded_keeps_its_layout(through_a_file, tmp_path):
    source, layer = nn.Conv2d(4, 5, (3, 2)), nn.Conv2d(4, 5, (3, 2))
    state = source.state_dict()
    layer.load_state_dict(loaded(state, tmp_path / "net") if through_a_file else state)
    assert channels_last(layer.weight.array)
    np.testing.assert_array_equal(array(layer.weight), array(source.weight))


def test_a_copy_into_filters_keeps_their_layout(filters):
    with minicnn.no_grad():
        filters.copy_(minicnn.ones(SHAPE))
    assert channels_last(filters.array)
    assert filters.detach().sum().item() == 120


def test_an_optimiser_keeps_filters_gradients_and_momentum_in_their_layout():
    layer = nn.Conv2d(4, 5, (3, 2))
    optimizer = optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    layer(minicnn.ones(1, 4, 5, 5)).sum().backward()
    optimizer.step()
    momentum = optimizer.state_dict()["state"][0]["momentum_buffer"].array
    for x in (layer.weight.array, layer.weight.grad.array, momentum):
        assert channels_last(x)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_memory_order_is_what_an_array_was_permuted_by(axes, backend):
    x = backend.xp.zeros((2, 3, 4, 5)).transpose(axes)
    order, back = memory_order(x)
    assert x.transpose(order).flags.c_contiguous
    assert order == inverse(axes)
    assert back == list(axes)


def test_an_array_that_runs_backwards_has_an_order_too(backend):
    order, _ = memory_order(backend.xp.zeros((2, 3))[:, ::-1].T)
    assert order == [1, 0]
