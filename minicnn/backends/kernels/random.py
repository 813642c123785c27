"""Random numbers, as they are used.

Philox4x64-10 (Salmon et al. 2011, section 3.3), bit for bit as NumPy draws from it: block b of a
stream is made from the counter b + 1, four numbers of 64 bits or eight of 32, low half first.
The second half of the key is read from memory, count[0] + ahead, as a captured graph needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cupy as xp
import numpy as np

from ..protocol import Array, Key
from .packs import kernel

_PHILOX = """
typedef unsigned long long U;
__device__ void philox(U block, U k0, U k1, U *c) {
    c[0] = block + 1; c[1] = c[2] = c[3] = 0;
    for (int round = 0; round < 10; round++) {
        const U m0 = 0xD2E7470EE14C6C93ULL, m1 = 0xCA5A826395121157ULL;
        U h0 = __umul64hi(m0, c[0]), l0 = m0 * c[0];
        U h1 = __umul64hi(m1, c[2]), l1 = m1 * c[2];
        c[0] = h1 ^ c[1] ^ k0; c[1] = l1;
        c[2] = h0 ^ c[3] ^ k1; c[3] = l0;
        k0 += 0x9E3779B97F4A7C15ULL; k1 += 0xBB67AE8584CAA73BULL;
    }
}
__device__ double draw(U i, U k0, U k1, double) {
    U c[4];
    philox(i / 4, k0, k1, c);
    return (c[i % 4] >> 11) * (1.0 / 9007199254740992.0);
}
__device__ float draw(U i, U k0, U k1, float) {
    U c[4];
    philox(i / 8, k0, k1, c);
    unsigned int bits = (unsigned int)(c[i % 8 / 2] >> (i % 2 ? 32 : 0));
    return (bits >> 8) * (1.0f / 16777216.0f);
}
"""
_KEY = "uint64 seed, raw uint64 count, uint64 ahead, uint64 skip"
_DRAWN = "draw(skip + i, seed, count[0] + ahead, T(0))"

_uniform = kernel("uniform", _KEY, "T y", f"y = {_DRAWN};", _PHILOX)
_dropout = kernel(
    "dropout",
    f"T x, T p, T scale, {_KEY}",
    "T y",
    f"y = {_DRAWN} >= p ? x * scale : x * T(0);",
    _PHILOX,
)


def _arguments(key: Key, skip: int) -> tuple[Any, ...]:
    """_KEY of a key whose count is a number, or of one whose is there when it is read."""
    seed, count = key
    if isinstance(count, int):
        return np.uint64(seed), xp.full(1, np.uint64(count)), 0, skip
    return np.uint64(seed), count.array, count.ahead, skip


def uniform(key: Key, shape: Sequence[int], dtype: Any, skip: int = 0) -> Array:
    return _uniform(*_arguments(key, skip), xp.empty(tuple(shape), dtype))


def dropout(
    key: Key, shape: Sequence[int], dtype: Any, p: float, skip: int
) -> Callable[[Array], Array]:
    # Nothing is kept: the numbers are drawn again each time.
    scale = 1 / (1 - p) if p < 1 else 0.0
    drawn = _arguments(key, skip)
    return lambda x: _dropout(xp.ascontiguousarray(x), p, scale, *drawn)
