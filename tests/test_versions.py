"""Values changed in place between forward and backward: an error, or the right gradient."""

from __future__ import annotations

import gc
from collections import deque
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import nn, optim, versions
from minicnn.autograd import operation
from minicnn.nn import functional as F
from minicnn.tensor import Tensor

from .arrays import array

CHANGED = r"changed in place afterwards, by {}"


def leaf(*values):
    return minicnn.tensor(list(values), dtype=minicnn.float64, requires_grad=True)


# --- by whom -------------------------------------------------------------------------------------


def loaded(p):
    module = nn.Module()
    module.p = nn.Parameter(p.detach())
    module.load_state_dict({"p": 2 * p.detach()})


def assigned(p):
    p[0] = 5


def increased(p):
    p += 1


CHANGES = {
    r"\[…\] =": assigned,
    r"\+=": increased,
    "fill_": lambda p: p.fill_(3),
    "copy_": lambda p: p.copy_(2 * p),
    r"\*=": lambda p: p.detach().__imul__(2),
    "zero_|fill_": lambda p: p.data.zero_(),
    "uniform_|copy_": lambda p: nn.init.uniform_(p),
    "load_state_dict": loaded,
}


@pytest.mark.parametrize("by", CHANGES)
def test_whatever_changes_a_value_is_named(by):
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    z = (x * y).sum()
    with minicnn.no_grad():
        CHANGES[by](y)
    with pytest.raises(RuntimeError, match=rf"<multiply>.*{CHANGED.format(by)}"):
        z.backward()


VIEWS = {
    "a slice": lambda p: p[1:],
    "a row": lambda p: p[0],
    "by a tensor without axes": lambda p: p[minicnn.tensor(1)],
    "the transpose": lambda p: p.t(),
    "another shape": lambda p: p.reshape(-1),
    "without an axis of 1": lambda p: p.unsqueeze(0).squeeze(),
    "NumPy's own": lambda p: minicnn.from_numpy(p.detach().numpy()),
    "a view of a view": lambda p: p.t()[1:].detach()[:1],
    "a parameter": lambda p: nn.Parameter(p.detach()),
}


@pytest.mark.cpu
@pytest.mark.parametrize("view", VIEWS)
def test_a_change_through_a_view_is_one(view):
    p = minicnn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    z = (p * p).sum()
    with minicnn.no_grad():
        VIEWS[view](p).fill_(7)
    assert (array(p) == 7).any()
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()


def test_a_gradient_that_is_used_and_then_added_to_is_a_change():
    x, w = leaf(2.0), leaf(3.0)
    (x * x).sum().backward()
    z = (x.grad * w).sum()
    (x * x).sum().backward()
    with pytest.raises(RuntimeError, match=r"by backward\(\)"):
        z.backward()


def test_clipped_gradients_are_changed():
    x, w = leaf(20.0), leaf(3.0)
    (x * x).sum().backward()
    z = (x.grad * w).sum()
    nn.utils.clip_grad_norm_([x], 1.0)
    with pytest.raises(RuntimeError, match="clip_grad_norm_"):
        z.backward()


def test_an_output_that_its_derivative_needs_is_watched_too():
    x = leaf(1.0)
    y = x.exp()
    with minicnn.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match=r"<exp>"):
        y.sum().backward()


def test_the_example_of_a_second_loss_after_a_step():
    a, b = nn.Parameter(minicnn.tensor([2.0])), nn.Parameter(minicnn.tensor([3.0]))
    optimizer = optim.SGD([a, b], lr=0.1)
    y = a * b
    y.sum().backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"SGD\.step"):
        (y * y).sum().backward()


# --- what is no fault ----------------------------------------------------------------------------


def test_what_no_derivative_needs_may_change():
    x, y = leaf(1.0), leaf(2.0)
    z = (x + y).sum()
    with minicnn.no_grad():
        x.fill_(5)
        y.fill_(6)
    z.backward()
    assert x.grad.item() == y.grad.item() == 1


def test_a_factor_may_change_that_only_the_frozen_one_needs():
    x, y = leaf(1.0), minicnn.tensor([2.0], dtype=minicnn.float64)
    z = (x * y).sum()
    with minicnn.no_grad():
        x.fill_(5)  # only y's gradient needs x
    z.backward()
    assert x.grad.item() == 2


def test_values_may_be_replaced_as_the_tape_keeps_the_old_ones():
    x = leaf(2.0)
    z = (x * x).sum()
    x.data = minicnn.tensor([9.0], dtype=minicnn.float64)
    z.backward()
    assert x.grad.item() == 4


def test_a_training_loop_changes_weights_between_its_steps():
    layer = nn.Conv2d(1, 2, 3)
    optimizer = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        F.relu(layer(minicnn.ones(1, 1, 5, 5))).sum().backward()
        optimizer.step()


def test_nothing_is_freed_or_added_when_it_is_refused():
    x, y = leaf(1.0), leaf(2.0)
    z = (x * y + x).sum()
    with minicnn.no_grad():
        y += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    assert x.grad is None
    with minicnn.no_grad():
        y -= 1
    with pytest.raises(RuntimeError, match="changed in place"):  # still there, still refused
        z.backward()


def test_memory_that_has_gone_leaves_no_count_behind():
    gc.collect()
    before = len(versions._changes)
    for _ in range(100):
        minicnn.zeros(3).fill_(1)
    gc.collect()
    assert len(versions._changes) <= before + 1


def test_weights_may_change_that_only_trained_biases_stand_beside():
    layer = nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    y = layer(minicnn.ones(4, 3))
    with minicnn.no_grad():
        layer.weight += 1
    y.sum().backward()


