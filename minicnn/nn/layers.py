"""The layers: each a `Module` around one function of `minicnn.functional`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..arguments import ArgumentError, pair, real, whole
from ..backends import Array
from ..device import as_device
from ..dtype import DType, float32, float64
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
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        init.uniform_(bias, -bound, bound)


def _empty(shape: tuple[int, ...], device: Any, dtype: DType) -> Parameter:
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


def _size(name: str, argument: str, value: Any, least: int) -> F.Size2:
    """An int, or two, at least `least`, as Python's own: one stays one, as it shows in the repr."""
    both = pair(name, argument, value, least)
    return both if isinstance(value, Sequence) else both[0]


class Conv2d(Module):
    """`conv2d` with a weight (out_channels, in_channels, kh, kw) and a bias (out_channels,).

    Both start uniform on ±1/√(in_channels·kh·kw), as in PyTorch. `groups` other than 1 and
    `padding_mode` other than "zeros" raise NotImplementedError where PyTorch has them.
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
        in_channels = whole("Conv2d", "in_channels", in_channels, 1)
        out_channels = whole("Conv2d", "out_channels", out_channels, 1)
        groups = whole("Conv2d", "groups", groups)
        if groups != 1:
            divides = groups > 0 and in_channels % groups == 0 and out_channels % groups == 0
            error = NotImplementedError if divides else ArgumentError
            raise error(f"Conv2d: groups must be 1, got {groups}")
        if padding_mode != "zeros":
            exists = padding_mode in ("reflect", "replicate", "circular")
            error = NotImplementedError if exists else ArgumentError
            raise error(f"Conv2d: padding_mode must be 'zeros', got {padding_mode!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.dilation = pair("Conv2d", "dilation", dilation, 1)
        F.conv_pads(padding, self.kernel_size, self.stride, self.dilation)  # refused here, or never
        self.padding = (
            padding if isinstance(padding, str) else pair("Conv2d", "padding", padding, 0)
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
        in_features = whole("Linear", "in_features", in_features, 0)
        out_features = whole("Linear", "out_features", out_features, 0)
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
        self.ceil_mode = ceil_mode
        self.kernel_size = _size("MaxPool2d", "kernel_size", kernel_size, 1)
        self.stride = (
            self.kernel_size if stride is None else _size("MaxPool2d", "stride", stride, 1)
        )
        self.padding = _size("MaxPool2d", "padding", padding, 0)
        self.dilation = _size("MaxPool2d", "dilation", dilation, 1)

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
        self.kernel_size = _size("AvgPool2d", "kernel_size", kernel_size, 1)
        self.stride = (
            self.kernel_size if stride is None else _size("AvgPool2d", "stride", stride, 1)
        )
        self.padding, self.ceil_mode = _size("AvgPool2d", "padding", padding, 0), ceil_mode
        if divisor_override is not None:
            divisor_override = whole("AvgPool2d", "divisor_override", divisor_override)
            if divisor_override == 0:
                raise ArgumentError("AvgPool2d: divisor_override must not be 0")
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
        one = not isinstance(output_size, Sequence)
        sizes = [
            None if size is None else whole("AdaptiveAvgPool2d", "output_size", size, 0)
            for size in ([output_size] if one else output_size)
        ]
        if not one and len(sizes) != 2:
            raise ArgumentError(
                f"AdaptiveAvgPool2d: output_size must be one or two, got {output_size!r}"
            )
        self.output_size = sizes[0] if one else tuple(sizes)

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class Dropout(Module):
    """`dropout` while training; nothing after `eval()`."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = real("Dropout", "p", p, least=0, most=1), inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """The axes from start_dim to end_dim as one: by default all but the batch's."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = whole("Flatten", "start_dim", start_dim)
        self.end_dim = whole("Flatten", "end_dim", end_dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Softmax(Module):
    """`softmax` along an axis."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = None if dim is None else whole("Softmax", "dim", dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class CrossEntropyLoss(Module):
    """`cross_entropy` with the arguments given; `weight` (C,) is a buffer.

    `size_average` and `reduce`, which PyTorch has for old programs, raise NotImplementedError.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        for argument, value in (("size_average", size_average), ("reduce", reduce)):
            if value is not None:
                raise NotImplementedError(
                    f"CrossEntropyLoss: {argument} is not supported, got {value!r};"
                    " reduction='mean', 'sum' or 'none' says the same"
                )
        self.register_buffer("weight", weight)
        self.ignore_index = whole("CrossEntropyLoss", "ignore_index", ignore_index)
        self.reduction = reduction
        self.label_smoothing = real("CrossEntropyLoss", "label_smoothing", label_smoothing)

    weight: Tensor | None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
