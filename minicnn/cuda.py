"""What programs ask about a GPU before they use it, under the names of `torch.cuda`."""

from typing import Any

from . import backends
from .device import device as Device
from .random import manual_seed as manual_seed
from .random import manual_seed as manual_seed_all

__all__ = ["current_device", "device_count", "empty_cache", "get_device_name", "is_available"]
__all__ += ["manual_seed", "manual_seed_all", "synchronize"]


def is_available() -> bool:
    """Whether tensors can be put on "cuda": whether there is a CuPy backend, CuPy and a GPU."""
    return backends.is_available("cuda")


def device_count() -> int:
    """How many GPUs a program can use: 1 at most, whatever the machine has."""
    return int(is_available())


def current_device() -> int:
    """The number of the GPU in use, 0. Raises BackendError if there is none."""
    backends.load("cuda")
    return 0


def get_device_name(device: Any = None) -> str:
    """The name of the GPU. Raises BackendError if there is none."""
    backend = Device("cuda" if device is None else device).backend
    return backend.inquire().parts["Device"]


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has finished its work. Raises BackendError if there is none."""
    backends.load("cuda").xp.zeros(()).item()  # a number comes after all that was begun before


def empty_cache() -> None:
    """Give memory that is kept for later back to the GPU, if there is one."""
    if is_available():
        backends.load("cuda").free_unused()
