"""A GPU that can't be used is one line that says why, and what to do."""

from __future__ import annotations

import sys

import cupy
import pytest

from minicnn import backends
from minicnn.backends import cublas, inquiry
from minicnn.backends import cupy as backend
from minicnn.installing import how

runtime = cupy.cuda.runtime


def trouble():
    with pytest.raises(backends.BackendError) as caught:
        backends.load("cuda")
    assert not backends.is_available("cuda")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def driver(monkeypatch):
    """A driver as new as this CuPy, a GPU of its own, and the libraries that CuPy needs."""
    built = runtime.runtimeGetVersion()
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: built)
    monkeypatch.setattr(runtime, "memGetInfo", lambda: (2**34, 2**34))
    monkeypatch.setattr(cublas, "library", lambda: None)
    monkeypatch.setattr(cupy, "empty", lambda *_: None)
    monkeypatch.setattr(cupy, "ElementwiseKernel", lambda *_, **__: lambda *_: None)
    others = {t: each for t, each in backends._by_array_type.items() if each is not backend}
    monkeypatch.setattr(backends, "_by_array_type", others)
    return built


def test_no_cupy(monkeypatch, driver):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "minicnn.backends.cupy", raising=False)
    assert trouble().startswith(f"cupy is not installed: {how('cuda13')}, or [cuda12]")


def test_no_driver(monkeypatch, driver):
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: 0)
    assert "no NVIDIA driver" in trouble()


@pytest.mark.parametrize(
    ("cuda", "advice"),
    [(12, f"{how('cuda12')}, or a newer driver"), (11, "it needs a newer driver")],
)
def test_a_driver_that_is_too_old(monkeypatch, driver, cuda, advice):
    monkeypatch.setattr(runtime, "runtimeGetVersion", lambda: 13000)
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: 1000 * cuda + 80)
    assert trouble() == f"this CuPy is for CUDA 13, the driver for CUDA {cuda}: {advice}"


def test_no_cublas(monkeypatch, driver):
    def missing():
        raise ImportError("no such file:\nlibcublas")

    monkeypatch.setattr(cublas, "library", missing)
    assert f"no cuBLAS on this machine: {how(f'cuda{driver // 1000}')} brings" in trouble()


def test_no_compiler(monkeypatch, driver):
    def missing(*_):
        raise RuntimeError("Failed to find CUDA headers.\nPlease install them")

    monkeypatch.setattr(cupy, "ElementwiseKernel", missing)
    assert trouble() == (
        f"CuPy can't compile kernels on this machine: {how(f'cuda{driver // 1000}')}"
        " brings what it needs of CUDA (Failed to find CUDA headers. Please install them)"
    )


def refuse():
    raise runtime.CUDARuntimeError(100)  # cudaErrorNoDevice


def test_no_device(monkeypatch, driver):
    monkeypatch.setattr(runtime, "memGetInfo", refuse)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "no GPU that can be used (one in MIG mode needs an instance" in trouble()


def test_a_device_that_is_hidden(monkeypatch, driver):
    monkeypatch.setattr(runtime, "memGetInfo", refuse)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "no GPU that can be used with CUDA_VISIBLE_DEVICES='7'" in trouble()


def test_no_memory(monkeypatch, driver):
    monkeypatch.setattr(runtime, "memGetInfo", lambda: (inquiry.LEAST_FREE_BYTES - 1, 2**34))
    assert "255 of 16384 MiB free" in trouble()


def test_memory_that_is_gone_in_the_meantime(monkeypatch, driver):
    def full(*_):
        raise cupy.cuda.memory.OutOfMemoryError(512, 0)

    monkeypatch.setattr(cupy, "empty", full)
    assert "MiB free, and 256 are needed to begin" in trouble()


def test_it_is_found_out_once(monkeypatch, driver):
    backends.load("cuda")
    monkeypatch.setattr(runtime, "memGetInfo", lambda: (0, 2**34))
    assert backends.is_available("cuda")
    assert "Trouble" not in backends.describe("cuda")


def test_it_is_asked_again_after_trouble(monkeypatch, driver):
    monkeypatch.setattr(runtime, "memGetInfo", lambda: (0, 2**34))
    trouble()
    monkeypatch.setattr(runtime, "memGetInfo", lambda: (2**34, 2**34))
    assert backends.is_available("cuda")
