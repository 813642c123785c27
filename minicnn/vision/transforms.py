"""Image transforms, under the names of `torchvision.transforms`.

Each transform works on one image when called, as in PyTorch, and on a whole batch of raw arrays
through `batch(images, rng)`, which is what the DataLoader uses: a few array operations for a batch
in place of a Python loop over its images.

`ToTensor` is the border. Before it images are (H, W) or (H, W, C), after it (C, H, W); a batch has
an axis N in front. A Compose that holds a ToTensor knows on which side of it a transform stands.
Where there is none, the kind of image says it:

    PIL images, and arrays and Tensors of whole numbers or bools    (H, W) or (H, W, C)
    floating-point Tensors, and raw floating-point batches          (H, W) or (C, H, W)

A single floating-point array with channels may be either and is refused, and so are whole numbers
whose shape can only be meant as (C, H, W), at most 4 in front and more at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..arguments import ArgumentError, real, whole
from ..backends import Array, backend_of, constant, host
from ..dtype import float32, float64, is_floating, uint8
from ..grad_mode import is_grad_enabled
from ..random import Generator, default_generator
from ..tensor import Tensor
from ..utils.data.collate import as_tensor, collate
from ..utils.data.dataset import many_at_once


class Transform:
    """A transform of image batches; a subclass defines `batch`, and calls work on one image."""

    def batch(self, images: Array, rng: Generator) -> Array:
        """The transformed images, a new array; random choices are drawn from `rng`."""
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
        images = _array(type(self).__name__, image)[None]
        return Tensor(transformed(self, images, rng, channels_last)[0])

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v}" for k, v in vars(self).items())
        return f"{type(self).__name__}({settings})"


def transformed(transform: Any, images: Array, rng: Generator, channels_last: bool | None) -> Any:
    """`transform.batch(images, rng)`, told where channels are if the transform wants to know."""
    if many_at_once(transform, "in_layout", "batch"):
        return transform.in_layout(images, rng, channels_last)
    return transform.batch(images, rng)


def _at_once(transform: Any) -> bool:
    return isinstance(transform, Transform) and many_at_once(transform, "batch", "__call__")


def _array(name: str, image: Any) -> Array:
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


def _check_pictures(name: str, images: Array) -> None:
    """Refuse what is not (N, H, W) or (N, H, W, C)."""
    shape = tuple(images.shape)
    if len(shape) not in (3, 4):
        raise ArgumentError(f"{name}: expected images (H, W) or (H, W, C), got {shape[1:]}")
    if len(shape) == 4 and shape[1] <= 4 < shape[3]:
        raise ArgumentError(
            f"{name}: before ToTensor images are (H, W) or (H, W, C), and {shape[1:]} looks like"
            " (C, H, W); move the channels to the end"
        )


class Compose(Transform):
    """Transforms one after another. Other functions among them are called image by image.

    A function gets a Tensor, or the image itself if it stands first in a call, and its result is
    one image in the layout of its place; only after the last transform may it be something else.
    """

    def __init__(self, transforms: Iterable[Callable[[Any], Any]]) -> None:
        if not isinstance(transforms, Iterable):
            raise TypeError(f"Compose: expected functions in a list, got {transforms!r}")
        self.transforms = list(transforms)
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(f"Compose: expected functions, got {type(transform).__name__}")

    def _steps(self) -> list[Any]:
        """The transforms, with those of a Compose among them in its place."""
        steps: list[Any] = []
        for transform in self.transforms:
            steps += transform._steps() if type(transform) is Compose else [transform]
        return steps

    def batch(self, images: Array, rng: Generator) -> Any:
        """The transformed images, an array; if functions stand last, what `collate` makes of them.

        `collate`'s tensor is given as its array, too.
        """
        return self.in_layout(images, rng, None)

    def in_layout(self, images: Array, rng: Generator, channels_last: bool | None) -> Any:
        done = self._through(images, rng, channels_last)
        if isinstance(done, list):
            done = collate(done)
        return done.array if isinstance(done, Tensor) else done

    def __call__(
        self, image: Any, channels_last: bool | None = None, rng: Generator | None = None
    ) -> Any:
        rng = default_generator.split() if rng is None else rng
        done = self._through([image], rng, channels_last)
        return done[0] if isinstance(done, list) else Tensor(done[0])

    def _through(self, images: Any, rng: Generator, channels_last: bool | None) -> Any:
        """What the steps make of images: an array (N, …), or a list where functions stand last.

        They come in either form, too. What is in a list no transform here has made.
        """
        device = None if isinstance(images, list) else Tensor(images).device
        layout_is_given = channels_last is not None
        if channels_last is None and _makes_tensors(self):
            channels_last = True
        for step in self._steps():
            if not _at_once(step):
                images = [step(x) for x in _listed(images)]
                layout_is_given = False
                continue
            if isinstance(images, list):
                for x in () if layout_is_given else images:
                    channels_last = step.layout(x, channels_last)
                stacked = collate([Tensor(_array(type(step).__name__, x)) for x in images])
                images = (stacked if device is None else stacked.to(device)).array
            images = transformed(step, images, rng, channels_last)
            if _makes_tensors(step):
                channels_last = False
        return images


def _listed(images: Any) -> Iterable[Any]:
    return images if isinstance(images, list) else map(Tensor, images)


def _makes_tensors(step: Any) -> bool:
    """Whether a ToTensor is in it, or it is one."""
    inner = step.transforms if isinstance(step, Compose) else ()
    return isinstance(step, ToTensor) or any(map(_makes_tensors, inner))


class ToTensor(Transform):
    """Images (H, W) or (H, W, C) as Tensors (C, H, W): uint8, 0 … 255, as float32, 0 … 1.

    Images of all other types are not scaled and keep their type, as in torchvision.
    """

    def layout(self, image: Any, channels_last: bool | None) -> bool | None:
        return super().layout(image, True if channels_last is None else channels_last)

    def in_layout(self, images: Array, rng: Generator, channels_last: bool | None) -> Array:
        if channels_last is False:
            raise TypeError("ToTensor: the images are (C, H, W) already; is it there twice?")
        _check_pictures("ToTensor", images)
        planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        if images.dtype != uint8:
            return planes.astype(images.dtype)  # a copy
        return planes * float32.type(1 / 255)


class Normalize(Transform):
    """(x - mean) / std, channel by channel, of floating-point images (C, H, W).

    `mean` and `std` are numbers, one or as many as there are channels. Raises ArgumentError for a
    std of 0 and for another number of channels.
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (
            tuple(real("Normalize", argument, v) for v in _several(values))
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


def _several(values: Any) -> tuple[Any, ...]:
    """A number, or several in a sequence, an array or a tensor, as a tuple."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, Sequence):
        return (values,)
    return tuple(v.tolist() if hasattr(v, "tolist") else v for v in values)


def _sizes(name: str, size: Any) -> tuple[int, ...]:
    """One or two whole numbers of at least 1."""
    try:
        sizes = tuple(whole(name, "size", n, 1) for n in _several(size))
    except ArgumentError:
        sizes = ()
    if len(sizes) not in (1, 2):
        raise ArgumentError(f"{name}: size must be one or two ints ≥ 1, got {size!r}")
    return sizes


def resize_matrix(source: int, target: int, dtype: Any) -> Array:
    """The (target, source) matrix of bilinear interpolation, rows summing to 1.

    Output pixel i looks at the place (i + ½)·source/target - ½ and mixes its neighbours by
    distance: a triangle of half-width 1. When shrinking, the triangle is widened by the factor, so
    that no pixel is passed over (antialiasing, as torchvision and Pillow do it).
    """
    scale = source / target
    reach = max(scale, 1.0)
    centre = (np.arange(target)[:, None] + 0.5) * scale  # (target, 1)
    distance = (np.arange(source) + 0.5 - centre) / reach  # (target, source)
    weight = np.maximum(0, 1 - abs(distance))
    return (weight / weight.sum(axis=1, keepdims=True)).astype(dtype)


class Geometric(Transform):
    """A transform that moves pixels and treats channels alike; a subclass defines `planes`."""

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
            channels_last = not is_floating(images.dtype)
        if channels_last:
            _check_pictures(name, images)
        elif images.ndim < 3:
            raise ArgumentError(
                f"{name}: expected images (H, W) or (C, H, W), got {tuple(images.shape[1:])}"
            )
        if images.ndim == 3 or not channels_last:
            return self.planes(images, rng)
        return self.planes(images.transpose(0, 3, 1, 2), rng).transpose(0, 2, 3, 1)


class Resize(Geometric):
    """Bilinear resizing, antialiased when shrinking: one small matrix product along each axis.

    `size` is (H', W'), or the new length of the shorter side. Images of whole numbers keep their
    type, rounded. Pixels must be finite: each takes part in the products, with the factor 0 where
    it is far away, so one NaN or infinity makes NaN of all pixels of its channel. Raises TypeError
    for bools.
    """

    def __init__(self, size: Any) -> None:
        self.size = _sizes("Resize", size)

    def _target(self, h: int, w: int) -> tuple[int, int]:
        if len(self.size) == 2:
            return self.size
        (short,) = self.size
        return (short, int(short * w / h)) if h <= w else (int(short * h / w), short)

    def planes(self, images: Array, rng: Generator) -> Array:
        h, w = images.shape[-2:]
        if not h * w:
            raise ArgumentError(f"Resize: an image of {h}×{w} has no pixels")
        if images.dtype.kind == "b":
            raise TypeError("Resize: bools can't be mixed; make the images uint8 or floating point")
        target = self._target(h, w)
        if target == (h, w):
            return images.astype(images.dtype)  # a copy
        backend, own = backend_of(images), images.dtype
        narrow = own.itemsize <= (2 if own.kind in "ui" else 4)
        dtype = float32 if narrow else float64
        rows, columns = (
            backend.from_host(resize_matrix(a, b, dtype))
            for a, b in zip((h, w), target, strict=True)
        )
        with backend.quiet():
            resized = rows @ (images.astype(dtype, order="C", copy=False) @ columns.T)
        if not is_floating(own):
            limits = np.iinfo(own)
            resized = backend.xp.rint(resized).clip(limits.min, limits.max)
        return resized.astype(own, copy=False)


class RandomHorizontalFlip(Geometric):
    """Each image mirrored left to right with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = real("RandomHorizontalFlip", "p", p, least=0, most=1)

    def planes(self, images: Array, rng: Generator) -> Array:
        backend = backend_of(images)
        flip = backend.uniform(rng.next_key(), (len(images),), float32) < self.p
        flip = flip.reshape(-1, *[1] * (images.ndim - 1))
        return backend.xp.where(flip, images[..., ::-1], images)


class RandomCrop(Geometric):
    """A window of the given size at a random place, after `padding` zeros on each side.

    `size` is an int or (H', W'); `padding` an int. Raises ArgumentError if the window does not fit.
    """

    def __init__(self, size: Any, padding: int | None = None) -> None:
        self.size = (_sizes("RandomCrop", size) * 2)[:2]
        self.padding = 0 if padding is None else whole("RandomCrop", "padding", padding, 0)

    def planes(self, images: Array, rng: Generator) -> Array:
        backend = backend_of(images)
        xp, p = backend.xp, self.padding
        around = [(0, 0)] * (images.ndim - 2) + [(p, p), (p, p)]
        padded = xp.pad(images, around) if p else images
        (h, w), (ch, cw) = padded.shape[-2:], self.size
        if ch > h or cw > w:
            raise ArgumentError(f"RandomCrop: {ch}×{cw} does not fit into the padded image {h}×{w}")
        n, between = len(images), images.shape[1:-2]
        top, left = (
            (backend.uniform(rng.next_key(), (n,), "float64") * places).astype("int64")
            for places in (h - ch + 1, w - cw + 1)
        )
        i = xp.arange(n)[:, None, None]
        rows = top[:, None, None] + xp.arange(ch)[:, None]  # (N, H', 1)
        columns = left[:, None, None] + xp.arange(cw)  # (N, 1, W')
        pixels = padded.reshape(n, math.prod(between), h, w).transpose(0, 2, 3, 1)
        window = pixels[i, rows, columns].transpose(0, 3, 1, 2)
        return window.reshape(n, *between, ch, cw)
