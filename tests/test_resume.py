"""A run that was killed, at any moment, goes on to the same end, bit for bit."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import signal
import sys
import warnings

import pytest
from safetensors.numpy import load_file, save_file

import minicnn
from minicnn import atomic, nn
from minicnn.optim import SGD
from nin import train, trained
from nin.checkpoint import CheckpointError, Checkpoints, load, save
from nin.run import MODEL

from . import noise
from .processes import processes

pytestmark = pytest.mark.cpu
TIMES = ("seconds", "images_per_second")
FLAGS = [
    *("--dataset", "silhouettes", "--limit-train", "160", "--limit-test", "32"),
    *("--batch-size", "8", "--epochs", "3", "--micro-batch", "4", "--threads", "2"),
    *("--no-progress", "--checkpoint-minutes", "0.0005"),  # several within an epoch
]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    noise.install(monkeypatch.setattr)


def command(*arguments):
    noise.install(setattr)
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        sys.exit(train.main([*arguments]))


def half_written(path, content):
    path.with_name(f".{path.name}.half.tmp").write_bytes(content[: len(content) // 2])


# What a program does over and over: where it stands, what the last call leaves, calls at most.
POINTS = {
    "a step": (SGD, "step", None, 50),
    "a batch": (nn.CrossEntropyLoss, "forward", None, 150),
    "a file half written": (atomic, "write", half_written, 8),
    "a file written, but not in its place": (os, "replace", None, 8),
}


def killed(point, number, *arguments):
    """The command, killed when it does one of these things for the `number`-th time."""
    owner, name, leave, _ = POINTS[point]
    real, calls = getattr(owner, name), itertools.count(1)

    def call(*args, **named):
        if next(calls) == number:
            if leave:
                leave(*args, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **named)

    setattr(owner, name, call)
    command(*arguments)


def start(target, *arguments):
    process = processes.Process(target=target, args=arguments)
    process.start()
    return process


def ended(process):
    """Wait for its end, and not for ever."""
    process.join(300)
    if process.exitcode is None:
        process.kill()
        pytest.fail("a training did not end within five minutes")


def metrics(directory):
    """metrics.jsonl without the times."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("alone") / "run"
    process = start(command, *FLAGS, "--out", str(out))
    ended(process)
    assert process.exitcode == 0
    return out


