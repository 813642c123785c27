"""`save` and `load`: tensors by name, in a file that other programs can read.

The format is safetensors: names, shapes and raw numbers. It can't carry code, so loading a file
from a stranger is safe, and PyTorch reads it with `safetensors.torch.load_file`. Among its metadata
is a checksum of all the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse

from . import atomic, files
from .backends import Array
from .device import device as Device
from .tensor import Tensor

SHA256 = "sha256"  # the checksum's name among the metadata
KINDS = {"b": "BOOL", "u": "U", "i": "I", "f": "F"}


def save(
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors by name, such as `model.state_dict()`, to a file, with texts by name beside.

    The file appears whole or not at all (see minicnn/atomic.py), and the same tensors give the same
    file. Raises TypeError for anything but a mapping from names to Tensors, and OSError.
    """
    atomic.write(path, pack(tensors, metadata))


def load(path: str | os.PathLike[str], map_location: Any = None) -> OrderedDict[str, Tensor]:
    """The tensors that `save` wrote, by name, on the device `map_location` (the CPU unless given).

    Files of other programs, which have no checksum, are read too. Raises RuntimeError, naming the
    file, if it is not a whole safetensors file, or another than was written.
    """
    with files.open_regular(path) as file:
        content = file.read()
    try:
        tensors, _ = unpack(content)
    except ValueError as error:
        raise RuntimeError(f"load: {os.fspath(path)} {error}") from None
    device = Device("cpu" if map_location is None else map_location)
    return OrderedDict((name, tensor.to(device)) for name, tensor in sorted(tensors.items()))


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a safetensors file: tensors, texts and a checksum of both.

    Eight bytes give the length of a header in JSON that says where each tensor stands behind it.
    The library's own writer has the texts in another order each time.
    Raises TypeError for anything but a mapping from names to Tensors.
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(
            f"save: expected tensors by name, such as model.state_dict(), got"
            f" {type(tensors).__name__}"
        )
    arrays: dict[str, Array] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(f"save: {name!r} must be a Tensor, got {type(tensor).__name__}")
        array = tensor.detach().cpu().array
        if array.dtype.kind not in KINDS:
            raise TypeError(f"save: {name!r} is {array.dtype}, which safetensors can't hold")
        arrays[name] = np.ascontiguousarray(array).reshape(tensor.shape)
    texts = {name: text for name, text in (metadata or {}).items() if name != SHA256}
    header: dict[str, Any] = {"__metadata__": {**texts, SHA256: digest(arrays, texts)}}
    # The widest numbers first, so that each tensor begins at a multiple of what its numbers take.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    start = 0
    for name in order:
        array = arrays[name]
        kind = KINDS[array.dtype.kind]
        header[name] = {
            "dtype": kind if kind == "BOOL" else f"{kind}{8 * array.itemsize}",
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(arrays[n].tobytes() for n in order)])


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `pack` was given, and its checksum among the texts.

    Raises ValueError, which says what is wrong in words that follow a file's name.
    """
    try:
        arrays = parse(content)
    except SafetensorError as error:
        raise ValueError(f"is not a whole safetensors file ({error})") from None
    except KeyError as error:  # one of those numbers that NumPy hasn't got
        raise ValueError(
            f"holds numbers of the type {error.args[0]}, which can't be read here; save them as F32"
        ) from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    texts = header.get("__metadata__") or {}
    rest = {name: text for name, text in texts.items() if name != SHA256}
    if SHA256 in texts and texts[SHA256] != digest(arrays, rest):
        raise ValueError(
            "does not have the checksum it was written with: it was damaged, or edited"
        )
    return {name: Tensor(array) for name, array in arrays.items()}, texts


def digest(arrays: Mapping[str, Array], texts: Mapping[str, str]) -> str:
    """The SHA-256 of names, types, shapes and numbers of all arrays and of all texts, as hex."""
    described = [(name, str(arrays[name].dtype), arrays[name].shape) for name in sorted(arrays)]
    sha = hashlib.sha256(json.dumps([described, sorted(texts.items())]).encode())
    for name, _, _ in described:
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()
