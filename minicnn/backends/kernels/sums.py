"""The sum over images and pixels, in two passes within one launch.

Each block adds up its own rows, and the one that is done last adds up what they left. The order is
always the same, whichever that is.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy as xp
import numpy as np

from ..protocol import Array
from .packs import contiguous, pack_size, pack_type

THREADS, BLOCKS = 1024, 264  # two blocks for each of an H100's processors

_SOURCE = """
__device__ void add(Pack &a, const Pack *b) {
    Pack p = *b;  // in one load
    for (int l = 0; l < PACK; l++) a.e[l] += p.e[l];
}
// y = the sum of the rows of x in the bands first, first + step, … A block reads a band at a time:
// thread t has pack t % packs of the band's row t / packs.
__device__ void sum_bands(
    const Pack *x, long long rows, int packs, int first, int step, Pack *sums, Pack *y) {
    int t = threadIdx.x, wide = packs < THREADS ? packs : THREADS, height = THREADS / wide;
    int row = t / wide;
    for (int from = 0; from < packs; from += wide) {
        int pack = from + t % wide;
        bool mine = row < height && pack < packs;
        Pack sum = {};
        if (mine) {
            #pragma unroll 4
            for (long long r = first * height + row; r < rows; r += step * height)
                add(sum, x + r * packs + pack);
            sums[t] = sum;
        }
        __syncthreads();
        if (mine && row == 0) {
            for (int k = 1; k < height; k++) add(sum, sums + k * wide + t);
            y[pack] = sum;
        }
        __syncthreads();
    }
}
extern "C" __global__ void minicnn_sum_pixels(
    const Pack *x, long long rows, int packs, Pack *partial, unsigned int *arrived, Pack *y) {
    __shared__ Pack sums[THREADS];
    __shared__ bool last;
    sum_bands(x, rows, packs, blockIdx.x, gridDim.x, sums, partial + blockIdx.x * packs);
    // The block that comes last adds up what all have left, in their order.
    __threadfence();
    if (threadIdx.x == 0) last = atomicAdd(arrived, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!last) return;
    if (threadIdx.x == 0) *arrived = 0;  // for the next launch
    __threadfence();
    sum_bands(partial, gridDim.x, packs, 0, 1, sums, y);
}
"""


@cache
def _kernel(c_type: str, pack: int) -> Any:
    constants = f"enum {{ PACK = {pack}, THREADS = {THREADS} }};"
    source = pack_type("Pack", c_type, pack) + constants + _SOURCE
    return xp.RawKernel(source, "minicnn_sum_pixels")


@cache
def arrived(stream: int) -> Any:
    """How many blocks have come: 0 between launches on a stream, and in no graph's memory.

    It is set to 0 at once, so it has to be there before something is captured on the stream.
    """
    with xp.cuda.using_allocator(xp.get_default_memory_pool().malloc):
        return xp.zeros(1, "uint32")


def sum_pixels(g: Array, out: Array | None = None) -> Array:
    (g,) = contiguous(g)
    if g.dtype.kind == "c":  # shared memory takes no complex numbers: real and imaginary parts
        real = g.real.dtype
        return sum_pixels(g.view(real), None if out is None else out.view(real)).view(g.dtype)
    y = xp.empty(g.shape[3], g.dtype) if out is None else out
    if not g.size:
        y.fill(0)
        return y
    pack = pack_size(len(y), g, y)
    rows, packs = g.size // len(y), len(y) // pack
    blocks = min(BLOCKS, -(-rows // (8 * (THREADS // min(packs, THREADS)))))  # 8 rows a thread
    partial = xp.empty((blocks, len(y)), y.dtype)
    counter = arrived(xp.cuda.get_current_stream().ptr)
    kernel = _kernel({"f": "float", "d": "double"}[y.dtype.char], pack)
    kernel((blocks,), (THREADS,), (g, np.int64(rows), np.int32(packs), partial, counter, y))
    return y
