"""Work on the images of a batch, shared out among threads.

A threaded BLAS keeps every core busy during matrix products and leaves all but one idle during the
copies, ReLUs and pools between them. NumPy lets go of the interpreter while it computes, so threads
that each take some of the images through the whole of an operation have no such gaps.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_blas = ThreadpoolController().select(user_api="blas").lib_controllers
_lock = threading.Lock()
_inside: list[list[int]] = []  # for each that limits the BLAS now: the threads it had before
_limit = 1  # what the first of them set it to


@lru_cache
def _pool(n: int) -> ThreadPoolExecutor:
    # 1/0 and overflow give inf and NaN in silence, which NumPy must be told in each thread.
    return ThreadPoolExecutor(n, initializer=lambda: np.seterr(all="ignore"))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork leaves the threads behind


PIECE_BYTES = 8 * 2**20  # what one thread works on at a time, where that is a matrix product
BLOCK_BYTES = 2 * 2**20  # and where it is not
CHANNELS = (
    64  # of a matrix product's result, where that is used up at once and can stay in the cache
)
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
    """How many threads `share` would use: as many as the BLAS has."""
    if _inside:  # known without asking the BLAS, as every operation wants to know
        return _limit
    return min((library.num_threads for library in _blas), default=1)


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """The BLAS has n threads meanwhile.

    It is one for the whole process: of several that want this at once, the first to come in sets
    the number and the last to leave puts back what the first had found.
    """
    global _limit
    with _lock:
        _inside.append([library.num_threads for library in _blas])
        if len(_inside) == 1:
            _limit = n
            for library in _blas:
                library.set_num_threads(n)
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                for library, threads in zip(_blas, before, strict=True):
                    library.set_num_threads(threads)


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

    The BLAS has one thread while they are at work. So nothing is shared out within a thread of
    these, nor where somebody has limited the BLAS to one.
    """
    n = min(count(), len(pieces)) if len(pieces) > 1 else 1
    if n == 1:
        return [work(pieces)]
    ends = [i * len(pieces) // n for i in range(n + 1)]
    runs = [pieces[start:end] for start, end in pairwise(ends)]
    with blas_threads(1):
        return list(_pool(n).map(work, runs))
