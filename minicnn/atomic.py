"""Files that are whole or not there, whenever the power goes."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Put a content into a file: beside its place first, onto the disk, and then under its name.

    A file that is there keeps its mode, and a symbolic link stays and leads to the new content.
    Raises OSError that names the path, with everything as it was, if that can't be done, also for
    what is no regular file (a device, a FIFO, a directory) and for a file that may not be written.
    """
    try:
        _write(path, content)
    except OSError as error:  # it may name the file beside, or none, as of a full disk
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _write(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    target = Path(os.path.realpath(path))
    mode = _mode(path)
    beside, descriptor = _create_beside(target)
    try:
        with open(descriptor, "wb") as file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new name, too, has to get onto the disk
        directory = os.open(target.parent, os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def is_leftover(name: str, of: str) -> bool:
    """Whether a file of this name is what a process killed while it wrote `of` leaves behind."""
    return name.startswith(f".{of[:LONGEST]}.") and name.endswith(".tmp")


LONGEST = 40  # characters of a file's name in that of the file beside it, which has a limit too


def _mode(path: str | os.PathLike[str]) -> int | None:
    """The permissions of the file that is there, None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "may not be written", os.fspath(path))
    return stat.S_IMODE(found.st_mode)


def _create_beside(target: Path) -> tuple[Path, int]:
    """A new file beside the target, under a name that nobody can have guessed, and open.

    O_EXCL makes it, and follows no link that stands there. The umask decides its permissions.
    """
    beside = target.with_name(f".{target.name[:LONGEST]}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return beside, os.open(beside, flags, 0o666)
