"""Functions that make tensors, under the names of `torch`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import backends
from .device import Place, place
from .dtype import DType, float32, float64, int64, is_floating
from .operations import shape
from .random import Generator, default_generator
from .tensor import Tensor


def _backend(device: Place) -> Any:
    return place(device).backend


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    """f(2, 3), f((2, 3)) and f([2, 3]) all mean (2, 3)."""
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], Sequence) else size


def tensor(
    data: Any, *, dtype: DType = None, device: Place = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested lists of numbers, an array or a Tensor.

    Python's floats become float32 and its ints int64; arrays keep their type. Raises TypeError for
    what is not numbers.
    """
    if isinstance(data, Tensor):
        backend = backends.backend_of(data.array) if device is None else _backend(device)
        array = data.to(backend.device_type).array.copy()
    else:
        xp = backends.host.xp
        typed = hasattr(data, "dtype")
        try:
            array = xp.array(data)
        except ValueError as error:
            raise ValueError(f"tensor: nested lists of unequal lengths: {error}") from None
        if array.dtype.kind not in "biuf":
            raise TypeError(f"tensor: expected numbers, got {type(data).__name__} ({array.dtype})")
        if dtype is None and not typed and array.dtype == float64:
            array = array.astype(float32)
        array = _backend(device).from_host(array)
    if dtype is not None:
        array = array.astype(dtype)
    return Tensor(array, requires_grad)


def from_numpy(array: Any) -> Tensor:
    """A tensor in a NumPy array's own memory."""
    return Tensor(array)


def full(
    size: Sequence[int],
    fill_value: float,
    *,
    dtype: DType = None,
    device: Place = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this size with every element fill_value."""
    if dtype is None:
        dtype = Tensor(backends.host.asarray(fill_value)).dtype
        dtype = float32 if is_floating(dtype) else dtype
    return Tensor(_backend(device).xp.full(tuple(size), fill_value, dtype), requires_grad)


def zeros(
    *size: Any, dtype: DType = float32, device: Place = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of this size, all zeros."""
    return Tensor(_backend(device).xp.zeros(_size(size), dtype), requires_grad)


def ones(
    *size: Any, dtype: DType = float32, device: Place = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of this size, all ones."""
    return Tensor(_backend(device).xp.ones(_size(size), dtype), requires_grad)


def zeros_like(input: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Zeros of a tensor's shape, dtype and device."""
    return Tensor(backends.backend_of(input.array).xp.zeros_like(input.array), requires_grad)


def ones_like(input: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Ones of a tensor's shape, dtype and device."""
    return Tensor(backends.backend_of(input.array).xp.ones_like(input.array), requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, **options: Any) -> Tensor:
    """start, start + step, … below `end`; with one argument, 0, 1, … below it."""
    device, dtype = options.pop("device", None), options.pop("dtype", None)
    if options:
        raise TypeError(f"arange: unsupported argument {sorted(options)[0]!r}")
    if end is None:
        start, end = 0, start
    if dtype is None:
        whole = all(isinstance(v, int) for v in (start, end, step))
        dtype = int64 if whole else float32
    return Tensor(_backend(device).xp.arange(start, end, step, dtype=dtype))


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType = float32,
    device: Place = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this size, uniform on [0, 1)."""
    key = (generator or default_generator).next_key()
    return Tensor(_backend(device).uniform(key, _size(size), dtype), requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType = float32,
    device: Place = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this size, normally distributed with mean 0 and variance 1."""
    key = (generator or default_generator).next_key()
    return Tensor(_backend(device).normal(key, _size(size), dtype), requires_grad)


def randint(
    low: int,
    high: int,
    size: Sequence[int],
    *,
    generator: Generator | None = None,
    device: Place = None,
) -> Tensor:
    """An int64 tensor of this size, uniform on low … high-1."""
    key = (generator or default_generator).next_key()
    return Tensor(_backend(device).integers(key, low, high, size))


def randperm(n: int, *, generator: Generator | None = None, device: Place = None) -> Tensor:
    """The numbers 0 … n-1 in random order, int64."""
    return Tensor(_backend(device).permutation((generator or default_generator).next_key(), n))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along an axis they have."""
    try:
        return shape.concatenate(*tensors, axis=dim)
    except ValueError:
        shapes = ", ".join(str(t.shape) for t in tensors)
        raise RuntimeError(f"cat: shapes {shapes} do not fit along dim {dim}") from None


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    return cat([t.unsqueeze(dim) for t in tensors], dim)
