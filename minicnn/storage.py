"""A tensor's memory: how values lie there, change there, and are copied from there.

The engine keeps images and filters channels-last, which programs for PyTorch don't see: to them a
new tensor lies row by row. So where PyTorch has a view there may be a copy here, and what is
written into the one would be missed in the other. It never is: where this can't be right it is
refused, when a copy would be written into (`_refusal`) and when one would be read that no longer
holds what PyTorch's view does (`versions.Copied`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import pairwise
from typing import Any

from .autograd import Variable, broadcasts, common_backend
from .backends import Array, backend_of, host, refuse_capture
from .backends.layout import memory_order
from .dtype import fitting, kind
from .elementwise import operand
from .grad_mode import is_grad_enabled
from .indexing import steps
from .operations import arithmetic
from .versions import IS_COPY, changed_in_place, owner, shown_elsewhere, was_copied, was_given

READ_ONLY = (
    "places of an expanded tensor share their memory, and other memory may be read-only; write into"
    " a .clone()"
)
MEMORY = ("grad_home", "_stand_in", "_shown")  # what a variable knows of its own memory


class Stored(Variable):
    """A variable that knows what its memory has to do with that of others.

    Changing it in place is for values without history: parameters under `no_grad`, counters.

    How it lies in memory to a program that was written for PyTorch is one of three. Row by row: so
    do new tensors, and results of such. As `_stand_in` does, an array whose bytes are never looked
    at and take no memory: so do views. Or nobody knows, `_any_order` without a stand-in: PyTorch
    chooses an order for results where an operand was permuted, and NumPy and CuPy choose others.
    """

    _stand_in: Array | None = None
    _shown: bool = False  # whether there is, or was, a view of this, or it is one

    # --- views -----------------------------------------------------------------------------------

    def _seen_in(self, same: Any) -> Any:
        """`same`, another variable of this one's array, seen as this one is."""
        same._stand_in, same._any_order = self._stand_in, self._any_order
        self._shown = same._shown = True
        return same

    def _made_of(self, array: Array, copied: bool = False) -> Any:
        """This variable, made of an array of the program's, that lies as it does.

        If the program knows how: not where the order is one that the engine has chosen.
        """
        strides = [n // array.itemsize for n in array.strides]
        if was_given(array) or not owner(array).flags.c_contiguous or min(strides, default=0) < 0:
            self._any_order = array.ndim > 1
        elif copied:
            self._show(host.xp.empty_like(array, "int8"))
        elif not array.flags.c_contiguous:
            reach = 1 + sum((n - 1) * each for n, each in zip(array.shape, strides, strict=True))
            memory = host.xp.empty(max(reach, 1), "int8")
            self._show(host.xp.ndarray(array.shape, "int8", memory, 0, strides))
        return self

    def _show(self, stand_in: Array, moved: bool = False) -> None:
        """Lie as this array does, some of whose axes may have `moved`.

        PyTorch's results follow the order of axes of length 1, too, whose steps may be equal.
        """
        pairs = pairwise([step for step in stand_in.strides if step])
        self._any_order = any(a < b or (moved and a == b) for a, b in pairs)
        plain = stand_in.flags.c_contiguous and not self._any_order
        self._stand_in = None if plain else stand_in

    def _row_by_row(self) -> bool:
        """Whether this lies row by row, to a program and in memory: as nearly all tensors do."""
        known = self._stand_in is None and not self._any_order
        return known and bool(self.array.flags.c_contiguous)

    def _seen(self) -> Array | None:
        """An array that lies as this one does to a program; None if nobody knows how."""
        if self._stand_in is None and not self._any_order:
            return host.xp.empty(self.array.shape, "int8")
        return self._stand_in

    def _view(self, result: Any, way: Callable[[Array], Array], moved: bool = False) -> Any:
        """`result`, a view of this variable's array, and of what is seen of this one `way`'s.

        `moved` says that axes are in another order now, be they of length 1.
        """
        self._shown = result._shown = True
        if moved or not (self._row_by_row() and result.array.flags.c_contiguous):
            seen = self._seen()
            if seen is None:
                result._any_order = True
            else:
                result._show(way(seen), moved or self._any_order)
        return result

    def _refusal(self) -> str | None:
        """Why this can't be written into, if so: a program would write into something else."""
        if shown_elsewhere(self.array):
            return IS_COPY
        x = self.array
        shared = x.size and any(n > 1 and not s for n, s in zip(x.shape, x.strides, strict=True))
        return READ_ONLY if shared or not getattr(x.flags, "writeable", True) else None

    def _refuse_shown(self, name: str, shown: bool = False) -> None:
        """Refuse to become another value where somebody may show the one of before."""
        if why := self._refusal():
            raise RuntimeError(f"{name}: {why}")
        if shown or was_copied(self.array):
            raise RuntimeError(
                f"{name}: another tensor shows the memory of this one, which has a history, and"
                " would not be changed with it; write x = x + y for x += y, or .relu() for .relu_()"
            )

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
            new = value._read(name)
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
        self._read("a copy")
        if self.node is not None:
            raise RuntimeError(
                f"a tensor with a history ({self.node}) can't be copied or pickled together with"
                " it; use .detach()"
            )
        state = {k: v for k, v in vars(self).items() if k not in MEMORY}
        return state if self._stand_in is None else {**state, "_any_order": True}

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
