"""The data that a preset asks for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import minicnn
from minicnn.backends import Array
from minicnn.console import UsageError, printable
from minicnn.utils.data import Subset
from minicnn.vision import datasets
from minicnn.vision.image_dataset import ImageDataset

from .presets import Preset
from .silhouettes import SIZES, Silhouettes

NAMES = {"fashion-mnist": "Fashion-MNIST", "silhouettes": "silhouettes"}


Images = ImageDataset | Subset
Transform = Callable[[Any], Any]


@dataclass
class Data:
    """A training set and a test set, what to call them, and where they are from."""

    name: str
    source: str
    train: Images
    test: Images
    pictures: Array  # of the test set, as they are without any transform: (N, 28, 28) uint8

    def to(self, device: minicnn.device) -> Data:
        """With both sets on a device, where their batches are then made."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def load(preset: Preset, directory: str | os.PathLike[str] = "data") -> tuple[Data, Preset]:
    """The data, transformed as the preset says, and the preset with its `dataset` settled.

    Fashion-MNIST is looked for in `directory` first. Where `dataset` is "auto" and Fashion-MNIST is
    nowhere to be had, a line on stderr says so, and silhouettes take its place. Raises UsageError
    if what was asked for can't be had, or is broken.
    """
    transforms = preset.transform(train=True), preset.transform(train=False)
    name, source = preset.dataset, "drawn by this program"
    train: ImageDataset
    test: ImageDataset
    if name != "silhouettes":
        try:
            train = datasets.FashionMNIST(directory, True, transforms[0], download=True)
            test = datasets.FashionMNIST(directory, False, transforms[1], download=True)
            name, source = "fashion-mnist", train.source
        except datasets.DatasetError as error:
            if name == "fashion-mnist" or not isinstance(error, datasets.DatasetNotFound):
                raise UsageError(str(error)) from None
            print(
                "Fashion-MNIST can't be had here, so this is done on silhouettes:"
                f" {printable(error)}",
                file=sys.stderr,
            )
            name = "silhouettes"
    if name == "silhouettes":
        train = _drawn(True, transforms[0], preset.limit_train)
        test = _drawn(False, transforms[1], preset.limit_test)
    data = Data(
        NAMES[name],
        source,
        _first(train, preset.limit_train),
        _first(test, preset.limit_test),
        test.data.array[: preset.limit_test or None],
    )
    return data, replace(preset, dataset=name)


def _drawn(train: bool, transform: Transform, limit: int) -> Silhouettes:
    """Silhouettes, no more than will be used."""
    return Silhouettes(train, transform, size=min(limit or SIZES[train], SIZES[train]))


def _first(dataset: ImageDataset, n: int) -> Images:
    return Subset(dataset, range(min(n, len(dataset)))) if n else dataset
