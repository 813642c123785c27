"""Array backends: the only place that knows NumPy and CuPy by name.

A backend is a module with the array module itself, `xp`, and the few primitives in which the
libraries differ. `backends/numpy.py` is the list: whoever writes another backend provides the same
names. Everything above asks an array where it belongs, `backend_of(array)`, and never which library
that is.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from . import numpy as host

Array = Any  # numpy.ndarray or cupy.ndarray

NAMES = {"cpu": "numpy", "cuda": "cupy"}  # device type -> the backend that serves it

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
    """The backend of a device type, "cpu" or "cuda". Raises BackendError if it can't be used.

    Whether it can is found out once: afterwards a program's own arrays may fill the device.
    """
    module = _imported(device_type)
    if module.ArrayType not in _by_array_type:
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
    found: dict[str, str] = {}
    try:
        found = _imported(device_type).describe()
        load(device_type)
    except BackendError as error:
        found["Trouble"] = str(error)
    return found


def backend_of(array: Array) -> ModuleType:
    """The backend whose arrays these are. Raises TypeError for anything that is not an array."""
    try:
        return _by_array_type[type(array)]
    except KeyError:
        raise TypeError(f"expected an array of a minicnn backend, got {type(array)}") from None


def is_array(thing: Any) -> bool:
    """Whether this is an array of one of the backends in use."""
    return type(thing) in _by_array_type


def as_array(thing: Any) -> Array:
    """A backend's array as it is; NumPy's scalars and the subclasses of its arrays as plain ones.

    Never a copy of an array. Raises TypeError for anything else, for a masked array, whose mask
    would be lost, and for elements that are not numbers in this machine's byte order.
    """
    if not is_array(thing):
        array_like = isinstance(thing, (host.ArrayType, host.xp.generic))
        if not array_like or isinstance(thing, host.xp.ma.MaskedArray):
            kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
            raise TypeError(f"expected an array of a minicnn backend, got {kind}")
        thing = host.asarray(thing)
    if thing.dtype.kind not in "biufc" or not thing.dtype.isnative:
        raise TypeError(f"expected numbers in this machine's byte order, got {thing.dtype!r}")
    return thing


def refuse_capture(what: str) -> None:
    """Raise RuntimeError, naming what was asked for, if this thread is capturing a graph.

    It is for what moves numbers between host and device: while a graph is captured there are none
    yet, and what comes from the host would be the same at every launch.
    """
    if any(backend.capturing() for backend in _by_array_type.values()):
        raise RuntimeError(
            f"{what} moves numbers between the host and the GPU, which a step that is captured as a"
            " graph can't do; do it before or after the step"
        )


def constant(backend: ModuleType, make: Callable[..., Any], *args: Any) -> Any:
    """make(*args), a NumPy array or a tuple of them, on a backend: made and sent there once.

    On the host the 64 that were asked for last are kept, on a device all, as a graph may read them
    whenever it is launched; so this is for small ones. Never write to it.
    """
    return (_kept_of_late if backend is host else _kept)(backend, make, *args)


def _constant(backend: ModuleType, make: Callable[..., Any], *args: Any) -> Any:
    made = make(*args)
    if isinstance(made, tuple):
        return tuple(backend.from_host(array) for array in made)
    return backend.from_host(made)


_kept, _kept_of_late = cache(_constant), lru_cache(maxsize=64)(_constant)
