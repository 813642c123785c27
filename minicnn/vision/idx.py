"""IDX files, the format of MNIST and its relatives, read without trusting them.

A file is a magic number (two zero bytes, a type code, the number of axes), each axis' length as a
big-endian 32-bit number, and the elements in C order. Often it is gzipped.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from ..backends import Array, host
from ..files import open_regular

UINT8 = 0x08  # the type code of unsigned bytes, the only type that images and labels have
PIECE = 1 << 20  # bytes read, and hashed, at a time


class DatasetError(RuntimeError):
    """A data set that can't be had, or a file that is not what it should be; one line says why."""


def read_idx(
    path: str | os.PathLike[str], shape: tuple[int, ...], sha256: str | None = None
) -> Array:
    """The uint8 array of this shape in an IDX file, gzipped if its name ends in .gz.

    `sha256` is the hex digest of the whole decompressed file. The shape is given and not taken
    from the file, so no more than one byte beyond it is ever decompressed, whatever the file holds.
    Raises DatasetError, naming the file, if it can't be read or is anything but that array.
    """
    try:
        with open_regular(path) as file:
            if Path(path).suffix != ".gz":
                return _read(file, shape, sha256)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(unpacked, shape, sha256)
    except EOFError:
        raise DatasetError(f"{path}: the gzip data ends early") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}: broken gzip data: {error}") from None
    except OSError as error:
        raise DatasetError(f"{path}: can't be read: {error.strerror or error}") from None
    except _Refused as refused:
        raise DatasetError(f"{path}: {refused}") from None


class _Refused(Exception):
    """What is wrong with the file's content."""


def _read(file: Any, shape: tuple[int, ...], sha256: str | None) -> Array:
    digest = hashlib.sha256()
    header = bytearray(4 + 4 * len(shape))
    _fill(header, file, digest)
    magic, *lengths = struct.unpack(f">I{len(shape)}I", header)
    expected = UINT8 << 8 | len(shape)
    if magic != expected:
        raise _Refused(f"magic number 0x{magic:08x}, expected 0x{expected:08x}")
    if tuple(lengths) != shape:
        raise _Refused(f"holds an array of shape {tuple(lengths)}, expected {shape}")

    array: Array = host.xp.empty(math.prod(shape), "uint8")
    _fill(memoryview(array), file, digest)
    # Also where gzip reaches its end and checks its CRC.
    if file.read(1):
        raise _Refused(f"more bytes than the {len(header) + array.size:,} expected")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise _Refused(f"SHA-256 {digest.hexdigest()}, expected {sha256}")
    return array.reshape(shape)


def _fill(buffer: bytearray | memoryview, file: Any, digest: Any) -> None:
    """Read exactly the buffer's length, piece by piece, into it and into the digest."""
    view, done = memoryview(buffer), 0
    while done < len(view):
        piece = view[done : done + PIECE]
        count = file.readinto(piece)
        if not count:
            raise _Refused(f"ends early: {len(view) - done:,} bytes are missing")
        digest.update(piece[:count])
        done += count
