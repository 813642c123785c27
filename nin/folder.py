"""A folder of anybody's own pictures, as images for training and for testing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minicnn.backends import host
from minicnn.console import UsageError, counted
from minicnn.random import Generator, permutation
from minicnn.vision.datasets import DatasetError, ImageFolder

from .kind import Kind, is_class_name

xp = host.xp
SPLIT_SEED = 20131216  # the day on which the paper appeared; any number would do
SHARE = 5  # one of so many pictures of a class is for testing, where no folder is
NAMED = 3  # files that a line names; the others it counts
PARTS = ("train", "test")
MODES = {1: "L", 3: "RGB"}  # Pillow's, by the number of channels


@dataclass
class Pictures:
    """Pictures of one kind, and lines that say what was done to have them.

    Their order is mixed, as whoever uses the first N wants some of each class.
    """

    kind: Kind
    train: ImageFolder
    test: ImageFolder
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Form:
    """What pictures are made into: (H, W), or None for the size that all have; and channels.

    1 channel is grey, 3 are colours, and None is grey if no picture has colours.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    skip_broken: bool = False


def read(root: Path, form: Form) -> Pictures:
    """The pictures in `root`/train/CLASS and `root`/test/CLASS, or in `root`/CLASS.

    Where there are classes alone, one of five pictures of each is for testing; which ones depends
    on nothing but how many there are, so that all runs are tested on the same. Raises UsageError
    for a folder of another kind, and for pictures that can't be used.
    """
    if not _has_parts(root):
        pictures = _read(root, form)
        train, test = _split(pictures)
        note = f"a fifth of each class is for testing, drawn with seed {SPLIT_SEED}"
        return Pictures(_kind(pictures), train, test, [note, *_notes(pictures)])
    train, test = (_read(root / part, form) for part in PARTS)
    if train.mode != test.mode:  # one of them alone is grey
        colour = Form(form.size, 3, form.skip_broken)
        train, test = (
            each if each.mode == MODES[3] else _read(root / part, colour)
            for part, each in zip(PARTS, (train, test), strict=True)
        )
    if train.classes != test.classes:
        one, other = set(train.classes), set(test.classes)
        missing = [f"test has no {name}" for name in sorted(one - other)]
        missing += [f"train has no {name}" for name in sorted(other - one)]
        raise UsageError(f"{root}: train and test must have the same classes: {_some(missing)}")
    kind = _kind(train, test)
    notes = [
        f"{part}: {line}"
        for part, each in zip(PARTS, (train, test), strict=True)
        for line in _notes(each)
    ]
    return Pictures(kind, _mixed(train), _mixed(test), notes)


def read_test(root: Path, form: Form) -> tuple[ImageFolder, bool]:
    """The pictures in `root`/test/CLASS, or all of those in `root`/CLASS, and whether it is these.

    They are in the order that `read` has them in. Raises UsageError.
    """
    alone = not _has_parts(root)
    return _mixed(_read(root if alone else root / "test", form)), alone


def _has_parts(root: Path) -> bool:
    """Whether there are folders for training and for testing, or else classes alone.

    Raises UsageError for a file, and for a folder with one of the two.
    """
    if not root.is_dir():
        raise UsageError(f"--dataset: {root} is a file, where a folder of pictures is expected")
    parts = [part for part in PARTS if _holds_folders(root / part)]
    if len(parts) == 1:
        found = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise UsageError(
            f"--dataset: {root} holds {_some(found)}; with {parts[0]} there must be"
            f" {'test' if parts == ['train'] else 'train'}, too, or folders of classes alone"
        )
    return bool(parts)


def _holds_folders(path: Path) -> bool:
    return path.is_dir() and any(entry.is_dir() for entry in path.iterdir())


def _read(root: Path, form: Form) -> ImageFolder:
    mode = "auto" if form.channels is None else MODES[form.channels]
    try:
        found = ImageFolder(root, size=form.size, mode=mode, skip_broken=form.skip_broken)
    except DatasetError as error:
        text = str(error).replace("with skip_broken=True", "with --skip-broken")
        raise UsageError(f"--dataset: {text.partition(', or pass allow_empty')[0]}") from None
    for name in found.classes:
        if not is_class_name(name):
            raise UsageError(f"--dataset: {root}: {name!r} can't be the name of a class; rename it")
    if len(found.classes) == 1:
        raise UsageError(
            f"--dataset: {root} holds one class alone, {found.classes[0]}: there must be a folder"
            " for each of two or more"
        )
    return found


def _kind(*parts: ImageFolder) -> Kind:
    """The kind of pictures. Raises UsageError if they differ in size."""
    sizes = sorted(set().union(*(part.sizes for part in parts)), key=lambda s: s[0] * s[1])
    if len(sizes) > 1:
        (h, w), (tall, wide) = sizes[0], sizes[-1]
        raise UsageError(
            f"--dataset: the pictures have {len(sizes):,} different sizes, from {h}×{w} to"
            f" {tall}×{wide}; --image-size 64, or another number, makes squares of all"
        )
    channels = 3 if parts[0].mode == MODES[3] else 1
    return Kind(tuple(parts[0].classes), channels, *sizes[0])


def _order(n: int) -> Any:
    return permutation(Generator().manual_seed(SPLIT_SEED).next_key(), n)


def _mixed(pictures: ImageFolder) -> ImageFolder:
    return pictures.part(_order(len(pictures)), None)


def _split(pictures: ImageFolder) -> tuple[ImageFolder, ImageFolder]:
    """Those for training, and those for testing: of each class the first fifth of a mixed order."""
    order = _order(len(pictures))
    labels, testing = pictures.targets.array[order], xp.zeros(len(order), bool)
    for label, name in enumerate(pictures.classes):
        (own,) = xp.nonzero(labels == label)
        if len(own) < 2:
            raise UsageError(
                f"--dataset: {name} has one picture alone; there must be one to train on and one"
                " to test with"
            )
        testing[own[: max(1, len(own) // SHARE)]] = True
    return pictures.part(order[~testing], None), pictures.part(order[testing], None)


def _notes(pictures: ImageFolder) -> list[str]:
    """What was left out."""
    notes = []
    if pictures.skipped:
        names = [f"{os.sep.join(Path(path).parts[-2:])} {why}" for path, why in pictures.skipped]
        notes.append(f"skipped {counted(len(names), 'picture')}: {_some(names, '; ')}")
    if pictures.others:
        notes.append(f"passed over {counted(pictures.others, 'file')}, no pictures by their names")
    return notes


def _some(texts: Sequence[str], between: str = ", ") -> str:
    """The first few of several texts, and how many more there are."""
    more = [f"{len(texts) - NAMED:,} more"] if len(texts) > NAMED else []
    return between.join([*texts[:NAMED], *more])
