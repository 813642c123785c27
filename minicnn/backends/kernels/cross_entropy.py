"""Class indices as rows of 0 and 1, and cross-entropy.

Its kernel has a thread for each row of C logits; the rows are as short as there are classes.
"""

from __future__ import annotations

import math
from typing import Any

import cupy as xp

from ..protocol import Array
from .packs import contiguous, kernel

_one_hot = kernel(
    "one_hot",
    "raw I label, int64 c, int64 pixels, int64 ignored",
    "T hot",
    """
    long long rest = i, at = rest % pixels; rest /= pixels;
    long long k = rest % c, n = rest / c;
    long long l = label[n * pixels + at];
    hot = l == ignored ? T(0) : l < 0 || l >= c ? T(nan("")) : T(l == k);
    """,
)
_cross_entropy = kernel(
    "cross_entropy",
    "raw T x, raw T q, int64 c",
    "T loss, raw T logp",
    """
    T top = x[i * c];
    for (long long k = 1; k < c; k++) { T e = x[i * c + k]; if (e > top || e != e) top = e; }
    T sum = 0, dot = 0;
    for (long long k = 0; k < c; k++) sum += exp(x[i * c + k] - top);
    T shift = log(sum);
    for (long long k = 0; k < c; k++) {
        T l = x[i * c + k] - top - shift;
        logp[i * c + k] = l;
        if (q[i * c + k] != T(0)) dot += q[i * c + k] * l;
    }
    loss = -dot;
    """,
)
_cross_entropy_vjp = kernel(
    "cross_entropy_vjp",
    "raw T g, raw T q, T logp, int64 c",
    "T dx",
    """
    long long row = i / c;
    T weight = 0;
    for (long long k = 0; k < c; k++) weight += q[row * c + k];
    dx = g[row] * (exp(logp) * weight - q[i]);
    """,
)


def one_hot(labels: Array, classes: int, ignored: int, dtype: Any) -> Array:
    n, *rest = labels.shape
    hot = xp.empty((n, classes, *rest), dtype)
    return _one_hot(*contiguous(labels), classes, math.prod(rest), ignored, hot)


def cross_entropy(x: Array, q: Array) -> tuple[Array, Array]:
    x, q = contiguous(x, q)
    loss, logp = xp.empty(len(x), x.dtype), xp.empty_like(x)
    _cross_entropy(x, q, x.shape[1], loss, logp)
    return loss, logp


def cross_entropy_vjp(g: Array, q: Array, logp: Array) -> Array:
    q, logp = contiguous(q, logp)
    return _cross_entropy_vjp(g, q, logp, logp.shape[1])
