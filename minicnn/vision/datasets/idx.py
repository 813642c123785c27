"""IDX files, the format of MNIST and its relatives, read without trusting them.

A file is a magic number (two zero bytes, a type code, the number of axes), each axis' length as a
big-endian 32-bit number, and the elements in C order. Often it is gzipped.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ...backends import Array
from ...files import open_regular
from .errors import DatasetError

MORE = 1024  # bytes at most by which gzip makes a file larger
UINT8 = 0x08  # the type code of unsigned bytes, the only type that images and labels have


def read_idx(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    sha256: str | None = None,
    md5: str | None = None,
) -> Array:
    """The uint8 array of this shape in an IDX file, gzipped if its name ends in .gz.

    Raises DatasetError, naming the file, if it can't be read or is anything but that array (see
    `parse_idx`).
    """
    try:
        with open_regular(path) as file:
            return parse_idx(file, shape, sha256, md5, gzipped=Path(path).suffix == ".gz")
    except OSError as error:
        raise DatasetError(f"{path}: can't be read: {error.strerror or error}") from None
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None


def parse_idx(
    file: Any,
    shape: tuple[int, ...],
    sha256: str | None = None,
    md5: str | None = None,
    *,
    gzipped: bool,
) -> Array:
    """The uint8 array of this shape that a binary file holds.

    `sha256` is the hex digest of the whole decompressed file, `md5` of the file as it is. The
    shape is given and not taken from the file, so no more than one byte beyond it is ever
    decompressed, whatever the file holds. Raises DatasetError, saying what is wrong, for anything
    but that array.
    """
    if md5 is not None:
        file = _verified(file, math.prod(shape) + MORE, md5)
    try:
        return _read(gzip.GzipFile(fileobj=file) if gzipped else file, shape, sha256)
    except EOFError:
        raise DatasetError("the gzip data ends early") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"broken gzip data: {error}") from None


def _verified(file: Any, most: int, md5: str) -> Any:
    """The content of a file of at most so many bytes, once its digest is the right one."""
    content = file.read(most + 1)
    if len(content) > most:
        raise DatasetError(f"more bytes than the {most:,} that there may be")
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != md5:
        raise DatasetError(f"MD5 {digest}, expected {md5}: it is cut short, changed, or another's")
    return io.BytesIO(content)


def _read(file: Any, shape: tuple[int, ...], sha256: str | None) -> Array:
    header, size = file.read(4 + 4 * len(shape)), math.prod(shape)
    if missing := 4 + 4 * len(shape) - len(header):
        raise DatasetError(f"ends early: {missing:,} bytes are missing")
    magic, *lengths = struct.unpack(f">I{len(shape)}I", header)
    expected = UINT8 << 8 | len(shape)
    if magic != expected:
        raise DatasetError(f"magic number 0x{magic:08x}, expected 0x{expected:08x}")
    if tuple(lengths) != shape:
        raise DatasetError(f"holds an array of shape {tuple(lengths)}, expected {shape}")

    # A byte more than there should be: gzip checks its CRC where it reaches the end.
    array: Array = np.empty(size + 1, "uint8")
    found = file.readinto(array)
    if found < size:
        raise DatasetError(f"ends early: {size - found:,} bytes are missing")
    if found > size:
        raise DatasetError(f"more bytes than the {len(header) + size:,} expected")
    array = array[:size]
    digest = hashlib.sha256(header)
    digest.update(array)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise DatasetError(
            f"SHA-256 {digest.hexdigest()}, expected {sha256}: it is changed, or another's"
        )
    return array.reshape(shape)
