"""A tensor's methods as functions: `minicnn.exp(x)` is `x.exp()`."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar

from .arguments import ArgumentError
from .autograd import common_backend
from .backends import backend_of
from .elementwise import select, tensor_argument
from .tensor import Tensor

__all__ = ["abs", "add", "all", "allclose", "any", "argmax", "argmin", "argsort"]
__all__ += ["bmm", "chunk", "clamp"]
__all__ += [
    "cos",
    "cosh",
    "cumsum",
    "div",
    "dot",
    "eq",
    "equal",
    "exp",
    "expm1",
    "flatten",
    "gather",
    "ge",
]
__all__ += ["gt", "index_select", "le", "log", "log1p", "lt", "matmul", "max", "maximum", "mean"]
__all__ += ["min", "minimum", "mm", "mul", "mv", "ne", "neg", "norm", "numel", "permute"]
__all__ += ["pow", "reshape", "round", "sigmoid", "sign", "sin", "sinh", "sqrt", "square"]
__all__ += ["sort", "split", "squeeze", "topk"]
__all__ += ["std", "sub", "sum", "swapaxes", "t", "tanh", "transpose", "unsqueeze"]
__all__ += ["var", "where"]

P = ParamSpec("P")
Result = TypeVar("Result")
Method = Callable[Concatenate[Tensor, P], Result]


def _function(method: Method[P, Result]) -> Method[P, Result]:
    """The function f(input, …) that calls the method input.f(…), with its signature and text.

    Like PyTorch's, it takes a tensor `out` of the result's shape to write that into.
    """
    name = method.__name__

    def call(input: Any, *args: Any, out: Tensor | None = None, **kwargs: Any) -> Any:
        result = getattr(tensor_argument(name, "input", input), name)(*args, **kwargs)
        return result if out is None else _into(name, out, result)

    function: Any = call
    shown = signature(method)
    own, *others = shown.parameters.values()
    function.__signature__ = shown.replace(parameters=[own.replace(name="input"), *others])
    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


abs = _function(Tensor.abs)
add = _function(Tensor.add)
all = _function(Tensor.all)
any = _function(Tensor.any)
argmax = _function(Tensor.argmax)
argmin = _function(Tensor.argmin)
argsort = _function(Tensor.argsort)
bmm = _function(Tensor.bmm)
chunk = _function(Tensor.chunk)
clamp = _function(Tensor.clamp)
cos = _function(Tensor.cos)
cosh = _function(Tensor.cosh)
cumsum = _function(Tensor.cumsum)
div = _function(Tensor.div)
dot = _function(Tensor.dot)
eq = _function(Tensor.eq)
exp = _function(Tensor.exp)
expm1 = _function(Tensor.expm1)
flatten = _function(Tensor.flatten)
gather = _function(Tensor.gather)
ge = _function(Tensor.ge)
gt = _function(Tensor.gt)
index_select = _function(Tensor.index_select)
le = _function(Tensor.le)
log = _function(Tensor.log)
log1p = _function(Tensor.log1p)
lt = _function(Tensor.lt)
matmul = _function(Tensor.matmul)
max = _function(Tensor.max)
maximum = _function(Tensor.maximum)
mean = _function(Tensor.mean)
min = _function(Tensor.min)
minimum = _function(Tensor.minimum)
mm = _function(Tensor.mm)
mul = _function(Tensor.mul)
mv = _function(Tensor.mv)
ne = _function(Tensor.ne)
neg = _function(Tensor.neg)
norm = _function(Tensor.norm)
numel = _function(Tensor.numel)
permute = _function(Tensor.permute)
round = _function(Tensor.round)
sigmoid = _function(Tensor.sigmoid)
sign = _function(Tensor.sign)
sin = _function(Tensor.sin)
sinh = _function(Tensor.sinh)
sort = _function(Tensor.sort)
sqrt = _function(Tensor.sqrt)
square = _function(Tensor.square)
split = _function(Tensor.split)
squeeze = _function(Tensor.squeeze)
std = _function(Tensor.std)
sub = _function(Tensor.sub)
sum = _function(Tensor.sum)
swapaxes = _function(Tensor.swapaxes)
t = _function(Tensor.t)
tanh = _function(Tensor.tanh)
topk = _function(Tensor.topk)
transpose = _function(Tensor.transpose)
unsqueeze = _function(Tensor.unsqueeze)
var = _function(Tensor.var)


def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    return tensor_argument("reshape", "input", input).reshape(shape)


def _into(name: str, out: Any, result: Any) -> Tensor:
    tensor_argument(name, "out", out)
    if not isinstance(result, Tensor) or result.shape != out.shape:
        got = tuple(getattr(result, "shape", ()))
        raise ArgumentError(f"{name}: out has shape {tuple(out.shape)}, the result {got}")
    return out.copy_(result)


def pow(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """input to the power exponent, elementwise; one of the two may be a number."""
    result = input**exponent if isinstance(input, Tensor) else exponent.__rpow__(input)
    return result if out is None else _into("pow", out, result)


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """input where the condition is true, other elsewhere: tensors or numbers."""
    mask = tensor_argument("where", "condition", condition)
    return select(mask, input, other)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape and the same elements."""
    tensor_argument("equal", "input", input)
    tensor_argument("equal", "other", other)
    return input.shape == other.shape and builtins.bool((input == other).all())


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether |input - other| ≤ atol + rtol·|other| for all elements; NaN is far from NaN."""
    x, y = tensor_argument("allclose", "input", input), tensor_argument("allclose", "other", other)
    common_backend("allclose", x, y)
    arrays = x._read("allclose"), y._read("allclose")
    try:
        return builtins.bool(backend_of(x.array).xp.allclose(*arrays, rtol, atol, equal_nan))
    except ValueError:
        shapes = f"{x.array.shape} and {y.array.shape}"
        raise ArgumentError(f"allclose: shapes {shapes} do not fit") from None
