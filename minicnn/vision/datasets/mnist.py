"""MNIST and its relatives: grey images of 28×28 and their labels, in IDX files."""

from __future__ import annotations

import math
import os
import string
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...arguments import one_of
from ...backends import Array
from ...dtype import int64
from ...files import open_regular
from ..image_dataset import ImageDataset
from .checksum import Published, check
from .download import download as fetch
from .errors import DatasetError, DatasetNotFound
from .idx import MORE, parse_idx, read_idx
from .places import cache, found, places, variable


class IdxFile(NamedTuple):
    """An IDX file of a data set, which is published gzipped.

    The SHA-256 is that of the decompressed file, which is the same wherever it comes from. Where
    only the MD5 of the compressed file is known, as it was published, there is no other way to
    know the file, and it is not looked for in another form.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str | None = None
    md5: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called."""
        return (f"{self.name}.gz",) if self.sha256 is None else (self.name, f"{self.name}.gz")


def _four(*digests: str) -> dict[bool, tuple[IdxFile, IdxFile]]:
    """The files of MNIST and of those that took its form: for training, and for testing."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    shapes = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    kind = "md5" if len(digests[0]) == 32 else "sha256"
    files = [
        IdxFile(f"{name}-ubyte", shape, **{kind: digest})
        for name, shape, digest in zip(names, shapes, digests, strict=True)
    ]
    return {True: (files[0], files[1]), False: (files[2], files[3])}


class MNIST(ImageDataset):
    """MNIST (LeCun, Cortes and Burges 1998): handwritten digits.

    60,000 grey images for training, or 10,000 for testing. The files, gzipped or not, are looked
    for in `root`, in `root`/MNIST/raw (torchvision's place), in the directory named by the
    environment variable MNIST_DIR, and in the user's cache. With `download` they are fetched into
    the cache if they are in none.

    `source` says where they were found. Every file is verified by a checksum. Raises DatasetError
    for a file that is not found, can't be downloaded or is broken; only a broken file in the cache
    is, with `download`, fetched again. Files that can be had nowhere raise DatasetNotFound.
    """

    name = "mnist"
    title = "MNIST"
    mirrors: tuple[str, ...] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    elsewhere: tuple[Path, ...] = ()
    hint = ""
    files = _four(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    )
    classes: Sequence[str] = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        where = places(root, self.name, [f"{type(self).__name__}/raw"], self.elsewhere)
        (images, first), (labels, second) = (
            self._load(file, where, download) for file in self._files(bool(train))
        )
        if labels.size and labels.max() >= len(self.classes):
            raise DatasetError(
                f"{second}: a label is {labels.max()}, of {len(self.classes)} classes"
            )
        super().__init__(
            images, labels.astype(int64), transform, target_transform, classes=self.classes
        )
        self.root, self.train = root, bool(train)
        self.source = str(first) if first == second else f"{first} and {second}"

    def _files(self, train: bool) -> tuple[IdxFile, IdxFile]:
        """The images and the labels."""
        return self.files[train]

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"

    def _load(self, file: IdxFile, where: list[Path], download: bool) -> tuple[Array, Path]:
        """The content of a file, and the directory it was found in."""
        kept = cache(self.name)
        for place in where:
            for path in (place / name for name in file.names):
                if not os.path.lexists(path):
                    continue
                try:
                    return read_idx(path, file.shape, file.sha256, file.md5), place
                except DatasetError:
                    if place != kept or not download:
                        raise
                    with suppress(OSError):
                        path.unlink()
        if not download:
            raise self._nowhere(f"{file.name}[.gz]" if file.sha256 else file.names[0], where)
        most = math.prod(file.shape) + MORE
        array = fetch(
            self.mirrors,
            f"{file.name}.gz",
            kept,
            most,
            lambda content: parse_idx(content, file.shape, file.sha256, file.md5, gzipped=True),
        )
        assert kept is not None  # or nothing could have been downloaded
        return array, kept

    def _nowhere(self, name: str, where: list[Path]) -> DatasetNotFound:
        return DatasetNotFound(
            f"{self.title}: no {name} in {', '.join(map(str, where))}; use download=True,"
            f"{self.hint} or set {variable(self.name)} to where it is"
        )


class FashionMNIST(MNIST):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747): clothing.

    It was made as a replacement of MNIST, and is read in the same way. It is also looked for in
    Debian's package dataset-fashion-mnist; the environment variable is FASHION_MNIST_DIR.
    """

    name = "fashion-mnist"
    title = "Fashion-MNIST"
    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    elsewhere = (Path("/usr/share/datasets/fashion-mnist"),)
    hint = " or apt-get install dataset-fashion-mnist,"
    files = _four(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    )
    classes: Sequence[str] = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]


