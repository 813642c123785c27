"""`python -m minicnn` says what a report of a fault needs."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest

import minicnn
from minicnn import backends, environment


def printed(capsys):
    minicnn.show_config()
    return capsys.readouterr().out


def test_names_the_versions_and_the_blas(capsys):
    text = printed(capsys)
    for part in (minicnn.__version__, platform.python_version(), np.__version__, "thread"):
        assert part in text


def test_names_the_variables_that_change_what_runs(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS=3" in printed(capsys)


def test_says_why_a_backend_cannot_be_used(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "minicnn.backends.cupy", raising=False)
    assert "Trouble       cupy is not installed" in printed(capsys)


def test_describes_the_backend_under_test(backend):
    about = backends.describe(backend.device_type)
    assert "Trouble" not in about
    assert backend.xp.__version__ in about.values()
    if backend.device_type == "cuda":
        assert {"CUDA", "Device", "Capability", "Memory"} <= set(about)


@pytest.mark.parametrize("value", ["word " * 60, "a-long-name-with-hyphens-" * 5])
def test_long_values_are_wrapped_at_80_columns_and_kept(capsys, monkeypatch, value):
    monkeypatch.setattr(environment, "processor", lambda: value)
    text = printed(capsys)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "".join(value.split()) in "".join(text.split())


def test_the_command_prints_it():
    done = subprocess.run(
        [sys.executable, "-m", "minicnn"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "cpu, backend numpy" in done.stdout
    assert "cuda, backend cupy" in done.stdout
