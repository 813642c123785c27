"""A tensor's memory: how values lie there, change there, and are copied from there.

The engine keeps images and filters channels-last, which programs for PyTorch don't see. So where
PyTorch has a view of them there may be a copy here, and what is written into that would be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any
from weakref import ref

from .autograd import Variable, broadcasts, common_backend
from .backends import Array, backend_of, host, refuse_capture
from .backends.layout import memory_order
from .dtype import fitting, kind
from .elementwise import operand
from .grad_mode import is_grad_enabled
from .indexing import steps
from .operations import arithmetic
from .versions import changed_in_place, owner

IS_COPY = (
    "this tensor is a copy, since images and filters are channels-last in memory, so that the one"
    " it was made from would stay as it is; write into that"
)
IS_SHARED = (
    "this tensor shares its memory with the one it was made from, since images and filters are"
    " channels-last there; in PyTorch it is a copy: write into a .clone() of it"
)
MEMORY = ("grad_home", "_stand_in", "_apart")  # what a variable knows of its own memory


class Stored(Variable):
    """A variable that knows what its memory has to do with that of others.

    Changing it in place is for values without history: parameters under `no_grad`, counters.
    """

    _stand_in: Array | None = None  # see `_seen`
    _apart: tuple[ref[Array], str] | None = None  # see `_refusal`

    # --- views -----------------------------------------------------------------------------------

    def _seen(self) -> Array | None:
        """An array that lies in memory as a program written for PyTorch believes this one to lie.

        None where that is as it does. Its bytes are never looked at, and take no memory.
        """
        if self._stand_in is None and self._channels_last():
            return host.xp.empty(self.array.shape, "int8")
        return self._stand_in

    def _channels_last(self) -> bool:
        """Whether this is in the engine's order, so that to a program it lies row by row."""
        if self.array.ndim != 4:
            return False
        return bool(self.array.transpose(0, 2, 3, 1).flags.c_contiguous)

    def _seen_in(self, same: Any) -> Any:
        """`same`, another variable of this one's array, seen as this one is."""
        same._stand_in, same._apart = self._stand_in, self._apart
        return same

    def _known_to_lie_so(self) -> Any:
        """This variable, which the program itself has permuted, if it is, into the engine's order.

        It knows how that lies, and expects a copy of `contiguous`, for one.
        """
        if self._channels_last() and not self.array.flags.c_contiguous:
            order, back = memory_order(self.array)
            lying = [self.array.shape[axis] for axis in order]
            self._stand_in = host.xp.empty(lying, "int8").transpose(back)
        return self

    def _derived(self, result: Any, way: Callable[[Array], Array]) -> Any:
        """`result`, which may be a view of this variable, seen as `way` shows what this one is.

        Where PyTorch would share memory and this doesn't, or the other way round, it can't be
        written into.
        """
        shared, seen = owner(result.array) is owner(self.array), self._seen()
        if shared:
            result._apart = self._apart
        if seen is None:
            return result._known_to_lie_so() if shared and self.array.ndim == 4 else result
        shown = way(seen)
        if owner(shown) is owner(seen):
            result._stand_in = shown if shared else None
            if not shared:
                result._apart = ref(owner(self.array)), IS_COPY
        elif shared:
            result._apart = ref(owner(self.array)), IS_SHARED
        return result

    def _refuse_writing_if_copy_of(self, source: Stored) -> None:
        memory = owner(source.array)
        if owner(self.array) is not memory:
            self._apart = ref(memory), IS_COPY

    def _refusal(self) -> str | None:
        """Why this can't be written into, if so: a program would write into something else.

        That is so as long as anybody has that memory.
        """
        apart = self._apart
        return None if apart is None or apart[0]() is None else apart[1]

    # --- changes in place ------------------------------------------------------------------------

    @contextmanager
    def _changing(self, name: str, *others: Any) -> Iterator[Array]:
        """The array, to be written into: refused where that would be wrong, and noted."""
        if is_grad_enabled() and any(getattr(t, "needs_grad", False) for t in (self, *others)):
            raise RuntimeError(
                f"{name}: a tensor that takes part in a gradient can't be changed in place; write"
                " x = x + y for x += y, or use no_grad() if no gradient is meant"
            )
        if why := self._refusal():
            raise RuntimeError(f"{name}: {why}")
        changed_in_place(self.array, name)
        try:
            with backend_of(self.array).quiet():
                yield self.array
        except (ValueError, OverflowError, TypeError) as error:
            raise RuntimeError(f"{name}: {error}") from None

    def _assign(self, name: str, result: Variable, other: Any) -> Any:
        """Take over the values of `result`, made from `other`; returns this tensor."""
        new, shape, dtype = result.array, self.array.shape, self.array.dtype
        if kind(new.dtype) > kind(dtype):
            raise RuntimeError(f"{name}: a {new.dtype} result does not fit into {dtype}")
        if not broadcasts(new.shape, shape):
            raise RuntimeError(f"{name}: a result of shape {new.shape} does not fit into {shape}")
        with self._changing(name, other):
            arithmetic.assign(self, result)
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        name = "[…] ="
        if isinstance(value, Variable):
            common_backend(name, self, value)
            new = value.array
        elif isinstance(value, host.xp.ndarray):
            backend = backend_of(self.array)
            if backend is not host:
                refuse_capture("[…] = of an array on the host")
            new = backend.from_host(value)
        else:
            new = fitting(name, operand(name, value), self.array.dtype)
        *before, last = steps(self.array, index)
        with self._changing(name, value) as array:
            for step in before:
                array = array[step]
            if getattr(new, "ndim", 0) and new.shape[0] == 1:
                while new.ndim > array[last].ndim and new.shape[0] == 1:
                    new = new[0]  # leading axes of 1, as of one image for the place of one
            array[last] = new

    # --- copies ----------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A leaf in memory of its own, with a copy of its gradient.

        Raises RuntimeError for a tensor with a history, as that leads to leaves that are not
        copied: their gradients would go elsewhere.
        """
        twin = type(self).__new__(type(self))
        memo[id(self)], state = twin, self._state()
        for array in (self.array, self.grad_array):  # CuPy's deepcopy writes by rows
            if array is not None and id(array) not in memo:
                memo[id(array)] = array.copy(order="K")
        vars(twin).update(deepcopy(state, memo))
        return twin

    def _state(self) -> dict[str, Any]:
        """What a copy takes over: not what is about the memory of this one."""
        if self.node is not None:
            raise RuntimeError(
                f"a tensor with a history ({self.node}) can't be copied or pickled together with"
                " it; use .detach()"
            )
        return {k: v for k, v in vars(self).items() if k not in MEMORY}

    def __getstate__(self) -> dict[str, Any]:
        """What pickle takes, which writes rows: arrays along memory, and the way back."""
        state = self._state()
        for name in ("array", "grad_array"):
            if state.get(name) is not None:
                order, back = memory_order(state[name])
                state[name] = state[name].transpose(order), back
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name in ("array", "grad_array"):
            if state.get(name) is not None:
                array, back = state[name]
                setattr(self, name, array.transpose(back))
