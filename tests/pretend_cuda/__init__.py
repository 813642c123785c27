"""The real CuPy on a pretend CUDA device in host memory; README.md says what it shows.

    pytest --backend pretend
    python -m tests.pretend_cuda -m nin.train --backend cupy
    PRETEND_CUDA=devices=2 python -m tests.pretend_cuda -c 'import cupy; …'

`install()` has to be called before anything imports CuPy. Everything else here is for tests, which
tell the device what to be and ask what was done. Both need CuPy to be imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from . import entries
from .entries import cublas as cublas
from .entries import get_option, set_option
from .entries import replaced as replaced

SITE = Path(__file__).parent / "site"  # on PYTHONPATH, it gives the device to a process
VARIABLE = "PRETEND_CUDA"


class Node(NamedTuple):
    """One thing that a captured graph does."""

    kind: str  # "kernel", "cublas", "memcpy", "memset", "sort" or "graph"
    name: str  # of the kernel or function; of a copy, "device to device" and the like
    grid: tuple[int, int, int]  # blocks; for cuBLAS m, n and k
    block: tuple[int, int, int]  # threads of a block; for cuBLAS the number of products
    bytes: int  # copied, filled or sorted


def install() -> None:
    """Let CuPy find the pretend device when it is imported, here and in children of this process.

    Raises RuntimeError if CuPy is imported already, if there is no C++ compiler, and ValueError for
    an option in $PRETEND_CUDA that there is not.
    """
    text = os.environ.setdefault(VARIABLE, "")
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(SITE) not in inherited:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SITE), *inherited]))
    entries.install(dict(part.partition("=")[::2] for part in text.split(",") if part))


@contextmanager
def being(**options: Any) -> Iterator[None]:
    """The device is something else for a while: `with being(memory=2**30): …`; see README.md."""
    before = {name: get_option(name) for name in options}
    try:
        for name, value in options.items():
            set_option(name, str(value))
        yield
    finally:
        for name, value in before.items():
            set_option(name, value)


def counts() -> dict[str, int]:
    """How often what was done so far: launches, copies, memsets, products, sorts, mallocs, …"""
    return entries.library().pretend_counts()


def launched() -> dict[str, int]:
    """The names of the kernels that were launched or captured so far, and how often each."""
    return entries.library().pretend_launched()


def used(device: int = 0) -> int:
    """The bytes of a device that are allocated, CuPy's pools with all they hold."""
    return entries.library().pretend_used(device)


def peak(device: int = 0) -> int:
    """The most that `used` has been since `reset_peak`."""
    return entries.library().pretend_peak(device)


def reset_peak() -> None:
    """Let `peak` begin again, for all devices."""
    entries.library().pretend_reset_peak()


def nodes(graph: Any) -> list[Node]:
    """What a captured graph (CuPy's `cupy.cuda.Graph`) does, in order."""
    return [Node(*node) for node in entries.library().pretend_nodes(graph.graph)]
