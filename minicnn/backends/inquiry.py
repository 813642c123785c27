"""What CuPy finds on this machine: why it can't be used, if so, and what there is."""

from __future__ import annotations

import os
from contextlib import suppress

import cupy as xp

from ..installing import how
from . import cublas
from .protocol import Inquiry

LEAST_FREE_BYTES = 2**28  # on the device, for CUDA itself and anything at all
OLDEST_CUDA = 12  # that CuPy has packages for
OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation, and CUDA_ERROR_OUT_OF_MEMORY of the driver


def inquire() -> Inquiry:
    runtime = xp.cuda.runtime
    # 13020 for CUDA 13.2; the driver's is 0 where there is none
    built, driver = runtime.runtimeGetVersion(), runtime.driverGetVersion()
    parts = {"CuPy": xp.__version__, "CUDA": f"{_dotted(built)}, driver {_dotted(driver)}"}
    devices = 0
    with suppress(runtime.CUDARuntimeError):
        device = runtime.getDeviceProperties(runtime.getDevice())
        free, whole = runtime.memGetInfo()
        parts["Device"] = device["name"].decode()
        parts["Capability"] = f"{device['major']}.{device['minor']}"
        parts["Memory"] = f"{free >> 20:,} of {whole >> 20:,} MiB free"
        devices = int(runtime.getDeviceCount())
    return Inquiry(_trouble(built, driver), devices, parts)


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}" if version else "none"


def _trouble(built: int, driver: int) -> str | None:
    """Why CuPy can't be used here, if so, in one line: driver, GPU, memory, libraries, compiler.

    To find out, it allocates memory and runs a kernel.
    """
    runtime, known = xp.cuda.runtime, driver // 1000
    if not driver:
        return "there is no NVIDIA driver on this machine (nvidia-smi would show it)"
    if known < built // 1000:
        other = f"{how(f'cuda{known}')}, or " if known >= OLDEST_CUDA else "it needs "
        return (
            f"this CuPy is for CUDA {built // 1000}, the driver for CUDA {known}:"
            f" {other}a newer driver"
        )
    try:
        free, whole = runtime.memGetInfo()
    except runtime.CUDARuntimeError as error:
        return f"there is no GPU that can be used{_hidden()}: {_line(error)}"
    full = (
        f"the GPU has {free >> 20} of {whole >> 20} MiB free, and {LEAST_FREE_BYTES >> 20} are"
        " needed to begin: other programs use the rest"
    )
    if free < LEAST_FREE_BYTES:
        return full
    brings = f"{how(f'cuda{built // 1000}')} brings what it needs of CUDA"
    try:
        cublas.library()
    except ImportError:
        return f"CuPy finds no cuBLAS on this machine: {brings}"
    try:
        xp.ElementwiseKernel("", "int32 y", "y = 0", "inquiry")(xp.empty(1, "int32"))
    except Exception as error:  # without NVRTC, without headers, for a GPU that NVRTC doesn't know
        if out_of_memory(error):  # what was free is gone
            return full
        return f"CuPy can't compile kernels on this machine: {brings} ({_line(error)})"
    return None


def _hidden() -> str:
    """What may keep CUDA from seeing a GPU that is there."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f" with CUDA_VISIBLE_DEVICES={visible!r} (nvidia-smi -L lists names)"
    return " (one in MIG mode needs an instance: nvidia-smi -L lists them)"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def out_of_memory(error: BaseException) -> bool:
    # Where CuPy's pool has all of it, CUDA may lack some for the code of a kernel or for a graph.
    if isinstance(error, (xp.cuda.runtime.CUDARuntimeError, xp.cuda.driver.CUDADriverError)):
        return bool(error.status == OUT_OF_MEMORY)
    return isinstance(error, MemoryError)
