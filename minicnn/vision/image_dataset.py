"""`ImageDataset`: images and their classes, the base of all data sets here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..arguments import ArgumentError
from ..backends import Array
from ..device import device as Device
from ..dtype import int64, is_floating
from ..random import Generator
from ..tensor import Tensor
from ..utils.data.collate import as_tensor, collate
from ..utils.data.dataset import Dataset, many_at_once, sample_number
from .transforms.transform import Transform, transformed

Self = TypeVar("Self", bound="ImageDataset")


class ImageDataset(Dataset):
    """Images, `data` (N, H, W) or (N, H, W, C), mostly uint8, and labels, `targets` (N,) int64.

    Both are given as arrays or tensors, whose memory they share, or as nested lists. Sample i is
    (image, label): a copy of the image as a Tensor (H, W) or (H, W, C), and an int, or what
    `transform` and `target_transform` make of them. `classes` has the names of the labels, from 0
    on; unless given, these are their numbers. Raises ArgumentError for other
    shapes, and IndexError for an i outside the N samples.

    A subclass whose images are not in memory has no `data`. It sets the other attributes, and
    defines `picture`, which the loader's threads call for one image after another.
    """

    root: Any = None  # as a user gave it, if anybody did
    source = "memory"  # where the images are from, in words
    per_sample: tuple[str, ...] = ("data", "targets")  # attributes with an entry for each sample

    data: Tensor
    targets: Tensor
    classes: Sequence[str]
    transform: Callable[[Any], Any] | None
    target_transform: Callable[[int], Any] | None

    def __init__(
        self,
        images: Any,
        labels: Any,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        *,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.data, targets = as_tensor(images), as_tensor(labels)
        if self.data.ndim not in (3, 4):
            raise ArgumentError(
                "ImageDataset: images must be (N, H, W) or (N, H, W, C), got the shape"
                f" {self.data.array.shape}"
            )
        if targets.dtype.kind not in "iu" or targets.shape != self.data.shape[:1]:
            raise ArgumentError(
                f"ImageDataset: labels for {len(self.data)} images must be as many whole numbers,"
                f" got the shape {targets.array.shape} and {targets.dtype}"
            )
        self.targets = targets.to(int64).to(self.data.device)
        if classes is None:
            n = int(self.targets.array.max()) + 1 if len(self.targets) else 0
            classes = [str(label) for label in range(n)]
        self.classes = list(classes)
        self.transform, self.target_transform = transform, target_transform

    @property
    def in_memory(self) -> bool:
        """Whether there is `data`, all images as one Tensor."""
        return hasattr(self, "data")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class."""
        return {name: label for label, name in enumerate(self.classes)}

    @property
    def device(self) -> Device:
        """The device of the labels, of the images if they are in memory, and of batches."""
        return self.targets.device

    def to(self: Self, device: Any) -> Self:
        """The same data set on a device, where its batches are then put together.

        Images in memory are there, too, and transformed there.
        """
        moved = copy.copy(self)
        for name in self.per_sample:
            value = getattr(self, name, None)
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved

    def part(self: Self, which: Any, transform: Callable[[Any], Any] | None) -> Self:
        """The samples that a slice or an array of numbers names, with another transform."""
        part = copy.copy(self)
        for name in self.per_sample:
            value = getattr(self, name, None)
            if isinstance(value, Tensor):
                setattr(part, name, Tensor(value.array[which]))
            elif value is not None:
                setattr(part, name, [value[i] for i in np.arange(len(value))[which]])
        part.transform = transform
        return part

    def __len__(self) -> int:
        return len(self.targets)

    def picture(self, index: int) -> Any:
        """Image `index`, 0 … N-1, before the transform: a Tensor in memory of its own."""
        return Tensor(self.data.array[index].copy())

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        i = sample_number(type(self).__name__, index, len(self))
        image, label = self._transformed(self.picture(i), None), int(self.targets.array[i])
        return image, label if self.target_transform is None else self.target_transform(label)

    def get_batch(self, indices: Any, rng: Generator) -> list[Any]:
        """[images, labels] of the samples at `indices` (B,), an array on the same device.

        A transform with a method `batch(images, rng)` gets all images at once, as a raw array
        (B, H, W) or (B, H, W, C); any other function is called image by image. Images that are not
        in memory, which may differ in size, are transformed one by one, each with random numbers
        of its own, and must have one size then.
        """
        labels = self._labels(self.targets.array[indices])
        if self.in_memory:
            return [self._images(self.data.array[indices], rng), labels]
        images = [self._transformed(self.picture(i), rng.split()) for i in indices.tolist()]
        return [_on(self._collated(images, indices), self.device), labels]

    def _collated(self, images: list[Any], indices: Any) -> Any:
        return collate(images)

    def _channels_last(self) -> bool | None:
        """What a transform of colour images can't tell from their element type."""
        colour = self.in_memory and self.data.ndim == 4 and is_floating(self.data.dtype)
        return True if colour else None

    def _at_once(self) -> bool:
        return many_at_once(self.transform, "batch", "__call__")

    def _transformed(self, image: Any, rng: Generator | None) -> Any:
        """What the transform makes of one image; its random numbers come from `rng` if given."""
        if isinstance(self.transform, Transform) and self._at_once():
            return self.transform(image, self._channels_last(), rng)
        return image if self.transform is None else self.transform(image)

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

    def extra_repr(self) -> str:
        """Further lines for `repr`."""
        return ""

    def __repr__(self) -> str:
        """What torchvision prints of a data set."""
        body = [f"Number of datapoints: {len(self)}"]
        body += [] if self.root is None else [f"Root location: {self.root}"]
        body += self.extra_repr().splitlines()
        named = [("Transform", self.transform), ("Target transform", self.target_transform)]
        given = [f"{name}: {_indented(t, len(name) + 2)}" for name, t in named if t is not None]
        body += ["\n".join(["StandardTransform", *given])] if given else []
        return "\n".join([f"Dataset {type(self).__name__}", *(f"    {line}" for line in body)])


def _indented(value: Any, width: int) -> str:
    return repr(value).replace("\n", "\n" + " " * width)


def _on(batch: Any, device: Device) -> Any:
    """What `collate` has made, its tensors on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _on(value, device) for key, value in batch.items()}
    return [_on(value, device) for value in batch] if isinstance(batch, list) else batch
