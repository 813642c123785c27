"""Datasets: sequences of samples that may know how to hand out many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backends import host
from ...creation import stack, tensor
from ...device import device as Device
from ...random import Generator
from ...tensor import Tensor


class Dataset:
    """A sequence of samples: subclasses define `__getitem__` and `__len__`, as in PyTorch.

    A dataset that can hand out a whole batch as array operations overrides `get_batch`; that is
    what makes loading fast.
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} defines no __len__")

    def get_batch(self, indices: Any, rng: Generator) -> Any:
        """The samples at `indices` (an int64 array) as a batch; random choices come from `rng`.

        The indices are on the host, or on the `device` of a dataset that has this attribute.
        """
        return collate([self[int(i)] for i in indices])


class TensorDataset(Dataset):
    """Tensors of one length; sample i is (t[i] for each). Raises ValueError for uneven lengths."""

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors or len({len(t) for t in tensors}) != 1:
            raise ValueError(f"TensorDataset: lengths {[len(t) for t in tensors]} must be equal")
        self.tensors = tensors

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def get_batch(self, indices: Any, rng: Generator) -> list[Tensor]:
        return [t[indices] for t in self.tensors]


class Subset(Dataset):
    """The samples of a dataset at the given indices, in that order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset: Any = dataset
        self.indices = host.asarray([int(i) for i in indices], dtype="int64")
        if len(self.indices) and not (
            self.indices.min() >= -len(dataset) and self.indices.max() < len(dataset)
        ):
            raise IndexError(f"Subset: indices must lie within the {len(dataset)} samples")

    @property
    def device(self) -> Device:
        """Where the dataset is; the host, if it does not say."""
        return getattr(self.dataset, "device", Device("cpu"))

    def to(self, device: Any) -> Subset:
        """The same samples of `dataset.to(device)`."""
        moved = Subset(self.dataset.to(device), ())
        moved.indices = moved.device.backend.asarray(self.indices)
        return moved

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __len__(self) -> int:
        return len(self.indices)

    def get_batch(self, indices: Any, rng: Generator) -> Any:
        if not hasattr(self.dataset, "get_batch"):
            return collate([self[int(i)] for i in indices])
        return self.dataset.get_batch(self.indices[indices], rng)


def collate(samples: list[Any]) -> Any:
    """Samples as one batch: tensors, arrays and numbers stacked, tuples and dicts part by part."""
    first = samples[0]
    if isinstance(first, Tensor):
        return stack(samples)
    if isinstance(first, (tuple, list)):
        return [collate(list(part)) for part in zip(*samples, strict=True)]
    if isinstance(first, dict):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, str):
        return samples
    try:
        return tensor(host.asarray(samples)) if hasattr(first, "dtype") else tensor(samples)
    except TypeError:
        raise TypeError(
            f"collate: can't make a batch of {type(first).__name__}; a transform such as ToTensor"
            " makes tensors of images"
        ) from None
