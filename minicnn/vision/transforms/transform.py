"""`Transform`: the base of all image transforms, and how they find the channels of an image.

Each transform works on one image when called, as in PyTorch, and on a whole batch of raw arrays
through `batch(images, rng)`, which is what the DataLoader uses: a few array operations for a batch
in place of a Python loop over its images.

`ToTensor` is the border, or `PILToTensor`. Before it images are (H, W) or (H, W, C), after it
(C, H, W); a batch has an axis N in front. A Compose that holds one knows on which side of it a
transform stands. Where there is none, the kind of image says it:

    PIL images                                                      (H, W) or (H, W, C)
    arrays and Tensors of whole numbers or bools                    (H, W) or (H, W, C), and
        where the shape can mean nothing else, at most 4 in front
        and more at the end                                         (C, H, W)
    floating-point Tensors, and raw floating-point batches          (H, W) or (C, H, W)

A single floating-point array with channels may be either and is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...arguments import ArgumentError
from ...backends import Array
from ...dtype import is_floating
from ...grad_mode import is_grad_enabled
from ...random import Generator, default_generator
from ...tensor import Tensor
from ...utils.data.collate import as_tensor
from ...utils.data.dataset import many_at_once


class Transform:
    """A transform of images; a subclass defines `batch`, and a call transforms one image."""

    def batch(self, images: Array, rng: Generator) -> Array:
        """The transformed images, as a new array; random numbers come from `rng`."""
        return self.in_layout(images, rng, None)

    def in_layout(self, images: Array, rng: Generator, channels_last: bool | None) -> Array:
        """`batch` where it is known whether channels are last; None: the element type says it."""
        raise NotImplementedError(f"{type(self).__name__} defines no batch")

    def layout(self, image: Any, channels_last: bool | None) -> bool | None:
        """Whether channels are last in an image that comes from outside, as far as that is known.

        Raises TypeError for a Tensor that is (C, H, W) where channels are last.
        """
        if isinstance(image, Image.Image):
            return True
        floating = isinstance(image, Tensor) and is_floating(image.dtype)
        if channels_last and floating and image.ndim > 2:
            raise TypeError(
                f"{type(self).__name__}: a floating-point Tensor, here of shape {image.shape}, is"
                " (C, H, W) already; expected was an image (H, W) or (H, W, C), as it is before"
                " ToTensor"
            )
        return channels_last

    def __call__(
        self, image: Any, channels_last: bool | None = None, rng: Generator | None = None
    ) -> Any:
        """One image, a Tensor, an array or a PIL image, as a Tensor in memory of its own.

        `channels_last` is given where it is known, and `rng` where random choices are not to be
        drawn from the default generator. Raises TypeError for what is no image.
        """
        rng = default_generator.split() if rng is None else rng
        if channels_last is None:
            channels_last = self.layout(image, None)
        images = as_array(type(self).__name__, image)[None]
        return Tensor(transformed(self, images, rng, channels_last)[0])

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v}" for k, v in vars(self).items())
        return f"{type(self).__name__}({settings})"


def transformed(transform: Any, images: Array, rng: Generator, channels_last: bool | None) -> Any:
    """`transform.batch(images, rng)`, told where channels are if the transform wants to know."""
    if many_at_once(transform, "in_layout", "batch"):
        return transform.in_layout(images, rng, channels_last)
    return transform.batch(images, rng)


def as_array(name: str, image: Any) -> Array:
    """The array of an image of any kind, in the machine's byte order."""
    if isinstance(image, Tensor) and image.requires_grad and is_grad_enabled():
        raise ArgumentError(f"{name}: a transform records no gradient; use image.detach()")
    if isinstance(image, Image.Image):
        if image.mode in ("P", "PA"):
            raise TypeError(
                f"{name}: a PIL image of mode {image.mode} holds places in a palette, no colours;"
                ' use image.convert("RGB")'
            )
        image = np.asarray(image.convert("L") if image.mode == "1" else image)
    try:
        if not hasattr(image, "dtype"):
            raise TypeError
        return as_tensor(image).array
    except TypeError:
        raise TypeError(
            f"{name}: expected an image, a Tensor, an array of numbers or a PIL image, got"
            f" {type(image).__name__}"
        ) from None


def looks_first(shape: tuple[int, ...]) -> bool:
    """Whether a batch's shape can only be meant as (N, C, H, W)."""
    return len(shape) == 4 and shape[1] <= 4 < shape[3]


def check_pictures(name: str, images: Array) -> None:
    """Refuse what is not (N, H, W) or (N, H, W, C)."""
    shape = tuple(images.shape)
    if len(shape) not in (3, 4):
        raise ArgumentError(f"{name}: expected images (H, W) or (H, W, C), got {shape[1:]}")
    if looks_first(shape):
        raise ArgumentError(
            f"{name}: before ToTensor images are (H, W) or (H, W, C), and {shape[1:]} looks like"
            " (C, H, W); move the channels to the end"
        )


class Planar(Transform):
    """A transform that sees an image as planes; a subclass defines `planes`, for either layout."""

    def planes(self, images: Array, rng: Generator) -> Array:
        """What the transform makes of images (N, …, H, W), a new array (N, …, H', W')."""
        raise NotImplementedError(f"{type(self).__name__} defines no planes")

    def layout(self, image: Any, channels_last: bool | None) -> bool | None:
        floating = isinstance(image, np.ndarray) and is_floating(image.dtype)
        if channels_last is None and floating and image.ndim > 2:
            raise ArgumentError(
                f"{type(self).__name__}: a floating-point array of shape {image.shape} may be"
                " (H, W, C) or (C, H, W); use ToTensor first, or a Tensor (C, H, W)"
            )
        return super().layout(image, channels_last)

    def in_layout(self, images: Array, rng: Generator, channels_last: bool | None) -> Array:
        name = type(self).__name__
        if channels_last is None:
            channels_last = not (is_floating(images.dtype) or looks_first(images.shape))
        if channels_last:
            check_pictures(name, images)
        elif images.ndim < 3:
            raise ArgumentError(
                f"{name}: expected images (H, W) or (C, H, W), got {tuple(images.shape[1:])}"
            )
        if channels_last and images.ndim == 4:
            images = images.transpose(0, 3, 1, 2)
        done = self.planes(images, rng)
        return done.transpose(0, 2, 3, 1) if channels_last and done.ndim == 4 else done
