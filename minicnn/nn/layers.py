"""The layers: each holds its arguments and calls one function of `nn.functional`.

They are dataclasses, whose fields are checked whenever they are set: see `Module`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import context
from ..arguments import (
    ArgumentError,
    Size2,
    checked,
    conv_padding,
    nonzero,
    pair,
    real,
    size,
    whole,
)
from ..backends import Array
from ..device import as_device
from ..dtype import DType, float32, float64
from ..operations.convolution import nchw
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module, Parameter

# --- with parameters -----------------------------------------------------------------------------


@dataclass(init=False, eq=False, repr=False)
class Affine(Module):
    """A layer with a weight and perhaps a bias, both drawn uniformly from ±1/√fan_in at first."""

    weight: Parameter
    bias: Parameter | None

    def weight_shape(self) -> tuple[int, ...]:
        raise NotImplementedError(f"{type(self).__name__} defines no weight_shape()")

    def _make_parameters(self, bias: bool, device: Any, dtype: Any) -> None:
        shape = self.weight_shape()
        self.weight = empty_parameter(shape, device, dtype)
        self.register_parameter("bias", empty_parameter(shape[:1], device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        if context.current().skip_init:
            return
        # For the weight: with slope √5 the gain is √(2/6), which cancels all but 1/√fan_in.
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = math.prod(self.weight.shape[1:])
            bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
            init.uniform_(self.bias, -bound, bound)


def empty_parameter(shape: tuple[int, ...], device: Any, dtype: DType) -> Parameter:
    """A parameter to be filled; a convolution's (O, C, kh, kw) is channels-last in memory."""
    if dtype not in (None, float32, float64):
        raise ArgumentError(f"a layer's dtype must be float32 or float64, got {dtype!r}")
    xp = as_device(device).backend.xp
    array: Array
    if len(shape) == 4:
        o, c, kh, kw = shape
        array = nchw(xp.zeros((o, kh, kw, c), dtype or float32))
    else:
        array = xp.zeros(shape, dtype or float32)
    return Parameter(Tensor(array))


def _one_group(name: str, argument: str, value: Any, *channels: int) -> int:
    """1, as PyTorch's other numbers of groups, which divide the channels, are not supported."""
    n = whole(name, argument, value)
    if n != 1:
        exists = n > 1 and not any(c % n for c in channels)
        error = NotImplementedError if exists else ArgumentError
        raise error(f"{name}: {argument} must be 1, got {n}")
    return n


def _zeros(name: str, argument: str, value: Any) -> str:
    """ "zeros", as PyTorch's other paddings are not supported."""
    if value != "zeros":
        exists = value in ("reflect", "replicate", "circular")
        error = NotImplementedError if exists else ArgumentError
        raise error(f"{name}: {argument} must be 'zeros', got {value!r}")
    return "zeros"


@dataclass(init=False, eq=False, repr=False)
class Conv2d(Affine):
    """`conv2d` with a weight (out_channels, in_channels, kh, kw) and a bias (out_channels,).

    Both start uniform on ±1/√(in_channels·kh·kw), as in PyTorch. `groups` other than 1 and
    `padding_mode` other than "zeros" raise NotImplementedError where PyTorch has them.
    """

    in_channels: int = field(metadata=checked(whole, least=1))
    out_channels: int = field(metadata=checked(whole, least=1))
    # Set to a number or two, these are pairs.
    kernel_size: Any = field(metadata=checked(pair, least=1))
    stride: Any = field(metadata=checked(pair, least=1))
    padding: Any = field(metadata=checked(conv_padding))
    dilation: Any = field(metadata=checked(pair, least=1))
    groups: int = field(metadata=checked(_one_group))
    padding_mode: str = field(metadata=checked(_zeros))

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size2,
        stride: Size2 = 1,
        padding: str | Size2 = 0,
        dilation: Size2 = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.padding = conv_padding("Conv2d", "padding", padding, self.stride)
        self.groups = _one_group("Conv2d", "groups", groups, in_channels, out_channels)
        self.padding_mode = padding_mode
        self._make_parameters(bias, device, dtype)

    def weight_shape(self) -> tuple[int, ...]:
        return self.out_channels, self.in_channels, *self.kernel_size

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size},"
            f" stride={self.stride}"
        )
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        return text + ("" if self.bias is not None else ", bias=False")


