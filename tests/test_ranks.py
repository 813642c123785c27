"""`nin.train --distributed`: the losses of one process, and an end for all whatever ends one."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minicnn
from minicnn import float64
from minicnn.vision.transforms import Compose, Transform
from nin import train as nin_train
from nin.checkpoint import Checkpoints
from nin.executors import executor_for
from nin.fit import Training
from nin.presets import Preset
from nin.silhouettes import Silhouettes

from . import mpi

pytestmark = pytest.mark.cpu
TIMES = ("seconds", "images_per_second")
SMALL = [
    *("--distributed", "--dataset", "silhouettes", "--limit-train", "40", "--limit-test", "10"),
    *("--batch-size", "12", "--lr", "0.01"),
]
# Before nin.train: a network of a few weights, no pictures; and what else a rank is to do.
PROGRAM = """
import os, sys
from minicnn import nn
from nin import drawing, presets, train
from nin.fit import Training
drawing.write = lambda *_: True
presets.Preset.build = lambda self, kind: nn.Sequential(
    nn.Conv2d(1, 4, 3, stride=5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))
rank, step = int(os.environ.get("PMI_RANK", 0)), Training.step
def once(number, work):
    def stepped(self, *batch):
        if self.steps == number: work(self)
        return step(self, *batch)
    Training.step = stepped
{}
sys.exit(train.main(sys.argv[1:]))
"""


def train(n, *flags, also=""):
    """The command on n ranks, with the small network: status, stdout, stderr and seconds."""
    start = time.monotonic()
    status, out, err = mpi.run(n, "-c", PROGRAM.format(also), *SMALL, *flags)
    return status, out, err, time.monotonic() - start


def lines(directory):
    """What a run wrote of its epochs and looks, without times."""
    rows = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def weights(directory):
    model = minicnn.load(directory / "model.safetensors")
    return {name: value.numpy().tobytes() for name, value in model.items()}


# --- the same numbers ----------------------------------------------------------------------------


class Doubles(Transform):
    """Images as float64."""

    def in_layout(self, images, rng, channels_last):
        return images.astype("float64")


def epochs():
    """Two epochs with all that is random or looks at whole batches, in float64."""
    preset = Preset(
        network="quick", flip=True, shift=2, batch_size=9, epochs=2, lr=0.05, momentum=0.9,
        centre_gradients=True, max_norm=1.0, micro_batch=2,
    )  # fmt: skip
    minicnn.manual_seed(0)
    model = preset.build().to(float64)
    train_set, test_set = (
        Silhouettes(train, Compose([preset.transform(train), Doubles()]), size=size)
        for train, size in ((True, 20), (False, 7))
    )
    executor = executor_for(model, preset, threads=1, processes=False)
    training = Training(model, preset, train_set, test_set, executor)
    training.fit()
    figures = ("train_loss", "eval_loss", "accuracy")
    return [[row[name] for name in figures] for row in training.history]


@pytest.mark.parametrize("ranks", [2, 3])
def test_epochs_of_any_number_of_ranks_are_those_of_one(ranks):
    alone = epochs()
    for found in mpi.results(ranks, epochs):
        np.testing.assert_allclose(found, alone, rtol=1e-9)


def test_a_run_is_rank_0s_alone_and_goes_on_with_any_number_of_ranks(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    status, out, err, _ = train(2, "--epochs", "3", "--out", whole)
    assert status == 0, err
    assert [line[:11] for line in out.splitlines()] == [f"Epoch [{i}/3]" for i in (1, 2, 3)]
    assert re.search(r"^Ranks    2, of \d+ cores each \(.+: processes \d+, \d+\)$", err, re.M)
    assert re.search(r"^Ranks    [\d.]+%, [\d.]+% of the time waited for one another$", err, re.M)
    end = "rank == 1 and once(6, lambda t: os.kill(os.getpid(), 15))"
    status, _, err, _ = train(2, "--epochs", "3", "--out", cut, also=end)
    assert status == 128 + signal.SIGTERM
    assert "Ended by SIGTERM; " in err
    copy = shutil.copytree(cut, tmp_path / "copy")
    again = ["--distributed", "--resume"]
    status, *_ = mpi.run(2, "-c", PROGRAM.format(""), *again, cut)
    assert status == 0
    assert (weights(cut), lines(cut)) == (weights(whole), lines(whole))
    status, _, err = mpi.run(3, "-c", PROGRAM.format(""), *again, copy)
    assert status == 0, err
    for row, other in zip(lines(copy), lines(whole), strict=True):
        for name in row.keys() & {"train_loss", "eval_loss", "loss"}:
            assert row[name] == pytest.approx(other[name], rel=1e-4)


# --- the end of one is the end of all ------------------------------------------------------------


@pytest.mark.parametrize(
    ("also", "status", "line"),
    [
        ("rank == 1 and once(4, lambda t: 1 / 0)", 1, "rank 1 of 3: this is a fault"),
        ("rank == 0 and once(4, lambda t: 1 / 0)", 1, "rank 0 of 3: this is a fault"),
        (
            "def full(t): raise MemoryError('no more')\nrank == 2 and once(4, full)",
            1,
            "rank 2 of 3: out of memory",
        ),
    ],
)
def test_an_exception_on_one_rank_ends_all_in_one_line(also, status, line, tmp_path):
    found, _, err, seconds = train(3, "--epochs", "9", "--out", tmp_path / "run", also=also)
    assert found == status
    (only,) = (each for each in err.splitlines() if " of 3: " in each)
    assert line in only
    assert "BAD TERMINATION" not in err
    assert seconds < 30
    assert Checkpoints(tmp_path / "run").newest() is not None


def test_what_goes_wrong_in_a_network_s_own_code_is_one_line_of_each_rank_that_has_it(tmp_path):
    text = """
