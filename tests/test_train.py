"""`python -m nin.train` as a person uses it."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import minicnn
from benchmarks.twin import twin
from minicnn.installing import how
from minicnn.vision.datasets import FashionMNIST
from nin import catalogue, networks, train
from nin.presets import PRESETS
from nin.silhouettes import Silhouettes

from . import noise

NAME = minicnn.backends.NAMES[minicnn.get_default_device().type]
BACKEND = ["--backend", NAME]
SMALL = ["--limit-train", "192", "--limit-test", "64", "--epochs", "2", "--batch-size", "64"]
SMALL += ["--no-progress", *BACKEND]
EPOCH_LINE = re.compile(
    r"Epoch \[\d+/\d+\], Train Loss: \d+\.\d{4}, Test Loss: \d+\.\d{4}, Acc: \d+\.\d\d%"
)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    noise.without_pictures(monkeypatch.setattr)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One small training on the real data, pictures and all: its directory, and what it printed."""
    out = tmp_path_factory.mktemp("run") / "quick"
    command = [sys.executable, "-m", "nin.train", *SMALL, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return out, done


def command(capsys, *args):
    """Exit status, stdout and stderr of the command in this process."""
    try:
        status = train.main(list(args))
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def metrics(directory):
    return list(csv.DictReader((directory / "metrics.csv").read_text().splitlines()))


def test_one_line_of_the_promised_form_after_each_epoch(run):
    lines = [line for line in run[1].stdout.splitlines() if line.startswith("Epoch")]
    assert len(lines) == 2
    assert all(EPOCH_LINE.fullmatch(line) for line in lines)


def test_says_first_what_it_is_about_to_do(run):
    text = run[1].stderr
    how = " processes, 64 images" if NAME == "numpy" else "steps launched as graphs"
    for part in ("Fashion-MNIST", NAME, how, "quick", "221,290 parameters", str(run[0])):
        assert part in text


def test_fits_a_terminal_of_80_columns(run):
    text = run[1].stdout + run[1].stderr
    lines = text.replace(str(run[0]), "runs/quick-20261123-120000").splitlines()
    assert max(map(len, lines)) <= 80


def test_no_progress_bar_without_a_terminal(run):
    assert "images/s" not in run[1].stderr


def test_results_alone_are_on_stdout(run):
    assert all(line.startswith("Epoch [") for line in run[1].stdout.splitlines())


def test_metrics_hold_a_row_for_each_epoch(run):
    rows = metrics(run[0])
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)


@pytest.mark.cpu
def test_a_saved_config_runs_again_with_the_same_numbers(run, tmp_path, capsys):
    flags = ["--config", str(run[0] / "config.toml"), "--out", str(tmp_path / "again")]
    assert command(capsys, *flags, *BACKEND)[0] == 0
    assert (tmp_path / "again" / "config.toml").read_text() == (run[0] / "config.toml").read_text()
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        run[0] / "model.safetensors"
    ).read_bytes()


def test_the_environment_is_recorded(run):
    environment = json.loads((run[0] / "environment.json").read_text())
    assert environment["training_images"] == 192
    assert environment["backend"].startswith(NAME)


def test_print_config_is_what_a_run_saves_but_for_what_that_measures(run, capsys):
    status, out, _ = command(capsys, *SMALL, "--dataset", "fashion-mnist", "--print-config")
    text = (run[0] / "config.toml").read_text()
    assert (status, out) == (0, re.sub(r"(mean|std) = .*", r'\1 = "measured"', text))


