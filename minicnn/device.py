"""Where a tensor's memory is, and where new tensors go: PyTorch's names for the backends."""

from __future__ import annotations

import os

from . import backends
from .arguments import whole


class device:
    """A device: `device("cpu")` (NumPy), `device("cuda")` or `device("cuda:0")` (CuPy).

    All is computed on one GPU, the first that CUDA shows. Another number can be written, as in
    PyTorch, and is refused where memory is asked for there.
    """

    type: str
    index: int | None

    def __init__(self, type: str | device = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            self.type, self.index = type.type, type.index
            return
        if not isinstance(type, str):
            raise TypeError(f"device must be cpu, cuda or cuda:N, got {type!r}")
        name, colon, number = type.partition(":")
        numbered = number.isascii() and number.isdecimal()
        if name not in backends.NAMES or (colon and not numbered):
            raise RuntimeError(f"device must be cpu, cuda or cuda:N, got {type!r}")
        if index is not None and (colon or whole("device", "index", index) < 0):
            raise RuntimeError(f"device must be cpu, cuda or cuda:N, got {type!r} and {index}")
        self.type = name
        self.index = int(number) if colon else index

    @property
    def backend(self) -> backends.Backend:
        """The array backend that serves this device. Raises BackendError if it can't be used."""
        backend = backends.load(self.type)
        if self.index:
            raise backends.BackendError(self._refusal(backend.inquire().devices))
        return backend

    def _refusal(self, count: int) -> str:
        there = f"there is 1, {self.type}:0" if count == 1 else f"there are {count}"
        if self.index is None or self.index >= count:
            return f"there is no device {self}: {there}"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        name = visible.split(",")[self.index].strip()
        return f"{self} is not used, {self.type}:0 alone is: set CUDA_VISIBLE_DEVICES={name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"


DeviceLike = device | str | None

_default = device("cpu")


def set_default_device(device: DeviceLike) -> None:
    """Put new tensors and layers on this device, if no other is named; None is the CPU.

    It holds for all threads. What shares or takes over existing memory (`from_numpy`, `load`,
    images of a data set) stays where it is. Raises BackendError if the device can't be used.
    """
    global _default
    chosen = as_device(device or "cpu")
    _ = chosen.backend  # refused here rather than by the first tensor
    _default = chosen


def get_default_device() -> device:
    """Where tensors are made if no device is named."""
    return _default


def as_device(device: DeviceLike) -> device:
    """The device that an argument means: the default one for None."""
    return _default if device is None else _Device(device)


_Device = device  # `device` is an argument above
