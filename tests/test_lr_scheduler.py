"""Learning-rate schedules against PyTorch's, step by step."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import nn
from minicnn.optim import SGD, lr_scheduler


def optimizers(lr=0.1, **options):
    """An optimiser with two groups, in minicnn and in PyTorch."""
    made = []
    for parameter, sgd in (
        (nn.Parameter(minicnn.zeros(1)), SGD),
        (torch.nn.Parameter(torch.zeros(1)), torch.optim.SGD),
    ):
        other = type(parameter)(parameter.detach())
        groups = [{"params": [parameter]}, {"params": [other], "lr": 2 * lr}]
        made.append(sgd(groups, lr=lr, **options))
    return made


SCHEDULES = [
    ("MultiStepLR", {"milestones": [3, 7]}),
    ("MultiStepLR", {"milestones": [0, 5, 5], "gamma": 0.5}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 20}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 20, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 15, "pct_start": 0.1, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 7, "div_factor": 4.0, "final_div_factor": 10.0}),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 2, "pct_start": 0.1}),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9, "base_momentum": 0.5, "max_momentum": 0.99}),
    ("OneCycleLR", {"max_lr": 1, "epochs": 3, "steps_per_epoch": 4}),
    ("MultiStepLR", {"milestones": np.array([7, 3, 3]), "gamma": np.float64(0.3)}),
    ("MultiStepLR", {"milestones": []}),
    ("MultiStepLR", {"milestones": range(5), "gamma": 1}),
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.7}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LambdaLR", {"lr_lambda": lambda step: 0.95**step}),
    ("LambdaLR", {"lr_lambda": [lambda step: 1 / (1 + step), lambda step: 1.0]}),
    ("CosineAnnealingLR", {"T_max": 12}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.01}),
]


def described(value):
    """The same in every process: a function has an address."""
    return re.sub(r" at 0x\w+", "", str(value))


@pytest.mark.parametrize(("name", "settings"), SCHEDULES, ids=described)
@pytest.mark.filterwarnings("ignore:Detected call of")  # there is no step of the optimiser here
def test_rates_and_momentum_are_pytorchs(name, settings):
    mine, its = optimizers(momentum=0.9)
    ours = getattr(lr_scheduler, name)(mine, **settings)
    theirs = getattr(torch.optim.lr_scheduler, name)(its, **settings)
    for _ in range(settings.get("total_steps", 12)):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12, abs=1e-15)
        momenta = [[g["momentum"] for g in side.param_groups] for side in (mine, its)]
        assert momenta[0] == pytest.approx(momenta[1], rel=1e-12)
        ours.step()
        theirs.step()


@pytest.mark.parametrize(("name", "settings"), SCHEDULES, ids=described)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_a_rate_that_was_changed_by_hand_goes_on_as_pytorchs(name, settings):
    mine, its = optimizers(momentum=0.9)
    ours = getattr(lr_scheduler, name)(mine, **settings)
    theirs = getattr(torch.optim.lr_scheduler, name)(its, **settings)
    for step in range(min(settings.get("total_steps", 12), 12) - 1):
        if step in (1, 2, 6):
            mine.param_groups[0]["lr"] = its.param_groups[0]["lr"] = 0.3
        ours.step()
        theirs.step()
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("name", "settings"), SCHEDULES, ids=described)
def test_a_state_goes_on_in_another_scheduler(name, settings):
    (first, _), (second, _) = optimizers(momentum=0.9), optimizers(momentum=0.9)
    ours = getattr(lr_scheduler, name)(first, **settings)
    ours.step()
    other = getattr(lr_scheduler, name)(second, **settings)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(ours.state_dict())
    ours.step()
    other.step()
    assert other.get_last_lr() == ours.get_last_lr()


@given(
    total=st.integers(1, 12),
    rise=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    strategy=st.sampled_from(["cos", "linear"]),
    number=st.sampled_from([float, np.float64]),
)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_any_cycle_is_pytorchs_and_stays_at_its_end(total, rise, strategy, number):
    mine, its = optimizers(momentum=0.9)
    settings = (None, None, number(rise), strategy)
    ours = lr_scheduler.OneCycleLR(mine, number(0.4), np.int64(total), *settings)
    try:
        theirs = torch.optim.lr_scheduler.OneCycleLR(its, 0.4, total, None, None, rise, strategy)
    except ZeroDivisionError:  # the rise ends at its first step
        assert rise * total == 1
        assert ours.get_last_lr() == [0.4, 0.4]
        return
    for i in range(total):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-9, abs=1e-15)
        last = ours.get_last_lr(), [g["momentum"] for g in mine.param_groups]
        ours.step()
        if i < total - 1:
            theirs.step()
    assert (ours.get_last_lr(), [g["momentum"] for g in mine.param_groups]) == last
    assert {type(lr) for lr in ours.get_last_lr()} == {float}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_steps": 0}, "total_steps must be an int ≥ 1, got 0"),
        ({"total_steps": 5, "pct_start": 1.5}, "pct_start must be .* and at most 1, got 1.5"),
        ({"total_steps": 5, "anneal_strategy": "exp"}, "must be one of 'cos', 'linear', got 'exp'"),
        ({"total_steps": 5}, "cycle_momentum needs an optimiser with momentum"),
        ({"total_steps": 5.0}, "total_steps must be an int ≥ 1, got 5.0"),
        ({}, "total_steps, or epochs and steps_per_epoch, must be given"),
        ({"epochs": 3}, "total_steps, or epochs and steps_per_epoch, must be given"),
        ({"epochs": 0, "steps_per_epoch": 3}, "epochs must be an int ≥ 1, got 0"),
        ({"epochs": 3, "steps_per_epoch": 1.5}, "steps_per_epoch must be an int ≥ 1"),
        ({"total_steps": 5, "max_lr": [0.1, 0.2]}, r"max_lr must be a number.*\[0.1, 0.2\]"),
        ({"total_steps": 5, "max_lr": float("nan")}, "max_lr must be a number at least 0, got nan"),
        ({"total_steps": 5, "div_factor": 0}, "div_factor must be a number above 0, got 0"),
        ({"total_steps": 5, "final_div_factor": 0}, "final_div_factor must be a number above 0"),
        ({"total_steps": 5, "max_momentum": "1"}, "max_momentum must be a number at least 0"),
        ({"total_steps": 5, "three_phase": True}, "three_phase is not supported"),
        ({"total_steps": 5, "last_epoch": 3}, "last_epoch must be -1, got 3"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name_and_changes_nothing(settings, message):
    optimizer = optimizers(momentum=0 if message.startswith("cycle") else 0.9)[0]
    before = optimizer.state_dict()["param_groups"]
    with pytest.raises((ValueError, NotImplementedError), match=message):
        lr_scheduler.OneCycleLR(optimizer, **{"max_lr": 1, **settings})
    assert optimizer.state_dict()["param_groups"] == before


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"milestones": 3}, TypeError, "milestones must be several, got 3"),
        ({"milestones": [2.5]}, ValueError, "a milestone must be an int ≥ 0, got 2.5"),
        ({"milestones": [-1]}, ValueError, "a milestone must be an int ≥ 0, got -1"),
        ({"milestones": ["a"]}, ValueError, "a milestone must be an int ≥ 0, got 'a'"),
        ({"milestones": [1], "gamma": -1}, ValueError, "gamma must be a number at least 0"),
        ({"milestones": [1], "gamma": float("nan")}, ValueError, "gamma must be a number"),
        ({"milestones": [1], "last_epoch": 2}, NotImplementedError, "last_epoch must be -1"),
    ],
)
def test_steps_that_cannot_be_are_refused_by_name(settings, error, message):
    with pytest.raises(error, match=message):
        lr_scheduler.MultiStepLR(optimizers()[0], **settings)


def test_a_step_after_the_last_is_refused():
    schedule = lr_scheduler.OneCycleLR(optimizers(momentum=0.9)[0], max_lr=1, total_steps=2)
    schedule.step()
    schedule.step()
    for _ in range(2):
        with pytest.raises(ValueError, match="all 2 steps are done"):
            schedule.step()
    assert schedule.last_epoch == 2


@pytest.mark.parametrize("rate", [-0.1, float("nan"), "0.1", None])
def test_a_rate_of_ones_own_that_cannot_be_is_refused_and_changes_nothing(rate):
    class Own(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [0.5, 0.5 if self.last_epoch == 0 else rate]

    schedule = Own(optimizers()[0])
    with pytest.raises(ValueError, match="Own: a rate must be a number at least 0"):
        schedule.step()
    assert (schedule.last_epoch, schedule.get_last_lr()) == (0, [0.5, 0.5])


STATE = {"last_epoch": 3, "base_lrs": [0.1, 0.2]}


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"last_epoch": 3},
        {**STATE, "gamma": 0.5},
        {**STATE, "last_epoch": -1},
        {**STATE, "last_epoch": 2.0},
        {**STATE, "last_epoch": "3"},
        {**STATE, "base_lrs": [0.1]},
        {**STATE, "base_lrs": 0.1},
        {**STATE, "base_lrs": [0.1, None]},
        {**STATE, "base_lrs": [0.1, float("nan")]},
        {**STATE, "base_lrs": [0.1, -1]},
    ],
    ids=str,
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(state):
    schedule = lr_scheduler.MultiStepLR(optimizers()[0], [1])
    before = schedule.state_dict()
    with pytest.raises(ValueError, match="MultiStepLR: "):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == before
    schedule.load_state_dict(STATE)
    assert schedule.state_dict() == STATE


def test_what_is_no_optimiser_is_refused():
    with pytest.raises(TypeError, match="expected an optimiser, got int"):
        lr_scheduler.MultiStepLR(3, milestones=[1])
