"""CIFAR-10 and CIFAR-100, read from their binary archives; nothing is unpickled or unpacked."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...backends import Array
from ...dtype import int64
from ...files import open_regular, read_bytes
from ...tensor import Tensor
from ..image_dataset import ImageDataset
from .checksum import Published, check
from .download import download as fetch
from .errors import DatasetError, DatasetNotFound
from .places import cache, places, variable

SIDE = 32
PIXELS = 3 * SIDE * SIDE  # of an image: its red, its green and its blue plane, row by row
NAMES = 10_000  # bytes at most in a list of class names

Contents = Mapping[str, bytes]


class CIFAR10(ImageDataset):
    """CIFAR-10 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images").

    50,000 colour images, uint8 (32, 32, 3), for training, or 10,000 for testing, in ten classes.
    They are read from the *binary* version, cifar-10-binary.tar.gz, or from the directory
    cifar-10-batches-bin that is in it. Either is looked for in `root`, in the directory named by
    the environment variable CIFAR_10_DIR, and in the user's cache; with `download` the archive is
    fetched into the cache if there is neither.

    `source` says where they were found. The archive is verified by its MD5, as the authors' page
    states it; of single files there is none, and their size and labels are checked. Raises
    DatasetError for what is not found, can't be downloaded or is broken; only a broken archive in
    the cache is, with `download`, fetched again. What is nowhere to be had raises DatasetNotFound.
    """

    name = "cifar-10"
    title = "CIFAR-10"
    mirrors: tuple[str, ...] = (
        "https://www.cs.toronto.edu/~kriz/",
        "https://cave.cs.toronto.edu/kriz/",
    )
    archive = Published("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")
    folder = "cifar-10-batches-bin"
    batches: Mapping[bool, tuple[str, ...]] = {
        True: tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        False: ("test_batch.bin",),
    }
    images: Mapping[bool, int] = {True: 10_000, False: 10_000}  # in each of these files
    labels: Mapping[str, int] = {"batches.meta.txt": 10}  # before an image: their names, how many

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root, self.train = root, bool(train)
        contents, source = self._contents(download)
        records = np.concatenate([self._records(contents, n) for n in self.batches[self.train]])
        planes = records[:, len(self.labels) :].reshape(-1, 3, SIDE, SIDE)
        # The last label before an image is its class; the one before, if any, a coarser one.
        self.label_names = [self._names(contents, *each) for each in self.labels.items()]
        super().__init__(
            np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
            records[:, len(self.labels) - 1].astype(int64),
            transform,
            target_transform,
            classes=self.label_names[-1],
        )
        self._first_labels = Tensor(records[:, 0].astype(int64))
        self.source = str(source)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"

    def _sizes(self) -> dict[str, tuple[int, int]]:
        """The files that are needed: for each, the least and the most bytes that it may have."""
        n = self.images[self.train] * (len(self.labels) + PIXELS)
        return {
            **dict.fromkeys(self.batches[self.train], (n, n)),
            **dict.fromkeys(self.labels, (1, NAMES)),
        }

    def _contents(self, download: bool) -> tuple[Contents, Path]:
        """What is in the files that are needed, and where they were found."""
        where = places(self.root, self.name)
        kept = cache(self.name)
        for place in where:
            path = place / self.archive.name
            if os.path.lexists(path):
                try:
                    with open_regular(path) as archive:
                        return self._unpacked(archive), path
                except (OSError, DatasetError) as error:
                    if place != kept or not download:
                        raise DatasetError(f"{path}: {_said(error)}") from None
                    with suppress(OSError):
                        path.unlink()
            if (place / self.folder).is_dir():
                return self._from_files(place / self.folder), place / self.folder
        if not download:
            raise DatasetNotFound(
                f"{self.title}: no {self.archive.name} or {self.folder} in"
                f" {', '.join(map(str, where))}; use download=True, or set {variable(self.name)}"
                " to where it is"
            )
        size = self.archive.size
        contents = fetch(self.mirrors, self.archive.name, kept, size, self._unpacked)
        assert kept is not None  # or nothing could have been downloaded
        return contents, kept / self.archive.name

    def _unpacked(self, archive: Any) -> Contents:
        """The files that are needed, from an archive that has been verified first."""
        check(archive, self.archive)
        needed = {f"{self.folder}/{name}": (name, size) for name, size in self._sizes().items()}
        contents: dict[str, bytes] = {}
        try:
            with tarfile.open(fileobj=archive, mode="r:gz") as opened:
                for member in opened:
                    if member.name not in needed:
                        continue
                    name, (least, most) = needed.pop(member.name)
                    if not member.isfile() or not least <= member.size <= most:
                        raise DatasetError(f"{member.name} {_wrong_size(member.size, least, most)}")
                    file = opened.extractfile(member)
                    assert file is not None  # as it is a file
                    contents[name] = file.read()
                    if not needed:
                        return contents
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise DatasetError(f"is broken: {_said(error)}") from None
        raise DatasetError(f"holds no {', '.join(needed)}")

    def _from_files(self, folder: Path) -> Contents:
        contents = {}
        for name, (least, most) in self._sizes().items():
            path = folder / name
            try:
                contents[name] = read_bytes(path, most)
            except OSError as error:
                raise DatasetError(f"{path}: {_said(error)}") from None
            if len(contents[name]) < least:
                wrong = _wrong_size(len(contents[name]), least, most)
                raise DatasetError(f"{path} {wrong}")
        return contents

    def _records(self, contents: Contents, name: str) -> Array:
        """A file as an array, a row for each image, whose labels have been checked."""
        records = np.frombuffer(contents[name], "uint8").reshape(-1, len(self.labels) + PIXELS)
        for i, (kind, classes) in enumerate(self.labels.items()):
            largest = records[:, i].max(initial=0)
            if largest >= classes:
                raise DatasetError(
                    f"{self.title}: a label in {name} is {largest}, of {classes} in {kind}"
                )
        return records

    def _names(self, contents: Contents, name: str, classes: int) -> list[str]:
        """The names in a list of classes, one a line."""
        found = contents[name].decode("ascii", "backslashreplace").split()
        if len(found) != classes:
            raise DatasetError(f"{self.title}: {name} holds {len(found)} names, of {classes}")
        return found


class CIFAR100(CIFAR10):
    """CIFAR-100: as CIFAR-10, in a hundred classes, and in twenty coarser ones.

    The binary version is cifar-100-binary.tar.gz with its directory cifar-100-binary, the variable
    CIFAR_100_DIR. `targets` and `classes` are the fine ones, as in torchvision; `coarse_targets`
    (N,) int64 and `coarse_classes` the coarse.
    """

    name = "cifar-100"
    title = "CIFAR-100"
    archive = Published("cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8")
    folder = "cifar-100-binary"
    batches: Mapping[bool, tuple[str, ...]] = {True: ("train.bin",), False: ("test.bin",)}
    images: Mapping[bool, int] = {True: 50_000, False: 10_000}
    labels: Mapping[str, int] = {"coarse_label_names.txt": 20, "fine_label_names.txt": 100}

    per_sample = (*CIFAR10.per_sample, "_first_labels")

    @property
    def coarse_targets(self) -> Tensor:
        """The coarse classes (N,) int64."""
        return self._first_labels

    @property
    def coarse_classes(self) -> list[str]:
        """The names of the coarse classes."""
        return self.label_names[0]


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _wrong_size(size: int, least: int, most: int) -> str:
    if size < least:
        return f"is cut short: {least - size:,} bytes are missing"
    return f"is no file of at most {most:,} bytes"
