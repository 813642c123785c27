"""Image transforms, under the names of `torchvision.transforms`.

Each transform works on one image when called, as in PyTorch, and on a whole batch of raw arrays
through `batch(images, rng)`, which is what the DataLoader uses: a few array operations for a batch
in place of a Python loop over its images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backends import Array, backend_of, constant, host
from ..dtype import float32, is_floating, uint8
from ..random import Generator, default_generator
from ..tensor import Tensor

Size = int | Sequence[int]


class Transform:
    """A transform of image batches; a subclass defines `batch`, and calls work on one image.

    Images before ToTensor are uint8 (N, H, W), after it floating point (N, C, H, W). All transforms
    but ToTensor take either.
    """

    def batch(self, images: Array, rng: Generator) -> Array:
        """The transformed images, a new array; random choices are drawn from `rng`."""
        raise NotImplementedError(f"{type(self).__name__} defines no batch")

    def __call__(self, image: Any) -> Tensor:
        """One image: a Tensor (H, W) or (C, H, W), or what NumPy can read, such as PIL's."""
        array = image.array if isinstance(image, Tensor) else host.asarray(image)
        return Tensor(self.batch(array[None], default_generator.split())[0])

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v}" for k, v in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Compose(Transform):
    """Transforms one after another. Other functions among them are called image by image."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        for transform in transforms:
            if not callable(transform):
                raise TypeError(f"Compose: expected functions, got {type(transform).__name__}")
        self.transforms = list(transforms)

    def batch(self, images: Array, rng: Generator) -> Array:
        for transform in self.transforms:
            if isinstance(transform, Transform):
                images = transform.batch(images, rng)
            else:
                done = [_array(transform(Tensor(image))) for image in images]
                images = backend_of(images).xp.stack(done)
        return images

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


def _array(image: Any) -> Array:
    return image.array if isinstance(image, Tensor) else host.asarray(image)


class ToTensor(Transform):
    """uint8 images (H, W), 0 … 255, as float32 tensors (1, H, W), 0 … 1.

    A single colour image, uint8 (H, W, C), becomes (C, H, W). Floating-point images are not scaled.
    """

    def batch(self, images: Array, rng: Generator) -> Array:
        if images.ndim not in (3, 4):
            raise ValueError(
                f"ToTensor: expected images (H, W) or (H, W, C), got {images.shape[1:]}"
            )
        planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        if images.dtype != uint8:
            return planes.astype(float32 if not is_floating(images.dtype) else images.dtype)
        return planes * float32.type(1 / 255)


class Normalize(Transform):
    """(x - mean) / std, channel by channel. Raises ValueError for a std of 0."""

    def __init__(self, mean: Sequence[float] | float, std: Sequence[float] | float) -> None:
        self.mean = list(mean) if isinstance(mean, Sequence) else [mean]
        self.std = list(std) if isinstance(std, Sequence) else [std]
        if not all(self.std):
            raise ValueError(f"Normalize: std must not be 0, got {std}")

    def batch(self, images: Array, rng: Generator) -> Array:
        if images.ndim != 4 or not is_floating(images.dtype):
            raise TypeError(f"Normalize: needs ToTensor before it, got {images.dtype} images")
        channels = images.shape[1]
        if not {len(self.mean), len(self.std)} <= {1, channels}:
            raise ValueError(f"Normalize: {len(self.mean)} means for {channels} channels")
        backend = backend_of(images)
        mean, std = (
            constant(backend, _per_channel, tuple(values), images.dtype)
            for values in (self.mean, self.std)
        )
        images = images - mean
        images /= std
        return images


def _per_channel(values: tuple[float, ...], dtype: Any) -> Array:
    """Numbers as an array (C, 1, 1)."""
    return host.xp.array(values, dtype).reshape(-1, 1, 1)


def resize_matrix(source: int, target: int, dtype: Any) -> Array:
    """The (target, source) matrix of bilinear interpolation, rows summing to 1.

    Output pixel i looks at the place (i + ½)·source/target - ½ and mixes its neighbours by
    distance: a triangle of half-width 1. When shrinking, the triangle is widened by the factor, so
    that no pixel is passed over (antialiasing, as torchvision and Pillow do it).
    """
    xp = host.xp
    scale = source / target
    reach = max(scale, 1.0)
    centre = (xp.arange(target)[:, None] + 0.5) * scale  # (target, 1)
    distance = (xp.arange(source) + 0.5 - centre) / reach  # (target, source)
    weight = xp.maximum(0, 1 - abs(distance))
    return (weight / weight.sum(axis=1, keepdims=True)).astype(dtype)


class Resize(Transform):
    """Bilinear resizing, antialiased when shrinking: one small matrix product along each axis.

    `size` is (H', W'), or the new length of the shorter side. uint8 images stay uint8, rounded.
    """

    def __init__(self, size: Size) -> None:
        both = [size] if isinstance(size, int) else list(size)
        if len(both) not in (1, 2) or not all(isinstance(n, int) and n > 0 for n in both):
            raise ValueError(f"Resize: size must be one or two positive ints, got {size!r}")
        self.size = size

    def _target(self, h: int, w: int) -> tuple[int, int]:
        both = [self.size] if isinstance(self.size, int) else list(self.size)
        if len(both) == 2:
            return both[0], both[1]
        short = both[0]
        return (short, int(short * w / h)) if h <= w else (int(short * h / w), short)

    def batch(self, images: Array, rng: Generator) -> Array:
        h, w = images.shape[-2:]
        target = self._target(h, w)
        if target == (h, w):
            return images
        backend = backend_of(images)
        dtype = images.dtype if is_floating(images.dtype) else float32
        rows, columns = (
            constant(backend, resize_matrix, a, b, dtype)
            for a, b in zip((h, w), target, strict=True)
        )
        resized = rows @ (images.astype(dtype, copy=False) @ columns.T)
        if is_floating(images.dtype):
            return resized
        return backend.xp.rint(resized).clip(0, 255).astype(images.dtype)


class RandomHorizontalFlip(Transform):
    """Each image mirrored left to right with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, got {p}")
        self.p = p

    def batch(self, images: Array, rng: Generator) -> Array:
        backend = backend_of(images)
        flip = backend.uniform(rng.next_key(), (len(images),), float32) < self.p
        flip = flip.reshape(-1, *[1] * (images.ndim - 1))
        return backend.xp.where(flip, images[..., ::-1], images)


