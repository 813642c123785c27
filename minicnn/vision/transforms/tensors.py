"""From images to Tensors: `ToTensor`, `PILToTensor` and `Normalize`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arguments import ArgumentError, real
from ...backends import Array, backend_of, constant, host
from ...dtype import float32, is_floating, uint8
from ...random import Generator
from .transform import Transform, check_pictures


class PILToTensor(Transform):
    """Images (H, W) or (H, W, C) as Tensors (C, H, W) of the same element type."""

    def layout(self, image: Any, channels_last: bool | None) -> bool | None:
        return super().layout(image, True if channels_last is None else channels_last)

    def in_layout(self, images: Array, rng: Generator, channels_last: bool | None) -> Array:
        name = type(self).__name__
        if channels_last is False:
            raise TypeError(f"{name}: the images are (C, H, W) already; is it there twice?")
        check_pictures(name, images)
        planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        return self.scaled(planes)

    def scaled(self, planes: Array) -> Array:
        """Images (N, C, H, W) as they come out, a new array."""
        return planes.astype(planes.dtype)


class ToTensor(PILToTensor):
    """Images (H, W) or (H, W, C) as Tensors (C, H, W): uint8, 0 … 255, as float32, 0 … 1.

    Images of all other types are not scaled and keep their type, as in torchvision.
    """

    def scaled(self, planes: Array) -> Array:
        return planes * float32.type(1 / 255) if planes.dtype == uint8 else super().scaled(planes)


class Normalize(Transform):
    """(x - mean) / std, channel by channel, of floating-point images (C, H, W).

    `mean` and `std` are numbers, one or as many as there are channels. Raises ArgumentError for a
    std of 0 and for another number of channels.
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (
            tuple(real("Normalize", argument, v) for v in several(values))
            for argument, values in (("mean", mean), ("std", std))
        )
        if not all(self.std):
            raise ArgumentError(f"Normalize: std must not be 0, got {std!r}")
        if not all(map(math.isfinite, self.mean + self.std)):
            raise ArgumentError(f"Normalize: infinite numbers in mean {mean!r} or std {std!r}")

    def in_layout(self, images: Array, rng: Generator, channels_last: bool | None) -> Array:
        if channels_last or not is_floating(images.dtype):
            raise TypeError(
                "Normalize: needs ToTensor before it, that is floating-point images (C, H, W), got"
                f" {images.dtype} of shape {tuple(images.shape[1:])}"
            )
        if images.ndim < 4:
            raise ArgumentError(
                f"Normalize: expected images (C, H, W), got {tuple(images.shape[1:])}"
            )
        mean, std = (self._planes(argument, images) for argument in ("mean", "std"))
        images = images - mean
        images /= std
        return images

    def _planes(self, argument: str, images: Array) -> Array:
        """The means or standard deviations as an array (C, 1, 1) beside the images."""
        values, channels = getattr(self, argument), images.shape[-3]
        if len(values) not in (1, channels):
            raise ArgumentError(f"Normalize: {len(values)} {argument}s for {channels} channels")
        if argument == "std" and not constant(host, _planes, values, images.dtype).all():
            raise ArgumentError(f"Normalize: std {values} is 0 as {images.dtype}")
        return constant(backend_of(images), _planes, values, images.dtype)


def _planes(values: tuple[float, ...], dtype: Any) -> Array:
    """Numbers for channels as planes (C, 1, 1)."""
    with host.quiet():
        return np.array(values, dtype).reshape(-1, 1, 1)


def several(values: Any) -> tuple[Any, ...]:
    """A number, or several in a sequence, an array or a tensor, as a tuple."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, Sequence):
        return (values,)
    return tuple(v.tolist() if hasattr(v, "tolist") else v for v in values)
