"""Operators between tensors and numbers of any types, by PyTorch's rules.

`operations/arithmetic.py` computes with operands of one type. Here they are brought to that type,
and what does not go together is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from numbers import Number
from typing import Any

from .arguments import ArgumentError, ArgumentTypeError, number, type_name
from .autograd import Variable, common_backend
from .backends import backend_of
from .dtype import DType, bool_, float32, is_floating, kind, result_type, wrapped
from .operations import arithmetic

Operator = Callable[[Any, Any], Any]  # of two operands, one of which is a tensor


def tensor_argument(name: str, argument: str, value: Any) -> Any:
    """The value of an argument. Raises TypeError, naming it, if that is no Tensor."""
    if not isinstance(value, Variable):
        raise TypeError(f"{name}: {argument} must be a Tensor, got {type_name(value)}")
    return value


def operand(name: str, x: Any) -> Any:
    """A tensor as it is, and any real number as Python's own."""
    if isinstance(x, Variable):
        return x
    try:
        return number(x)
    except TypeError:
        raise TypeError(
            f"{name}: expected a Tensor or a number beside a Tensor, got {type_name(x)};"
            " minicnn.tensor(…) makes one"
        ) from None


def common_type(x: Any, y: Any) -> DType:
    """The type that two operands, tensors or numbers, are brought to."""
    return result_type(getattr(x, "array", x), getattr(y, "array", y))


def converted(x: Variable, dtype: DType) -> Any:
    """A tensor in another type; its gradient comes back if both are floating-point."""
    return x if x.array.dtype == dtype else arithmetic.cast(x, dtype)


def floating(x: Variable) -> Any:
    """x, as float32 unless its type is floating-point."""
    return x if is_floating(x.array.dtype) else converted(x, float32)


def not_bool(name: str, x: Variable) -> Any:
    """x; ArgumentError if it holds bools."""
    if not kind(x.array.dtype):
        raise ArgumentError(f"{name}: of bools is not supported; ~ is their opposite, ^ differs")
    return x


# --- with a derivative ---------------------------------------------------------------------------


def binary(function: Operator, x: Any, y: Any, to_floating: bool = False) -> Any:
    """Apply an operation to operands brought to their common type, or else to float32."""
    name = function.__name__
    x, y = operand(name, x), operand(name, y)
    dtype = common_type(x, y)
    if to_floating and not is_floating(dtype):
        dtype = float32
    try:
        return function(_of_type(name, x, dtype), _of_type(name, y, dtype))
    except ValueError as error:
        if isinstance(x, Variable) and isinstance(y, Variable) and "broadcast" in str(error):
            raise _do_not_fit(name, x.array.shape, y.array.shape) from error
        raise ArgumentError(f"{name}: {error}") from error


def _of_type(name: str, x: Any, dtype: DType) -> Any:
    """An operand of this type: a tensor converted, a number as `wrapped` takes it."""
    return converted(x, dtype) if isinstance(x, Variable) else wrapped(name, x, dtype)


def _do_not_fit(name: str, x: tuple[int, ...], y: tuple[int, ...]) -> ArgumentError:
    return ArgumentError(f"{name}: shapes {x} and {y} do not fit")


add = partial(binary, arithmetic.add)
multiply = partial(binary, arithmetic.multiply)
divide = partial(binary, arithmetic.divide, to_floating=True)


def subtract(x: Any, y: Any) -> Any:
    not_bool("-", x if isinstance(x, Variable) else y)
    return binary(arithmetic.subtract, x, y)


def extreme(name: str, x: Any, y: Any) -> Any:
    """`maximum` or `minimum` of two tensors, elementwise."""
    for each in (x, y):
        if not isinstance(each, Variable):
            raise TypeError(f"{name}: expected two Tensors, got {type_name(each)}")
    return binary(getattr(arithmetic, name), x, y)


def select(condition: Variable, x: Any, y: Any) -> Any:
    """x where the condition is not 0, y elsewhere, brought to their common type."""
    operands, dtype = [operand("where", v) for v in (x, y)], common_type(x, y)
    like = condition.array
    x, y = [
        v
        if isinstance(v, Variable)
        else condition.from_operation(backend_of(like).xp.asarray(v, dtype), None)
        for v in (_of_type("where", v, dtype) for v in operands)
    ]
    common_backend("where", condition, x, y)
    try:
        return arithmetic.where(x, y, converted(condition, bool_))
    except ValueError:
        shapes = f"{like.shape}, {x.array.shape} and {y.array.shape}"
        raise ArgumentError(f"where: shapes {shapes} do not fit") from None


def power(x: Any, y: Any) -> Any:
    """x to the power y, and of whole numbers a whole number, without a derivative."""
    x, y = operand("power", x), operand("power", y)
    dtype = common_type(x, y)
    if is_floating(dtype):
        return binary(arithmetic.power, x, y)
    if not kind(dtype):
        raise ArgumentError("power: of bools is not supported; use .long()")
    if not isinstance(y, Variable) and y < 0:
        raise ArgumentError("power: whole numbers have no negative powers; use .float()")
    if not isinstance(y, Variable) and wrapped("power", y, dtype) != y:
        raise ArgumentError(f"power: the exponent {y} does not fit into {dtype}")
    return binary(arithmetic.integer_power, x, y)


# --- without -------------------------------------------------------------------------------------


def compare(function: Operator, x: Variable, y: Any) -> Any:
    """A comparison of Python's `operator`, as bools; == and != of None and texts are Python's."""
    name = function.__name__
    if name in ("eq", "ne") and not (isinstance(y, Number) or hasattr(y, "__array__")):
        return NotImplemented
    y = operand(name, y)
    return _untracked(name, function, common_type(x, y), x, y)


def bitwise(name: str, function: Operator, x: Any, y: Any) -> Any:
    """An operation on the bits of bools and whole numbers, whichever comes first."""
    if not isinstance(x, Variable):
        x, y = y, x
    y = operand(name, y)
    dtype = common_type(x, y)
    if is_floating(dtype):
        raise ArgumentTypeError(f"{name}: expected bools or whole numbers, got {dtype}")
    if not isinstance(y, Variable):
        y = wrapped(name, y, dtype)
    return _untracked(name, function, dtype, x, y)


bitwise_and = partial(bitwise, "&", operator.and_)
bitwise_or = partial(bitwise, "|", operator.or_)
bitwise_xor = partial(bitwise, "^", operator.xor)


def _untracked(name: str, function: Operator, dtype: DType, x: Variable, y: Any) -> Any:
    """Apply a function without a derivative to tensors brought to a type, or one and a number."""
    if isinstance(y, Variable):
        common_backend(name, x, y)
        y = converted(y, dtype)
    try:
        return arithmetic.without_derivative(function, converted(x, dtype), y)
    except ValueError:
        raise _do_not_fit(name, x.array.shape, y.array.shape) from None
