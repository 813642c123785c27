"""Every kernel compiles for the GPUs that it is meant for, with CUDA's own compiler."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import cupy
import pytest
from cupy.cuda.compiler import CompileException

import minicnn

from . import nvrtc

KERNELS = nvrtc.kernels()


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("name", KERNELS)
def test_compiles_for_all_types_that_it_may_be_given(name, architecture):
    for variant in nvrtc.variants(KERNELS[name]):
        assert nvrtc.compiled(KERNELS[name], variant, architecture)[0].startswith(b"\x7fELF")


def test_no_kernel_is_left_out():
    """What makes kernels is called in one file alone, and what that file makes is found."""
    kinds = (cupy.ElementwiseKernel, cupy.ReductionKernel)
    made = [o for o in gc.get_objects() if type(o) in kinds and o.name.startswith("minicnn_")]
    assert {id(kernel) for kernel in made} == {id(kernel) for kernel in KERNELS.values()}
    for path in Path(minicnn.__file__).parent.rglob("*.py"):
        makes = re.search(r"\w(Kernel|RawModule)\(|cupyx|fuse\(", path.read_text())
        assert not makes or path == Path(nvrtc.file.__file__), path


@pytest.mark.parametrize(
    ("inputs", "output", "body"),
    [
        ("T x", "T y", "y = x +;"),
        ("T x", "T y", "y = no_such_function(x);"),
        ("T x", "T y", "T *p = &x; y = *p;"),
        ("raw T x", "T y", "x[i] = 0; y = 1;"),
    ],
    ids=["syntax", "name", "constant", "input written to"],
)
def test_a_kernel_that_is_wrong_does_not_compile(inputs, output, body):
    kernel = cupy.ElementwiseKernel(inputs, output, body, "wrong")
    with pytest.raises(CompileException, match="error"):
        nvrtc.compiled(kernel, nvrtc.variants(kernel)[0], "80")


def test_a_reduction_compiles_too():
    kernel = cupy.ReductionKernel("T x", "T y", "x * x", "a + b", "y = a", "0", "squares")
    for variant in nvrtc.variants(kernel):
        assert nvrtc.compiled(kernel, variant, "80")[0].startswith(b"\x7fELF")
