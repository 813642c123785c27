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
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_blas = ThreadpoolController().select(user_api="blas").lib_controllers
_pool = lru_cache(ThreadPoolExecutor)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork leaves the threads behind


def share(work: Callable[[Sequence[Piece]], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Cut `pieces` into a run for each thread; work(run) of every run, in order.

    There are as many threads as the BLAS has, and it has one while they are at work. So nothing is
    shared out within a thread of these, nor where somebody has limited the BLAS to one.
    """
    before = [library.num_threads for library in _blas]
    n = min([*before, len(pieces)]) if before else 1
    if n < 2:
        return [work(pieces)]
    ends = [i * len(pieces) // n for i in range(n + 1)]
    runs = [pieces[start:end] for start, end in zip(ends, ends[1:], strict=False)]
    try:
        for library in _blas:
            library.set_num_threads(1)
        return list(_pool(n).map(work, runs))
    finally:
        for library, threads in zip(_blas, before, strict=True):
            library.set_num_threads(threads)
