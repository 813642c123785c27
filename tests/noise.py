"""Trainings that take little time: noise in place of images, and pictures that are not drawn.

For tests of what is around a training. `install(setattr)` puts it in place of nin's own.
"""

from __future__ import annotations

import numpy as np

import minicnn
from minicnn.utils.data import TensorDataset
from nin import curves
from nin import data as datasets


def load(preset, directory="data"):
    """As many images of noise as the preset's limits say."""
    return datasets.Data(
        "noise", "drawn", _noise(preset.limit_train), _noise(preset.limit_test), None
    ), preset


def _noise(n):
    rng = np.random.default_rng(n)
    images, labels = rng.random((n, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, n)
    return TensorDataset(minicnn.tensor(images), minicnn.tensor(labels))


def epochs(history, title):
    """What is drawn, times not being."""
    names = ("epoch", "train_loss", "test_loss", "accuracy")
    return repr([title, [[row[name] for name in names] for row in history]]).encode()


def health(looks, title):
    return repr([title, looks]).encode()


def install(set_attribute):
    set_attribute(datasets, "load", load)
    set_attribute(curves, "epochs", epochs)
    set_attribute(curves, "health", health)
