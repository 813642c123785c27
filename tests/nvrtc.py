"""Compile every kernel with NVRTC, CUDA's run-time compiler, as CuPy does when it is first used.

    python -m tests.nvrtc

No GPU is needed, nor its driver: `pip install 'minicnn[nvrtc]'` brings CuPy and the compiler. CuPy
itself writes the source around a kernel's body, chooses the options and calls the compiler. Only
the architecture comes from here, where CuPy would ask the device, and the machine code stays here,
where CuPy would load it onto the device.

Printed are, for each kernel, in how many variants it was compiled, and for each architecture the
registers that a thread takes in the first of them: float32, as `nin.train` calls it.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import cupy
import numpy as np
from cupy._core import _carray, _kernel, _reduction, _scalar, core
from cupy.cuda import compiler, function
from cupy_backends.cuda.libs import nvrtc

from minicnn.backends import kernels as file

# What the type letters of the kernels stand for; a letter that is not here is an error.
TYPES = {"T": ("float32", "float64"), "P": ("uint8", "uint16")}
WANTED = ("70", "80", "90")  # compute capability 7.0 (V100), 8.0 (A100), 9.0 (H100, H200)
# CUDA 13 knows 7.0 no more: the compiler of CUDA 12.9, which the extra installs, knows all three.
ARCHITECTURES = [a for a in WANTED if int(a) in nvrtc.getSupportedArchs()]
VERBOSE = "--ptxas-options=-v"  # so that the log tells the registers
ARRAY, INDEXER, SCALAR = 1, 2, 3  # what CuPy's _ArgInfo calls kinds of arguments


class Variant(NamedTuple):
    """One of the ways in which a kernel may be called."""

    types: dict[str, Any]
    # Contiguous arrays, numbers and indices of 32 bits; or strided arrays, also in the place of
    # numbers, and indices of 64.
    simple: bool


def kernels() -> dict[str, Any]:
    """All kernels of the backend, by the names that they have there."""
    kinds = (cupy.ElementwiseKernel, cupy.ReductionKernel)
    found = {}
    for name, value in vars(file).items():
        if isinstance(value, kinds):
            found[name] = value
        elif isinstance(value, dict) and not name.startswith("__"):
            found |= {f"{name}[{key}]": k for key, k in value.items() if isinstance(k, kinds)}
    return found


def variants(kernel: Any) -> list[Variant]:
    """Every choice of types, and of the two ways to pass the arguments."""
    letters = sorted({p.ctype for p in kernel.in_params + kernel.out_params if not p.dtype})
    choices = itertools.product(*(TYPES[letter] for letter in letters))
    types = [dict(zip(letters, map(np.dtype, choice), strict=True)) for choice in choices]
    return [Variant(t, simple) for t in types for simple in (True, False)]


def source(kernel: Any, variant: Variant) -> str:
    """What CuPy makes of the kernel's body."""
    types, simple = dict(variant.types), variant.simple
    ndim = 1 if simple else 4
    reduction = isinstance(kernel, cupy.ReductionKernel)
    if reduction:
        types["IndexT"] = np.dtype("int32" if simple else "int64")

    def argument(p: Any) -> Any:
        if p.name.endswith("_ind"):
            return _kernel._ArgInfo(INDEXER, _carray.Indexer, None, ndim, True, simple)
        dtype = np.dtype(p.dtype or types[p.ctype])
        if p.name == "_block_stride" or (simple and p.is_const and not p.raw):
            return _kernel._ArgInfo(SCALAR, _scalar.CScalar, dtype, 0, True, True)
        return _kernel._ArgInfo(ARRAY, cupy.ndarray, dtype, ndim, simple, simple)

    arguments = tuple(argument(p) for p in (kernel._params if reduction else kernel.params))
    map_of_types = _kernel._TypeMap(tuple(sorted(types.items())))
    if reduction:
        code: str = _reduction._ReductionKernel_get_cached_function_code(
            kernel.nin,
            kernel.nout,
            kernel._params,
            arguments,
            map_of_types,
            kernel.name,
            512,
            kernel.reduce_type,
            kernel.identity,
            kernel.map_expr,
            kernel.reduce_expr,
            kernel.post_map_expr,
            kernel.preamble,
            kernel.options,
        )
    else:
        code = _kernel._get_elementwise_kernel_code(
            arguments, map_of_types, kernel.params, kernel.operation, kernel.name, kernel.preamble
        )
    return code


class Compiled(function.Module):
    """Machine code that is not loaded onto a device."""

    def load(self, cubin: bytes) -> None:
        self.cubin = cubin


@contextmanager
def without_a_device() -> Iterator[None]:
    """CuPy compiles for the architecture that it is told, loads nothing, and keeps no files."""
    with (
        mock.patch.dict(os.environ, CUPY_CACHE_IN_MEMORY="1"),
        mock.patch.object(compiler.function, "Module", Compiled),
        mock.patch.object(
            compiler, "_get_arch_for_options_for_nvrtc", lambda arch: (f"-arch=sm_{arch}", "cubin")
        ),
    ):
        yield


def compiled(kernel: Any, variant: Variant, architecture: str, *options: str) -> tuple[bytes, str]:
    """The machine code and the compiler's log. Raises cupy's CompileException where it fails."""
    reduction = isinstance(kernel, cupy.ReductionKernel)
    options += kernel.options if reduction else kernel.kwargs.get("options", ())
    log = io.StringIO()
    with without_a_device():
        module = core.compile_with_cache(
            source(kernel, variant), options, arch=architecture, log_stream=log
        )
    return module.cubin, log.getvalue()


def main() -> int:
    version = ".".join(map(str, nvrtc.getVersion()))
    print(f"CuPy {cupy.__version__}, NVRTC {version}: registers a thread")
    print(f"{'':<24}{'variants':>9}" + "".join(f"{'sm_' + a:>8}" for a in ARCHITECTURES))
    failed = 0
    for name, kernel in kernels().items():
        row = f"{name:<24}{len(variants(kernel)):>9}"
        for architecture in ARCHITECTURES:
            try:
                logs = [compiled(kernel, v, architecture, VERBOSE)[1] for v in variants(kernel)]
                row += "".join(f"{n:>8}" for n in re.findall(r"Used (\d+) registers", logs[0]))
            except compiler.CompileException as error:
                row += f"{'fails':>8}"
                failed += 1
                print(error, file=sys.stderr)
        print(row, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
