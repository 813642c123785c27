"""`Resize`: images of another size, whole."""

from __future__ import annotations

from typing import Any

from ...arguments import ArgumentError, whole
from ...backends import Array
from ...random import Generator
from .resampling import InterpolationMode, interpolation_mode, resampled
from .sizes import one_or_two
from .transform import Planar


class Resize(Planar):
    """Resizing, antialiased when shrinking: a small matrix product along each axis.

    `size` is (H', W'), or the new length of the shorter side; the longer one then becomes at most
    `max_size`. `interpolation` is an InterpolationMode, of which NEAREST mixes nothing.

    Images of whole numbers keep their type, rounded; those of bytes are Pillow's, to the last bit.
    Pixels must be finite: each takes part in the products, with the factor 0 where it is far away,
    so one NaN or infinity makes NaN of all pixels of its channel. `antialias` is there for
    torchvision's sake and can't be switched off. Raises TypeError for bools.
    """

    def __init__(
        self,
        size: Any,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        self.size = one_or_two("Resize", "size", size)
        self.interpolation = interpolation_mode("Resize", interpolation)
        self.max_size: int | None = None
        if max_size is not None:
            self.max_size = whole("Resize", "max_size", max_size, self.size[0] + 1)
            if len(self.size) == 2:
                raise ArgumentError(f"Resize: max_size is for one size, got {size!r}")
        self.antialias = antialiased("Resize", antialias)

    def target(self, h: int, w: int) -> tuple[int, int]:
        """The size that an image of h×w is given, (H', W')."""
        if len(self.size) == 2:
            return self.size
        (short,) = self.size
        long = int(short * max(h, w) / min(h, w))
        if self.max_size is not None and long > self.max_size:
            short, long = int(self.max_size * short / long), self.max_size
        if not short:
            raise ArgumentError(f"Resize: an image of {h}×{w} has no pixels at max_size {long}")
        return (short, long) if h <= w else (long, short)

    def planes(self, images: Array, rng: Generator) -> Array:
        check_pixels("Resize", images)
        return resampled(images, self.target(*images.shape[-2:]), self.interpolation)

    def __repr__(self) -> str:
        size = self.size if len(self.size) == 2 else self.size[0]
        return (
            f"Resize(size={size}, interpolation={self.interpolation.value},"
            f" max_size={self.max_size}, antialias={self.antialias})"
        )


def antialiased(name: str, value: Any) -> bool:
    """True. Raises ArgumentError for anything but that and None, which leaves the choice to us."""
    if value is not None and value is not True:
        raise ArgumentError(f"{name}: antialias must be True, got {value!r}")
    return True


def check_pixels(name: str, images: Array) -> None:
    """Refuse images (N, …, H, W) without pixels, or of bools."""
    h, w = images.shape[-2:]
    if not h * w:
        raise ArgumentError(f"{name}: an image of {h}×{w} has no pixels")
    if images.dtype.kind == "b":
        raise TypeError(f"{name}: bools can't be mixed; make the images uint8 or floating point")
