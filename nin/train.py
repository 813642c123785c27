"""`python -m nin.train`: train a Network in Network on Fashion-MNIST.

Read from top to bottom: the command line, what is said first, and the run.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import minicnn
from minicnn import context, distributed, installing, nn
from minicnn.invocation import command, quoted

from . import begin, command_line, config, fine_tuning, memory, own_network, ranks
from .checkpoint import State
from .command_line import (
    Failure,
    UsageError,
    argument,
    counted,
    directory,
    path,
    printable,
    shown_setting,
)
from .data import Data
from .executors import executor_for
from .fit import Training
from .health import Monitor
from .presets import PRESETS, Preset
from .progress import Progress
from .ranks import Begun, Together
from .run import SETUP, Run
from .saving import Saver
from .schema import MANY, Misfit, number, whole
from .signals import Interrupted, Signals
from .tensorboard import Board
from .watch import Stuck, Watch

PROG = command("nin.train")
RESTARTS = 10  # of --on-stuck reinit

# --- the command line ----------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.train",
        "[--preset NAME] [--config FILE] [flags]",
        "Train a Network in Network on Fashion-MNIST, on another data set, or on pictures.",
        """
        nin train                                  # quick: a few minutes
        nin train --preset article --epochs 1      # 224×224 pixels
        nin train --dataset mine --image-size 64   # mine/CLASS/*.jpg
        nin train --lr 0.05 --print-config > my.toml
        nin train --config my.toml                 # with these settings
        nin train --config runs/RUN/config.toml --out runs/again
        nin train --resume runs/RUN --epochs 20    # longer than planned
        """,
        "Results are printed on stdout, everything else on stderr.",
    )
    add = parser.add_argument
    text = "take the network and the settings of this preset (default: quick)"
    add("--preset", choices=PRESETS, help=text)
    add("--config", type=path, metavar="FILE", help="change the settings that this TOML file has")
    add("--print-config", action="store_true", help="print all settings as TOML and stop")
    text = "put the results into this directory (default: runs/<preset>-<time>)"
    add("--out", type=directory, metavar="DIR", help=text)
    text = "go on with this run, to its end or to the end that --epochs sets"
    add("--resume", type=path, metavar="RUN", help=text)
    text = "take one step, test on one batch, write no files"
    add("--dry-run", action="store_true", help=text)
    text = "look here first for a data set with a name (default: data)"
    add("--data-dir", type=directory, metavar="DIR", help=text)
    _add_computation(parser)
    text = (
        "if the training is stuck or diverges, say so and go on, stop, or start again with the next"
        " seed (default: warn)"
    )
    add("--on-stuck", choices=("warn", "stop", "reinit"), default="warn", help=text)
    text = "save a checkpoint every N minutes, and after each epoch (default: 10)"
    minutes = argument(number(above=0, most=MANY))
    add("--checkpoint-minutes", type=minutes, default=10.0, metavar="N", help=text)
    text = "print a line on stderr every N steps; 0 for none (default: 0)"
    add("--log-interval", type=argument(whole(0)), default=0, metavar="N", help=text)
    add("--tensorboard", action="store_true", help="also write event files for TensorBoard")
    add("--no-progress", action="store_true", help="show no progress bar on a terminal")
    command_line.add_settings(parser)
    return parser


def _add_computation(parser: command_line.Parser) -> None:
    """Where and how things are computed, which changes the last digits of a result at most."""
    add, threads = parser.add_argument, argument(SETUP["threads"])
    parser.add_backend()
    text = "how to compute convolutions; auto is winograd where that is faster (default: auto)"
    add("--conv", choices=SETUP["conv"].choices, help=text)
    text = "use N processes on a CPU, or N threads without fork (default: one for each core)"
    add("--threads", type=threads, metavar="N", help=text)
    text = (
        "train together with the other processes that mpiexec has started (docs/distributed.md);"
        " with mpi, gradients of GPUs are sent through the host, and not by NCCL"
    )
    add("--distributed", nargs="?", choices=("mpi", "nccl"), const="nccl", help=text)
    text = "each of these uses N threads for a matrix product (default: 1)"
    add("--blas-threads", type=threads, metavar="N", help=text)
    text = "on a GPU, multiply on the tensor cores: faster, but with 11 binary digits and not 24"
    add("--tf32", action="store_true", help=text)
    text = "on a GPU, launch each kernel by itself and not each step as one CUDA graph"
    add("--no-graph", action="store_true", help=text)


# --- the run -------------------------------------------------------------------------------------


def _say(*lines: str) -> None:
    print(*map(printable, lines), sep="\n", file=sys.stderr, flush=True)


def _introduce(run: Run, training: Training, data: Data) -> None:
    preset, environment = run.preset, run.environment
    lr = f"{preset.lr:g}"
    if preset.lr_scheduler != "constant":
        lr += f" ({preset.lr_scheduler})"
    _say(
        f"Data     {data.name}: {data.sizes}",
        f"         {data.kind}",
        f"         mean {shown_setting(preset.mean)}, deviation {shown_setting(preset.std)}",
        *(f"         {line}" for line in [data.source, *data.notes]),
        f"Backend  {environment['library']}",
    )
    if environment["backend"] == "cupy":
        rest = f"products in {'TF32' if environment['tf32'] else 'float32'}"
    else:
        rest = f"convolution: {environment['conv']}"
    _say(f"         {training.executor.how}, {rest}")
    parameters = sum(p.numel() for p in training.model.parameters())
    _say(
        f"Network  {preset.network}: {parameters:,} parameters",
        *(f"Weights  {text}" for text in environment["beginning"]["said"]),
        *(
            [f"Frozen   {fine_tuning.frozen(training.model, preset.freeze)}"]
            if preset.freeze
            else []
        ),
        f"Training {counted(preset.epochs, 'epoch')}, batches of {preset.batch_size}",
        f"         SGD: lr {lr}, momentum {preset.momentum:g},"
        f" weight decay {preset.weight_decay:g}",
    )
    if training.done:
        _say(f"Resuming at the end: --epochs {2 * preset.epochs} would train longer")
    elif training.steps:
        _say(f"Resuming in epoch {training.epoch}, after {counted(training.steps, 'step')}")


def _training(
    preset: Preset, environment: dict[str, Any], data: Data, *, from_its_beginning: bool
) -> Training:
    """A run's network in training, before its first step, or to be given a state."""
    device = command_line.device_of(environment["backend"])
    minicnn.manual_seed(preset.seed)
    model = preset.build(data.kind)
    if from_its_beginning and fine_tuning.begin(model, preset) != environment["beginning"]:
        raise Failure(f"{preset.init_from} is not what it was when the run was begun")
    fine_tuning.freeze(model, preset.freeze)
    model.to(device)
    executor = executor_for(
        model,
        preset,
        threads=ranks.threads(environment),
        blas_threads=environment["blas_threads"],
        graph=environment["graph"] and distributed.capturable(),
        processes=distributed.get_world_size() == 1,  # MPI and forks are not made for each other
    )
    there = data.to(device)
    return Training(model, preset, there.train, there.evaluation, executor)


