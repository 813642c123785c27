"""Array backends: the only place that knows which array libraries there are.

A backend is a module with the array library itself, `xp`, and the few primitives in which the
libraries differ; `protocol.py` is the list. Everything above asks an array where it belongs,
`backend_of(array)`, and never which library that is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import type_name
from ..installing import how
from . import cudnn as cudnn
from . import mps as mps
from . import numpy as host
from .protocol import Array as Array
from .protocol import Backend as Backend

if TYPE_CHECKING:  # CuPy may not be there; here mypy holds its backend against the protocol
    from . import cupy

    _: Backend = cupy

NAMES = {"cpu": "numpy", "cuda": "cupy"}  # device type -> the backend that serves it
DEVICES = {name: device_type for device_type, name in NAMES.items()}

_by_array_type: dict[type, Backend] = {np.ndarray: host}


class BackendError(RuntimeError):
    """A backend that was asked for cannot be used here; the message says why."""


def _imported(device_type: str) -> Backend:
    if device_type not in NAMES:
        raise BackendError(f"device must be one of {sorted(NAMES)}, got {device_type!r}")
    try:
        module: Any = import_module(f"{__name__}.{NAMES[device_type]}")
        return module
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{error.name} is not installed: {how('cuda13')}, or [cuda12] for a driver that"
            " nvidia-smi shows with CUDA 12"
        ) from None
    except ImportError as error:
        raise BackendError(f"CuPy can't be imported: {error}".replace("\n", " ")) from error


def load(device_type: str) -> Backend:
    """The backend of a device type, "cpu" or "cuda". Raises BackendError if it can't be used.

    Whether it can is found out once: afterwards a program's own arrays may fill the device.
    """
    backend = _imported(device_type)
    if backend.xp.ndarray not in _by_array_type:
        if trouble := backend.inquire().trouble:
            raise BackendError(trouble)
        _by_array_type[backend.xp.ndarray] = backend
    return backend


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
        backend = _imported(device_type)
    except BackendError as error:
        return {"Trouble": str(error)}
    trouble, _, parts = backend.inquire()
    in_use = backend.xp.ndarray in _by_array_type
    return parts if in_use or not trouble else {**parts, "Trouble": trouble}


def backend_of(array: Array) -> Backend:
    """The backend whose arrays these are. Raises TypeError for anything that is not an array."""
    try:
        return _by_array_type[type(array)]
    except KeyError:
        raise TypeError(f"expected an array of a minicnn backend, got {type_name(array)}") from None


def is_array(thing: Any) -> bool:
    """Whether this is an array of one of the backends in use."""
    return type(thing) in _by_array_type


def as_array(thing: Any) -> Array:
    """A backend's array as it is; NumPy's scalars and the subclasses of its arrays as plain ones.

    Never a copy of an array. Raises TypeError for anything else, for a masked array, whose mask
    would be lost, and for elements that are not numbers in this machine's byte order.
    """
    if not is_array(thing):
        array_like = isinstance(thing, (np.ndarray, np.generic))
        if not array_like or isinstance(thing, np.ma.MaskedArray):
            raise TypeError(f"expected an array of a minicnn backend, got {type_name(thing)}")
        thing = np.asarray(thing)
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


def constant(backend: Backend, make: Callable[..., Any], *args: Any) -> Any:
    """make(*args), a NumPy array or a tuple of them, on a backend: made and sent there once.

    On the host the 64 that were asked for last are kept, on a device all, as a graph may read them
    whenever it is launched; so this is for small ones. Never write to it.
    """
    return (_kept_of_late if backend is host else _kept)(backend, make, *args)


def _constant(backend: Backend, make: Callable[..., Any], *args: Any) -> Any:
    made = make(*args)
    if isinstance(made, tuple):
        return tuple(backend.from_host(array) for array in made)
    return backend.from_host(made)


_kept: Callable[..., Any] = cache(_constant)
_kept_of_late: Callable[..., Any] = lru_cache(maxsize=64)(_constant)
