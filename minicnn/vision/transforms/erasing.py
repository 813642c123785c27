"""`RandomErasing`: a rectangle of an image painted over."""

from __future__ import annotations

from typing import Any

from ...arguments import ArgumentError, number, real
from ...backends import Array, backend_of, host
from ...dtype import fitting, is_floating
from ...random import Generator, normal_by_image, uniform_by_image
from .crop import rectangles
from .sizes import interval
from .tensors import several
from .transform import Planar


class RandomErasing(Planar):
    """A random rectangle of each image painted over, with probability p.

    Zhong et al. (2017), arXiv 1708.04896. It covers a share of the image within `scale`, and is so
    many times as high as wide as `ratio` says, the logarithm drawn evenly. `value` is a number, one
    for each channel, or "random", normally distributed noise in floating-point images. Images are
    never changed in place; `inplace` is there for torchvision's sake.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Any = (0.02, 0.33),
        ratio: Any = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        name = "RandomErasing"
        self.p = real(name, "p", p, least=0, most=1)
        self.scale = interval(name, "scale", scale, least=0, most=1)
        self.ratio = interval(name, "ratio", ratio, above=0)
        self.value = value if value == "random" else _colour(value)
        if inplace:
            raise ArgumentError("RandomErasing: inplace must be False; images are not changed")
        self.inplace = False

    def planes(self, images: Array, rng: Generator) -> Array:
        backend, (h, w), n = backend_of(images), images.shape[-2:], len(images)
        erased = uniform_by_image(rng.next_key(), n, (), "float64", host) < self.p
        # A rectangle as high or as wide as the image does not count, as in torchvision.
        high = (1 / self.ratio[1], 1 / self.ratio[0])  # width by height
        fit = rectangles(rng, n, (h, w), self.scale, high, (h - 1, w - 1)) * erased[:, None]
        ones = [1] * (images.ndim - 1)
        top, left, ph, pw = (backend.from_host(part.reshape(-1, *ones)) for part in fit.T.copy())
        rows, columns = backend.xp.arange(h)[:, None], backend.xp.arange(w)
        inside = (rows >= top) & (rows < top + ph) & (columns >= left) & (columns < left + pw)
        return backend.xp.where(inside, self._paint(images, rng), images)

    def _paint(self, images: Array, rng: Generator) -> Array:
        backend = backend_of(images)
        if self.value == "random":
            if not is_floating(images.dtype):
                raise TypeError(
                    f"RandomErasing: value='random' needs floating-point images, got {images.dtype}"
                )
            noise = normal_by_image(rng.next_key(), len(images), images.shape[1:], "float64")
            return backend.from_host(noise.astype(images.dtype))
        channels = images.shape[-3] if images.ndim > 3 else 1
        if len(self.value) not in (1, channels):
            raise ArgumentError(
                f"RandomErasing: value has {len(self.value)} numbers for {channels} channels"
            )
        shape = (-1, 1, 1) if images.ndim > 3 else ()
        value = [fitting("RandomErasing", v, images.dtype) for v in self.value]
        return backend.from_host(host.xp.array(value, images.dtype).reshape(shape))

    def __repr__(self) -> str:
        value = self.value[0] if len(self.value) == 1 else self.value
        return (
            f"RandomErasing(p={self.p}, scale={self.scale}, ratio={self.ratio}, value={value},"
            f" inplace={self.inplace})"
        )


def _colour(value: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(number(v) for v in several(value))
    except TypeError:
        numbers = ()
    if not numbers:
        raise ArgumentError(
            "RandomErasing: value must be a number, one for each channel, or 'random', got"
            f" {value!r}"
        )
    return numbers
