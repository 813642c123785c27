"""The CuPy backend: arrays on an NVIDIA GPU.

It provides the names of `numpy.py`, with the same meaning and the same numbers. Where NumPy has a
loop over the places of a window, there is a kernel here: the body of a loop over the elements of
its result, as C. Each element is computed by itself, from all that it depends on, so nothing is
added up in an order that chance decides, and the results are the same from run to run.

Kernels are compiled when they are first used, for the types that they are then given: T is the
arrays' type, I an unsigned integer wide enough to count their elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import cupy as xp
import numpy as np

from . import numpy as host

Array = Any
Pair = tuple[int, int]
Key = tuple[int, int]

ArrayType = xp.ndarray
device_type = "cuda"

LEAST_FREE_BYTES = 2**28  # on the device, for CUDA itself and anything at all
WORKSPACE_BYTES = 512 * 2**20  # the most that a convolution unrolls at a time


def trouble() -> str | None:
    """Why this backend can't be used here, if so: the driver, its version, a device, its memory."""
    runtime = xp.cuda.runtime
    driver = runtime.driverGetVersion()  # 13020 for CUDA 13.2, 0 where there is none
    if not driver:
        return "there is no NVIDIA driver on this machine (nvidia-smi would show it)"
    built = runtime.runtimeGetVersion()
    if driver // 1000 < built // 1000:
        return (
            f"this CuPy is for CUDA {built // 1000}, the driver for CUDA {driver // 1000}:"
            f" pip install 'minicnn[cuda{driver // 1000}]', or a newer driver"
        )
    try:
        free, whole = runtime.memGetInfo()
    except runtime.CUDARuntimeError as error:
        return f"there is no GPU that can be used: {error}"
    if free < LEAST_FREE_BYTES:
        return f"the GPU has {free >> 20} of {whole >> 20} MiB free: other programs use the rest"
    return None


# --- arrays in and out ---------------------------------------------------------------------------


def asarray(value: Any, dtype: Any = None) -> Array:
    """`value` (numbers, nested lists, an array, a NumPy scalar) as an array of this backend."""
    return xp.asarray(value, dtype=dtype)


def from_host(array: Any) -> Array:
    """A NumPy array as an array of this backend."""
    return xp.asarray(array)


def to_host(array: Array) -> Any:
    """An array of this backend as a NumPy array."""
    return array.get()


def quiet() -> Any:
    """A context in which 1/0, log(0) and overflow give inf and NaN without a warning."""
    return nullcontext()


# --- kernels -------------------------------------------------------------------------------------


def _kernel(inputs: str, output: str, body: str, preamble: str = "") -> Any:
    """`body` for each element i of the output."""
    name = "minicnn_" + output.split()[-1]
    return xp.ElementwiseKernel(inputs, output, body, name, preamble=preamble)


def _counts(*values: Any, largest: Array | None = None) -> list[Any]:
    """Whole numbers for a kernel, flattened, of the unsigned type that counts `largest`.

    Division is what these kernels spend their time on, and by 32 bits it is several times faster.
    """
    wide = largest is not None and largest.size >= 2**31
    flat = np.array([v for value in values for v in np.atleast_1d(value)])
    return list(flat.astype(np.uint64 if wide else np.uint32))


# --- elementwise ---------------------------------------------------------------------------------

_relu = _kernel("T x", "T y", "y = x <= 0 ? T(0) : x;")
_relu_vjp = _kernel("T g, T y", "T dx", "dx = y <= 0 ? T(0) : g;")


def _memory_order(x: Array) -> tuple[list[int], list[int]]:
    """The axes of x from the longest stride to the shortest, and the way back.

    A kernel's result is laid out in the order of its axes, and reading along memory is faster.
    """
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    return order, sorted(range(x.ndim), key=order.__getitem__)


def relu(x: Array) -> Array:
    """max(x, 0), and NaN where x is."""
    order, back = _memory_order(x)
    return _relu(x.transpose(order)).transpose(back)


def relu_vjp(g: Array, y: Array) -> Array:
    """g where the result y of relu is above 0 or NaN, 0 elsewhere."""
    order, back = _memory_order(y)
    return _relu_vjp(g.transpose(order), y.transpose(order)).transpose(back)


_add_runs = _kernel(
    "raw T values, raw int64 order, raw int64 start",
    "T y",
    """
    for (long long j = start[i]; j < start[i + 1]; j++) y += values[order[j]];
    """,
)


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
    _add_runs(values, order, start, flat)
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


# --- random numbers ------------------------------------------------------------------------------
# Philox4x64-10 (Salmon et al. 2011, section 3.3), bit for bit as NumPy draws from it: block b of a
# stream is made from the counter b + 1, four numbers of 64 bits or eight of 32, low half first.

