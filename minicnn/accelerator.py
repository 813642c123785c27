"""The device that is faster than the CPU, under the names of `torch.accelerator`."""

from . import cuda
from .device import device


def is_available() -> bool:
    """Whether there is one."""
    return cuda.is_available()


def device_count() -> int:
    """How many there are."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """It, or None, whether or not `check_available`: without one there is nothing to name."""
    return device("cuda") if cuda.is_available() else None
