"""Samplers: the order in which a loader takes samples, under the names of `torch.utils.data`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

from ...arguments import ArgumentError, whole
from ...random import Generator, integers, next_key, permutation


class Sampler:
    """An order of samples: a subclass defines `__iter__`, over their numbers, and `__len__`.

    Numbers that are drawn come from `generator`, or else from the default one.
    """

    generator: Generator | None = None

    def __iter__(self) -> Iterator[int]:
        raise NotImplementedError(f"{type(self).__name__} defines no __iter__")

    def _key(self) -> Any:
        return next_key(type(self).__name__, self.generator)


class SequentialSampler(Sampler):
    """0, 1, … for each sample."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Every sample once, in random order; or, with replacement, `num_samples` random ones."""

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        n = len(data_source) if num_samples is None else num_samples
        self.num_samples = whole("RandomSampler", "num_samples", n, 1)

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        if not n:
            raise ArgumentError("RandomSampler: there are no samples to take")
        if self.replacement:
            return iter(integers(self._key(), 0, n, (self.num_samples,)).tolist())
        drawn: list[int] = []
        while len(drawn) < self.num_samples:
            drawn += permutation(self._key(), n).tolist()
        return iter(drawn[: self.num_samples])

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The samples of these numbers, in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (int(self.indices[i]) for i in permutation(self._key(), len(self.indices)))

    def __len__(self) -> int:
        return len(self.indices)