_PHILOX = """
__device__ void philox(unsigned long long block, unsigned long long k0, unsigned long long k1,
                       unsigned long long *c) {
    c[0] = block + 1; c[1] = c[2] = c[3] = 0;
    for (int round = 0; round < 10; round++) {
        const unsigned long long m0 = 0xD2E7470EE14C6C93ULL, m1 = 0xCA5A826395121157ULL;
        unsigned long long h0 = __umul64hi(m0, c[0]), l0 = m0 * c[0];
        unsigned long long h1 = __umul64hi(m1, c[2]), l1 = m1 * c[2];
        c[0] = h1 ^ c[1] ^ k0; c[1] = l1;
        c[2] = h0 ^ c[3] ^ k1; c[3] = l0;
        k0 += 0x9E3779B97F4A7C15ULL; k1 += 0xBB67AE8584CAA73BULL;
    }
}
__device__ double draw(unsigned long long i, unsigned long long k0, unsigned long long k1, double) {
    unsigned long long c[4];
    philox(i / 4, k0, k1, c);
    return (c[i % 4] >> 11) * (1.0 / 9007199254740992.0);
}
__device__ float draw(unsigned long long i, unsigned long long k0, unsigned long long k1, float) {
    unsigned long long c[4];
    philox(i / 8, k0, k1, c);
    unsigned int bits = (unsigned int)(c[i % 8 / 2] >> (i % 2 ? 32 : 0));
    return (bits >> 8) * (1.0f / 16777216.0f);
}
"""

_uniform = _kernel(
    "uint64 k0, uint64 k1, uint64 skip", "T y", "y = draw(skip + i, k0, k1, T(0));", _PHILOX
)
_dropout = _kernel(
    "T x, T p, T scale, uint64 k0, uint64 k1, uint64 skip",
    "T y",
    "y = draw(skip + i, k0, k1, T(0)) >= p ? x * scale : x * T(0);",
    _PHILOX,
)


def uniform(key: Key, shape: Sequence[int], dtype: Any, skip: int = 0) -> Array:
    """Numbers from the uniform distribution on [0, 1), after the first `skip` of the stream."""
    return _uniform(*map(np.uint64, (*key, skip)), xp.empty(tuple(shape), dtype))


def dropout(
    key: Key, shape: Sequence[int], dtype: Any, p: float, skip: int
) -> Callable[[Array], Array]:
    """The function that drops elements of arrays of this shape, always the same ones.

    Each is 0 with probability p and x/(1-p) otherwise, as number `skip` + i of the stream says for
    the i-th. Nothing is kept: the numbers are drawn again each time.
    """
    scalar = np.dtype(dtype).type
    scale = scalar(1 / (1 - p) if p < 1 else 0)
    numbers = [np.uint64(k) for k in (*key, skip)]

    def drop(x: Array) -> Array:
        x = xp.ascontiguousarray(x)
        return _dropout(x, scalar(p), scale, *numbers)

    return drop


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
# n, a, b, k is an element of the image (N, H, W, C); p, q a window and u, v a place in it.

output_size = host.output_size

_SIZES = "I h, I w, I c, I oh, I ow, I kh, I kw, I sh, I sw, I dh, I dw"
_PLACE = "((n * h + p * sh + u * dh) * w + q * sw + v * dw) * c + k"

_im2col = _kernel(
    f"raw T x, {_SIZES}",
    "T cols",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I v = rest % kw; rest /= kw;
    I u = rest % kh; rest /= kh;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    cols = x[{_PLACE}];
    """,
)
_gather_tiles = _kernel(
    f"raw T x, I images, {_SIZES}",
    "T tiles",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I q = rest % ow; rest /= ow;
    I p = rest % oh; rest /= oh;
    I n = rest % images; rest /= images;
    I v = rest % kw, u = rest / kw;
    tiles = x[{_PLACE}];
    """,
)
_max_pool = _kernel(
    f"raw T x, {_SIZES}",
    "T y, P place",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    T best = 0;
    I at = 0;
    for (I u = 0; u < kh; u++) for (I v = 0; v < kw; v++) {{
        T e = x[{_PLACE}];
        if (e > best || e != e || u + v == 0) {{ best = e; at = u * kw + v; }}
    }}
    y = best;
    place = at;
    """,
)
_sum_pool = _kernel(
    f"raw T x, {_SIZES}",
    "T y",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    T sum = 0;
    for (I u = 0; u < kh; u++) for (I v = 0; v < kw; v++) sum += x[{_PLACE}];
    y = sum;
    """,
)


def _reaching(inputs: str, term: str) -> Any:
    """The kernel that adds up `term` over all windows that reach an element: a transpose.

    Window p along an axis reaches element a with its place u if p·stride + u·dilation = a.
    """
    return _kernel(
        f"{inputs}, {_SIZES}",
        "T x",
        f"""
        I rest = i, k = rest % c; rest /= c;
        I b = rest % w; rest /= w;
        I a = rest % h, n = rest / h;
        T sum = 0;
        for (I u = 0; u < kh && u * dh <= a; u++) {{
            I p = (a - u * dh) / sh;
            if (p >= oh || p * sh + u * dh != a) continue;
            for (I v = 0; v < kw && v * dw <= b; v++) {{
                I q = (b - v * dw) / sw;
                if (q >= ow || q * sw + v * dw != b) continue;
                {term}
            }}
        }}
        x = sum;
        """,
    )


