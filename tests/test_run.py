"""What a run leaves behind, read again."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.utils.data import TensorDataset
from nin.fit import fit
from nin.presets import Preset
from nin.run import Run, RunError, load_model

from .arrays import array


@pytest.fixture
def run(tmp_path):
    """A run of one epoch on noise: its directory and its model."""
    preset = Preset(epochs=1, batch_size=8, dataset="silhouettes")
    minicnn.manual_seed(0)
    model = preset.build()
    noise = TensorDataset(minicnn.rand(16, 1, 28, 28), minicnn.randint(0, 10, (16,)))
    history = list(fit(model, preset, noise, noise))
    run = Run.create(tmp_path / "run", preset, {})
    run.write_metrics(history, [])
    run.write_model(model)
    return tmp_path / "run", model, preset


def test_a_model_comes_back_with_its_preset(run):
    directory, model, preset = run
    loaded, its = load_model(directory)
    assert its == preset
    assert not loaded.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(array(loaded.state_dict()[name]), array(value))


def refused(directory, message):
    with pytest.raises(RunError, match=re.escape(message)) as caught:
        load_model(directory)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_not_there(tmp_path):
    refused(tmp_path / "no", f"{tmp_path / 'no'} is not a directory with a run")


def test_a_directory_without_a_run(tmp_path):
    refused(tmp_path, f"{tmp_path} holds no run: there is no config.toml")


def test_a_run_whose_config_is_broken(run):
    (run[0] / "config.toml").write_text("network = 3")
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
