"""`DataLoader`: batches in order or shuffled, prepared ahead in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ... import context
from ...arguments import ArgumentError, type_name, whole
from ...random import Generator, default_generator, permutation
from .dataset import batch_of, device_of

# batch_size, shuffle, sampler and drop_last beside a batch_sampler: as they are if left out.
ALONE = [(1, None, None, False), (1, False, None, False)]
PREFETCH = 2  # batches in preparation for each worker, as in PyTorch


class DataLoader:
    """Batches of a dataset, as `torch.utils.data.DataLoader` makes them.

    `num_workers` threads prepare batches ahead: array operations release the interpreter, so
    nothing is copied between processes or pickled. Order and random transforms come from
    `generator` (the default one, `manual_seed`, unless given) and do not depend on the workers.
    Batches of a dataset that is on a device, as its `device` says, are made there.

    `sampler` gives the numbers of the samples one after another, `batch_sampler` those of each
    batch; `collate_fn` makes a batch of a list of samples. `pin_memory`, `timeout`,
    `multiprocessing_context`, `prefetch_factor`, `persistent_workers`, `pin_memory_device` and
    `in_order` are accepted; there is nothing for them to do.

    Raises ArgumentError for a batch size below 1, a negative number of workers and for arguments
    that exclude one another, TypeError for a dataset without a length or a generator of another
    kind, and NotImplementedError for a `worker_init_fn`, as there are no processes to prepare.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Sequence[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Any = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        for method in ("__len__", "__getitem__"):
            if not hasattr(type(dataset), method):
                raise TypeError(
                    f"DataLoader: the dataset must have {method}, got {type(dataset).__name__}"
                )
        for name, value in (("shuffle", shuffle), ("drop_last", drop_last)):
            if value not in (False, True, None):
                raise ArgumentError(f"DataLoader: {name} must be True or False, got {value!r}")
        if not isinstance(generator, Generator | None):
            got = type_name(generator)
            raise TypeError(f"DataLoader: generator must be a minicnn.Generator, got {got}")
        if worker_init_fn is not None:
            raise NotImplementedError(
                "DataLoader: worker_init_fn is not supported: the workers are threads, and what is"
                " random does not depend on them"
            )
        if sampler is not None and shuffle:
            raise ArgumentError("DataLoader: sampler says the order, so shuffle must be False")
        if batch_sampler is not None and (batch_size, shuffle, sampler, drop_last) not in ALONE:
            raise ArgumentError(
                "DataLoader: batch_sampler says the batches, so batch_size, shuffle, sampler and"
                " drop_last must be left out"
            )
        self.dataset, self.generator = dataset, generator
        self.sampler, self.batch_sampler, self.collate_fn = sampler, batch_sampler, collate_fn
        self.batch_size = whole("DataLoader", "batch_size", batch_size, 1)
        self.num_workers = whole("DataLoader", "num_workers", num_workers, 0)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)

    def __len__(self) -> int:
        given: Any = self.batch_sampler
        if given is not None:
            return len(given)
        given = self.dataset if self.sampler is None else self.sampler
        return self._batches_of(len(given))

    def _batches_of(self, n: int) -> int:
        full, rest = divmod(n, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, start: int = 0, part: Callable[[int], slice] | None = None) -> Iterator[Any]:
        """The batches from number `start` on, the same as after `start` others.

        Of each batch only the samples `part(n)` of its n, as `distributed.part` says them, if that
        is given. Transforms of whole batches do to them what they do in the whole batch.
        """
        start = whole("DataLoader", "start", start, 0)
        generator = default_generator if self.generator is None else self.generator
        batches = self._indices(generator)
        rng = generator.split()
        if device := device_of(self.dataset):
            batches = [device.backend.from_host(indices) for indices in batches]

        def make(batch: int) -> Any:
            indices = batches[batch]
            mine = slice(None) if part is None else part(len(indices))
            first, own = mine.start or 0, indices[mine]
            with context.using(first_image=first, images=len(own)):
                if self.collate_fn is not None:
                    return self.collate_fn([self.dataset[int(i)] for i in own])
                return batch_of(self.dataset, own, rng.fold_in(batch))

        if not self.num_workers:
            # No map(), which a StopIteration from a sample would end without a word.
            return (make(batch) for batch in range(start, len(batches)))
        return self._ahead(make, range(start, len(batches)))

    def _indices(self, generator: Generator) -> list[Any]:
        """The numbers of the samples of each batch."""
        if self.batch_sampler is not None:
            return [_numbers("batch_sampler", batch) for batch in self.batch_sampler]
        if self.sampler is not None:
            order = _numbers("sampler", self.sampler)
        elif self.shuffle:
            order = permutation(generator.next_key(), len(self.dataset))
        else:
            order = np.arange(len(self.dataset))
        size = self.batch_size
        return [order[i * size : (i + 1) * size] for i in range(self._batches_of(len(order)))]

    def _ahead(self, make: Any, numbers: range) -> Iterator[Any]:
        """make(number) for each, in order, with a few under way in threads."""
        waiting: deque[Future[Any]] = deque()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="DataLoader")
        try:
            for batch in numbers:
                waiting.append(pool.submit(make, batch))
                if len(waiting) > PREFETCH * self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the loop over the batches is left early
            pool.shutdown(wait=False, cancel_futures=True)


def _numbers(argument: str, given: Iterable[Any]) -> Any:
    """The numbers of samples, as an array. Raises ArgumentTypeError for what is no whole number."""
    name = f"a number from the {argument}"
    return np.fromiter((whole("DataLoader", name, number) for number in given), "int64")
