"""The CuPy backend: arrays on an NVIDIA GPU.

It provides the names of `numpy.py`, with the same meaning and the same numbers. Where NumPy has a
loop over the places of a window, there is a kernel here; they stand together in `kernels.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import reduce
from operator import iadd
from typing import Any

import cupy as xp
import numpy as np

from .. import context
from . import cublas, graph, inquiry, kernels
from .layout import memory_order
from .windows import Pair, Window

Array = Any
Key = tuple[int, int]

ArrayType = xp.ndarray
device_type = "cuda"

NORM_THREADS = 2**14
CHUNK_BYTES = 2**30  # the most that a convolution unrolls at a time
# Of float32 products and of memory, each second, and seconds for one more kernel: an H100's.
FLOPS, BYTES, KERNEL = 4e13, 2.4e12, 3e-6

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


capturing = graph.capturing
Graph, Pool, free_unused, peak_bytes = graph.Graph, graph.Pool, graph.free_unused, graph.peak_bytes
OutOfMemoryError = xp.cuda.memory.OutOfMemoryError
out_of_memory = inquiry.out_of_memory


# --- matrix products -----------------------------------------------------------------------------


def matmul(x: Array, y: Array, out: Array | None = None) -> Array:
    """x @ y, written into `out` (contiguous) if given."""
    if cublas.takes(x.dtype) and x.dtype == y.dtype:
        return cublas.matmul(x, y, out)
    return xp.matmul(x, y, out=out)


def affine(x: Array, w: Array, b: Array | None, out: Array) -> None:
    """out = x wᵀ + b for x (M, K), w (O, K) and b (O,), written to out (M, O), contiguous."""
    if b is not None and x.dtype == np.float32:
        cublas.matmul(x, w.T, out, xp.ascontiguousarray(b))
        return
    matmul(x, w.T, out)
    if b is not None:
        out += b


copies_transposes = False  # cuBLAS takes them as they lie


def factor_columns(k: int, dtype: Any) -> int:
    """Of the k columns of im2col's matrix and the zeros behind them, how many to multiply.

    In TF32 all, as the tensor cores' faster kernels want rows that begin at multiples of 16 bytes,
    the filters' too: conv1 of `article`, with 121 columns, takes 0.54 of the time. In float32 it
    takes the same.
    """
    return _packed_length(k, 4) if context.current().tf32 and dtype == np.float32 else k


def _packed_length(k: int, itemsize: int) -> int:
    """k elements, and as many more as fill the last pack."""
    pack = kernels.PACK_BYTES // itemsize
    return -(-k // pack) * pack


# --- elementwise ---------------------------------------------------------------------------------


def _packed(kernel: Any, *arrays: Array) -> Array:
    """What an elementwise kernel over packs gives for arrays of one shape, laid out as the last."""
    order, back = memory_order(arrays[-1])
    given = [a.transpose(order).ravel() for a in arrays]
    y = xp.empty_like(given[-1])
    lanes = kernels.lanes(y.size, *given, y)
    kernel(lanes)(*given, y, size=y.size // lanes)
    return y.reshape([arrays[-1].shape[axis] for axis in order]).transpose(back)


def relu(x: Array) -> Array:
    """max(x, 0), and NaN where x is."""
    return _packed(kernels.relu, x)


def relu_vjp(g: Array, y: Array) -> Array:
    """g where the result y of relu is above 0 or NaN, 0 elsewhere."""
    return _packed(kernels.relu_vjp, g, y)


def divided(g: Array, total: Any) -> Array:
    """g / total for two numbers, arrays or not, and 0 where total is 0."""
    return kernels.divided(g, total)


def one_hot(labels: Array, classes: int, ignored: int, dtype: Any) -> Array:
    """Class indices (N, …) as rows of 0 and 1, (N, C, …), all 0 for the index `ignored`.

    The row of an index out of range is NaN.
    """
    n, *rest = labels.shape
    hot = xp.empty((n, classes, *rest), dtype)
    return kernels.one_hot(*_contiguous(labels), classes, math.prod(rest), ignored, hot)


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
    q, logp = _contiguous(q, logp)
    return kernels.cross_entropy_vjp(g, q, logp, logp.shape[1])


def sgd(
    p: Array,
    g: Array,
    v: Array | None,
    lr: Any,
    *,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """The update of `optim.SGD`, in place; `lr` is what `rate` made."""
    if v is None:
        kernels.sgd(g, lr, weight_decay, p)
    else:
        kernels.sgd_momentum(g, lr, momentum, 1 - dampening, weight_decay, nesterov, p, v)


def norm(arrays: Sequence[Array]) -> Array:
    """The Euclidean norm of some arrays as one vector: ()."""
    parts = [min(a.size, NORM_THREADS) for a in arrays]
    ends = np.cumsum(parts)
    sums = xp.empty(ends[-1], xp.result_type(*arrays))
    for a, start, end in zip(arrays, ends - parts, ends, strict=True):
        kernels.squares(a.transpose(memory_order(a)[0]).ravel(), a.size, sums[start:end])
    return kernels.root_of_sum(sums)


def shrink(arrays: Sequence[Array], norm: Array, most: float) -> None:
    """Scale arrays of this norm in place, so that it is at most `most`; what is 0 stays 0."""
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
    if flat.data.ptr != target.data.ptr:  # reshape has copied it; xp.shares_memory asks the device
        target[...] = flat.reshape(target.shape)


# --- chunks of a batch ---------------------------------------------------------------------------


def chunks(n: int, bytes_each: int, most: int | None = None) -> list[slice]:
    """Cut n images into chunks of one length, or nearly, of CHUNK_BYTES at most (or one image)."""
    longest = max(1, (most or CHUNK_BYTES) // max(1, bytes_each))
    count = max(1, -(-n // longest))
    return [slice(i * n // count, (i + 1) * n // count) for i in range(count)]


def column_chunks(n: int) -> list[slice]:
    """The n columns of a matrix product in one: here fewer operations are faster."""
    return [slice(0, n)]


def for_chunks(work: Callable[[slice], None], chunks: Sequence[slice]) -> None:
    """work(chunk) for every chunk: the device spreads each kernel itself."""
    for chunk in chunks:
        work(chunk)


def sum_chunks(work: Callable[[slice], Array], chunks: Sequence[slice]) -> Array:
    """The sum of work(chunk), an array that is nobody else's, over all chunks."""
    return reduce(iadd, map(work, chunks))


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


