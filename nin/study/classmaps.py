"""What global average pooling averages: the last maps of a trained network, one for each class.

Lin, Chen and Yan 2013, section 4.6 and figure 4. The head has no weights, so each of these maps is
itself how much the network believes in its class, place by place.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Any, NamedTuple

import minicnn
from minicnn import functional as F
from minicnn import nn
from minicnn.backends import Array
from minicnn.utils.data import DataLoader
from minicnn.vision.image_dataset import CLASSES

from .. import drawing, trained
from ..command_line import Failure, UsageError, at_least, path
from ..run import RunError
from . import trial
from .report import Report

ARGUMENTS = "RUN [flags]"
EXAMPLES = """
python -m nin.train --out runs/mine && python -m nin.study classmaps runs/mine
python -m nin.study classmaps runs/mine --wrong 10
"""


class Seen(NamedTuple):
    """A test image and what the network made of it."""

    number: int
    maps: Array  # (classes, H', W')
    label: int
    guess: int
    probability: float  # of the guess


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="directory of a training")
    trial.add_data(parser)
    trial.limit(parser, "--limit-test", "2000; --full: all")
    parser.add_argument("--full", action="store_true", help="look at the whole test set")
    parser.add_argument(
        "--wrong", type=at_least(1, int, most=100), default=5, help="mistakes to show (default: 5)"
    )


def run(args: argparse.Namespace, report: Report) -> None:
    try:
        model, preset = trained.network(args.run, args.device)
    except RunError as error:
        raise UsageError(str(error)) from None
    body, head = split(model)
    tests = args.limit_test or (0 if args.full else 2000)
    material = trial.load(
        replace(preset, dataset=args.dataset, limit_train=1, limit_test=tests), args.data_dir
    )
    seen = list(look(body, head, material, args.device))
    right = [s for s in seen if s.guess == s.label]
    wrong = sorted((s for s in seen if s.guess != s.label), key=lambda s: -s.probability)
    print(f"{material.name}: {len(right):,} of {len(seen):,} test images right\n")
    best = {
        label: max(
            (s for s in right if s.label == label), key=lambda s: s.probability, default=None
        )
        for label in range(len(CLASSES))
    }
    chosen = [s for s in best.values() if s is not None]
    mistakes = wrong[: args.wrong]
    report.table(
        ("image", "is", "taken for", "probability", "mean of its map", "of the right one"),
        [
            (
                f"{s.number:>5}",
                CLASSES[s.label],
                CLASSES[s.guess],
                f"{s.probability:.3f}",
                f"{float(s.maps[s.guess].mean()):.2f}",
                f"{float(s.maps[s.label].mean()):.2f}",
            )
            for s in [*chosen, *mistakes]
        ],
    )
    if not right:
        raise Failure(f"{args.run}: not one test image is right, so there is nothing to see")
    own, other = contrast(right)
    print(f"\nOver images that are right, the map of the own class averages {own:.2f}, those of")
    print(f"the others {other:.2f}.")
    title = "the surest image of each class that is right"
    report.figure(lambda: draw(chosen, material.pictures, title), "right")
    if mistakes:
        surest = "the surest mistakes: blue frame, the guess"
        report.figure(lambda: draw(mistakes, material.pictures, surest), "wrong")
    report.finish(
        {
            "images": len(seen),
            "right": len(right),
            "mean_of_own_map": own,
            "mean_of_other_maps": other,
            "shown": [
                {"image": s.number, "label": s.label, "guess": s.guess, "maps": s.maps.tolist()}
                for s in [*chosen, *mistakes]
            ],
        }
    )


def split(model: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
    """The layers that make the maps, and those from the global average on.

    Raises UsageError for a network that ends in another way.
    """
    layers = list(model)
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return model[:i], model[i:]  # type: ignore[return-value]
    raise UsageError("this run's network has no global average pooling, so no class maps")


def look(
    body: nn.Sequential, head: nn.Sequential, material: trial.Material, device: Any
) -> list[Seen]:
    """Every test image with its maps and the network's guess."""
    found: list[Seen] = []
    for images, labels in DataLoader(material.test, 50):
        with minicnn.no_grad():
            maps = body(images.to(device))
            probabilities = F.softmax(head(maps), 1).cpu().numpy()
        arrays = zip(maps.cpu().numpy(), labels.tolist(), probabilities, strict=True)
        for own, label, p in arrays:
            guess = int(p.argmax())
            found.append(Seen(len(found), own, label, guess, float(p[guess])))
    if not all(math.isfinite(s.probability) for s in found):
        raise Failure("the network's answers are NaN; the training diverged")
    return found


def contrast(seen: list[Seen]) -> tuple[float, float]:
    """The mean of the maps of the images' own classes, and that of all others."""
    own = [float(s.maps[s.label].mean()) for s in seen]
    all_maps = [float(s.maps.mean()) * len(s.maps) for s in seen]
    others = sum(all_maps) - sum(own)
    return sum(own) / len(own), others / (len(own) * (len(CLASSES) - 1))


def draw(seen: list[Seen], images: Array, title: str) -> drawing.Figure:
    """A row for each of the images (N, H, W) that were seen: it, and the maps of all classes.

    They are on one scale; the right one is framed.
    """
    figure = drawing.figure(6.8, 0.63 * len(seen) + 0.9)
    figure.suptitle(title, fontsize=9)
    all_axes: Any = figure.subplots(len(seen), 1 + len(CLASSES), squeeze=False)
    for row, s in zip(all_axes, seen, strict=True):
        row[0].imshow(images[s.number], cmap="gray_r", vmin=0, vmax=255)
        limit = float(abs(s.maps).max())
        for label, (axes, class_map) in enumerate(zip(row[1:], s.maps, strict=True)):
            axes.imshow(class_map, cmap="RdBu_r", vmin=-limit, vmax=limit)
            if label in (s.label, s.guess):
                axes.spines[:].set_color("black" if label == s.label else "tab:blue")
                axes.spines[:].set_linewidth(2)
            else:
                axes.spines[:].set_visible(False)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    for axes, name in zip(all_axes[0], ("image", *CLASSES), strict=True):
        axes.set_title(name.replace("/", "/\n").replace(" ", "\n"), fontsize=6)
    return figure
