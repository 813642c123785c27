"""The data sets, under the names of `torchvision.datasets`."""

from __future__ import annotations

import io
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from .. import atomic
from ..backends import Array
from ..dtype import int64
from ..installing import how
from .idx import DatasetError as DatasetError
from .idx import parse_idx, read_idx
from .image_dataset import CLASSES, ImageDataset

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
TIMEOUT = 30  # seconds without an answer, or without another byte
DEADLINE = 900  # seconds for a file, the largest of 26 MB
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist


class DatasetNotFound(DatasetError):
    """The data set is in none of the places looked in, and wasn't or couldn't be downloaded."""


class IdxFile(NamedTuple):
    """A file of the data set. The digest is that of the decompressed file, which, unlike the
    compressed one, is the same wherever it comes from."""

    name: str
    shape: tuple[int, ...]
    sha256: str


FILES = {  # for training, and for testing
    True: (
        IdxFile(
            "train-images-idx3-ubyte",
            (60_000, 28, 28),
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            (60_000,),
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    False: (
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10_000, 28, 28),
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            (10_000,),
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


class FashionMNIST(ImageDataset):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747).

    60,000 grey images of clothing for training, or 10,000 for testing. The files, gzipped or not,
    are looked for in `root`, in `root`/FashionMNIST/raw (torchvision's place), in the directory
    named by the environment variable FASHION_MNIST_DIR, in Debian's package dataset-fashion-mnist
    and in the user's cache. With `download` they are fetched into the cache if they are in none.

    `source` says where they were found. Every file is verified by its SHA-256. Raises DatasetError
    for a file that is not found, can't be downloaded or is broken; only a broken file in the cache
    is, with `download`, fetched again. What is nowhere to be had raises DatasetNotFound.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        places = _places(root)
        (images, first), (labels, second) = (
            _load(file, places, download) for file in FILES[bool(train)]
        )
        if labels.size and labels.max() >= len(CLASSES):
            raise DatasetError(f"{second}: a label is {labels.max()}, of {len(CLASSES)} classes")
        super().__init__(images, labels.astype(int64), transform, target_transform)
        self.train = bool(train)
        self.source = str(first) if first == second else f"{first} and {second}"


def _cache() -> Path | None:
    """The directory for downloads; None for a user who has no home directory."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.path.expanduser(base)  # unlike Path.expanduser, leaves what it does not know
    return None if home.startswith("~") else Path(home) / "minicnn" / "fashion-mnist"


def _places(root: str | os.PathLike[str]) -> list[Path]:
    """The directories to look in, in this order."""
    given, cache = Path(os.path.expanduser(root)), _cache()
    named = os.environ.get("FASHION_MNIST_DIR")
    return [
        given,
        given / "FashionMNIST" / "raw",
        *([Path(os.path.expanduser(named))] if named else []),
        DEBIAN,
        *([cache] if cache else []),
    ]


def _load(file: IdxFile, places: list[Path], download: bool) -> tuple[Array, Path]:
    """The content of a file, and the directory it was found in."""
    for place in places:
        for path in (place / file.name, place / f"{file.name}.gz"):
            if not os.path.lexists(path):
                continue
            try:
                return read_idx(path, file.shape, file.sha256), place
            except DatasetError:
                if place != _cache() or not download:
                    raise
                with suppress(OSError):
                    path.unlink()
    if download:
        return _download(file)
    raise DatasetNotFound(
        f"Fashion-MNIST: no {file.name}[.gz] in {', '.join(map(str, places))}; use download=True,"
        " or apt-get install dataset-fashion-mnist, or set FASHION_MNIST_DIR to where it is"
    )


def _download(file: IdxFile) -> tuple[Array, Path]:
    """Fetch a file into the cache, once it has been verified."""
    name = f"{file.name}.gz"
    url = ADDRESS + name
    cache = _cache()
    if cache is None:
        raise DatasetNotFound(
            f"{url}: can't be downloaded: this user has no home directory with a cache; set"
            " XDG_CACHE_HOME to a directory"
        )
    try:  # here, as where the data is there already nothing else needs it
        import pooch
    except ImportError as error:
        raise DatasetNotFound(
            f"{url}: can't be downloaded: {error}; {how()}, or put the file into {cache}"
        ) from None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # gzip hardly makes a file larger, so more than this can't be the right one.
        with _Content(math.prod(file.shape) + 1024) as content:
            _within(DEADLINE, lambda: _fetch(pooch, url, content))
            content.seek(0)
            array = parse_idx(content, file.shape, file.sha256, gzipped=True)
            atomic.write(cache / name, content.getvalue())
    except DatasetError as error:
        raise DatasetNotFound(f"{url}: what came is not the data set: {error}") from None
    except (OSError, ValueError) as error:  # requests' are OSErrors; a header may hold anything
        raise DatasetNotFound(f"{url}: can't be downloaded: {_reason(error)}") from None
    return array, cache


class _Content(io.BytesIO):
    """What a server sends, which may not grow beyond so many bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def write(self, piece: Any) -> int:
        if self.tell() + len(piece) > self.most:
            raise DatasetError(f"the server sends more than {self.most:,} bytes")
        return super().write(piece)


def _fetch(pooch: Any, url: str, content: _Content) -> None:
    hidden = sys.stderr is None or not sys.stderr.isatty()
    name, answers = url.rpartition("/")[2], []
    # pooch sets the total of the bar, and wants one before.
    with tqdm(
        desc=name, total=content.most, unit="B", unit_scale=True, leave=False, disable=hidden
    ) as bar:
        try:
            pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=1 << 16,
                timeout=TIMEOUT,
                hooks={"response": lambda answer, **_: answers.append(answer)},
            )(url, content, None)
        finally:  # pooch leaves them open where something went wrong
            for answer in answers:
                answer.close()


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Call a function in a thread, and wait for it only so long. Raises what it raises.

    A server that sends a byte now and then runs into no timeout of the connection's. A thread that
    is given up ends when it next writes, to what is closed then, or with the process.
    """
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            call()
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([outcome], seconds).done:
        raise TimeoutError(f"it takes longer than {seconds:g} seconds")
    outcome.result()


def _reason(error: Exception) -> str:
    """Why there was no connection, without the names of the library's objects around it."""
    inner = error.args[0] if error.args else None
    return str(getattr(inner, "reason", error)).rpartition("): ")[2]
