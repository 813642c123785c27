"""The losses as layers: each calls the function of the same name in `nn.functional`.

`size_average` and `reduce`, which PyTorch has for old programs, raise NotImplementedError.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..arguments import checked, real, whole
from ..tensor import Tensor
from . import functional as F
from .module import Module


def _deprecated(layer: str, argument: str, value: Any) -> None:
    if value is not None:
        raise NotImplementedError(
            f"{layer}: {argument} is not supported, got {value!r};"
            " reduction='mean', 'sum' or 'none' says the same"
        )


def _old() -> Any:
    """A field in the place of a deprecated argument, so that those after it have PyTorch's."""
    return field(default=None, repr=False, metadata=checked(_deprecated))


@dataclass(eq=False, repr=False)
class _Loss(Module):
    size_average: None = _old()
    reduce: None = _old()
    reduction: str = field(default="mean", repr=False)


class MSELoss(_Loss):
    """`mse_loss`, the mean square difference."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """`l1_loss`, the mean absolute difference."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


@dataclass(eq=False, repr=False)
class SmoothL1Loss(_Loss):
    """`smooth_l1_loss`: quadratic where the difference is below beta, linear elsewhere."""

    beta: float = field(default=1.0, repr=False, metadata=checked(real, least=0))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


@dataclass(eq=False, repr=False)
class _Weighted(Module):
    """A loss with a buffer `weight`."""

    weight: Any = field(default=None, repr=False)
    size_average: None = _old()

    def __post_init__(self) -> None:
        weight = self.__dict__.pop("weight")
        super().__post_init__()
        self.register_buffer("weight", weight)


@dataclass(eq=False, repr=False)
class NLLLoss(_Weighted):
    """`nll_loss` with the arguments given; `weight` (C,) is a buffer."""

    ignore_index: int = field(default=-100, repr=False, metadata=checked(whole))
    reduce: None = _old()
    reduction: str = field(default="mean", repr=False)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        options: Any = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return F.nll_loss(input, target, self.weight, **options)


@dataclass(eq=False, repr=False)
class CrossEntropyLoss(_Weighted):
    """`cross_entropy` with the arguments given; `weight` (C,) is a buffer."""

    ignore_index: int = field(default=-100, repr=False, metadata=checked(whole))
    reduce: None = _old()
    reduction: str = field(default="mean", repr=False)
    label_smoothing: float = field(default=0.0, repr=False, metadata=checked(real))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


@dataclass(eq=False, repr=False)
class BCELoss(_Weighted):
    """`binary_cross_entropy` of probabilities; `weight` is a buffer."""

    reduce: None = _old()
    reduction: str = field(default="mean", repr=False)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


@dataclass(eq=False, repr=False)
class BCEWithLogitsLoss(_Weighted):
    """`binary_cross_entropy_with_logits`; `weight` and `pos_weight` are buffers."""

    reduce: None = _old()
    reduction: str = field(default="mean", repr=False)
    pos_weight: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        pos_weight = self.__dict__.pop("pos_weight")
        super().__post_init__()
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        options: Any = {"reduction": self.reduction, "pos_weight": self.pos_weight}
        return F.binary_cross_entropy_with_logits(input, target, self.weight, **options)
