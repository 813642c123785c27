"""What ends a training before its end: signals, memory, disks. Nothing that was done is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings

import pytest

import minicnn
from minicnn import atomic, nn
from nin import checkpoint, drawing, train
from nin.fit import Training
from nin.health import Monitor
from nin.run import MODEL, Run

from . import noise

pytestmark = pytest.mark.cpu
TIMES = ("seconds", "images_per_second")
FLAGS = [
    *("--dataset", "silhouettes", "--batch-size", "4", "--epochs", "2", "--threads", "1"),
    *("--limit-train", "16", "--limit-test", "16", "--no-progress", "--lr", "0.05"),
]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A small network on noise, and blank pictures: what this is about is neither."""

    def build(self, kind):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(144, 10),
        )  # fmt: skip

    monkeypatch.setattr("nin.presets.Preset.build", build)
    noise.install(monkeypatch.setattr)


@pytest.fixture
def call(capsys):
    """The command in this process: exit status and stderr."""

    def run(*arguments):
        status = train.main([*map(str, arguments)])
        return status, capsys.readouterr().err

    return run


def result(directory):
    """What a run ends with, without times."""
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    weights = {k: v.tolist() for k, v in minicnn.load(directory / MODEL).items()}
    return weights, [{k: v for k, v in row.items() if k not in TIMES} for row in lines]


@pytest.fixture
def left_alone(call, tmp_path):
    assert call(*FLAGS, "--out", tmp_path / "alone")[0] == 0
    return result(tmp_path / "alone")


def before(monkeypatch, owner, name, number, act):
    """Call `act` before the `number`-th call of a function."""
    real, count = getattr(owner, name), iter(range(1, 10**6))

    def wrapped(*arguments, **named):
        if next(count) == number:
            act()
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, wrapped)


MOMENTS = {
    "the first step": (Training, "step", 1),
    "a step": (Training, "step", 3),
    "the last step of an epoch": (Training, "step", 4),
    "a look": (Monitor, "look", 1),
    "the test": (minicnn.parallel.MicroBatches, "predict", 2),
    "a checkpoint": (checkpoint, "save", 2),
    "a file": (atomic, "write", 5),
    "another file": (atomic, "write", 8),
    "the end of an epoch": (Run, "write_model", 1),
    "a picture": (drawing, "write", 1),
}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_any_moment_saves_all_that_is_done(
    call, tmp_path, monkeypatch, left_alone, moment, name
):
    number, out = signal.Signals[name], tmp_path / "run"
    with monkeypatch.context() as patch:
        before(patch, *MOMENTS[moment], lambda: os.kill(os.getpid(), number))
        previous = signal.signal(number, lambda *_: pytest.fail("a second signal"))
        try:
            status, err = call(*FLAGS, "--out", out)
        finally:
            signal.signal(number, previous)
    assert status == 128 + number
    assert "--resume" in err and "Traceback" not in err
    assert call("--resume", out, "--no-progress")[0] == 0
    assert result(out) == left_alone


def test_a_signal_after_an_epoch_keeps_the_row_of_the_epoch(call, tmp_path, monkeypatch):
    number, out = signal.SIGTERM, tmp_path / "run"
    previous = signal.signal(number, signal.SIG_DFL)
    try:
        before(monkeypatch, Run, "write_model", 1, lambda: os.kill(os.getpid(), number))
        assert call(*FLAGS, "--out", out)[0] == 143
    finally:
        signal.signal(number, previous)
    _, rest = checkpoint.Checkpoints(out).newest()
    assert [row["epoch"] for row in rest["history"]] == [1]
    assert len((out / "metrics.csv").read_text().splitlines()) == 2


