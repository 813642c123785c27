"""`python -m nin.train`: train a Network in Network on Fashion-MNIST.

Read from top to bottom: the command line, the data, the two loops, and the run that ties them
together.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import threadpoolctl
from tqdm import tqdm

import minicnn
from minicnn import backends, nn, optim
from minicnn.parallel import MicroBatches, available_cores
from minicnn.utils.data import DataLoader, Dataset, Subset
from minicnn.vision import datasets

from .presets import PRESETS, Preset
from .run import Run, default_directory

DEVICES = {"numpy": "cpu", "cupy": "cuda"}
DATASETS = ("auto", "fashion-mnist", "silhouettes")


class UsageError(Exception):
    """Something in the command that can't be done: one line, and exit status 2."""


# --- the command line ----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help shows what is possible)\n")


def _at_least(
    least: float, kind: Callable[[str], Any], above: bool = False
) -> Callable[[str], Any]:
    """An argument type: a number of this kind that is at least (or above) `least`."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if (
            value is None
            or not (least < value if above else least <= value)
            or value == float("inf")
        ):
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"must be {what} {'above' if above else 'of at least'} {least}, got {text!r}"
            )
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    def from_presets(field: str) -> str:
        values = ", ".join(f"{name} {getattr(p, field)}" for name, p in PRESETS.items())
        return f"default: the preset's: {values}"

    whole, positive = _at_least(1, int), _at_least(0, float, above=True)
    parser = _Parser(
        prog="python -m nin.train",
        description="Train a Network in Network on Fashion-MNIST.",
        epilog="--out then holds config.json, metrics.csv, curves.png and model.safetensors.",
    )
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="quick", help="network and settings (default: quick)")
    add(
        "--dataset",
        choices=DATASETS,
        default="auto",
        help="auto is fashion-mnist, or silhouettes where that can't be had (default: auto)",
    )
    add("--data-dir", default="data", help="where to look for Fashion-MNIST first (default: data)")
    add("--backend", choices=DEVICES, default="numpy", help="array library (default: numpy)")
    add(
        "--conv",
        choices=("im2col", "winograd", "auto"),
        default="auto",
        help="convolution algorithm; auto is winograd where that is faster (default: auto)",
    )
    add("--epochs", type=whole, help=from_presets("epochs"))
    add("--batch-size", type=whole, help=from_presets("batch_size"))
    add("--lr", type=positive, help=from_presets("lr"))
    add("--momentum", type=_at_least(0, float), help=from_presets("momentum"))
    add("--weight-decay", type=_at_least(0, float), help=from_presets("weight_decay"))
    add("--seed", type=_at_least(0, int), default=0, help="of all random choices (default: 0)")
    add("--out", type=Path, help="directory for results (default: runs/<preset>-<time>)")
    add("--limit-train", type=whole, help="use the first N training images (default: all)")
    add("--limit-test", type=whole, help="use the first N test images (default: all)")
    add(
        "--threads",
        type=whole,
        default=available_cores(),
        help="worker threads on the CPU (default here: one for each core, %(default)s)",
    )
    add("--micro-batch", type=whole, help="images at a time; " + from_presets("micro_batch"))
    add(
        "--blas-threads",
        type=whole,
        default=1,
        help="threads for the matrix products of each worker thread (default: 1)",
    )
    add("--no-progress", action="store_true", help="no progress bar (default: one on a terminal)")
    return parser


def _override(preset: Preset, args: argparse.Namespace) -> Preset:
    """The preset with the settings that flags gave."""
    names = ("epochs", "batch_size", "lr", "momentum", "weight_decay", "micro_batch")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if given.get("momentum") == 0:
        given["nesterov"] = False
    return replace(preset, **given)


# --- the data ------------------------------------------------------------------------------------


@dataclass
class Data:
    """A training set and a test set, and what to call them."""

    name: str
    source: str
    train: Dataset
    test: Dataset


def _load_data(args: argparse.Namespace, preset: Preset) -> Data:
    train, test = preset.transform(train=True), preset.transform(train=False)
    if args.dataset != "silhouettes":
        try:
            training = datasets.FashionMNIST(args.data_dir, True, train, download=True)
            testing = datasets.FashionMNIST(args.data_dir, False, test, download=True)
        except datasets.DatasetError as error:
            found_broken = not isinstance(error, datasets.DatasetNotFound)
            if found_broken or args.dataset == "fashion-mnist":
                raise UsageError(str(error)) from None
            print(f"Fashion-MNIST can't be had here, so this trains on silhouettes: {error}")
        else:
            return Data("Fashion-MNIST", training.source, training, testing)
    return Data(
        "silhouettes",
        "drawn by this program",
        datasets.Silhouettes(True, train),
        datasets.Silhouettes(False, test),
    )


def _limit(dataset: Dataset, n: int | None) -> Dataset:
    return dataset if n is None else Subset(dataset, range(min(n, len(dataset))))


# --- the two loops -------------------------------------------------------------------------------


def train_epoch(
    batches: MicroBatches,
    loader: DataLoader,
    criterion: nn.Module,
    optimizer: optim.SGD,
    before_step: Callable[[], None],
    max_norm: float | None,
    bar: Any,
) -> float:
    """Take one step for every batch; return the mean loss of the images as they came by."""
    batches.model.train()
    total = seen = 0.0
    for images, labels in loader:
        before_step()
        optimizer.zero_grad()
        loss = batches.backward(criterion, images, labels)
        if max_norm is not None:
            nn.utils.clip_grad_norm_(batches.model.parameters(), max_norm)
        optimizer.step()
        total += loss * len(labels)
        seen += len(labels)
        bar.update(len(labels))
        bar.set_postfix_str(f"loss {total / seen:.4f}", refresh=False)
    return total / seen


def evaluate(
    batches: MicroBatches, loader: DataLoader, criterion: nn.Module
) -> tuple[float, float]:
    """The mean loss and the share of right answers."""
    batches.model.eval()
    total = correct = seen = 0.0
    for images, labels in loader:
        outputs = batches.predict(images)
        total += criterion(outputs, labels).item() * len(labels)
        correct += (outputs.argmax(1) == labels).sum().item()
        seen += len(labels)
    return total / seen, correct / seen


# --- the run -------------------------------------------------------------------------------------


def _describe_backend(name: str) -> str:
    """The array library and the code that multiplies its matrices."""
    libraries = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    version = backends.load(DEVICES[name]).xp.__version__
    if name != "numpy" or not libraries:
        return f"{name} {version}"
    blas = libraries[0]
    kernel = f"{blas['internal_api']} {blas['version']} ({blas.get('architecture', 'unknown')})"
    return f"{name} {version}, {kernel}"


def train(args: argparse.Namespace) -> Path:
    """Do what the command line says; return the run's directory."""
    preset = _override(PRESETS[args.preset], args)
    try:
        backends.load(DEVICES[args.backend])
    except backends.BackendError as error:
        raise UsageError(f"--backend {args.backend}: {error}") from None
    device = minicnn.device(DEVICES[args.backend])

    data = _load_data(args, preset)
    train_set, test_set = _limit(data.train, args.limit_train), _limit(data.test, args.limit_test)
    minicnn.manual_seed(args.seed)
    model = preset.build().to(device)
    parameters = sum(p.numel() for p in model.parameters())
    backend = _describe_backend(args.backend)
    config = {
        "preset": args.preset,
        "settings": {k: v for k, v in asdict(preset).items() if k != "network"},
        "seed": args.seed,
        "dataset": data.name,
        "data_source": data.source,
        "training_images": len(train_set),
        "test_images": len(test_set),
        "backend": backend,
        "threads": args.threads,
        "blas_threads": args.blas_threads,
        "conv": args.conv,
        "parameters": parameters,
        "minicnn": minicnn.__version__,
    }
    try:
        run = Run(
            args.out or default_directory(args.preset), f"{args.preset} on {data.name}", config
        )
    except OSError as error:
        raise UsageError(f"--out: {error}") from None

    print(f"Data     {data.name}: {len(train_set):,} training and {len(test_set):,} test images")
    print(f"         {data.source}")
    print(f"Backend  {backend}")
    print(
        f"         {args.threads} threads, {preset.micro_batch} images at a time on each,"
        f" BLAS on {args.blas_threads}, convolution: {args.conv}"
    )
    print(f"Network  {args.preset}: {parameters:,} parameters")
    print(f"Training {preset.epochs} epochs, batches of {preset.batch_size}")
    print(
        f"         SGD: lr {preset.lr:g} ({preset.schedule}), momentum {preset.momentum:g},"
        f" weight decay {preset.weight_decay:g}"
    )
    print(f"Output   {run.directory}", flush=True)

    batches = MicroBatches(
        model,
        threads=args.threads,
        micro_batch=preset.micro_batch,
        blas_threads=args.blas_threads,
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(
        model.parameters(),
        lr=preset.lr,
        momentum=preset.momentum,
        weight_decay=preset.weight_decay,
        nesterov=preset.nesterov,
    )
    train_loader = DataLoader(train_set, preset.batch_size, shuffle=True, num_workers=1)
    test_loader = DataLoader(test_set, preset.batch_size, num_workers=1)
    steps_done, steps = 0, preset.epochs * len(train_loader)

    def set_rate() -> None:
        nonlocal steps_done
        steps_done += 1
        optimizer.param_groups[0]["lr"] = preset.lr * preset.rate(steps_done / (steps + 1))

    hidden = args.no_progress or not sys.stderr.isatty()
    for epoch in range(1, preset.epochs + 1):
        start = time.perf_counter()
        with tqdm(
            total=len(train_set),
            desc=f"Epoch {epoch}/{preset.epochs}",
            unit=" images",
            leave=False,
            disable=hidden,
            dynamic_ncols=True,
        ) as bar:
            train_loss = train_epoch(
                batches, train_loader, criterion, optimizer, set_rate, preset.max_norm, bar
            )
        seconds = time.perf_counter() - start
        test_loss, accuracy = evaluate(batches, test_loader, criterion)
        run.add(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "test_loss": test_loss,
                "accuracy": accuracy,
                "lr": optimizer.param_groups[0]["lr"],
                "seconds": seconds,
                "images_per_second": len(train_set) / seconds,
            },
            model,
        )
        print(
            f"Epoch [{epoch}/{preset.epochs}], Train Loss: {train_loss:.4f},"
            f" Test Loss: {test_loss:.4f}, Acc: {100 * accuracy:.2f}%",
            flush=True,
        )
    return run.directory


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 2 wrong use, 130 interrupted."""
    args = _parser().parse_args(argv)
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
    before, backends.conv_algorithm = backends.conv_algorithm, args.conv
    try:
        directory = train(args)
    except UsageError as error:
        print(f"python -m nin.train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted: the finished epochs are in the output directory.", file=sys.stderr)
        return 130
    finally:
        backends.conv_algorithm = before
    print(f"Done: model, metrics and curves are in {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
