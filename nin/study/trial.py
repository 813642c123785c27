"""Training one network and measuring it: what `compare` and `ablate` do again and again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

import minicnn
from minicnn import nn
from minicnn.backends import Array
from minicnn.utils.data import DataLoader, Dataset, Subset
from minicnn.vision.datasets import DatasetError

from .. import data as datasets
from ..command_line import UsageError, at_least, path
from ..fit import Training, evaluate
from ..presets import DATASETS, Preset

SEEN = 5000  # training images on which a trained network is tested too


@dataclass
class Material:
    """What networks are trained and tested on; `seen` are training images as in a test."""

    name: str
    train: Dataset
    test: Dataset
    seen: Dataset
    pictures: Array  # of the test set: (N, 28, 28) uint8


@dataclass
class Outcome:
    """A trained network: losses are mean cross-entropies, `accuracy` a share of the test set."""

    name: str
    seed: int
    parameters: int
    epochs: int
    seen_loss: float
    test_loss: float
    seen_accuracy: float
    accuracy: float
    seconds: float  # of training, without tests
    step_seconds: float


def add_data(parser: argparse.ArgumentParser) -> None:
    """The flags that say what is trained on."""
    add = parser.add_argument
    add(
        "--dataset",
        choices=DATASETS,
        default="auto",
        help="auto is fashion-mnist, or silhouettes if that can't be had (default: auto)",
    )
    add("--data-dir", type=path, default="data", help="where Fashion-MNIST is (default: data)")


def limit(parser: argparse.ArgumentParser, flag: str, default: str) -> None:
    """A flag that takes a number of images, such as --limit-train."""
    text = f"use the first N {flag.rpartition('-')[2]} images (default: {default})"
    parser.add_argument(flag, type=at_least(1, int), metavar="N", help=text)


def load(preset: Preset, directory: Path) -> Material:
    """The data of a preset. Raises UsageError if it can't be had."""
    try:
        data, preset = datasets.load(preset, directory)
        plain, _ = datasets.load(replace(preset, flip=False, shift=0), directory)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    seen = Subset(plain.train, range(min(SEEN, len(plain.train))))
    return Material(data.name, data.train, data.test, seen, data.pictures)


def train(
    name: str,
    network: Callable[[], nn.Sequential],
    preset: Preset,
    material: Material,
    device: minicnn.device,
) -> Outcome:
    """Train a network with a preset's settings and test it, with a progress bar on a terminal."""
    minicnn.manual_seed(preset.seed)
    model = network().apply(preset.initialise).to(device)
    training = Training(model, preset, material.train, material.test)
    steps = preset.epochs * (len(training.train_loader) + len(training.test_loader))
    hidden = not sys.stderr.isatty()
    with tqdm(total=steps, desc=name, leave=False, disable=hidden, dynamic_ncols=True) as bar:
        while not training.done:
            training.train_epoch(lambda: bar.update() and None)
    last = training.history[-1]
    seen_loss, seen_accuracy = evaluate(
        training.batches, DataLoader(material.seen, preset.batch_size, num_workers=1)
    )
    seconds = sum(row["seconds"] for row in training.history)
    return Outcome(
        name,
        preset.seed,
        sum(p.numel() for p in model.parameters()),
        preset.epochs,
        seen_loss,
        last["test_loss"],
        seen_accuracy,
        last["accuracy"],
        seconds,
        seconds / (preset.epochs * len(training.train_loader)),
    )


def step_seconds(
    network: Callable[[], nn.Sequential],
    preset: Preset,
    material: Material,
    device: minicnn.device,
    seconds: float,
) -> float:
    """How long a step of training takes: the mean of those in the second half of some seconds.

    Of real steps, as preparing the next batch takes time from them; the first half warms up.
    """
    training = Training(
        network().apply(preset.initialise).to(device), preset, material.train, material.test
    )
    training.model.train()
    begun = time.perf_counter()
    start, done = None, 0
    while True:
        for images, labels in training.train_loader:
            loss = training.step(images.to(device), labels.to(device))
            if not isinstance(loss, float):
                loss.item()  # waits for a GPU
            now = time.perf_counter()
            if start is None:
                start = now if now - begun >= seconds / 2 else None
                continue
            done += 1
            if now - begun >= seconds:
                return (now - start) / done
