"""What CuPy finds on this machine: why it can't be used, if so, and what there is."""

from __future__ import annotations

import cupy as xp

from . import cublas

LEAST_FREE_BYTES = 2**28  # on the device, for CUDA itself and anything at all


def trouble() -> str | None:
    """Why this backend can't be used here, if so: the driver, its version, a device, its memory."""
    runtime = xp.cuda.runtime
    driver = runtime.driverGetVersion()  # 13020 for CUDA 13.2, 0 where there is none
    if not driver:
        return "there is no NVIDIA driver on this machine (nvidia-smi would show it)"
    built = runtime.runtimeGetVersion()
    if driver // 1000 < built // 1000:
        return (
            f"this CuPy is for CUDA {built // 1000}, the driver for CUDA {driver // 1000}:"
            f" pip install 'minicnn[cuda{driver // 1000}]', or a newer driver"
        )
    try:
        cublas.library()
    except ImportError:
        return (
            "CuPy finds no cuBLAS on this machine:"
            f" pip install 'minicnn[cuda{built // 1000}]' brings what it needs of CUDA"
        )
    try:
        free, whole = runtime.memGetInfo()
    except runtime.CUDARuntimeError as error:
        return f"there is no GPU that can be used: {error}"
    if free < LEAST_FREE_BYTES:
        return f"the GPU has {free >> 20} of {whole >> 20} MiB free: other programs use the rest"
    return None


def describe() -> dict[str, str]:
    """The versions of what this backend is made of, and the device, if there is one."""
    runtime = xp.cuda.runtime

    def dotted(version: int) -> str:  # 13020 is 13.2
        return f"{version // 1000}.{version % 1000 // 10}" if version else "none"

    built, driver = runtime.runtimeGetVersion(), runtime.driverGetVersion()
    found = {"CuPy": xp.__version__, "CUDA": f"{dotted(built)}, driver {dotted(driver)}"}
    if trouble() is None:
        device = runtime.getDeviceProperties(runtime.getDevice())
        free, whole = runtime.memGetInfo()
        found["Device"] = device["name"].decode()
        found["Capability"] = f"{device['major']}.{device['minor']}"
        found["Memory"] = f"{free >> 20:,} of {whole >> 20:,} MiB free"
    return found
