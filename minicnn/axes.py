"""Axes and sizes as arguments: PyTorch's `dim` counted from 0, and sizes as they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from .arguments import whole
from .autograd import Variable

Dim = int | tuple[int, ...] | list[int] | None
Function = TypeVar("Function", bound=Callable[..., Any])
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(function: Function) -> Function:
    """Let a function's `dim` and `keepdim` have NumPy's names too, as in PyTorch."""

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        for theirs in NUMPY_NAMES.keys() & named.keys():
            if NUMPY_NAMES[theirs] in named:
                raise TypeError(f"{function.__name__}: {theirs} is {NUMPY_NAMES[theirs]}; give one")
            named[NUMPY_NAMES[theirs]] = named.pop(theirs)
        return function(*args, **named)

    return call  # type: ignore[return-value]


def by_size(function: Function) -> Function:
    """Let the sizes of `function(*size, …)` be given by name too, `size=(2, 3)`."""

    @wraps(function)
    def call(*sizes: Any, **named: Any) -> Any:
        if "size" in named:
            if sizes:
                raise TypeError(f"{function.__name__}: size is given twice")
            sizes = (named.pop("size"),)
        return function(*sizes, **named)

    return call  # type: ignore[return-value]


def axis_of(name: str, x: Variable, dim: Any, new: bool = False) -> int:
    """The axis of x that `dim` means, or of x with a `new` axis more.

    A tensor without axes has the dims 0 and -1 all the same, as in PyTorch. Raises IndexError for
    one out of range, and what `whole` raises.
    """
    dim = whole(name, "dim", dim)
    count = x.array.ndim + new or 1
    if not -count <= dim < count:
        raise IndexError(f"{name}: dim {dim} is out of range for shape {x.array.shape}")
    return int(dim % count)


def axes_of(name: str, x: Variable, dim: Any) -> Any:
    """The axes of x that `dim` means, one, several or None for all, as NumPy takes them."""
    if dim is None:
        return None
    if not isinstance(dim, (tuple, list)):
        axis = axis_of(name, x, dim)
        return axis if x.array.ndim else None
    axes = tuple([axis_of(name, x, d) for d in dim])
    if len(set(axes)) < len(axes):
        raise RuntimeError(f"{name}: dim {tuple(dim)} names an axis twice")
    return axes if axes and x.array.ndim else None


def sizes_of(name: str, sizes: tuple[Any, ...], least: int | None = None) -> tuple[int, ...]:
    """f(2, 3), f((2, 3)) and f([2, 3]) all mean (2, 3)."""
    if len(sizes) == 1 and isinstance(sizes[0], Iterable) and getattr(sizes[0], "ndim", 1) != 0:
        sizes = tuple(sizes[0])
    return tuple([whole(name, "a size", n, least) for n in sizes])