_WINDOW = "((n * oh + p) * ow + q)"
_col2im = _reaching("raw T cols", f"sum += cols[({_WINDOW} * kh * kw + u * kw + v) * c + k];")
_scatter_tiles = _reaching(
    "raw T tiles, I images",
    "sum += tiles[((((u * kw + v) * images + n) * oh + p) * ow + q) * c + k];",
)
_max_unpool = _reaching(
    "raw T g, raw P place",
    f"if (place[{_WINDOW} * c + k] == u * kw + v) sum += g[{_WINDOW} * c + k];",
)
_sum_unpool = _reaching("raw T g", f"sum += g[{_WINDOW} * c + k];")


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
    sizes = _counts(h, w, c, oh, ow, kernel, stride, dilation, largest=cols)
    return _im2col(*_contiguous(x), *sizes, cols)


def col2im(cols: Array, shape: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """The transpose of im2col: add up the rows of `cols`, each on its window, as (N, H, W, C).

    For a 1×1 kernel at stride 1 the result is `cols` itself: nothing is copied.
    """
    n, h, w, c = shape
    if kernel == stride == (1, 1):
        return cols.reshape(n, h, w, c)
    oh, ow = output_size((h, w), kernel, stride, dilation)
    sizes = _counts(h, w, c, oh, ow, kernel, stride, dilation, largest=cols)
    return _col2im(*_contiguous(cols), *sizes, xp.empty((n, h, w, c), cols.dtype))


def gather_tiles(x: Array, tile: int, step: int) -> Array:
    """The tile×tile squares of x (N, H, W, C), `step` apart, place by place: (tile², N·T·C).

    Row k holds what stands at place k of each of the T squares of each image.
    """
    n, h, w, c = x.shape
    th, tw = output_size((h, w), (tile, tile), (step, step), (1, 1))
    tiles = xp.empty((tile * tile, n * th * tw * c), x.dtype)
    sizes = _counts(n, h, w, c, th, tw, (tile, tile), (step, step), (1, 1), largest=tiles)
    return _gather_tiles(*_contiguous(x), *sizes, tiles)


def scatter_tiles(tiles: Array, shape: Sequence[int], tile: int, step: int) -> Array:
    """The transpose of gather_tiles: add up the squares, each on its place, as (N, H, W, C)."""
    n, h, w, c = shape
    th, tw = output_size((h, w), (tile, tile), (step, step), (1, 1))
    sizes = _counts(n, h, w, c, th, tw, (tile, tile), (step, step), (1, 1), largest=tiles)
    return _scatter_tiles(*_contiguous(tiles), *sizes, xp.empty((n, h, w, c), tiles.dtype))


def max_pool(x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Array, Array]:
    """The maximum of each window of x (N, H, W, C), and which place of the window held it.

    Returns values (N, H', W', C) and places 0 … kh·kw-1, counted along rows, of the smallest
    unsigned type that holds them. The first of equal maxima wins; NaN wins over everything.
    """
    n, h, w, c = x.shape
    oh, ow = output_size((h, w), kernel, stride, dilation)
    y = xp.empty((n, oh, ow, c), x.dtype)
    place = xp.empty(y.shape, np.min_scalar_type(math.prod(kernel) - 1))
    sizes = _counts(h, w, c, oh, ow, kernel, stride, dilation, largest=x)
    _max_pool(*_contiguous(x), *sizes, y, place)
    return y, place


def max_unpool(
    g: Array, place: Array, shape: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair
) -> Array:
    """The transpose of max_pool: add up g (N, H', W', C), each element where `place` says."""
    n, h, w, c = shape
    oh, ow = output_size((h, w), kernel, stride, dilation)
    x = xp.empty((n, h, w, c), g.dtype)
    sizes = _counts(h, w, c, oh, ow, kernel, stride, dilation, largest=x)
    return _max_unpool(*_contiguous(g, place), *sizes, x)


def sum_pool(x: Array, kernel: Pair, stride: Pair) -> Array:
    """The sum of each window of x (N, H, W, C): (N, H', W', C)."""
    n, h, w, c = x.shape
    oh, ow = output_size((h, w), kernel, stride, (1, 1))
    sizes = _counts(h, w, c, oh, ow, kernel, stride, (1, 1), largest=x)
    return _sum_pool(*_contiguous(x), *sizes, xp.empty((n, oh, ow, c), x.dtype))


def sum_unpool(g: Array, shape: Sequence[int], kernel: Pair, stride: Pair) -> Array:
    """The transpose of sum_pool: add up each element of g on its whole window, as (N, H, W, C)."""
    n, h, w, c = shape
    oh, ow = output_size((h, w), kernel, stride, (1, 1))
    x = xp.empty((n, h, w, c), g.dtype)
    sizes = _counts(h, w, c, oh, ow, kernel, stride, (1, 1), largest=x)
    return _sum_unpool(*_contiguous(g), *sizes, x)
