"""Random numbers: a generator hands out keys, and a backend turns a key into numbers.

A `Generator` does not hold a stream of numbers; it counts. Each draw takes the next key (seed,
count), and the backend turns a key into as many numbers as are asked for. So a draw depends on the
seed and on how many draws came before, never on how large those were or on timing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import backends
from .arguments import ArgumentError, whole


class Counted(NamedTuple):
    """A count that is read when numbers are drawn: array[0] + ahead, for array (1,) of uint64."""

    array: backends.Array
    ahead: int


Key = tuple[int, Any]  # a seed, and a count: an int or Counted


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
        self._seed, self._count = whole("manual_seed", "seed", seed) % 2**64, 0
        return self

    def initial_seed(self) -> int:
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
        """A generator of its own, seeded by this one's next key."""
        seed = backends.host.integers(self.next_key(), 0, 2**63 - 1, ())
        return Generator().manual_seed(int(seed))

    def clone(self) -> Generator:
        """A generator that will hand out the same keys as this one from here on."""
        return Generator().set_state(self.get_state())

    def catch_up(self, other: Generator) -> None:
        """Move on to where a clone of this generator is, if that is further."""
        with _counting:
            self._count = max(self._count, other._count)

    def at(self, position: int) -> Generator:
        """The generator that this one would be after `position`·2³² draws.

        Each of many tasks takes one of these, so that what a task draws does not depend on which
        thread runs it, or when.
        """
        return Generator().set_state((self._seed, position << 32))


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
        """Before each launch of the graph."""
        if self.draws:
            self.array.fill(self.generator._count)
            self.generator._count += self.draws


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, from which initialisation, dropout and `randn` draw."""
    return default_generator.manual_seed(seed)


class Stream(threading.local):
    """Where dropout draws from, in each thread: a generator, and the number of the first image.

    Usually it is the default generator and 0. Code that cuts a batch into pieces sets both, with
    `drawing`, and how many images a piece has, so that every image gets the mask it would get in
    the whole batch.
    """

    def __init__(self) -> None:
        self.generator, self.first = default_generator, 0
        self.images: int | None = None

    def first_row(self, rows: int) -> int:
        """The number of the first of some rows, as many for each image of a piece.

        Raises ArgumentError for rows that are no multiple of the images.
        """
        if self.images is None or rows == self.images:
            return self.first
        if not self.images or rows % self.images:
            raise ArgumentError(
                f"dropout: {rows} rows are no multiple of a piece's {self.images} images, so they"
                " don't belong to single ones; run whole batches"
            )
        return self.first * (rows // self.images)


_stream = Stream()


def current() -> Stream:
    """The stream of this thread."""
    return _stream


def source(generator: Generator | None) -> Generator:
    """The generator that is given, or else this thread's: usually the default one.

    Raises TypeError for what is none.
    """
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator must be a minicnn.Generator, got {type(generator).__name__}")
    if generator is not None:
        backends.refuse_capture("a generator of one's own")
    return _stream.generator if generator is None else generator


@contextmanager
def drawing(generator: Generator, first: int, images: int | None = None) -> Iterator[None]:
    """Let this thread's dropout draw from `generator`, for images from number `first` on.

    `images` is how many of the batch's there are, if it was cut.
    """
    before = _stream.generator, _stream.first, _stream.images
    _stream.generator, _stream.first, _stream.images = generator, first, images
    try:
        yield
    finally:
        _stream.generator, _stream.first, _stream.images = before
