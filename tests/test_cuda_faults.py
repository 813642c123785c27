"""A GPU that can't be used, or that fills up, ends a command with one line that says why."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from functools import cache

import pytest

from minicnn import backends
from minicnn.installing import how
from nin import data, train

from . import pretend_cuda

pytestmark = pytest.mark.pretend
SMALL = ["--dataset", "silhouettes", "--limit-train", "16", "--limit-test", "16"]
SMALL += ["--batch-size", "8", "--epochs", "1", "--no-progress"]


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """The images are drawn once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", cache(data.load))
        yield


def ended(capsys, tmp_path, *flags):
    """The exit status of a run in this process, and the lines on stderr."""
    status = train.main(["--backend", "cupy", *SMALL, "--out", str(tmp_path / "run"), *flags])
    out, err = capsys.readouterr()
    assert "Traceback" not in err and not out
    return status, err.splitlines()


@pytest.fixture
def fresh(monkeypatch):
    """A process that has not used the GPU yet."""
    others = {t: each for t, each in backends._by_array_type.items() if each is backends.host}
    monkeypatch.setattr(backends, "_by_array_type", others)
    gc.collect()  # what other tests have left goes while there is a device


BROKEN = {
    "no driver": ({"driver": 0}, "there is no NVIDIA driver on this machine"),
    "an old driver": ({"driver": 11080}, "the driver for CUDA 11: it needs a newer driver"),
    "another CUDA": (
        {"driver": 12080, "runtime": 13000},
        f"this CuPy is for CUDA 13, the driver for CUDA 12: {how('cuda12')}, or a newer driver",
    ),
    "no GPU": ({"devices": 0}, "there is no GPU that can be used"),
    "a full GPU": (
        {"memory": 2**34, "taken": 2**34},
        "the GPU has 0 of 16384 MiB free, and 256 are needed to begin",
    ),
}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("options", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_gpu_that_cannot_be_used_is_said_in_a_line(options, reason, capsys, tmp_path):
    with pretend_cuda.being(**options):
        status, (line,) = ended(capsys, tmp_path)
    assert status == 2
    assert line.startswith("python -m nin.train: --backend cupy: ")
    assert reason in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lacking", ["nvrtc", "headers", "cublas"])
def test_what_is_missing_of_cuda_is_said_in_a_line(lacking, tmp_path):
    command = [sys.executable, "-m", "nin.train", "--backend", "cupy", "--out", str(tmp_path / "o")]
    done = subprocess.run(
        [*command, *SMALL],
        capture_output=True,
        text=True,
        env={**os.environ, "PRETEND_CUDA": f"{lacking}=missing"},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "brings what it needs of CUDA" in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_part_of_a_gpu_is_a_gpu():
    done = subprocess.run(
        [sys.executable, "-m", "minicnn"],
        capture_output=True,
        text=True,
        env={**os.environ, "PRETEND_CUDA": "mig=1g.10gb"},
        check=True,
    )
    assert "MIG 1g.10gb" in done.stdout
    assert "Trouble" not in done.stdout


@pytest.fixture
def run_out():
    """A call after which there is no memory for arrays, whatever CuPy's pool has kept."""
    cuda = backends.load("cuda").xp.cuda
    before = cuda.get_allocator()

    def full(size):
        raise cuda.memory.OutOfMemoryError(size, 0)

    yield lambda: cuda.set_allocator(full)
    cuda.set_allocator(before)


def test_memory_that_runs_out_while_the_data_are_loaded_is_said_in_a_line(
    capsys, tmp_path, monkeypatch, run_out
):
    training = train.Training

    def full(*args, **options):
        run_out()
        return training(*args, **options)

    monkeypatch.setattr(train, "Training", full)
    status, (line,) = ended(capsys, tmp_path)
    assert status == 1
    assert (
        "out of GPU memory before the first step, with the network, 16 training and 16 test images"
        in line
    )


def test_memory_that_runs_out_in_a_step_is_said_in_a_line(capsys, tmp_path, monkeypatch, run_out):
    step, calls = train.Training.step, []

    def second(self, *batch):
        calls.append(1)
        if len(calls) > 1:
            run_out()
        return step(self, *batch)

    monkeypatch.setattr(train.Training, "step", second)
    status, lines = ended(capsys, tmp_path, "--no-graph")
    assert status == 1
    assert lines[-1].endswith("out of GPU memory with batches of 8; not even one image fits")
    assert list((tmp_path / "run").glob("checkpoint-*"))


def test_memory_that_cuda_itself_lacks_is_memory(capsys, tmp_path, monkeypatch):
    runtime = backends.load("cuda").xp.cuda.runtime

    def fail(self, *batch):
        raise runtime.CUDARuntimeError(2)  # as from the instantiation of a graph

    monkeypatch.setattr(train.Training, "step", fail)
    status, lines = ended(capsys, tmp_path)
    assert status == 1
    assert lines[-1].endswith("out of GPU memory with batches of 8; not even one image fits")
