"""Functions that make tensors, under the names of `torch`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil, isfinite
from numbers import Integral
from typing import Any

import numpy as np

from . import backends, random
from .arguments import ArgumentError, ArgumentTypeError, number, one_of, real, whole
from .autograd import common_backend
from .axes import axis_of, by_size, numpy_names, sizes_of
from .device import DeviceLike, as_device
from .dtype import (
    TYPE_NAMES,
    DType,
    as_dtype,
    bool_,
    dtype_of_number,
    fitting,
    float32,
    float64,
    int32,
    int64,
    result_type,
    set_default_dtype,
    uint8,
)
from .elementwise import tensor_argument
from .operations import shape
from .random import Generator
from .tensor import Size, Tensor

__all__ = ["arange", "as_tensor", "cat", "empty", "empty_like", "eye", "from_numpy", "full"]
__all__ += ["full_like", "linspace", "meshgrid", "normal", "ones", "ones_like", "rand"]
__all__ += ["rand_like", "randint"]
__all__ += ["BoolTensor", "ByteTensor", "DoubleTensor", "FloatTensor", "IntTensor", "LongTensor"]
__all__ += ["set_default_tensor_type"]
__all__ += ["randn", "randn_like", "randperm", "stack", "tensor", "zeros", "zeros_like"]


def _backend(device: DeviceLike) -> Any:
    return as_device(device).backend


def _dtype(name: str, dtype: DType) -> DType:
    return float32 if dtype is None else as_dtype(name, dtype)


def tensor(
    data: Any, *, dtype: DType = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested lists of numbers, an array or a Tensor.

    Python's floats become float32 and its ints int64; arrays keep their type. Raises TypeError for
    what is not numbers.
    """
    if isinstance(data, Tensor):
        backend = backends.backend_of(data.array) if device is None else _backend(device)
        array = data.detach().to(backend.device_type)._read("tensor").copy()
    else:
        backend = _backend(device)
        if backend is not backends.host:
            backends.refuse_capture("tensor()")
        array = backend.from_host(_on_host(data, dtype))
    if dtype is not None:
        dtype = as_dtype("tensor", dtype)
        if isinstance(data, (list, tuple, int, float)):
            _refuse_too_large(array, dtype)
        array = array.astype(dtype)
    result = Tensor(array, requires_grad=requires_grad)
    if isinstance(data, Tensor):
        result._any_order = data._any_order
    elif isinstance(data, np.ndarray):
        result._made_of(data, copied=True)
    return result


def _refuse_too_large(array: Any, dtype: DType) -> None:
    """Raise RuntimeError for numbers that can't be elements of this type; arrays are just cast."""
    if array.size and array.dtype.kind in "iuf":
        for extreme in (array.min(), array.max()):  # NaN is both
            fitting("tensor", number(extreme.item()), dtype)


