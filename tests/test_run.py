"""What a run leaves behind, read again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.utils.data import TensorDataset
from nin import config
from nin.fit import Training
from nin.kind import CLOTHES, Kind
from nin.networks import NETWORKS
from nin.presets import PRESETS, Preset
from nin.run import MODEL, Run, RunError
from nin.trained import network

from .arrays import array
from .noise import ENVIRONMENT

CLOTHES_KIND = CLOTHES.as_json()


@pytest.fixture
def run(tmp_path):
    """A run of one epoch on noise: its directory and its model."""
    preset = Preset(epochs=1, batch_size=8, dataset="silhouettes")
    minicnn.manual_seed(0)
    model = preset.build()
    noise = TensorDataset(minicnn.rand(16, 1, 28, 28), minicnn.randint(0, 10, (16,)))
    training = Training(model, preset, noise, noise)
    training.fit()
    with Run.create(tmp_path / "run", preset, ENVIRONMENT) as run:
        run.write_metrics(training.history, [])
        run.write_model(model)
    return tmp_path / "run", model, preset


def test_a_model_comes_back_with_its_preset(run):
    directory, model, preset = run
    loaded, its, kind, *_ = network(directory)
    assert (its, kind) == (preset, CLOTHES)
    assert not loaded.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(array(loaded.state_dict()[name]), array(value))


def refused(directory, message):
    with pytest.raises(RunError, match=re.escape(message)) as caught:
        network(directory)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_not_there(tmp_path):
    refused(tmp_path / "no", f"{tmp_path / 'no'} is not a directory with a run")


def test_a_directory_without_a_run(tmp_path):
    refused(tmp_path, f"{tmp_path} holds no run: there is no config.toml")


def test_a_run_whose_config_is_broken(run):
    path = run[0] / "config.toml"
    path.write_text(path.read_text().replace('"quick"', "3"))
    refused(run[0], "config.toml: network must be one of")


def test_a_run_without_a_finished_epoch(run):
    (run[0] / "model.safetensors").unlink()
    refused(run[0], "model.safetensors is missing: no epoch has finished")


def test_a_truncated_model(run):
    path = run[0] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(run[0], f"{path} can't be read")


def test_a_model_of_another_network(run):
    minicnn.save(nn.Linear(2, 3).state_dict(), run[0] / "model.safetensors")
    refused(run[0], "is not the network 'quick' of config.toml: missing '0.0.weight'")


# --- whose a directory is ------------------------------------------------------------------------


def create(directory):
    return Run.create(directory, Preset(dataset="silhouettes"), ENVIRONMENT)


@pytest.mark.cpu
def test_runs_that_begin_in_the_same_second_have_a_directory_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: "now")
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create(None), range(24)))
    assert len({each.directory for each in runs}) == 24
    for each in runs:
        assert sorted(p.name for p in each.directory.iterdir()) == [
            ".lock",
            "config.toml",
            "environment.json",
        ]
        each.close()


@pytest.mark.cpu
def test_of_runs_that_want_one_directory_one_gets_it(tmp_path):
    def attempt(_):
        try:
            return create(tmp_path / "run")
        except FileExistsError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(24)))
    (winner,) = (each for each in outcomes if isinstance(each, Run))
    winner.close()


@pytest.mark.cpu
@pytest.mark.parametrize(
    "name",
    [
        *("model.safetensors", "checkpoint-0001.safetensors", "metrics.csv", "notes.txt"),
        *("environment.json", "config.toml", "tensorboard", ".hidden"),
    ],
)
def test_a_directory_that_holds_anything_is_refused_by_name_and_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path))):
        create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.cpu
def test_a_directory_that_is_empty_may_be_given(tmp_path):
    create(tmp_path).close()
    assert (tmp_path / "config.toml").exists()


@pytest.mark.cpu
def test_a_lock_that_is_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        create(tmp_path / "run")
    assert not (tmp_path / "victim").exists()


@pytest.mark.cpu
def test_a_run_is_opened_once_at_a_time(whole):
    with Run.open(whole), pytest.raises(RunError, match="is being trained by another process"):
        Run.open(whole)
    Run.open(whole).close()


@pytest.mark.cpu
def test_the_lock_of_a_process_that_was_killed_is_gone(whole):
    program = (
        f"import sys, time; from nin.run import Run; from pathlib import Path; "
        f"run = Run.open(Path({str(whole)!r})); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(RunError, match="is being trained by another process"):
            Run.open(whole)
        process.kill()
    Run.open(whole).close()


@pytest.fixture
def whole(tmp_path):
    """A run before its first epoch."""
    Run.create(tmp_path / "run", Preset(dataset="silhouettes"), ENVIRONMENT).close()
    return tmp_path / "run"


@pytest.mark.cpu
@pytest.mark.parametrize("name", ["config.toml", "environment.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "directory"])
def test_what_is_no_file_is_refused_at_once(whole, name, make):
    (whole / name).unlink()
    make(whole / name)
    with pytest.raises(RunError, match=re.escape(name)):
        Run.open(whole)


@pytest.mark.cpu
def test_a_config_that_takes_its_parser_for_ever_is_refused(tmp_path):
    path = tmp_path / "my.toml"
    for text in ("a." * 40_000 + "a = 1", "x = " + "[" * 60_000, "a.b.c = 1\n" * 100_000):
        path.write_text(text)
        with pytest.raises(config.ConfigError, match=r"my\.toml"):
            config.read(path, Preset())


@pytest.mark.cpu
def test_leftovers_of_a_killed_run_are_cleared_and_others_stay(whole):
    for name in (".model.safetensors.0.tmp", ".checkpoint-0003.safetensors.a.tmp", ".mine.tmp"):
        (whole / name).write_text("")
    with Run.open(whole) as run:
        run.forget_leftovers()
    assert [p.name for p in whole.glob("*.tmp")] == [".mine.tmp"]


def test_a_model_of_whole_numbers(run):
    directory, model, _ = run
    weights = {
        name: minicnn.zeros(*p.shape, dtype=minicnn.int64) for name, p in model.state_dict().items()
    }
    minicnn.save(weights, directory / "model.safetensors")
    refused(directory, "holds int64, where weights are float32")


# --- a model file alone --------------------------------------------------------------------------


def test_a_model_file_alone_is_the_run_s_network(run):
    directory, model, preset = run
    alone = network((directory / MODEL).rename(directory.parent / "mine.safetensors"))
    assert (alone.preset, alone.kind) == (preset, CLOTHES)
    x = minicnn.rand(2, 1, 28, 28)
    there = alone.model.to(x.device)
    np.testing.assert_array_equal(array(there(x)), array(model.eval().to(x.device)(x)))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "holds weights alone, and doesn't say of which network"),
        ({"settings": "network = 3"}, "mine.safetensors: its settings: init is missing"),
        ({"settings": config.render(Preset())}, "its metadata: kind must be an object, got None"),
        ({"settings": config.render(Preset()), "kind": "[["}, "its metadata: "),
        (
            {"settings": config.render(Preset(network="paper")), "kind": json.dumps(CLOTHES_KIND)},
            "is not the network 'paper' of its settings: ",
        ),
        (
            {
                "settings": config.render(Preset()),
                "kind": json.dumps({**CLOTHES_KIND, "channels": 3}),
            },
            "is not the network 'quick' of its settings: ",
        ),
        (
            {
                "settings": config.render(Preset()),
                "kind": json.dumps({**CLOTHES_KIND, "channels": 0}),
            },
            "its metadata: kind.channels must be a whole number",
        ),
    ],
)
def test_a_model_file_that_does_not_say_what_it_is(run, texts, message):
    path = run[0].parent / "mine.safetensors"
    minicnn.save(run[1].state_dict(), path, texts)
    refused(path, message)


def test_settings_with_a_mean_that_was_not_measured_are_no_run_s(run):
    path = run[0].parent / "mine.safetensors"
    settings = config.render(Preset(mean="measured"))
    minicnn.save(
        run[1].state_dict(), path, {"settings": settings, "kind": json.dumps(CLOTHES_KIND)}
    )
    refused(path, "its settings leave mean or std to be measured")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_the_channels_and_classes_it_is_told(name):
    kind = Kind(("a", "b", "c"), channels=3, height=96, width=112)
    model = PRESETS[name].build(kind)
    assert model(minicnn.rand(1, 3, 96, 112)).shape == (1, 3)
