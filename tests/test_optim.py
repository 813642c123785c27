"""SGD against PyTorch, option by option."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import minicnn
from minicnn import nn
from minicnn.optim import SGD

from .arrays import array

OPTIONS = [
    {"lr": 0.1, "momentum": m, "dampening": d, "weight_decay": w, "nesterov": n}
    for m, d, w, n in itertools.product([0, 0.9], [0, 0.3], [0, 0.05], [False, True])
    if not n or (m and not d)
]


def parameters(dtype="float64"):
    """A matrix and a vector, in minicnn and in PyTorch."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((3, 2)), rng.standard_normal(2)]
    ours = [nn.Parameter(minicnn.tensor(a)) for a in arrays]
    return ours, [torch.nn.Parameter(torch.tensor(a)) for a in arrays]


def loss(w, b):
    return ((w @ w.T).sum(0) * 0.3 + b.sum() * b[0]).exp().sum().log()


def step(optimizer, w, b):
    optimizer.zero_grad()
    loss(w, b).backward()
    optimizer.step()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_twenty_steps_are_pytorchs(options):
    ours, theirs = parameters()
    mine, its = SGD(ours, **options), torch.optim.SGD(theirs, **options)
    for _ in range(20):
        step(mine, *ours)
        step(its, *theirs)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_groups_have_options_of_their_own():
    ours, theirs = parameters()

    def groups(w, b):
        return [{"params": [w], "weight_decay": 0.1}, {"params": [b], "lr": 0.5}]

    mine = SGD(groups(*ours), lr=0.01, momentum=0.9)
    its = torch.optim.SGD(groups(*theirs), lr=0.01, momentum=0.9)
    for _ in range(5):
        step(mine, *ours)
        step(its, *theirs)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_a_rate_changed_in_its_group_is_the_one_used():
    p = nn.Parameter(minicnn.tensor([1.0]))
    optimizer = SGD([p], lr=1.0)
    optimizer.param_groups[0]["lr"] = 0.25
    p.grad = minicnn.tensor([2.0])
    optimizer.step()
    assert p.item() == 0.5


def test_a_parameter_without_a_gradient_stays():
    p = nn.Parameter(minicnn.tensor([1.0]))
    SGD([p], lr=1.0, weight_decay=1.0).step()
    assert p.item() == 1


def test_a_step_changes_parameters_in_their_own_memory():
    p = nn.Parameter(minicnn.tensor([1.0]))
    optimizer = SGD([p], lr=1.0)  # which may give it new memory once, on a GPU
    memory = p.array
    p.grad = minicnn.tensor([1.0])
    optimizer.step()
    assert p.array is memory and p.item() == 0