def assert_the_same(run, other):
    for name in (MODEL, "curves.png", "health.png", "config.toml"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert metrics(run) == metrics(other)


def test_killed_at_twenty_random_moments_it_ends_the_same(left_alone, tmp_path):
    draw, out = random.Random(0), tmp_path / "run"
    kills, points = 0, itertools.cycle(POINTS)
    while kills < 20:
        begun = (out / "config.toml").exists()
        flags = ["--resume", str(out), "--checkpoint-minutes", "0.0005"]
        arguments = flags if begun else [*FLAGS, "--out", str(out)]
        point = next(points)
        process = start(killed, point, draw.randint(1, POINTS[point][-1]), *arguments)
        ended(process)
        if process.exitcode == 0:  # it was done before: from the beginning again
            assert_the_same(out, left_alone)
            out = tmp_path / f"run-{kills}"
            continue
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    process = start(command, "--resume", str(out))
    ended(process)
    assert process.exitcode == 0
    assert_the_same(out, left_alone)


@pytest.mark.parametrize("flags", [(), ("--epochs", "5")])
def test_a_model_is_that_of_the_last_finished_epoch_also_after_a_resume_within_one(tmp_path, flags):
    out = tmp_path / "run"
    process = start(killed, "a step", 31, *FLAGS, "--out", str(out))  # 20 are an epoch
    ended(process)
    assert [row["epoch"] for row in metrics(out) if row["kind"] == "epoch"] == [1]
    before = load_file(out / MODEL)
    newest = load_file(checkpoints(out)[-1])
    assert (newest["model.0.0.weight"] != before["0.0.weight"]).any()
    process = start(killed, "a step", 2, "--resume", str(out), *flags)
    ended(process)
    after = load_file(out / MODEL)
    assert {k: v.tobytes() for k, v in after.items()} == {k: v.tobytes() for k, v in before.items()}
    assert trained.network(out).preset.epochs == (int(flags[1]) if flags else 3)


@pytest.fixture
def here(capsys):
    """The command in this process: exit status and stderr."""

    def run(*arguments):
        try:
            status = train.main([*arguments])
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().err

    return run


def test_a_finished_run_is_done_at_once(left_alone, here):
    before = (left_alone / MODEL).read_bytes()
    assert here("--resume", str(left_alone))[0] == 0
    assert (left_alone / MODEL).read_bytes() == before


def test_a_finished_run_says_how_it_would_go_on(left_alone, here):
    said = here("--resume", str(left_alone))[1].splitlines()
    assert "Resuming at the end: --epochs 6 would train longer" in said


@pytest.fixture
def run(left_alone, tmp_path):
    """A copy of the run that may be spoiled."""
    directory = tmp_path / "run"
    directory.mkdir()
    for path in left_alone.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def checkpoints(directory):
    return sorted(directory.glob("checkpoint-*"))


def test_the_newest_two_checkpoints_are_kept(left_alone):
    assert len(checkpoints(left_alone)) == 2


def test_a_truncated_checkpoint_is_passed_over_with_a_warning(run, here, left_alone):
    newest = checkpoints(run)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="is not a whole safetensors file.*going on from"):
        status, _ = here("--resume", str(run))
    assert status == 0
    assert_the_same(run, left_alone)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def refused(here, run, message):
    before = contents(run)
    status, err = here("--resume", str(run))
    assert (status, err.count("\n")) == (1, 1), err
    assert message in err
    assert contents(run) == before


def test_no_whole_checkpoint_is_an_error_and_nothing_is_overwritten(run, here):
    for path in checkpoints(run):
        path.write_bytes(b"not a checkpoint")
    refused(here, run, f"{checkpoints(run)[-1]} is not a whole safetensors file")


def test_a_foreign_file_is_an_error_and_nothing_is_overwritten(run, here):
    for path in checkpoints(run):
        minicnn.save(nn.Linear(2, 2).state_dict(), path)
    refused(here, run, "is a safetensors file, but no checkpoint of nin.train")


def test_a_checkpoint_of_another_network_is_an_error_and_nothing_is_overwritten(run, here):
    for path in checkpoints(run):
        arrays, rest = load(path)
        save(path, ({**arrays, "model.0.0.weight": minicnn.zeros(1)}, rest))
    refused(here, run, "the checkpoint does not fit the run")


def edited(name, old, new):
    def edit(run):
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return edit


def in_both(**fields):
    def edit(run):
        for path in checkpoints(run):
            arrays, rest = load(path)
            save(path, (arrays, {**rest, **fields}))

    return edit


