"""Learning-rate schedules against PyTorch's, step by step."""

from __future__ import annotations

import pytest
import torch

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
]


@pytest.mark.parametrize(("name", "settings"), SCHEDULES, ids=str)
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


@pytest.mark.parametrize(("name", "settings"), SCHEDULES, ids=str)
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_steps": 0}, "total_steps must be a positive int, got 0"),
        ({"total_steps": 5, "pct_start": 1.5}, "pct_start must be between 0 and 1, got 1.5"),
        ({"total_steps": 5, "anneal_strategy": "exp"}, "must be cos or linear, got 'exp'"),
        ({"total_steps": 5}, "cycle_momentum needs an optimiser with momentum"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        lr_scheduler.OneCycleLR(optimizers()[0], max_lr=1, **settings)


def test_a_step_after_the_last_is_refused():
    schedule = lr_scheduler.OneCycleLR(optimizers(momentum=0.9)[0], max_lr=1, total_steps=2)
    schedule.step()
    schedule.step()
    with pytest.raises(ValueError, match="all 2 steps are done"):
        schedule.step()


def test_what_is_no_optimiser_is_refused():
    with pytest.raises(TypeError, match="expected an optimiser, got int"):
        lr_scheduler.MultiStepLR(3, milestones=[1])
