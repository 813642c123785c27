"""Checkpoints: all that a training needs to go on bit for bit, in one file.

Arrays are kept as safetensors, and everything else as JSON in the same file's header, so that one
rename makes both appear at once. Nothing in it can be code.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as render

from minicnn import Tensor
from minicnn.backends import host

from . import atomic

KEPT = 2
FORMAT = "nin.checkpoint 1"

State = tuple[dict[str, Tensor], dict[str, Any]]  # arrays by name, and what JSON can hold


class CheckpointError(RuntimeError):
    """A file that is no whole checkpoint; the message names it and says what it is instead."""


def save(path: Path, state: State) -> None:
    """Write a checkpoint; the file is there whole, or not at all. Raises OSError."""
    arrays, rest = state
    content = render(
        {
            name: host.xp.ascontiguousarray(t.detach().cpu().array).reshape(t.shape)
            for name, t in arrays.items()
        },
        metadata={"format": FORMAT, "state": json.dumps(rest)},
    )
    atomic.write(path, content)


def load(path: Path) -> State:
    """What `save` wrote. Raises CheckpointError."""
    try:
        with safe_open(path, framework="numpy") as file:
            header: Mapping[str, str] = file.metadata() or {}
            arrays = {name: Tensor(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error})") from None
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but no checkpoint of nin.train")
    return arrays, json.loads(header["state"])


class Checkpoints:
    """The checkpoints of a run: `checkpoint-0001.safetensors` and so on, the newest two."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def _files(self) -> list[Path]:
        """Oldest first."""
        found = [p for p in self.directory.glob("checkpoint-*.safetensors") if _number(p)]
        return sorted(found, key=_number)

    def write(self, state: State) -> None:
        """Keep one more, and forget all but the newest two. Raises OSError."""
        files = self._files()
        number = _number(files[-1]) + 1 if files else 1
        save(self.directory / f"checkpoint-{number:04}.safetensors", state)
        for old in files[: 1 - KEPT]:
            old.unlink(missing_ok=True)

    def newest(self) -> State | None:
        """The newest checkpoint, or, with a warning, the one before if that is broken.

        None if there is none. Raises CheckpointError if all are broken.
        """
        problem = None
        for path in reversed(self._files()):
            try:
                state = load(path)
            except CheckpointError as error:
                problem = problem or error
                continue
            if problem is not None:
                warnings.warn(f"{problem}; going on from {path.name}", stacklevel=2)
            return state
        if problem is not None:
            raise problem
        return None


def _number(path: Path) -> int:
    match = re.fullmatch(r"checkpoint-(\d+)\.safetensors", path.name)
    return int(match[1]) if match else 0
