"""`FakeData`: noise for images, where a program is to run and the data does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arguments import ArgumentError, whole
from ...backends import host
from ...dtype import int64
from ...random import Generator, integers
from ...tensor import Tensor
from ..image_dataset import ImageDataset


class FakeData(ImageDataset):
    """Images of random bytes in random classes, as `torchvision.datasets.FakeData` has them.

    `image_size` is (C, H, W), as in torchvision; samples are uint8 (H, W, C), and (H, W) for one
    channel. Sample i is drawn when it is asked for, always the same, from the number i +
    `random_offset`. Raises ArgumentError for sizes below 1 and a negative offset.
    """

    source = "drawn at random"
    per_sample = (*ImageDataset.per_sample, "numbers")

    def __init__(
        self,
        size: int = 1000,
        image_size: Sequence[int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        random_offset: int = 0,
    ) -> None:
        self.size = whole("FakeData", "size", size, 0)
        self.num_classes = whole("FakeData", "num_classes", num_classes, 1)
        offset = whole("FakeData", "random_offset", random_offset, 0)
        try:
            c, h, w = (whole("FakeData", "image_size", n, 1) for n in image_size)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"FakeData: image_size must be (C, H, W), ints ≥ 1, got {image_size!r}"
            ) from None
        self.shape = (h, w) if c == 1 else (h, w, c)
        self.random_offset = offset
        self.numbers = list(range(offset, offset + self.size))
        labels = [int(integers(_of(n).next_key(), 0, num_classes, ())) for n in self.numbers]
        self.targets = Tensor(np.array(labels, int64))
        self.classes = [str(label) for label in range(self.num_classes)]
        self.transform, self.target_transform = transform, target_transform

    def picture(self, index: int) -> Tensor:
        rng = _of(self.numbers[index])
        rng.next_key()  # the label's
        bytes_ = host.philox(rng.next_key()).integers(0, 256, self.shape, dtype="uint8")
        return Tensor(bytes_)


def _of(number: int) -> Generator:
    """The generator of the sample of this number."""
    return Generator().manual_seed(number)
