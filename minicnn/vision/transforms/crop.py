"""Windows of images: `CenterCrop`, `RandomCrop` and `RandomResizedCrop`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arguments import ArgumentError, number, one_of, whole
from ...backends import Array, backend_of, host
from ...dtype import fitting
from ...random import Generator, uniform_by_image
from .resampling import InterpolationMode, interpolation_mode, resampled
from .resize import antialiased, check_pixels
from .sizes import height_and_width, interval
from .tensors import several
from .transform import Planar

TRIES = 10  # of a random rectangle, until one fits


class CenterCrop(Planar):
    """The middle of an image, `size` an int or (H', W'); where it is smaller, zeros around it."""

    def __init__(self, size: Any) -> None:
        self.size = height_and_width("CenterCrop", "size", size)

    def planes(self, images: Array, rng: Generator) -> Array:
        (h, w), (ch, cw) = images.shape[-2:], self.size
        missing = [(max(0, ch - h)), max(0, cw - w)]
        if any(missing):
            around = [(m // 2, (m + 1) // 2) for m in missing]
            images = backend_of(images).xp.pad(images, [(0, 0)] * (images.ndim - 2) + around)
            h, w = images.shape[-2:]
        top, left = round((h - ch) / 2), round((w - cw) / 2)
        window = images[..., top : top + ch, left : left + cw]
        return window.astype(window.dtype)  # a copy


class RandomCrop(Planar):
    """A window of the given size at a random place, after `padding` pixels on each side.

    `size` is an int or (H', W'); `padding` an int, (left and right, top and bottom), or (left, top,
    right, bottom). `padding_mode` is "constant", which pads with the number `fill`, "edge",
    "reflect" or "symmetric", as NumPy's `pad` has them. Raises ArgumentError if the window does not
    fit.
    """

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = height_and_width("RandomCrop", "size", size)
        self.padding = padding
        self.sides = (0, 0, 0, 0) if padding is None else _sides("RandomCrop", padding)
        if pad_if_needed:
            raise ArgumentError(
                "RandomCrop: pad_if_needed must be False; give padding that is enough for all"
            )
        try:
            self.fill = number(fill)
        except TypeError:
            raise ArgumentError(f"RandomCrop: fill must be a number, got {fill!r}") from None
        modes = ("constant", "edge", "reflect", "symmetric")
        self.padding_mode = one_of("RandomCrop", "padding_mode", padding_mode, *modes)

    def planes(self, images: Array, rng: Generator) -> Array:
        backend = backend_of(images)
        xp = backend.xp
        padded = self._padded(images)
        (h, w), (ch, cw) = padded.shape[-2:], self.size
        if ch > h or cw > w:
            raise ArgumentError(f"RandomCrop: {ch}×{cw} does not fit into the padded image {h}×{w}")
        n, between = len(images), images.shape[1:-2]
        top, left = (
            (uniform_by_image(rng.next_key(), n, (), "float64", backend) * places).astype("int64")
            for places in (h - ch + 1, w - cw + 1)
        )
        i = xp.arange(n)[:, None, None]
        rows = top[:, None, None] + xp.arange(ch)[:, None]  # (N, H', 1)
        columns = left[:, None, None] + xp.arange(cw)  # (N, 1, W')
        pixels = padded.reshape(n, math.prod(between), h, w).transpose(0, 2, 3, 1)
        window = pixels[i, rows, columns].transpose(0, 3, 1, 2)
        return window.reshape(n, *between, ch, cw)

    def _padded(self, images: Array) -> Array:
        if not any(self.sides):
            return images
        left, top, right, bottom = self.sides
        around = [(0, 0)] * (images.ndim - 2) + [(top, bottom), (left, right)]
        fill = {}
        if self.padding_mode == "constant":
            fill = {"constant_values": fitting("RandomCrop", self.fill, images.dtype)}
        return backend_of(images).xp.pad(images, around, mode=self.padding_mode, **fill)

    def __repr__(self) -> str:
        more = f", fill={self.fill}" if self.fill else ""
        if self.padding_mode != "constant":
            more += f", padding_mode={self.padding_mode}"
        return f"RandomCrop(size={self.size}, padding={self.padding}{more})"


def _sides(name: str, padding: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of one, two or four whole numbers."""
    values = several(padding)
    try:
        checked = [whole(name, "padding", v, 0) for v in values]
    except ArgumentError:
        checked = []
    if len(checked) not in (1, 2, 4):
        raise ArgumentError(f"{name}: padding must be one, two or four ints ≥ 0, got {padding!r}")
    left, top, right, bottom = (checked * 4)[:4]
    return left, top, right, bottom