class RandomCrop(Transform):
    """A window of the given size at a random place, after `padding` zeros on each side.

    `size` is an int or (H', W'); `padding` an int. Raises ValueError if the window does not fit.
    """

    def __init__(self, size: Size, padding: int = 0) -> None:
        both = (size, size) if isinstance(size, int) else tuple(size)
        if len(both) != 2 or not all(isinstance(n, int) and n > 0 for n in both):
            raise ValueError(f"RandomCrop: size must be one or two positive ints, got {size!r}")
        if not isinstance(padding, int) or padding < 0:
            raise ValueError(f"RandomCrop: padding must be an int of at least 0, got {padding!r}")
        self.size, self.padding = both, padding

    def batch(self, images: Array, rng: Generator) -> Array:
        backend = backend_of(images)
        xp, p = backend.xp, self.padding
        around = [(0, 0)] * (images.ndim - 2) + [(p, p), (p, p)]
        padded = xp.pad(images, around) if p else images
        (h, w), (ch, cw) = padded.shape[-2:], self.size
        if ch > h or cw > w:
            raise ValueError(f"RandomCrop: {ch}×{cw} does not fit into the padded image {h}×{w}")
        n = len(images)
        top, left = (
            (backend.uniform(rng.next_key(), (n,), "float64") * places).astype("int64")
            for places in (h - ch + 1, w - cw + 1)
        )
        i = xp.arange(n)[:, None, None]
        rows = top[:, None, None] + xp.arange(ch)[:, None]  # (N, H', 1)
        columns = left[:, None, None] + xp.arange(cw)  # (N, 1, W')
        if images.ndim == 3:
            return padded[i, rows, columns]
        return padded.transpose(0, 2, 3, 1)[i, rows, columns].transpose(0, 3, 1, 2)
