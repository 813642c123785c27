"""Sums, means, extremes and the like over axes: methods of `Tensor`.

An axis may be called `dim` or, as in NumPy, `axis`, and `keepdim` `keepdims`, as in PyTorch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .arguments import ArgumentError, number, whole
from .autograd import Variable
from .axes import Dim, axes_of, axis_of, numpy_names
from .dtype import DType, as_dtype, int64, is_floating, uint8
from .elementwise import converted, extreme
from .operations import arithmetic, shape
from .shapes import Shaped


class ValuesIndices(NamedTuple):
    """What `max` and `min` along an axis return, under PyTorch's names."""

    values: Any
    indices: Any


class Reductions(Shaped):
    """A variable whose elements can be added up, or compared with one another."""

    @numpy_names
    def sum(self, dim: Dim = None, keepdim: bool = False, *, dtype: DType = None) -> Any:
        """The sum over all axes or over `dim`. Sums of bools and whole numbers are int64."""
        x = _counted(self, "sum", dtype)
        return _asked_for(shape.sum(x, axes_of("sum", self, dim), keepdim), dtype)

    @numpy_names
    def cumsum(self, dim: int, *, dtype: DType = None) -> Any:
        """The sums of the elements along an axis up to each. Of whole numbers they are int64."""
        axis = axis_of("cumsum", self, dim)
        x = _counted(self, "cumsum", dtype)
        sums = shape.cumsum(x, axis) if self.array.ndim else arithmetic.copy(x)
        return _asked_for(sums, dtype)

    @numpy_names
    def mean(self, dim: Dim = None, keepdim: bool = False, *, dtype: DType = None) -> Any:
        """The mean over all axes or over `dim`."""
        x = _of_type(self, "mean", dtype)
        _refuse_whole(x, "mean")
        return shape.mean(x, axes_of("mean", self, dim), keepdim)

    @numpy_names
    def var(
        self,
        dim: Dim = None,
        *,
        correction: float = 1,
        keepdim: bool = False,
        unbiased: bool = True,
    ) -> Any:
        """The mean square distance from the mean: its sum over one less than there are.

        `correction` says how many less; not `unbiased` is a correction of 0.
        """
        _refuse_whole(self, "var")
        axes = axes_of("var", self, dim)
        difference = arithmetic.subtract(self, shape.mean(self, axes, True))
        total = shape.sum(arithmetic.multiply(difference, difference), axes, keepdim)
        left = self.array.size // max(total.array.size, 1) - number(correction if unbiased else 0)
        return arithmetic.divide(total, self.array.dtype.type(max(left, 0)))

    @numpy_names
    def std(
        self,
        dim: Dim = None,
        *,
        correction: float = 1,
        keepdim: bool = False,
        unbiased: bool = True,
    ) -> Any:
        """The square root of `var`."""
        options: Any = {"correction": correction, "keepdim": keepdim, "unbiased": unbiased}
        return arithmetic.sqrt(self.var(dim, **options))

    @numpy_names
    def norm(self, p: Any = 2, dim: Dim = None, keepdim: bool = False) -> Any:
        """The Euclidean norm, √Σx² (p=2 or "fro"), or Σ|x| for p=1."""
        _refuse_whole(self, "norm")
        axes = axes_of("norm", self, dim)
        if p in (2, "fro"):
            return shape.norm(self, axes, keepdim)
        if p == 1:
            return shape.sum(arithmetic.absolute(self), axes, keepdim)
        raise NotImplementedError(f"norm: p must be 1, 2 or 'fro', got {p!r}")

    @numpy_names
    def max(self, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        """The largest element; along `dim`, (values, indices), the first of equal maxima.

        Of two tensors, `x.max(y)`, the larger elements.
        """
        return self._extreme("max", dim if other is None else other, keepdim)

    @numpy_names
    def min(self, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        """The smallest element; along `dim`, (values, indices), the first of equal minima.

        Of two tensors, `x.min(y)`, the smaller elements.
        """
        return self._extreme("min", dim if other is None else other, keepdim)

    def _extreme(self, name: str, dim: Any, keepdim: bool) -> Any:
        extreme_of_all = shape.maximum_of_all if name == "max" else shape.minimum_of_all
        if isinstance(dim, Variable):
            return extreme(f"{name}imum", self, dim)
        if dim is None:
            if keepdim:
                raise TypeError(f"{name}(): keepdim needs a dim")
            if not self.array.size:
                raise RuntimeError(f"{name}(): shape {self.array.shape} has no elements")
            return extreme_of_all(self)
        indices = self._place(f"arg{name}", dim, True)
        if not self.array.ndim:
            return ValuesIndices(extreme_of_all(self), indices)
        values = shape.take_along(self, indices.array, axis_of(name, self, dim))
        if keepdim:
            return ValuesIndices(values, indices)
        return ValuesIndices(values.squeeze(dim), indices.squeeze(dim))

    @numpy_names
    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """Where the largest element stands, int64; the first of equal ones."""
        return self._place("argmax", dim, keepdim)

    @numpy_names
    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """Where the smallest element stands, int64; the first of equal ones."""
        return self._place("argmin", dim, keepdim)

    def _place(self, name: str, dim: int | None, keepdim: bool) -> Any:
        x = self.array
        axis = None if dim is None else axis_of(name, self, dim)
        if not (x.size if axis is None or not x.ndim else x.shape[axis]):
            raise IndexError(f"{name}(): shape {x.shape} has no elements along dim {dim}")
        place = shape.argmax if name == "argmax" else shape.argmin
        return place(self, axis if x.ndim else None, keepdim)

    @numpy_names
    def sort(self, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
        """(values, indices): the elements along an axis in their order, and where they stood.

        Equal ones stay in theirs, `stable` or not; NaN is the largest. Gradients go back to where
        the elements stood.
        """
        return self._at(self.argsort(dim, descending), axis_of("sort", self, dim))

    def _at(self, places: Any, axis: int) -> ValuesIndices:
        """The elements at some places along an axis, and these."""
        if not self.array.ndim:
            return ValuesIndices(arithmetic.copy(self), places)
        return ValuesIndices(shape.take_along(self, places.array, axis), places)

    @numpy_names
    def argsort(self, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
        """The indices of `sort`, int64."""
        axis = axis_of("argsort", self, dim)
        if not self.array.ndim:
            return self.argmax()
        return shape.argsort(self, axis, descending)

    @numpy_names
    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
        """(values, indices): the k largest elements along an axis, or smallest, and their places.

        In their order, `sorted` or not.
        """
        axis = axis_of("topk", self, dim)
        length = self.array.shape[axis] if self.array.ndim else 1
        if whole("topk", "k", k, 0) > length:
            raise ArgumentError(f"topk: {k} of {length} elements along dim {dim}")
        places = self.argsort(dim, largest)
        if self.array.ndim:
            places = arithmetic.copy(places[(slice(None),) * axis + (slice(k),)])
        return self._at(places, axis)

    @numpy_names
    def all(self, dim: Dim = None, keepdim: bool = False) -> Any:
        """Whether no element is 0: a bool, or of uint8 a uint8, as in PyTorch."""
        return self._truth("all", dim, keepdim)

    @numpy_names
    def any(self, dim: Dim = None, keepdim: bool = False) -> Any:
        """Whether an element is not 0: a bool, or of uint8 a uint8, as in PyTorch."""
        return self._truth("any", dim, keepdim)

    def _truth(self, name: str, dim: Dim, keepdim: bool) -> Any:
        truth = shape.all_of if name == "all" else shape.any_of
        value = truth(self, axes_of(name, self, dim), keepdim)
        return converted(value, uint8) if self.array.dtype == uint8 else value


def _counted(x: Variable, name: str, dtype: DType) -> Any:
    """x of the type asked for, and as int64 if it would be bools or smaller whole numbers."""
    x = _of_type(x, name, dtype)
    return x if is_floating(x.array.dtype) else converted(x, int64)


def _of_type(x: Variable, name: str, dtype: DType) -> Any:
    """x, of this type if one is asked for; its own may be complex, in a complex step."""
    same = dtype is None or dtype is x.array.dtype
    return x if same else converted(x, as_dtype(name, dtype))


def _asked_for(sums: Variable, dtype: DType) -> Any:
    """Sums in the type asked for, as those of small whole numbers are int64."""
    return _of_type(sums, "sum", dtype)


def _refuse_whole(x: Variable, name: str) -> None:
    own = x.array.dtype
    if not is_floating(own):
        raise RuntimeError(f"{name}(): a {own} tensor has no {name}; use .float().{name}()")
