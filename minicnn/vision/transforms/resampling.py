"""Images of another size: each pixel a weighted sum of those around its place.

Weights and, for bytes, rounding are Pillow's, to the last bit (libImaging/Resample.c): the weights
of a pixel sum to 1, are rounded to 22 bits behind the point, and the sums of whole numbers so made
are rounded to bytes after each of the two axes. A float64 holds all of these sums exactly, so that
products of matrices compute them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import numpy as np

from ...arguments import ArgumentError
from ...backends import Array, backend_of
from ...dtype import float32, float64, is_floating, uint8

BITS = 22  # behind the point of a weight, which leaves 8 for a byte and 2 for the sum
LONG = 256  # pixels of an axis from which on matrices are cut into
BLOCK = 16  # rows each, as most of their weights are 0


class InterpolationMode(Enum):
    """How a pixel between others is computed, by torchvision's names."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


def interpolation_mode(name: str, value: Any) -> InterpolationMode:
    """An InterpolationMode. Raises ArgumentError for anything else."""
    if not isinstance(value, InterpolationMode):
        choices = ", ".join(f"InterpolationMode.{mode.name}" for mode in InterpolationMode)
        raise ArgumentError(f"{name}: interpolation must be one of {choices}, got {value!r}")
    return value


def resampled(images: Array, size: tuple[int, int], mode: InterpolationMode) -> Array:
    """Images (N, …, H, W) as (N, …, H', W'), antialiased when shrinking, a new array.

    Whole numbers keep their type, rounded; bytes are Pillow's.
    """
    h, w = images.shape[-2:]
    if mode is InterpolationMode.NEAREST:
        rows, columns = (
            backend_of(images).from_host(nearest(a, b)) for a, b in zip((h, w), size, strict=True)
        )
        return images[..., rows[:, None], columns]
    own, floating = images.dtype, is_floating(images.dtype)
    if own != uint8:  # the sums of both axes are rounded once
        narrow = own.itemsize <= (4 if floating else 2)
        images = images.astype(float32 if narrow else float64, copy=False)
    # Which axis comes first shows where bytes are rounded twice; Pillow goes by this since 13.
    vertical_first = h - size[0] > max(0, 2 * (w - size[1]))
    done = images
    for last in (False, True) if vertical_first else (True, False):
        source, target = (w, size[1]) if last else (h, size[0])
        done = _weighted(done, resampling_matrix(source, target, mode), last)
    if done is images:
        done = images.astype(images.dtype)  # a copy
    if floating or own == uint8:
        return done.astype(own, copy=False)
    limits = np.iinfo(own)
    return backend_of(done).xp.rint(done).clip(limits.min, limits.max).astype(own)


def nearest(source: int, target: int) -> Array:
    """The pixel that each of `target` pixels looks at, (target,) int64.

    Its middle lies at (i + ½)·source/target. Pillow adds up to it, step by step.
    """
    step = source / target
    places = np.add.accumulate(np.full(target, step) - np.eye(1, target)[0] * step / 2)
    return places.astype("int64").clip(0, source - 1)


def resampling_matrix(source: int, target: int, mode: InterpolationMode) -> Array:
    """The (target, source) matrix of bilinear or bicubic interpolation, rows summing to 1.

    Output pixel i looks at the place (i + ½)·source/target and mixes the pixels around it by their
    distance. When shrinking, the filter is widened by the factor, so that no pixel is passed over.
    """
    scale = source / target
    reach = max(scale, 1.0)
    centre = (np.arange(target)[:, None] + 0.5) * scale  # (target, 1)
    x = abs((np.arange(source) - centre + 0.5) * (1 / reach))  # (target, source)
    if mode is InterpolationMode.BILINEAR:
        weight, support = np.maximum(0, 1 - x), 1.0
    else:  # Keys (1981), with a = -½
        near = ((1.5 * x) - 2.5) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * -0.5
        weight, support = np.where(x < 1, near, np.where(x < 2, far, 0)), 2.0
    first = (centre - support * reach + 0.5).astype("int64")  # the window that Pillow looks at
    end = (centre + support * reach + 0.5).astype("int64")
    weight *= (np.arange(source) >= first) & (np.arange(source) < end)
    return weight / np.add.accumulate(weight, axis=1)[:, -1:]  # added up in Pillow's order


def _weighted(images: Array, matrix: Array, last: bool) -> Array:
    """The weighted sums of pixels along the last axis, or along the one before.

    They are of the images' type, and bytes are rounded. Images whose size stays are not copied.
    """
    if matrix.shape[0] == matrix.shape[1]:
        return images
    backend, dtype = backend_of(images), images.dtype
    if images.dtype == uint8:
        dtype, matrix = float64, np.trunc(matrix * (1 << BITS) + np.copysign(0.5, matrix))
    done = []
    for weights, used in _blocks(matrix.astype(dtype)):
        pixels = images[..., used] if last else images[..., used, :]
        pixels = pixels.astype(dtype, order="C", copy=False)
        factor = backend.from_host(np.ascontiguousarray(weights))
        with backend.quiet():
            sums = pixels @ factor.T if last else factor @ pixels
        done.append(_bytes(sums) if images.dtype == uint8 else sums)
    return done[0] if len(done) == 1 else backend.xp.concatenate(done, axis=-1 if last else -2)


def _blocks(matrix: Array) -> Iterator[tuple[Array, slice]]:
    """The rows of a matrix, a block at a time if they are long, without columns of 0 around."""
    target, source = matrix.shape
    step = BLOCK if source > LONG else target
    for start in range(0, target, step):
        rows = matrix[start : start + step]
        columns = np.flatnonzero(rows.any(axis=0))
        used = slice(int(columns[0]), int(columns[-1]) + 1) if source > LONG else slice(0, source)
        yield rows[:, used], used


def _bytes(sums: Array) -> Array:
    """Sums of weights of BITS bits, rounded."""
    sums += 1 << (BITS - 1)
    sums *= 2.0**-BITS
    return backend_of(sums).xp.floor(sums, out=sums).clip(0, 255).astype(uint8)
