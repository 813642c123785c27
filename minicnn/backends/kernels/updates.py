"""What changes parameters and gradients: the optimiser's update, and clipping."""

from __future__ import annotations

from collections.abc import Sequence

import cupy as xp
import numpy as np

from ..layout import memory_order
from ..protocol import Array, SGDOptions
from .packs import kernel

NORM_THREADS = 2**14

_sgd = kernel("sgd", "T g, raw T lr, T decay", "T p", "p -= lr[0] * (decay ? g + decay * p : g);")
_sgd_momentum = kernel(
    "sgd_momentum",
    "T grad, raw T lr, T momentum, T kept, T decay, bool nesterov",
    "T p, T v",
    """
    T g = decay ? grad + decay * p : grad;
    v = momentum * v + kept * g;
    p -= lr[0] * (nesterov ? g + momentum * v : v);
    """,
)
# The norm in two steps, of which the first has threads enough to read at full speed: each adds up
# every n-th square, for n threads.
_squares = kernel(
    "squares",
    "raw T x, int64 size",
    "P part",
    """
    P sum = 0;
    for (long long k = i; k < size; k += _ind.size()) { P e = x[k]; sum += e * e; }
    part = sum;
    """,
)
_root_of_sum = xp.ReductionKernel(
    "T x", "T y", "x", "a + b", "y = sqrt(a)", "0", "minicnn_root_of_sum"
)
_shrink = kernel(
    "shrink",
    "raw P norm, P most",
    "T g",
    # 0 stays 0 even if the norm is NaN: so do the zeros between gradients that lie together.
    "P factor = most / (norm[0] + P(1e-6)); if (g != T(0)) g *= factor >= 1 ? T(1) : T(factor);",
)


def sgd(p: Array, g: Array, v: Array | None, lr: Array, options: SGDOptions) -> None:
    momentum, dampening, weight_decay, nesterov = options
    if v is None:
        _sgd(g, lr, weight_decay, p)
    else:
        _sgd_momentum(g, lr, momentum, 1 - dampening, weight_decay, nesterov, p, v)


def norm(arrays: Sequence[Array]) -> Array:
    parts = [min(a.size, NORM_THREADS) for a in arrays]
    ends = np.cumsum(parts)
    sums = xp.empty(ends[-1], xp.result_type(*arrays))
    for a, start, end in zip(arrays, ends - parts, ends, strict=True):
        _squares(a.transpose(memory_order(a)[0]).ravel(), a.size, sums[start:end])
    return _root_of_sum(sums)


def shrink(arrays: Sequence[Array], norm: Array, most: float) -> None:
    for a in arrays:
        _shrink(norm, most, a)