@pytest.mark.parametrize("call", [F.linear, lambda x, w: x @ w.t()])
def test_weights_of_a_first_layer_may_change_as_its_images_need_no_gradient(call):
    w = minicnn.ones(2, 3, requires_grad=True)
    y = call(minicnn.ones(4, 3), w)
    y.sum().backward(retain_graph=True)
    with minicnn.no_grad():
        w += 1
    y.sum().backward()


def test_velocities_that_a_program_uses_are_watched():
    p = nn.Parameter(minicnn.ones(2))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    (p * p).sum().backward()
    optimizer.step()
    x = minicnn.ones(2, requires_grad=True)
    y = (x * optimizer.state_dict()["state"][0]["momentum_buffer"]).sum()
    (p * p).sum().backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"SGD\.step"):
        y.backward()


def test_what_was_frozen_since_gets_no_gradient():
    x, y = leaf(1.0), leaf(2.0)
    z = (x * y).sum()
    y.requires_grad_(False)
    z.backward()
    assert x.grad.item() == 2
    assert y.grad is None


def test_an_index_that_changes_later_is_the_one_that_was_used():
    for index in (minicnn.tensor([0, 2]), [0, 2], np.array([0, 2])):
        x = leaf(1.0, 2.0, 3.0)
        y = x[index]
        index[0] = 1
        y.sum().backward()
        assert x.grad.tolist() == [1, 0, 1]
    x = minicnn.tensor([[1.0, 2.0], [4.0, 3.0]], requires_grad=True)
    values, indices = x.max(1)
    indices.fill_(0)
    values.sum().backward()
    assert x.grad.tolist() == [[0, 1], [1, 0]]


# --- wherever a VJP keeps it ---------------------------------------------------------------------


class Times:
    def __init__(self, y):
        self.y = y

    def __call__(self, g):
        return g * self.y

    def method(self, g):
        return g * self.y


def times(y, g):
    return g * y


class Slots:
    __slots__ = ("y",)

    def __init__(self, y):
        self.y = y

    def vjp(self, g):
        return g * self.y


GLOBAL = []


def of_a_global(y):
    GLOBAL[:] = [y]
    return lambda g: g * GLOBAL[0]


KEPT = {
    "slots": lambda y: Slots(y).vjp,
    "namespace": lambda y: (lambda space: lambda g: g * space.y)(SimpleNamespace(y=y)),
    "deque": lambda y: (lambda ys: lambda g: g * ys[0])(deque([y])),
    "bound method of the array": lambda y: lambda g, times=y.__mul__: times(g),
    "a global": of_a_global,
    "a tensor": lambda y: (lambda t: lambda g: g * t.array)(Tensor(y)),
    "closure": lambda y: lambda g: g * y,
    "default": lambda y: lambda g, y=y: g * y,
    "keyword default": lambda y: lambda g, *, y=y: g * y,
    "partial": lambda y: partial(times, y),
    "object": Times,
    "method": lambda y: Times(y).method,
    "list": lambda y: (lambda ys: lambda g: g * ys[0])([y]),
    "dict": lambda y: (lambda ys: lambda g: g * ys["y"])({"y": y}),
    "function in a function": lambda y: (lambda f: lambda g: f(g))(lambda g: g * y),
    "view": lambda y: (lambda v: lambda g: g * v[::-1])(y[::-1]),
}


@pytest.mark.parametrize("way", KEPT)
def test_a_value_is_found_wherever_an_operation_of_ones_own_keeps_it(way):
    @operation
    def product(x, y):
        return x * y, KEPT[way](y), None

    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    z = product(x, y).sum()
    with minicnn.no_grad():
        y += 1
    with pytest.raises(RuntimeError, match="<product>"):
        z.backward()


# --- as a property: an error, or what it would have been -----------------------------------------

UNARY = {
    "exp": lambda L, x: x.exp(),
    "log": lambda L, x: (x * x + 1).log(),
    "sqrt": lambda L, x: (x * x + 1).sqrt(),
    "negative": lambda L, x: -x,
    "square": lambda L, x: x * x,
    "cube": lambda L, x: x**3,
    "sigmoid": lambda L, x: x.sigmoid(),
    "relu": lambda L, x: x.relu(),
    "abs": lambda L, x: x.abs(),
    "transpose": lambda L, x: x.t(),
    "slice": lambda L, x: x[1:],
    "clone": lambda L, x: x.clone(),
    "twice": lambda L, x: 2 * x,
    "mean": lambda L, x: x - x.mean(0, keepdim=True),
    "product": lambda L, x: x @ x.t(),
    "softmax": lambda L, x: L.softmax(x, 1),
    "detached": lambda L, x: x * x.detach(),
}


@given(
    st.lists(st.sampled_from(sorted(UNARY)), min_size=1, max_size=5),
    st.integers(0, 5),
    st.booleans(),
)
def test_a_gradient_is_never_silently_wrong(names, which, through_a_view):
    """PyTorch says what would be right: the gradient without the change."""
    start = np.random.default_rng(len(names)).standard_normal((3, 3))

    def record(L):
        x = L.tensor(start, requires_grad=True)
        values = [x]
        for name in names:
            values.append(UNARY[name](L, values[-1]))
        return values

    ours, theirs = record(minicnn), record(torch)
    theirs[-1].sum().backward()
    target = ours[which % len(ours)]
    with minicnn.no_grad():
        (target[:1] if through_a_view else target).fill_(0.5)
    try:
        ours[-1].sum().backward()
    except RuntimeError as error:
        if "changed in place" in str(error):
            return
        raise
    np.testing.assert_allclose(array(ours[0].grad), array(theirs[0].grad), rtol=1e-12, atol=1e-12)
