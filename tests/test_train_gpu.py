"""`python -m nin.train --backend cupy`: what is said and done on a GPU alone."""

from __future__ import annotations

import json
import os
import re
import signal

import numpy as np
import pytest
from PIL import Image

from minicnn import backends, context
from nin import evaluate, predict, train
from nin.fit import Training
from nin.health import Monitor

from . import noise

pytestmark = pytest.mark.cuda
SMALL = ["--limit-train", "48", "--limit-test", "16", "--epochs", "2", "--batch-size", "16"]


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """The command in this process, on noise, without pictures: status, stdout and stderr."""
    noise.install(monkeypatch.setattr)

    def call(*flags):
        out = str(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        status = train.main(["--backend", "cupy", *SMALL, "--out", out, *flags])
        return status, *capsys.readouterr()

    return call


def test_a_run_tells_the_memory_it_took(run):
    status, _, err = run()
    assert status == 0
    assert re.search(r"^Memory   [\d,]+ MiB of the GPU at most$", err, re.MULTILINE)


def test_graphs_change_no_loss(run):
    _, captured, _ = run()
    _, plain, err = run("--no-graph")
    assert "each kernel by itself" in err
    assert captured == plain


def test_images_held_back_are_evaluated_and_the_test_set_at_the_end(run):
    status, out, _ = run("--validation", "16")
    assert status == 0
    assert re.findall(r"(Val|Test) Loss: \d+\.\d{4}", out) == ["Val", "Val", "Test"]


def test_a_run_ended_by_a_signal_goes_on_to_the_same_end(run, tmp_path, capsys, monkeypatch):
    _, whole, _ = run("--no-graph")
    after_step, calls = Monitor.after_step, iter(range(1, 100))

    def stop(self):
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return after_step(self)

    monkeypatch.setattr(Monitor, "after_step", stop)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        status, first, _ = run("--no-graph")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert status == 143
    (_, directory) = sorted(tmp_path.iterdir())
    assert train.main(["--resume", str(directory)]) == 0
    assert first + capsys.readouterr().out == whole


def test_tf32_is_on_for_the_run_that_asks_for_it(run, monkeypatch):
    seen, step = [], Training.step

    def noting(self, *args):
        seen.append(context.current().tf32)
        return step(self, *args)

    monkeypatch.setattr(Training, "step", noting)
    for flags in (["--tf32"], []):
        run(*flags)
    assert set(seen[: len(seen) // 2]) == {True}
    assert set(seen[len(seen) // 2 :]) == {False}


def test_evaluation_and_prediction_are_those_of_a_cpu(run, tmp_path, capsys):
    run()
    (directory,) = tmp_path.iterdir()
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(tmp_path / "image.png")
    results = []
    for backend in ("cupy", "numpy"):
        flags = ["--backend", backend, "--json"]
        assert evaluate.main([str(directory), *flags, "--out", str(tmp_path)]) == 0
        evaluated = json.loads(capsys.readouterr().out)
        assert predict.main([str(directory), str(tmp_path / "image.png"), *flags]) == 0
        (predicted,) = json.loads(capsys.readouterr().out)
        results.append(({"loss": evaluated["loss"]}, predicted["probabilities"]))
    for on_gpu, on_cpu in zip(*results, strict=True):
        assert on_gpu == pytest.approx(on_cpu, rel=1e-4)


def test_tf32_needs_a_gpu(tmp_path, capsys):
    assert train.main(["--tf32", *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert "--tf32" in capsys.readouterr().err


def test_out_of_memory_names_a_batch_size_that_fits(run, monkeypatch):
    backend = backends.load("cuda")
    real, most = backend.relu, 6

    def limited(x, *how):
        if len(x) > most:
            raise backend.xp.cuda.memory.OutOfMemoryError(x.nbytes, 0)
        return real(x, *how)

    monkeypatch.setattr(backend, "relu", limited)
    status, out, err = run()
    assert status == 1 and not out
    assert err.splitlines()[-1].endswith(
        "out of GPU memory with batches of 16; batches of 4 fit: --batch-size 4"
    )
    assert "Traceback" not in err
