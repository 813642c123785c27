"""`save` and `load`: tensors by name, in a file that other programs can read.

The format is safetensors: names, shapes and raw numbers. It can't carry code, so loading a file
from a stranger is safe, and PyTorch reads it with `safetensors.torch.load_file`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as render

from .backends import host
from .device import device as Device
from .tensor import Tensor


def save(tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Write tensors by name, such as `model.state_dict()`, to a file.

    The file appears whole or not at all: it is written beside its place and then renamed. Raises
    TypeError for anything but a mapping from names to Tensors.
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(
            f"save: expected tensors by name, such as model.state_dict(), got"
            f" {type(tensors).__name__}"
        )
    arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(f"save: {name!r} must be a Tensor, got {type(tensor).__name__}")
        arrays[name] = host.xp.ascontiguousarray(tensor.detach().cpu().array).reshape(tensor.shape)
    target = Path(path)
    beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(render(arrays))
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], map_location: Any = None) -> OrderedDict[str, Tensor]:
    """The tensors that `save` wrote, by name, on the device `map_location` (the CPU unless given).

    Raises RuntimeError, naming the file, if it is not a whole safetensors file.
    """
    try:
        arrays = parse(Path(path).read_bytes())
    except SafetensorError as error:
        raise RuntimeError(f"load: {path} is not a whole safetensors file ({error})") from None
    place = Device("cpu" if map_location is None else map_location)
    return OrderedDict((name, Tensor(array).to(place)) for name, array in sorted(arrays.items()))
