"""Work on the images of a batch, shared out among threads.

A threaded BLAS keeps every core busy during matrix products and leaves all but one idle during the
copies, ReLUs and pools between them. NumPy lets go of the interpreter while it computes, so threads
that each take some of the images through the whole of an operation have no such gaps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_blas = ThreadpoolController().select(user_api="blas").lib_controllers
_pool = lru_cache(ThreadPoolExecutor)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork leaves the threads behind


def count() -> int:
    """How many threads `share` would use: as many as the BLAS has."""
    return min((library.num_threads for library in _blas), default=1)


def share(work: Callable[[Sequence[Piece]], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Cut `pieces` into a run for each thread; work(run) of every run, in order.

    The BLAS has one thread while they are at work. So nothing is shared out within a thread of
    these, nor where somebody has limited the BLAS to one.
    """
    n = min(count(), len(pieces))
    if n < 2:
        return [work(pieces)]
    before = [library.num_threads for library in _blas]
    ends = [i * len(pieces) // n for i in range(n + 1)]
    runs = [pieces[start:end] for start, end in pairwise(ends)]
    try:
        for library in _blas:
            library.set_num_threads(1)
        return list(_pool(n).map(work, runs))
    finally:
        for library, threads in zip(_blas, before, strict=True):
            library.set_num_threads(threads)