def _start(
    args: argparse.Namespace, run: Run, data: Data, signals: Signals, state: State | None = None
) -> Saver:
    """The run's network in training, from step 0 or where it stopped, and what is done beside."""
    device = command_line.device_of(run.environment["backend"])
    try:
        whole = state is None
        training = _training(run.preset, run.environment, data, from_its_beginning=whole)
        monitor = Monitor(training)
        progress = Progress(args.no_progress or not sys.stderr.isatty(), args.log_interval)
        saver = Saver(run, training, monitor, progress, args.checkpoint_minutes)
        if state is not None:
            saver.load(state)
    except Misfit as error:
        where = run.checkpoints.good
        raise Failure(f"--resume: {where}: the checkpoint does not fit the run: {error}") from None
    except Exception as error:
        if not device.backend.out_of_memory(error):
            raise
        raise memory.before_the_first_step(device, data, error) from None
    watch = Watch(run, monitor, progress, patient=args.on_stuck == "warn")
    board = [Board(run.directory, monitor)] if args.tensorboard else []
    # A step is looked at and saved before anything is said of it: the terminal may be gone.
    callbacks = [watch, saver, *board, progress, signals]
    training.callbacks.append(Together(callbacks, signals))
    return saver


def _first(
    args: argparse.Namespace, run: Run, data: Data, signals: Signals, state: State | None
) -> Saver:
    """The training that the command line asks for, with the epochs that it asks for."""
    saver = _start(args, run, data, signals, state)
    if args.resume:
        if getattr(args, "epochs", run.preset.epochs) != run.preset.epochs:
            saver.progress.say(begin.change_epochs(saver, args.epochs))
        if text := begin.note_software(saver):
            saver.progress.say(text)
    return saver


def _restart(args: argparse.Namespace, old: Saver, data: Data, signals: Signals) -> Saver:
    """The same training from its beginning with the next seed, and a record of that."""
    run = old.run
    old.training.executor.close()
    run.preset = replace(run.preset, seed=run.preset.seed + 1)
    text = f"Starting again with seed {run.preset.seed}."
    old.progress.say(text)
    run.events.append({"kind": "reinit", "step": old.training.steps, "text": text})
    saver = _start(args, run, data, signals)
    if saver.save():
        run.write_config(run.preset)
    return saver


def train(args: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    if args.print_config:
        print(config.render(begin.settings(args)), end="")
        return command_line.DONE
    if args.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise UsageError(f"--tensorboard needs tensorboardX: {installing.how('tensorboard')}")
    if not args.resume:
        ranks.compare("settings", config.render(ranks.together(lambda: begin.settings(args))))
    run: Run | None = None  # rank 0's, and so is the state
    state: State | None = None
    with ExitStack() as afterwards:

        def begun() -> Begun:
            nonlocal run, state
            if args.resume:
                run, data, state = begin.old_run(args, afterwards)
            else:
                run, data = begin.new_run(args, afterwards)
            return Begun(run.preset, run.environment, data)

        environment, data = ranks.begun(begun, args.data_dir, with_nccl=args.distributed != "mpi")
        how = context.using(conv_algorithm=environment["conv"], tf32=environment["tf32"])
        afterwards.enter_context(how)
        signals = afterwards.enter_context(Signals())
        where = ranks.described()
        if run is None:
            start = partial(_training, environment=environment, data=data, from_its_beginning=False)
            return ranks.follow(start, data, signals)
        saver = ranks.lead(lambda: _first(args, run, data, signals, state))
        if args.resume:
            run.write_config(run.preset)
        run.forget_leftovers()
        if not saver.write():
            raise Failure(f"{run.directory} can't be written, so the training was not begun")
        saver.save()
        _introduce(run, saver.training, data)
        if distributed.get_world_size() > 1:
            _say(f"Ranks    {where}")
        elif args.distributed:
            _say("Ranks    1, as no mpiexec has started several")
        if not args.dry_run:
            _say(f"Output   {run.directory}")
        while (status := _fit(args, saver, data, signals)) is None:
            ranks.told(None, saver.training)
            saver = ranks.lead(partial(_restart, args, saver, data, signals))
        ranks.told(status, saver.training)
        return status


def _fit(args: argparse.Namespace, saver: Saver, data: Data, signals: Signals) -> int | None:
    """Train to the end, or until something ends it: the exit status, None to start again."""
    run, training = saver.run, saver.training
    try:
        training.fit()
        if data.validation is not None:
            _test(saver, data)
    except Interrupted:
        return _interrupted(args, saver, signals)
    except Stuck:
        saver.save()
        written = saver.write()
        restarts = sum(event["kind"] == "reinit" for event in run.events)
        if args.on_stuck == "reinit" and restarts < RESTARTS:
            return None
        where = f"; what was seen is in {run.directory}" if written else "."
        saver.progress.say(f"Stopped{where}")
        return command_line.STUCK
    except Exception as error:
        if not training.device.backend.out_of_memory(error):
            saver.save()  # whatever it is, the steps that are done are not lost
            if said := own_network.said(error, run.preset.network):
                raise Failure(said) from None
            raise
    else:
        return _done(args, saver)
    # Out of memory, and what the step had made is gone with its frames.
    saver.save()
    raise memory.in_a_step(training)


def _test(saver: Saver, data: Data) -> None:
    """The one look at the test set of a run whose epochs were evaluated on a validation set.

    A run that is resumed after its last epoch takes it again, and sees the same.
    """
    loss, accuracy = saver.training.test(data.test.to(saver.training.device))
    saver.progress.close()
    saver.write_test(loss, accuracy)
    print(f"Test Loss: {loss:.4f}, Acc: {100 * accuracy:.2f}%", flush=True)


def _done(args: argparse.Namespace, saver: Saver) -> int:
    device, directory = saver.training.device, saver.run.directory
    if device.type == "cuda" and (peak := device.backend.peak_bytes()) is not None:
        _say(f"Memory   {peak >> 20:,} MiB of the GPU at most")
    if not saver.written:
        raise Failure(f"the training is done, but {directory} could not be written")
    if not args.dry_run:
        _say(f"Done: model, metrics and curves are in {directory}", *_next(saver))
    return command_line.DONE


def _next(saver: Saver) -> list[str]:
    """Commands to go on with."""
    directory = quoted(saver.run.directory)
    lines = [f"Next:    {command('nin.evaluate')} {directory}"]
    if isinstance(saver.training.model, nn.Sequential):  # all that the explorer's page knows
        lines.append(f"         {command('nin.study')} explore {directory}")
    return lines


def _interrupted(args: argparse.Namespace, saver: Saver, signals: Signals) -> int:
    """The exit status after a signal, 128 and its number; 1 if the last steps could not be kept."""
    assert signals.came is not None
    saved, name = saver.save(), signal.Signals(signals.came).name
    how = "Interrupted" if name == "SIGINT" else f"Ended by {name}"
    if args.dry_run:
        text = f"{how}."
    elif saved:
        text = f"{how}; {PROG} --resume {quoted(saver.run.directory)} goes on."
    else:
        text = f"{how}, without a checkpoint of the last steps."
    with suppress(OSError, ValueError):  # the terminal may be gone, which is why
        saver.progress.say(text)
    return 128 + signals.came if saved else command_line.FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    flags = sys.argv[1:] if argv is None else argv

    def understood() -> argparse.Namespace:
        return _parser().parse_args(flags)

    if ranks.asked_for(flags):
        return ranks.run(PROG, flags, understood, train)
    started, number = distributed.launched()
    if started > 1 and number == 0:
        _say(
            f"Warning: {started:,} processes were started together, and each trains by itself;"
            " --distributed makes them train one network"
        )
    return command_line.run(PROG, lambda: train(understood()))


if __name__ == "__main__":
    sys.exit(main())
