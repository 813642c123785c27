"""`Tensor`: an array that remembers how it was computed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from . import autograd, backends, elementwise, random
from .arguments import ArgumentError, ArgumentTypeError, number, real
from .autograd import Node, Variable
from .axes import axis_of, sizes_of
from .backends import Array, as_array, backend_of
from .device import device as Device
from .dtype import (
    TYPE_NAMES,
    DType,
    as_dtype,
    bool_,
    fitting,
    float32,
    float64,
    int32,
    int64,
    is_floating,
    result_type,
)
from .elementwise import compare, converted, floating, not_bool, operand, tensor_argument
from .grad_mode import is_grad_enabled, no_grad
from .indexing import along, steps
from .operations import arithmetic, matrix, shape
from .random import Generator
from .reductions import Reductions
from .versions import alone, give, note_copy, was_copied

Binary = Callable[["Tensor", Any], "Tensor"]


class Size(tuple[int, ...]):
    """A shape: a tuple that prints as PyTorch's."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"


def _operators(
    name: str, symbol: str, compute: elementwise.Operator
) -> tuple[Binary, Binary, Binary]:
    """The methods of an operator, `x + y`, `y + x` where y is no Tensor, and `x += y`."""

    def forward(self: Tensor, other: Any) -> Tensor:
        return compute(self, other)

    def reflected(self: Tensor, other: Any) -> Tensor:
        return compute(other, self)

    def in_place(self: Tensor, other: Any) -> Tensor:
        if self._has_history_alone(other):
            return self._become(f"{symbol}=", compute(self, other))
        with no_grad():
            result = compute(self, other)
        return self._assign(f"{symbol}=", result, other)

    forward.__doc__ = f"self {symbol} other, elementwise."
    reflected.__doc__ = f"other {symbol} self, elementwise."
    in_place.__doc__ = f"self {symbol}= other, elementwise; see `_has_history_alone`."
    forward.__name__, in_place.__name__ = name, f"{name}_"
    return forward, reflected, in_place


def _comparison(symbol: str, function: elementwise.Operator) -> Binary:
    """The method of a comparison."""

    def method(self: Tensor, other: Any) -> Tensor:
        return compare(function, self, other)

    method.__name__, method.__doc__ = function.__name__, f"self {symbol} other, elementwise: bools."
    return method


