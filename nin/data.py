"""The data that a preset asks for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import minicnn
from minicnn.console import Failure, UsageError, printable
from minicnn.random import Generator, permutation
from minicnn.vision import datasets
from minicnn.vision.image_dataset import ImageDataset

from .kind import CLOTHES, Kind
from .presets import Preset
from .silhouettes import SIZES, Silhouettes

NAMES = {"fashion-mnist": "Fashion-MNIST", "silhouettes": "silhouettes"}
SPLIT_SEED = 20131216  # the day on which the paper appeared; any number would do

Transform = Callable[[Any], Any]


@dataclass
class Data:
    """The sets of images, what to call them, where they are from, and their kind.

    Without a transform, the images of each are its `data`, (N, H, W) or (N, H, W, C) uint8.
    """

    name: str
    source: str
    kind: Kind
    train: ImageDataset
    test: ImageDataset
    validation: ImageDataset | None = None  # training images that are held back

    @property
    def evaluation(self) -> ImageDataset:
        """What each epoch is evaluated on: the validation set if there is one, or else the test's.

        Its name is the preset's `evaluated_on`.
        """
        return self.test if self.validation is None else self.validation

    @property
    def sizes(self) -> str:
        """How many images there are, in words."""
        train, test = f"{len(self.train):,} training", f"{len(self.test):,} test images"
        if self.validation is None:
            return f"{train} and {test}"
        return f"{train}, {len(self.validation):,} validation, {test}"

    def must_be(self, kind: Kind, whose: str) -> None:
        """Raise Failure unless the images are of the kind that somebody's network is for."""
        own = self.kind
        if own == kind:
            return
        here, there = str(own), str(kind)
        if here == there:
            pairs = zip(own.classes, kind.classes, strict=True)
            here, there = next((repr(a), repr(b)) for a, b in pairs if a != b)
        raise Failure(f"{whose} is for other images than {self.name}'s: {there}, and not {here}")

    def to(self, device: minicnn.device) -> Data:
        """With all sets on a device, where their batches are then made."""
        train, test, validation = self.train.to(device), self.test.to(device), self.validation
        if validation is not None:
            validation = validation.to(device)
        return replace(self, train=train, test=test, validation=validation)


def load(preset: Preset, directory: str | os.PathLike[str] = "data") -> tuple[Data, Preset]:
    """The data, transformed as the preset says, and the preset with its `dataset` settled.

    Fashion-MNIST is looked for in `directory` first. Where `dataset` is "auto" and Fashion-MNIST is
    nowhere to be had, a line on stderr says so, and silhouettes take its place. Raises UsageError
    if what was asked for can't be had, or is broken, and if nothing is left to train on.
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
    train = train.part(slice(preset.limit_train or None), transforms[0])
    test = test.part(slice(preset.limit_test or None), transforms[1])
    data = Data(NAMES[name], source, CLOTHES, train, test)
    if preset.validation:
        data.train, data.validation = hold_back(preset.validation, train, transforms[1])
    return data, replace(preset, dataset=name)


def _drawn(train: bool, transform: Transform, limit: int) -> Silhouettes:
    """Silhouettes, no more than will be used."""
    return Silhouettes(train, transform, size=min(limit or SIZES[train], SIZES[train]))


def hold_back(
    n: int, train: ImageDataset, transform: Transform | None
) -> tuple[ImageDataset, ImageDataset]:
    """What is left of a training set, and n of its images with another transform, for validation.

    They are the last n of a shuffled order that depends on nothing but how many images there are,
    and not on a run's seed: all runs hold back the same ones, so that their results differ by what
    they have learned alone. Raises UsageError if nothing is left.
    """
    if n >= len(train):
        raise UsageError(
            f"validation: {n:,} of {len(train):,} training images leave none to train on"
        )
    order = permutation(Generator().manual_seed(SPLIT_SEED).next_key(), len(train))
    return train.part(order[:-n], train.transform), train.part(order[-n:], transform)
