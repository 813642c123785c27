"""What minicnn runs on: the first thing to paste into a report of a fault."""

from __future__ import annotations

import os
import platform
import textwrap
from contextlib import suppress
from pathlib import Path

from . import __version__, backends
from .console import printable
from .parallel import available_cores

# Variables that change which kernels run, on what, and on how many threads.
VARIABLES = ("OMP_", "OPENBLAS_", "MKL_", "CUDA_", "CUPY_", "NVIDIA_", "MALLOC_")
WIDTH = 80


def processor() -> str:
    """The processor's name, as the system gives it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe() -> dict[str, dict[str, str]]:
    """Versions, machine and settings: in general, and for each backend."""
    variables = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)]
    return {
        "minicnn": {
            "minicnn": __version__,
            "Python": platform.python_version(),
            "System": platform.platform(),
            "Processor": f"{processor()}, {available_cores()} cores",
            "Environment": ", ".join(variables) or "nothing set",
        },
        **{
            f"{device}, backend {name}": backends.describe(device)
            for device, name in backends.NAMES.items()
        },
    }


def show_config() -> None:
    """Print what minicnn runs on: versions, processor, backends, devices, BLAS and threads."""
    for title, entries in describe().items():
        if title != "minicnn":
            print(f"\n{title}")
        for name, value in entries.items():
            start = f"{name:<14}"
            print(
                textwrap.fill(
                    printable(value),
                    WIDTH,
                    initial_indent=start,
                    subsequent_indent=" " * len(start),
                    break_on_hyphens=False,
                )
            )