class KMNIST(MNIST):
    """Kuzushiji-MNIST (Clanuwat et al. 2018, arXiv 1812.01718): ten characters of cursive Japanese.

    It is read as MNIST is, but only from gzipped files, as only their MD5 is published.
    """

    name = "kmnist"
    title = "KMNIST"
    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    files = _four(
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    )
    classes: Sequence[str] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


MERGED = "cijklmopsuvwxyz"  # small letters that EMNIST takes for the capital ones
_SEPARATE = [*string.digits, *string.ascii_uppercase, *string.ascii_lowercase]
_TOGETHER = [c for c in _SEPARATE if c not in MERGED]


class Split(NamedTuple):
    """A part of EMNIST: how many images there are for training and for testing, and its classes."""

    train: int
    test: int
    classes: list[str]


class EMNIST(MNIST):
    """EMNIST (Cohen et al. 2017, arXiv 1702.05373): handwritten letters and digits.

    `split` is one of byclass, bymerge, balanced, letters, digits and mnist. The files lie in one
    archive, gzip.zip, which is looked for as MNIST's files are (EMNIST_DIR, `root`/EMNIST/raw), and
    known by its MD5; it is 562 MB large. A single file of it, emnist-SPLIT-…, is used as well, and
    checked for its form alone, as no checksum of it is published.

    Images are as they are published, and as torchvision has them: rows and columns are exchanged,
    so that `data.transpose(1, 2)` shows them upright. Labels of `letters` begin at 1, and class 0
    is "N/A". Raises what MNIST raises, and ArgumentError for another split.
    """

    name = "emnist"
    title = "EMNIST"
    mirrors = ("https://biometrics.nist.gov/cs_links/EMNIST/",)
    archive = Published("gzip.zip", 561_753_746, "58c8d27c78d21e728a6bc7b3cc06412e")
    splits: Mapping[str, Split] = {
        "byclass": Split(697_932, 116_323, _SEPARATE),
        "bymerge": Split(697_932, 116_323, _TOGETHER),
        "balanced": Split(112_800, 18_800, _TOGETHER),
        "letters": Split(124_800, 20_800, ["N/A", *string.ascii_lowercase]),
        "digits": Split(240_000, 40_000, list(string.digits)),
        "mnist": Split(60_000, 10_000, list(string.digits)),
    }

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.split = one_of("EMNIST", "split", split, *self.splits)
        self.classes = list(self.splits[self.split].classes)
        super().__init__(root, train, transform, target_transform, download)

    def _files(self, train: bool) -> tuple[IdxFile, IdxFile]:
        split = self.splits[self.split]
        n = split.train if train else split.test
        start = f"emnist-{self.split}-{'train' if train else 'test'}"
        images, labels = f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"
        return IdxFile(images, (n, 28, 28)), IdxFile(labels, (n,))

    def _load(self, file: IdxFile, where: list[Path], download: bool) -> tuple[Array, Path]:
        path = found(where, file.name, f"{file.name}.gz", self.archive.name)
        if path is not None and path.name != self.archive.name:
            return read_idx(path, file.shape), path.parent
        kept = cache(self.name)
        if path is not None:
            try:
                with open_regular(path) as archive:
                    return self._member(archive, file), path.parent
            except (OSError, DatasetError) as error:
                if path.parent != kept or not download:
                    reason = getattr(error, "strerror", None) or error
                    raise DatasetError(f"{path}: {reason}") from None
                with suppress(OSError):
                    path.unlink()
        if not download:
            raise self._nowhere(self.archive.name, where)
        array = fetch(
            self.mirrors,
            self.archive.name,
            kept,
            self.archive.size,
            lambda content: self._member(content, file),
        )
        assert kept is not None  # or nothing could have been downloaded
        return array, kept

    def _member(self, archive: Any, file: IdxFile) -> Array:
        """The content of a file in the archive, once that has been verified."""
        check(archive, self.archive)
        try:
            with zipfile.ZipFile(archive) as opened, opened.open(f"gzip/{file.name}.gz") as member:
                return parse_idx(member, file.shape, gzipped=True)
        except KeyError:
            raise DatasetError(f"holds no gzip/{file.name}.gz") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DatasetError(f"is broken: {error}") from None
