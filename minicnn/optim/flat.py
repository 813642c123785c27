"""Parameters that lie one after another in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ..backends import Array, backend_of
from ..backends.layout import memory_order, room
from ..tensor import Tensor


def _part(whole: Array, start: int, like: Array) -> Array:
    """The elements of `whole` from `start` on as an array with the shape and layout of `like`."""
    order, back = memory_order(like)
    shape = [like.shape[axis] for axis in order]
    return whole[start : start + like.size].reshape(shape).transpose(back)


class Flat:
    """Gives parameters new memory, one after another, and their gradients and momentum too.

    `values`, `gradients` and `momentum` are flat arrays of all elements, with zeros between them
    (see `room`), so that an update of all parameters is one operation. `momentum_buffers` has each
    parameter's part; it is given those that there are already. All parameters must be of one dtype
    and on one device.

    The next gradient of a parameter is written over the last, as that is where it belongs. Whoever
    keeps `p.grad` has what is there now; to keep its numbers it must be cloned.
    """

    def __init__(self, parameters: Sequence[Tensor], momentum_buffers: dict[Tensor, Array]) -> None:
        first = parameters[0].array
        xp, size = backend_of(first).xp, sum(room(p.array) for p in parameters)
        wholes = [xp.zeros(size, first.dtype) for _ in range(3)]
        self.values, self.gradients, self.momentum = wholes
        self._parts: list[tuple[Tensor, Array, Array]] = []
        self.momentum_buffers: dict[Tensor, Array] = {}
        start = 0
        for p in parameters:
            value, gradient, buffer = (_part(whole, start, p.array) for whole in wholes)
            value[...] = p.array
            p.array, p.grad_home = value, gradient
            if p in momentum_buffers:
                buffer[...] = momentum_buffers[p]
            self._parts.append((p, value, gradient))
            self.momentum_buffers[p] = buffer
            start += room(value)

    def holds(self, parameters: Sequence[Tensor]) -> bool:
        """Whether it is made of these parameters, and all are still where they were put."""
        return len(parameters) == len(self._parts) and all(
            p is q and p.array is value
            for p, (q, value, _) in zip(parameters, self._parts, strict=True)
        )

    def collect_gradients(self) -> None:
        """Bring gradients that were put somewhere else, as by `p.grad = …`, to their places.

        They must not lie in another's, which may be written over before it is read.
        """
        for p, _, gradient in self._parts:
            if p.grad_array is not gradient:
                gradient[...] = p.grad_array
                p.grad_array = gradient
