"""The mean and the standard deviation of images, for settings that leave them to be measured."""

from __future__ import annotations

from typing import Any

from minicnn.backends import host
from minicnn.vision.image_dataset import ImageDataset

xp = host.xp
DIGITS = 3  # after the point: more than that says nothing, and changes with a few images
MOST = 2000  # images that are decoded for it, where they are not in memory
TOGETHER = 1000  # images that are counted at a time


def measure(images: ImageDataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation of each channel, of pixels 0 … 1, rounded to 3 digits.

    They are made from counts of whole numbers, so that every computer finds the same. Of images
    that are not in memory it is 2,000 at most, evenly spread.
    """
    counts = _counts(images).astype("float64")  # (C, 256)
    total, value = counts.sum(axis=1), xp.arange(256) / 255
    mean = counts @ value / total
    std = xp.sqrt(xp.maximum(0, counts @ value**2 / total - mean**2))
    return _rounded(mean), _rounded(std)


def _counts(images: ImageDataset) -> Any:
    """How often each of the 256 values occurs, (C, 256), int64."""
    if images.in_memory:
        pixels = images.data.cpu().numpy()
        pieces = (pixels[i : i + TOGETHER] for i in range(0, len(pixels), TOGETHER))
    else:
        step = max(1, len(images) // MOST)
        pieces = (images.picture(i).numpy()[None] for i in range(0, len(images), step))
    return sum(_of(piece) for piece in pieces)


def _of(pixels: Any) -> Any:
    """The same of pixels (N, H, W) or (N, H, W, C)."""
    planes = pixels[..., None] if pixels.ndim == 3 else pixels
    channels = range(planes.shape[-1])
    return xp.stack([xp.bincount(planes[..., c].ravel(), minlength=256) for c in channels])


def _rounded(values: Any) -> tuple[float, ...]:
    return tuple(round(value, DIGITS) for value in values.tolist())