# --- windows -------------------------------------------------------------------------------------


def _contiguous(*arrays: Array) -> tuple[Array, ...]:
    # CuPy's ascontiguousarray makes one dimension of none
    return tuple(xp.ascontiguousarray(a).reshape(a.shape) for a in arrays)


def _sizes(shape: Sequence[int], window: Window, lanes: int) -> list[int]:
    """The numbers that kernels over windows take, for images (N, H, W, C)."""
    kernel, stride, dilation, ((top, _), (left, _)) = window
    _, h, w, c = shape
    oh, ow = window.output_size((h, w))
    return [h, w, c // lanes, oh, ow, *kernel, *stride, *dilation, top, left]


def im2col(x: Array, window: Window) -> Array:
    """Unroll the windows of x (N, H, W, C) into the rows of a matrix (N·H'·W', L), L ≥ kh·kw·C.

    Zeros follow in each row up to the next pack, so that rows begin at multiples of 16 bytes.
    """
    n, h, w, c = x.shape
    (x,) = _contiguous(x)
    length = _packed_length(math.prod(window.kernel) * c, x.itemsize)
    cols = xp.empty((n * math.prod(window.output_size((h, w))), length), x.dtype)
    if c % (kernels.PACK_BYTES // x.itemsize) == 0:
        lanes = kernels.lanes(c, x, cols)
        kernels.im2col([x], _sizes(x.shape, window, lanes), [cols], lanes)
    else:
        lanes = kernels.lanes(length, cols)
        kernels.im2col_ragged([x, length // lanes], _sizes(x.shape, window, 1), [cols], lanes)
    return cols


def col2im(cols: Array, window: Window, out: Array) -> None:
    """The transpose of im2col: add up the rows of `cols`, each on its window of out (N, H, W, C).

    `out` is contiguous; what it held before is lost.
    """
    (cols,) = _contiguous(cols)
    lanes = kernels.lanes(out.shape[3], cols, out)
    kernels.col2im([cols, cols.shape[1] // lanes], _sizes(out.shape, window, lanes), [out], lanes)


def max_pool(x: Array, window: Window) -> tuple[Array, Array]:
    """The maximum of each window of x (N, H, W, C), and its argmax: the place that held it.

    Returns values and argmax (N, H', W', C); places are 0 … kh·kw-1, counted along rows, of the
    smallest unsigned type that holds them. The first of equal maxima wins; NaN wins over
    everything; padding never wins. Where no place lies on the image, it is -inf and argmax 0.
    """
    (x,) = _contiguous(x)
    y = xp.empty((len(x), *window.output_size(x.shape[1:3]), x.shape[3]), x.dtype)
    argmax = xp.empty(y.shape, np.min_scalar_type(math.prod(window.kernel) - 1))
    lanes = kernels.lanes(x.shape[3], x, y, argmax)
    kernels.max_pool([x, -np.inf], _sizes(x.shape, window, lanes), [y, argmax], lanes)
    return y, argmax


def max_unpool(g: Array, argmax: Array, shape: Sequence[int], window: Window) -> Array:
    """The transpose of max_pool: add up g (N, H', W', C), each element where `argmax` says."""
    g, argmax = _contiguous(g, argmax)
    x = xp.empty(shape, g.dtype)
    lanes = kernels.lanes(shape[3], g, argmax, x)
    kernels.max_unpool([g, argmax], _sizes(shape, window, lanes), [x], lanes)
    return x


def sum_pool(x: Array, window: Window) -> Array:
    """The sum of each window of x (N, H, W, C), padding being 0: (N, H', W', C)."""
    (x,) = _contiguous(x)
    y = xp.empty((len(x), *window.output_size(x.shape[1:3]), x.shape[3]), x.dtype)
    lanes = kernels.lanes(x.shape[3], x, y)
    kernels.sum_pool([x], _sizes(x.shape, window, lanes), [y], lanes)
    return y


def sum_unpool(g: Array, shape: Sequence[int], window: Window) -> Array:
    """The transpose of sum_pool: add up each element of g on its whole window, as (N, H, W, C)."""
    (g,) = _contiguous(g)
    x = xp.empty(shape, g.dtype)
    lanes = kernels.lanes(shape[3], g, x)
    kernels.sum_unpool([g], _sizes(shape, window, lanes), [x], lanes)
    return x


def sum_pixels(g: Array, out: Array | None = None) -> Array:
    """The sum of g (N, H, W, C) over images and pixels, (C,), written into `out` if given."""
    (g,) = _contiguous(g)
    if g.dtype.kind == "c":  # shared memory takes no complex numbers: real and imaginary parts
        return sum_pixels(g.view(g.real.dtype)).view(g.dtype)
    y = xp.empty(g.shape[3], g.dtype) if out is None else out
    if not g.size:
        y.fill(0)
        return y
    lanes = kernels.lanes(len(y), g, y)
    kernels.sum_columns(g.reshape(-1, len(y)), lanes, y)
    return y


# --- tiles ---------------------------------------------------------------------------------------


def gather_tiles(m: Any, x: Array, step: int, first: Pair, grid: Pair) -> Array:
    """m X mᵀ for squares X of x (N, H, W, C), for a matrix m (j, k) on the host: (j², N·T·C).

    The squares are k×k, `step` apart, grid[0]·grid[1] = T of them in each image, of which the first
    begins at pixel -first. What lies beyond the image is 0.
    """
    (x,) = _contiguous(x)
    n, h, w, c = x.shape
    tiles = xp.empty((len(m) ** 2, n * math.prod(grid) * c), x.dtype)
    kernel = kernels.gather_tiles(_as_tuples(m), kernels.is_wide(x, tiles))
    kernel(x, h, w, c, *grid, step, *first, tiles, size=tiles.shape[1])
    return tiles


def scatter_tiles(m: Any, tiles: Array, out: Array, bias: Array | None = None) -> None:
    """Fill out (N, H, W, C) with squares m X mᵀ (j, j) side by side, and add a bias (C,).

    Their X, k×k for a matrix m (j, k) on the host, are the columns of tiles (k², …, C). The squares
    at the edges may reach over them.
    """
    (tiles,), j = _contiguous(tiles), len(m)
    _, h, w, c = out.shape
    kernel = kernels.scatter_tiles(_as_tuples(m), bias is not None, kernels.is_wide(out, tiles))
    given = [tiles, *([] if bias is None else _contiguous(bias))]
    y = xp.ascontiguousarray(out)
    kernel(*given, h, w, c, -(-h // j), -(-w // j), y, size=tiles.size // len(m[0]) ** 2)
    if y is not out:
        out[...] = y


def _as_tuples(m: Any) -> kernels.Matrix:
    return tuple(map(tuple, m.tolist()))


def filtering_gains(images: Sequence[int], filters: Sequence[int], pixels: Pair) -> bool:
    """Whether minimal filtering takes less time than im2col, for `images` (N, C, H, W).

    Counted are the multiplications of `filters` (O, C, r, r), and the bytes that are written and
    read again on the way, for H'·W' `pixels` of each image, forward.
    """
    if context.current().tf32:  # products cost little, and the transforms enlarge their errors
        return False
    (n, c, *_), (o, _, r, _) = images, filters
    area, tiles = math.prod(pixels), math.prod(-(-size // 4) for size in pixels)
    places = (r + 3) ** 2
    unrolled = n * area * r * r * c
    tiled = n * tiles * places
    seconds_im2col = 2 * unrolled * o / FLOPS + 8 * unrolled / BYTES
    seconds = 2 * tiled * c * o / FLOPS + (8 * tiled * (c + o) + 8 * places * c * o) / BYTES
    return seconds + 3 * KERNEL < seconds_im2col
