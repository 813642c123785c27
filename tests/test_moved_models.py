"""A model that moves between devices in the middle of a training goes on as it would have."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.capture import Captured
from minicnn.nn import functional as F

pytestmark = pytest.mark.cuda
rng = np.random.default_rng(0)
IMAGES, LABELS = rng.standard_normal((4, 1, 4, 4)), rng.integers(0, 3, 4)


class Run:
    """A small training; `steps(n)` takes n steps where the model is, and notes the losses."""

    def __init__(self, device, captured=False):
        minicnn.manual_seed(0)
        layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
        self.model = nn.Sequential(*layers).double().to(device)
        self.optimizer = optim.SGD(self.model.parameters(), 0.1, 0.9)
        self.losses = []
        self.step = Captured(self._step, self.model, self.optimizer) if captured else self._step

    def _step(self, images, labels):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def steps(self, n):
        where = next(self.model.parameters()).device
        batch = [minicnn.tensor(a, device=where) for a in (IMAGES, LABELS)]
        self.losses += [self.step(*batch).item() for _ in range(n)]


def expected(n):
    run = Run("cpu")
    run.steps(n)
    return run.losses


@pytest.mark.parametrize("captured", [False, True])
def test_a_model_moves_away_and_back_after_its_optimiser_was_made(captured):
    run = Run("cuda", captured)
    run.steps(3)
    run.model.to("cpu")
    run.steps(2)
    run.model.to("cuda")
    run.steps(3)
    np.testing.assert_allclose(run.losses, expected(8), rtol=1e-9)


@pytest.mark.parametrize("captured", [False, True])
def test_weights_in_new_memory_are_the_ones_that_are_trained(captured):
    run = Run("cuda", captured)
    run.steps(3)
    for p in run.model.parameters():
        p.data = p.data.clone()
    run.steps(4)
    np.testing.assert_allclose(run.losses, expected(7), rtol=1e-9)
    with minicnn.no_grad():
        images, labels = (minicnn.tensor(a, device="cuda") for a in (IMAGES, LABELS))
        now = F.cross_entropy(run.model(images), labels).item()
    np.testing.assert_allclose(now, expected(8)[-1], rtol=1e-9)


@pytest.mark.parametrize("captured", [False, True])
def test_a_copy_on_the_host_stays_as_it_was(captured):
    run = Run("cuda", captured)
    run.steps(3)
    twin = copy.deepcopy(run.model).to("cpu")
    before = [p.tolist() for p in run.model.parameters()]
    run.steps(3)
    assert {p.device.type for p in twin.parameters()} == {"cpu"}
    assert [p.tolist() for p in twin.parameters()] == before
    np.testing.assert_allclose(run.losses, expected(6), rtol=1e-9)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("there", ["cpu", "cuda"])
def test_a_state_is_loaded_across_devices(there, captured):
    first = Run("cpu" if there == "cuda" else "cuda")
    first.steps(3)
    second = Run(there, captured)
    second.steps(3)  # other weights and velocities, and a graph of them
    for p in second.model.parameters():
        p.data = p.data * 2
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert {p.device.type for p in second.model.parameters()} == {there}
    second.steps(4)
    np.testing.assert_allclose(second.losses[3:], expected(7)[3:], rtol=1e-9)
