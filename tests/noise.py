"""Trainings that take little time: noise in place of images, and pictures that are not drawn.

For tests of what is around a training. `install(setattr)` puts both in place of nin's own,
`without_pictures` the second alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minicnn.vision.image_dataset import ImageDataset
from nin import curves
from nin import data as datasets
from nin.fine_tuning import NOTHING
from nin.kind import CLOTHES

ENVIRONMENT = {  # of a run on clothes
    "backend": "numpy",
    "library": "numpy 2",
    "conv": "auto",
    "threads": 2,
    "blas_threads": 1,
    "graph": True,
    "tf32": False,
    "ranks": 1,
    "data_source": "drawn",
    "training_images": 40,
    "test_images": 16,
    "kind": CLOTHES.as_json(),
    "data_sha256": "",
    "network_sha256": "",
    "beginning": NOTHING,
    "minicnn": "0.1",
}

FLAGS = ["--limit-train", "40", "--limit-test", "16", "--batch-size", "8", "--epochs", "1"]
FLAGS += ["--no-progress", "--threads", "1"]


def load(preset, directory=None, kind=None):
    """As many images of noise as the preset's limits say, of the 6 that there are, or more."""
    preset = replace(preset, mean=preset.mean or 0.286, std=preset.std or 0.353)
    train, test = (
        _noise(limit, preset.transform(train))
        for limit, train in ((preset.limit_train, True), (preset.limit_test, False))
    )
    data = datasets.Data("noise", "drawn", CLOTHES, train, test)
    if preset.validation:
        rest = datasets.hold_back(preset.validation, train, preset.transform(train=False))
        data.train, data.validation = rest
    return data, replace(preset, dataset="silhouettes")


def load_test(preset, kind, directory=None, *, split=None):
    """The same test images alone."""
    return _noise(preset.limit_test, preset.transform(train=False)), "noise"


def _noise(limit, transform):
    n = limit if 0 < limit < 1000 else 6
    rng = np.random.default_rng(n)
    images, labels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n)
    return ImageDataset(images, labels, transform)


class Noted:
    """A figure that is not drawn: what it shows, as text."""

    def __init__(self, *shown):
        self.shown = shown

    def savefig(self, file, **_):
        file.write(repr(self.shown).encode())


def epochs(history, title, evaluated_on):
    """What is drawn, times not being."""
    names = ("epoch", "train_loss", "eval_loss", "accuracy")
    return Noted(title, evaluated_on, [[row[name] for name in names] for row in history])


def health(looks, title):
    return Noted(title, looks)


def install(set_attribute):
    set_attribute(datasets, "load", load)
    set_attribute(datasets, "load_test", load_test)
    without_pictures(set_attribute)


def without_pictures(set_attribute):
    set_attribute(curves, "epochs", epochs)
    set_attribute(curves, "health", health)


def narrow(block):
    """`nin_block` with few channels in place of many."""

    def narrowed(inputs, outputs, kernel, stride, padding, mlp):
        def few(n):
            return n if n in (1, 10, 96) else 4

        return block(few(inputs), few(outputs), kernel, stride, padding, [few(n) for n in mlp])

    return narrowed
