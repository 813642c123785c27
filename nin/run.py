"""A run's directory: what a training leaves behind, complete after every epoch."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import minicnn
from minicnn import nn

from . import atomic, config, curves
from .checkpoint import Checkpoints
from .fit import Row
from .health import Look
from .presets import Preset

CONFIG, ENVIRONMENT, MODEL = "config.toml", "environment.json", "model.safetensors"


class RunError(RuntimeError):
    """A directory that does not hold what was expected of a run; the message names the file."""


def default_directory(preset: str) -> Path:
    """runs/<preset>-<time>, with a number behind it if two runs start in the same second."""
    base = Path("runs") / f"{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = base, 2
    while path.exists():
        path, n = base.with_name(f"{base.name}-{n}"), n + 1
    return path


def read_preset(directory: Path) -> Preset:
    """The settings that a run was made with. Raises RunError."""
    path = directory / CONFIG
    if not directory.is_dir():
        raise RunError(f"{directory} is not a directory with a run")
    if not path.exists():
        raise RunError(f"{directory} holds no run: there is no {CONFIG} in it")
    try:
        return config.read(path, Preset())
    except config.ConfigError as error:
        raise RunError(str(error)) from None


def load_model(directory: str | Path, device: Any = "cpu") -> tuple[nn.Sequential, Preset]:
    """The network of a run with the weights of its last finished epoch, for evaluation; its preset.

    Any device will do, whichever the run was on. Raises RunError for a directory that holds no run,
    or whose model is missing, not whole, or of another network.
    """
    directory = Path(directory)
    preset = read_preset(directory)
    path = directory / MODEL
    if not path.exists():
        raise RunError(
            f"{path} is missing: no epoch has finished, or the model could not be written;"
            f" python -m nin.train --resume {directory} goes on"
        )
    try:
        state = minicnn.load(path)
    except (RuntimeError, OSError) as error:
        raise RunError(f"{path} can't be read: {str(error).removeprefix('load: ')}") from None
    model = preset.build()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        what = str(error).partition("Sequential: ")[2]
        raise RunError(
            f"{path} is not the network {preset.network!r} of {CONFIG}: {what}"
        ) from None
    return model.to(device).eval(), preset


class Run:
    """The directory of a run, and what is written there.

    config.toml        the settings, which run again
    environment.json   backend, threads and data that it ran with
    metrics.csv        a row for each epoch, metrics.jsonl the same and what happened in between
    curves.png, health.png
    model.safetensors  the weights after the last epoch
    checkpoint-*       what --resume goes on from

    Every file is written beside its place and renamed, so that an interruption leaves those of the
    last finished epoch.
    """

    def __init__(self, directory: Path, preset: Preset, environment: dict[str, Any]) -> None:
        self.directory, self.preset, self.environment = directory, preset, environment
        self.checkpoints = Checkpoints(directory)
        self.events: list[dict[str, Any]] = []  # what happened between the epochs

    @classmethod
    def create(cls, directory: Path, preset: Preset, environment: dict[str, Any]) -> Run:
        """Begin a run. Raises OSError, FileExistsError if the directory holds one already."""
        if (directory / CONFIG).exists():
            raise FileExistsError(f"{directory} holds a run already; choose another --out")
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(environment, indent=2, ensure_ascii=False)
        atomic.write(directory / ENVIRONMENT, (text + "\n").encode())
        run = cls(directory, preset, environment)
        run.write_config(preset)
        return run

    @classmethod
    def open(cls, directory: Path) -> Run:
        """A run that was begun. Raises RunError."""
        preset = read_preset(directory)
        try:
            environment = json.loads((directory / ENVIRONMENT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{directory / ENVIRONMENT} can't be read: {error}") from None
        return cls(directory, preset, environment)

    def write_config(self, preset: Preset) -> None:
        self.preset = preset
        atomic.write(self.directory / CONFIG, config.render(preset).encode())

    def write_metrics(self, history: list[Row], looks: Sequence[Look]) -> None:
        """All epochs and looks so far, as tables and as pictures. Raises OSError."""
        lines: list[dict[str, Any]] = [
            *({"kind": "epoch", **row} for row in history),
            *({"kind": "look", **asdict(each)} for each in looks),
            *self.events,
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        atomic.write(self.directory / "metrics.jsonl", text.encode())
        name = f"{self.preset.network} on {self.preset.dataset}"
        if looks:
            atomic.write(self.directory / "health.png", curves.health(looks, name))
        if history:
            table = io.StringIO()
            writer = csv.DictWriter(table, list(history[-1]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in history)
            atomic.write(self.directory / "metrics.csv", table.getvalue().encode())
            atomic.write(self.directory / "curves.png", curves.epochs(history, name))

    def write_model(self, model: nn.Module) -> None:
        minicnn.save(model.state_dict(), self.directory / MODEL)


def read_metrics(directory: Path) -> list[Row]:
    """The rows of a run's metrics.csv, one for each finished epoch. Raises RunError."""
    path = directory / "metrics.csv"
    if not path.exists():
        raise RunError(f"{path} is missing: no epoch has finished")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError, OSError) as error:
        raise RunError(f"{path} can't be read: {error}") from None
    if not rows or not {"epoch", "train_loss", "test_loss", "accuracy", "seconds"} <= set(rows[0]):
        raise RunError(f"{path} is no table of a run's metrics")
    return rows