@dataclass(init=False, eq=False, repr=False)
class Linear(Affine):
    """`linear` with a weight (out_features, in_features) and a bias (out_features,).

    Both start uniform on ±1/√in_features, as in PyTorch.
    """

    in_features: int = field(metadata=checked(whole, least=0))
    out_features: int = field(metadata=checked(whole, least=0))

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._make_parameters(bias, device, dtype)

    def weight_shape(self) -> tuple[int, ...]:
        return self.out_features, self.in_features

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features},"
            f" bias={self.bias is not None}"
        )


def _refused(layer: str, name: str, value: Any) -> bool:
    if value:
        raise NotImplementedError(f"{layer}: {name} is not supported")
    return False


# --- without -------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class ReLU(Module):
    """max(x, 0). With `inplace`, the input becomes the result, which saves memory: see `relu`."""

    inplace: bool = False

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Sigmoid(Module):
    """1 / (1 + exp(-input))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


@dataclass(eq=False, repr=False)
class LeakyReLU(Module):
    """x where it is above 0, negative_slope·x elsewhere."""

    negative_slope: float = field(default=0.01, metadata=checked(real))
    inplace: bool = field(default=False, repr=False, metadata=checked(_refused))

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)


class Identity(Module):
    """The input, unchanged. Any arguments are accepted and ignored, as in PyTorch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


@dataclass(eq=False, repr=False)
class _Pool2d(Module):
    """A window that slides over images, in steps of its own size unless a stride is given."""

    kernel_size: Size2 = field(metadata=checked(size, least=1))
    stride: Size2 | None = field(default=None, metadata=checked(size, least=1))
    padding: Size2 = field(default=0, metadata=checked(size, least=0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is None:
            self.stride = self.kernel_size


@dataclass(eq=False, repr=False)
class MaxPool2d(_Pool2d):
    """`max_pool2d` with the arguments given."""

    dilation: Size2 = field(default=1, metadata=checked(size, least=1))
    return_indices: bool = field(default=False, repr=False, metadata=checked(_refused))
    ceil_mode: bool = False

    def forward(self, input: Tensor) -> Tensor:
        return F.max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )


@dataclass(eq=False, repr=False)
class AvgPool2d(_Pool2d):
    """`avg_pool2d` with the arguments given."""

    ceil_mode: bool = field(default=False, repr=False)
    count_include_pad: bool = field(default=True, repr=False)
    divisor_override: int | None = field(default=None, repr=False, metadata=checked(nonzero))

    def forward(self, input: Tensor) -> Tensor:
        counted = self.ceil_mode, self.count_include_pad, self.divisor_override
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding, *counted)


def _output_size(layer: str, name: str, value: Any) -> Any:
    """A size of at least 0, or None, or two of these."""
    if not isinstance(value, Sequence):
        return None if value is None else whole(layer, name, value, 0)
    sizes = tuple(None if n is None else whole(layer, name, n, 0) for n in value)
    if len(sizes) != 2:
        raise ArgumentError(f"{layer}: {name} must be one or two, got {value!r}")
    return sizes


@dataclass(eq=False, repr=False)
class AdaptiveAvgPool2d(Module):
    """`adaptive_avg_pool2d` to a fixed output size; size 1 is global average pooling."""

    output_size: Any = field(metadata=checked(_output_size))

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)


@dataclass(eq=False, repr=False)
class Dropout(Module):
    """`dropout` in training mode; the input unchanged after `eval()`."""

    p: float = field(default=0.5, metadata=checked(real, least=0, most=1))
    inplace: bool = field(default=False, repr=False)

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)


class Dropout2d(Dropout):
    """`dropout2d`, which drops whole channels, in training mode."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)


@dataclass(eq=False, repr=False)
class Flatten(Module):
    """The axes from start_dim to end_dim as one axis; by default all but the batch axis."""

    start_dim: int = field(default=1, metadata=checked(whole))
    end_dim: int = field(default=-1, metadata=checked(whole))

    def forward(self, input: Tensor) -> Tensor:
        return F.flatten(input, self.start_dim, self.end_dim)


@dataclass(eq=False, repr=False)
class Softmax(Module):
    """`softmax` along an axis."""

    dim: int | None = field(default=None, metadata=checked(whole))

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class LogSoftmax(Softmax):
    """`log_softmax` along an axis."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)
