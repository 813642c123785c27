"""Datasets: sequences of samples, some of which can make a whole batch at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...arguments import ArgumentError, real, whole
from ...device import device as Device
from ...random import Generator, next_key, permutation
from ...tensor import Tensor
from .collate import as_tensor, collate


class Dataset:
    """A sequence of samples: subclasses define `__getitem__` and `__len__`, as in PyTorch.

    A dataset that can hand out a whole batch as array operations overrides `get_batch`; that is
    what makes loading fast.
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__")

    def __len__(self) -> int:
        # TypeError is what list() and others expect of an object without a length.
        raise TypeError(f"{type(self).__name__} defines no __len__")

    def get_batch(self, indices: Any, rng: Generator) -> Any:
        """The samples at `indices` (an int64 array) as a batch; random numbers come from `rng`.

        The indices are on the host, or on the `device` of a dataset that has this attribute.
        """
        return collate([self[int(i)] for i in indices])


class TensorDataset(Dataset):
    """Tensors of the same length; sample i is the tuple of their t[i]. i may be a slice or list.

    Arrays become tensors in the same memory. Raises ArgumentError for uneven lengths.
    """

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(map(as_tensor, tensors))
        lengths = [len(t) if t.ndim else None for t in self.tensors]
        if None in lengths or len(set(lengths)) != 1:
            raise ArgumentError(f"TensorDataset: needs tensors of one length, got {lengths}")

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        many = isinstance(index, (slice, list)) or getattr(index, "ndim", 0) > 0
        at = index if many else sample_number("TensorDataset", index, len(self))
        return tuple(t[at] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def get_batch(self, indices: Any, rng: Generator) -> list[Tensor]:
        return [t[indices] for t in self.tensors]


class Subset(Dataset):
    """The samples of a dataset at the given indices, in that order.

    `indices` are whole numbers: a list, a range, an array or a tensor. A slice or a list of places
    in the subset asks the dataset for a list of samples, as in PyTorch. Raises TypeError for an
    index that is no whole number, such as those of a mask, and IndexError for one out of range.
    """

    def __init__(self, dataset: Any, indices: Iterable[Any]) -> None:
        self.dataset, n = dataset, len(dataset)
        numbers = indices.tolist() if hasattr(indices, "tolist") else indices
        if not isinstance(numbers, Iterable):
            raise TypeError(f"Subset: indices must be several numbers, got {indices!r}")
        checked = [sample_number("Subset", i, n) for i in numbers]
        self.indices = np.asarray(checked, dtype="int64")

    @property
    def device(self) -> Device:
        """The device of the dataset; the host, if it has none."""
        return device_of(self.dataset) or Device("cpu")

    def to(self, device: Any) -> Subset:
        """The same samples of `dataset.to(device)`."""
        moved = Subset(self.dataset.to(device), ())
        moved.indices = moved.device.backend.xp.asarray(self.indices)
        return moved

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (slice, list)):
            return self.dataset[self.indices[index].tolist()]
        return self.dataset[int(self.indices[sample_number("Subset", index, len(self))])]

    def __len__(self) -> int:
        return len(self.indices)

    def get_batch(self, indices: Any, rng: Generator) -> Any:
        return batch_of(self.dataset, self.indices[indices], rng)


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = None
) -> list[Subset]:
    """Random subsets of a dataset, of these lengths or fractions; each sample is in one of them.

    What fractions leave over goes to the subsets one by one. Raises ArgumentError for lengths that
    are not the dataset's together.
    """
    n = len(dataset)
    if all(isinstance(part, float) for part in lengths) and math.isclose(sum(lengths), 1):
        counts = [math.floor(n * real("random_split", "a fraction", f, least=0)) for f in lengths]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [whole("random_split", "a length", part, 0) for part in lengths]
    if sum(counts) != n:
        raise ArgumentError(f"random_split: lengths {[*lengths]} of {n} samples")
    order = permutation(next_key("random_split", generator), n)
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return [Subset(dataset, order[e - c : e]) for e, c in zip(ends, counts, strict=True)]


def sample_number(name: str, index: Any, n: int) -> int:
    """The number of one of n samples, which may be counted from the end, as an int from 0 on.

    It is whatever `operator.index` takes but a bool, which is more likely part of a mask. Raises
    TypeError for anything else, and IndexError, which ends a loop, for a sample that isn't there.
    """
    i = whole(name, "the number of a sample", index)
    if not -n <= i < n:
        raise IndexError(f"{name}: there is no sample {i} within the {n} samples")
    return i % n


def device_of(dataset: Any) -> Device | None:
    """Where a dataset says it is; None for one, such as an array, that says it otherwise."""
    device = getattr(dataset, "device", None)
    return device if isinstance(device, Device) else None


def many_at_once(thing: Any, many: str, one: str) -> bool:
    """Whether the method `many` does what the method `one` does for one after another.

    It does where both are of one class, or `many` of the more special: a subclass that defines
    only the other one anew means it.
    """
    names = [vars(kind) for kind in type(thing).__mro__]
    first = [next((i for i, d in enumerate(names) if n in d), len(names)) for n in (many, one)]
    return first[0] < len(names) and first[0] <= first[1]


def batch_of(dataset: Any, indices: Any, rng: Generator) -> Any:
    """The samples at `indices` as a batch: at once where the dataset can, else collated."""
    if many_at_once(dataset, "get_batch", "__getitem__"):
        return dataset.get_batch(indices, rng)
    return collate([dataset[int(i)] for i in indices])
