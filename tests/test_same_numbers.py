"""The same training on both backends: the same losses, step by step, to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import minicnn
from minicnn import context, nn
from nin import data
from nin.executors import executor_for
from nin.fit import Callback, Training
from nin.presets import PRESETS

pytestmark = pytest.mark.cuda

FEW = {"batch_size": 8, "limit_train": 20, "limit_test": 12, "epochs": 2, "shift": 1, "flip": True}
SETTINGS = {
    "quick": replace(PRESETS["quick"], **FEW),
    # On small images, and with weights that keep its last ReLU open.
    "article": replace(
        PRESETS["article"], **FEW, image_size=67, init="kaiming_normal", lr=0.01, momentum=0.9
    ),
}


@pytest.fixture(autouse=True)
def as_the_command_does():
    with context.using(conv_algorithm="auto"):
        yield


class Cast(nn.Module):
    """Images in the type of the network that follows."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.to(self.dtype)


def figures(preset, device, dtype=minicnn.float32, graph=True):
    """The running mean of the loss after every step, then loss and accuracy of the tests."""
    minicnn.manual_seed(preset.seed)
    sets, preset = data.load(preset)
    model = nn.Sequential(Cast(dtype), *preset.build().to(device, dtype))
    executor = executor_for(model, preset, threads=1, graph=graph)
    losses = []

    class Note(Callback):
        def on_batch(self, training):
            losses.append(training.mean_loss())

    # Images stay on the host: resized in float32, they would differ by a rounding on a device,
    # where products add up in another order.
    training = Training(model, preset, sets.train, sets.test, executor, [Note()])
    training.fit()
    return losses, [(row["eval_loss"], row["accuracy"]) for row in training.history]


@pytest.mark.parametrize(
    # In float32, steps as large as the presets' make 1e-7 into 1e-4 in a dozen of them.
    ("dtype", "slower", "tolerance"),
    [(minicnn.float64, 1, 1e-9), (minicnn.float32, 100, 1e-5)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_step_has_numpys_loss(name, dtype, slower, tolerance):
    # Fashion-MNIST's normalisation: that of the few images here makes float32's roundings larger.
    preset = replace(SETTINGS[name], lr=SETTINGS[name].lr / slower, mean=0.286, std=0.353)
    (losses, tests), (others, other_tests) = (
        figures(preset, device, dtype) for device in ("cuda", "cpu")
    )
    assert len(losses) == 2 * (3 + 2)
    np.testing.assert_allclose(losses, others, rtol=tolerance)
    np.testing.assert_allclose(tests, other_tests, rtol=tolerance)


def test_a_graph_changes_no_number():
    losses, tests = figures(SETTINGS["quick"], "cuda")
    others, other_tests = figures(SETTINGS["quick"], "cuda", graph=False)
    np.testing.assert_allclose(losses, others, rtol=1e-6)
    np.testing.assert_allclose(tests, other_tests, rtol=1e-6)
