"""Colours: `Grayscale` and `ColorJitter`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import ArgumentError, real
from ...backends import Array, backend_of, host
from ...dtype import float32, float64, is_floating, uint8
from ...random import Generator, uniform_by_image
from .sizes import interval
from .tensors import several
from .transform import Planar

RED, GREEN, BLUE = 0.2989, 0.587, 0.114  # how bright each is, by ITU-R BT.601
PILLOW = (19595, 38470, 7471)  # the same in parts of 65,536, for bytes


class Grayscale(Planar):
    """Colour images in shades of grey, as `num_output_channels`, 1 or 3, equal channels.

    Brightness is 0.299 red + 0.587 green + 0.114 blue; that of bytes is rounded as Pillow does.
    Images of one channel are grey already. Raises ArgumentError for other numbers of channels.
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        if type(num_output_channels) is not int or num_output_channels not in (1, 3):
            raise ArgumentError(
                f"Grayscale: num_output_channels must be 1 or 3, got {num_output_channels!r}"
            )
        self.num_output_channels = num_output_channels

    def planes(self, images: Array, rng: Generator) -> Array:
        xp, n = backend_of(images).xp, self.num_output_channels
        if images.ndim == 3:  # (N, H, W)
            images = images if n == 1 else images[:, None]
        else:
            check_channels("Grayscale", images)
            images = images if images.shape[1] == 1 else grey(images, rounded=True)
        # As many channels, in memory of their own.
        return images.astype(images.dtype) if n == 1 else xp.concatenate([images] * 3, axis=1)


def check_channels(name: str, images: Array) -> None:
    """Refuse what is neither grey, (N, H, W) or (N, 1, H, W), nor colours, (N, 3, H, W)."""
    if images.ndim != 3 and (images.ndim != 4 or images.shape[1] not in (1, 3)):
        raise ArgumentError(
            f"{name}: expected images of 1 or 3 channels, got {tuple(images.shape[1:])} as"
            " (C, H, W)"
        )


def grey(images: Array, rounded: bool) -> Array:
    """The brightness of colours (N, 3, H, W), as (N, 1, H, W) of the same type.

    Whole numbers are rounded, or else cut, as torchvision does within ColorJitter.
    """
    red, green, blue = (images[:, i : i + 1] for i in range(3))
    if images.dtype == uint8 and rounded:
        r, g, b = PILLOW
        sums = red.astype("uint32") * r + green.astype("uint32") * g + blue.astype("uint32") * b
        return ((sums + 0x8000) >> 16).astype(uint8)
    if not is_floating(images.dtype):
        red, green, blue = (plane.astype(float32) for plane in (red, green, blue))
    return (RED * red + GREEN * green + BLUE * blue).astype(images.dtype, copy=False)


class ColorJitter(Planar):
    """Brightness, contrast, saturation and hue of each image changed at random, in random order.

    `brightness`, `contrast` and `saturation` are v, for a factor from [max(0, 1 - v), 1 + v], or
    the two ends of that interval; `hue` is v ≤ ½, for a turn from [-v, v], or the two ends, where 1
    is a full turn of the colour circle. The formulas are torchvision's for tensors: a factor f
    makes f·x + (1 - f)·y of x, cut to the range, where y is black, the mean brightness, or each
    pixel's brightness; the hue is turned in HSV. Images are bytes, or floating point from 0 to 1,
    of 3 channels, or of 1, which has no saturation and no hue. Raises TypeError for other types.
    """

    def __init__(
        self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0
    ) -> None:
        self.brightness = _around("brightness", brightness, 1)
        self.contrast = _around("contrast", contrast, 1)
        self.saturation = _around("saturation", saturation, 1)
        self.hue = _around("hue", hue, 0)

    def planes(self, images: Array, rng: Generator) -> Array:
        check_channels("ColorJitter", images)
        if images.dtype != uint8 and not is_floating(images.dtype):
            raise TypeError(
                f"ColorJitter: images must be uint8 or floating point, got {images.dtype}"
            )
        backend, n = backend_of(images), len(images)
        changes = [
            (bounds, change)
            for bounds, change in (
                (self.brightness, _brightened),
                (self.contrast, _contrasted),
                (self.saturation, _saturated),
                (self.hue, _turned),
            )
            if bounds is not None
        ]
        numbers, order = (
            uniform_by_image(rng.next_key(), n, (len(changes),), "float64", host) for _ in range(2)
        )
        order = order.argsort(axis=1)
        done = images.astype(images.dtype)  # a copy
        done = done[:, None] if images.ndim == 3 else done
        for step in range(len(changes)):
            for i, ((low, high), change) in enumerate(changes):
                which = np.flatnonzero(order[:, step] == i)
                if len(which) and ((images.ndim == 4 and images.shape[1] == 3) or change in GREYS):
                    factor = (low + (high - low) * numbers[which, i]).reshape(-1, 1, 1, 1)
                    at = backend.from_host(which)
                    done[at] = change(done[at], factor)
        return done.reshape(images.shape)


