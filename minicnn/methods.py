"""A tensor's methods as functions: `minicnn.exp(x)` is `x.exp()`."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar

from .tensor import Tensor, tensor_argument

__all__ = ["abs", "argmax", "exp", "flatten", "log", "matmul", "max", "mean", "reshape", "sigmoid"]
__all__ += ["sqrt", "sum"]

P = ParamSpec("P")
Result = TypeVar("Result")
Method = Callable[Concatenate[Tensor, P], Result]


def _function(method: Method[P, Result]) -> Method[P, Result]:
    """The function f(input, …) that calls the method input.f(…), with its signature and text."""
    name = method.__name__

    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(tensor_argument(name, "input", input), name)(*args, **kwargs)

    function: Any = call
    shown = signature(method)
    own, *others = shown.parameters.values()
    function.__signature__ = shown.replace(parameters=[own.replace(name="input"), *others])
    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


abs = _function(Tensor.abs)
argmax = _function(Tensor.argmax)
exp = _function(Tensor.exp)
flatten = _function(Tensor.flatten)
log = _function(Tensor.log)
matmul = _function(Tensor.matmul)
max = _function(Tensor.max)
mean = _function(Tensor.mean)
sigmoid = _function(Tensor.sigmoid)
sqrt = _function(Tensor.sqrt)
sum = _function(Tensor.sum)


def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    return tensor_argument("reshape", "input", input).reshape(shape)
