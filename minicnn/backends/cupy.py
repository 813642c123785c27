"""The CuPy backend: arrays on an NVIDIA GPU.

It provides the names of `numpy.py`, with the same meaning and the same numbers. Where NumPy has a
loop over the places of a window, there is a kernel here; they stand together in `kernels.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import cupy as xp
import numpy as np
from cupy._core import get_compute_type, set_compute_type
from cupy._core._routines_linalg import COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32

from . import cublas, graph, inquiry, kernels
from . import numpy as host
from .layout import memory_order

Array = Any
Pair = tuple[int, int]
Key = tuple[int, int]

ArrayType = xp.ndarray
device_type = "cuda"

NORM_THREADS = 2**14
WORKSPACE_BYTES = 512 * 2**20  # the most that a convolution unrolls at a time

trouble, describe, device_count = inquiry.trouble, inquiry.describe, inquiry.device_count

# --- arrays in and out ---------------------------------------------------------------------------


def asarray(value: Any, dtype: Any = None) -> Array:
    """`value` (numbers, nested lists, an array, a NumPy scalar) as an array of this backend."""
    return xp.asarray(value, dtype=dtype)


def from_host(array: Any) -> Array:
    """A NumPy array as an array of this backend, its axes in the same order in memory."""
    order, back = memory_order(array)
    return xp.asarray(array.transpose(order), order="C").transpose(back)


def to_host(array: Array) -> Any:
    """An array of this backend as a NumPy array, its axes in the same order in memory."""
    order, back = memory_order(array)
    return array.transpose(order).get().transpose(back)


def quiet() -> Any:
    """A context in which 1/0, log(0) and overflow give inf and NaN without a warning."""
    return nullcontext()


def fetch(array: Array) -> Callable[[], float | None]:
    """Send a number to the host without waiting for it: a function that gives it once it is there.

    Until then the function gives None.
    """
    number = xp.cuda.alloc_pinned_memory(array.nbytes)
    host_array = np.frombuffer(number, array.dtype, 1)
    array.reshape(1).get(out=host_array, blocking=False)
    sent = xp.cuda.get_current_stream().record()
    return lambda: float(host_array[0]) if sent.done else None


capturing = graph.capturing
Graph, Pool, free_unused, peak_bytes = graph.Graph, graph.Pool, graph.free_unused, graph.peak_bytes
OutOfMemoryError = xp.cuda.memory.OutOfMemoryError


# --- matrix products -----------------------------------------------------------------------------


def matmul(x: Array, y: Array, out: Array | None = None) -> Array:
    """x @ y, written into `out` (contiguous) if given."""
    return cublas.matmul(x, y, out) if graph.capturing() else xp.matmul(x, y, out=out)


def set_tf32(on: bool) -> None:
    """Let products of float32 matrices use the tensor cores, whose factors have 11 digits, not 24.

    Sums and results stay float32. Off, as it is at first, everything is IEEE float32.
    """
    set_compute_type(np.float32, COMPUTE_TYPE_TF32 if on else COMPUTE_TYPE_DEFAULT)


def get_tf32() -> bool:
    """Whether they may."""
    return get_compute_type(np.float32) == COMPUTE_TYPE_TF32


# --- elementwise ---------------------------------------------------------------------------------


def relu(x: Array) -> Array:
    """max(x, 0), and NaN where x is."""
    # A kernel's result is laid out in the order of its axes, and reading along memory is faster.
    order, back = memory_order(x)
    return kernels.relu(x.transpose(order)).transpose(back)


def relu_vjp(g: Array, y: Array) -> Array:
    """g where the result y of relu is above 0 or NaN, 0 elsewhere."""
    order, back = memory_order(y)
    return kernels.relu_vjp(g.transpose(order), y.transpose(order)).transpose(back)


def cross_entropy(x: Array, q: Array) -> tuple[Array, Array]:
    """-Σ_c q_c·log p_c and log p, with p = softmax(x), for x and q (N, C): (N,) and (N, C)."""
    if x.dtype.kind == "c":  # a complex step; the kernel compares, which takes real numbers
        logp = x - x.max(axis=1, keepdims=True)
        logp -= xp.log(xp.exp(logp).sum(axis=1, keepdims=True))
        return -xp.where(q == 0, 0, q * logp).sum(axis=1), logp
    x, q = _contiguous(x, q)
    loss, logp = xp.empty(len(x), x.dtype), xp.empty_like(x)
    kernels.cross_entropy(x, q, x.shape[1], loss, logp)
    return loss, logp


def cross_entropy_vjp(g: Array, q: Array, logp: Array) -> Array:
    """g·((Σ_c q_c)·p - q) for g (N,), q and log p (N, C)."""
    g, q, logp = _contiguous(g, q, logp)
    return kernels.cross_entropy_vjp(g, q, logp, logp.shape[1])


def sgd(
    p: Array,
    g: Array,
    v: Array | None,
    lr: Any,
    *,
    momentum: float,
    share: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """The update of `optim.SGD`, in place; `lr` is what `rate` made."""
    if v is None:
        kernels.sgd(g, lr, weight_decay, p)
    else:
        kernels.sgd_momentum(g, lr, momentum, share, weight_decay, nesterov, p, v)


def norm(arrays: Sequence[Array]) -> Array:
    """The Euclidean norm of some arrays as one vector: ()."""
    parts = [min(a.size, NORM_THREADS) for a in arrays]
    ends = np.cumsum(parts)
    sums = xp.empty(ends[-1], xp.result_type(*arrays))
    for a, start, end in zip(arrays, ends - parts, ends, strict=True):
        kernels.squares(a.transpose(memory_order(a)[0]).ravel(), a.size, sums[start:end])
    return kernels.root_of_sum(sums)


def shrink(arrays: Sequence[Array], norm: Array, most: float) -> None:
    """Scale arrays of this norm in place, so that it is at most `most`."""
    for a in arrays:
        kernels.shrink(norm, most, a)


flat_updates = True  # parameters lie one after another, so that one launch updates them all


def rate(lr: float, dtype: Any, kept: Any = None) -> Any:
    """A learning rate as `sgd` takes it: in device memory, where a graph reads it when it runs."""
    if kept is None:
        return xp.full(1, lr, dtype)
    kept.fill(lr)
    return kept


def add_at(target: Array, index: Any, values: Array) -> None:
    """target[index] += values, adding again for an index that occurs again.

    Always in the same order: the places are sorted first, and each element adds up its own run.
    """
    places = xp.arange(target.size).reshape(target.shape)[index]
    values = xp.ascontiguousarray(xp.broadcast_to(values, places.shape)).ravel()
    places = places.ravel()
    order = xp.argsort(places, kind="stable")
    start = xp.searchsorted(places[order], xp.arange(target.size + 1))
    flat = target.reshape(-1)
    kernels.add_runs(values, order, start, flat)
    if not xp.shares_memory(flat, target):
        target[...] = flat.reshape(target.shape)


# --- pieces of a batch ---------------------------------------------------------------------------


def share(work: Callable[[Sequence[slice]], Any], cut: Sequence[slice]) -> list[Any]:
    """work(cut): the device shares out each kernel itself."""
    return [work(cut)]


def pieces(n: int, bytes_each: int, most: int | None = None) -> list[slice]:
    """Cut n images into runs, at least one, of at most `most` bytes (or one image)."""
    step = max(1, (most or WORKSPACE_BYTES) // max(1, bytes_each))
    return [slice(i, min(i + step, n)) for i in range(0, max(n, 1), step)]


def columns(n: int) -> list[slice]:
    """The n columns of a matrix product in one: here fewer operations are faster."""
    return [slice(0, n)]


# --- random numbers ------------------------------------------------------------------------------


def _key(key: Key, skip: int) -> tuple[Any, ...]:
    """A key as kernels take it: its second half from memory (see `random.Counted`)."""
    seed, count = key
    if isinstance(count, int):
        return np.uint64(seed), xp.full(1, np.uint64(count)), 0, skip
    return np.uint64(seed), count.array, count.ahead, skip


def uniform(key: Key, shape: Sequence[int], dtype: Any, skip: int = 0) -> Array:
    """Numbers from the uniform distribution on [0, 1), after the first `skip` of the stream."""
    return kernels.uniform(*_key(key, skip), xp.empty(tuple(shape), dtype))


def dropout(
    key: Key, shape: Sequence[int], dtype: Any, p: float, skip: int
) -> Callable[[Array], Array]:
    """The function that drops elements of arrays of this shape, always the same ones.

    Each is 0 with probability p and x/(1-p) otherwise, as number `skip` + i of the stream says for
    the i-th. Nothing is kept: the numbers are drawn again each time.
    """
    scale = 1 / (1 - p) if p < 1 else 0.0
    drawn = _key(key, skip)
    return lambda x: kernels.dropout(xp.ascontiguousarray(x), p, scale, *drawn)


def normal(key: Key, shape: Sequence[int], dtype: Any) -> Array:
    """Numbers from the standard normal distribution, drawn on the host as there."""
    return from_host(host.normal(key, shape, dtype))


def integers(key: Key, low: int, high: int, shape: Sequence[int]) -> Array:
    """Whole numbers low ≤ k < high, int64, of the shape given, drawn on the host as there."""
    return from_host(host.integers(key, low, high, shape))


def permutation(key: Key, n: int) -> Array:
    """The numbers 0 … n-1 in random order, int64, drawn on the host as there."""
    return from_host(host.permutation(key, n))


# --- windows -------------------------------------------------------------------------------------

output_size = host.output_size


def _sizes(arrays: Sequence[Array], *numbers: int | Pair) -> tuple[bool, list[int]]:
    """Whether 32 bits are too few to count the elements of one of the arrays; the numbers, flat."""
    flat = [n for number in numbers for n in (number if isinstance(number, tuple) else (number,))]
    return max(a.size for a in arrays) >= 2**31, flat


def _contiguous(*arrays: Array) -> tuple[Array, ...]:
    return tuple(xp.ascontiguousarray(a) for a in arrays)


def im2col(x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """Unroll the windows of x (N, H, W, C) into the rows of a matrix (N·H'·W', kh·kw·C).

    For a 1×1 kernel at stride 1 the matrix is x itself, seen as (N·H·W, C): nothing is copied.
    """
    n, h, w, c = x.shape
    if kernel == stride == (1, 1):
        return x.reshape(n * h * w, c)
    oh, ow = output_size((h, w), kernel, stride, dilation)
    cols = xp.empty((n * oh * ow, math.prod(kernel) * c), x.dtype)
    wide, sizes = _sizes([x, cols], h, w, c, oh, ow, kernel, stride, dilation)
    return kernels.im2col[wide](*_contiguous(x), *sizes, cols)


def col2im(cols: Array, shape: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """The transpose of im2col: add up the rows of `cols`, each on its window, as (N, H, W, C).

    For a 1×1 kernel at stride 1 the result is `cols` itself: nothing is copied.
    """
    n, h, w, c = shape
    if kernel == stride == (1, 1):
        return cols.reshape(n, h, w, c)
    oh, ow = output_size((h, w), kernel, stride, dilation)
    x = xp.empty((n, h, w, c), cols.dtype)
    wide, sizes = _sizes([x, cols], h, w, c, oh, ow, kernel, stride, dilation)
    return kernels.col2im[wide](*_contiguous(cols), *sizes, x)


def gather_tiles(x: Array, tile: int, step: int) -> Array:
    """The tile×tile squares of x (N, H, W, C), `step` apart, place by place: (tile², N·T·C).

    Row k holds what stands at place k of each of the T squares of each image.
    """
    n, h, w, c = x.shape
    th, tw = output_size((h, w), (tile, tile), (step, step), (1, 1))
    tiles = xp.empty((tile * tile, n * th * tw * c), x.dtype)
    wide, sizes = _sizes([x, tiles], n, h, w, c, th, tw, (tile, tile), (step, step), (1, 1))
    return kernels.gather_tiles[wide](*_contiguous(x), *sizes, tiles)


def scatter_tiles(tiles: Array, shape: Sequence[int], tile: int, step: int) -> Array:
    """The transpose of gather_tiles: add up the squares, each on its place, as (N, H, W, C)."""
    n, h, w, c = shape
    th, tw = output_size((h, w), (tile, tile), (step, step), (1, 1))
    x = xp.empty((n, h, w, c), tiles.dtype)
    wide, sizes = _sizes([x, tiles], n, h, w, c, th, tw, (tile, tile), (step, step), (1, 1))
    return kernels.scatter_tiles[wide](*_contiguous(tiles), *sizes, x)


def along_both(m: Array, x: Array) -> Array:
    """m X mᵀ for each of the L matrices X of x, stored as (k², …), where m is (j, k): (j², L)."""
    j, k = m.shape
    y = matmul(m, x.reshape(k, k, -1))  # (k, j, L)
    return matmul(m, y.reshape(k, -1)).reshape(j * j, -1)


def max_pool(x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Array, Array]:
    """The maximum of each window of x (N, H, W, C), and which place of the window held it.

    Returns values (N, H', W', C) and places 0 … kh·kw-1, counted along rows, of the smallest
    unsigned type that holds them. The first of equal maxima wins; NaN wins over everything.
    """
    n, h, w, c = x.shape
    oh, ow = output_size((h, w), kernel, stride, dilation)
    y = xp.empty((n, oh, ow, c), x.dtype)
    place = xp.empty(y.shape, np.min_scalar_type(math.prod(kernel) - 1))
    wide, sizes = _sizes([x], h, w, c, oh, ow, kernel, stride, dilation)
    kernels.max_pool[wide](*_contiguous(x), *sizes, y, place)
    return y, place


def max_unpool(
    g: Array, place: Array, shape: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair
) -> Array:
    """The transpose of max_pool: add up g (N, H', W', C), each element where `place` says."""
    n, h, w, c = shape
    oh, ow = output_size((h, w), kernel, stride, dilation)
    x = xp.empty((n, h, w, c), g.dtype)
    wide, sizes = _sizes([x], h, w, c, oh, ow, kernel, stride, dilation)
    return kernels.max_unpool[wide](*_contiguous(g, place), *sizes, x)


def sum_pool(x: Array, kernel: Pair, stride: Pair) -> Array:
    """The sum of each window of x (N, H, W, C): (N, H', W', C)."""
    n, h, w, c = x.shape
    oh, ow = output_size((h, w), kernel, stride, (1, 1))
    wide, sizes = _sizes([x], h, w, c, oh, ow, kernel, stride, (1, 1))
    return kernels.sum_pool[wide](*_contiguous(x), *sizes, xp.empty((n, oh, ow, c), x.dtype))


def sum_unpool(g: Array, shape: Sequence[int], kernel: Pair, stride: Pair) -> Array:
    """The transpose of sum_pool: add up each element of g on its whole window, as (N, H, W, C)."""
    n, h, w, c = shape
    oh, ow = output_size((h, w), kernel, stride, (1, 1))
    x = xp.empty((n, h, w, c), g.dtype)
    wide, sizes = _sizes([x], h, w, c, oh, ow, kernel, stride, (1, 1))
    return kernels.sum_unpool[wide](*_contiguous(g), *sizes, x)
