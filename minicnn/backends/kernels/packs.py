"""Kernels whose threads take 16 bytes at a time.

What is alike for neighbouring channels is done once for as many of them as fill 16 bytes, a pack:
one address, one load, one store, and 45 instructions an element of im2col in place of 158.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import cupy as xp

from ..protocol import Array

PACK_BYTES = 16
# What counts elements, to CuPy and in C: kernels spend their time on divisions, and by 32 bits
# those are several times faster.
_INDEX = {False: ("uint32", "unsigned int"), True: ("uint64", "unsigned long long")}


def kernel(name: str, inputs: str, outputs: str, body: str, preamble: str = "") -> Any:
    """`body` for each element i of the outputs; profilers show the name."""
    return xp.ElementwiseKernel(inputs, outputs, body, f"minicnn_{name}", preamble=preamble)


def contiguous(*arrays: Array) -> tuple[Array, ...]:
    """The arrays, copied where they are not; CuPy's own function makes one dimension of none."""
    return tuple(xp.ascontiguousarray(a).reshape(a.shape) for a in arrays)


def is_wide(*arrays: Array) -> bool:
    """Whether 32 bits are too few to count the elements of one of the arrays."""
    return max(a.size for a in arrays) >= 2**31


def pack_size(channels: int, *arrays: Array) -> int:
    """How many elements a thread takes: as many as fill 16 bytes, where all arrays allow it, or 1.

    They must be contiguous, with this many channels last.
    """
    size = max(1, PACK_BYTES // max(a.itemsize for a in arrays))
    fits = channels % size == 0
    return size if fits and all(a.data.ptr % (size * a.itemsize) == 0 for a in arrays) else 1


def pack_type(name: str, c_type: str, size: int) -> str:
    """C for so many elements that are loaded and stored at once."""
    return f"struct alignas({size} * sizeof({c_type})) {name} {{ {c_type} e[{size}]; }};\n"


def coordinates(names: str, sizes: str) -> str:
    """C for where element i is in an array: by name, along all axes, of these sizes but the first.

    `coordinates("n p k", "h c")` is k = i % c, p = i / c % h and n = i / c / h.
    """
    first, *others = names.split()
    along = list(zip(others, sizes.split(), strict=True))[::-1]
    parts = [f"I {name} = rest % {size}; rest /= {size};" for name, size in along]
    return " ".join(["I rest = i;", *parts, f"I {first} = rest;"])


class PackedKernel:
    """A kernel with a thread for every pack of the first output, in arrays of any size and type.

    The body knows PACK, how many elements there are in a Pack of T, and in Places, a pack of P; and
    I, the type of indices, which its inputs may have, too.
    """

    def __init__(self, name: str, inputs: str, outputs: str, body: str) -> None:
        self.name, self.inputs, self.outputs, self.body = name, inputs, outputs, body
        self._compiled = cache(self._kernel)

    def _kernel(self, wide: bool, pack: int) -> Any:
        uint, c_type = _INDEX[wide]
        packs = pack_type("Pack", "T", pack)
        if "raw P" in self.inputs + self.outputs:
            packs += pack_type("Places", "P", pack)
        return kernel(
            self.name,
            re.sub(r"\bI\b", uint, self.inputs),
            self.outputs,
            self.body,
            f"typedef {c_type} I; enum {{ PACK = {pack} }};\n{packs}",
        )

    def __call__(self, *arguments: Any, pack: int = 1, size: int) -> None:
        """Run it on inputs and outputs, with `size` threads for packs of so many elements."""
        arrays = [a for a in arguments if isinstance(a, xp.ndarray)]
        self._compiled(is_wide(*arrays), pack)(*arguments, size=size)
