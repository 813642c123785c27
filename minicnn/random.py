"""Random numbers: a generator hands out keys, and a backend turns a key into numbers.

A `Generator` does not hold a stream of numbers; it counts. Each draw takes the next key (seed,
count), and the backend turns a key into as many numbers as are asked for. So a draw depends on the
seed and on how many draws came before, never on how large those were or on timing.
"""

from __future__ import annotations

import threading

from . import backends

Key = tuple[int, int]


class Generator:
    """A source of random keys: after `manual_seed(s)`, the same ones for the same s."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.manual_seed(0)

    def manual_seed(self, seed: int) -> Generator:
        if not isinstance(seed, int):
            raise TypeError(f"manual_seed: expected an int, got {type(seed).__name__}")
        self._seed, self._count = seed % 2**64, 0
        return self

    def initial_seed(self) -> int:
        return self._seed

    def next_key(self) -> Key:
        """The key of the next draw."""
        with self._lock:
            self._count += 1
            return self._seed, self._count

    def split(self) -> Generator:
        """A generator of its own, seeded by this one's next key."""
        seed = backends.host.integers(self.next_key(), 0, 2**63 - 1, ())
        return Generator().manual_seed(int(seed))

    def at(self, position: int) -> Generator:
        """The generator that this one would be after `position`·2³² draws.

        Each of many tasks takes one of these, so that what a task draws does not depend on which
        thread runs it, or when.
        """
        other = Generator().manual_seed(self._seed)
        other._count = position << 32
        return other


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, from which initialisation, dropout and `randn` draw."""
    return default_generator.manual_seed(seed)
