"""Each preset's whole network against PyTorch: same weights, images and dropout masks.

In float32 two exact programs can differ by more than rounding: where two values of a pooling
window, or a unit and 0, are closer than rounding, one program picks the one and one the other, and
the gradient jumps. So float32 is compared over all parameters as one vector, on real images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import minicnn
from benchmarks.twin import same_masks, to_torch, twin
from minicnn import nn, optim
from minicnn.vision.datasets import FashionMNIST
from nin.presets import PRESETS

from .arrays import array

BATCH = {"article": 2, "d2l": 2, "paper": 4, "quick": 8}
STEPS = {"quick": 20}  # of the large ones 3, as each momentum is then made like the one before
SGD = {"lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
PRECISIONS = [(minicnn.float64, 1e-9), (minicnn.float32, 1e-4)]


@pytest.fixture(scope="module")
def images():
    return FashionMNIST("data", train=True, download=True)


def relative(a, b) -> float:
    a, b = (np.asarray(v, dtype="float64") for v in (a, b))
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0))


def distance(dtype, pairs) -> float:
    """The largest relative distance of a pair; in float32, that of all pairs as one vector."""
    if dtype == minicnn.float64:
        return max(relative(a, b) for a, b in pairs)
    mine, other = (
        np.concatenate([part.ravel() for part in side]) for side in zip(*pairs, strict=True)
    )
    return relative(mine, other)


def models(name, dtype):
    """A preset's network twice.

    Centred filters tell images apart, and roundings with them: in float32 the losses of two exact
    programs are 2e-4 apart before the 20th step. There other initial weights are used.
    """
    preset = PRESETS[name]
    if dtype == minicnn.float32 and preset.init == "kaiming_centred":
        preset = replace(preset, init="kaiming_normal")
    minicnn.manual_seed(11)
    model = preset.build().to(dtype)
    return model, twin(model)


def batch(images, preset, dtype, number):
    """Batch `number` of a preset's images, for minicnn and for PyTorch."""
    n = BATCH[preset]
    raw, labels = images.data.array[number * n :][:n], images.targets[number * n :][:n]
    x = (
        replace(PRESETS[preset], mean=0.286, std=0.353)
        .transform(train=False)
        .batch(raw, minicnn.Generator())
    )
    x, labels = minicnn.tensor(x, dtype=dtype), minicnn.tensor(labels.array)
    return (x, labels), (to_torch(x), to_torch(labels))


def backward(model, criterion, x, y, mask_seed):
    """Loss and logits of one forward and backward pass."""
    same_masks(mask_seed)
    logits = model(x)
    loss = criterion(logits, y)
    loss.backward()
    return loss.item(), array(logits)


@pytest.mark.parametrize("preset", BATCH)
@pytest.mark.parametrize(("dtype", "limit"), PRECISIONS, ids=["float64", "float32"])
def test_logits_loss_and_every_gradient(images, preset, dtype, limit):
    model, other = models(preset, dtype)
    ours, theirs = batch(images, preset, dtype, 0)
    loss, logits = backward(model, nn.CrossEntropyLoss(), *ours, 5)
    other_loss, other_logits = backward(other, torch.nn.CrossEntropyLoss(), *theirs, 5)
    assert relative(loss, other_loss) <= limit
    assert relative(logits, other_logits) <= limit
    gradients = zip(model.parameters(), other.parameters(), strict=True)
    assert distance(dtype, [(array(p.grad), array(q.grad)) for p, q in gradients]) <= limit


@pytest.mark.parametrize("preset", BATCH)
@pytest.mark.parametrize(("dtype", "limit"), PRECISIONS, ids=["float64", "float32"])
def test_steps_of_sgd(images, preset, dtype, limit):
    model, other = models(preset, dtype)
    # In float32, large steps make of another order of adding up, 1e-7, more than 1e-4 in twenty.
    slow = dtype == minicnn.float32 and minicnn.get_default_device().type == "cuda"
    settings = {**SGD, "lr": SGD["lr"] / 10} if slow else SGD
    mine = optim.SGD(model.parameters(), **settings)
    its = torch.optim.SGD(other.parameters(), **settings)
    for i in range(STEPS.get(preset, 3)):
        ours, theirs = batch(images, preset, dtype, i)
        mine.zero_grad()
        loss, _ = backward(model, nn.CrossEntropyLoss(), *ours, i)
        mine.step()
        its.zero_grad()
        other_loss, _ = backward(other, torch.nn.CrossEntropyLoss(), *theirs, i)
        its.step()
        assert relative(loss, other_loss) <= limit
    parameters = zip(model.parameters(), other.parameters(), strict=True)
    pairs = [(array(p), array(q)) for p, q in parameters]
    assert distance(dtype, pairs) <= limit


@pytest.mark.parametrize("preset", BATCH)
def test_dropout_is_off_in_evaluation(images, preset):
    model, other = models(preset, minicnn.float64)
    (x, _), (tx, _) = batch(images, preset, minicnn.float64, 0)
    assert relative(array(model.eval()(x)), array(other.eval()(tx))) <= 1e-9
