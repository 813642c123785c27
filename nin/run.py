"""A run's directory: what a training leaves behind, complete after every epoch."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import minicnn
from minicnn import atomic, files, nn
from minicnn.invocation import command
from minicnn.serialization import unpack

from . import catalogue, config, curves, drawing, lock
from .checkpoint import MOST as MOST_MODEL
from .checkpoint import Checkpoints
from .command_line import DEVICES, Failure, as_json
from .fine_tuning import BEGINNING
from .fit import Row
from .health import Look
from .kind import KIND, Kind
from .presets import Preset
from .schema import Check, Misfit, choice, exactly, maybe, number, record, text, truth, whole
from .split import Split
from .state import FIGURES

CONFIG, ENVIRONMENT, MODEL = "config.toml", "environment.json", "model.safetensors"
METRICS, LINES, CURVES, HEALTH = "metrics.csv", "metrics.jsonl", "curves.png", "health.png"
TEST = "test.json"
MOST = 2**24  # bytes of a file in JSON, most of them the names of classes
LOCK = ".lock"
BY_LAYER = ("dead:", "gradient_norm:", "weight_norm:")  # how columns of metrics.csv may begin

SETUP = {  # what environment.json holds and decides a run's numbers
    "backend": choice(*DEVICES),
    "conv": choice("im2col", "winograd", "auto"),
    "threads": whole(1, 256),
    "blas_threads": whole(1, 256),
    "graph": truth,
    "tf32": truth,
    "training_images": whole(1),
    "test_images": whole(1),
}
ENVIRONMENT_SCHEMA = record(
    {
        **SETUP,
        "kind": KIND,
        "data_sha256": text(64),
        "network_sha256": text(64),
        "beginning": BEGINNING,
        "ranks": whole(1, 10**6),
        "library": text(1000),
        "data_source": text(10000),
        "minicnn": text(100),
    }
)
TEST_SCHEMA = record({"loss": maybe(number(0)), "accuracy": number(0, 1), "images": whole(1)})


class RunError(Failure):
    """A directory that does not hold what was expected of a run; the message names the file."""


def read_preset(directory: Path) -> Preset:
    """The settings that a run was made with. Raises RunError."""
    path = directory / CONFIG
    if not directory.is_dir():
        raise RunError(f"{directory} is not a directory with a run")
    if not path.exists():
        raise RunError(f"{directory} holds no run: there is no {CONFIG} in it")
    try:
        return config.read_whole(path)
    except config.ConfigError as error:
        raise RunError(str(error)) from None


def read_environment(directory: Path) -> dict[str, Any]:
    """What a run was made on: backend, threads and data. Raises RunError."""
    return _read_json(directory / ENVIRONMENT, ENVIRONMENT_SCHEMA)


def _read_json(path: Path, schema: Check) -> dict[str, Any]:
    """What a file holds, if it is what `schema` says. Raises RunError."""
    try:
        content: dict[str, Any] = schema(json.loads(files.read_text(path, MOST)), "it")
        return content
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}") from None
    except Misfit as error:
        raise RunError(f"{path}: {str(error).removeprefix('it.').removeprefix('it: ')}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not JSON: {error}") from None


class Run:
    """The directory of a run, and what is written there.

    config.toml        the settings, which run again
    environment.json   backend, threads and data that it ran with
    metrics.csv        a row for each epoch, metrics.jsonl the same and what happened in between
    curves.png, health.png
    test.json          the test's loss and accuracy at the end, if epochs have a validation set
    model.safetensors  the weights after the last finished epoch
    checkpoint-*       what --resume goes on from

    Every file is written beside its place and renamed, so that an interruption leaves those of the
    last finished epoch. Whoever has a Run has the directory for itself, until `close`.
    """

    def __init__(
        self, directory: Path, preset: Preset, environment: dict[str, Any], held: int
    ) -> None:
        self.directory, self.preset, self.environment = directory, preset, environment
        self.checkpoints = Checkpoints(directory)
        self.split = Split()  # of its pictures, if they are a folder's
        self.events: list[dict[str, Any]] = []  # what happened between the epochs
        self._held: int | None = held

    @classmethod
    def create(cls, directory: Path | None, preset: Preset, environment: dict[str, Any]) -> Run:
        """Begin a run, in a directory of its own unless one is given.

        Raises OSError, FileExistsError if the directory holds anything, or others use it.
        """
        if directory is None:
            directory = claim(preset.name)
        else:
            try:
                directory.mkdir(parents=True)
            except FileExistsError:
                _refuse_contents(directory)
        try:
            held = lock.acquire(directory / LOCK)
        except BlockingIOError:
            raise FileExistsError(f"{directory} is being used by another run") from None
        run = cls(directory, preset, environment, held)
        try:
            _refuse_contents(directory)  # what another has put there and left since
            run.forget_leftovers()
            run.write_environment()
            run.write_config(preset)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, directory: Path) -> Run:
        """A run that was begun. Raises RunError, also if another process has it."""
        preset = read_preset(directory)
        environment = read_environment(directory)
        if preset.dataset == "auto":
            raise RunError(
                f"{directory / CONFIG}: dataset must be the one that the run has, got auto"
            )
        try:
            held = lock.acquire(directory / LOCK)
        except BlockingIOError:
            raise RunError(f"{directory} is being trained by another process") from None
        except OSError as error:
            raise RunError(f"{directory / LOCK} can't be locked: {error.strerror}") from None
        run = cls(directory, preset, environment, held)
        results = [name for name in (MODEL, METRICS) if (directory / name).exists()]
        if results and not run.checkpoints.files():
            run.close()
            raise RunError(f"{directory} holds {results[0]}, but no checkpoint to go on from")
        return run

    def make_again(self) -> None:
        """Begin the directory anew, where somebody has deleted it. Raises OSError."""
        self.directory.mkdir(parents=True)
        self.close()
        self._held = lock.acquire(self.directory / LOCK)
        self.write_environment()
        self.write_config(self.preset)

    @property
    def kind(self) -> Kind:
        """What its images are like, and their classes."""
        return Kind.of_json(self.environment["kind"])

    def close(self) -> None:
        """Leave the directory to others."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget_leftovers(self) -> None:
        """Delete what a process that was killed had half written."""
        for name in os.listdir(self.directory):
            if _is_leftover(name):
                with suppress(OSError):
                    (self.directory / name).unlink()

    def restarted(self, rest: dict[str, Any]) -> None:
        """Take over a checkpoint's seed after a restart, or its number of epochs after a change.

        config.toml may not tell of it yet: between the two files a run may have been killed.
        """
        events, settings = rest.get("events"), rest.get("settings")
        kinds = [e.get("kind") for e in events if type(e) is dict] if type(events) is list else []
        kinds = [kind for kind in kinds if kind != "software"]
        settings = settings if type(settings) is dict else {}
        seed, epochs = self.preset.seed + 1, settings.get("epochs")
        if "reinit" in kinds and settings.get("seed") == seed:
            self.preset = replace(self.preset, seed=seed)
        if kinds[-1:] == ["epochs"] and type(epochs) is int and epochs > 0:
            self.preset = replace(self.preset, epochs=epochs)

    def write_environment(self) -> None:
        """What it runs on. Raises OSError."""
        text = json.dumps(self.environment, indent=2, ensure_ascii=False)
        # What stands for a byte of a file name that is not UTF-8 is escaped as JSON's are.
        content = f"{text}\n".encode(errors="backslashreplace")
        atomic.write(self.directory / ENVIRONMENT, content)

    def write_config(self, preset: Preset) -> None:
        """The settings, from now on these. Raises OSError."""
        self.preset = preset
        atomic.write(self.directory / CONFIG, config.render(preset).encode())

    def write_metrics(self, history: Sequence[Row], looks: Sequence[Look]) -> None:
        """All epochs and looks so far, as tables and as pictures. Raises OSError."""
        lines: list[dict[str, Any]] = [
            *({"kind": "epoch", **row} for row in history),
            *({"kind": "look", **asdict(each)} for each in looks),
            *self.events,
        ]
        content = "".join(as_json(line) + "\n" for line in lines)
        atomic.write(self.directory / LINES, content.encode())
        name = f"{self.preset.name} on {catalogue.title(self.preset.dataset)}"
        if history:
            table = io.StringIO()
            writer = csv.DictWriter(table, list(history[-1]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in history)
            atomic.write(self.directory / METRICS, table.getvalue().encode())
            held_out = self.preset.evaluated_on
            drawing.write(self.directory / CURVES, lambda: curves.epochs(history, name, held_out))
        if looks:
            drawing.write(self.directory / HEALTH, lambda: curves.health(looks, name))

    def write_test(self, loss: float, accuracy: float) -> None:
        """What the test set gave at the end. Raises OSError."""
        images = self.environment["test_images"]
        content = as_json({"loss": loss, "accuracy": accuracy, "images": images})
        atomic.write(self.directory / TEST, f"{content}\n".encode())

    def forget_test(self) -> None:
        """Delete what the test set gave at an end that is none any more. Raises OSError."""
        (self.directory / TEST).unlink(missing_ok=True)

    def write_model(self, model: nn.Module) -> None:
        """The weights, and what it takes to use them without the run. Raises OSError.

        That is the settings, with the network and the normalisation among them, the kind of images,
        with the names of the classes, and which pictures they have learned from.
        """
        minicnn.save(model.state_dict(), self.directory / MODEL, self._texts())

    def describe_model(self) -> None:
        """Have the model say what is so now: its pictures may have moved. Raises OSError.

        Its weights stay. One that is missing or broken is left to the next epoch's end.
        """
        path = self.directory / MODEL
        with suppress(FileNotFoundError, ValueError):
            state, texts = unpack(files.read_bytes(path, MOST_MODEL))
            own = self._texts()
            same_data = texts.get("data_sha256") == own["data_sha256"]
            if same_data and {**texts, **own} != texts:
                minicnn.save(state, path, own)

    def _texts(self) -> dict[str, str]:
        return {
            "settings": config.render(self.preset),
            "kind": as_json(self.kind.as_json()),
            "network_sha256": self.environment["network_sha256"],
            "data_sha256": self.environment["data_sha256"],
            **self.split.texts(),
        }


def claim(name: str) -> Path:
    """Make runs/<name>-<time>, with a number behind it if that is taken."""
    base = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = base, 1
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not os.path.lexists(path):  # it is `runs` that is there, and no directory
                raise
        n += 1
        path = base.with_name(f"{base.name}-{n}")


def newest() -> Path:
    """The run in runs/ whose model was written last. Raises RunError if there is none."""
    models = {}
    for path in Path("runs").glob(f"*/{MODEL}"):
        with suppress(OSError):  # somebody has just removed it
            models[path.parent] = path.stat().st_mtime_ns
    if not models:
        raise RunError(
            f"RUN is missing, and runs/ holds no trained network; {command('nin.train')} makes one"
        )
    return max(models, key=lambda directory: (models[directory], directory))


def _refuse_contents(directory: Path) -> None:
    """Raise FileExistsError if there is anything but what a run killed at its birth leaves."""
    for name in sorted(os.listdir(directory)):
        if name == CONFIG:
            raise FileExistsError(f"{directory} holds a run already; choose another --out")
    for name in sorted(os.listdir(directory)):
        if name == LOCK or _is_leftover(name):
            continue
        if name == ENVIRONMENT:
            with suppress(RunError):
                _read_json(directory / ENVIRONMENT, ENVIRONMENT_SCHEMA)
                continue
        raise FileExistsError(f"{directory} is not empty, but holds {name}; choose another --out")


def _is_leftover(name: str) -> bool:
    written = (CONFIG, ENVIRONMENT, MODEL, METRICS, LINES, CURVES, HEALTH, TEST)
    return (name.startswith(".checkpoint-") and name.endswith(".tmp")) or any(
        atomic.is_leftover(name, each) for each in written
    )


def read_test(directory: Path) -> dict[str, Any] | None:
    """The loss (None for NaN), accuracy and number of images of a run's test.json.

    None if there is none: epochs were evaluated on the test set, or not all are done. Raises
    RunError.
    """
    path = directory / TEST
    return _read_json(path, TEST_SCHEMA) if path.exists() else None


def read_metrics(directory: Path) -> list[Row]:
    """The rows of a run's metrics.csv, one for each finished epoch. Raises RunError."""
    path = directory / METRICS
    if not path.exists():
        raise RunError(f"{path} is missing: no epoch has finished")
    try:
        header, *lines = csv.reader(io.StringIO(files.read_text(path, 2**26)), strict=True)
        for i, line in enumerate(lines, 1):
            if len(line) != len(header):
                raise ValueError(f"row {i} has {len(line)} cells, and the heading {len(header)}")
        rows = [dict(zip(header, map(float, line), strict=True)) for line in lines]
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is no table of numbers: {error}") from None
    if not rows or len(set(header)) < len(header):
        raise RunError(f"{path} is no table of a run's metrics")
    for i, row in enumerate(rows):
        layers = [name for name in header if name.startswith(BY_LAYER)]
        fields = {"epoch": exactly(float(i + 1)), **FIGURES}
        try:
            record({**fields, **dict.fromkeys(layers, number(0, finite=False))})(
                row, f"row {i + 1}"
            )
        except Misfit as error:
            raise RunError(f"{path}: {error}") from None
    return rows
