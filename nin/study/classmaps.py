"""What global average pooling sees: the last maps of a trained network, one for each class.

Lin, Chen and Yan 2013, section 4.6 and figure 4. The head has no weights, so each of these maps is
itself how much the network believes in its class, place by place.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import minicnn
from minicnn import nn
from minicnn.backends import Array
from minicnn.nn import functional as F
from minicnn.utils.data import DataLoader, Dataset
from minicnn.vision.datasets import ImageFolder
from minicnn.vision.image_dataset import ImageDataset

from .. import drawing, trained
from ..command_line import Failure, UsageError, add_trained, argument
from ..schema import whole
from ..table import Column
from . import trial
from .report import Report

ARGUMENTS = "[RUN] [flags]"
EXAMPLES = """
nin train --out runs/mine && nin study classmaps runs/mine
nin study classmaps runs/mine --wrong 10
"""
IMAGES = {"test": 2000}


def columns(classes: Sequence[str]) -> tuple[Column, ...]:
    """Those of a table of images that were seen."""
    return (
        Column("image", "image", ">5"),
        Column("is", lambda s: classes[s["label"]]),
        Column("taken for", lambda s: classes[s["guess"]]),
        Column("probability", "probability", ".3f"),
        Column("mean of its map", lambda s: s["maps"][s["guess"]].mean(), ".2f"),
        Column("of the right one", lambda s: s["maps"][s["label"]].mean(), ".2f"),
    )


class Seen(NamedTuple):
    """A test image and what the network made of it."""

    image: int
    label: int
    guess: int
    probability: float  # of the guess
    maps: Array  # (classes, H', W')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained(parser)
    trial.add_data(parser, IMAGES, "look at the whole test set")
    parser.add_argument(
        "--wrong",
        type=argument(whole(1, 100)),
        default=5,
        metavar="N",
        help="show N mistakes (default: 5)",
    )


def run(args: argparse.Namespace, report: Report) -> None:
    network = trained.network(args.run, args.device, args.network)
    classes = network.kind.classes
    body, head = split(network.model)
    images, name = trial.load_test(args, IMAGES, network)
    seen = look(body, head, images, args.device)
    surest = sorted(seen, key=lambda s: -s.probability)
    right = [s for s in surest if s.guess == s.label]
    print(f"{name}: {len(right):,} of {len(seen):,} test images right\n")
    best = {s.label: s for s in reversed(right)}
    chosen = [best[label] for label in sorted(best)]
    mistakes = [s for s in surest if s.guess != s.label][: args.wrong]
    shown = [s._asdict() for s in [*chosen, *mistakes]]
    report.table(columns(classes), shown)
    if not right:
        raise Failure(f"{args.run}: not one test image is right, so there is nothing to see")
    own, other = contrast(right)
    print("\nOver the images that are right, the map of an image's own class has a mean of")
    print(f"{own:.2f}, and the maps of the other classes have a mean of {other:.2f}.")
    title = "the surest image of each class that is right"
    report.figure(lambda: draw(chosen, images, classes, title), "right")
    if mistakes:
        frames = "the surest mistakes: framed in orange, the guess"
        report.figure(lambda: draw(mistakes, images, classes, frames), "wrong")
    report.finish(
        {
            "images": len(seen),
            "right": len(right),
            "mean_of_own_map": own,
            "mean_of_other_maps": other,
            "shown": [{**each, "maps": each["maps"].tolist()} for each in shown],
        }
    )


def split(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The layers that make the maps, and those from the global average on.

    Raises UsageError for a network that ends in another way.
    """
    if isinstance(model, nn.Sequential):
        for i, layer in enumerate(model):
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                return model[:i], model[i:]
    raise UsageError("this run's network has no global average pooling, so no class maps")


def look(body: nn.Module, head: nn.Module, images: Dataset, device: Any) -> list[Seen]:
    """Every image with its maps and the network's guess."""
    found: list[Seen] = []
    for batch, labels in DataLoader(images, 50):
        with minicnn.no_grad():
            maps = body(batch.to(device))
            probabilities = F.softmax(head(maps), 1).cpu()
        for own, label, p in zip(
            maps.cpu().numpy(), labels.tolist(), probabilities.tolist(), strict=True
        ):
            if not all(map(math.isfinite, p)):
                raise Failure("the network's answers are NaN; the training diverged")
            guess = p.index(max(p))
            found.append(Seen(len(found), label, guess, p[guess], own))
    return found


def contrast(seen: list[Seen]) -> tuple[float, float]:
    """The mean of the maps of the images' own classes, and that of all others."""
    own = [float(s.maps[s.label].mean()) for s in seen]
    all_maps = [float(s.maps.mean()) * len(s.maps) for s in seen]
    others = sum(all_maps) - sum(own)
    return sum(own) / len(own), others / max(1, len(own) * (len(seen[0].maps) - 1))


def draw(
    seen: list[Seen], images: ImageDataset, classes: Sequence[str], title: str
) -> drawing.Figure:
    """A row for each of the images that were seen: it, and the maps of all classes.

    They are on one scale; the right one is framed.
    """
    negative = not isinstance(images, ImageFolder)  # data sets with names have light on dark
    width = max(4.6, 0.41 * (1 + len(classes)))
    figure = drawing.figure(width, width / (1 + len(classes)) * len(seen) + 1.4)
    figure.suptitle(title)
    rows = figure.subplots(len(seen), 1 + len(classes), squeeze=False)
    for row, s in zip(rows, seen, strict=True):
        drawing.image(row[0], images.picture(s.image).cpu().numpy(), negative)
        row[0].spines[:].set_visible(True)
        for label, (axes, class_map) in enumerate(zip(row[1:], s.maps, strict=True)):
            drawing.signed(axes, class_map, float(abs(s.maps).max()))
            colour = "black" if label == s.label else drawing.MARK
            framed = label in (s.label, s.guess)
            axes.spines[:].set(visible=framed, color=colour, linewidth=2)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    for axes, name in zip(rows[0], ("image", *classes), strict=True):
        axes.set_title(drawing.label(name), fontsize=8, rotation=90)
    drawing.signs(figure)
    return figure
