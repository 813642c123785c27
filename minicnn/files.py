"""Files that may be anything, read without trusting them: regular ones alone, up to a size.

To open a FIFO is to wait for whoever writes to it, a device may never end, and either may stand
under any name that a program is given.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
from typing import Any, BinaryIO

Path = str | os.PathLike[str]

# Those of UTF-32 first: in little endian it begins as UTF-16's does.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened for reading in binary.

    Raises OSError, at once, for a directory, a FIFO, a socket or a device, as for a file that is
    not there.
    """
    _refuse_others(os.stat(path), path)  # before open, which does something to a device
    file: Any = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    try:
        _refuse_others(os.fstat(file.fileno()), path)  # it may be another one by now
    except OSError:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_others(found: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes. Raises OSError."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most:,} bytes", os.fspath(path))
    return content


def read_text(path: Path, most: int) -> str:
    """The text in a regular file of at most so many bytes: UTF-8, or what its first bytes mark.

    Windows' programs mark their files so, and PowerShell writes UTF-16 that way. Raises OSError,
    and ValueError, naming the file, for what is no text.
    """
    content = read_bytes(path, most)
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise ValueError(f"{os.fspath(path)}: is not {name}: byte {error.start} is wrong") from None
