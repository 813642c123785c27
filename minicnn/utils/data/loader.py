"""`DataLoader`: batches in order or shuffled, prepared ahead in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ...backends import host
from ...random import Generator, default_generator
from .dataset import collate

PREFETCH = 2  # batches in preparation for each worker, as in PyTorch


class DataLoader:
    """Batches of a dataset, as `torch.utils.data.DataLoader` makes them.

    `num_workers` threads prepare batches ahead: array operations release the interpreter, so
    nothing is copied between processes or pickled. Order and random transforms come from
    `generator` (the default one, `manual_seed`, unless given) and do not depend on the workers.
    Batches of a dataset that is on a device, as its `device` says, are made there. `pin_memory` and
    `persistent_workers` are accepted; there is nothing for them to do.
    Raises ValueError for a batch size below 1 or a negative number of workers.
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
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be a positive int, got {batch_size!r}")
        if not isinstance(num_workers, int) or num_workers < 0:
            raise ValueError(f"DataLoader: num_workers must be at least 0, got {num_workers!r}")
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.num_workers, self.drop_last, self.generator = num_workers, drop_last, generator

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[Any]:
        """The batches from number `start` on, the same as after `start` others."""
        generator = self.generator or default_generator
        n = len(self.dataset)
        order = host.permutation(generator.next_key(), n) if self.shuffle else host.xp.arange(n)
        rng = generator.split()
        if hasattr(self.dataset, "device"):
            order = self.dataset.device.backend.from_host(order)

        def make(batch: int) -> Any:
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            if hasattr(self.dataset, "get_batch"):
                return self.dataset.get_batch(indices, rng.at(batch))
            return collate([self.dataset[int(i)] for i in indices])

        if not self.num_workers:
            return map(make, range(start, len(self)))
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
