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
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse

from . import atomic, files
from .arguments import ArgumentError, type_name
from .backends import Array
from .device import device as Device
from .tensor import Tensor

METADATA = "__metadata__"  # the name of all the texts in the format
SHA256 = "sha256"  # the checksum's name among the metadata
STRUCTURE = "structure"  # the name of what `save` was given, if no mapping from names to Tensors
KINDS = {"b": "BOOL", "u": "U", "i": "I", "f": "F"}


def save(
    obj: Any, f: str | os.PathLike[str] | BinaryIO, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name, such as `model.state_dict()`, to a file, with texts by name beside.

    `obj` may be a tensor, too, or a dict, list or tuple of tensors, numbers, texts, None and
    further ones: what they are made of goes into the texts, and `load` gives it back. The file
    appears whole or not at all (see minicnn/atomic.py), and the same tensors give the same file;
    `f` may be a file that is open for writing bytes. Raises TypeError for anything else,
    ArgumentError for a name that the format has for itself, and OSError.
    """
    tensors, texts = obj, dict(metadata or {})
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"save: metadata must be texts by name, got {name!r}: {text!r}")
        if name == STRUCTURE:
            raise ArgumentError(f"save: metadata can't be called {name!r}, as the file's own is")
    if not isinstance(obj, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in obj.items()
    ):
        tensors = {}
        texts[STRUCTURE] = json.dumps(_described("", obj, tensors))
    content = pack(tensors, texts)
    if isinstance(f, (str, os.PathLike)):
        atomic.write(f, content)
    else:
        f.write(content)


def load(
    f: str | os.PathLike[str] | BinaryIO,
    map_location: Any = None,
    pickle_module: None = None,
    *,
    weights_only: bool | None = None,
) -> Any:
    """What `save` wrote, with its tensors on the device `map_location` (the CPU unless given).

    Of tensors by name, an OrderedDict. Files of other programs, which have no checksum, are read
    too. No file can hold code, whatever `weights_only` is. Raises RuntimeError, naming the file, if
    it is not a whole safetensors file, or another than was written.
    """
    if isinstance(f, (str, os.PathLike)):
        with files.open_regular(f) as file:
            content = file.read()
    else:
        content = f.read()
    if pickle_module is not None:
        raise NotImplementedError("load: pickle_module is not supported: nothing is pickled")
    if not isinstance(map_location, (str, Device, type(None))):
        got = type_name(map_location)
        raise TypeError(f"load: map_location must be a device such as 'cpu', got {got}")
    device = Device("cpu" if map_location is None else map_location)
    try:
        found, texts = unpack(content)
    except ValueError as error:
        raise RuntimeError(f"load: {_named(f)} {error}") from None
    tensors = OrderedDict((name, tensor.to(device)) for name, tensor in found.items())
    if STRUCTURE not in texts:
        return tensors
    try:
        return _made(json.loads(texts[STRUCTURE]), tensors)
    except (KeyError, TypeError, ValueError) as error:
        what = f"has a structure that can't be read: {error!r}"
        raise RuntimeError(f"load: {_named(f)} {what}") from None


def _named(f: Any) -> str:
    return os.fspath(f) if isinstance(f, (str, os.PathLike)) else "the file"


# --- what is no mapping from names to tensors ----------------------------------------------------

# The kinds of what holds others, by the name that a structure has for them.
KINDS_OF_HOLDERS: dict[str, Any] = {"list": list, "tuple": tuple, "dict": dict}
KINDS_OF_HOLDERS["OrderedDict"] = OrderedDict


def _described(path: str, thing: Any, tensors: dict[str, Tensor]) -> Any:
    """A structure in JSON's terms, its tensors put among `tensors` under their paths.

    Numbers, texts and None are themselves. All else is one of {"tensor": name}, with whether it
    requires grad, and {"list": […]}, {"dict": [[key, value], …]} and so on.
    """
    if isinstance(thing, np.generic):
        thing = thing.item()
    if thing is None or type(thing) in (bool, int, float, str):
        return thing
    if isinstance(thing, Tensor):
        name = path or "tensor"
        while name in tensors:  # as of 1 and "1"
            name += "'"
        tensors[name] = thing
        return {"tensor": name, "requires_grad": thing.requires_grad}
    kind = next((n for n, k in reversed(KINDS_OF_HOLDERS.items()) if isinstance(thing, k)), None)
    if kind is None:
        where = f" at {path}" if path else ""
        raise TypeError(
            f"save: a {type_name(thing)}{where} can't be saved, as a file holds tensors, numbers"
            " and texts, and no code; of a model, save its state_dict()"
        )
    pairs = list(thing.items()) if isinstance(thing, dict) else list(enumerate(thing))
    in_keys: dict[str, Tensor] = {}
    inside = [
        [
            _described("", key, in_keys),
            _described(f"{path}.{key}" if path else str(key), value, tensors),
        ]
        for key, value in pairs
    ]
    if in_keys:
        raise TypeError("save: a Tensor can't be saved as the key of a dict, or in one")
    return {kind: inside if isinstance(thing, dict) else [value for _, value in inside]}


def _made(described: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `_described` was given."""
    if isinstance(described, list):
        raise ValueError("a list that does not say what it is")
    if not isinstance(described, dict):
        return described
    if "tensor" in described:
        found = tensors[described["tensor"]]
        return found.requires_grad_() if described["requires_grad"] else found
    ((kind, inside),) = described.items()
    if kind in ("list", "tuple"):
        return KINDS_OF_HOLDERS[kind](_made(value, tensors) for value in inside)
    return KINDS_OF_HOLDERS[kind]((_made(key, {}), _made(value, tensors)) for key, value in inside)


# --- the format ----------------------------------------------------------------------------------


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
        if name == METADATA:
            raise ArgumentError(f"save: a tensor can't be called {name!r}, as the texts are")
        array = tensor.detach().cpu()._read("save")
        if array.dtype.kind not in KINDS:
            raise TypeError(f"save: {name!r} is {array.dtype}, which safetensors can't hold")
        arrays[name] = np.ascontiguousarray(array).reshape(tensor.shape)
    texts = {name: text for name, text in (metadata or {}).items() if name != SHA256}
    header: dict[str, Any] = {METADATA: {**texts, SHA256: digest(arrays, texts)}}
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
    """What `pack` was given, in the order of the names, and its checksum among the texts.

    Raises ValueError, which says what is wrong in words that follow a file's name.
    """
    if content[:4] == b"PK\x03\x04":
        raise ValueError(
            "is a file of torch.save's, which may hold code: load it there, and write it with"
            " safetensors.torch.save_file"
        )
    try:
        arrays = parse(content)
    except SafetensorError as error:
        raise ValueError(f"is not a whole safetensors file ({error})") from None
    except KeyError as error:  # one of those numbers that NumPy hasn't got
        raise ValueError(
            f"holds numbers of the type {error.args[0]}, which can't be read here; save them as F32"
        ) from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    texts = header.get(METADATA) or {}
    rest = {name: text for name, text in texts.items() if name != SHA256}
    if SHA256 in texts and texts[SHA256] != digest(arrays, rest):
        raise ValueError(
            "does not have the checksum it was written with: it was damaged, or edited"
        )
    # The library's reader has the tensors in another order each time.
    return {name: Tensor(arrays[name]) for name in sorted(arrays)}, texts


def digest(arrays: Mapping[str, Array], texts: Mapping[str, str]) -> str:
    """The SHA-256 of names, types, shapes and numbers of all arrays and of all texts, as hex."""
    described = [(name, str(arrays[name].dtype), arrays[name].shape) for name in sorted(arrays)]
    sha = hashlib.sha256(json.dumps([described, sorted(texts.items())]).encode())
    for name, _, _ in described:
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()
