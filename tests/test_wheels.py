"""CuPy's wheels for CUDA 12 and for CUDA 13 do the same.

The one for CUDA 12 is installed with the tests; `make build/cupy-cuda13x` puts the other there, as
two cannot be installed beside each other.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import pretend_cuda

pytestmark = pytest.mark.pretend

OTHER = Path(__file__).parents[1] / "build" / "cupy-cuda13x"
STEPS = """
import json
import cupy
import minicnn
from minicnn.capture import Captured
from tests import pretend_cuda

minicnn.set_default_device("cuda")
minicnn.manual_seed(0)
model = minicnn.nn.Sequential(
    minicnn.nn.Conv2d(1, 4, 3), minicnn.nn.ReLU(), minicnn.nn.Flatten(), minicnn.nn.Linear(16, 3)
)
sgd = minicnn.optim.SGD(model.parameters(), lr=0.1)
def step(x, y):
    sgd.zero_grad()
    loss = minicnn.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    sgd.step()
    return loss
x, y = minicnn.randn(5, 1, 4, 4), minicnn.tensor([0, 1, 2, 0, 1])
captured = Captured(step, model, sgd)
losses = [captured(x, y).item() for _ in range(4)]
cuda = cupy.cuda.runtime.runtimeGetVersion() // 1000
print(json.dumps({"cuda": cuda, "losses": losses, "replaced": pretend_cuda.replaced}))
"""


def said(*paths):
    """What the steps print with the packages in these directories."""
    path = os.pathsep.join([*map(str, paths), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def both():
    assert OTHER.is_dir(), f"{OTHER} is missing: make build/cupy-cuda13x"
    return said(), said(OTHER)


def test_these_are_two(both):
    assert [each["cuda"] for each in both] == [12, 13]


def test_training_gives_the_same_losses(both):
    first, second = (each["losses"] for each in both)
    assert first == second and first[-1] < first[0]


def test_the_c_functions_that_the_pretend_device_replaces_are_the_same(both):
    first, second = (each["replaced"] for each in both)
    assert first == second and len(first) > 50


def test_every_function_that_the_pretend_device_has_for_cupy_replaces_one(both):
    source = (Path(pretend_cuda.__file__).parent / "device.cpp").read_text()
    begin, end = source.index("// --- the runtime ---"), source.index("// --- what tests ask")
    written = re.findall(r"^\S+ \*?pretend_(\w+)\(", source[begin:end], re.MULTILINE)
    assert {name.rpartition(".")[2] for name in both[0]["replaced"]} == set(written)
