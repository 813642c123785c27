"""What takes batches through a model: each in its way, all to the same end."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import nn
from nin.executors import Graphs, OnCores, Whole, executor_for
from nin.presets import Preset

from .arrays import array

PRESET = Preset(micro_batch=3)


def network():
    minicnn.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10))


def batch():
    minicnn.manual_seed(3)
    return minicnn.rand(8, 1, 4, 4), minicnn.randint(0, 10, (8,))


def outcome(executor):
    """Loss, gradients, answers and scores, each asked for as often as a graph needs."""
    x, y = batch()
    for _ in range(3):
        executor.model.zero_grad()
        loss = executor.backward(nn.CrossEntropyLoss(), x, y)
        answers, scores = executor.predict(x), executor.score(x, y)
    assert not (loss.requires_grad or answers.requires_grad or scores.requires_grad)
    assert loss.dtype == executor.loss_dtype
    return [
        array(t) for t in (loss, answers, scores, *(p.grad for p in executor.model.parameters()))
    ]


def on_cores(processes):
    return lambda model: executor_for(model, PRESET, threads=2, processes=processes)


@pytest.mark.parametrize("make", [Graphs, on_cores(processes=True), on_cores(processes=False)])
def test_all_give_what_whole_batches_give(make):
    for ours, theirs in zip(outcome(make(network())), outcome(Whole(network())), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_score_is_the_sum_of_the_losses_and_the_number_of_right_answers():
    model, (x, y) = network(), batch()
    loss, right = Whole(model).score(x, y).tolist()
    assert loss == pytest.approx(8 * nn.CrossEntropyLoss()(model(x), y).item(), rel=1e-6)
    assert right == (array(model(x)).argmax(1) == array(y)).sum()


def test_the_fastest_is_chosen_by_where_the_model_is():
    model = network()
    on_cpu = next(model.parameters()).device.type == "cpu"
    assert type(executor_for(model, PRESET)) is (OnCores if on_cpu else Graphs)
    assert type(executor_for(model, PRESET, graph=False)) is (OnCores if on_cpu else Whole)
