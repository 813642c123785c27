"""Elementwise operations. Inputs of one dtype; shapes broadcast as in NumPy."""

from __future__ import annotations

from typing import Any

from ..autograd import operation
from ..backends import Array, backend_of
from ..grad_mode import is_grad_enabled


@operation
def add(x: Any, y: Any) -> Any:
    return x + y, lambda g: g, lambda g: g


@operation
def subtract(x: Any, y: Any) -> Any:
    return x - y, lambda g: g, lambda g: -g


@operation
def multiply(x: Any, y: Any) -> Any:
    return x * y, lambda g: g * y, lambda g: g * x


@operation
def divide(x: Any, y: Any) -> Any:
    z = x / y
    return z, lambda g: g / y, lambda g: -g * z / y


@operation
def power(x: Any, y: Any) -> Any:
    array = x if hasattr(x, "dtype") else y
    xp = backend_of(array).xp
    z = x**y if array.dtype.kind != "c" else _complex_power(xp, xp.asarray(x), xp.asarray(y))

    def vjp_x(g: Array) -> Array:
        # y·x^(y-1), and 0 for y = 0 even where x = 0
        return xp.where(xp.asarray(y == 0), 0, g * y * x ** (y - 1))

    def vjp_y(g: Array) -> Array:
        # x^y·log x, and 0 for x = 0 where y ≥ 0
        zero = xp.asarray((x == 0) & (y >= 0))
        return xp.where(zero, 0, g * z * xp.log(x, dtype=z.dtype))

    return z, vjp_x, vjp_y


def _complex_power(xp: Any, x: Array, y: Array) -> Array:
    """x^y, for whole y at negative x too with all digits of a small imaginary part.

    CuPy computes exp(y·log x), and the imaginary part of log x is near π there: beside that a
    complex step is lost. So it is (-1)^y·(-x)^y.
    """
    turned = (x.real < 0) & (y.imag == 0) & (y.real % 1 == 0)
    return xp.where(turned, 1 - 2 * (y.real % 2), 1) * xp.where(turned, -x, x) ** y


@operation
def integer_power(x: Any, y: Any) -> Any:
    """x to the power y for whole numbers; where y is below 0, 1/x^|y| without its fraction."""
    array = x if hasattr(x, "dtype") else y
    xp = backend_of(array).xp
    below = xp.where(xp.asarray(x == 1), 1, xp.where(xp.asarray(x == -1), 1 - 2 * (y % 2), 0))
    z = xp.where(xp.asarray(y < 0), below, x ** xp.maximum(y, 0))
    return (z.astype(array.dtype),)


@operation
def negative(x: Array) -> Any:
    return -x, lambda g: -g


@operation
def absolute(x: Array) -> Any:
    """|x|. The derivative at 0, and of NaN, is 0, as in PyTorch."""
    return abs(x), lambda g: g * (x > 0) - g * (x < 0)


@operation
def exp(x: Array) -> Any:
    y = backend_of(x).xp.exp(x)
    return y, lambda g: g * y


@operation
def log(x: Array) -> Any:
    return backend_of(x).xp.log(x), lambda g: g / x


@operation
def log1p(x: Array) -> Any:
    """log(1 + x), with all digits where x is near 0."""
    return backend_of(x).xp.log1p(x), lambda g: g / (1 + x)


@operation
def expm1(x: Array) -> Any:
    """exp(x) - 1, with all digits where x is near 0."""
    y = backend_of(x).xp.expm1(x)
    return y, lambda g: g * (y + 1)


@operation
def sqrt(x: Array) -> Any:
    y = backend_of(x).xp.sqrt(x)
    return y, lambda g: g / (2 * y)


@operation
def sin(x: Array) -> Any:
    xp = backend_of(x).xp
    return xp.sin(x), lambda g: g * xp.cos(x)


@operation
def cos(x: Array) -> Any:
    xp = backend_of(x).xp
    return xp.cos(x), lambda g: -g * xp.sin(x)


@operation
def sinh(x: Array) -> Any:
    xp = backend_of(x).xp
    return xp.sinh(x), lambda g: g * xp.cosh(x)