@pytest.mark.cpu
def test_a_dry_run_leaves_nothing_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = command(capsys, "--dry-run", *BACKEND)
    assert (status, len(EPOCH_LINE.findall(out))) == (0, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.cpu
def test_log_interval_gives_a_line_every_so_many_steps(capsys, tmp_path):
    flags = ["--epochs", "1", "--log-interval", "2", "--out", str(tmp_path / "run")]
    _, _, err = command(capsys, *SMALL, *flags)
    assert re.findall(r"Step (\d+)/3 of epoch 1, Train Loss: \d", err) == ["2"]


@pytest.mark.cpu
def test_on_a_terminal_these_lines_do_not_begin_behind_the_bar(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    flags = [each for each in SMALL if each != "--no-progress"]
    flags += ["--epochs", "1", "--log-interval", "1", "--out", str(tmp_path / "run")]
    _, _, err = command(capsys, *flags)
    assert "\rEpoch 1/1: " in err
    assert re.findall(r"[\r\n]Step (\d)/3 .*\n", err) == ["1", "2", "3"]


def test_curves_are_a_picture(run):
    assert (run[0] / "curves.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_pytorch_takes_the_saved_model(run):
    other = twin(networks.quick())
    other.load_state_dict(load_file(run[0] / "model.safetensors"), strict=True)
    assert torch.isfinite(other(torch.zeros(1, 1, 28, 28))).all()


def test_the_same_seed_gives_the_same_numbers(run, tmp_path, capsys):
    command(capsys, *SMALL, "--out", str(tmp_path / "again"))
    columns = ("train_loss", "eval_loss", "accuracy")
    first, again = (
        [[row[c] for c in columns] for row in metrics(d)] for d in (run[0], tmp_path / "again")
    )
    assert first == again


def test_a_directory_that_holds_a_run_is_not_overwritten(run, capsys):
    before = (run[0] / "model.safetensors").read_bytes()
    status, _, err = command(capsys, *SMALL, "--out", str(run[0]))
    assert status == 2
    assert "holds a run already" in err
    assert (run[0] / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "flags",
    [
        ["--epochs", "0"],
        ["--epochs", "two"],
        ["--batch-size", "-1"],
        ["--lr", "0"],
        ["--lr", "nan"],
        ["--momentum", "-0.1"],
        ["--seed", "x"],
        ["--threads", "0"],
        ["--micro-batch", "0"],
        ["--blas-threads", "0"],
        ["--preset", "resnet"],
        ["--dataset", "cifar"],
        ["--backend", "torch"],
        ["--no-such-flag"],
    ],
    ids=" ".join,
)
def test_a_bad_value_is_one_line_and_status_2(capsys, flags):
    status, out, err = command(capsys, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert flags[0] in err


@pytest.mark.usefixtures("without_cupy")
def test_a_backend_that_is_missing_is_one_line_and_status_2(capsys, tmp_path):
    status, _, err = command(capsys, "--backend", "cupy", "--out", str(tmp_path / "run"))
    assert (status, err.count("\n")) == (2, 1)
    assert "--backend cupy" in err
    assert not (tmp_path / "run").exists()


def test_event_files_that_nothing_can_write_are_refused_before_a_directory_is_made(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = command(capsys, "--tensorboard", "--out", str(tmp_path / "run"))
    assert (status, err.count("\n")) == (2, 1)
    assert f"--tensorboard needs tensorboardX: {how('tensorboard')}\n" in err
    assert not (tmp_path / "run").exists()


def test_an_out_that_cannot_be_written_is_one_line_and_status_2(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = command(capsys, *SMALL, "--out", str(tmp_path / "file" / "run"))
    assert (status, err.count("\n")) == (2, 1)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No Fashion-MNIST on this machine, and no network."""
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setattr(FashionMNIST, "elsewhere", (tmp_path / "debian",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(FashionMNIST, "mirrors", ("http://127.0.0.1:9/",))
    return tmp_path


@pytest.mark.cpu
def test_without_data_it_says_so_in_one_line_and_trains_on_silhouettes(
    nowhere, capsys, monkeypatch
):
    monkeypatch.setattr(catalogue, "Silhouettes", lambda train, size: Silhouettes(train, size=1000))
    status, out, err = command(
        capsys, *SMALL, "--data-dir", str(nowhere), "--out", str(nowhere / "run")
    )
    assert status == 0
    assert len([line for line in err.splitlines() if "can't be had" in line]) == 1
    assert len(EPOCH_LINE.findall(out)) == 2


def test_without_data_insisting_on_it_fails_in_one_line(nowhere, capsys):
    flags = ["--dataset", "fashion-mnist", "--data-dir", str(nowhere)]
    status, out, err = command(capsys, *SMALL, *flags, "--out", str(nowhere / "run"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not (nowhere / "run").exists()


def test_a_broken_file_is_an_error_and_not_a_reason_for_silhouettes(nowhere, capsys):
    (nowhere / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03 not the data")
    status, out, err = command(
        capsys, *SMALL, "--data-dir", str(nowhere), "--out", str(nowhere / "run")
    )
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "train-images-idx3-ubyte" in err


def test_help_shows_the_default_of_every_flag_that_has_one():
    """One that is off if it is not given has none, and neither has one that nothing stands for."""
    flags = [a for a in train._parser()._actions if a.default not in (None, False)]
    without = [a.dest for a in flags if "(default: " not in a.help]
    assert len(flags) > 20 and without == ["help"]


@pytest.mark.cpu  # test_train_gpu.py ends one on a GPU
def test_ctrl_c_keeps_the_finished_epochs(tmp_path):
    out = tmp_path / "run"
    flags = ["--epochs", "1000", "--limit-train", "640", "--limit-test", "64", *BACKEND]
    process = subprocess.Popen(
        [sys.executable, "-m", "nin.train", *flags, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    while not (out / "model.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert metrics(out)
    assert load_file(out / "model.safetensors")
    assert not [p for p in Path(out).iterdir() if p.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("article", 1_769_112), ("d2l", 1_992_166), ("paper", 957_386), ("quick", 221_290)],
)
def test_parameters_of_the_presets(preset, parameters):
    assert sum(p.numel() for p in PRESETS[preset].build().parameters()) == parameters
