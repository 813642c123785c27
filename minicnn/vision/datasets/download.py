"""Downloads that end: bounded in size and in time, and kept only once they have been read."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from ... import atomic
from ...installing import how
from .errors import DatasetError, DatasetNotFound

TIMEOUT = 30  # seconds without an answer, or without another byte
DEADLINE = 900  # seconds for a file,
SLOWEST = 100_000  # or for so many bytes a second of a large one

T = TypeVar("T")


def download(
    mirrors: Sequence[str], name: str, cache: Path | None, most: int, read: Callable[[Any], T]
) -> T:
    """What `read` makes of a file of at most so many bytes, which is then kept in the cache.

    The mirrors are tried one after another. Raises DatasetNotFound, saying of each what went wrong,
    if none has a file that `read` takes.
    """
    if cache is None:
        raise DatasetNotFound(
            f"{mirrors[0]}{name}: can't be downloaded: this user has no home directory with a"
            " cache; set XDG_CACHE_HOME to a directory"
        )
    try:  # here, as where the data is there already nothing else needs it
        import pooch
    except ImportError as error:
        raise DatasetNotFound(
            f"{mirrors[0]}{name}: can't be downloaded: {error}; {how()}, or put the file into"
            f" {cache}"
        ) from None
    reasons = []
    for mirror in mirrors:
        url = mirror + name
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with _Content(most) as content:
                seconds = max(DEADLINE, most / SLOWEST)
                _within(seconds, partial(_fetch, pooch, url, content))
                content.seek(0)
                made = read(content)
                with content.getbuffer() as whole:
                    atomic.write(cache / name, whole)
            return made
        except DatasetError as error:
            reasons.append(f"{url}: what came is not the data set: {error}")
        except (OSError, ValueError) as error:  # requests' are OSErrors; a header may hold anything
            reasons.append(f"{url}: can't be downloaded: {_reason(error)}")
    raise DatasetNotFound("; ".join(reasons))


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