def missing(pattern):
    def edit(run):
        for path in run.glob(pattern):
            path.unlink()

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (in_both(epoch=10**11), "state.epoch must be a whole number of at least 1 and at most 4"),
        (in_both(batch=3), "state.batch must be 0, as all epochs are done, got 3"),
        (in_both(epoch=3), "rows of state.history must be 2, one for each"),
        (in_both(history=None), "state.history must be a list"),
        (in_both(lengths=None), "state.lengths must be a list"),
        (in_both(random=[1, 0]), "state.random[0] must be 0 as the seed says, got 1"),
        (in_both(training_images=161), "state.training_images must be 160"),
        (in_both(monitor={}), "state.monitor: looks is missing"),
        (in_both(events=[{}]), "state.events[0]: kind is missing"),
        (in_both(more=1), "state: 'more' does not belong there"),
        (edited("config.toml", "lr = 0.4", "lr = 0.3"), "state.settings.lr must be 0.3 as in"),
        (edited("config.toml", "epochs = 3", "epochs = 4"), "state.settings.epochs must be 4"),
        (edited("config.toml", "lr = 0.4\n", ""), "config.toml: lr is missing"),
        (edited("environment.json", '"threads": 2', '"threads": 1'), "environment.threads must be"),
        (edited("environment.json", "160", "161"), "training_images is 161, but there are 160"),
        (edited("environment.json", '"conv": "auto",', ""), "environment.json: conv is missing"),
        (edited("environment.json", "{", "["), "environment.json is not JSON"),
        (missing("environment.json"), "environment.json can't be read: No such file"),
        (missing("checkpoint-*"), "holds model.safetensors, but no checkpoint to go on from"),
    ],
)
def test_what_can_not_be_is_one_line_and_nothing_is_overwritten(run, here, damage, message):
    damage(run)
    refused(here, run, message)


def test_a_directory_without_a_run_is_an_error(tmp_path, here):
    refused(here, tmp_path, "holds no run")


@pytest.mark.parametrize(
    ("name", "before"), [("minicnn", "0.0.7"), ("library", "numpy 1.2.3, openblas 0.1 (Zen)")]
)
def test_a_run_of_other_versions_goes_on_and_says_so_once(run, here, name, before):
    path = run / "environment.json"
    environment = json.loads(path.read_text())
    path.write_text(json.dumps({**environment, name: before}))
    assert "in place of" not in here("--resume", str(run))[1]  # nothing is left to be computed
    status, err = here("--resume", str(run), "--epochs", "4")
    said = " ".join(err.split())
    assert status == 0
    assert f"{environment[name]} in place of {before}, which may round" in said
    assert json.loads(path.read_text()) == environment
    assert [row["step"] for row in metrics(run) if row["kind"] == "software"] == [60]
    assert "which may round" not in here("--resume", str(run), "--epochs", "5")[1]


def test_settings_can_not_change_on_the_way(run, here):
    status, err = here("--resume", str(run), "--lr", "0.5")
    assert (status, err.count("\n")) == (2, 1)
    assert "--lr" in err


def test_a_checkpoint_that_can_not_be_written_is_a_warning_and_training_goes_on(
    tmp_path, here, monkeypatch
):
    def full(path, state):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("nin.checkpoint.save", full)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        status, _ = here(*FLAGS, "--out", str(tmp_path / "run"))
    assert status == 0
    assert any("no checkpoint could be written" in str(w.message) for w in caught)
    assert load_file(tmp_path / "run" / MODEL)


def test_results_that_can_not_be_written_are_a_failure_at_the_end(tmp_path, here, monkeypatch):
    def full(self, model):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nin.run.Run.write_model", full)
    with pytest.warns(UserWarning, match="the results could not be written"):
        status, err = here(*FLAGS, "--out", str(tmp_path / "run"))
    assert status == 1
    assert "could not be written" in err
    assert checkpoints(tmp_path / "run")


def test_a_write_that_fails_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic.write(path, b"before")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.write(path, b"after")
    assert contents(tmp_path) == {"file": b"before"}


def test_numbers_of_checkpoints_only_grow(tmp_path):
    kept = Checkpoints(tmp_path)
    for i in range(4):
        kept.write(({}, {"i": i}))
    assert [p.name for p in checkpoints(tmp_path)] == [
        "checkpoint-0003.safetensors",
        "checkpoint-0004.safetensors",
    ]
    assert kept.newest() == ({}, {"i": 3})


def test_a_checkpoint_without_its_header_is_refused(tmp_path):
    path = tmp_path / "checkpoint-0001.safetensors"
    save_file({"x": minicnn.zeros(2).cpu().numpy()}, path)
    with pytest.raises(CheckpointError, match=r"no checkpoint of nin\.train"):
        Checkpoints(tmp_path).newest()
