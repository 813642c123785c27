"""The suite can fail: faults planted in a copy of the engine, one at a time, are each caught."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from .pretend_cuda import build

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]
SUITES = {
    "numpy": ["tests/test_gradcheck.py", "tests/test_optim.py", "tests/test_operations.py"],
    "pretend": ["tests/test_backends.py", "tests/test_operations.py"],
}


class Fault(NamedTuple):
    """A piece of a file's text, which must occur once, and what is written in its place."""

    name: str
    path: str
    right: str
    wrong: str
    backend: str = "numpy"


FAULTS = [
    Fault(
        "a sign",
        "operations/arithmetic.py",
        "return x - y, lambda g: g, lambda g: -g",
        "return x - y, lambda g: g, lambda g: +g",
    ),
    Fault(
        "a transposed weight",
        "operations/convolution.py",
        "filters = nhwc(w).reshape",
        "filters = nhwc(w.swapaxes(2, 3)).reshape",
    ),
    Fault(
        "a missing sum over the batch",
        "operations/matrix.py",
        "lambda g: g.reshape(rows).sum(axis=0)",
        "lambda g: g.reshape(rows)[0]",
    ),
    Fault(
        "a mask inverted", "backends/numpy.py", "_where(y != 0, g, out)", "_where(y == 0, g, out)"
    ),
    Fault(
        "padding off by one",
        "backends/numpy.py",
        "return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]",
        "return y[:, bottom : y.shape[1] - top, left : y.shape[2] - right]",
    ),
    Fault(
        "a dropped scale",
        "operations/dropout.py",
        "return apply(x), apply",
        "return apply(x), lambda g: g * (apply(g) != 0)",
    ),
    Fault(
        "a stale buffer reused between calls",
        "operations/convolution.py",
        "backend.xp.empty((n, oh, ow, o), dtype)",
        "globals().setdefault(f'{n, oh, ow, o, dtype}', backend.xp.empty((n, oh, ow, o), dtype))",
    ),
    Fault(
        "a place counted down columns",
        "backends/numpy.py",
        "taps = _taps(x[chunk], window)",
        "taps = _taps(x[chunk], window._replace(kernel=window.kernel[::-1]))",
    ),
    Fault(
        "momentum without the gradient",
        "backends/numpy.py",
        "g = g + momentum * v if",
        "g = momentum * v if",
    ),
    Fault(
        "weight decay pulling outwards",
        "backends/numpy.py",
        "g = g + weight_decay",
        "g = g - weight_decay",
    ),
    Fault(
        "a kernel's index",
        "backends/kernels/windows.py",
        'PIXEL = "((n * h + a) * w + b) * c + k"',
        'PIXEL = "((n * h + b) * w + a) * c + k"',
        "pretend",
    ),
    Fault(
        "a kernel's boundary",
        "backends/kernels/windows.py",
        "p1 = a / sh + 1 < oh ? a / sh + 1 : oh;",
        "p1 = a / sh + 1;",
        "pretend",
    ),
    Fault(
        "a kernel's type",
        "backends/kernels/windows.py",
        "at.e[l] = u * kw + v;",
        "at.e[l] = (signed char)(u * kw + v);",
        "pretend",
    ),
    Fault(
        "a kernel that draws the same number everywhere",
        "backends/kernels/random.py",
        "draw(skip + i, seed",
        "draw(skip, seed",
        "pretend",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_suite_catches(fault, tmp_path):
    for part in ("minicnn", "nin", "benchmarks", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "minicnn" / fault.path
    text = path.read_text()
    assert text.count(fault.right) == 1, f"{fault.path} no longer has {fault.right!r} once"
    path.write_text(text.replace(fault.right, fault.wrong))

    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["--backend", fault.backend, *SUITES[fault.backend]]
    kernels = {"PRETEND_CUDA_BUILD": str(build.DIRECTORY)}  # compiled already, but for the fault's
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **kernels},
        capture_output=True,
        text=True,
        check=False,
    )
    caught = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    print(f"{fault.name}: caught by {', '.join(caught)}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert caught
