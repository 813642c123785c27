"""`ImageFolder`: your own pictures, a folder for each class."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from ...arguments import ArgumentError, one_of, whole
from ...dtype import int64, uint8
from ...tensor import Tensor
from ...utils.data.collate import collate
from ..image_dataset import ImageDataset
from .errors import FolderError
from .picture import (
    MODES,
    PictureError,
    is_picture,
    look,
    picture_size,
    read_picture,
    suffixes,
)

MEMORY = 1 << 30  # bytes of pixels that are kept, unless another number is given
NAMED = 5  # files that a message names; the others it counts

T = TypeVar("T")


class ImageFolder(ImageDataset):
    """Pictures in `root`/CLASS/…, as `torchvision.datasets.ImageFolder` takes them.

    Every folder in `root` whose name does not begin with a dot is a class, in the order of their
    names. Every picture in it, or in folders within it, is a sample: whatever Pillow reads, turned
    upright (EXIF), transparent places on white, 16 bits as 8. Samples are uint8 Tensors (H, W, 3),
    or (H, W) for the mode "L", or what `transform` makes of them.

    All pictures are decoded once, by threads. They are kept as `data` if they have the same size,
    or get it from `size`, and take no more than `memory` bytes; otherwise they are decoded again
    whenever they are needed. Pictures that are broken, empty, huge, animated or wrongly named raise
    one FolderError; with `skip_broken` they are left out, and `skipped` has them with the reason.

    Args:
        root: The folder.
        transform: A function or transform for images.
        target_transform: A function for labels.
        loader: A function that reads the picture of a path, in place of what is said above; no
            picture is then read before it is needed.
        is_valid_file: A function that says whether a path is a picture; without it, its name does.
        allow_empty: Whether classes without pictures are allowed.
        extensions: The ends of the names of pictures. Unless given, those of Pillow's formats; then
            a picture whose name has none of them counts as wrongly named.
        size: (H, W), or a number for both: each picture is scaled until it just covers that, and
            the middle is cut out.
        mode: "RGB", "L", or "auto", which is "L" if no picture has colours.
        memory: How many bytes of pixels may be kept.
        skip_broken: Whether pictures that can't be used are left out.

    `samples` has (path, label) of each sample, `sizes` all (H, W) that occur, and `others` the
    number of files that are no pictures. Raises FolderError, in one line, for a root that is no
    folder, has no folder in it, or has a class without pictures, and ArgumentError for arguments
    that can't be used.
    """

    per_sample = (*ImageDataset.per_sample, "samples")

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        loader: Callable[[str], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        *,
        extensions: str | Sequence[str] | None = None,
        size: int | Sequence[int] | None = None,
        mode: str = "RGB",
        memory: int = MEMORY,
        skip_broken: bool = False,
    ) -> None:
        if extensions is not None and is_valid_file is not None:
            raise ArgumentError("ImageFolder: give extensions or is_valid_file, not both")
        if loader is not None and (size is not None or skip_broken):
            raise ArgumentError("ImageFolder: size and skip_broken are not for your own loader")
        self.size = picture_size("ImageFolder", size)
        mode = one_of("ImageFolder", "mode", mode, *MODES, "auto")
        memory = whole("ImageFolder", "memory", memory, 0)
        self.root, self.loader = root, loader
        self.source = os.path.expanduser(os.fspath(root))
        self.transform, self.target_transform = transform, target_transform
        self.classes = _classes(self.source)
        self.skipped: list[tuple[str, str]] = []
        self.others = 0
        self.sizes: set[tuple[int, int]] = set()
        files = self._files(is_valid_file, extensions)
        if loader is None:
            any_name = is_valid_file is not None or extensions is not None
            files = self._decoded(files, any_name, mode, memory, skip_broken)
        self.samples = files
        self.targets = Tensor(np.array([label for _, label in files], int64))
        if not allow_empty:
            self._refuse_empty()

    @property
    def imgs(self) -> list[tuple[str, int]]:
        """`samples`, by torchvision's other name."""
        return self.samples

    def picture(self, index: int) -> Any:
        if self.in_memory:
            return super().picture(index)
        path, _ = self.samples[index]
        if self.loader is not None:
            return self.loader(path)
        try:
            return Tensor(read_picture(path, self.mode, self.size))
        except PictureError as error:
            raise FolderError(f"{path} {error}; it was whole when the data set was made") from None

    def extra_repr(self) -> str:
        said = [f"Skipped: {len(self.skipped)} broken pictures"] if self.skipped else []
        said += [f"Passed over: {self.others} files that are no pictures"] if self.others else []
        return "\n".join(said)

    def _files(
        self, valid: Callable[[str], bool] | None, ends: str | Sequence[str] | None
    ) -> list[tuple[str, int]]:
        """The pictures, by their names, and the label of each."""
        known = tuple(suffixes() if ends is None else [ends] if isinstance(ends, str) else ends)
        known = tuple(end.lower() for end in known)
        files: list[tuple[str, int]] = []
        others: list[tuple[str, int]] = []
        for label, name in enumerate(self.classes):
            for path in _walk(os.path.join(self.source, name)):
                named = path.lower().endswith(known) if valid is None else valid(path)
                (files if named else others).append((path, label))
        outside = [entry for entry in os.scandir(self.source) if _is_other(entry)]
        self.others = len(others) + len(outside)
        if valid is None and ends is None and self.loader is None:
            found = _in_threads(lambda file: is_picture(file[0]), others, None)
            unnamed = [file for file, is_one in zip(others, found, strict=True) if is_one]
            self.others -= len(unnamed)
            files += unnamed  # `look` will say what is wrong with their names
            files.sort(key=lambda file: file[1])
        return files

    def _decoded(
        self, files: list[tuple[str, int]], any_name: bool, mode: str, memory: int, skip: bool
    ) -> list[tuple[str, int]]:
        """Read all pictures; keep them if they fit. Returns those that are whole."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd things in files that can be read nevertheless
            looks = _in_threads(
                lambda file: _tried(lambda path: look(path, any_name), file[0]), files, None
            )
            files, good = self._whole(files, looks, skip)
            self.mode = mode
            if mode == "auto":
                self.mode = "L" if good and all(each.grey for each in good) else "RGB"
            self.sizes = sizes = {self.size or each.size for each in good}
            shape = (*next(iter(sizes), (0, 0)), *([3] if self.mode == "RGB" else []))
            fits = len(sizes) == 1 and len(files) * int(np.prod(shape)) <= memory
            kept = np.empty((len(files) if fits else 0, *shape), uint8)

            def keep(each: tuple[int, str]) -> None:
                pixels = read_picture(each[1], self.mode, self.size)
                if fits and pixels.shape != shape:
                    raise PictureError("changed while it was read")
                if fits:
                    kept[each[0]] = pixels

            numbered = [(i, path) for i, (path, _) in enumerate(files)]
            title = os.path.basename(os.path.abspath(self.source))
            done = _in_threads(partial(_tried, keep), numbered, title)
            bad = np.array([isinstance(each, PictureError) for each in done], bool)
            files, _ = self._whole(files, done, skip)
        if fits:
            self.data = Tensor(kept[~bad] if bad.any() else kept)
        return files

    def _whole(
        self, files: list[tuple[str, int]], made: Sequence[Any], skip: bool
    ) -> tuple[list[tuple[str, int]], list[Any]]:
        """The files that nothing is wrong with, and what was made of each.

        The others go into `skipped`, or are refused.
        """
        bad = [
            (path, str(error))
            for (path, _), error in zip(files, made, strict=True)
            if isinstance(error, PictureError)
        ]
        if bad and not skip:
            shown = [f"{os.path.relpath(path, self.source)} {why}" for path, why in bad]
            raise FolderError(
                f"{self.source}: {len(bad):,} of {len(files):,} pictures can't be used:"
                f" {_some(shown, '; ')}; repair or remove them, or leave them out with"
                " skip_broken=True"
            )
        self.skipped += bad
        whole = [
            (file, each)
            for file, each in zip(files, made, strict=True)
            if not isinstance(each, PictureError)
        ]
        return [file for file, _ in whole], [each for _, each in whole]

    def _refuse_empty(self) -> None:
        found = set(self.targets.tolist())
        empty = [name for label, name in enumerate(self.classes) if label not in found]
        if empty:
            skipped = f"; {len(self.skipped):,} broken ones were left out" if self.skipped else ""
            raise FolderError(
                f"{self.source}: no pictures in {_some(empty, ', ')}, of"
                f" {len(self.classes)} classes{skipped}; remove what is no class, or pass"
                " allow_empty=True"
            )

    def _collated(self, images: list[Any], indices: Any) -> Any:
        try:
            return collate(images)
        except ArgumentError:
            shapes = [getattr(image, "shape", None) for image in images]
            other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
            if other is None:
                raise
            first, second = (self.samples[int(indices[i])][0] for i in (0, other))
            raise FolderError(
                f"pictures of different sizes make no batch: {first} is {shapes[0]}, {second}"
                f" {shapes[other]}; give ImageFolder a size, or the transform a Resize((H, W))"
            ) from None


def _classes(root: str) -> list[str]:
    """The names of the folders in a folder."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except FileNotFoundError:
        raise FolderError(f"{root}: there is no such folder") from None
    except OSError as error:
        raise FolderError(f"{root}: can't be read: {error.strerror or error}") from None
    classes = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    if not classes:
        found = _some([entry.name for entry in entries], ", ") if entries else "nothing"
        raise FolderError(
            f"{root}: no folders with pictures in it, one for each class; there is {found}"
        )
    return classes


