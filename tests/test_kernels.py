"""Every kernel of the CuPy backend is taken by CUDA's compiler for the GPUs that it is meant for.

The pretend device has NVRTC compile what minicnn launches (tests/pretend_cuda/modules.py), so here
each kernel is launched, in both precisions and with indices of 32 and of 64 bits.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import context, nn
from minicnn.nn import functional as F

from . import pretend_cuda

pytestmark = pytest.mark.pretend


@pytest.fixture(scope="module")
def packs():
    from minicnn.backends.kernels import packs

    return packs


@pytest.fixture
def all_wide(packs, monkeypatch):
    """Kernels as they are for arrays of at least 2³¹ elements."""
    monkeypatch.setattr(packs, "is_wide", lambda *_: True)


def names_in(packs):
    text = "".join(path.read_text() for path in Path(packs.__file__).parent.glob("*.py"))
    made = re.findall(r'(?:kernel|Kernel|_reaching)\(\s*"(\w+)"', text)
    return {f"minicnn_{name}" for name in made} | set(re.findall(r"\bminicnn_\w+", text))


def everything(dtype, monkeypatch):
    """What comes out of all that there are kernels for, and every gradient."""
    minicnn.manual_seed(0)
    results = []

    def of(operation, *shapes):
        given = [minicnn.randn(*s, dtype=dtype).requires_grad_() for s in shapes]
        y = operation(*given)
        (y * y).sum().backward()
        results.extend([y.detach(), *(x.grad for x in given)])

    image, labels = (2, 8, 6, 6), minicnn.tensor([1, 0, 2])
    for channels in (3, 8):  # a row of im2col that fills no 16 bytes, and one that does
        of(lambda x, w: F.conv2d(x, w, padding=1), (2, channels, 6, 6), (5, channels, 3, 3))
    with context.using(conv_algorithm="winograd"):
        of(lambda x, w, b: F.conv2d(x, w, b, padding=1), image, (8, 8, 3, 3), (8,))
    of(lambda x: F.max_pool2d(x, 3, 2), image)
    of(lambda x: F.avg_pool2d(x, 3, 2), image)
    of(lambda x: F.dropout(F.relu(x), 0.5), image)
    of(lambda x: F.cross_entropy(x, labels), (3, 4))
    of(lambda x: x[[0, 0, 1]], (3, 4))
    results.append(minicnn.rand(5, dtype=dtype))
    for momentum in (0, 0.9):
        layer = nn.Linear(3, 2, dtype=dtype)
        sgd = minicnn.optim.SGD(layer.parameters(), lr=0.1, momentum=momentum)
        layer(minicnn.ones(4, 3, dtype=dtype)).sum().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        sgd.step()
        results.append(layer.weight.detach())
    return [np.array(each.tolist()) for each in results]


def test_each_kernel_compiles(packs, monkeypatch):
    before = pretend_cuda.launched()
    for dtype in (minicnn.float32, minicnn.float64):  # the second without minimal filtering
        everything(dtype, monkeypatch)
    after = pretend_cuda.launched()
    launched = {name for name in after if after[name] > before.get(name, 0)}
    assert names_in(packs) - launched == set()


@pytest.mark.parametrize("dtype", [minicnn.float32, minicnn.float64], ids=str)
def test_indices_of_64_bits_give_the_same_numbers(all_wide, monkeypatch, dtype):
    wide = everything(dtype, monkeypatch)
    monkeypatch.undo()
    for x, y in zip(wide, everything(dtype, monkeypatch), strict=True):
        assert np.array_equal(x, y)


def test_what_nvrtc_does_not_take_does_not_run(packs):
    import cupy
    from cupy.cuda.compiler import CompileException

    wrong = packs.kernel("wrong", "T x", "T y", 'y = x * strlen("four");')
    with pytest.raises(CompileException, match='identifier "strlen" is undefined'):
        wrong(cupy.ones(1))
