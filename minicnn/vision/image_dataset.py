"""`ImageDataset`: images and their classes in memory, what all data sets here are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from ..arguments import ArgumentError
from ..backends import Array
from ..device import device as Device
from ..dtype import int64, is_floating
from ..random import Generator
from ..tensor import Tensor
from ..utils.data.collate import as_tensor, collate
from ..utils.data.dataset import Dataset, many_at_once, sample_number
from .transforms import Transform, transformed

# The ten kinds of clothing of Fashion-MNIST; a label is a place in this list.
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


Self = TypeVar("Self", bound="ImageDataset")


class ImageDataset(Dataset):
    """Images, `data` (N, H, W) or (N, H, W, C), mostly uint8, and labels, `targets` (N,) int64.

    Both are made of arrays or tensors, in whose memory they stay, or of nested lists. Sample i is
    (image, label): a Tensor in memory of its own, (H, W) or (H, W, C), and an int, or what
    `transform` makes of the one and `target_transform` of the other. Raises ArgumentError for other
    shapes, and IndexError for an i outside the N samples.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        self.data, targets = as_tensor(images), as_tensor(labels)
        if self.data.ndim not in (3, 4):
            raise ArgumentError(
                "ImageDataset: images must be (N, H, W) or (N, H, W, C), got the shape"
                f" {self.data.shape}"
            )
        if targets.dtype.kind not in "iu" or targets.shape != self.data.shape[:1]:
            raise ArgumentError(
                f"ImageDataset: labels for {len(self.data)} images must be as many whole numbers,"
                f" got the shape {targets.shape} and {targets.dtype}"
            )
        self.targets = targets.to(int64).to(self.data.device)
        self.classes = list(CLASSES)
        self.transform, self.target_transform = transform, target_transform

    @property
    def device(self) -> Device:
        """Where the images are, and batches of them will be."""
        return self.data.device

    def to(self: Self, device: Any) -> Self:
        """The same data set on a device, where batches are then put together and transformed."""
        moved = copy.copy(self)
        moved.data, moved.targets = self.data.to(device), self.targets.to(device)
        return moved

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        i = sample_number(type(self).__name__, index, len(self))
        image, label = Tensor(self.data.array[i].copy()), int(self.targets.array[i])
        if isinstance(self.transform, Transform) and self._at_once():
            image = self.transform(image, self._channels_last())
        elif self.transform is not None:
            image = self.transform(image)
        return image, label if self.target_transform is None else self.target_transform(label)

    def get_batch(self, indices: Any, rng: Generator) -> list[Any]:
        """[images, labels] of the samples at `indices` (B,), an array on the same device.

        A transform with a method `batch(images, rng)` gets all images at once, as a raw array
        (B, H, W) or (B, H, W, C); any other function is called image by image.
        """
        images, labels = self.data.array[indices], self.targets.array[indices]
        return [self._images(images, rng), self._labels(labels)]

    def _channels_last(self) -> bool | None:
        """What a transform of colour images can't tell from their element type."""
        return True if self.data.ndim == 4 and is_floating(self.data.dtype) else None

    def _at_once(self) -> bool:
        return many_at_once(self.transform, "batch", "__call__")

    def _images(self, images: Array, rng: Generator) -> Any:
        if self.transform is None:
            return Tensor(images)
        if not self._at_once():
            return collate([self.transform(Tensor(image)) for image in images])
        done = transformed(self.transform, images, rng, self._channels_last())
        if isinstance(done, (Tensor, list, dict)):  # `collate` has made it
            return done
        if len(done) != len(images):
            raise ArgumentError(
                f"{type(self).__name__}: the transform made {len(done)} images of {len(images)}"
            )
        return Tensor(done)

    def _labels(self, labels: Array) -> Any:
        if self.target_transform is None:
            return Tensor(labels)
        return collate([self.target_transform(int(label)) for label in labels])
