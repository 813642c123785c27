"""Which pictures of a folder a network was trained on, told by what is in their files.

A folder may be moved, and get and lose pictures, after a training; what was trained on is no test.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from minicnn.console import counted
from minicnn.files import open_regular
from minicnn.vision.datasets import ImageFolder

DIGITS = 16  # of a mark: among a million pictures, two share one by chance once in 10⁷ folders
TRAINED, TESTED = "trained_on", "tested_on"  # what the texts beside a model's weights are called


def marks(pictures: ImageFolder) -> tuple[str, ...]:
    """A mark of each picture, by its file's content: the first digits of the SHA-256.

    Raises OSError.
    """
    found = []
    for path, _ in pictures.samples:
        with open_regular(path) as file:
            found.append(hashlib.sha256(file.read()).hexdigest()[:DIGITS])
    return tuple(found)


class Split(NamedTuple):
    """The marks of a folder's pictures: of those for training, held back or not, and for testing.

    A data set that has a name has none.
    """

    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @classmethod
    def of_texts(cls, texts: Mapping[str, str]) -> Split | None:
        """What `texts` gave; None if there is none. Raises ValueError."""
        if TRAINED not in texts or TESTED not in texts:
            return None
        both = (texts[TRAINED], texts[TESTED])
        if not all(re.fullmatch(f"([0-9a-f]{{{DIGITS}}})*", text) for text in both):
            raise ValueError(f"{TRAINED} and {TESTED} must be {DIGITS} hex digits for each picture")
        return cls(*(tuple(re.findall("." * DIGITS, text)) for text in both))

    def texts(self) -> dict[str, str]:
        """The marks as texts by name."""
        return {TRAINED: "".join(self.train), TESTED: "".join(self.test)}

    def untrained(self, pictures: ImageFolder) -> tuple[list[int], str]:
        """The numbers of the pictures that were not for training, and a line on the rest.

        In the folder that was trained on, as it was then, these are those for testing, and the line
        is empty. Raises OSError.
        """
        left, trained = Counter(self.test), set(self.train)
        kept, new = [], 0
        for i, mark in enumerate(marks(pictures)):
            if left[mark] > 0:
                left[mark] -= 1
                kept.append(i)
            elif mark not in trained:
                new += 1
                kept.append(i)
        gone, out = left.total(), len(pictures) - len(kept)
        known = out or gone < len(self.test)
        if not known or not (gone or new):
            return kept, ""
        return kept, (
            f"not the pictures of the training: {len(kept) - new:,} of the {len(self.test):,} for"
            f" testing are there, and {counted(new, 'new picture')}; {out:,} that were for training"
            " are left out"
        )
