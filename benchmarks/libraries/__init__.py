"""The libraries that `benchmarks.cpu` compares, a file each.

Each file's `step(job)` returns what is timed: a function that takes one training step and returns
the loss, a float, or one that predicts and returns the logits, an array (N, classes). All that can
be done once, before, is done by then. A worker imports the file of its own library alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Step = Callable[[], Any]
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4  # of SGD


class Job(NamedTuple):
    """What a worker is to do."""

    preset: str
    what: str  # "train" or "predict"
    batch: int
    threads: int
    how: str  # a choice among the ways that its library has
