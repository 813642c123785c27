"""The benchmark for a GPU runs from end to end, on the pretend device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu

pytestmark = pytest.mark.pretend
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A dry run: its output, and the directory of its results."""
    out = tmp_path_factory.mktemp("results")
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--dry-run", "--out", str(out)],
        capture_output=True,
        text=True,
        cwd=out,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run, out


def result(done):
    return json.loads((done[1] / "pretend-gpu.json").read_text())


def test_every_competitor_has_a_time_for_every_setting(done):
    steps = result(done)["steps"]
    assert set(steps) == set(gpu.DRY_SETTINGS)
    for each in steps.values():
        assert set(each["rows"]) == set(gpu.COMPETITORS)
        assert all(row["ms"] > 0 for row in each["rows"].values())


def test_whole_runs_have_a_time_and_an_accuracy(done):
    for run in result(done)["runs"].values():
        assert run["seconds"] > 0
        assert 0 <= run["accuracy"] <= 1


def test_the_kernels_of_a_step_are_those_of_the_network(done):
    rows = result(done)["kernels"]["rows"]
    names = {row["kernel"] for row in rows}
    assert {"matmul", "im2col", "col2im", "max_pool", "max_unpool", "relu_vjp"} <= names
    assert {"relu", "cross_entropy", "cross_entropy_vjp", "sgd"} <= names
    assert sum(row["calls"] for row in rows if row["kernel"] == "sgd") == 1
    assert all(row["ms"] > 0 and row["bytes"] > 0 for row in rows)


def test_says_what_it_was_measured_on(done):
    assert {"CuPy", "CUDA", "Device", "Capability"} <= set(result(done)["device"])
    assert {"processor", "python", "torch", "numpy"} <= set(result(done)["machine"])


def test_draws_a_picture(done):
    assert (done[1] / "pretend-gpu.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_fits_80_columns(done):
    lines = done[0].stdout.replace(str(done[1]), "benchmarks/results").splitlines()
    assert max(map(len, lines)) <= 80


def test_without_a_gpu_it_is_one_line_and_status_2(monkeypatch, capsys):
    trouble = {"Trouble": "there is none"}
    monkeypatch.setattr(gpu.backends, "describe", lambda device: trouble)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "python -m benchmarks.gpu: there is none\n"


def test_a_figure_that_cannot_be_had_is_left_out_with_the_reason(tmp_path, capsys):
    session = gpu.Session(tmp_path / "r.json", {"runs": {}})

    def fail():
        raise gpu.Failed("no data")

    assert session.take("runs", "float32", fail) is None
    assert session.take("runs", "TF32", lambda: {"seconds": 1}) == {"seconds": 1}
    kept = json.loads((tmp_path / "r.json").read_text())["runs"]
    assert kept == {"float32": {"error": "no data"}, "TF32": {"seconds": 1}}
    assert session.failed
    assert "float32: left out: no data" in capsys.readouterr().err


def test_the_presets_of_the_library_without_presets_are_the_presets():
    from benchmarks.gpu_worker import OPTIONS
    from nin.presets import PRESETS

    for name, (options, max_norm) in OPTIONS.items():
        assert all(getattr(PRESETS[name], option) == value for option, value in options.items())
        assert PRESETS[name].max_norm == max_norm
