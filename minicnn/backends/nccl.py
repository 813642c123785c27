"""NCCL: sums over the GPUs of several processes, through CuPy."""

from __future__ import annotations

from typing import Any

from cupy import cuda
from cupy.cuda import nccl

from .protocol import Array

TYPES = {
    "float32": "NCCL_FLOAT32",
    "float64": "NCCL_FLOAT64",
    "int32": "NCCL_INT32",
    "int64": "NCCL_INT64",
    "uint8": "NCCL_UINT8",
}


def unique_id() -> Any:
    """What the processes of one group find each other by. Raises RuntimeError without NCCL."""
    if not getattr(nccl, "available", False):
        raise RuntimeError(
            "CuPy finds no NCCL on this machine; the package nvidia-nccl-cu12, or -cu13, brings it"
        )
    return nccl.get_unique_id()


class Communicator:
    """One of `size` processes, each with a GPU of its own.

    Its sums are put on the stream that is current, so a graph can hold them (NCCL from 2.9 on). The
    NCCL User Guide, "Using NCCL with CUDA Graphs".
    """

    def __init__(self, size: int, identity: Any, rank: int) -> None:
        self._communicator = nccl.NcclCommunicator(size, identity, rank)

    def all_reduce(self, array: Array) -> None:
        """Replace a contiguous array by the sum of all processes'."""
        name = TYPES.get(str(array.dtype))
        if name is None:
            raise TypeError(f"all_reduce: NCCL adds up no {array.dtype}; convert it first")
        kind, address = getattr(nccl, name), array.data.ptr
        stream = cuda.get_current_stream().ptr
        self._communicator.allReduce(address, address, array.size, kind, nccl.NCCL_SUM, stream)
