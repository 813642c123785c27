"""The elements of a tensor in another shape or order, or some of them: methods of `Tensor`."""

from __future__ import annotations

import operator
from itertools import accumulate, pairwise
from math import prod
from typing import TYPE_CHECKING, Any

from .arguments import ArgumentError, whole
from .autograd import broadcasts
from .axes import axis_of, numpy_names, sizes_of
from .backends import host
from .elementwise import tensor_argument
from .indexing import along, check_places, steps
from .operations import arithmetic, shape
from .storage import Stored
from .versions import note_copy, owner

if TYPE_CHECKING:
    from .tensor import Tensor


class Shaped(Stored):
    """A variable that can be seen in other shapes: as views where PyTorch has views."""

    def reshape(self, *sizes: Any) -> Tensor:
        """The same elements in another shape; one size may be -1."""
        return self._reshaped(sizes_of("reshape", sizes))

    def view(self, *sizes: Any) -> Tensor:
        """`reshape`: PyTorch's condition on the memory order does not apply here.

        Where it is a copy, and so no view, it can't be written into.
        """
        return self._reshaped(sizes_of("view", sizes), view=True)

    def _reshaped(self, target: tuple[int, ...], view: bool = False) -> Any:
        """The elements in another shape: as a view where PyTorch has one, as `view` asks for.

        Where PyTorch makes a copy, or might, this is one too.
        """
        if min(target, default=0) < -1:
            raise ArgumentError(f"reshape: a size must be at least 0, or -1 once, got {target}")
        try:
            result = shape.reshape(self, target)
        except ValueError:
            raise ArgumentError(f"reshape: {self.array.shape} does not fit into {target}") from None
        shared = owner(result.array) is owner(self.array)
        if shared and (view or self._row_by_row()):
            return self._view(result, lambda seen: seen.reshape(result.array.shape))
        seen = self._seen()
        if seen is None:
            theirs = result._any_order = True
        else:
            shown = seen.reshape(result.array.shape)
            theirs = owner(shown) is owner(seen)
            if theirs and shared:
                return self._view(result, lambda _: shown)
            result._show(shown)
        if shared:
            result = result._seen_in(arithmetic.copy(result))
        if theirs or view:
            note_copy(result.array, self.array)
        return result

    def view_as(self, other: Tensor) -> Tensor:
        """`view` with another tensor's shape."""
        return self.view(tensor_argument("view_as", "other", other).shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """`reshape` to another tensor's shape."""
        return self.reshape(tensor_argument("reshape_as", "other", other).shape)

    def expand(self, *sizes: Any) -> Tensor:
        """The elements along axes of length 1 repeated, to these sizes; -1 leaves one as it is.

        The result can't be written into, as places share their memory.
        """
        asked, own = sizes_of("expand", sizes, -1), self.array.shape
        padded = (*[-1] * (len(asked) - len(own)), *own)
        target = tuple([n if m == -1 else m for m, n in zip(asked, padded, strict=False)])
        if -1 in target or not broadcasts(own, target):
            raise ArgumentError(f"expand: {own} does not go into {asked}")
        result = shape.broadcast_to(self, target)
        return self._view(result, lambda seen: host.xp.broadcast_to(seen, target))

    def expand_as(self, other: Tensor) -> Tensor:
        """`expand` to another tensor's shape."""
        return self.expand(tensor_argument("expand_as", "other", other).shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes from start_dim to end_dim, both included, as one."""
        sizes = self.array.shape
        if not sizes:
            return self.reshape(1)
        start, end = axis_of("flatten", self, start_dim), axis_of("flatten", self, end_dim)
        if start > end:
            raise RuntimeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
        return self.reshape(*sizes[:start], prod(sizes[start : end + 1]), *sizes[end + 1 :])

    def squeeze(self, dim: int | None = None) -> Tensor:
        """Without the axes of length 1, or without axis `dim` if its length is 1."""
        at = None if dim is None else axis_of("squeeze", self, dim)
        kept = [n for i, n in enumerate(self.array.shape) if n != 1 or at not in (None, i)]
        return self.view(kept)

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new axis of length 1 before axis `dim`."""
        at, sizes = axis_of("unsqueeze", self, dim, new=True), self.array.shape
        return self.view(*sizes[:at], 1, *sizes[at:])

    def permute(self, *dims: Any) -> Tensor:
        """The axes in another order."""
        dims = sizes_of("permute", dims)
        order = tuple([axis_of("permute", self, d) for d in dims])
        if sorted(order) != list(range(self.array.ndim)):
            raise RuntimeError(f"permute: {dims} is no order of the axes of {self.array.shape}")
        result, moved = shape.permute(self, order), order != tuple(range(self.array.ndim))
        return self._view(result, lambda seen: seen.transpose(order), moved)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes exchanged."""
        order = list(range(self.array.ndim))
        a, b = axis_of("transpose", self, dim0), axis_of("transpose", self, dim1)
        if order:
            order[a], order[b] = b, a
        return self.permute(order)

    def swapaxes(self, axis0: int, axis1: int) -> Tensor:
        """Two axes exchanged, under NumPy's name."""
        return self.transpose(axis0, axis1)

    def t(self) -> Tensor:
        """A matrix transposed; a vector as it is."""
        if self.array.ndim > 2:
            raise ArgumentError(f"t(): expected at most 2 axes, got shape {self.array.shape}")
        return self.T

    @property
    def T(self) -> Tensor:
        return self.permute(list(range(self.array.ndim))[::-1])

    def __getitem__(self, index: Any) -> Tensor:
        result: Any = self
        for step in steps(self.array, index):
            whole, result = result, shape.getitem(result, step)
            if owner(result.array) is owner(whole.array):  # and the step one of slices and numbers
                whole._view(result, operator.itemgetter(step))
        return result

    @numpy_names
    def split(self, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Views of parts along an axis: of this length each, or of the lengths in a list."""
        axis, sizes = axis_of("split", self, dim), split_size_or_sections
        length = self.array.shape[axis] if self.array.ndim else 1
        if not isinstance(sizes, (list, tuple)):
            each = whole("split", "a size", sizes, 1)
            sizes = [min(each, length - start) for start in range(0, length, each)] or [0]
        ends = list(accumulate(whole("split", "a size", size, 0) for size in sizes))
        if not self.array.ndim or not ends or ends[-1] != length:
            raise ArgumentError(f"split: {sizes} of shape {self.array.shape} along dim {dim}")
        before = (slice(None),) * axis
        parts = [(*before, slice(start, end)) for start, end in pairwise([0, *ends])]
        return tuple([self[part] for part in parts])

    @numpy_names
    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """Views of at most so many parts along an axis, all as long but for the last."""
        axis = axis_of("chunk", self, dim)
        length = self.array.shape[axis] if self.array.ndim else 1
        each = -(-length // whole("chunk", "chunks", chunks, 1))
        return self.split(each or [0] * chunks, dim)

    def repeat(self, *sizes: Any) -> Tensor:
        """Copies side by side, as many along each axis as `sizes` says, also along new ones."""
        counts, own = sizes_of("repeat", sizes, 0), self.array.shape
        if len(counts) < len(own):
            raise ArgumentError(f"repeat: {counts} for a tensor of shape {own}")
        own = (1,) * (len(counts) - len(own)) + own
        pairs = [n for count, length in zip(counts, own, strict=True) for n in (count, length)]
        apart = [n for length in own for n in (1, length)]
        joined = [count * length for count, length in zip(counts, own, strict=True)]
        repeated = shape.broadcast_to(shape.reshape(self, tuple(apart)), tuple(pairs))
        result = shape.reshape(repeated, tuple(joined))
        if owner(result.array) is owner(self.array):
            result = arithmetic.copy(result)
        result._any_order = False  # PyTorch lays it row by row, whatever it repeats
        return result

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The elements at places `index`, whole numbers (K,), along an axis."""
        axis = axis_of("index_select", self, dim)
        check_places("index_select", tensor_argument("index_select", "index", index), self, axis)
        if index.ndim > 1:
            raise IndexError(f"index_select: index must be a vector, got {index.array.shape}")
        return self[(slice(None),) * axis + (index.reshape(-1),)]

    def gather(self, dim: int, index: Tensor) -> Tensor:
        """result[i, j, …] = self[index[i, j, …], j, …] for dim 0, and so for other axes."""
        return self[along("gather", self, dim, tensor_argument("gather", "index", index))]
