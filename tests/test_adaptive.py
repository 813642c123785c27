"""The optimisers of optim/adaptive.py beside PyTorch's, step by step, and what they refuse."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import minicnn
from minicnn import nn

from .arrays import array

SETTINGS = {
    "Adam": ("Adam", {}),
    "Adam, all": ("Adam", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    "AdamW": ("AdamW", {"lr": 0.05}),
    "AdamW, without": ("AdamW", {"lr": 0.05, "weight_decay": 0}),
    "Adadelta": ("Adadelta", {}),
    "Adadelta, all": ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-4, "weight_decay": 0.1}),
    "RMSprop": ("RMSprop", {}),
    "RMSprop, all": ("RMSprop", {"lr": 0.1, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1}),
    "Adagrad": ("Adagrad", {}),
    "Adagrad, all": (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.3},
    ),
    "SGD": ("SGD", {"lr": 0.1, "momentum": 0.9}),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS)
adaptive = pytest.mark.parametrize("setting", [name for name in SETTINGS if name != "SGD"])


def problem(L, setting, dtype="float64"):
    """Two parameters, of which one is a convolution's, and their optimiser."""
    rng = np.random.default_rng(0)
    shapes = (3, 2, 2, 2), (4,)
    params = [L.nn.Parameter(L.tensor(rng.standard_normal(s).astype(dtype))) for s in shapes]
    name, options = SETTINGS[setting]
    return params, getattr(L.optim, name)(params, **options)


def steps(L, params, optimizer, count, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        optimizer.zero_grad()
        for p in params:
            p.grad = L.tensor(rng.standard_normal(tuple(p.shape)), dtype=p.dtype)
        optimizer.step()


@every_setting
def test_ten_steps_are_pytorchs(setting):
    results = []
    for L in (minicnn, torch):
        params, optimizer = problem(L, setting)
        steps(L, params, optimizer, 10)
        results.append([array(p) for p in params])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@every_setting
def test_an_optimiser_prints_as_pytorchs(setting):
    assert repr(problem(minicnn, setting)[1]) == repr(problem(torch, setting)[1])


@every_setting
def test_a_state_of_pytorchs_goes_on_here_as_there(setting):
    theirs, its = problem(torch, setting)
    steps(torch, theirs, its, 3)
    ours, mine = problem(minicnn, setting)
    for p, q in zip(ours, theirs, strict=True):
        p.detach().copy_(minicnn.tensor(array(q)))
    state = copy.deepcopy(its.state_dict())
    for entry in state["state"].values():
        for name, value in entry.items():
            entry[name] = minicnn.tensor(array(value))
    mine.load_state_dict(state)
    for L, params, optimizer in ((minicnn, ours, mine), (torch, theirs, its)):
        steps(L, params, optimizer, 3, seed=2)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-10)


@every_setting
def test_a_state_has_pytorchs_names_and_a_copy_goes_on_alike(setting):
    params, optimizer = problem(minicnn, setting)
    steps(minicnn, params, optimizer, 2)
    its = problem(torch, setting)
    steps(torch, *its, 2)
    state, other = optimizer.state_dict(), its[1].state_dict()
    assert {i: {*entry} for i, entry in state["state"].items()} == {
        i: {n for n, v in entry.items() if v is not None} for i, entry in other["state"].items()
    }
    twins, twin = problem(minicnn, setting)
    for p, q in zip(twins, params, strict=True):
        p.detach().copy_(q.detach())
    twin.load_state_dict(state)
    steps(minicnn, params, optimizer, 2, seed=3)
    steps(minicnn, twins, twin, 2, seed=3)
    for p, q in zip(twins, params, strict=True):
        np.testing.assert_array_equal(array(p), array(q))


@adaptive
def test_what_is_kept_follows_a_parameter_to_another_type(setting):
    params, optimizer = problem(minicnn, setting)
    steps(minicnn, params, optimizer, 1)
    for p in params:
        p.data, p.grad = p.data.float(), None
    steps(minicnn, params, optimizer, 1)
    kept = optimizer.state_dict()["state"][0]
    assert {v.dtype for name, v in kept.items() if name != "step"} == {minicnn.float32}


@adaptive
def test_a_parameter_without_a_gradient_stays_and_counts_no_step(setting):
    (first, second), optimizer = problem(minicnn, setting)
    before = array(second).copy()
    steps(minicnn, [first], optimizer, 2)
    np.testing.assert_array_equal(array(second), before)
    assert [*optimizer.state_dict()["state"]] == [0]


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: minicnn.optim.Adam(p, lr=-1), "Adam: lr must be a number at least 0, got -1"),
        (lambda p: minicnn.optim.Adam(p, betas=0.9), "Adam: betas must be two numbers, got 0.9"),
        (lambda p: minicnn.optim.Adam(p, betas=(0.9, 1.0)), "betas must be below 1"),
        (lambda p: minicnn.optim.AdamW(p, eps="a"), "AdamW: eps must be a number"),
        (lambda p: minicnn.optim.Adadelta(p, rho=1.5), "Adadelta: rho must be a number"),
        (lambda p: minicnn.optim.Adagrad(p, lr_decay=-1), "Adagrad: lr_decay must be a number"),
    ],
)
def test_an_option_out_of_range_is_refused_as_pytorch_refuses_it(make, message):
    with pytest.raises(ValueError, match=message):
        make([nn.Parameter(minicnn.zeros(2))])


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("name", "option"),
    [("Adam", "amsgrad"), ("AdamW", "maximize"), ("RMSprop", "centered"), ("Adagrad", "fused")],
)
def test_what_pytorch_alone_has_is_refused_by_name(name, option):
    with pytest.raises(NotImplementedError, match=f"{name}: {option} is not supported"):
        getattr(minicnn.optim, name)([nn.Parameter(minicnn.zeros(2))], **{option: True})


@pytest.mark.cpu
def test_an_option_that_there_is_not_is_no_argument():
    with pytest.raises(TypeError, match="there is no option 'momentun'"):
        minicnn.optim.RMSprop([nn.Parameter(minicnn.zeros(2))], momentun=0.9)


@pytest.mark.cpu
@pytest.mark.parametrize(
    "damage",
    [
        {"step": -1},
        {"step": "x"},
        {"step": None},
        {"exp_avg": 3},
        {"exp_avg_sq": None},
        {"other": 1},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage):
    params, optimizer = problem(minicnn, "Adam")
    steps(minicnn, params, optimizer, 1)
    state = optimizer.state_dict()
    before = array(state["state"][0]["exp_avg"]).copy()
    state["state"][0] = {**state["state"][0], **damage}
    with pytest.raises(ValueError, match="Adam"):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()["state"][0]
    assert after["step"] == 1
    np.testing.assert_array_equal(array(after["exp_avg"]), before)


@pytest.mark.cpu
def test_averages_of_another_shape_are_refused_and_nothing_changes():
    params, optimizer = problem(minicnn, "Adam")
    steps(minicnn, params, optimizer, 1)
    last = params[-1]
    last.data = minicnn.zeros(7, dtype=last.dtype)
    last.grad = minicnn.ones(7, dtype=last.dtype)
    params[0].grad = minicnn.ones_like(params[0])
    before = array(params[0]).copy()
    with pytest.raises(RuntimeError, match=r"Adam: a parameter of shape \(7,\) had .* before"):
        optimizer.step()
    np.testing.assert_array_equal(array(params[0]), before)
