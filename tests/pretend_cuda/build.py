"""The libraries that the pretend device is made of, built by the machine's C++ compiler.

They lie in build/pretend_cuda (or $PRETEND_CUDA_BUILD), under names that say what they were made
from, and are built when they are not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
DIRECTORY = Path(os.environ.get("PRETEND_CUDA_BUILD", HERE.parents[1] / "build" / "pretend_cuda"))
FLAGS = ["-std=c++17", "-fPIC", "-ffp-contract=off"]
DEVICE = ["device.cpp", "threads.cpp", "sorting.cpp"]
CUBLAS = ["cublas.cpp", "cublaslt.cpp", "product.cpp"]
# Kernels: quickly compiled, and what is not called of CuPy's headers left out. What they call of
# libraries, Python has linked already.
KERNEL_FLAGS = [*FLAGS, "-O1", "-w", "-fno-strict-aliasing", "-fvisibility=hidden"]
KERNEL_LINK = ["-shared", "-nostdlib"]


@cache
def compiler() -> str:
    """The C++ compiler's path. Raises RuntimeError if there is none."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if not found:
        raise RuntimeError("the pretend CUDA device needs g++, of GCC 12 or later (or $CXX)")
    return found


@cache
def made_from(*names: str) -> str:
    """A digest of these files here, of the compiler and of how it is called."""
    digest = hashlib.sha256()
    for name in (*names, "build.py"):
        digest.update((HERE / name).read_bytes())
    version = subprocess.run([compiler(), "--version"], capture_output=True, check=True).stdout
    digest.update(version + platform.machine().encode())
    return digest.hexdigest()[:16]


def kernels_made_from() -> str:
    """The digest of what all kernels have in common, but for CuPy's own headers."""
    return made_from("kernel.h", "modules.py")


def run(arguments: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Call the compiler."""
    command = [compiler(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def _being_made(target: Path) -> Iterator[Path | None]:
    """Where to write what will be at `target`; None if it is there. One process at a time does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        draft = target.with_name(f"new-{target.name}")
        yield draft
        os.replace(draft, target)


def _library(target: Path, sources: Sequence[Path], flags: Sequence[str], *linked: str) -> Path:
    def checked(arguments: Sequence[str | Path]) -> None:
        done = run([*FLAGS, *flags, *arguments])
        if done.returncode:
            raise RuntimeError(f"the pretend CUDA device does not compile:\n{done.stderr}")

    with (
        _being_made(target) as draft,
        tempfile.TemporaryDirectory() as directory,
        ThreadPoolExecutor() as threads,
    ):
        if draft:
            objects = [Path(directory, f"{source.stem}.o") for source in sources]
            pairs = zip(sources, objects, strict=True)
            list(threads.map(lambda pair: checked(["-c", pair[0], "-o", pair[1]]), pairs))
            checked(["-shared", "-o", draft, *objects, *linked])
    return target


def device() -> Path:
    """The library of the runtime, the driver and Thrust."""
    digest = made_from(*DEVICE, "device.h", "threads.h")
    python = sysconfig.get_config_var("SOABI")  # of which Python it is for
    headers = f"-I{sysconfig.get_path('include')}"
    sources = [HERE / name for name in DEVICE]
    flags = ["-O1", "-Wall", "-Wextra", headers]
    return _library(DIRECTORY / f"device-{digest}-{python}.so", sources, flags, "-ldl")


def cublas(binding: Path) -> Path:
    """cuBLAS and cuBLASLt, under the name that CuPy's binding of cuBLAS (a library) is linked with.

    What the binding links and is not written here is there, and returns "not supported".
    """
    text = subprocess.run(
        ["nm", "-D", "--undefined-only", binding], capture_output=True, text=True, check=True
    ).stdout
    names = sorted(set(re.findall(r"\b(cublas\w+)", text)))
    soname = re.search(rb"libcublas\.so\.\d+", binding.read_bytes())[0].decode()
    target = DIRECTORY / f"cublas-{made_from(*CUBLAS, 'product.h', 'device.h')}" / soname
    target.parent.mkdir(parents=True, exist_ok=True)
    rest = target.with_suffix(f".{os.getpid()}.cpp")
    refuse = '{{ fprintf(stderr, "pretend CUDA: {0} is not written\\n"); return 15; }}'
    rest.write_text(
        "#include <cstdio>\n"
        + "".join(
            f'extern "C" __attribute__((weak)) int {name}() {refuse.format(name)}\n'
            for name in names
        )
    )
    versions = rest.with_suffix(".map")
    versions.write_text(f"{soname} {{ global: cublas*; local: *; }};\n")
    linking = [f"-Wl,-soname,{soname}", f"-Wl,--version-script={versions}"]
    try:
        flags = ["-O3", "-Wall", "-Wextra"]
        return _library(target, [*(HERE / name for name in CUBLAS), rest], flags, *linking)
    finally:
        rest.unlink()
        versions.unlink()


def kernel_header(includes: Sequence[str]) -> Path:
    """What every kernel's source begins with, precompiled, CuPy's own headers with it."""
    at = hashlib.sha256(repr(includes).encode()).hexdigest()[:8]
    header = DIRECTORY / f"kernel-{kernels_made_from()}-{at}" / "kernel.h"
    with _being_made(header.with_name("kernel.h.gch")) as draft:
        if draft:
            for empty in ("thrust/detail/config/namespace.h", "cuda_fp16.h"):
                path = header.parent / empty  # kernel.h has what is looked for in it
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            shutil.copy(HERE / "kernel.h", header)
            done = run([*kernel_flags(header, includes), "-x", "c++-header", "-o", draft, header])
            if done.returncode:
                raise RuntimeError(f"CuPy's headers do not compile:\n{done.stderr}")
    return header


def kernel_flags(header: Path, includes: Sequence[str]) -> list[str]:
    """The flags of every kernel."""
    return [*KERNEL_FLAGS, f"-I{header.parent}", *includes]