def test_a_step_leaves_gradients_as_they_are():
    p = nn.Parameter(minicnn.tensor([1.0]))
    p.grad = minicnn.tensor([2.0])
    optimizer = SGD([p], lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(3):
        optimizer.step()
    assert p.grad.item() == 2


def test_zero_grad_forgets_all_gradients():
    ours, _ = parameters()
    loss(*ours).backward()
    SGD(ours).zero_grad()
    assert [p.grad for p in ours] == [None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must be a number at least 0, got -1"),
        ({"lr": float("nan")}, "lr must be a number at least 0, got nan"),
        ({"momentum": -0.5}, "momentum must be a number at least 0"),
        ({"weight_decay": -1}, "weight_decay must be a number at least 0"),
        ({"nesterov": True}, "nesterov needs momentum"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening 0"),
        ({"nesterov": True, "momentum": 0.9, "dampening": -0.1}, "dampening 0"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        SGD(parameters()[0], **options)


def test_defaults_are_pytorchs():
    ours, theirs = parameters()
    own = {k: v for k, v in SGD(ours).param_groups[0].items() if k != "params"}
    other = torch.optim.SGD(theirs).param_groups[0]
    assert own == {name: other[name] for name in own}


def test_parameters_and_groups_do_not_mix():
    ours, _ = parameters()
    with pytest.raises(TypeError, match="expected Parameters, got dict"):
        SGD([ours[0], {"params": [ours[1]]}])


def test_no_parameters_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        SGD([])


def test_what_is_no_parameter_is_refused():
    with pytest.raises(TypeError, match="expected Parameters, got a Tensor that requires no"):
        SGD([minicnn.zeros(2)])


# --- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_norm", [0, 0.01, 1.0, np.float64(1), np.float32(1), 100, float("inf")])
def test_clipping_is_pytorchs(max_norm):
    ours, theirs = parameters()
    loss(*ours).backward()
    loss(*theirs).backward()
    norm = nn.utils.clip_grad_norm_(ours, max_norm)
    other = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert norm.item() == pytest.approx(other.item(), rel=1e-6)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p.grad), array(q.grad), rtol=1e-9)


# --- state ---------------------------------------------------------------------------------------


def test_a_state_goes_on_in_another_optimizer_bit_for_bit():
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
    ours, _ = parameters()
    first = SGD(ours, **options)
    step(first, *ours)
    copies = [nn.Parameter(minicnn.tensor(p.detach())) for p in ours]
    second = SGD(copies, lr=1.0)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        step(first, *ours)
        step(second, *copies)
    for p, q in zip(ours, copies, strict=True):
        np.testing.assert_array_equal(array(p), array(q))


def test_a_loaded_state_is_a_copy():
    ours, _ = parameters()
    first, second = SGD(ours, momentum=0.9), SGD(ours, momentum=0.9)
    step(first, *ours)
    second.load_state_dict(first.state_dict())
    before = array(second.state_dict()["state"][0]["momentum_buffer"]).copy()
    step(first, *ours)
    after = array(second.state_dict()["state"][0]["momentum_buffer"])
    np.testing.assert_array_equal(after, before)


def test_a_state_has_pytorchs_form():
    ours, theirs = parameters()
    mine, its = SGD(ours, momentum=0.9), torch.optim.SGD(theirs, momentum=0.9)
    step(mine, *ours)
    step(its, *theirs)
    state, other = mine.state_dict(), its.state_dict()
    assert state["param_groups"][0].items() <= other["param_groups"][0].items()
    for i in other["state"]:
        np.testing.assert_allclose(
            array(state["state"][i]["momentum_buffer"]), other["state"][i]["momentum_buffer"]
        )


def test_a_state_of_other_parameters_is_refused_and_changes_nothing():
    ours, _ = parameters()
    mine, other = SGD(ours, lr=0.5), SGD(ours[:1], lr=0.1)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters for groups of \[2\]"):
        mine.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters for groups of \[1\]"):
        other.load_state_dict(mine.state_dict())
    reversed_ = SGD(ours[::-1], lr=0.1, momentum=0.9)
    step(reversed_, *ours)
    state = reversed_.state_dict()
    with pytest.raises(ValueError, match=r"momentum 0 has shape \(2,\), the model's is \(3, 2\)"):
        mine.load_state_dict(state)
    del state["state"][0]
    with pytest.raises(ValueError, match=r"momentum 1 has shape \(3, 2\), the model's is \(2,\)"):
        mine.load_state_dict(state)
    assert mine.param_groups[0]["lr"] == 0.5


# --- parameters that come late, and memory laid flat ----------------------------------------------


@pytest.fixture(params=[False, True], ids=["one by one", "flat"])
def flat(request, monkeypatch):
    """Whether all parameters of a group are updated as one array, as on a GPU."""
    monkeypatch.setattr(minicnn.get_default_device().backend, "flat_updates", request.param)
    return request.param


LATE = {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}  # a first velocity is not dampened


def steps(optimizer, params, *gradients):
    """A step for each pair of gradients: numbers, or None for a parameter that gets none."""
    for pair in gradients:
        for p, g in zip(params, pair, strict=True):
            p.grad = None if g is None else (p * 0 + g).detach()
        optimizer.step()


def test_a_parameter_whose_first_gradient_comes_late_is_updated_as_in_pytorch(flat):
    ours, theirs = parameters()
    given = [(1.0, None), (1.0, 2.0), (None, 1.0), (3.0, 1.0), (1.0, 1.0)]
    steps(SGD(ours, **LATE), ours, *given)
    steps(torch.optim.SGD(theirs, **LATE), theirs, *given)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_a_group_without_gradients_does_not_keep_the_next_from_its_step(flat):
    ours, theirs = parameters()
    for params, optimizer in ((ours, SGD), (theirs, torch.optim.SGD)):
        steps(optimizer([{"params": [p]} for p in params], lr=0.1), params, (None, 1.0))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


@pytest.mark.parametrize("first", [(None, None), (1.0, None), (1.0, 2.0)], ids=str)
def test_a_state_of_some_parameters_goes_on_as_in_pytorch(flat, first):
    ours, theirs = parameters()
    for params, optimizer in ((ours, SGD), (theirs, torch.optim.SGD)):
        one, other = optimizer(params, **LATE), optimizer(params, **LATE)
        steps(one, params, first)
        steps(other, params, (5.0, 7.0))
        other.load_state_dict(one.state_dict())
        steps(other, params, (1.0, 1.0), (2.0, 1.0), (1.0, 3.0))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_parameters_of_one_type_are_laid_flat_where_that_is_faster(flat):
    ours, _ = parameters()
    assert bool(SGD(ours)._flat) == flat
    mixed = [ours[0], nn.Parameter(minicnn.ones(2, dtype=minicnn.float32))]
    assert not SGD(mixed)._flat


def test_parameters_stay_flat_from_step_to_step(flat):
    ours, _ = parameters()
    optimizer = SGD(ours, **LATE)
    steps(optimizer, ours, (1.0, 1.0), (1.0, 1.0))
    assert bool(optimizer._flat) == flat


def test_a_group_may_be_empty():
    ours, _ = parameters()
    steps(SGD([{"params": []}, {"params": ours}], lr=0.1), ours, (1.0, 2.0))