def test_no_checkpoint_is_spoken_of_where_none_was_written(call, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        before(monkeypatch, Training, "step", 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.warns(UserWarning, match="no checkpoint could be written"):
            status, err = call(*FLAGS, "--out", tmp_path / "run")
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert status == 1
    assert "Ended by SIGTERM, without a checkpoint of the last steps." in err


PROGRAM = """
import os, signal, sys
from nin import train
from tests import noise
from nin.fit import Training
numbers, step = [signal.Signals[name] for name in sys.argv[1].split(",")], Training.step

def steps(self, *batch):
    for number in numbers:
        os.kill(os.getpid(), number)
    return step(self, *batch)

Training.step = steps
noise.install(setattr)
sys.exit(train.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("sent", "ignored", "status"),
    [
        ("SIGTERM,SIGTERM", None, -signal.SIGTERM),
        ("SIGHUP", signal.SIGHUP, 0),
        ("SIGTERM", None, 128 + signal.SIGTERM),
    ],
    ids=["a second one ends at once", "nohup is respected", "one"],
)
def test_signals_to_a_process(tmp_path, sent, ignored, status):
    def ignore():
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    flags = ["--dataset", "silhouettes", "--limit-train", "4", "--limit-test", "4", "--epochs", "1"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, sent, *flags, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        preexec_fn=ignore,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


# --- memory --------------------------------------------------------------------------------------


def out_of_memory():
    raise MemoryError


@pytest.mark.parametrize(
    ("owner", "name", "number"),
    [
        *((Training, "step", n) for n in (1, 3, 6)),
        (minicnn.parallel.MicroBatches, "backward", 3),
        (minicnn.parallel.MicroBatches, "predict", 2),
        (nn.utils, "clip_grad_norm_", 3),
        (nn.Dropout, "forward", 6),
        (nn.Linear, "forward", 6),
    ],
)
def test_out_of_memory_is_one_line_and_the_state_before_the_step_is_kept(
    call, tmp_path, monkeypatch, left_alone, owner, name, number
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        before(patch, owner, name, number, out_of_memory)
        status, err = call(*FLAGS, "--out", out)
    assert status == 1
    assert "out of memory" in err.splitlines()[-1] and "Traceback" not in err
    assert call("--resume", out, "--no-progress")[0] == 0
    assert result(out) == left_alone


def test_a_step_that_fails_halfway_is_not_saved(call, tmp_path, monkeypatch, left_alone):
    """The weights are neither those before nor those after it."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        # the third of four parameters, in the third step
        before(patch, minicnn.backends.load("cpu"), "sgd", 4 * 2 + 3, out_of_memory)
        with pytest.warns(UserWarning, match="when it had changed some of the weights"):
            status, _ = call(*FLAGS, "--out", out)
    assert status == 1
    assert call("--resume", out, "--no-progress")[0] == 0
    assert result(out) == left_alone


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Monitor, "look"), (Run, "write_metrics"), (checkpoint, "pack"), (drawing, "write")],
)
def test_out_of_memory_beside_a_step_ends_nothing_or_in_one_line(
    call, tmp_path, monkeypatch, owner, name
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        before(patch, owner, name, 2, out_of_memory)
        status, err = call(*FLAGS, "--out", out)
    assert status in (0, 1) and "Traceback" not in err
    assert call("--resume", out, "--no-progress")[0] == 0
    assert len((out / "metrics.csv").read_text().splitlines()) == 3


# --- disks ---------------------------------------------------------------------------------------


def test_a_disk_that_is_full_at_any_write_is_said_and_nothing_is_lost(
    call, tmp_path, monkeypatch, left_alone
):
    def full():
        raise OSError(28, "No space left on device")

    statuses = []
    for number in range(1, 40):
        out = tmp_path / f"run{number}"
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            before(patch, os, "fsync", number, full)
            status, err = call(*FLAGS, "--out", out)
        statuses.append(status)
        said = [str(w.message) for w in caught if "No space left" in str(w.message)]
        assert "Traceback" not in err
        assert said or "No space left" in err or status == 0
        if status == 2:
            assert err.count("\n") == 1
            continue
        if not said:  # there are no more writes
            break
        assert call("--resume", out, "--no-progress")[0] == 0
        assert result(out) == left_alone
    assert statuses[0] == 2 and statuses[-1] == 0 and 1 in statuses


def test_a_directory_that_is_deleted_meanwhile_is_made_again(
    call, tmp_path, monkeypatch, left_alone
):
    out = tmp_path / "run"
    before(monkeypatch, Training, "step", 6, lambda: shutil.rmtree(out))  # in the second epoch
    with pytest.warns(UserWarning, match="run was gone, and is made again"):
        status, _ = call(*FLAGS, "--out", out)
    assert (status, result(out)) == (0, left_alone)
    assert call("--resume", out)[0] == 0


def test_a_directory_that_can_not_be_made_again_is_said_and_ends_in_failure(
    call, tmp_path, monkeypatch
):
    out = tmp_path / "there" / "run"

    def replace():
        shutil.rmtree(out.parent)
        out.parent.write_text("")

    before(monkeypatch, Training, "step", 6, replace)
    with pytest.warns(UserWarning, match="could (not )?be written: .*Not a dir") as caught:
        status, err = call(*FLAGS, "--out", out)
    assert status == 1
    assert f"the training is done, but {out} could not be written" in err
    assert not any("Errno" in str(each.message) for each in caught)


def test_a_disk_that_stays_full_is_noticed_before_a_run_goes_on(call, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        before(patch, Training, "step", 6, out_of_memory)
        call(*FLAGS, "--out", out)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    files = {path: path.read_bytes() for path in out.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", lambda *_: pytest.fail("trained"))
        status, err = call("--resume", out, "--no-progress")
    assert (status, err.count("\n")) == (1, 1)
    assert {path: path.read_bytes() for path in out.iterdir()} == files
