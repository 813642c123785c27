"""Several images as one, under the names of `torchvision.utils`."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from ..arguments import ArgumentError, number, whole
from ..creation import full, stack
from ..elementwise import tensor_argument
from ..tensor import Tensor

__all__ = ["make_grid", "save_image"]


def make_grid(
    tensor: Tensor | list[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Images (N, C, H, W), or a list of such (C, H, W), in rows of `nrow`: one image (C, H', W').

    `padding` pixels of `pad_value` are around each. Grey images, of one channel or none, get three.
    With `normalize`, values from the least to the largest, or in `value_range`, become [0, 1], with
    `scale_each` of each image by itself.
    """
    if isinstance(tensor, (list, tuple)):
        tensor = stack(tensor)
    images = tensor_argument("make_grid", "tensor", tensor).detach()
    nrow, padding = whole("make_grid", "nrow", nrow, 1), whole("make_grid", "padding", padding, 0)
    if images.ndim == 2:
        images = images.unsqueeze(0)
    if images.ndim == 3:
        images = images.unsqueeze(0)
    if images.ndim != 4 or not len(images):
        shape = images.array.shape
        raise ArgumentError(f"make_grid: expected images (N, C, H, W), got shape {shape}")
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if normalize:
        each = [_normalized(image, value_range) for image in images] if scale_each else None
        images = stack(each) if each else _normalized(images, value_range)
    elif value_range is not None or scale_each:
        raise ArgumentError("make_grid: value_range and scale_each go with normalize=True")
    n, channels, height, width = images.shape
    if n == 1:
        return images.squeeze(0)
    columns = min(nrow, n)
    rows, high, wide = math.ceil(n / columns), height + padding, width + padding
    size = (channels, high * rows + padding, wide * columns + padding)
    grid = full(size, number(pad_value), dtype=images.dtype, device=images.device)
    for i, image in enumerate(images):
        top, left = i // columns * high + padding, i % columns * wide + padding
        grid[:, top : top + height, left : left + width] = image
    return grid


def _normalized(images: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    low, high = value_range or (images.min().item(), images.max().item())
    return (images.clamp(low, high) - low) / max(high - low, 1e-5)


def save_image(tensor: Any, fp: str | os.PathLike[str], **options: Any) -> None:
    """Write `make_grid(tensor, …)`, of numbers from 0 to 1, as a picture file."""
    from PIL import Image  # here, as nothing else of the engine needs it

    grid = make_grid(tensor, **options)
    pixels = (grid * 255 + 0.5).clamp(0, 255).permute(1, 2, 0).cpu().numpy()
    Image.fromarray(np.ascontiguousarray(pixels.astype("uint8"))).save(fp)
