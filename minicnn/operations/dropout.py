"""Dropout (Srivastava et al. 2014, section 10: inverted dropout)."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of
from ..backends.layout import inverse


@operation
def dropout(x: Array, p: float, key: tuple[int, int], first: int) -> Any:
    """Each element is 0 with probability p and x/(1-p) otherwise, so that the mean stays x.

    `key` names the random stream; x (N, …) are the images of a batch from number `first` on, so
    that an image's mask does not depend on how the batch was cut.
    """
    # The stream runs in memory order, channels last, so that the mask has x's layout.
    order = (0, *range(2, x.ndim), 1)[: x.ndim]
    back = inverse(order)
    shape = [x.shape[a] for a in order]
    drop = backend_of(x).dropout(key, shape, x.dtype, p, first * math.prod(x.shape[1:]))

    def apply(x: Array) -> Array:
        # Without axes it may come back with one.
        return drop(x.transpose(order)).reshape(shape).transpose(back)

    return apply(x), apply
