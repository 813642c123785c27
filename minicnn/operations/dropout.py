"""Dropout (Srivastava et al. 2014, section 10: inverted dropout)."""

from __future__ import annotations

from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of


@operation
def dropout(x: Array, p: float, key: tuple[int, int]) -> Any:
    """Each element is 0 with probability p and x/(1-p) otherwise, so that the mean stays x.

    `key` names the random stream. Gradients pass where elements did.
    """
    backend = backend_of(x)
    # One stream over the memory order, channels last, so that the mask keeps x's layout.
    order = (0, *range(2, x.ndim), 1) if x.ndim > 2 else tuple(range(x.ndim))
    drawn = backend.uniform(key, [x.shape[a] for a in order], x.dtype)
    inverse = sorted(range(x.ndim), key=order.__getitem__)
    kept = (drawn >= p).transpose(inverse)
    scale = x.dtype.type(1 / (1 - p)) if p < 1 else x.dtype.type(0)
    return x * (kept * scale), lambda g: g * (kept * scale)
