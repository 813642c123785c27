"""The data that a preset asks for."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import minicnn
from minicnn.console import Failure, UsageError, printable
from minicnn.invocation import command, quoted
from minicnn.random import Generator, permutation
from minicnn.vision import datasets
from minicnn.vision.datasets import ImageFolder
from minicnn.vision.image_dataset import ImageDataset

from . import catalogue, folder, normalisation
from .folder import SPLIT_SEED
from .kind import CLOTHES, Kind
from .presets import Preset
from .split import Split, marks

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
    notes: list[str] = field(default_factory=list)  # lines on what was done to have them
    split: Split = field(default_factory=Split)  # of a folder of pictures

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

    def sha256(self) -> str:
        """A hash of all images and labels, in their order.

        Pictures that do not fit into the memory go by their names.
        """
        digest = hashlib.sha256()
        for images in (self.train, self.evaluation, self.test):
            if not images.in_memory:
                names = [Path(path).name for path, _ in images.samples]  # type: ignore[attr-defined]
                digest.update(repr(names).encode())
            for tensor in (*([images.data] if images.in_memory else []), images.targets):
                digest.update(np.ascontiguousarray(tensor.numpy()).data)
        return digest.hexdigest()

    def to(self, device: minicnn.device) -> Data:
        """With all sets on a device, where their batches are then made."""
        train, test, validation = self.train.to(device), self.test.to(device), self.validation
        if validation is not None:
            validation = validation.to(device)
        return replace(self, train=train, test=test, validation=validation)


def load(
    preset: Preset, directory: str | os.PathLike[str] | None = None, kind: Kind | None = None
) -> tuple[Data, Preset]:
    """The data, transformed as the preset says, and the preset with what it left open settled.

    That is its `dataset`, and its mean and standard deviation if they are to be measured. A data
    set that has a name is looked for in `directory` first, "data" unless given. Where `dataset` is
    "auto" and Fashion-MNIST is nowhere to be had, a line on stderr says so, and silhouettes take
    its place. Pictures in a folder are made into a `kind` that is given, that of a network.

    Raises UsageError if what was asked for can't be had, or is broken, if nothing is left to train
    on, and for settings that the images can't have; Failure for data of another kind.
    """
    preset = replace(preset, dataset=settled(preset.dataset))
    notes: list[str] = []
    split = Split()
    train: ImageDataset
    test: ImageDataset
    if catalogue.is_name(preset.dataset):
        preset, train = _named(preset, directory, train=True)
        preset, test = _named(preset, directory, train=False)
        found = _kind(train)
    else:
        _refuse_directory(directory, preset.dataset)
        pictures = folder.read(Path(preset.dataset), _form(preset, kind))
        train, test, found, notes = pictures.train, pictures.test, pictures.kind, pictures.notes
        split = Split(marks(pictures.train), marks(pictures.test))
    name, source = catalogue.title(preset.dataset), train.source
    if kind is not None:
        found.must_be(kind, "the network", name)
    train = train.part(slice(preset.limit_train or None), None)
    test = test.part(slice(preset.limit_test or None), None)
    validation = None
    if preset.validation:
        train, validation = hold_back(preset.validation, train, None)
    preset = _measured(preset, train, found)
    train.transform, test.transform = (preset.transform(t, found) for t in (True, False))
    if validation is not None:
        validation.transform = test.transform
    return Data(name, source, found, train, test, validation, notes, split), preset


def load_test(
    preset: Preset,
    kind: Kind,
    directory: str | os.PathLike[str] | None = None,
    *,
    split: Split | None = None,
) -> tuple[ImageDataset, str]:
    """The test images alone, for a network that was trained on this kind, and what they are called.

    Of a folder, wherever it lies now, no picture is tested on that was for training, as the
    network's `split` says. Raises UsageError, and Failure for data of another kind, and for a
    folder of classes alone if the split is not known.
    """
    preset = replace(preset, dataset=settled(preset.dataset))
    test: ImageDataset
    if catalogue.is_name(preset.dataset):
        preset, test = _named(preset, directory, train=False)
        name = catalogue.title(preset.dataset)
        _kind(test).must_be(kind, "the network", name)
    else:
        _refuse_directory(directory, preset.dataset)
        pictures, alone = folder.read_test(Path(preset.dataset), _form(preset, kind))
        name = catalogue.title(preset.dataset)
        replace(kind, classes=tuple(pictures.classes)).must_be(kind, "the network", name)
        test = _untrained(pictures, preset.dataset, split, alone)
    test = test.part(slice(preset.limit_test or None), preset.transform(train=False, kind=kind))
    return test, name


def _untrained(pictures: ImageFolder, where: str, split: Split | None, alone: bool) -> ImageFolder:
    """Those pictures that a network was not trained on; a line on stderr says what was left out."""
    if split is None:
        if alone:
            raise Failure(
                f"{where}: the model does not say which of these pictures it was trained on;"
                f" put those to test on into {Path(where) / 'test'}, and the others into"
                f" {Path(where) / 'train'}"
            )
        return pictures
    kept, said = split.untrained(pictures)
    if not kept:
        raise Failure(f"{where}: the network was trained on all of these pictures")
    if said:
        print(f"{printable(where)}: {said}", file=sys.stderr)
    return pictures.part(kept, None)


def kind_of(preset: Preset) -> Kind:
    """The kind of images that a preset is for. Raises UsageError as `load` does.

    A data set that has a name need not be there; pictures in a folder are read.
    """
    dataset = settled(preset.dataset)
    if dataset == catalogue.AUTO:
        return CLOTHES
    if catalogue.is_name(dataset):
        return catalogue.DATASETS[dataset].kind
    return folder.read(Path(dataset), _form(preset, None)).kind


def refuse_missing(dataset: str, run: Path) -> None:
    """Raise Failure if the pictures that a run, or its model alone, is of are there no more."""
    if not catalogue.is_name(dataset) and not Path(dataset).is_dir():
        directory = quoted(run if run.is_dir() else run.parent)
        raise Failure(
            f"{run}: its pictures were in {dataset}, and that is no folder now;"
            f" {command('nin.train')} --resume {directory} --dataset PATH says where they are"
        )


def settled(dataset: str) -> str:
    """The name of a data set, or the whole path of a folder. Raises UsageError for neither."""
    dataset = os.path.expanduser(dataset)
    catalogue.refuse_unknown(dataset)
    return dataset if catalogue.is_name(dataset) else os.path.abspath(dataset)


def _named(
    preset: Preset, directory: str | os.PathLike[str] | None, train: bool
) -> tuple[Preset, ImageDataset]:
    """Images of a data set that has a name, and the preset, which then knows what "auto" is."""
    name = "fashion-mnist" if preset.dataset == catalogue.AUTO else preset.dataset
    place = os.fspath("data" if directory is None else directory)
    most = preset.limit_train if train else preset.limit_test
    try:
        images = catalogue.DATASETS[name].make(place, train, most)
    except datasets.DatasetError as error:
        if preset.dataset != catalogue.AUTO or not isinstance(error, datasets.DatasetNotFound):
            raise UsageError(str(error)) from None
        print(
            f"Fashion-MNIST can't be had here, so this is done on silhouettes: {printable(error)}",
            file=sys.stderr,
        )
        return _named(replace(preset, dataset="silhouettes"), directory, train)
    if directory is not None and name != "silhouettes":
        _refuse_elsewhere(name, Path(place), images.source)
    return replace(preset, dataset=name), images


def _refuse_elsewhere(name: str, place: Path, source: str) -> None:
    """Raise UsageError if a data set was found elsewhere than in a place that holds something."""
    place = place.expanduser()
    inside = source.startswith(str(place)) and source[len(str(place)) :][:1] in ("", os.sep, " ")
    if inside or not place.is_dir():
        return
    held = sorted(os.listdir(place))
    if held:
        shown = ", ".join(held[:3]) + (f" and {len(held) - 3:,} more" if held[3:] else "")
        raise UsageError(
            f"--data-dir: {place} holds no {catalogue.title(name)}, but {shown}; for pictures of"
            f" your own there is --dataset {place}"
        )


def _refuse_directory(directory: str | os.PathLike[str] | None, dataset: str) -> None:
    if directory is not None:
        raise UsageError(f"--data-dir is for data sets by name, and {dataset} is a folder")


def _form(preset: Preset, kind: Kind | None) -> folder.Form:
    """What pictures are made into, by the settings or for a network."""
    if kind is not None:
        return folder.Form((kind.height, kind.width), kind.channels, preset.skip_broken)
    size = (preset.image_size, preset.image_size) if preset.image_size else None
    return folder.Form(size, None, preset.skip_broken)


def _kind(images: ImageDataset) -> Kind:
    _, h, w, *channels = images.data.shape
    return Kind(tuple(images.classes), channels[0] if channels else 1, h, w)


def _measured(preset: Preset, train: ImageDataset, kind: Kind) -> Preset:
    """The preset with its mean and standard deviation, checked against the images."""
    if preset.shift >= min(kind.height, kind.width):
        raise UsageError(
            f"--shift {preset.shift} moves images of {kind.height}×{kind.width} out of sight"
        )
    mean, std = preset.mean, preset.std
    if not (mean and std):
        measured_mean, measured_std = normalisation.measure(train)
        mean, std = mean or measured_mean, std or measured_std
        if not all(std):
            raise UsageError("--std: the training images have one colour, so there is no deviation")
    for flag, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (1, kind.channels):
            raise UsageError(
                f"{flag} has {len(values)} numbers, and the images {kind.channels} channel"
            )
    return replace(preset, mean=mean, std=std)


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
