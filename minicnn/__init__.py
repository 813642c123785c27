"""minicnn: a convolutional network engine, written from nothing on arrays.

The names are PyTorch's. Start reading at `autograd.py`, then `operations/`, `tensor.py`, `nn/`.
"""

from __future__ import annotations

__version__ = "0.1.0"

from typing import Any

from . import context as context
from . import cuda as cuda
from . import functional as functional
from . import nn as nn
from . import optim as optim
from . import utils as utils
from .creation import arange as arange
from .creation import cat as cat
from .creation import from_numpy as from_numpy
from .creation import full as full
from .creation import ones as ones
from .creation import ones_like as ones_like
from .creation import rand as rand
from .creation import randint as randint
from .creation import randn as randn
from .creation import randperm as randperm
from .creation import stack as stack
from .creation import tensor as tensor
from .creation import zeros as zeros
from .creation import zeros_like as zeros_like
from .device import device as device
from .device import get_default_device as get_default_device
from .device import set_default_device as set_default_device
from .dtype import bool_ as bool_
from .dtype import double as double
from .dtype import float32 as float32
from .dtype import float64 as float64
from .dtype import int32 as int32
from .dtype import int64 as int64
from .dtype import long as long
from .dtype import uint8 as uint8
from .environment import show_config as show_config
from .functional import relu as relu
from .grad_mode import enable_grad as enable_grad
from .grad_mode import is_grad_enabled as is_grad_enabled
from .grad_mode import no_grad as no_grad
from .grad_mode import set_grad_enabled as set_grad_enabled
from .gradcheck import gradcheck as gradcheck
from .random import Generator as Generator
from .random import manual_seed as manual_seed
from .serialization import load as load
from .serialization import save as save
from .tensor import Tensor as Tensor


def _tensor(name: str, input: Tensor) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: input must be a Tensor, got {type(input).__name__}")
    return input


def max(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The largest element; along `dim`, (values, indices), the first of equal maxima."""
    return _tensor("max", input).max(dim, keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element stands, int64; the first of equal ones."""
    return _tensor("argmax", input).argmax(dim, keepdim)


def sum(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum over all axes or over `dim`."""
    return _tensor("sum", input).sum(dim, keepdim)


def mean(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The mean over all axes or over `dim`."""
    return _tensor("mean", input).mean(dim, keepdim)


def exp(input: Tensor) -> Tensor:
    return _tensor("exp", input).exp()


def log(input: Tensor) -> Tensor:
    return _tensor("log", input).log()


def sqrt(input: Tensor) -> Tensor:
    return _tensor("sqrt", input).sqrt()


def abs(input: Tensor) -> Tensor:
    return _tensor("abs", input).abs()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    return _tensor("sigmoid", input).sigmoid()


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """input @ other."""
    return _tensor("matmul", input) @ other


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / Σ exp(x) along `dim`."""
    return functional.softmax(input, dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """log(softmax(x)), computed so that large logits do no harm."""
    return functional.log_softmax(input, dim)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim, both included, as one."""
    return _tensor("flatten", input).flatten(start_dim, end_dim)


def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape."""
    return _tensor("reshape", input).reshape(shape)
