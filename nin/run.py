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

from . import curves

COLUMNS = ["epoch", "train_loss", "test_loss", "accuracy", "lr", "seconds", "images_per_second"]


def default_directory(preset: str) -> Path:
    """runs/<preset>-<time>, with a number behind it if two runs start in the same second."""
    base = Path("runs") / f"{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = base, 2
    while path.exists():
        path, n = base.with_name(f"{base.name}-{n}"), n + 1
    return path


class Run:
    """config.json, metrics.csv, curves.png and model.safetensors in one directory.

    Every file is written beside its place and renamed, so an interruption leaves the files of the
    last finished epoch. Raises FileExistsError if the directory holds a run already.
    """

    def __init__(self, directory: Path, title: str, config: dict[str, Any]) -> None:
        if (directory / "config.json").exists():
            raise FileExistsError(f"{directory} holds a run already; choose another --out")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.title = directory, title
        self.history: list[dict[str, float]] = []
        self._write("config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    def _write(self, name: str, text: str) -> None:
        beside = self.directory / f".{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.directory / name)

    def add(self, row: dict[str, float], model: nn.Module) -> None:
        """Record a finished epoch: a row of metrics, and the model as it is now."""
        self.history.append(row)
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in self.history)
        self._write("metrics.csv", table.getvalue())
        minicnn.save(model.state_dict(), self.directory / "model.safetensors")
        curves.draw(self.history, self.title, self.directory / "curves.png")
