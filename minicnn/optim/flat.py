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
    """Gives parameters new memory, one after another, and their gradients and velocities too.

    `values`, `gradients` and `velocities` are flat arrays of all elements, with zeros between them
    (see `room`), so that an update of all parameters is one operation. `velocity` holds those that
    there are already. All parameters must be of one dtype and on one device.

    The next gradient of a parameter is written over the last, as that is where it belongs. Whoever
    keeps `p.grad` has what is there now; to keep its numbers it must be cloned.
    """

    def __init__(self, parameters: Sequence[Tensor], velocity: dict[Tensor, Array]) -> None:
        first = parameters[0].array
        xp, size = backend_of(first).xp, sum(room(p.array) for p in parameters)
        self.values, self.gradients, self.velocities = (
            xp.zeros(size, first.dtype) for _ in range(3)
        )
        self._parts: list[tuple[Tensor, Array, Array]] = []
        self.velocity: dict[Tensor, Array] = {}
        start = 0
        for p in parameters:
            value, gradient, moving = (
                _part(whole, start, p.array)
                for whole in (self.values, self.gradients, self.velocities)
            )
            value[...] = p.array
            p.array, p.grad_home = value, gradient
            if p in velocity:
                moving[...] = velocity[p]
            self._parts.append((p, value, gradient))
            self.velocity[p] = moving
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
