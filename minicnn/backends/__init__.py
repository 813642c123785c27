"""Array backends: the only place that knows NumPy and CuPy by name.

A backend is a module with the array module itself, `xp`, and the few primitives in which the
libraries differ. `backends/numpy.py` is the list: whoever writes another backend provides the same
names. Everything above asks an array where it belongs, `backend_of(array)`, and never which library
that is.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from . import numpy as host

Array = Any  # numpy.ndarray or cupy.ndarray

NAMES = {"cpu": "numpy", "cuda": "cupy"}  # device type -> the backend that serves it

# How convolutions are computed: "im2col", "winograd" where that is possible, or "auto", winograd
# where it is faster. im2col is the reference; see operations/winograd.py for what the other trades.
conv_algorithm = "im2col"

_by_array_type: dict[type, ModuleType] = {host.ArrayType: host}


class BackendError(RuntimeError):
    """A backend that was asked for cannot be used here; the message says why."""


def _imported(device_type: str) -> ModuleType:
    if device_type not in NAMES:
        raise BackendError(f"device must be one of {sorted(NAMES)}, got {device_type!r}")
    try:
        return import_module(f"{__name__}.{NAMES[device_type]}")
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{error.name} is not installed: pip install 'minicnn[cuda13]', or [cuda12] for a"
            " driver that nvidia-smi shows with CUDA 12"
        ) from None
    except ImportError as error:
        raise BackendError(f"CuPy can't be imported: {error}".replace("\n", " ")) from error


def load(device_type: str) -> ModuleType:
    """The backend of a device type, "cpu" or "cuda". Raises BackendError if it can't be used."""
    module = _imported(device_type)
    if trouble := module.trouble():
        raise BackendError(trouble)
    _by_array_type[module.ArrayType] = module
    return module


def is_available(device_type: str) -> bool:
    """Whether `load(device_type)` would succeed."""
    try:
        load(device_type)
    except BackendError:
        return False
    return True


def describe(device_type: str) -> dict[str, str]:
    """What the backend of a device type is made of; as "Trouble", why it can't be used, if so."""
    try:
        module = _imported(device_type)
    except BackendError as error:
        return {"Trouble": str(error)}
    trouble = module.trouble()
    return {**module.describe(), **({"Trouble": trouble} if trouble else {})}


def backend_of(array: Array) -> ModuleType:
    """The backend whose arrays these are. Raises TypeError for anything that is not an array."""
    try:
        return _by_array_type[type(array)]
    except KeyError:
        raise TypeError(f"expected an array of a minicnn backend, got {type(array)}") from None


@cache
def constant(backend: ModuleType, make: Callable[..., Any], *args: Any) -> Any:
    """make(*args), a NumPy array or a tuple of them, on a backend: made and sent there once.

    Never write to it.
    """
    made = make(*args)
    if isinstance(made, tuple):
        return tuple(backend.from_host(array) for array in made)
    return backend.from_host(made)