class RandomResizedCrop(Planar):
    """A random piece of an image, resized to `size`, an int or (H', W').

    It holds a share of the image's area within `scale`, and is so many times as wide as high as
    `ratio` says, the logarithm drawn evenly (Szegedy et al. 2015, arXiv 1409.4842, section 6). Of
    TRIES such rectangles the first that fits is taken; if none does, the largest in the middle
    whose ratio is allowed. `interpolation` and `antialias` are those of Resize.
    """

    def __init__(
        self,
        size: Any,
        scale: Any = (0.08, 1.0),
        ratio: Any = (3 / 4, 4 / 3),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        name = "RandomResizedCrop"
        self.size = height_and_width(name, "size", size)
        self.scale = interval(name, "scale", scale, least=0)
        self.ratio = interval(name, "ratio", ratio, above=0)
        self.interpolation = interpolation_mode(name, interpolation)
        self.antialias = antialiased(name, antialias)

    def planes(self, images: Array, rng: Generator) -> Array:
        check_pixels("RandomResizedCrop", images)
        h, w = images.shape[-2:]
        fit = rectangles(rng, len(images), (h, w), self.scale, self.ratio, (h, w))
        fit = np.where(fit[:, 2:3] > 0, fit, [self._middle(h, w)])
        pieces = [
            resampled(image[None, ..., t : t + ph, left : left + pw], self.size, self.interpolation)
            for image, (t, left, ph, pw) in zip(images, fit.tolist(), strict=True)
        ]
        if not pieces:
            return images.astype(images.dtype).reshape(0, *images.shape[1:-2], *self.size)
        return backend_of(images).xp.concatenate(pieces)

    def _middle(self, h: int, w: int) -> tuple[int, int, int, int]:
        """The largest rectangle in the middle whose ratio is allowed."""
        least, most = self.ratio
        ph, pw = h, w
        if w / h < least:
            ph = round(w / least)
        elif w / h > most:
            pw = round(h * most)
        return (h - ph) // 2, (w - pw) // 2, ph, pw

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(v, 4) for v in pair) for pair in (self.scale, self.ratio))
        return (
            f"RandomResizedCrop(size={self.size}, scale={scale}, ratio={ratio},"
            f" interpolation={self.interpolation.value}, antialias={self.antialias})"
        )


def rectangles(
    rng: Generator,
    n: int,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    most: tuple[int, int],
) -> Array:
    """n random rectangles in images of h×w: (top, left, height, width), (n, 4) int64 on the host.

    Shares of the area lie within `scale`, width by height within `ratio`. One that is higher or
    wider than `most` does not fit, and of TRIES the first that does is taken; all are 0 if none.
    """
    h, w = size
    numbers, place = (
        uniform_by_image(rng.next_key(), n, each, "float64", host).swapaxes(0, 1)
        for each in ((2, TRIES), (2,))
    )
    area = h * w * (scale[0] + (scale[1] - scale[0]) * numbers[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    wide = np.exp(low + (high - low) * numbers[1])
    widths = np.rint(np.sqrt(area * wide)).astype("int64")  # (n, TRIES)
    heights = np.rint(np.sqrt(area / wide)).astype("int64")
    fits = (widths > 0) & (widths <= most[1]) & (heights > 0) & (heights <= most[0])
    first = np.arange(n), fits.argmax(axis=1)
    height, width = heights[first], widths[first]
    top, left = place[0] * (h - height + 1), place[1] * (w - width + 1)
    found = np.stack([top.astype("int64"), left.astype("int64"), height, width], axis=1)
    return np.where(fits.any(axis=1)[:, None], found, 0)