@operation
def cosh(x: Array) -> Any:
    xp = backend_of(x).xp
    return xp.cosh(x), lambda g: g * xp.sinh(x)


@operation
def tanh(x: Array) -> Any:
    y = backend_of(x).xp.tanh(x)
    return y, lambda g: g * (1 - y * y)


@operation
def stepwise(x: Array, name: str) -> Any:
    """`round`, to the even one of two that are as near, or `sign`: both have the derivative 0."""
    xp = backend_of(x).xp
    return getattr(xp, name)(x), xp.zeros_like


@operation
def clamp(x: Array, least: Any, most: Any) -> Any:
    """x between two numbers, of which one may be None. The derivative at both is 1."""
    xp = backend_of(x).xp
    inside = (x == x if least is None else x >= least) & (x == x if most is None else x <= most)
    return xp.clip(x, least, most), lambda g: g * inside


@operation
def maximum(x: Any, y: Any) -> Any:
    """The larger one, or NaN. Equal ones share the gradient, as in PyTorch."""
    xp = backend_of(x).xp
    return (
        xp.maximum(x, y),
        lambda g: _shared(g, x == y, x < y),
        lambda g: _shared(g, x == y, y < x),
    )


@operation
def minimum(x: Any, y: Any) -> Any:
    """The smaller one, or NaN. Equal ones share the gradient, as in PyTorch."""
    xp = backend_of(x).xp
    return (
        xp.minimum(x, y),
        lambda g: _shared(g, x == y, x > y),
        lambda g: _shared(g, x == y, y > x),
    )


def _shared(g: Array, equal: Array, other: Array) -> Array:
    """The part of g for one of two numbers: half if they are equal, none if it is the other's.

    Where one is NaN, both have all of it, as in PyTorch.
    """
    xp = backend_of(g).xp
    return xp.where(other, 0, xp.where(equal, g / 2, g))


@operation
def where(x: Any, y: Any, condition: Array) -> Any:
    """x where the condition is true, y elsewhere."""
    xp = backend_of(condition).xp
    return (
        xp.where(condition, x, y),
        lambda g: xp.where(condition, g, 0),
        lambda g: xp.where(condition, 0, g),
    )


@operation
def relu(x: Array, in_place: bool = False) -> Any:
    """max(x, 0). The derivative at 0 is 0, and NaN passes both ways, as in PyTorch."""
    return backend_of(x).relu(x, is_grad_enabled(), in_place)


@operation
def sigmoid(x: Array) -> Any:
    """1 / (1 + exp(-x)): where exp overflows, 1/inf is the 0 that is meant."""
    y = 1 / (1 + backend_of(x).xp.exp(-x))
    return y, lambda g: g * y * (1 - y)


@operation
def leaky_relu(x: Array, slope: float) -> Any:
    """x where it is above 0, slope·x elsewhere."""
    xp = backend_of(x).xp
    return xp.where(x > 0, x, x * slope), lambda g: xp.where(x > 0, g, g * slope)


@operation
def cast(x: Array, dtype: Any) -> Any:
    """x in another type. It has a derivative from one floating-point type to another."""
    own = x.dtype
    smooth = own.kind in "fc" and dtype.kind in "fc"
    return x.astype(dtype), (lambda g: g.astype(own)) if smooth else None


@operation
def without_derivative(function: Any, x: Array, y: Any) -> Any:
    """function(x, y) for a comparison of Python's `operator`, or an operation on bits."""
    return function(x, y), None, None, None


@operation
def invert(x: Array) -> Any:
    """Each bit turned round; of bools, the opposite."""
    return (~x,)


@operation
def to_device(x: Array, source: Any, target: Any) -> Any:
    """Carry x from one backend to another; the gradient goes the other way."""
    return (
        target.from_host(source.to_host(x)),
        lambda g: source.from_host(target.to_host(g)),
    )


@operation
def copy(x: Array) -> Any:
    return x.copy(order="K"), lambda g: g


@operation
def assign(x: Array, y: Array) -> Any:
    """y in the memory of x, and in its shape and type. There is no way back through it."""
    x[...] = y
    return x, None, None
