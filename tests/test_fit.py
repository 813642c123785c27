"""The training loop, stopped at any step and going on in another process's stead."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.utils.data import TensorDataset
from nin.fit import Training, fit
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
    return Training(model, PRESET, data, test, threads=2, graph=False)


def finish(training):
    """Weights and history, without times, at the end."""
    while not training.done:
        training.train_epoch()
    times = ("seconds", "images_per_second")
    rows = [{k: v for k, v in row.items() if k not in times} for row in training.history]
    return {k: array(v) for k, v in training.model.state_dict().items()}, rows


@pytest.mark.parametrize("calls", range(1, 2 * (STEPS + 2) + 1))
def test_a_state_from_after_any_step_or_test_batch_goes_on_bit_for_bit(calls):
    weights, rows = finish(begin())
    training, left = begin(), iter(range(1, calls + 1))

    def stop():
        if next(left) == calls:
            raise Stop

    with suppress(Stop):
        while True:
            training.train_epoch(stop)
    state = training.state()
    other = begin()
    other.load_state(state)
    its_weights, its_rows = finish(other)
    assert its_rows == rows
    for name, value in weights.items():
        np.testing.assert_array_equal(its_weights[name], value)


def begun():
    """A training within an epoch, and its state with the losses' sum as a GPU has it."""
    training = begin()

    def stop():
        raise Stop

    with suppress(Stop):
        training.train_epoch(stop)
    arrays, rest = training.state()
    total = minicnn.tensor(training.total_loss())
    return training, ({**arrays, "total": total}, {**rest, "total": None})


def test_going_on_from_a_gpus_state_leaves_that_state_as_it_is():
    _, state = begun()
    before = state[0]["total"].item()
    other = begin()
    other.load_state(state)
    assert other.total_loss() == before
    other.train_epoch(lambda: None)
    assert state[0]["total"].item() == before


@pytest.mark.cpu
def test_going_on_from_a_gpus_state_counts_losses_in_pythons_precision():
    _, state = begun()
    other = begin()
    other.load_state(state)
    assert type(other.state()[1]["total"]) is float


def test_a_sum_of_losses_that_comes_as_an_array_has_the_bounds_of_a_number():
    training, (arrays, rest) = begun()
    training.step(minicnn.ones(8, 1, 4, 4), minicnn.zeros(8, dtype=minicnn.int64))
    before = array(training.model[4].weight).copy()
    with pytest.raises(Misfit, match=r"array total must be a number at least 0 and at most 1e\+40"):
        training.load_state(({**arrays, "total": minicnn.tensor(-1.0)}, rest))
    np.testing.assert_array_equal(array(training.model[4].weight), before)


@pytest.mark.parametrize("total", [float("nan"), float("inf")])
def test_a_sum_of_losses_may_have_diverged(total):
    training, (arrays, rest) = begun()
    training.load_state(({**arrays, "total": minicnn.tensor(total)}, rest))
    np.testing.assert_array_equal(training.total_loss(), total)


def test_fit_yields_each_epochs_figures():
    training = begin()
    data = training.train_loader.dataset
    rows = list(fit(training.model, PRESET, data, data))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["lr"] < rows[0]["lr"]


@pytest.mark.cpu  # a GPU does not wait to see what the loss is
def test_a_step_whose_loss_is_not_finite_leaves_the_weights():
    training = begin()
    before = array(training.model[4].weight).copy()
    images = minicnn.full((8, 1, 4, 4), float("nan"))
    assert not np.isfinite(training.step(images, minicnn.zeros(8, dtype=minicnn.int64)))
    np.testing.assert_array_equal(array(training.model[4].weight), before)


@pytest.mark.pretend
def test_an_epoch_waits_for_the_device_at_its_end_and_at_that_of_the_test():
    training, waits = begin(), []
    training.train_epoch()
    waited = counts()["synchronizations"]
    training.train_epoch(lambda: waits.append(counts()["synchronizations"] - waited))
    assert waits == [0, 0, 0, 1, 1]
    assert counts()["synchronizations"] - waited == 2


@pytest.mark.cuda
def test_a_state_between_epochs_has_no_losses_yet():
    training = begin()
    training.train_epoch()
    arrays, rest = training.state()
    assert "total" not in arrays
    assert rest["total"] == 0
