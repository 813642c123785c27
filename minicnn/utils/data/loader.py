"""`DataLoader`: batches in order or shuffled, prepared ahead in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ...arguments import ArgumentError, type_name, whole
from ...random import Generator, default_generator, permutation
from .dataset import batch_of, device_of

PREFETCH = 2  # batches in preparation for each worker, as in PyTorch


class DataLoader:
    """Batches of a dataset, as `torch.utils.data.DataLoader` makes them.

    `num_workers` threads prepare batches ahead: array operations release the interpreter, so
    nothing is copied between processes or pickled. Order and random transforms come from
    `generator` (the default one, `manual_seed`, unless given) and do not depend on the workers.
    Batches of a dataset that is on a device, as its `device` says, are made there. `pin_memory` and
    `persistent_workers` are accepted; there is nothing for them to do.
    Raises ArgumentError for a batch size below 1 or a negative number of workers, and TypeError for
    a dataset without a length or a generator of another kind.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        num_workers: int = 0,
        drop_last: bool = False,
        generator: Generator | None = None,
        pin_memory: bool = False,
        persistent_workers: bool = False,
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
        self.dataset, self.generator = dataset, generator
        self.batch_size = whole("DataLoader", "batch_size", batch_size, 1)
        self.num_workers = whole("DataLoader", "num_workers", num_workers, 0)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[Any]:
        """The batches from number `start` on, the same as after `start` others."""
        start = whole("DataLoader", "start", start, 0)
        generator = default_generator if self.generator is None else self.generator
        n = len(self.dataset)
        order = permutation(generator.next_key(), n) if self.shuffle else np.arange(n)
        rng = generator.split()
        if device := device_of(self.dataset):
            order = device.backend.from_host(order)

        def make(batch: int) -> Any:
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            return batch_of(self.dataset, indices, rng.fold_in(batch))

        if not self.num_workers:
            # No map(), which a StopIteration from a sample would end without a word.
            return (make(batch) for batch in range(start, len(self)))
        return self._ahead(make, start)

    def _ahead(self, make: Any, start: int) -> Iterator[Any]:
        """make(start), make(start + 1), … in order, with a few under way in threads."""
        waiting: deque[Future[Any]] = deque()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="DataLoader")
        try:
            for batch in range(start, len(self)):
                waiting.append(pool.submit(make, batch))
                if len(waiting) > PREFETCH * self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the loop over the batches is left early
            pool.shutdown(wait=False, cancel_futures=True)
