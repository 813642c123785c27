"""The same training on both backends: the same losses, step by step, to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import minicnn
from minicnn import backends
from nin import data
from nin.fit import Training
from nin.presets import PRESETS

pytestmark = pytest.mark.cuda

FEW = {"batch_size": 8, "limit_train": 44, "limit_test": 12, "epochs": 2, "shift": 1, "flip": True}
SETTINGS = {
    "quick": replace(PRESETS["quick"], **FEW),
    # On small images, and with weights that keep its last ReLU open.
    "article": replace(
        PRESETS["article"], **FEW, image_size=99, init="kaiming_normal", lr=0.01, momentum=0.9
    ),
    "d2l": replace(PRESETS["d2l"], **FEW, image_size=99, weight_decay=1e-3, max_norm=1.0),
}


@pytest.fixture(autouse=True)
def as_the_command_does(monkeypatch):
    monkeypatch.setattr(backends, "conv_algorithm", "auto")


def figures(preset, device, graph=True):
    """The running mean of the loss after every step, then loss and accuracy of the tests."""
    minicnn.manual_seed(preset.seed)
    sets, preset = data.load(preset)
    training = Training(
        preset.build().to(device), preset, sets.train, sets.test, threads=1, graph=graph
    )
    losses, tests = [], []
    while not training.done:
        row = training.train_epoch(lambda: losses.append(training.mean_loss()))
        tests.append((row["test_loss"], row["accuracy"]))
    return losses, tests


@pytest.mark.parametrize("name", SETTINGS)
def test_every_step_has_numpys_loss(name):
    (losses, tests), (others, other_tests) = (
        figures(SETTINGS[name], device) for device in ("cuda", "cpu")
    )
    assert len(losses) == 2 * (6 + 2)
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    np.testing.assert_allclose(tests, other_tests, rtol=1e-4)


def test_a_graph_changes_no_number():
    losses, tests = figures(SETTINGS["quick"], "cuda")
    others, other_tests = figures(SETTINGS["quick"], "cuda", graph=False)
    np.testing.assert_allclose(losses, others, rtol=1e-6)
    np.testing.assert_allclose(tests, other_tests, rtol=1e-6)
