"""Keeping one bad batch from throwing the weights far away."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ...creation import tensor
from ...tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients together, in place, so that their norm is at most max_norm.

    The norm is that of all gradients as one vector; it is returned as it was before. Pascanu,
    Mikolov and Bengio 2013, section 3.2. Raises ValueError for a max_norm that is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, got {max_norm}")
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum((g * g).sum().item() for g in gradients))
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / (norm + 1e-6)
    return tensor(norm)
