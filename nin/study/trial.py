"""Training one network and measuring it: what `compare` and `ablate` do again and again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

from tqdm import tqdm

import minicnn
from minicnn import nn
from minicnn.utils.data import DataLoader, Subset
from minicnn.vision.image_dataset import ImageDataset

from .. import data as datasets
from ..catalogue import AUTO, TEN_GREY
from ..command_line import argument, path
from ..data import Data
from ..fit import Callback, Training, evaluate
from ..presets import Preset
from ..schema import whole
from ..trained import Trained

PARTS = {"train": "training", "test": "test"}
SEEN = 5000  # training images on which a trained network is tested too

Images = Mapping[str, int]  # how many there are of "train" and of "test" where --full is not given


@dataclass
class Outcome:
    """A trained network: losses are mean cross-entropies.

    `eval_loss` and `accuracy` are of the set `evaluated_on`, "validation" or "test", those that
    were `seen` of training images.
    """

    name: str
    seed: int
    parameters: int
    epochs: float
    seen_loss: float
    eval_loss: float
    seen_accuracy: float
    accuracy: float
    seconds: float  # of training, without tests
    step_seconds: float
    evaluated_on: str

    @property
    def gap(self) -> float:
        return self.eval_loss - self.seen_loss


class _Count(Callback):
    """A bar's count of steps, and batches of tests."""

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar

    def on_batch(self, training: Training) -> None:
        self.bar.update()


def add_data(parser: argparse.ArgumentParser, images: Images, full: str) -> None:
    """The flags that say what is trained on, of which `load` makes data."""
    add = parser.add_argument
    if "train" in images:
        names = ", ".join(TEN_GREY)
        text = f"one of {names}; auto is {TEN_GREY[0]}, or else {TEN_GREY[1]} (default: auto)"
        choices = (AUTO, *TEN_GREY)
        add("--dataset", choices=choices, default=AUTO, metavar="NAME", help=text)
    else:
        text = (
            "other images of the same classes, as nin.train takes them (default: those of the run)"
        )
        add("--dataset", metavar="NAME|PATH", help=text)
    text = "look here first for a data set with a name (default: data)"
    add("--data-dir", type=path, metavar="DIR", help=text)
    add("--full", action="store_true", help=full)
    for part, n in images.items():
        text = f"use the first N {PARTS[part]} images (default: {n:,}; with --full: all)"
        add(f"--limit-{part}", type=argument(whole(1)), metavar="N", help=text)
    if "train" in images:
        text = (
            "hold back N training images, and evaluate on them and not on the test set (default: 0)"
        )
        add("--validation", type=argument(whole(0)), default=0, metavar="N", help=text)


def load(args: argparse.Namespace, images: Images, preset: Preset) -> tuple[Data, Preset]:
    """The data that the flags ask for, and the preset with them. Raises UsageError."""
    limits = _limits(args, images)
    preset = replace(preset, dataset=args.dataset, validation=args.validation, **limits)
    return datasets.load(preset, args.data_dir)


def load_test(args: argparse.Namespace, images: Images, run: Trained) -> tuple[ImageDataset, str]:
    """The test images that the flags ask for, for a network, and what to call them.

    Raises UsageError, and Failure for those of another kind.
    """
    if not args.dataset:
        datasets.refuse_missing(run.preset.dataset, args.run)
    dataset = args.dataset or run.preset.dataset
    preset = replace(run.preset, dataset=dataset, **_limits(args, images))
    return datasets.load_test(preset, run.kind, args.data_dir, split=run.split)


def _limits(args: argparse.Namespace, images: Images) -> dict[str, Any]:
    return {
        f"limit_{part}": getattr(args, f"limit_{part}") or (0 if args.full else n)
        for part, n in images.items()
    }


def train(
    name: str,
    network: Callable[[], nn.Sequential],
    preset: Preset,
    data: Data,
    device: minicnn.device,
    steps: int | None = None,
) -> Outcome:
    """Train a network as the preset says and evaluate it, with a progress bar on a terminal.

    With `steps`, take so many of them in place of the preset's epochs, and test once, at the end.
    """
    minicnn.manual_seed(preset.seed)
    model = network().apply(preset.initialise).to(device)
    there = data.to(device)
    images: ImageDataset | Subset = there.train
    if steps is not None:  # one long epoch, in which every image comes as often as it has to
        preset = replace(preset, epochs=1)
        images = Subset(images, (i % len(images) for i in range(steps * preset.batch_size)))
        images = images.to(device)
    training = Training(model, preset, images, there.evaluation)
    batches = preset.epochs * (len(training.train_loader) + len(training.eval_loader))
    hidden = not sys.stderr.isatty()
    with tqdm(total=batches, desc=name, leave=False, disable=hidden, dynamic_ncols=True) as bar:
        training.callbacks.append(_Count(bar))
        training.fit()
    last = training.history[-1]
    seen = Subset(data.train, range(min(SEEN, len(data.train))))
    seen_loss, seen_accuracy = evaluate(
        training.executor, DataLoader(seen, preset.batch_size, num_workers=1)
    )
    training.executor.close()
    seconds = sum(row["seconds"] for row in training.history)
    return Outcome(
        name=name,
        seed=preset.seed,
        parameters=sum(p.numel() for p in model.parameters()),
        epochs=preset.epochs * len(images) / len(data.train),
        seen_loss=seen_loss,
        eval_loss=last["eval_loss"],
        seen_accuracy=seen_accuracy,
        accuracy=last["accuracy"],
        seconds=seconds,
        step_seconds=seconds / (preset.epochs * len(training.train_loader)),
        evaluated_on=preset.evaluated_on,
    )


def step_seconds(
    network: Callable[[], nn.Sequential],
    preset: Preset,
    data: Data,
    device: minicnn.device,
    seconds: float,
) -> float:
    """How long a step of training takes: the mean of those in the second half of some seconds.

    Of real steps, as preparing the next batch takes time from them; the first half warms up.
    """
    model = network().apply(preset.initialise).to(device)
    there = data.to(device)
    training = Training(model, preset, there.train, there.evaluation)
    training.model.train()
    begun, start, done = time.perf_counter(), 0.0, -1
    for images, labels in chain.from_iterable(repeat(training.train_loader)):
        training.step(images.to(device), labels.to(device)).item()  # waits for a GPU
        now = time.perf_counter()
        if now - begun < seconds / 2:
            continue
        start, done = start or now, done + 1
        if done and now - begun >= seconds:
            break
    training.executor.close()
    return (now - start) / done
