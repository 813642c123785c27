"""Keeping one bad batch from throwing the weights far away."""

from __future__ import annotations

from collections.abc import Iterable

from ...backends import backend_of
from ...creation import zeros
from ...tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients together, in place, so that their norm is at most max_norm.

    The norm is that of all gradients as one vector; it is returned as it was before. Pascanu,
    Mikolov and Bengio 2013, section 3.2. Raises ValueError for a max_norm that is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, got {max_norm}")
    gradients = [p.grad_array for p in parameters if p.grad_array is not None]
    if not gradients:
        return zeros(())
    backend = backend_of(gradients[0])
    xp = backend.xp
    with backend.quiet():  # and without asking the device for a number, so that a graph can hold it
        norm = xp.sqrt(sum((g * g).sum() for g in gradients))
        factor = xp.minimum(max_norm / (norm + 1e-6), 1)
        for g in gradients:
            g *= factor.astype(g.dtype)
    return Tensor(xp.asarray(norm))
