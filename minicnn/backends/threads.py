"""Work on the images of a batch, spread over threads.

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
from dataclasses import replace
from functools import lru_cache, reduce
from operator import iadd
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from .. import context
from .protocol import Array

Item = TypeVar("Item")
Result = TypeVar("Result")

_blas = ThreadpoolController().select(user_api="blas").lib_controllers


def _ignore_warnings() -> None:
    np.seterr(all="ignore")  # 1/0 and overflow give inf and NaN; each thread must be told


@lru_cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, initializer=_ignore_warnings)


class _Limit:
    """The limit of the BLAS, which has one number of threads for the whole process.

    Of several that want to set it at once, the first to come in sets the number, and the last to
    leave puts back what the first had found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    @contextmanager
    def blas_threads(self, n: int) -> Iterator[None]:
        """The BLAS has n threads meanwhile, in the whole process, unless it is limited already."""
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = [library.num_threads for library in _blas]
                _set_threads([n] * len(_blas))
        try:
            yield
        finally:
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
blas_threads = _limit.blas_threads

if hasattr(os, "register_at_fork"):  # a fork leaves the threads behind, and locks as they are
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_limit.renew)


CHUNK_BYTES = 8 * 2**20  # what one thread works on at a time, where that is a matrix product
BLOCK_BYTES = 2 * 2**20  # and where it is not
LEAST_BYTES = 2**18  # less than this is done before another thread has begun


def libraries() -> list[str]:
    """The BLAS libraries in this process: version, kernel and threads of each."""
    return [
        f"{each['internal_api']} {each['version']} ({each.get('architecture', 'unknown')}),"
        f" {each['num_threads']} thread{'s' * (each['num_threads'] != 1)}"
        for each in (library.info() for library in _blas)
    ]


def count() -> int:
    """How many threads the chunks of an operation are spread over here: `Context.threads`."""
    return context.current().threads or _limit.threads()


def chunks(n: int, bytes_each: int) -> list[slice]:
    return _cut(n, bytes_each, CHUNK_BYTES)


def blocks(n: int, bytes_each: int) -> list[slice]:
    """Chunks, as large as they are fastest where nothing is multiplied."""
    return _cut(n, bytes_each, BLOCK_BYTES)


def _cut(n: int, bytes_each: int, most: int) -> list[slice]:
    """n images in chunks, at least one, of so many bytes at most, and some for each thread."""
    if n < 2 or n * bytes_each <= LEAST_BYTES:
        return [slice(0, max(n, 1))]
    fair = -(-n // count())
    size = max(1, min(most // bytes_each, max(LEAST_BYTES // bytes_each, fair)))
    return [slice(i, i + size) for i in range(0, max(n, 1), size)]


def parts(n: int, count: int) -> list[slice]:
    """n things in `count` parts of one length, or nearly."""
    return [slice(i * n // count, (i + 1) * n // count) for i in range(count)]


def for_chunks(work: Callable[[slice], None], chunks: Sequence[slice]) -> None:
    if len(chunks) == 1:
        work(chunks[0])
        return

    def take(own: Sequence[slice]) -> None:
        for chunk in own:
            work(chunk)

    spread(take, chunks)


def sum_chunks(work: Callable[[slice], Array], chunks: Sequence[slice]) -> Array:
    # Each thread adds up its own, so the order depends on their number, never on who is faster.
    return reduce(iadd, spread(lambda own: reduce(iadd, map(work, own)), chunks))


def spread(work: Callable[[Sequence[Item]], Result], items: Sequence[Item]) -> list[Result]:
    """Deal out consecutive items to the threads; work(a thread's items) of each, in order.

    The caller is one of them: a step of `quick` in a loop of your own takes 0.9 of the time so. The
    BLAS has one thread while they are at work, and what they do is not spread again. Raises the
    first error, after all have ended.
    """
    n = min(count(), len(items)) if len(items) > 1 else 1
    if n == 1:
        return [work(items)]
    theirs = replace(context.current(), threads=1)

    def take(own: Sequence[Item]) -> Result:
        with context.using(theirs):
            return work(own)

    mine, *others = (items[part] for part in parts(len(items), n))
    with blas_threads(1):
        futures = [_pool(n - 1).submit(take, each) for each in others]
        try:
            first = take(mine)
        finally:  # also for Ctrl-C: nobody works on what the caller believes his own
            wait(futures)
    return [first, *(future.result() for future in futures)]


def all_done(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]
) -> list[Result]:
    """work(item) of every item, in order, done by the pool.

    Raises the first error, after all have ended: nobody works on what the caller believes his own.
    """
    futures = [pool.submit(work, item) for item in items]
    try:
        wait(futures)
    finally:  # also for Ctrl-C
        for future in futures:
            future.cancel()
        wait(futures)
    return [future.result() for future in futures]
