"""What programs ask before they choose a device."""

from . import backends


def is_available() -> bool:
    """Whether tensors can be put on "cuda": whether there is a CuPy backend, CuPy and a GPU."""
    return backends.is_available("cuda")
