"""`ImageDataset`: images and their classes in memory, what all data sets here are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from ..backends import Array
from ..device import device as Device
from ..random import Generator
from ..tensor import Tensor
from ..utils.data.dataset import Dataset, collate

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
    """Grey images, `data` (N, 28, 28) uint8, and their labels, `targets` (N,) int64.

    Sample i is (image, label): a Tensor (28, 28) and an int, or what `transform` makes of the one
    and `target_transform` of the other. Raises IndexError for an i outside the N samples.
    """

    def __init__(
        self,
        images: Array,
        labels: Array,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        self.data, self.targets = Tensor(images), Tensor(labels)
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
        image, label = Tensor(self.data.array[index]), int(self.targets.array[index])
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )

    def get_batch(self, indices: Any, rng: Generator) -> list[Any]:
        """[images, labels] of the samples at `indices` (B,), an array on the same device.

        A transform with a method `batch(images, rng)` gets all images at once, as a raw array
        (B, 28, 28); any other function is called image by image.
        """
        images, labels = self.data.array[indices], self.targets.array[indices]
        return [self._images(images, rng), self._labels(labels)]

    def _images(self, images: Array, rng: Generator) -> Any:
        if self.transform is None:
            return Tensor(images)
        if hasattr(self.transform, "batch"):
            return Tensor(self.transform.batch(images, rng))
        return collate([self.transform(Tensor(image)) for image in images])

    def _labels(self, labels: Array) -> Any:
        if self.target_transform is None:
            return Tensor(labels)
        return collate([self.target_transform(int(label)) for label in labels])
