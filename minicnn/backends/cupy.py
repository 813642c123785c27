"""The CuPy backend: arrays on an NVIDIA GPU.

Where NumPy has a loop over the places of a window, there is a kernel; they stand in `kernels/`. The
numbers are NumPy's, and what each primitive computes is said in `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import reduce
from operator import iadd
from typing import Any

import cupy as xp
import numpy as np

from . import cublas
from .graph import GraphPool, free_unused, peak_bytes
from .inquiry import inquire, out_of_memory
from .kernels.cross_entropy import cross_entropy, cross_entropy_vjp, one_hot
from .kernels.elementwise import add_at, divided, relu
from .kernels.random import dropout, uniform
from .kernels.sums import sum_pixels
from .kernels.tiles import filtering_gains, gather_tiles, scatter_tiles
from .kernels.updates import norm, sgd, shrink
from .kernels.windows import col2im, im2col, max_pool, max_unpool, sum_pool, sum_unpool
from .layout import memory_order
from .protocol import Array
from .threads import parts

device_type = "cuda"
costly_launches = True
matmul, graph_pool = cublas.matmul, GraphPool

CHUNK_BYTES = 2**30  # the most that a convolution unrolls at a time


def from_host(array: Array) -> Array:
    order, back = memory_order(array)
    return xp.asarray(array.transpose(order), order="C").transpose(back)


def to_host(array: Array) -> Array:
    order, back = memory_order(array)
    return array.transpose(order).get().transpose(back)


def fetch(array: Array) -> Callable[[], float | None]:
    for sent in [each for each in tuple(_underway) if each.done]:
        _underway.pop(sent, None)
    number = xp.cuda.alloc_pinned_memory(array.nbytes)
    host_array = np.frombuffer(number, array.dtype, 1)
    array.reshape(1).get(out=host_array, blocking=False)
    sent = xp.cuda.get_current_stream().record()
    _underway[sent] = number
    return lambda: float(host_array[0]) if sent.done else None


# By the event after a copy, the host's memory that it goes to. Were that given back before, as the
# function that `fetch` returns may be dropped, CuPy would give it to the next who asks.
_underway: dict[Any, Any] = {}


def quiet() -> Any:
    return nullcontext()


def capturing() -> bool:
    return bool(xp.cuda.get_current_stream().is_capturing())


def chunks(n: int, bytes_each: int) -> list[slice]:
    longest = max(1, CHUNK_BYTES // max(1, bytes_each))
    return parts(n, max(1, -(-n // longest)))


def for_chunks(work: Callable[[slice], None], chunks: Sequence[slice]) -> None:
    for chunk in chunks:  # the device spreads each kernel itself
        work(chunk)


def sum_chunks(work: Callable[[slice], Array], chunks: Sequence[slice]) -> Array:
    return reduce(iadd, map(work, chunks))
