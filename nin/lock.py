"""Locks between processes: held through a file, and gone with the process that holds them."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path


def acquire(path: Path) -> int:
    """Lock a file, made if need be, and return its descriptor; to close that unlocks it.

    The file stays, as one that goes could be locked twice. Where a file system knows no locks, a
    warning says so. Raises BlockingIOError if another holds the lock, and other OSErrors if the
    file can't be opened, as where a symbolic link stands in its place.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise BlockingIOError(f"{path} is locked") from None
    except OSError as error:
        warnings.warn(f"{path} can't be locked: {error.strerror}", stacklevel=2)
    return descriptor


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
