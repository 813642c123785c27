"""The layers: each a `Module` around one function of `minicnn.functional`."""

from __future__ import annotations

import math
from typing import Any

from .. import functional as F
from ..backends import Array
from ..device import place
from ..dtype import DType, float32
from ..operations.convolution import nchw
from ..tensor import Tensor
from . import init
from .module import Module, Parameter


def _default_init(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default: weight and bias uniform on ±1/√fan_in.

    For the weight this is kaiming_uniform_ with slope √5: the gain √(2/6) cancels all but 1/√fan.
    """
    if init.mode.skipping:
        return
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in = math.prod(weight.shape[1:])
        init.uniform_(bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def _empty(shape: tuple[int, ...], device: Any, dtype: DType) -> Parameter:
    """A parameter to be filled; a convolution's (O, C, kh, kw) is channels-last in memory."""
    xp = place(device).backend.xp
    array: Array
    if len(shape) == 4:
        o, c, kh, kw = shape
        array = nchw(xp.zeros((o, kh, kw, c), dtype or float32))
    else:
        array = xp.zeros(shape, dtype or float32)
    return Parameter(Tensor(array))


def _sizes(module: str, **sizes: int) -> None:
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{module}: {name} must be a positive int, got {value!r}")


class Conv2d(Module):
    """`conv2d` with a weight (out_channels, in_channels, kh, kw) and a bias (out_channels,).

    Both start uniform on ±1/√(in_channels·kh·kw), as in PyTorch. `groups` other than 1 and
    `padding_mode` other than "zeros" raise NotImplementedError.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: F.Size2,
        stride: F.Size2 = 1,
        padding: str | F.Size2 = 0,
        dilation: F.Size2 = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        _sizes("Conv2d", in_channels=in_channels, out_channels=out_channels)
        if groups != 1:
            raise NotImplementedError(f"Conv2d: groups must be 1, got {groups}")
        if padding_mode != "zeros":
            raise NotImplementedError(f"Conv2d: padding_mode must be 'zeros', got {padding_mode!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = F.pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = F.pair("Conv2d", "stride", stride, 1)
        self.dilation = F.pair("Conv2d", "dilation", dilation, 1)
        F.conv_margins(
            padding, self.kernel_size, self.stride, self.dilation
        )  # refused here, or never
        self.padding = (
            padding if isinstance(padding, str) else F.pair("Conv2d", "padding", padding, 0)
        )
        self.weight = _empty((out_channels, in_channels, *self.kernel_size), device, dtype)
        self.register_parameter("bias", _empty((out_channels,), device, dtype) if bias else None)
        self.reset_parameters()

    bias: Parameter | None

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        _default_init(self.weight, self.bias)

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


class Linear(Module):
    """`linear` with a weight (out_features, in_features) and a bias (out_features,).

    Both start uniform on ±1/√in_features, as in PyTorch.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        _sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = _empty((out_features, in_features), device, dtype)
        self.register_parameter("bias", _empty((out_features,), device, dtype) if bias else None)
        self.reset_parameters()

    bias: Parameter | None

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        _default_init(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features},"
            f" bias={self.bias is not None}"
        )


class ReLU(Module):
    """max(x, 0). `inplace` is accepted: the result is the same, in a new tensor."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)


class Sigmoid(Module):
    """1 / (1 + exp(-input))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class MaxPool2d(Module):
    """`max_pool2d` with the arguments given."""

    def __init__(
        self,
        kernel_size: F.Size2,
        stride: F.Size2 | None = None,
        padding: F.Size2 = 0,
        dilation: F.Size2 = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if return_indices:
            raise NotImplementedError("MaxPool2d: return_indices is not supported")
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return F.max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding},"
            f" dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """`avg_pool2d` with the arguments given."""

    def __init__(
        self,
        kernel_size: F.Size2,
        stride: F.Size2 | None = None,
        padding: F.Size2 = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """`adaptive_avg_pool2d` to a fixed output size; size 1 is global average pooling."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class Dropout(Module):
    """`dropout` while training; nothing after `eval()`."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be between 0 and 1, got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """The axes from start_dim to end_dim as one: by default all but the batch's."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Softmax(Module):
    """`softmax` along an axis."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class CrossEntropyLoss(Module):
    """`cross_entropy` with the arguments given."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight, self.ignore_index = weight, ignore_index
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )
