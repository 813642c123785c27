"""Where a run comes from: begun with the settings of a command line, or gone on with."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import threadpoolctl

import minicnn
from minicnn import backends, distributed, nn
from minicnn.arguments import ArgumentError
from minicnn.invocation import quoted

from . import command_line, config, fine_tuning, length, own_network
from . import data as datasets
from .catalogue import is_name, title
from .checkpoint import MOST, MOST_TEXT, CheckpointError, State
from .command_line import DEVICES, Failure, UsageError, counted, printable
from .data import Data
from .kind import Kind
from .presets import PRESETS, Preset
from .run import CONFIG, ENVIRONMENT, Run, RunError, read_preset
from .saving import Saver
from .schema import MANY


def settings(args: argparse.Namespace) -> Preset:
    """The preset, changed by --config and then by flags; or those of a run that goes on."""
    given = {each.name: getattr(args, each.name) for each in fields(Preset) if each.name in args}
    if args.resume:
        _refuse_settings(args)
        if "network" in given:
            given["network"] = own_network.absolute(given["network"])
        if "dataset" in given:
            given["dataset"] = datasets.settled(given["dataset"])
        return replace(read_preset(args.resume), **given)
    try:
        preset = PRESETS[args.preset or "quick"]
        if args.config is not None:
            preset = config.read(args.config, preset)
        return preset.with_settings(given, Path())
    except ValueError as error:
        raise UsageError(str(error)) from None


def new_run(args: argparse.Namespace, afterwards: ExitStack) -> tuple[Run, Data]:
    """A new run, and its data."""
    preset, backend = settings(args), args.backend or "numpy"
    if args.dry_run:
        n = preset.batch_size
        held_back = min(preset.validation, n)
        preset = replace(
            preset,
            epochs=1,
            limit_train=min(n + held_back, MANY),
            limit_test=n,
            validation=held_back,
        )
        args.out = Path(afterwards.enter_context(tempfile.TemporaryDirectory())) / "run"
    device = command_line.device_of(backend)
    if args.tf32 and device.type == "cpu":
        raise UsageError("--tf32 is for a GPU's tensor cores: --backend cupy")
    data, preset = datasets.load(preset, args.data_dir)
    network_sha256, beginning = _tried(preset, data.kind)
    data.notes += fine_tuning.known_already(preset, data.split)
    environment = {
        "backend": backend,
        "library": _library(backend),
        "conv": args.conv or "auto",
        "threads": args.threads or distributed.available_cores(),
        "ranks": distributed.get_world_size(),
        "blas_threads": args.blas_threads or 1,
        "graph": not args.no_graph,
        "tf32": args.tf32,
        "data_source": data.source,
        "kind": data.kind.as_json(),
        "network_sha256": network_sha256,
        "beginning": beginning,
        "data_sha256": data.sha256(),
        "training_images": len(data.train),
        "test_images": len(data.test),
        "minicnn": minicnn.__version__,
    }
    try:
        run = afterwards.enter_context(Run.create(args.out, preset, environment))
    except OSError as error:
        raise UsageError(f"--out: {command_line.described(error)}") from None
    run.split = data.split
    return run, data


def _tried(preset: Preset, kind: Kind) -> tuple[str, dict[str, Any]]:
    """What the network goes by beside its settings, found out with one that is thrown away.

    That is the hash of the user's own code, and the weights that it begins with. Raises UsageError,
    before anything is made, for a network that can't be, or is not made for the images.
    """
    flag = "--network" if preset.own_network or preset.blocks else "--image-size"
    try:
        sha256 = own_network.digest(preset.network) if preset.own_network else ""
        model = preset.network_for(kind)
        preset.try_network(kind, model)
        _refuse_size(model, preset)
        flag = "--init-from"
        beginning = fine_tuning.begin(model, preset)
        flag = "--freeze"
        fine_tuning.freeze(model, preset.freeze)
    except ArgumentError as error:
        raise UsageError(f"{flag}: {error}") from None
    return sha256, beginning


def _refuse_size(model: nn.Module, preset: Preset) -> None:
    """Raise ArgumentError for a network that no checkpoint could hold."""
    weights = sum(value.array.nbytes for value in model.state_dict().values())
    size = weights * (2 if preset.momentum else 1)
    if size > MOST - MOST_TEXT:
        raise ArgumentError(
            f"the network {preset.name} takes {size / 2**30:.1f} GiB, its momentum included, and a"
            f" checkpoint holds less than {MOST / 2**30:.0f}"
        )


def _network_found_again(run: Run, state: State | None, named: str | None) -> None:
    """See to it that a run's network is where its settings say, or where the user says now."""
    before = run.preset.network
    if not run.preset.own_network:
        if named is not None:
            raise UsageError(f"--resume: the network of {run.directory} is {before}, and no file's")
        return
    recorded = run.environment["network_sha256"]
    try:
        network = own_network.found_again(before, run.directory, recorded, named)
    except ArgumentError as error:
        raise Failure(f"--resume: {run.directory}: {error}") from None
    _moved(run, state, "network", network)


def _data_found_again(run: Run, state: State | None, named: str | None) -> None:
    """See to it that a run's pictures are where its settings say, or where the user says now."""
    if named is not None:
        if is_name(run.preset.dataset) or is_name(named):
            raise UsageError(
                f"--resume: {run.directory} is of {title(run.preset.dataset)}; --dataset says where"
                " a folder of pictures is now"
            )
        _moved(run, state, "dataset", named)
    datasets.refuse_missing(run.preset.dataset, run.directory)


