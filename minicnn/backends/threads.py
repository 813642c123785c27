"""Work on the images of a batch, shared out among threads.

A threaded BLAS keeps every core busy during matrix products and leaves all but one idle during the
copies, ReLUs and pools between them. NumPy lets go of the interpreter while it computes, so threads
that each take some of the images through the whole of an operation have no such gaps.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")
Task = TypeVar("Task")
Result = TypeVar("Result")

_blas = ThreadpoolController().select(user_api="blas").lib_controllers


class _Worker(threading.local):
    """How many threads this one may share its work out to; None for as many as the BLAS has."""

    threads: int | None = None


_worker = _Worker()


def _begin_worker() -> None:
    _worker.threads = 1  # what it is given has been shared out already
    np.seterr(all="ignore")  # 1/0 and overflow give inf and NaN; each thread must be told


@lru_cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, initializer=_begin_worker)


class _Limit:
    """The limit of the BLAS, which has one number of threads for the whole process.

    Of several that want to set it at once, the first to come in sets the number, and the last to
    leave puts back what the first had found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def enter(self, n: int) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = [library.num_threads for library in _blas]
                _set_threads([n] * len(_blas))

    def leave(self) -> None:
        with self._lock:
            if self._inside:  # a fork may have made it 0 meanwhile
                self._inside -= 1
                if not self._inside:
                    _set_threads(self._before)
                    self._before = []

    def threads(self) -> int:
        """How many the BLAS has where nobody limits it."""
        return min(self._before or [library.num_threads for library in _blas], default=1)

    def renew(self) -> None:
        """In a child: whoever was inside is a thread of the parent's."""
        if self._before:
            _set_threads(self._before)
        self.__init__()  # type: ignore[misc]


def _set_threads(numbers: Sequence[int]) -> None:
    for library, n in zip(_blas, numbers, strict=True):
        library.set_num_threads(n)


_limit = _Limit()

if hasattr(os, "register_at_fork"):  # a fork leaves the threads behind, and locks as they are
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_limit.renew)


PIECE_BYTES = 8 * 2**20  # what one thread works on at a time, where that is a matrix product
BLOCK_BYTES = 2 * 2**20  # and where it is not
CHANNELS = 64  # of a product's result, where that is used up at once and can stay in the cache
LEAST_BYTES = 2**18  # less than this is done before another thread has begun


def libraries() -> list[str]:
    """The BLAS libraries in this process: version, kernel and threads of each."""
    found = [library.info() for library in _blas]
    return [
        f"{each['internal_api']} {each['version']}"
        f" ({each.get('architecture', 'unknown')}), {each['num_threads']} threads"
        for each in found
    ]


def count() -> int:
    """How many threads `share` would use here."""
    return _limit.threads() if _worker.threads is None else _worker.threads


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """The BLAS has n threads meanwhile, in the whole process, unless it is limited already."""
    _limit.enter(n)
    try:
        yield
    finally:
        _limit.leave()


@contextmanager
def sharing_out_to(n: int) -> Iterator[None]:
    """This thread shares out its work to n threads meanwhile: 1 for one that was given a part."""
    before, _worker.threads = _worker.threads, n
    try:
        yield
    finally:
        _worker.threads = before


def pieces(n: int, bytes_each: int, most: int | None = None) -> list[slice]:
    """Cut n images into runs, at least one, of at most PIECE_BYTES, and some for every thread."""
    most, fair = most or PIECE_BYTES, -(-n // count())
    step = max(1, min(most // max(1, bytes_each), max(LEAST_BYTES // max(1, bytes_each), fair)))
    return [slice(i, i + step) for i in range(0, max(n, 1), step)]


def columns(n: int) -> list[slice]:
    """Cut the n columns of a matrix product into runs, at least one, of at most CHANNELS."""
    return [slice(i, min(i + CHANNELS, n)) for i in range(0, max(n, 1), CHANNELS)]


def share(work: Callable[[Sequence[Piece]], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Cut `pieces` into a run for each thread; work(run) of every run, in order.

    The BLAS has one thread while they are at work, and they share out nothing themselves.
    """
    n = min(count(), len(pieces)) if len(pieces) > 1 else 1
    if n == 1:
        return [work(pieces)]
    ends = [i * len(pieces) // n for i in range(n + 1)]
    runs = [pieces[start:end] for start, end in pairwise(ends)]
    with blas_threads(1):
        return all_done(_pool(n), work, runs)


def all_done(
    pool: ThreadPoolExecutor, work: Callable[[Task], Result], tasks: Iterable[Task]
) -> list[Result]:
    """work(task) of every task, in order, done by the pool.

    Raises the first error, after all have ended: nobody works on what the caller believes his own.
    """
    futures = [pool.submit(work, task) for task in tasks]
    try:
        wait(futures)
    finally:  # also for Ctrl-C
        for future in futures:
            future.cancel()
        wait(futures)
    return [future.result() for future in futures]
