"""Which differences between measurements mean something, and which chance makes alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# Student's t that 2.5% of the distribution lie above, by degrees of freedom from 1 to 10 (Student
# 1908). For more, 1.96 + 2.7/n is right to 0.01.
T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


def least_difference(samples: Sequence[Sequence[float]]) -> float | None:
    """How far two of the samples' means must lie apart for chance to be an unlikely reason.

    Chance alone takes the means of two samples further apart than this in 5% of cases: t·s·√(2/n),
    with s the standard deviation within samples, taken from all of them, and n the size of the
    smallest. None if no sample has two values, as then nothing is known of chance.
    """
    known = [sample for sample in samples if len(sample) > 1]
    if not known:
        return None
    freedom = sum(len(sample) - 1 for sample in known)
    squares = sum(statistics.variance(sample) * (len(sample) - 1) for sample in known)
    t = T[freedom - 1] if freedom <= len(T) else 1.96 + 2.7 / freedom
    return t * math.sqrt(squares / freedom * 2 / min(map(len, samples)))