def _around(argument: str, value: Any, middle: int) -> tuple[float, float] | None:
    """The interval of a factor about 1, or of a turn about 0; None if nothing is changed."""
    bounds = {"least": 0.0} if middle else {"least": -0.5, "most": 0.5}
    if len(several(value)) == 1:
        (single,) = several(value)
        v = real("ColorJitter", argument, single, least=0, **({} if middle else {"most": 0.5}))
        low, high = (max(0.0, 1 - v), 1 + v) if middle else (-v, v)
    else:
        low, high = interval("ColorJitter", argument, value, **bounds)
    return None if low == high == middle else (low, high)


def _largest(images: Array) -> int:
    return 255 if images.dtype == uint8 else 1


def _wide(images: Array) -> Any:
    """The type to compute in."""
    return float64 if images.dtype == float64 else float32


def _mixed(images: Array, other: Array | None, factor: Array) -> Array:
    """factor·images + (1 - factor)·other, or without that for black, cut to the range."""
    backend, wide = backend_of(images), _wide(images)
    share = backend.from_host(factor.astype(wide))
    sums = share * images.astype(wide)
    if other is not None:
        sums += backend.from_host((1 - factor).astype(wide)) * other.astype(wide)
    return sums.clip(0, _largest(images)).astype(images.dtype)


def _brightened(images: Array, factor: Array) -> Array:
    return _mixed(images, None, factor)


def _contrasted(images: Array, factor: Array) -> Array:
    bright = images if images.shape[1] == 1 else grey(images, rounded=False)
    return _mixed(images, bright.mean(axis=(1, 2, 3), keepdims=True, dtype=_wide(images)), factor)


GREYS = (_brightened, _contrasted)  # what there is to change in shades of grey


def _saturated(images: Array, factor: Array) -> Array:
    return _mixed(images, grey(images, rounded=False), factor)


def _turned(images: Array, turn: Array) -> Array:
    """Images (N, 3, H, W) with their colours turned on the circle of hues (Smith 1978)."""
    backend, wide = backend_of(images), _wide(images)
    xp = backend.xp
    colours = images.astype(wide)
    if images.dtype == uint8:
        colours /= 255
    red, green, blue = (colours[:, i] for i in range(3))
    value, least = colours.max(axis=1), colours.min(axis=1)  # (N, H, W)
    chroma = value - least
    part = xp.where(chroma == 0, 1, chroma)
    sixth = xp.where(
        value == red,
        (green - blue) / part,
        xp.where(value == green, 2 + (blue - red) / part, 4 + (red - green) / part),
    )
    hue = sixth / 6 + backend.from_host(turn.astype(wide))[:, 0]  # in turns, and any number of them
    # Each colour is the value, less up to the chroma by how far its own hue is away.
    away = (6 * hue[:, None] + backend.from_host(np.array([5, 3, 1], wide)).reshape(3, 1, 1)) % 6
    done = value[:, None] - chroma[:, None] * xp.minimum(away, 4 - away).clip(0, 1)
    if images.dtype == uint8:
        done = done * (256 - 1e-3)  # as torchvision makes bytes of numbers from 0 to 1
    return done.astype(images.dtype)
