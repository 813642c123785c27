"""Losses of single numbers that no sum of simpler operations gives with all digits."""

from __future__ import annotations

from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of


@operation
def huber(d: Array, beta: float) -> Any:
    """d²/2β where |d| < β, and |d| - β/2 elsewhere (Girshick 2015, "Fast R-CNN", section 2.3)."""
    xp = backend_of(d).xp
    near = abs(d) < beta
    y = xp.where(near, d * d / (2 * beta or 1), abs(d) - beta / 2)
    return y, lambda g: g * xp.where(near, d / (beta or 1), xp.sign(d))


@operation
def binary_cross_entropy(p: Array, q: Array) -> Any:
    """-q·log p - (1-q)·log(1-p), logarithms cut off at -100, as PyTorch cuts them."""
    xp = backend_of(p).xp
    yes, no = xp.maximum(xp.log(p), -100), xp.maximum(xp.log1p(-p), -100)
    return (
        -q * yes - (1 - q) * no,
        lambda g: g * (p - q) / xp.maximum(p * (1 - p), 1e-12),
        lambda g: g * (no - yes),
    )


@operation
def logistic_loss(x: Array, q: Array, positive: Any = 1) -> Any:
    """-w·q·log σ(x) - (1-q)·log(1 - σ(x)) for logits x, with weights w of the positive class.

    log σ(x) is min(x, 0) - log(1 + exp(-|x|)), and log(1 - σ(x)) that of -x, without overflow.
    """
    xp = backend_of(x).xp
    rest = xp.log1p(xp.exp(-abs(x)))
    yes, no = xp.minimum(x, 0) - rest, xp.minimum(-x, 0) - rest
    sigma = 1 / (1 + xp.exp(-x))
    return (
        -positive * q * yes - (1 - q) * no,
        lambda g: g * ((1 - q) * sigma - positive * q * (1 - sigma)),
        lambda g: g * (no - positive * yes),
    )
