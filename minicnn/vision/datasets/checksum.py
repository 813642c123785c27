"""A file against the size and the checksum that its publisher states."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from .errors import DatasetError

PIECE = 1 << 20  # bytes that are hashed at a time


class Published(NamedTuple):
    """A file as it was published: its name, its size in bytes, and the hex MD5 of its content."""

    name: str
    size: int
    md5: str


def check(file: Any, published: Published) -> None:
    """Read a binary file to its end and go back to its start.

    Raises DatasetError for a file of another size or content than the published one.
    """
    digest, size = hashlib.md5(usedforsecurity=False), 0
    while piece := file.read(PIECE):
        size += len(piece)
        digest.update(piece)
    if size < published.size:
        raise DatasetError(f"is cut short: {published.size - size:,} bytes are missing")
    if size > published.size:
        raise DatasetError(f"has {size:,} bytes, expected {published.size:,}")
    if digest.hexdigest() != published.md5:
        raise DatasetError(f"is changed: MD5 {digest.hexdigest()}, expected {published.md5}")
    file.seek(0)
