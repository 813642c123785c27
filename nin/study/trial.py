"""Training one network and measuring it: what `compare` and `ablate` do again and again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

from tqdm import tqdm

import minicnn
from minicnn import nn
from minicnn.utils.data import DataLoader, Subset
from minicnn.vision.image_dataset import ImageDataset

from .. import data as datasets
from ..catalogue import AUTO
from ..command_line import argument, directory
from ..data import Data
from ..fit import Callback, Training, evaluate
from ..presets import DATASET, Preset
from ..schema import whole
from ..trained import Trained

PARTS = {"train": "training", "test": "test"}
LAYOUT = "{desc}: {percentage:3.0f}%|{bar}|{postfix}"
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


class Series:
    """Several trainings, one after another, each with a bar on a terminal.

    A bar counts steps, and batches of tests, and says how much time is left of the whole series.
    """

    def __init__(self, count: int) -> None:
        self.count, self.number, self.begun = count, 0, time.monotonic()

    @contextmanager
    def bar(self, name: str, batches: int) -> Iterator[Callback]:
        """The next training's, which gives a callback to count with."""
        self.number += 1
        title = f"{self.number}/{self.count} {name}"
        with tqdm(
            total=batches,
            desc=title,
            bar_format=LAYOUT,
            leave=False,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        ) as bar:
            yield _Count(self, bar, title)

    def left(self, share: float) -> str:
        """The time to the end of the series, where the training under way is done to this share."""
        done, passed = self.number - 1 + share, time.monotonic() - self.begun
        return f"{tqdm.format_interval(passed / done * (self.count - done))} left"


class _Count(Callback):
    def __init__(self, series: Series, bar: tqdm, title: str) -> None:
        self.series, self.bar, self.title = series, bar, title

    def on_batch(self, training: Training) -> None:
        if self.bar.disable:
            return
        what = ", testing" if training.testing else ""
        self.bar.set_description_str(self.title + what, refresh=False)
        left = self.series.left((self.bar.n + 1) / self.bar.total)
        self.bar.set_postfix_str(left, refresh=False)
        self.bar.update()


def add_data(parser: argparse.ArgumentParser, images: Images, full: str) -> None:
    """The flags that say what is trained on, of which `load` makes data."""
    add = parser.add_argument
    which: dict[str, Any] = {"type": argument(DATASET), "metavar": "NAME|PATH"}
    if "train" in images:
        text = "a data set, or a folder of pictures, as nin.train takes them (default: auto)"
        add("--dataset", default=AUTO, help=text, **which)
    else:
        text = (
            "other images of the same classes, as nin.train takes them (default: those of the run)"
        )
        add("--dataset", help=text, **which)
    add("--skip-broken", action="store_true", help="leave out pictures that can't be used")
    text = "look here first for a data set with a name (default: data)"
    add("--data-dir", type=directory, metavar="DIR", help=text)
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
    preset = replace(
        preset,
        dataset=args.dataset,
        skip_broken=args.skip_broken,
        validation=args.validation,
        **_limits(args, images),
    )
    return datasets.load(preset, args.data_dir)


def load_test(args: argparse.Namespace, images: Images, run: Trained) -> tuple[ImageDataset, str]:
    """The test images that the flags ask for, for a network, and what to call them.

    Raises UsageError, and Failure for those of another kind.
    """
    if not args.dataset:
        datasets.refuse_missing(run.preset.dataset, args.run)
    dataset = args.dataset or run.preset.dataset
    skip = run.preset.skip_broken or args.skip_broken
    preset = replace(run.preset, dataset=dataset, skip_broken=skip, **_limits(args, images))
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
    series: Series,
    steps: int | None = None,
) -> Outcome:
    """Train a network as the preset says and evaluate it, as one of a series.

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
    with series.bar(name, batches) as count:
        training.callbacks.append(count)
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
