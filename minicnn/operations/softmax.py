"""Softmax and the losses built on it. The class axis is given; it's 1 for (N, C, …)."""

from __future__ import annotations

from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of


@operation
def softmax(x: Array, axis: int) -> Any:
    """p = exp(x) / Σ exp(x). The maximum is taken off first, which changes nothing but overflow."""
    p = backend_of(x).xp.exp(x - x.max(axis=axis, keepdims=True))
    p /= p.sum(axis=axis, keepdims=True)
    return p, lambda g: p * (g - (g * p).sum(axis=axis, keepdims=True))


def _log_softmax(x: Array, axis: int) -> Array:
    xp = backend_of(x).xp
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


@operation
def log_softmax(x: Array, axis: int) -> Any:
    """log p = x - log Σ exp(x), from x - max(x): exact to rounding at logits of ±1e4 too."""
    y = _log_softmax(x, axis)
    xp = backend_of(x).xp
    return y, lambda g: g - xp.exp(y) * g.sum(axis=axis, keepdims=True)


@operation
def nll(logp: Array, q: Array) -> Any:
    """-Σ_c q_c·logp_c over axis 1, for logp and q (N, C, …): (N, …). Where q is 0, it is 0."""
    xp = backend_of(logp).xp
    terms = xp.where(q == 0, 0, q * logp)
    return -terms.sum(axis=1), lambda g: -g[:, None] * q


@operation
def cross_entropy(x: Array, q: Array) -> Any:
    """-Σ_c q_c·log p_c with p = softmax(x), for x and q (N, C): (N,).

    dx = (Σ_c q_c)·p - q: for a one-hot q, the probabilities less the truth.
    """
    backend = backend_of(x)
    loss, logp = backend.cross_entropy(x, q)
    return (
        loss,
        lambda g: backend.cross_entropy_vjp(g, q, logp),
        lambda g: -g[:, None] * logp,
    )


@operation
def mean_loss(losses: Array, total: Any) -> Any:
    """Σ losses / total, for losses of any shape and the weight that they stand for: ().

    The mean of no losses, where the total is 0, is NaN, and its gradient is 0, as in PyTorch: a
    batch in which no target counts should change nothing.
    """
    backend, shape = backend_of(losses), losses.shape

    def vjp(g: Array) -> Array:
        return backend.xp.broadcast_to(backend.divided(g, total), shape)

    return losses.sum() / total, vjp