import minicnn
from minicnn import nn
class Net(nn.Sequential):
    def forward(self, x):
        if minicnn.is_grad_enabled():
            raise ValueError("in a step")
        return super().forward(x)
def net():
    return Net(nn.Flatten(), nn.Linear(784, 10))
"""
    (tmp_path / "nets.py").write_text(text)
    flags = [*SMALL, "--network", f"{tmp_path / 'nets.py'}:net", "--out", tmp_path / "run"]
    status, _, err = mpi.run(2, "-m", "nin.train", *flags)
    assert status == 1
    said = [each for each in err.splitlines() if "nets.py:7: ValueError: in a step" in each]
    assert said and all(" of 2: " in each for each in said)
    assert "Traceback" not in err


def test_a_network_that_diverges_ends_all_when_asked_to(tmp_path):
    bad = "rank == 1 and once(4, lambda t: next(t.model.parameters()).data.fill_(float('nan')))"
    flags = ["--epochs", "9", "--on-stuck", "stop", "--out", tmp_path / "run"]
    status, _, err, _ = train(2, *flags, also=bad)
    assert status == 3
    assert "diverged" in err


def test_ranks_start_again_together(tmp_path):
    bad = (
        "once(4, lambda t: t.preset.seed == 0 and"
        " next(t.model.parameters()).data.fill_(float('nan')))"
    )
    flags = ["--epochs", "2", "--on-stuck", "reinit", "--out", tmp_path / "run"]
    status, _, err, _ = train(2, *flags, also=bad)
    assert status == 0, err
    assert "Starting again with seed 1." in err


def test_a_disk_that_is_full_from_the_beginning_ends_all(tmp_path):
    full = (
        "from nin.saving import Saver\n"
        "def no(self): raise OSError(28, 'No space left on device')\n"
        "Saver._write = no"
    )
    status, _, err, _ = train(2, "--out", tmp_path / "run", also=full)
    assert status == 1
    assert "rank 0 of 2" in err.splitlines()[-1] and "can't be written" in err.splitlines()[-1]


def test_a_disk_that_fills_up_ends_all(tmp_path):
    full = (
        "from nin.saving import Saver\n"
        "def no(self): raise OSError(28, 'No space left on device')\n"
        "rank == 0 and once(4, lambda t: setattr(Saver, '_save', no))"
    )
    status, _, err, seconds = train(2, "--epochs", "99", "--out", tmp_path / "run", also=full)
    assert status == 1
    line = "rank 0 of 2: no checkpoint could be written: No space left on device; "
    assert line in err.splitlines()[-1]
    assert seconds < 30
    assert Checkpoints(tmp_path / "run").newest() is not None


def test_ctrl_c_ends_all_after_one_step_with_a_checkpoint(tmp_path):
    job = mpi.start(
        2, "-c", PROGRAM.format(""), *SMALL, "--epochs", "10000", "--out", tmp_path / "run"
    )
    with job:
        _ranks(job)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=30)
    assert job.returncode == 130
    assert "Interrupted; " in err and "Traceback" not in err
    assert Checkpoints(tmp_path / "run").newest() is not None


def _ranks(job):
    """The processes of a job's ranks, once it trains."""
    for line in job.stderr:
        if found := re.search(r"^Ranks .*: processes ([\d, ]+)\)$", line):
            return [int(pid) for pid in found[1].split(",")]
    raise AssertionError("the job ended before it trained")