def _on_host(data: Any, dtype: DType) -> Any:
    """Numbers, nested lists, tensors in lists or an array as a new NumPy array."""
    data = _without_tensors(data)
    try:
        array = np.array(data)
    except ValueError as error:
        raise ArgumentError(f"tensor: nested lists of unequal lengths: {error}") from None
    except OverflowError:
        raise ArgumentError("tensor: a whole number does not fit into 64 bits") from None
    _refuse_other_numbers("tensor", data, array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if dtype is None and array.dtype == float64 and not _holds(data, float64):
        return array.astype(float32)
    if array.dtype == "uint64" and not _holds(data, array.dtype):
        raise ArgumentTypeError("tensor: expected numbers of at most 64 bits")
    return array


def _refuse_other_numbers(name: str, data: Any, array: Any) -> None:
    """Raise ArgumentTypeError for data that has become an array of anything else, or a masked."""
    wide = array.dtype.itemsize > 8
    if array.dtype.kind not in "biuf" or wide or isinstance(data, np.ma.MaskedArray):
        got = f"{type(data).__name__} ({array.dtype})"
        raise ArgumentTypeError(f"{name}: expected numbers of at most 64 bits, got {got}")


def _without_tensors(data: Any) -> Any:
    """Nested lists with host arrays in place of tensors."""
    if isinstance(data, (list, tuple)):
        return [_without_tensors(each) for each in data]
    return data.detach().cpu()._read("tensor") if isinstance(data, Tensor) else data


def _holds(data: Any, dtype: DType) -> bool:
    """Whether something in nested lists has this type by itself, as NumPy's numbers have one."""
    if isinstance(data, (list, tuple)):
        return any(_holds(each, dtype) for each in data)
    return hasattr(data, "dtype") and data.dtype == dtype


def from_numpy(array: Any) -> Tensor:
    """A tensor in a NumPy array's own memory, which may be a file's (`numpy.memmap`).

    Raises TypeError for anything else, and for elements that are no numbers in this machine's byte
    order.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    _refuse_other_numbers("from_numpy", array, array)
    result: Tensor = Tensor(array)._made_of(array)
    return result


def as_tensor(data: Any, dtype: DType = None, device: DeviceLike = None) -> Tensor:
    """A Tensor or a NumPy array in its own memory if type and device are right, else a new one."""
    if isinstance(data, np.ndarray):
        data = from_numpy(data)
    if not isinstance(data, Tensor):
        return tensor(data, dtype=dtype, device=device)
    return data.to(dtype=dtype, device=device)


def full(
    size: Sequence[int],
    fill_value: float,
    *,
    dtype: DType = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this size with every element fill_value."""
    value = number(fill_value.item() if isinstance(fill_value, Tensor) else fill_value)
    dtype = dtype_of_number(value) if dtype is None else as_dtype("full", dtype)
    size = sizes_of("full", (size,), 0)
    value = fitting("full", value, dtype)
    return Tensor(_backend(device).xp.full(size, value, dtype), requires_grad=requires_grad)


@by_size
def zeros(
    *size: Any, dtype: DType = float32, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of this size, all zeros. Like all sizes, it may be given by name, `size=(2, 3)`."""
    return _filled("zeros", size, dtype, device, requires_grad)


@by_size
def ones(
    *size: Any, dtype: DType = float32, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of this size, all ones."""
    return _filled("ones", size, dtype, device, requires_grad)


@by_size
def empty(
    *size: Any, dtype: DType = float32, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of this size, whose elements can be anything."""
    return _filled("empty", size, dtype, device, requires_grad)


def _filled(
    name: str, size: tuple[Any, ...], dtype: DType, device: DeviceLike, requires_grad: bool
) -> Tensor:
    make = getattr(_backend(device).xp, name)
    return Tensor(make(sizes_of(name, size, 0), _dtype(name, dtype)), requires_grad=requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DType = float32,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A matrix of n rows and m columns, or n, of ones on the diagonal and zeros elsewhere."""
    rows = whole("eye", "n", n, 0)
    columns = rows if m is None else whole("eye", "m", m, 0)
    return Tensor(
        _backend(device).xp.eye(rows, columns, dtype=_dtype("eye", dtype)),
        requires_grad=requires_grad,
    )


def zeros_like(
    input: Tensor, *, dtype: DType = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of a tensor's shape, and of its dtype and on its device unless others are given."""
    return _like("zeros_like", input, dtype, device, requires_grad, 0)


def ones_like(
    input: Tensor, *, dtype: DType = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Ones of a tensor's shape, and of its dtype and on its device unless others are given."""
    return _like("ones_like", input, dtype, device, requires_grad, 1)


def empty_like(
    input: Tensor, *, dtype: DType = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor of a tensor's shape, whose elements can be anything."""
    return _like("empty_like", input, dtype, device, requires_grad, 0)


def full_like(
    input: Tensor,
    fill_value: float,
    *,
    dtype: DType = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A new tensor of a tensor's shape with every element fill_value."""
    tensor_argument("full_like", "input", input)
    kind = input.dtype if dtype is None else as_dtype("full_like", dtype)
    value: Any = fitting("full_like", number(fill_value), kind)
    return _like("full_like", input, dtype, device, requires_grad, value)


def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: DType = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A new tensor of a tensor's shape, uniform on [0, 1)."""
    return _drawn_like(rand, input, generator, dtype, device, requires_grad)


def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: DType = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A new tensor of a tensor's shape, normally distributed with mean 0 and variance 1."""
    return _drawn_like(randn, input, generator, dtype, device, requires_grad)


def _drawn_like(
    draw: Callable[..., Tensor],
    input: Tensor,
    generator: Generator | None,
    dtype: DType,
    device: DeviceLike,
    requires_grad: bool,
) -> Tensor:
    tensor_argument(f"{draw.__name__}_like", "input", input)
    result = draw(
        *input.shape,
        generator=generator,
        dtype=input.dtype if dtype is None else dtype,
        device=input.device if device is None else device,
        requires_grad=requires_grad,
    )
    result._any_order = input._any_order  # PyTorch's is in the order of the input's axes
    return result


def _like(
    name: str, input: Tensor, dtype: DType, device: DeviceLike, requires_grad: bool, value: int
) -> Tensor:
    tensor_argument(name, "input", input)
    backend = backends.backend_of(input.array) if device is None else _backend(device)
    dtype = input.dtype if dtype is None else as_dtype(name, dtype)
    if backend is backends.backend_of(input.array):  # in its memory order
        array = backend.xp.full_like(input.array, value, dtype=dtype)
    else:
        array = backend.xp.full(input.shape, value, dtype)
    result = Tensor(array, requires_grad=requires_grad)
    result._any_order = input._any_order
    return result


def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: DType = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … below `end`; with one argument, 0, 1, … below it."""
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if hasattr(v, "item") else v for v in (start, end, step))
    if dtype is None:
        integral = all(isinstance(v, Integral) for v in (start, end, step))
        dtype = int64 if integral else float32
    numbers: list[Any] = [
        v if isinstance(v, Integral) else real("arange", name, v)
        for name, v in (("start", start), ("end", end), ("step", step))
    ]
    if not numbers[2] or not all(map(isfinite, numbers)):
        raise ArgumentError(f"arange: from {start} to {end} in steps of {step} leads nowhere")
    if (numbers[1] - numbers[0]) * numbers[2] < 0:
        raise ArgumentError(f"arange: steps of {step} don't lead from {start} to {end}")
    dtype = as_dtype("arange", dtype)
    if dtype.kind in "iu":
        numbers = [whole("arange", "of whole numbers, start, end and step", v) for v in numbers]
        array = _backend(device).xp.arange(*numbers, dtype=int64).astype(dtype)
    else:  # each by itself, in float64: added up step by step, the last digits would go
        first, last, by = numbers
        places = _backend(device).xp.arange(ceil((last - first) / by), dtype=float64)
        array = (first + by * places).astype(dtype)
    return Tensor(array, requires_grad=requires_grad)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: DType = float32,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers from start to end, both included, at equal distances."""
    first, last = real("linspace", "start", start), real("linspace", "end", end)
    count, dtype = whole("linspace", "steps", steps, 0), _dtype("linspace", dtype)
    for limit in (first, last):
        fitting("linspace", limit, dtype)
    numbers = np.linspace(first, last, count).astype(dtype)
    return Tensor(_backend(device).from_host(numbers), requires_grad=requires_grad)


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType = float32,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed numbers with this mean and standard deviation.

    Of numbers with a `size`, or of tensors, of whose shape and type the result then is. No gradient
    goes back to these.
    """
    mean, std = (x.detach() if isinstance(x, Tensor) else x for x in (mean, std))
    given = [x for x in (mean, std) if isinstance(x, Tensor)]
    if given:
        if size is not None:
            raise ArgumentTypeError("normal: size goes with numbers; tensors have one")
        if not isinstance(std, Tensor):
            real("normal", "std", std, least=0)
        elif std.device.type == "cpu" and (std.array < 0).any():  # a GPU would be waited for
            raise ArgumentError("normal: no element of std may be below 0")
        drawn = randn_like(
            given[0] if len(given) == 1 else given[0] + given[1], generator=generator
        )
        return drawn * std + mean
    if size is None:
        raise ArgumentTypeError("normal: size must be given where mean and std are numbers")
    place: Any = {"dtype": dtype, "device": device}
    drawn = randn(size, generator=generator, **place)
    drawn = drawn * real("normal", "std", std, least=0) + real("normal", "mean", mean)
    return drawn.requires_grad_(requires_grad)


@by_size
def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType = float32,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this size, uniform on [0, 1)."""
    dtype, size = _random_dtype("rand", dtype), sizes_of("rand", size, 0)
    key = random.next_key("rand", generator)
    return Tensor(_backend(device).uniform(key, size, dtype), requires_grad=requires_grad)


@by_size
def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType = float32,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this size, normally distributed with mean 0 and variance 1."""
    drawn = sizes_of("randn", size, 0), _random_dtype("randn", dtype)
    return _drawn("randn", random.normal, drawn, generator, device, requires_grad)


def _random_dtype(name: str, dtype: DType) -> DType:
    dtype = _dtype(name, dtype)
    if dtype not in (float32, float64):
        raise NotImplementedError(f"{name}: dtype must be float32 or float64, got {dtype}")
    return dtype


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType = int64,
    device: DeviceLike = None,
) -> Tensor:
    """A tensor of this size, uniform on low … high-1; `randint(high, size)` is from 0 on."""
    if high is None or size is None:
        low, high, size = 0, low, high if size is None else size
    if not isinstance(size, (tuple, list)):
        raise ArgumentTypeError(f"randint: size must be a tuple or a list, got {size!r}")
    low, high = whole("randint", "low", low, -(2**63)), whole("randint", "high", high)
    if not low < high <= 2**63:
        raise ArgumentError(f"randint: there is no whole number from {low} on and below {high}")
    drawn = low, high, sizes_of("randint", (size,), 0)
    dtype = as_dtype("randint", dtype)
    return _drawn("randint", random.integers, drawn, generator, device).to(dtype)


def randperm(n: int, *, generator: Generator | None = None, device: DeviceLike = None) -> Tensor:
    """The numbers 0 … n-1 in random order, int64."""
    drawn = (whole("randperm", "n", n, 0),)
    return _drawn("randperm", random.permutation, drawn, generator, device)


def _drawn(
    name: str,
    draw: Callable[..., Any],
    what: tuple[Any, ...],
    generator: Generator | None,
    device: DeviceLike,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of the numbers draw(key, *what), which are drawn on the host."""
    backends.refuse_capture(f"{name}()")
    numbers = draw(random.next_key(name, generator), *what)
    return Tensor(_backend(device).from_host(numbers), requires_grad=requires_grad)


def _tensors(name: str, tensors: Iterable[Tensor]) -> list[Tensor]:
    found = [tensor_argument(name, f"number {i}", t) for i, t in enumerate(tensors)]
    if not found:
        raise ArgumentError(f"{name}: got no tensors")
    common_backend(name, *found)
    return found


@numpy_names
def cat(tensors: Iterable[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an axis that they have.

    The type is that of arithmetic between them. One of shape (0,) goes with any, so that a
    collection can begin with `tensor([])`. Raises IndexError for an axis that they don't have, and
    ArgumentError for shapes that differ along another one.
    """
    found = _tensors("cat", tensors)
    dtype = result_type(*(t.array for t in found))
    kept = [t for t in found if t.shape != (0,)] or found[:1]
    ndim = kept[0].ndim
    if not ndim:
        raise ArgumentError("cat: tensors without axes can't be joined; stack() can")
    axis = axis_of("cat", kept[0], dim)
    rest = {(*t.shape[:axis], *t.shape[axis + 1 :]) if t.ndim == ndim else None for t in kept}
    if len(rest) > 1:
        shapes = ", ".join(str(t.array.shape) for t in found)
        raise ArgumentError(f"cat: shapes {shapes} do not fit along dim {dim}")
    return shape.concatenate(*(t.to(dtype) for t in kept), axis=axis)


@numpy_names
def stack(tensors: Iterable[Tensor], dim: int = 0) -> Tensor:
    """Tensors of the same shape joined along a new axis."""
    found = _tensors("stack", tensors)
    axis = axis_of("stack", found[0], dim, new=True)
    for t in found:
        if t.shape != found[0].shape:
            raise ArgumentError(f"stack: shapes {found[0].array.shape} and {t.array.shape} differ")
    dtype = result_type(*(t.array for t in found))
    return shape.concatenate(*(t.to(dtype).unsqueeze(axis) for t in found), axis=axis)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Vectors as coordinates: for each a tensor with an axis for every one, its numbers on its own.

    With `indexing="xy"` the first two axes are exchanged, as for rows and columns of a picture.
    """
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    found = _tensors("meshgrid", given)
    for t in found:
        if t.ndim > 1:
            raise ArgumentError(f"meshgrid: expected vectors, got shape {t.array.shape}")
    size = tuple([t.numel() for t in found])
    grids = [
        t.reshape([-1 if j == i else 1 for j in range(len(found))]).expand(size)
        for i, t in enumerate(found)
    ]
    swap = one_of("meshgrid", "indexing", indexing, "ij", "xy") == "xy" and len(found) > 1
    return tuple(grid.transpose(0, 1) if swap else grid for grid in grids)


class TensorType:
    """`FloatTensor` and its like, PyTorch's older way to make tensors of a type.

    `FloatTensor([1, 2])` has these numbers, `FloatTensor(2, 3)` this size, and
    `x.type(FloatTensor)` is x in that type.
    """

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype

    def __call__(self, *data: Any) -> Tensor:
        sizes = all(isinstance(n, int) for n in data)
        if not sizes and len(data) > 1:
            raise ArgumentTypeError(f"{self}: expected numbers in one list, or sizes")
        if sizes or isinstance(data[0], Size):
            return empty(*data or (0,), dtype=self.dtype)
        return tensor(data[0]).to(self.dtype)

    def __repr__(self) -> str:
        return TYPE_NAMES[self.dtype]


def set_default_tensor_type(t: Any) -> None:
    """`set_default_dtype`, of PyTorch's older names for types."""
    by_name = {f"torch.{name}": dtype for dtype, name in TYPE_NAMES.items()}
    set_default_dtype(by_name.get(t, getattr(t, "dtype", t)) if t is not None else t)


BoolTensor, ByteTensor, IntTensor = TensorType(bool_), TensorType(uint8), TensorType(int32)
LongTensor, FloatTensor, DoubleTensor = TensorType(int64), TensorType(float32), TensorType(float64)
