"""The training loop, stopped at any step and going on in another process's stead."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.utils.data import TensorDataset
from nin import state as training_state
from nin.executors import executor_for
from nin.fit import Callback, Training, schedule
from nin.presets import Preset
from nin.schema import Misfit

from .arrays import array
from .pretend_cuda import counts

PRESET = Preset(
    epochs=2, batch_size=8, lr=0.05, momentum=0.9, lr_scheduler="OneCycleLR", max_norm=1.0
)
STEPS = 3  # an epoch, and two batches of the test


class Stop(Exception):
    pass


class After(Callback):
    """Stops a training after so many steps and batches of tests."""

    def __init__(self, batches):
        self.left = batches

    def on_batch(self, training):
        self.left -= 1
        if not self.left:
            raise Stop


def begin():
    """A small network with dropout, on noise."""
    minicnn.manual_seed(1)
    images, labels = minicnn.rand(24, 1, 4, 4), minicnn.randint(0, 10, (24,))
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(32, 10)
    )
    data = TensorDataset(images, labels)
    test = TensorDataset(images[:16], labels[:16])
    # Without graphs, as the first step of a process is none, and rounds in another way.
    executor = executor_for(model, PRESET, threads=2, graph=False)
    return Training(model, PRESET, data, test, executor)


def stopped(batches):
    """A training that was stopped after so many steps and batches of tests."""
    training = begin()
    training.callbacks.append(After(batches))
    with suppress(Stop):
        training.fit()
    training.callbacks.clear()
    return training


def go_on(training, state):
    training_state.check(training, state)
    training_state.restore(training, state)


def finish(training):
    """Weights and history, without times, at the end."""
    training.fit()
    times = ("seconds", "images_per_second")
    rows = [{k: v for k, v in row.items() if k not in times} for row in training.history]
    return {k: array(v) for k, v in training.model.state_dict().items()}, rows


@pytest.mark.parametrize("calls", range(1, 2 * (STEPS + 2) + 1))
def test_a_state_from_after_any_step_or_test_batch_goes_on_bit_for_bit(calls):
    weights, rows = finish(begin())
    state = training_state.take(stopped(calls))
    other = begin()
    go_on(other, state)
    its_weights, its_rows = finish(other)
    assert its_rows == rows
    for name, value in weights.items():
        np.testing.assert_array_equal(its_weights[name], value)


def test_going_on_leaves_the_state_as_it_is():
    arrays, rest = training_state.take(stopped(1))
    before = rest["total"]
    other = begin()
    go_on(other, (arrays, rest))
    assert other.total_loss() == before > 0
    other.train_epoch()
    assert (rest["total"], rest["history"]) == (before, [])


@pytest.mark.cpu
def test_losses_are_counted_in_double_precision():
    training = stopped(2)
    assert training.total.dtype == minicnn.float64
    assert type(training_state.take(training)[1]["total"]) is float


def test_a_sum_of_losses_has_bounds_and_what_is_refused_changes_nothing():
    training, other = stopped(1), begin()
    arrays, rest = training_state.take(training)
    before = array(other.model[4].weight).copy()
    with pytest.raises(Misfit, match=r"state.total must be a number of at least 0, got -1"):
        training_state.check(other, (arrays, {**rest, "total": -1.0}))
    np.testing.assert_array_equal(array(other.model[4].weight), before)


@pytest.mark.parametrize("total", [float("nan"), float("inf")])
def test_a_sum_of_losses_may_have_diverged(total):
    arrays, rest = training_state.take(stopped(1))
    other = begin()
    go_on(other, (arrays, {**rest, "total": total}))
    np.testing.assert_array_equal(other.total_loss(), total)


class Events(Callback):
    def __init__(self):
        self.seen = []

    def on_batch(self, training):
        self.seen.append((training.epoch, training.batch, len(training.history)))

    def on_epoch(self, training):
        self.seen.append(("epoch", training.history[-1]["epoch"]))

    def on_end(self, training):
        self.seen.append("end")


def test_callbacks_are_told_of_steps_tests_epochs_and_the_end():
    training, events = begin(), Events()
    training.callbacks.append(events)
    training.fit()
    steps = [(1, batch, 0) for batch in (1, 2, 3, 3, 3)]
    others = [(2, batch, 1) for batch in (1, 2, 3, 3, 3)]
    assert events.seen == [*steps, ("epoch", 1), *others, ("epoch", 2), "end"]
    rows = training.history
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["lr"] < rows[0]["lr"]


def test_the_end_is_told_of_whatever_it_is():
    training, events = begin(), Events()
    training.callbacks += [events, After(1)]
    with pytest.raises(Stop):
        training.fit()
    assert events.seen[-1] == "end"


@pytest.mark.cpu  # a GPU does not wait to see what the loss is
def test_a_step_whose_loss_is_not_finite_leaves_the_weights():
    training = begin()
    before = array(training.model[4].weight).copy()
    images = minicnn.full((8, 1, 4, 4), float("nan"))
    loss = training.step(images, minicnn.zeros(8, dtype=minicnn.int64))
    assert training.diverged and not np.isfinite(loss.item())
    np.testing.assert_array_equal(array(training.model[4].weight), before)


@pytest.mark.pretend
def test_an_epoch_waits_for_the_device_at_its_end_and_at_that_of_the_test():
    training, waits = begin(), []
    training.train_epoch()
    waited = counts()["synchronizations"]

    class Note(Callback):
        def on_batch(self, training):
            waits.append(counts()["synchronizations"] - waited)

    training.callbacks.append(Note())
    training.train_epoch()
    assert waits == [0, 0, 0, 1, 1]
    assert counts()["synchronizations"] - waited == 2


def test_a_state_between_epochs_has_no_losses_yet():
    training = begin()
    training.train_epoch()
    assert training_state.take(training)[1]["total"] == 0


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]),
        (
            {"lr_scheduler": "MultiStepLR", "milestones": [0.75], "gamma": 0.5},
            [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5],
        ),
    ],
)
def test_a_rate_warms_up_before_it_falls(settings, rates):
    optimizer = minicnn.optim.SGD([minicnn.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(optimizer, Preset(lr=1.0, warmup=0.5, **settings), 8)
    found = []
    for _ in range(8):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert found == rates