def test_ranks_killed_at_ten_moments_cost_no_more_than_the_last_steps(tmp_path):
    draw = random.Random(5)
    flags = [*SMALL, "--epochs", "40", "--out", tmp_path / "run"]
    # So 40 epochs of four steps take longer than the ten moments together.
    slowly = "def slow(*a): time.sleep(0.03); return step(*a)\nimport time; Training.step = slow"
    for victim in (0, 1, 0, 1, 0, 1, 1, 0, 1, 0):
        with mpi.start(2, "-c", PROGRAM.format(slowly), *flags) as job:
            pids = _ranks(job)
            time.sleep(draw.uniform(0, 0.3))
            os.kill(pids[victim], signal.SIGKILL)
            start = time.monotonic()
            out, _ = job.communicate(timeout=30)
        assert time.monotonic() - start < 10
        assert job.returncode != 0
        assert f"PID {pids[victim]} " in out  # mpiexec's own words
        flags = ["--distributed", "--resume", tmp_path / "run"]
    status, _, err = mpi.run(2, "-c", PROGRAM.format(""), *flags)
    assert status == 0, err
    train(2, "--epochs", "40", "--out", tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


# --- strange starts ------------------------------------------------------------------------------


def test_more_ranks_than_images_in_a_batch(tmp_path):
    status, _, err, _ = train(3, "--batch-size", "2", "--epochs", "1", "--out", tmp_path / "run")
    assert status == 0, err


@pytest.mark.parametrize(
    ("also", "line"),
    [
        ("sys.argv += ['--seed', '1'] if rank else []", "rank 1 has arguments"),
        ("import minicnn; minicnn.__version__ += '+' * rank", "rank 1 has minicnn '"),
        (
            "from nin import data; data.Data.sha256 = lambda self: str(rank) * 64",
            "rank 1 has data 'of SHA-256",
        ),
        ("presets.PRESETS['quick'] = presets.Preset(momentum=rank / 2)", "rank 1 has settings"),
        ("sys.argv += ['--lr', 'x']", "argument --lr: must be a number above 0"),
    ],
)
def test_ranks_that_differ_or_are_wrong_are_told_so_in_one_line(also, line, tmp_path):
    status, out, err, _ = train(2, "--out", tmp_path / "run", also=also)
    assert (status, out) == (2, "")
    (only,) = err.splitlines()
    assert line in only


def test_a_checkpoint_that_fits_no_more_is_said_once(tmp_path):
    train(2, "--epochs", "1", "--out", tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("lr = 0.01", "lr = 0.02"))
    status, _, err = mpi.run(
        2, "-c", PROGRAM.format(""), "--distributed", "--resume", config.parent
    )
    assert status == 1
    (only,) = err.splitlines()
    assert "does not fit the run" in only


@pytest.mark.parametrize("number", ["0", "1"])
def test_processes_that_know_nothing_of_one_another_are_warned_once(number, capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("MPI_LOCALRANKID", number)
    assert nin_train.main(["--print-config"]) == 0
    warned = "2 processes were started together, and each trains by itself; --distributed"
    assert (warned in capsys.readouterr().err) == (number == "0")


def test_without_mpiexec_there_is_one_rank(tmp_path):
    command = [sys.executable, "-c", PROGRAM.format(""), *SMALL, "--epochs", "1"]
    command += ["--out", str(tmp_path / "run")]
    job = subprocess.run(command, cwd=mpi.ROOT, capture_output=True, text=True)
    assert job.returncode == 0, job.stderr
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["ranks"] == 1
    assert "\nRanks    1, as no mpiexec has started several\n" in job.stderr
