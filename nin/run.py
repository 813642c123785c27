"""A run's directory: what a training leaves behind, complete after every epoch."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import minicnn
from minicnn import nn

from . import config, curves
from .fit import Row
from .presets import Preset

CONFIG, MODEL = "config.toml", "model.safetensors"
COLUMNS = ["epoch", "train_loss", "test_loss", "accuracy", "lr", "seconds", "images_per_second"]


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
            f"{path} is missing: no epoch has finished;"
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
    """config.toml, environment.json, metrics.csv, curves.png and model.safetensors in a directory.

    Every file is written beside its place and renamed, so an interruption leaves the files of the
    last finished epoch. Raises FileExistsError if the directory holds a run already.
    """

    def __init__(
        self, directory: Path, title: str, preset: Preset, environment: dict[str, Any]
    ) -> None:
        if (directory / CONFIG).exists():
            raise FileExistsError(f"{directory} holds a run already; choose another --out")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.title = directory, title
        text = json.dumps(environment, indent=2, ensure_ascii=False)
        self._write("environment.json", text + "\n")
        self._write(CONFIG, config.render(preset))

    def _write(self, name: str, text: str) -> None:
        beside = self.directory / f".{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.directory / name)

    def write(self, history: list[Row], model: nn.Module) -> None:
        """Record a finished epoch: the metrics of all so far, and the model as it is now."""
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in history)
        self._write("metrics.csv", table.getvalue())
        minicnn.save(model.state_dict(), self.directory / MODEL)
        curves.draw(history, self.title, self.directory / "curves.png")
