"""Random numbers: a generator hands out keys, and a backend turns a key into numbers.

A `Generator` does not hold a stream of numbers; it counts. Each draw takes the next key (seed,
count), and the backend turns a key into as many numbers as are asked for. So a draw depends on the
seed and on how many draws came before, never on how large those were or on timing.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from . import backends, context
from .arguments import ArgumentError, type_name, whole
from .backends.protocol import Key as Key


class Counted(NamedTuple):
    """A count that is read when numbers are drawn: array[0] + ahead, for array (1,) of uint64."""

    array: backends.Array
    ahead: int


_counting = threading.RLock()  # for all generators, as nobody holds it for long


def _renew_lock() -> None:
    global _counting
    _counting = threading.RLock()


if hasattr(os, "register_at_fork"):  # some thread of the parent's may have held it
    os.register_at_fork(after_in_child=_renew_lock)


class Generator:
    """A source of random keys: after `manual_seed(s)`, the same ones for the same s."""

    def __init__(self) -> None:
        self.manual_seed(0)

    def manual_seed(self, seed: int) -> Generator:
        """Start again with this seed, modulo 2⁶⁴."""
        self._seed, self._count = whole("manual_seed", "seed", seed) % 2**64, 0
        return self

    def initial_seed(self) -> int:
        """The seed with which it began."""
        return self._seed

    def get_state(self) -> Key:
        """The seed, and how many keys were drawn."""
        return self._seed, self._count

    def set_state(self, state: Key) -> Generator:
        """Go on from where a generator was when its `get_state` said so."""
        self._seed, self._count = state
        return self

    def next_key(self) -> Key:
        """The key of the next draw."""
        with _counting:
            self._count += 1
            return self._seed, self._count

    def split(self) -> Generator:
        """A new generator, seeded by the next key of this one."""
        return Generator().manual_seed(int(integers(self.next_key(), 0, 2**63 - 1, ())))

    def clone(self) -> Generator:
        """A generator that gives the same keys as this one from here on."""
        return Generator().set_state(self.get_state())

    def catch_up(self, start: Generator, clones: Iterable[Generator]) -> None:
        """Move on to where the furthest of these clones is, which were all made at `start`.

        Raises RuntimeError if they have drawn what somebody else has drawn from this one meanwhile.
        """
        with _counting:
            furthest = max(clone._count for clone in clones)
            if start._count < min(furthest, self._count):
                raise RuntimeError(
                    "another thread drew from the same random numbers meanwhile, so that both have"
                    " the same; give each thread its own, context.using(generator=Generator())"
                )
            self._count = max(self._count, furthest)

    def fold_in(self, data: int) -> Generator:
        """A generator of this one's seed and of a number, as JAX's `random.fold_in` makes keys.

        Each of many tasks takes the one of its number, so that what a task draws does not depend on
        which thread runs it, or when. It is as far on as 2³²·`data` draws.
        """
        return Generator().set_state((self._seed, data << 32))


class CountedGenerator(Generator):
    """Hands out the keys of `generator`, as a captured graph needs them.

    Their counts are read from `array` when the graph runs; `set` puts there what the generator has
    counted, and counts on by as many draws as there are in the graph.
    """

    def __init__(self, generator: Generator, array: backends.Array) -> None:
        super().__init__()
        self.generator, self.array, self.draws = generator, array, 0

    def next_key(self) -> Key:
        self.draws += 1
        return self.generator.initial_seed(), Counted(self.array, self.draws)

    def set(self) -> None:
        """To be called before each launch of the graph."""
        if self.draws:
            self.array.fill(self.generator._count)
            self.generator._count += self.draws


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, from which initialisation, dropout and `randn` draw."""
    return default_generator.manual_seed(seed)


def current() -> Generator:
    """The generator that this thread draws from: its context's, or else the default one."""
    return context.current().generator or default_generator


def next_key(name: str, generator: Generator | None) -> Key:
    """The next key of the generator that is given, or else of this thread's.

    Raises TypeError for what is none.
    """
    if generator is None:
        return current().next_key()
    if not isinstance(generator, Generator):
        got = type_name(generator)
        raise TypeError(f"{name}: generator must be a minicnn.Generator, got {got}")
    backends.refuse_capture("your own generator")
    return generator.next_key()


def first_row(rows: int) -> int:
    """The number, in the whole batch, of the first of some rows that are dropped out.

    A piece of a batch has as many rows for each image (see `Context.images`). Raises ArgumentError
    for rows that are no multiple of the images.
    """
    where = context.current()
    if where.images is None or rows == where.images:
        return where.first_image
    if not where.images or rows % where.images:
        raise ArgumentError(
            f"dropout: {rows} rows are no multiple of a piece's {where.images} images, so they"
            " don't belong to single ones; run whole batches"
        )
    return where.first_image * (rows // where.images)


def uniform_by_image(
    key: Key, n: int, each: Sequence[int], dtype: Any, backend: backends.Backend
) -> backends.Array:
    """Numbers 0 ≤ u < 1 of the shape `each` for each of n images: (n, *each).

    An image in a piece of a batch has those that it has in the whole batch.
    """
    skip = context.current().first_image * math.prod(each)
    return backend.uniform(key, (n, *each), dtype, skip)


def normal_by_image(key: Key, n: int, each: Sequence[int], dtype: Any) -> Any:
    """The same from the standard normal distribution, as a NumPy array."""
    first = context.current().first_image
    return normal(key, (first + n, *each), dtype)[first:]  # its stream can't be entered midway


# --- numbers that are drawn on the host, whatever the device -------------------------------------


def normal(key: Key, shape: Sequence[int], dtype: Any) -> Any:
    """Numbers from the standard normal distribution, of the shape given, as a NumPy array."""
    return backends.host.philox(key).standard_normal(tuple(shape), dtype=dtype)


def integers(key: Key, low: int, high: int, shape: Sequence[int]) -> Any:
    """Whole numbers low ≤ k < high, int64, of the shape given, as a NumPy array."""
    return backends.host.philox(key).integers(low, high, tuple(shape), dtype="int64")


def permutation(key: Key, n: int) -> Any:
    """The numbers 0 … n-1 in random order, int64, as a NumPy array."""
    return backends.host.philox(key).permutation(n)