def _walk(folder: str) -> Iterable[str]:
    """The files in a folder and in those within it, in the order of their names.

    Links are followed, but to no folder again that leads here; what is hidden is passed over.
    """
    above: dict[str, set[str]] = {folder: {os.path.realpath(folder)}}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_folder):
        seen = above.pop(place)
        real = {name: os.path.realpath(os.path.join(place, name)) for name in folders}
        folders[:] = sorted(n for n in folders if n[0] != "." and real[n] not in seen)
        above.update({os.path.join(place, name): seen | {real[name]} for name in folders})
        yield from (os.path.join(place, name) for name in sorted(names) if name[0] != ".")


def _refuse_folder(error: OSError) -> None:
    raise FolderError(f"{error.filename}: can't be read: {error.strerror or error}") from None


def _is_other(entry: os.DirEntry[str]) -> bool:
    return not entry.is_dir() and entry.name[0] != "."


def _tried(call: Callable[[Any], T], value: Any) -> T | PictureError:
    try:
        return call(value)
    except PictureError as error:
        return error


def _in_threads(call: Callable[[Any], T], values: Sequence[Any], title: str | None) -> list[T]:
    """What a function makes of each value, called by threads; a bar of this title shows how far."""
    hidden = title is None or sys.stderr is None or not sys.stderr.isatty()
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="ImageFolder") as pool:
        done = pool.map(call, values)
        return list(tqdm(done, title, len(values), leave=False, disable=hidden, unit="pictures"))


def _some(texts: Sequence[str], between: str) -> str:
    """The first few of several texts, and how many more there are."""
    more = len(texts) - NAMED
    shown = between.join(texts[:NAMED])
    return f"{shown}{between}and {more:,} more" if more > 0 else shown