class Tensor(Reductions):
    """An array, whether its gradient is wanted, that gradient, and the operation that made it.

    `Tensor(array)` takes an array of a backend as it is, without a copy. `Tensor([1, 2])` makes
    float32 of numbers in lists, and `Tensor(2, 3)` or `Tensor(x.shape)` is of that size, with any
    elements; `minicnn.tensor` finds out the type. Methods have the names,
    arguments and results of `torch.Tensor`'s.
    """

    # NumPy leaves `array * tensor` to Tensor, which refuses it by name.
    __array_ufunc__ = None

    def __init__(self, *data: Any, requires_grad: bool = False) -> None:
        if len(data) != 1 or isinstance(data[0], (list, tuple, int)):
            data = (_numbers(data),)
        # Arithmetic on arrays without axes gives NumPy scalars: make them arrays again.
        self.array = as_array(data[0])
        if requires_grad:
            self.requires_grad_()

    @staticmethod
    def from_operation(array: Array, node: Node | None) -> Tensor:
        result = Tensor.__new__(Tensor)
        result.array, result.node, result.needs_grad = array, node, node is not None
        return result

    # --- what it is ------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self.array.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self.shape if dim is None else self.shape[axis_of("size", self, dim)]

    @property
    def ndim(self) -> int:
        return int(self.array.ndim)

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        """How many elements there are."""
        return int(self.array.size)

    def nelement(self) -> int:
        return self.numel()

    def is_floating_point(self) -> bool:
        return is_floating(self.dtype)

    @property
    def dtype(self) -> DType:
        return self.array.dtype

    @property
    def device(self) -> Device:
        return Device(backend_of(self.array).device_type)

    @property
    def is_leaf(self) -> bool:
        return self.node is None

    @property
    def grad_fn(self) -> Node | None:
        """The recorded operation that made this tensor."""
        return self.node

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __reversed__(self) -> Tensor:
        """The elements along the first axis, last one first."""
        return self[::-1] if self.ndim else self

    def __repr__(self) -> str:
        self._refuse_capture("the text")
        values = backend_of(self.array).to_host(self._read("the text"))
        text = backends.host.xp.array2string(values, separator=", ", prefix="tensor(", precision=4)
        dtype = "" if self.dtype in (float32, int64, bool_) else f", dtype={self.dtype}"
        where = "" if self.device.type == "cpu" else f", device='{self.device}'"
        grad = ", requires_grad=True" if self.requires_grad else ""
        if self.node is not None:
            grad = f", grad_fn={self.node}"
        return f"tensor({text}{dtype}{where}{grad})"

    # --- values out ------------------------------------------------------------------------------

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number."""
        if self.numel() != 1:
            raise ArgumentError(
                f"item(): a tensor of shape {self.array.shape} is not a single number"
            )
        self._about_to_read("item()")
        return self.array.item()

    def tolist(self) -> Any:
        self._about_to_read("tolist()")
        return self.array.tolist()

    def _about_to_read(self, by: str) -> None:
        self._refuse_capture(by)
        autograd.note_reading(self._read(by), by)

    def _refuse_capture(self, name: str) -> None:
        if backend_of(self.array) is not backends.host:
            backends.refuse_capture(f"{name} of a tensor on the GPU")

    def numpy(self) -> Array:
        """The values as a NumPy array in this tensor's memory, read-only where that is a copy of
        what PyTorch would have shared, or such a copy was made of it."""
        if self.requires_grad:
            raise RuntimeError("numpy(): this tensor requires grad; use .detach().numpy()")
        if self.device.type != "cpu":
            raise TypeError("numpy(): this tensor is on a GPU; use .cpu().numpy()")
        autograd.note_reading(self._read("numpy()"), "numpy()")
        if not self._row_by_row():
            give(self.array)
        if self._refusal() is None and not was_copied(self.array):
            return self.array
        array = self.array.view()
        array.flags.writeable = False  # as nobody sees what is written through NumPy
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return backends.host.xp.array(self.numpy(), dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if is_floating(self.dtype) or self.numel() != 1:
            what = f"a {self.dtype} tensor of shape {self.array.shape}"
            raise ArgumentTypeError(f"{what} can't be an index; only one whole number can")
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self.ndim else format(str(self), spec)

    # --- gradients -------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are sent back to this tensor, or through it."""
        return self.needs_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Collect gradients in `.grad` from now on (or no longer)."""
        if not isinstance(requires_grad, bool):
            raise TypeError(f"requires_grad must be True or False, got {requires_grad!r}")
        if requires_grad and not is_floating(self.dtype):
            raise RuntimeError(
                f"only floating-point tensors have gradients, this one is {self.dtype}"
            )
        if not requires_grad and self.node is not None:
            raise RuntimeError("requires_grad_(False): this tensor has a history; use .detach()")
        self.needs_grad = requires_grad
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up here, a tensor of this tensor's shape."""
        if self.grad_array is None:
            return None
        grad: Tensor = Tensor(self.grad_array)
        grad._any_order = self._any_order  # as of its tensor
        return grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
        if value is not None and (value.shape, value.dtype) != (self.shape, self.dtype):
            raise RuntimeError(
                f"grad: expected shape {self.array.shape} and {self.dtype}, got"
                f" {value.array.shape} and {value.dtype}"
            )
        self.grad_array = None if value is None else value.array

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
        """Add d(this)/d(leaf) to `.grad` of every leaf that this tensor was computed from.

        `gradient`, of this tensor's shape, is the factor on the left of the Jacobian; it may be
        left out for a single number, where it is 1. The record is freed on the way, so a second
        call raises RuntimeError, unless the first was told to `retain_graph`.
        """
        g = self._gradient(gradient)
        autograd.add_to_leaves(autograd.gradients(self, g, retain_graph, into_homes=True))

    def gradients(
        self, gradient: Tensor | None = None, retain_graph: bool = False
    ) -> dict[Variable, Array]:
        """What `backward` adds to the leaves' `.grad`, by leaf, without adding it."""
        return autograd.gradients(self, self._gradient(gradient), retain_graph)

    def _gradient(self, gradient: Tensor | None) -> Array:
        """What to send back: `gradient`, checked, or 1."""
        if not self.requires_grad:
            raise RuntimeError("backward(): nothing that this tensor was made from requires grad")
        if gradient is None:
            if self.numel() != 1:
                raise RuntimeError(
                    f"backward(): a tensor of shape {self.array.shape} needs a gradient argument;"
                    " only a single number has one by itself"
                )
            return backend_of(self.array).xp.ones_like(self.array)
        if not isinstance(gradient, Tensor):
            got = type(gradient).__name__
            raise TypeError(f"backward(): gradient must be a Tensor or None, got {got}")
        if gradient.shape != self.shape:
            raise RuntimeError(
                f"backward(): gradient of shape {gradient.array.shape} for a tensor of"
                f" {self.array.shape}"
            )
        autograd.common_backend("backward", self, gradient)
        return gradient._read("backward").astype(self.dtype, copy=False)

    def detach(self) -> Tensor:
        """The same values in the same memory, without history."""
        same: Tensor = self._seen_in(Tensor(self.array))
        return same

    @property
    def data(self) -> Tensor:
        """`detach()`, and a way to replace the values: `p.data = t`."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        tensor_argument("data", "value", value)
        if self.requires_grad and not is_floating(value.dtype):
            raise RuntimeError(f"data: this tensor requires grad, and can't become {value.dtype}")
        self.array, self.grad_home = value.array, None
        value._seen_in(self)

    # --- other types and places ------------------------------------------------------------------

    def to(
        self, *targets: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False
    ) -> Tensor:
        """This tensor on another device or in another dtype; itself if it is there already.

        `non_blocking` changes nothing.
        """
        for target in targets:
            if isinstance(target, Tensor):
                dtype, device = target.dtype, target.device
            elif isinstance(target, (str, Device)):
                device = target
            elif not isinstance(target, bool):  # that is PyTorch's non_blocking
                dtype = target
        moved = self
        if device is not None:
            source, there = backend_of(self.array), Device(device).backend
            if there is not source:
                backends.refuse_capture(f"to({str(Device(device))!r})")
                moved = arithmetic.to_device(moved, source, there)
        if dtype is None or moved.dtype == dtype:  # its own may be complex, in gradcheck
            return moved
        return converted(moved, as_dtype("to", dtype))

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Tensor:
        return self.to(
            Device("cuda", device) if device is None or isinstance(device, int) else device
        )

    def type(self, dtype: Any = None) -> Any:
        """This tensor in another type, a dtype or `FloatTensor` and its like; or its type's name.

        The name, "torch.FloatTensor", is PyTorch's.
        """
        if dtype is None:
            place = "" if self.device.type == "cpu" else f"{self.device.type}."
            return f"torch.{place}{TYPE_NAMES[self.dtype]}"
        by_name = {f"torch.{name}": known for known, name in TYPE_NAMES.items()}
        if isinstance(dtype, str):
            dtype = by_name.get(dtype, dtype)
        return self.to(dtype=as_dtype("type", getattr(dtype, "dtype", dtype)))

    def clone(self) -> Tensor:
        """A copy in memory of its own; gradients pass through."""
        return arithmetic.copy(self)

    def contiguous(self) -> Tensor:
        """This tensor if it lies row by row, as to a program images do, otherwise a copy.

        The copy keeps its memory order, since the engine reads any.
        """
        lies = self._stand_in
        if not self._any_order if lies is None else lies.flags.c_contiguous:
            return self
        result = self.clone()
        if lies is None:  # it may lie row by row
            note_copy(result.array, self.array)
        result._any_order = False
        return result

    # --- operators -------------------------------------------------------------------------------

    __add__, __radd__, __iadd__ = _operators("add", "+", elementwise.add)
    __sub__, __rsub__, __isub__ = _operators("sub", "-", elementwise.subtract)
    __mul__, __rmul__, __imul__ = _operators("mul", "*", elementwise.multiply)
    __truediv__, __rtruediv__, __itruediv__ = _operators("div", "/", elementwise.divide)
    __pow__, __rpow__, __ipow__ = _operators("pow", "**", elementwise.power)
    __and__, __rand__, __iand__ = _operators("and", "&", elementwise.bitwise_and)
    __or__, __ror__, __ior__ = _operators("or", "|", elementwise.bitwise_or)
    __xor__, __rxor__, __ixor__ = _operators("xor", "^", elementwise.bitwise_xor)

    __eq__ = _comparison("==", operator.eq)  # type: ignore[assignment]
    __ne__ = _comparison("!=", operator.ne)  # type: ignore[assignment]
    __lt__ = _comparison("<", operator.lt)
    __le__ = _comparison("<=", operator.le)
    __gt__ = _comparison(">", operator.gt)
    __ge__ = _comparison(">=", operator.ge)

    def __hash__(self) -> int:
        return id(self)

    eq, ne, lt, le, gt, ge = __eq__, __ne__, __lt__, __le__, __gt__, __ge__

    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self + alpha·other, elementwise."""
        return self + _times(alpha, other)

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self += alpha·other."""
        return self.__iadd__(_times(alpha, other))

    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self - alpha·other, elementwise."""
        return self - _times(alpha, other)

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self -= alpha·other."""
        return self.__isub__(_times(alpha, other))

    mul, mul_ = __mul__, __imul__
    div, div_ = __truediv__, __itruediv__
    pow, pow_ = __pow__, __ipow__

    def __neg__(self) -> Tensor:
        return arithmetic.negative(not_bool("-", self))

    def neg(self) -> Tensor:
        """-self."""
        return -self

    def __invert__(self) -> Tensor:
        if is_floating(self.dtype):
            raise TypeError(f"~: expected bools or whole numbers, got {self.dtype}")
        return arithmetic.invert(self)

    def __abs__(self) -> Tensor:
        return self.abs()

    def __matmul__(self, other: Tensor) -> Tensor:
        tensor_argument("@", "other", other)
        inner = other.shape[-2] if other.ndim > 1 else other.shape[0] if other.ndim else None
        if not self.ndim or inner != self.shape[-1]:
            raise ArgumentError(f"@: shapes {self.array.shape} and {other.array.shape} do not fit")
        if self.dtype != other.dtype:
            raise ArgumentError(f"@: {self.dtype} and {other.dtype}; .to(dtype) converts one")
        return elementwise.binary(matrix.matmul, self, other)

    # --- functions -------------------------------------------------------------------------------

    def abs(self) -> Tensor:
        """The elements without their sign. The derivative at 0 is 0."""
        return arithmetic.absolute(not_bool("abs", self))

    def exp(self) -> Tensor:
        """e to the power of each element."""
        return arithmetic.exp(floating(self))

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        return arithmetic.log(floating(self))

    def log1p(self) -> Tensor:
        """log(1 + x) of each element x, with all digits where x is near 0."""
        return arithmetic.log1p(floating(self))

    def expm1(self) -> Tensor:
        """exp(x) - 1 of each element x, with all digits where x is near 0."""
        return arithmetic.expm1(floating(self))

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        return arithmetic.sqrt(floating(self))

    def _has_history_alone(self, other: Any) -> bool:
        """Whether a change in place would be part of a history, and nobody else sees the memory.

        Then this tensor may become the result. What others see, or a derivative needs, may not
        change, and a leaf that requires grad gets no history.
        """
        recorded = self.node is not None or getattr(other, "needs_grad", False)
        leaf = self.node is None and self.needs_grad
        return recorded and not leaf and is_grad_enabled() and alone(self.array)

    def _become(self, name: str, result: Tensor) -> Tensor:
        """Take over a result, history included. Raises RuntimeError for another shape or type."""
        (own, dtype), new = (self.array.shape, self.dtype), result.array
        if new.shape != own:
            raise RuntimeError(f"{name}: a result of shape {new.shape} does not fit into {own}")
        if new.dtype != dtype:
            raise RuntimeError(f"{name}: a {new.dtype} result does not fit into {dtype}")
        self._refuse_shown(name)
        self._replace(result)
        return self

    def _replace(self, result: Tensor) -> None:
        """Show a result and its history from now on, in whichever memory that is.

        As nobody may show the values of before, and expect them to change, `_refuse_shown`.
        """
        self.array, self.node, self.needs_grad = result.array, result.node, result.needs_grad

    def __setitem__(self, index: Any, value: Any) -> None:
        if not self._has_history_alone(value):
            super().__setitem__(index, value)
            return
        at = steps(self.array, index)
        if len(at) > 1:  # as of numbers beside index arrays
            raise NotImplementedError(
                "[…] =: with a history, use numbers and slices, or arrays alone"
            )
        if isinstance(value, Tensor):
            value = converted(value, self.dtype)
        try:
            self._become("[…] =", shape.put(self, value, at[0]))
        except ValueError as error:
            raise RuntimeError(f"[…] =: {error}") from None

    def relu(self) -> Tensor:
        """max(x, 0) of each element x. The derivative at 0 is 0."""
        return arithmetic.relu(not_bool("relu", self))

    def relu_(self) -> Tensor:
        """Become the result of `relu`, history included; returns this tensor.

        Where there is none, this changes the memory in place, for all that show it. A tensor with a
        history is written over where nothing else refers to its memory; what a derivative needs
        stays as it is. Raises RuntimeError where another tensor shows it, and for a leaf that
        requires grad, which would get a history.
        """
        own, recorded = alone(self.array), self.node is not None and is_grad_enabled()
        if not recorded and (self.needs_grad or not own):
            return self._assign("relu_", self.relu(), self)
        self._refuse_shown("relu_", not own and self._shown)
        self._replace(arithmetic.relu(not_bool("relu_", self), own))
        return self

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x)) of each element x."""
        return arithmetic.sigmoid(floating(self))

    def sin(self) -> Tensor:
        """The sine of each element, in radians."""
        return arithmetic.sin(floating(self))

    def cos(self) -> Tensor:
        """The cosine of each element, in radians."""
        return arithmetic.cos(floating(self))

    def sinh(self) -> Tensor:
        """The hyperbolic sine of each element."""
        return arithmetic.sinh(floating(self))

    def cosh(self) -> Tensor:
        """The hyperbolic cosine of each element."""
        return arithmetic.cosh(floating(self))

    def tanh(self) -> Tensor:
        """The hyperbolic tangent of each element."""
        return arithmetic.tanh(floating(self))

    def square(self) -> Tensor:
        """The square of each element."""
        return self**2

    def round(self) -> Tensor:
        """The whole number next to each element, of two the even one. The derivative is 0."""
        return arithmetic.stepwise(not_bool("round", self), "round")

    def sign(self) -> Tensor:
        """-1, 0 or 1 as each element is. The derivative is 0."""
        return arithmetic.stepwise(not_bool("sign", self), "sign")

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Each element, or the number it is below (`min`) or above (`max`)."""
        if min is None and max is None:
            raise ArgumentError("clamp: min or max must be given")
        numbers = [None if n is None else number(n) for n in (min, max)]
        dtype = result_type(self.array, *[n for n in numbers if n is not None])
        return arithmetic.clamp(converted(not_bool("clamp", self), dtype), *numbers)

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        """Become the result of `clamp`, in place."""
        with no_grad():
            result = self.clamp(min, max)
        return self._assign("clamp_", result, self)

    def maximum(self, other: Tensor) -> Tensor:
        """The larger of two elements. Equal ones share the gradient."""
        return elementwise.extreme("maximum", self, other)

    def minimum(self, other: Tensor) -> Tensor:
        """The smaller of two elements. Equal ones share the gradient."""
        return elementwise.extreme("minimum", self, other)

    def matmul(self, other: Tensor) -> Tensor:
        """The product of matrices, vectors and stacks of matrices, `self @ other`."""
        return self @ other

    def dot(self, other: Tensor) -> Tensor:
        """The sum of the products of two vectors' elements."""
        return self._product("dot", other, 1, 1)

    def mv(self, vec: Tensor) -> Tensor:
        """A matrix times a vector."""
        return self._product("mv", vec, 2, 1)

    def mm(self, mat2: Tensor) -> Tensor:
        """The product of two matrices."""
        return self._product("mm", mat2, 2, 2)

    def bmm(self, mat2: Tensor) -> Tensor:
        """The products of two stacks of as many matrices."""
        product = self._product("bmm", mat2, 3, 3)
        if len(self) != len(mat2):
            raise ArgumentError(f"bmm: {len(self)} and {len(mat2)} matrices")
        return product

    def _product(self, name: str, other: Tensor, *axes: int) -> Tensor:
        tensor_argument(name, "the other one", other)
        if (self.ndim, other.ndim) != axes:
            shapes = f"{self.array.shape} and {other.array.shape}"
            raise ArgumentError(f"{name}: expected {axes[0]} and {axes[1]} axes, got {shapes}")
        return self @ other

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """A tensor of this size, all zeros, of this one's dtype and device, or of those given."""
        return self._new("zeros", size, **options)

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """A tensor of this size, all ones, of this one's dtype and device, or of those given."""
        return self._new("ones", size, **options)

    def new_empty(self, *size: Any, **options: Any) -> Tensor:
        """A tensor of this size, of this one's dtype and device, or of those given."""
        return self._new("empty", size, **options)

    def _new(
        self,
        name: str,
        size: Any,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        make = getattr(Device(self.device if device is None else device).backend.xp, name)
        sizes = sizes_of(f"new_{name}", size, 0)
        kind = self.dtype if dtype is None else as_dtype(f"new_{name}", dtype)
        return Tensor(make(sizes, kind), requires_grad=requires_grad)

    # --- values in -------------------------------------------------------------------------------

    def zero_(self) -> Tensor:
        """Every element 0."""
        return self.fill_(0)

    def fill_(self, value: Any) -> Tensor:
        """Every element this number, or that of a tensor without axes."""
        if isinstance(value, Tensor):
            return self._assign("fill_", value.detach().reshape(()), value)
        value = fitting("fill_", operand("fill_", value), self.dtype)
        with self._changing("fill_") as array:
            array[...] = value
        return self

    def normal_(
        self, mean: float = 0, std: float = 1, *, generator: Generator | None = None
    ) -> Tensor:
        """Normally distributed numbers with this mean and standard deviation."""
        mean, std = real("normal_", "mean", mean), real("normal_", "std", std, least=0)
        key = self._key("normal_", generator)
        drawn = random.normal(key, self.array.shape, self.dtype)
        drawn = Tensor(backend_of(self.array).from_host(drawn))
        return self._assign("normal_", drawn * std + mean, self)

    def uniform_(
        self, a: float = 0, b: float = 1, /, *, generator: Generator | None = None
    ) -> Tensor:
        """Numbers uniform on [a, b)."""
        most = float(backends.host.xp.finfo(self.dtype).max) if is_floating(self.dtype) else None
        a = real("uniform_", "a", a, least=most and -most)
        b = real("uniform_", "b", b, least=a, most=most)
        width = real("uniform_", "b - a", b - a, most=most)
        key = self._key("uniform_", generator)
        drawn = Tensor(backend_of(self.array).uniform(key, self.array.shape, self.dtype))
        return self._assign("uniform_", drawn * width + a, self)

    def _key(self, name: str, generator: Generator | None) -> Any:
        """The key of a draw that will fill this tensor. What is refused has used up none."""
        if not is_floating(self.dtype):
            raise NotImplementedError(f"{name}: expected a floating-point tensor, got {self.dtype}")
        return random.next_key(name, generator)

    def scatter_(self, dim: int, index: Tensor, value: Any = None, *, src: Any = None) -> Tensor:
        """self[index[i, j, …], j, …] = value[i, j, …] for dim 0, and so for other axes.

        The value is a number, or a tensor (`src`) at least as long as `index` along each axis.
        """
        at = along("scatter_", self, dim, tensor_argument("scatter_", "index", index))
        value = src if value is None else value
        if value is None:
            raise TypeError("scatter_: value, or src, must be given")
        if isinstance(value, Tensor) and value.ndim:
            size = index.array.shape
            if value.ndim != len(size) or any(map(operator.lt, value.shape, size)):
                raise ArgumentError(f"scatter_: src {value.array.shape} for index {size}")
            value = value[tuple(map(slice, size))]
        self[at] = value
        return self

    def copy_(self, other: Tensor, non_blocking: bool = False) -> Tensor:
        """The values of another tensor, broadcast to this one's shape."""
        tensor_argument("copy_", "other", other)
        return self._assign("copy_", other.detach().to(self.device), other)

    # --- to types whose names are Python's: last, as annotations above mean Python's -------------

    def float(self) -> Tensor:
        return self.to(float32)

    def double(self) -> Tensor:
        return self.to(float64)

    def long(self) -> Tensor:
        return self.to(int64)

    def int(self) -> Tensor:
        return self.to(int32)

    def bool(self) -> Tensor:
        return self.to(bool_)


def _numbers(data: tuple[Any, ...]) -> Array:
    """Numbers in one list, or an array of these sizes."""
    xp = backends.host.xp
    if not data or isinstance(data[0], (int, Size)):
        return xp.empty(sizes_of("Tensor", data or (0,), 0), "float32")
    try:
        return xp.array(data[0] if len(data) == 1 else data, "float32")
    except (ValueError, TypeError) as error:
        raise ArgumentTypeError(f"Tensor: expected numbers in lists: {error}") from None


def _times(alpha: Any, other: Any) -> Any:
    return other if isinstance(alpha, int) and alpha == 1 else other * alpha
