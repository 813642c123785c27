"""`python -m nin.train`: train a Network in Network on Fashion-MNIST.

Read from top to bottom: the command line, the settings, what is said first, and the run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import threadpoolctl
from tqdm import tqdm

import minicnn
from minicnn import backends
from minicnn.parallel import available_cores
from minicnn.vision.datasets import DatasetError

from . import command_line, config
from . import data as datasets
from .command_line import DEVICES, Failure, UsageError, at_least
from .fit import Training
from .presets import PRESETS, Preset
from .run import Run, default_directory

PROG = "python -m nin.train"

# --- the command line ----------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.train",
        "[--preset NAME] [--config FILE] [flags]",
        "Train a Network in Network on Fashion-MNIST.",
        """
        python -m nin.train                              quick: minutes on two cores
        python -m nin.train --preset article --epochs 1  the tutorial's network
        python -m nin.train --lr 0.05 --print-config > my.toml
        python -m nin.train --config my.toml             those settings
        python -m nin.train --config runs/RUN/config.toml --out runs/again
        """,
        "Results are printed on stdout, everything else on stderr.",
    )
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="quick", help="network and settings (default: quick)")
    add("--config", type=Path, help="TOML file with settings to change (default: none)")
    add("--print-config", action="store_true", help="print all settings and stop (default: train)")
    add("--out", type=Path, help="directory for results (default: runs/<preset>-<time>)")
    add("--dry-run", action="store_true", help="one step, one test, no files (default: train)")
    add("--data-dir", default="data", help="where to look for Fashion-MNIST first (default: data)")
    parser.add_backend()
    add(
        "--conv",
        choices=("im2col", "winograd", "auto"),
        default="auto",
        help="convolution algorithm; auto is winograd where that is faster (default: auto)",
    )
    add(
        "--threads",
        type=at_least(1, int),
        default=available_cores(),
        help="worker threads on the CPU (default here: one for each core, %(default)s)",
    )
    add(
        "--blas-threads",
        type=at_least(1, int),
        default=1,
        help="threads for the matrix products of each worker thread (default: 1)",
    )
    add(
        "--tf32",
        action="store_true",
        help="tensor cores on a GPU, 11 binary digits (default: float32)",
    )
    add(
        "--no-graph",
        action="store_true",
        help="on a GPU, launch each kernel by itself (default: graphs)",
    )
    add(
        "--log-interval",
        type=at_least(0, int),
        default=0,
        metavar="N",
        help="a line on stderr every N steps; 0 for none (default: 0)",
    )
    add("--no-progress", action="store_true", help="no progress bar (default: one on a terminal)")
    command_line.add_settings(parser)
    return parser


def _settings(args: argparse.Namespace) -> Preset:
    """The preset, changed by --config and then by flags."""
    preset = PRESETS[args.preset]
    try:
        if args.config is not None:
            preset = config.read(args.config, preset)
        names = [each.name for each in fields(Preset)]
        return replace(preset, **{name: getattr(args, name) for name in names if name in args})
    except ValueError as error:
        raise UsageError(str(error)) from None


def _describe_backend(name: str) -> str:
    """The array library and the code that multiplies its matrices."""
    libraries = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    version = backends.load(DEVICES[name]).xp.__version__
    if name != "numpy" or not libraries:
        return f"{name} {version}"
    blas = libraries[0]
    kernel = f"{blas['internal_api']} {blas['version']} ({blas.get('architecture', 'unknown')})"
    return f"{name} {version}, {kernel}"


# --- the run -------------------------------------------------------------------------------------


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def _introduce(
    args: argparse.Namespace, preset: Preset, data: datasets.Data, environment: dict[str, Any]
) -> None:
    lr = f"{preset.lr:g}"
    if preset.lr_scheduler != "constant":
        lr += f" ({preset.lr_scheduler})"
    _say(
        f"Data     {data.name}: {len(data.train):,} training and {len(data.test):,} test images",
        f"         {data.source}",
        f"Backend  {environment['backend']}",
    )
    if args.backend == "cupy":
        graph = "each kernel launched by itself" if args.no_graph else "steps launched as graphs"
        _say(f"         {graph}, products in {'TF32' if args.tf32 else 'float32'}")
    else:
        _say(
            f"         {args.threads} threads, {preset.micro_batch} images at a time on each,"
            f" BLAS on {args.blas_threads}, convolution: {args.conv}"
        )
    _say(
        f"Network  {preset.network}: {environment['parameters']:,} parameters",
        f"Training {preset.epochs} epochs, batches of {preset.batch_size}",
        f"         SGD: lr {lr}, momentum {preset.momentum:g},"
        f" weight decay {preset.weight_decay:g}",
    )


class Progress:
    """The bar of an epoch, or a line every so many steps; the loss at most twice a second."""

    def __init__(self, training: Training, hidden: bool, interval: int) -> None:
        self.training, self.hidden, self.interval = training, hidden, interval

    def begin_epoch(self) -> None:
        epoch, epochs = self.training.epoch, self.training.preset.epochs
        self.bar = tqdm(
            total=len(self.training.train_loader.dataset),
            initial=self.training.seen,
            desc=f"Epoch {epoch}/{epochs}",
            unit=" images",
            leave=False,
            disable=self.hidden,
            dynamic_ncols=True,
        )
        self.shown = 0.0

    def after_step(self) -> None:
        training, now = self.training, time.monotonic()
        if not self.hidden and now - self.shown > 0.5:
            self.bar.set_postfix_str(f"loss {training.mean_loss():.4f}", refresh=False)
            self.shown = now
        self.bar.update(training.seen - self.bar.n)
        if self.interval and training.batch % self.interval == 0:
            steps = len(training.train_loader)
            _say(
                f"Step {training.batch}/{steps} of epoch {training.epoch},"
                f" Train Loss: {training.mean_loss():.4f}"
            )

    def end_epoch(self) -> None:
        self.bar.close()


def _out_of_memory(training: Training) -> Failure:
    size = training.preset.batch_size
    if training.device.type == "cpu":
        return Failure(f"out of memory with batches of {size}: try a smaller --micro-batch")
    fits = training.largest_batch()
    advice = f"batches of {fits} fit: --batch-size {fits}" if fits else "not even one image fits"
    return Failure(f"out of GPU memory with batches of {size}; {advice}")


def train(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    preset = _settings(args)
    if args.print_config:
        print(config.render(preset), end="")
        return command_line.DONE
    if args.dry_run:
        preset = replace(
            preset, epochs=1, limit_train=preset.batch_size, limit_test=preset.batch_size
        )
    device = command_line.device_of(args.backend)
    if device.type == "cuda":
        device.backend.set_tf32(args.tf32)
    elif args.tf32:
        raise UsageError("--tf32 is for a GPU's tensor cores: --backend cupy")
    try:
        data, preset = datasets.load(preset, args.data_dir)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    minicnn.manual_seed(preset.seed)
    model = preset.build().to(device)
    environment = {
        "data_source": data.source,
        "training_images": len(data.train),
        "test_images": len(data.test),
        "backend": _describe_backend(args.backend),
        "threads": args.threads,
        "blas_threads": args.blas_threads,
        "conv": args.conv,
        "parameters": sum(p.numel() for p in model.parameters()),
        "minicnn": minicnn.__version__,
    }
    with tempfile.TemporaryDirectory() as nowhere:
        directory = Path(nowhere) if args.dry_run else args.out or default_directory(args.preset)
        try:
            run = Run(directory, f"{preset.network} on {data.name}", preset, environment)
        except OSError as error:
            raise UsageError(f"--out: {error}") from None
        _introduce(args, preset, data, environment)
        if not args.dry_run:
            _say(f"Output   {directory}")

        training = Training(
            model,
            preset,
            data.train,
            data.test,
            threads=args.threads,
            blas_threads=args.blas_threads,
            graph=not args.no_graph,
        )
        hidden = args.no_progress or not sys.stderr.isatty()
        progress = Progress(training, hidden, args.log_interval)
        while not training.done:
            progress.begin_epoch()
            try:
                row = training.train_epoch(progress.after_step)
            except device.backend.OutOfMemoryError:
                row = None
            finally:
                progress.end_epoch()
            if row is None:  # and what the step had made is gone
                raise _out_of_memory(training)
            run.write(training.history, model)
            print(
                f"Epoch [{row['epoch']}/{preset.epochs}], Train Loss: {row['train_loss']:.4f},"
                f" Test Loss: {row['test_loss']:.4f}, Acc: {100 * row['accuracy']:.2f}%",
                flush=True,
            )
    if device.type == "cuda":
        _say(f"Memory   {device.backend.peak_bytes() >> 20:,} MiB of the GPU at most")
    if not args.dry_run:
        _say(f"Done: model, metrics and curves are in {directory}")
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    args = _parser().parse_args(argv)
    before, backends.conv_algorithm = backends.conv_algorithm, args.conv
    try:
        return command_line.run(PROG, lambda: train(args))
    finally:
        backends.conv_algorithm = before


if __name__ == "__main__":
    sys.exit(main())
