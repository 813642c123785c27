"""The PyTorch twin of a minicnn model: same layers, same weights, same dropout masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from minicnn import Tensor as MiniTensor
from minicnn import from_numpy, manual_seed
from minicnn import nn as mini
from minicnn.nn import functional


class SharedDropout(nn.Module):
    """Dropout that takes its masks from minicnn's generator, in minicnn's order."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return x
        ones = from_numpy(torch.ones(x.shape, dtype=x.dtype).numpy())
        return x * torch.from_numpy(functional.dropout(ones, self.p).numpy().copy())


def twin(m: Any, share_masks: bool = True) -> nn.Module:
    """The same layer or tree of layers in PyTorch, with a copy of the weights.

    Dropout is a `SharedDropout`, or PyTorch's own unless `share_masks`.
    """
    if isinstance(m, mini.Sequential):
        return nn.Sequential(*[twin(child, share_masks) for child in m])
    made: nn.Module
    if isinstance(m, mini.Conv2d):
        bias = m.bias is not None
        made = nn.Conv2d(
            m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, bias=bias
        )
    elif isinstance(m, mini.Linear):
        made = nn.Linear(m.in_features, m.out_features, m.bias is not None)
    elif isinstance(m, mini.ReLU):
        made = nn.ReLU()
    elif isinstance(m, mini.Sigmoid):
        made = nn.Sigmoid()
    elif isinstance(m, (mini.MaxPool2d, mini.AvgPool2d)):
        window: dict[str, Any] = {
            "kernel_size": m.kernel_size,
            "stride": m.stride,
            "padding": m.padding,
            "ceil_mode": m.ceil_mode,
        }
        if isinstance(m, mini.MaxPool2d):
            made = nn.MaxPool2d(**window, dilation=m.dilation)  # type: ignore[arg-type]
        else:
            made = nn.AvgPool2d(
                **window,
                count_include_pad=m.count_include_pad,
                divisor_override=m.divisor_override,
            )
    elif isinstance(m, mini.AdaptiveAvgPool2d):
        made = nn.AdaptiveAvgPool2d(m.output_size)
    elif isinstance(m, mini.Dropout):
        made = SharedDropout(m.p) if share_masks else nn.Dropout(m.p)
    elif isinstance(m, mini.Flatten):
        made = nn.Flatten(m.start_dim, m.end_dim)
    else:
        raise TypeError(f"no twin for {type(m).__name__}")
    state = {name: to_torch(value) for name, value in m.state_dict().items()}
    if state:
        made.to(next(iter(state.values())).dtype).load_state_dict(state)
    return made


def to_torch(tensor: MiniTensor) -> torch.Tensor:
    """A copy of a minicnn tensor."""
    return torch.from_numpy(tensor.detach().cpu().numpy().copy())


def same_masks(seed: int) -> None:
    """Call before each library's step, so that both draw the same dropout masks."""
    manual_seed(seed)
