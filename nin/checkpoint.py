"""Checkpoints: all that a training needs to go on bit for bit, in one file.

Arrays are kept as safetensors, and everything else as JSON in the same file's header, so that one
rename makes both appear at once. Nothing in it can be code, and a checksum covers all of it.
"""

from __future__ import annotations

import errno
import json
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from minicnn import Tensor, atomic, files
from minicnn.serialization import SHA256, pack, unpack

KEPT = 2
FORMAT = "nin.checkpoint 5"
MOST = 2**31  # bytes: VGG-16's weights and momenta are half of that, paper's 2**23
MOST_TEXT = 2**26  # of its JSON: safetensors takes no header of 100 million bytes

State = tuple[dict[str, Tensor], dict[str, Any]]  # arrays by name, and what JSON can hold


class CheckpointError(RuntimeError):
    """A file that is no whole checkpoint; the message names it and says what it is instead."""


def save(path: Path, state: State) -> None:
    """Write a checkpoint; the file is there whole, or not at all. Raises OSError."""
    arrays, rest = state
    text = json.dumps(rest)
    content = pack(arrays, {"format": FORMAT, "state": text})
    if len(text) > MOST_TEXT or len(content) > MOST:
        raise OSError(errno.EFBIG, "is more than a checkpoint may hold", str(path))
    atomic.write(path, content)


def load(path: Path) -> State:
    """What `save` wrote, and nothing else: a changed bit is found. Raises CheckpointError."""
    try:
        arrays, texts = unpack(files.read_bytes(path, MOST))
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} {error}") from None
    written = texts.get("format", "")
    if written != FORMAT or SHA256 not in texts:
        what = "one of another version" if written.startswith("nin.checkpoint") else "no checkpoint"
        raise CheckpointError(f"{path} is a safetensors file, but {what} of nin.train")
    try:
        rest = json.loads(texts["state"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its state is not JSON ({error})") from None
    if not isinstance(rest, dict):
        raise CheckpointError(f"{path}: its state must be an object, got {type(rest).__name__}")
    return arrays, rest


class Checkpoints:
    """The checkpoints of a run: `checkpoint-0001.safetensors` and so on, the newest two.

    `good` is the one that was read or written last. It stays until two newer ones are there, and
    what proved broken goes first.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.good: Path | None = None

    def files(self) -> list[Path]:
        """Oldest first."""
        found = [p for p in self.directory.glob("checkpoint-*.safetensors") if _number(p)]
        return sorted(found, key=_number)

    def write(self, state: State) -> None:
        """Keep one more, and forget all but the newest two. Raises OSError."""
        there = self.files()
        last = _number(there[-1]) if there else 0
        path = self.directory / f"checkpoint-{last + 1:04}.safetensors"
        save(path, state)
        whole = [p for p in there if self.good is None or _number(p) <= _number(self.good)]
        kept, self.good = whole[len(whole) - (KEPT - 1) :], path
        for old in there:
            if old not in kept:
                with suppress(OSError):  # the new one is there, whatever becomes of the old
                    old.unlink()

    def newest(self) -> State | None:
        """The newest checkpoint, or, with a warning, the one before if that is broken.

        None if there is none. Raises CheckpointError if all are broken.
        """
        problem = None
        for path in reversed(self.files()):
            try:
                state = load(path)
            except CheckpointError as error:
                problem = problem or error
                continue
            if problem is not None:
                warnings.warn(f"{problem}; going on from {path.name}", stacklevel=2)
            self.good = path
            return state
        if problem is not None:
            raise problem
        return None


def _number(path: Path) -> int:
    match = re.fullmatch(r"checkpoint-([0-9]+)\.safetensors", path.name)
    return int(match[1]) if match else 0