def _moved(run: Run, state: State | None, name: str, where: str) -> None:
    """Have what a setting names elsewhere from now on; its checkpoint then says so, too."""
    before = getattr(run.preset, name)
    change: dict[str, Any] = {name: where}
    run.preset = replace(run.preset, **change)
    settings = state[1].get("settings") if state is not None else None
    if type(settings) is dict and settings.get(name) == before:
        settings[name] = where


def old_run(args: argparse.Namespace, afterwards: ExitStack) -> tuple[Run, Data, State | None]:
    """A run that was begun, its data, and where it stopped: None before the first checkpoint."""
    _refuse_settings(args)
    try:
        run = afterwards.enter_context(Run.open(args.resume))
        state = run.checkpoints.newest()
    except (RunError, CheckpointError) as error:
        raise Failure(f"--resume: {error}") from None
    if state is not None:
        before = run.preset
        run.restarted(state[1])
        for name in ("seed", "epochs"):
            old, new = getattr(before, name), getattr(run.preset, name)
            if old != new:
                text = f"{name} is {new:,}, as the checkpoint says; {CONFIG} had {old:,}"
                print(printable(text), file=sys.stderr)
    _network_found_again(run, state, getattr(args, "network", None))
    _data_found_again(run, state, settings(args).dataset if "dataset" in args else None)
    data, _ = datasets.load(run.preset, args.data_dir, run.kind)
    alone = (
        "a run goes on with its own images alone, and --init-from"
        f" {quoted(run.directory)} begins another with its weights"
    )
    for name, images in (("training_images", data.train), ("test_images", data.test)):
        if run.environment[name] != len(images):
            raise Failure(
                f"--resume: {run.directory / ENVIRONMENT}: {name} is {run.environment[name]:,}, but"
                f" there are {len(images):,} ({data.source}); {alone}"
            )
    if run.environment["data_sha256"] != data.sha256():
        raise Failure(
            f"--resume: {run.directory}: {data.source}: these are as many images as the run was"
            f" begun with, but not the same; {alone}"
        )
    run.split = data.split
    return run, data, state


def _refuse_settings(args: argparse.Namespace) -> None:
    """Raise UsageError for flags that could not change a run that goes on."""
    fixed = ["preset", "config", "out", "dry_run", "backend", "conv", "threads", "blas_threads"]
    given = [name for name in (*fixed, "tf32", "no_graph") if getattr(args, name)]
    given += [each.name for each in fields(Preset) if each.name in args]
    possible = ["epochs", "dataset"]  # the second says where pictures are now
    if own_network.names_one(getattr(args, "network", "")):
        possible.append("network")  # where its code is now
    for name in [name for name in given if name not in possible]:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"--resume goes on with the run's own settings, without {flag}")


def change_epochs(saver: Saver, epochs: int) -> str:
    """Give a run that goes on another number of epochs, and keep that; return what it means.

    Raises UsageError for fewer than are begun, and Failure if it can't be kept.
    """
    run, training = saver.run, saver.training
    before, begun = training.preset.epochs, training.epoch - (training.batch == 0)
    if epochs < begun:
        raise UsageError(f"--epochs {epochs}: the run has begun epoch {begun} already")
    rate = training.optimizer.param_groups[0]["lr"]
    length.change(training, epochs)
    text = f"{counted(epochs, 'epoch')} in place of {before:,}, from step {training.steps:,} on."
    if training.preset.lr_scheduler != "constant" and training.steps and not training.done:
        now = training.optimizer.param_groups[0]["lr"]
        text += (
            f" The learning rate is that of {training.preset.lr_scheduler} over"
            f" {counted(epochs, 'epoch')}: {now:.3g} next, where it was {rate:.3g}."
        )
    run.preset = training.preset
    run.events.append({"kind": "epochs", "step": training.steps, "text": text})
    if not saver.save():
        raise Failure(f"--epochs: {run.directory} can't be written, so nothing was changed")
    run.forget_test()
    return text


def note_software(saver: Saver) -> str:
    """Keep which versions a run goes on with; return what is to be said of that, "" for nothing.

    Raises OSError.
    """
    environment = saver.run.environment
    now = {"minicnn": minicnn.__version__, "library": _library(environment["backend"])}
    names = {"minicnn": "minicnn ", "library": ""}
    changes = [
        f"{names[key]}{value} in place of {environment[key]}"
        for key, value in now.items()
        if value != environment[key]
    ]
    if not changes or saver.training.done:  # nothing more is computed
        return ""
    text = (
        f"From step {saver.training.steps:,} on it is {' and '.join(changes)}, which may round"
        " otherwise: the run will not be, bit for bit, one that was never stopped."
    )
    saver.run.events.append({"kind": "software", "step": saver.training.steps, "text": text})
    environment |= now
    saver.run.write_environment()
    return text


def _library(name: str) -> str:
    """The array library and the code that multiplies its matrices."""
    libraries = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    version = backends.load(DEVICES[name]).xp.__version__
    if name != "numpy" or not libraries:
        return f"{name} {version}"
    blas = libraries[0]
    kernel = f"{blas['internal_api']} {blas['version']} ({blas.get('architecture', 'unknown')})"
    return f"{name} {version}, {kernel}"
