"""Where a run comes from: begun with the settings of a command line, or gone on with."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import threadpoolctl

import minicnn
from minicnn import backends
from minicnn.arguments import ArgumentError
from minicnn.parallel import available_cores

from . import command_line, config
from . import data as datasets
from .checkpoint import CheckpointError, State
from .command_line import DEVICES, Failure, UsageError
from .data import Data
from .presets import PRESETS, Preset
from .run import Run, RunError


def settings(args: argparse.Namespace) -> Preset:
    """The preset, changed by --config and then by flags."""
    preset = PRESETS[args.preset or "quick"]
    try:
        if args.config is not None:
            preset = config.read(args.config, preset)
        names = [each.name for each in fields(Preset)]
        return replace(preset, **{name: getattr(args, name) for name in names if name in args})
    except ValueError as error:
        raise UsageError(str(error)) from None


def new_run(args: argparse.Namespace, afterwards: ExitStack) -> tuple[Run, Data]:
    """A new run, and its data."""
    preset, backend = settings(args), args.backend or "numpy"
    if args.dry_run:
        n = preset.batch_size
        held_back = min(preset.validation, n)
        preset = replace(
            preset, epochs=1, limit_train=n + held_back, limit_test=n, validation=held_back
        )
        args.out = Path(afterwards.enter_context(tempfile.TemporaryDirectory())) / "run"
    device = command_line.device_of(backend)
    if args.tf32 and device.type == "cpu":
        raise UsageError("--tf32 is for a GPU's tensor cores: --backend cupy")
    try:
        preset.try_network()
    except ArgumentError as error:
        raise UsageError(f"--image-size: {error}") from None
    data, preset = datasets.load(preset, args.data_dir)
    environment = {
        "backend": backend,
        "library": _library(backend),
        "conv": args.conv or "auto",
        "threads": args.threads or available_cores(),
        "blas_threads": args.blas_threads or 1,
        "graph": not args.no_graph,
        "tf32": args.tf32,
        "data_source": data.source,
        "training_images": len(data.train),
        "test_images": len(data.test),
        "minicnn": minicnn.__version__,
    }
    try:
        return afterwards.enter_context(Run.create(args.out, preset, environment)), data
    except OSError as error:
        raise UsageError(f"--out: {error}") from None


def old_run(args: argparse.Namespace, afterwards: ExitStack) -> tuple[Run, Data, State | None]:
    """A run that was begun, its data, and where it stopped: None before the first checkpoint."""
    _refuse_settings(args)
    try:
        run = afterwards.enter_context(Run.open(args.resume))
        state = run.checkpoints.newest()
    except (RunError, CheckpointError) as error:
        raise Failure(f"--resume: {error}") from None
    if state is not None:
        run.restarted(state[1])
    data, _ = datasets.load(run.preset, args.data_dir)
    for name, images in (("training_images", data.train), ("test_images", data.test)):
        if run.environment[name] != len(images):
            raise Failure(
                f"--resume: {run.directory / 'environment.json'}: {name} is"
                f" {run.environment[name]:,}, but there are {len(images):,}"
            )
    return run, data, state


def _refuse_settings(args: argparse.Namespace) -> None:
    """Raise UsageError for flags that could not change a run that goes on."""
    fixed = ["preset", "config", "out", "dry_run", "backend", "conv", "threads", "blas_threads"]
    given = [name for name in (*fixed, "tf32", "no_graph") if getattr(args, name)]
    given += [each.name for each in fields(Preset) if each.name in args]
    for name in given:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"--resume goes on with the run's own settings, without {flag}")


def _library(name: str) -> str:
    """The array library and the code that multiplies its matrices."""
    libraries = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    version = backends.load(DEVICES[name]).xp.__version__
    if name != "numpy" or not libraries:
        return f"{name} {version}"
    blas = libraries[0]
    kernel = f"{blas['internal_api']} {blas['version']} ({blas.get('architecture', 'unknown')})"
    return f"{name} {version}, {kernel}"
