"""Mirrored images."""

from __future__ import annotations

from ...arguments import real
from ...backends import Array, backend_of
from ...dtype import float32
from ...random import Generator, uniform_by_image
from .transform import Planar


class RandomHorizontalFlip(Planar):
    """Each image mirrored left to right with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = real("RandomHorizontalFlip", "p", p, least=0, most=1)

    def planes(self, images: Array, rng: Generator) -> Array:
        backend = backend_of(images)
        flip = uniform_by_image(rng.next_key(), len(images), (), float32, backend) < self.p
        flip = flip.reshape(-1, *[1] * (images.ndim - 1))
        return backend.xp.where(flip, images[..., ::-1], images)
