"""Layers that find out their number of inputs at their first call."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

from .. import context
from ..arguments import Size2
from ..dtype import DType
from ..grad_mode import no_grad
from ..tensor import Tensor
from .functional import ShapeError
from .layers import Affine, Conv2d, Linear, empty_parameter
from .module import Module, UninitializedParameter


class _Lazy(Affine):
    """What lazy layers add to the layer that each becomes."""

    becomes: ClassVar[type[Module]]
    inputs: ClassVar[str]  # the layer's attribute for their number
    axis: ClassVar[int]  # the axis of an input that has them
    weight: Any
    bias: Any

    def _forget_shapes(self) -> None:
        self.__dict__[self.inputs] = 0
        for name in ("weight", "bias"):
            known = getattr(self, name)
            if known is not None:
                setattr(self, name, UninitializedParameter(known.device, known.dtype))

    def _become(self, inputs: int) -> None:
        """Turn into the layer of so many inputs, with parameters drawn as that one's are."""
        setattr(self, self.inputs, inputs)
        shape = self.weight_shape()
        for parameter, its in ((self.weight, shape), (self.bias, shape[:1])):
            if parameter is not None:
                like = parameter.like
                parameter.array = empty_parameter(its, like.device, like.dtype).array
        self.__class__ = self.becomes  # type: ignore[assignment]
        self.reset_parameters()

    def forward(self, input: Tensor) -> Any:
        if not isinstance(input, Tensor) or input.ndim < -self.axis:
            got = tuple(getattr(input, "shape", ()))
            raise ShapeError(f"{type(self).__name__}: expected an axis {self.axis}, got {got}")
        inputs = input.array.shape[self.axis]
        with context.using(skip_init=True), no_grad():  # an input that is refused fixes nothing
            trial = deepcopy(self)
            trial._become(inputs)
            trial.forward(input)
        self._become(inputs)
        return self.forward(input)

    def prepare_to_load(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        shape = tuple(getattr(state_dict.get(f"{prefix}weight"), "shape", ()))
        if len(shape) > 1 and shape[2:] == self.weight_shape()[2:]:
            self._become(shape[1])


class LazyLinear(_Lazy, Linear):
    """`Linear` whose in_features are those of its first input, or of the weight it loads."""

    becomes, inputs, axis = Linear, "in_features", -1

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: DType = None
    ) -> None:
        with context.using(skip_init=True):
            super().__init__(0, out_features, bias, device, dtype)
        self._forget_shapes()


class LazyConv2d(_Lazy, Conv2d):
    """`Conv2d` whose in_channels are those of its first input, or of the weight it loads."""

    becomes, inputs, axis = Conv2d, "in_channels", -3

    def __init__(
        self,
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
        options = stride, padding, dilation, groups, bias, padding_mode, device, dtype
        with context.using(skip_init=True):
            super().__init__(1, out_channels, kernel_size, *options)
        self._forget_shapes()
