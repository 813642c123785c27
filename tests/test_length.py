"""`--resume RUN --epochs N`: a run gets longer or shorter, and the rates are of its new length."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.utils.data import TensorDataset
from nin import length, train
from nin import state as training_state
from nin.executors import executor_for
from nin.fit import Training, schedule
from nin.presets import Preset
from nin.run import read_metrics, read_preset

from . import noise
from .arrays import array
from .test_fit import After, Stop
from .test_resume import TIMES, metrics

STEPS = 3  # an epoch
PRESETS = {
    "constant": Preset(epochs=4, batch_size=8, lr=0.05, momentum=0.9),
    "OneCycleLR": Preset(epochs=4, batch_size=8, lr=0.05, momentum=0.9, lr_scheduler="OneCycleLR"),
    "MultiStepLR": Preset(
        epochs=4, batch_size=8, lr=0.05, lr_scheduler="MultiStepLR", milestones=(0.5, 0.75)
    ),
}


def begin(preset):
    """A small network with dropout, on noise."""
    minicnn.manual_seed(1)
    images, labels = minicnn.rand(24, 1, 4, 4), minicnn.randint(0, 10, (24,))
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
    model.append(nn.Linear(16, 10))
    data = TensorDataset(images, labels)
    # Without graphs, as the first step of a process is none, and rounds in another way.
    return Training(model, preset, data, data, executor_for(model, preset, threads=1, graph=False))


def until(training, steps):
    """Train for so many more steps and batches of tests."""
    training.callbacks[:] = [After(steps)] if steps else []
    try:
        if steps:
            training.fit()
    except Stop:
        pass
    training.callbacks.clear()
    return training


def rates_of(preset, epochs):
    """The rate of each step of a training of so many epochs."""
    optimizer = optim.SGD([minicnn.zeros(1, requires_grad=True)], lr=preset.lr)
    scheduler = schedule(optimizer, preset, STEPS * epochs)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(STEPS * epochs):
        if scheduler is not None:
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def taken(training):
    """The rate of every step from here on."""
    rates, step = [], training.step
    training.step = lambda *batch: (
        rates.append(training.optimizer.param_groups[0]["lr"]),
        step(*batch),
    )[1]
    training.fit()
    return rates


@pytest.mark.cpu
@pytest.mark.parametrize("epochs", [2, 3, 7])
@pytest.mark.parametrize("done", [0, 1, 4, 6])
@pytest.mark.parametrize("name", PRESETS)
def test_the_steps_that_follow_have_the_rates_of_a_training_of_that_length(name, done, epochs):
    preset = PRESETS[name]
    training = until(begin(preset), done)  # a test's batches count, too
    steps = training.steps
    length.change(training, epochs)
    assert taken(training) == rates_of(preset, epochs)[steps : STEPS * epochs]


@pytest.mark.cpu
@pytest.mark.parametrize("name", PRESETS)
def test_a_finished_training_is_taken_up_where_the_longer_one_would_be(name):
    training = begin(PRESETS[name])
    training.fit()
    length.change(training, 6)
    assert taken(training) == rates_of(PRESETS[name], 6)[STEPS * 4 : STEPS * 6]
    assert [row["epoch"] for row in training.history] == [1, 2, 3, 4, 5, 6]


def finish(training):
    training.fit()
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in training.history]
    return {k: array(v) for k, v in training.model.state_dict().items()}, rows


def changed_twice(preset):
    training = until(begin(preset), 2)
    length.change(training, 7)
    until(training, 6)
    length.change(training, 5)
    return training


@pytest.mark.parametrize("steps", [0, 1, 5, 9])
@pytest.mark.parametrize("name", PRESETS)
def test_a_changed_training_that_was_stopped_goes_on_bit_for_bit(name, steps):
    weights, rows = finish(changed_twice(PRESETS[name]))
    state = training_state.take(until(changed_twice(PRESETS[name]), steps))
    state = state[0], json.loads(json.dumps(state[1]))
    other = begin(replace(PRESETS[name], epochs=5))
    training_state.check(other, state)
    training_state.restore(other, state)
    its_weights, its_rows = finish(other)
    assert its_rows == rows
    for key, value in weights.items():
        np.testing.assert_array_equal(its_weights[key], value)


# --- the command ---------------------------------------------------------------------------------

FLAGS = ["--limit-train", "40", "--limit-test", "16", "--batch-size", "8", "--epochs", "2"]
FLAGS += ["--no-progress", "--threads", "1"]


@pytest.fixture
def command(capsys, monkeypatch):
    noise.install(monkeypatch.setattr)

    def call(*arguments):
        try:
            status = train.main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def run(command, tmp_path):
    assert command(*FLAGS, "--out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


@pytest.mark.cpu
def test_a_finished_run_is_extended_and_says_with_which_rates(run, command):
    status, out, err = command("--resume", run, "--epochs", 3)
    assert status == 0
    assert [line[:11] for line in out.splitlines()] == ["Epoch [3/3]"]
    said = " ".join(err.split())
    assert "3 epochs in place of 2, from step 10 on." in said
    assert "is that of OneCycleLR over 3 epochs: 0.119 next, where it was 1.6e-06" in said
    assert read_preset(run).epochs == 3
    assert len(read_metrics(run)) == 3
    [event] = [row for row in metrics(run) if row["kind"] == "epochs"]
    assert event["step"] == 10 and event["text"] in said


@pytest.mark.cpu
def test_an_extended_run_goes_on_bit_for_bit(run, command, tmp_path):
    assert command("--resume", run, "--epochs", 4)[0] == 0
    copy = tmp_path / "copy"
    assert command(*FLAGS, "--out", copy)[0] == 0
    assert command("--resume", copy, "--epochs", 4)[0] == 0
    newest = sorted(copy.glob("checkpoint-*"))[-1]
    newest.unlink()  # that of the last epoch
    assert command("--resume", copy)[0] == 0
    assert (copy / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert metrics(copy) == metrics(run)


@pytest.mark.cpu
def test_the_same_number_of_epochs_changes_nothing(run, command):
    before = {
        path.name: path.read_bytes() for path in run.iterdir() if "checkpoint" not in str(path)
    }
    status, out, _ = command("--resume", run, "--epochs", 2)
    assert (status, out) == (0, "")
    assert before == {name: (run / name).read_bytes() for name in before}


@pytest.mark.cpu
def test_fewer_epochs_than_are_begun_are_refused_and_nothing_is_changed(run, command):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    status, out, err = command("--resume", run, "--epochs", 1)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--epochs 1: the run has begun epoch 2 already" in err
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}


@pytest.mark.cpu
def test_killed_before_config_toml_tells_of_it_the_run_still_has_its_new_length(run, command):
    before = (run / "config.toml").read_bytes()
    assert command("--resume", run, "--epochs", 3)[0] == 0
    (run / "config.toml").write_bytes(before)
    assert command("--resume", run)[0] == 0
    assert read_preset(run).epochs == 3


@pytest.mark.cpu
def test_the_test_of_an_end_that_is_none_any_more_is_forgotten(command, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert command(*FLAGS, "--validation", "8", "--out", run)[0] == 0
    monkeypatch.setattr(train, "_test", lambda saver, data: None)
    assert (run / "test.json").exists()
    assert command("--resume", run, "--epochs", 3)[0] == 0
    assert not (run / "test.json").exists()


@pytest.mark.cpu
def test_print_config_shows_the_settings_of_the_run_that_goes_on(run, command):
    status, out, _ = command("--resume", run, "--epochs", 9, "--print-config")
    assert status == 0
    assert out == (run / "config.toml").read_text().replace("epochs = 2\n", "epochs = 9\n")


@pytest.mark.cpu
def test_lengths_that_can_not_be_are_refused_by_name():
    training = begin(PRESETS["constant"])
    training.fit()
    arrays, rest = training_state.take(training)
    for lengths in itertools.chain(
        [None, [{}], [{"steps": 0, "epochs": 4}], [{"steps": 13, "epochs": 9}]],
        [[{"steps": 4, "epochs": 1}], [{"steps": 4, "epochs": 9}, {"steps": 4, "epochs": 8}]],
    ):
        with pytest.raises(ValueError, match=r"state\.lengths"):
            training_state.check(begin(PRESETS["constant"]), (arrays, {**rest, "lengths": lengths}))
