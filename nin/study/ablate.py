"""The exercises on Network in Network: change one thing in the network, train again, measure.

The network that is changed is `quick`'s, with a little dropout before its head. All questions but
those of the bottleneck and of dropout are from Dive into Deep Learning, section 8.3. The family is
in the manner of VGG: more layers at the same widths.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from minicnn import nn

from .. import drawing
from ..command_line import argument
from ..presets import PRESETS
from ..schema import whole
from ..table import Column
from . import chance, trial
from .report import Report

ARGUMENTS = "[questions] [flags]"
EXAMPLES = """
nin study ablate                         # all, a small run
nin study ablate --layers --bottleneck   # two of them
nin study ablate --full                  # all images, three seeds
"""
IMAGES = {"train": 3000, "test": 2000}
SIDE = 28  # pixels: images of another size are resized
COLUMNS = (
    Column("network", "name"),
    Column("weights", "parameters", ","),
    Column("accuracy, %", lambda row: percent(row["accuracy"], row["spread"])),
    Column("seeds", "seeds"),
    Column("gap", "gap", "+.3f"),
    Column("ms/step", "step_seconds", ".0f", 1e3),
)
NOTES = """\
accuracy: on the {0} set, mean and standard deviation over the seeds
gap: {0} loss less that on training images (above 0: overfitting)"""
Block = Callable[[int], list[nn.Module]]  # what follows a block's convolution, by its channels


def one_by_one(count: int) -> Block:
    """`count` 1×1 convolutions."""

    def layers(channels: int) -> list[nn.Module]:
        pairs = [(nn.Conv2d(channels, channels, 1), nn.ReLU()) for _ in range(count)]
        return [layer for pair in pairs for layer in pair]

    return layers


ONE = one_by_one(1)


def three_by_three(channels: int) -> list[nn.Module]:
    """A 3×3 convolution, nine times the weights of a 1×1."""
    return [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]


def bottleneck(channels: int) -> list[nn.Module]:
    """1×1 to a quarter of the channels and 1×1 back: half the weights of one 1×1."""
    few = channels // 4
    return [nn.Conv2d(channels, few, 1), nn.ReLU(), nn.Conv2d(few, channels, 1), nn.ReLU()]


def averaged(channels: int, classes: int, dropout: float) -> list[nn.Module]:
    """A map for each class from a 1×1 convolution, and its mean."""
    maps = nn.Conv2d(channels, classes, 1)
    return [nn.Dropout(dropout), maps, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()]


def between_channels_and_classes(channels: int, classes: int) -> int:
    """The channels that make the ratios on both sides equal."""
    return round(math.sqrt(channels * classes))


def averaged_in_two_steps(channels: int, classes: int, dropout: float) -> list[nn.Module]:
    """The same, with the number of channels falling in two equal ratios."""
    between = between_channels_and_classes(channels, classes)
    first = [nn.Dropout(dropout), nn.Conv2d(channels, between, 1), nn.ReLU()]
    return [*first, *averaged(between, classes, 0)[1:]]


def fully_connected(channels: int, classes: int, dropout: float) -> list[nn.Module]:
    """Two fully connected layers on all 7×7 pixels of all channels."""
    return [
        nn.Flatten(),
        nn.Linear(channels * 7 * 7, channels),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(channels, classes),
    ]


def network(
    widths: Sequence[int] = (32, 64, 96),
    blocks: Sequence[int] = (1, 1, 1),
    inner: Block = ONE,
    head: Callable[[int, int, float], list[nn.Module]] = averaged,
    dropout: float = 0.1,
    classes: int = 10,
    channels: int = 1,
) -> nn.Sequential:
    """A NiN for images (N, channels, 28, 28); without arguments `quick`'s, and dropout.

    It has three stages. Stage i has blocks[i] blocks of widths[i] channels: a 5×5 convolution, then
    `inner`. The very first convolution halves the maps, and so does a pooling after the first
    stage.
    """
    layers: list[nn.Module] = []
    before = channels
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        if stage == 1:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            stride = 1 if layers else 2
            layers += [nn.Conv2d(before, width, 5, stride, padding=2), nn.ReLU(), *inner(width)]
            before = width
    return nn.Sequential(*layers, *head(before, classes, dropout))


BASE = "as it is"
TWO_STEPS = "96 → {} → {}"  # channels, and classes
Variants = dict[str, Callable[..., nn.Sequential]]
QUESTIONS: dict[str, tuple[str, Variants]] = {
    "layers": (
        "blocks without 1×1 convolutions, or with two or three",
        {
            "without 1×1": partial(network, inner=one_by_one(0)),
            "a second 1×1": partial(network, inner=one_by_one(2)),
            "a second and third": partial(network, inner=one_by_one(3)),
        },
    ),
    "three-by-three": (
        "3×3 convolutions in place of the 1×1",
        {"3×3 for 1×1": partial(network, inner=three_by_three)},
    ),
    "bottleneck": (
        "a bottleneck in place of the 1×1: fewer channels, then more",
        {"bottleneck": partial(network, inner=bottleneck)},
    ),
    "dense-head": (
        "a fully connected head in place of global average pooling",
        {"fully connected head": partial(network, head=fully_connected)},
    ),
    "dropout": ("without dropout", {"no dropout": partial(network, dropout=0)}),
    "two-steps": (
        "the last 1×1 convolution in two steps, for ten classes 96 → 31 → 10",
        {TWO_STEPS: partial(network, head=averaged_in_two_steps)},
    ),
    "family": (
        "networks from small to large",
        {
            "7 layers, half as wide": partial(network, widths=(16, 32, 48)),
            "11 layers": partial(network, blocks=(1, 2, 2)),
            "15 layers": partial(network, blocks=(2, 2, 3)),
        },
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    questions = parser.add_argument_group("questions", "all of them, unless some are chosen")
    for flag, (text, _) in QUESTIONS.items():
        questions.add_argument(f"--{flag}", action="store_true", help=text)
    count = argument(whole(1, 10_000))
    trial.add_data(parser, IMAGES, "take all images, 8 epochs and 3 seeds")
    text = "train each network for N epochs (default: 2; with --full: 8)"
    parser.add_argument("--epochs", type=count, metavar="N", help=text)
    text = "train with N seeds, from --seed on (default: 1; with --full: 3)"
    parser.add_argument("--seeds", type=count, metavar="N", help=text)


def run(args: argparse.Namespace, report: Report) -> None:
    quick = PRESETS["quick"]
    epochs = args.epochs or (quick.epochs if args.full else 2)
    seeds = args.seeds or (3 if args.full else 1)
    asked = [flag for flag in QUESTIONS if getattr(args, flag.replace("-", "_"))]
    variants: Variants = {BASE: network}
    for flag in asked or QUESTIONS:
        variants |= QUESTIONS[flag][1]
    data, preset = trial.load(args, IMAGES, replace(quick, epochs=epochs, image_size=SIDE))
    known = {"classes": len(data.kind.classes), "channels": data.kind.channels}
    between = between_channels_and_classes(96, known["classes"])
    variants = {
        name.format(between, known["classes"]): partial(function, **known)
        for name, function in variants.items()
    }
    trainings = [(args.seed + i, name) for i in range(seeds) for name in variants]
    print(
        f"{data.name}: {len(data.train):,} images, {epochs} epochs, seeds {args.seed} to"
        f" {args.seed + seeds - 1}\n",
        flush=True,
    )
    outcomes: list[trial.Outcome] = []
    series = trial.Series(len(trainings))
    try:
        for seed, name in trainings:
            settings, build = replace(preset, seed=seed), variants[name]
            outcomes.append(trial.train(name, build, settings, data, args.device, series))
            report.numbers({"outcomes": [asdict(o) for o in outcomes]})
    except KeyboardInterrupt:
        if outcomes:
            print(f"\nInterrupted after {len(outcomes)} of {len(trainings)}:", file=sys.stderr)
            summarise(outcomes, report)
        raise
    summarise(outcomes, report)


def summarise(outcomes: list[trial.Outcome], report: Report) -> None:
    """Print the table, draw the plot, and write the numbers."""
    by_name: dict[str, list[trial.Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.name, []).append(outcome)
    rows = [row(name, same) for name, same in by_name.items()]
    evaluated_on = outcomes[0].evaluated_on
    least = chance.least_difference([row["accuracies"] for row in rows])
    report.table(COLUMNS, rows, f"{NOTES.format(evaluated_on)}\n{limits(least)}")
    report.figure(lambda: draw(rows, evaluated_on))
    numbers = {"rows": rows, "least_difference": least}
    report.finish({**numbers, "outcomes": [asdict(o) for o in outcomes]})


def limits(least: float | None) -> str:
    """What the table can't say."""
    if least is None:
        return (
            "One seed for each network can't tell a difference from chance, however large;\n"
            "--seeds 3 can."
        )
    return (
        f"Differences of less than {100 * least:.2f} points say nothing: seeds alone make\n"
        "them (in 19 of 20 cases they are smaller)."
    )


def percent(mean: float, spread: float | None) -> str:
    return f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if spread else "")


def row(name: str, outcomes: list[trial.Outcome]) -> dict[str, Any]:
    """What several seeds of one network say together."""
    accuracies = [o.accuracy for o in outcomes]
    return {
        "name": name,
        "seeds": len(outcomes),
        "parameters": outcomes[0].parameters,
        "accuracies": accuracies,
        "accuracy": statistics.mean(accuracies),
        "spread": statistics.stdev(accuracies) if len(outcomes) > 1 else None,
        "gap": statistics.mean(o.gap for o in outcomes),
        "step_seconds": statistics.median(o.step_seconds for o in outcomes),
    }


def draw(rows: list[dict[str, Any]], evaluated_on: str) -> drawing.Figure:
    """Accuracy on this set, a dot for each seed and a line at the mean; and parameters."""
    figure = drawing.figure(4.8, 0.3 * len(rows) + 1.1)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    for y, row in enumerate(rows[::-1]):  # from the bottom
        colour = drawing.NIN if row["name"] == BASE else drawing.OTHERS
        values, mean = [100 * a for a in row["accuracies"]], 100 * row["accuracy"]
        left.plot(values, [y] * len(values), "o", color=colour, alpha=0.6, markersize=5)
        left.plot([mean] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2)
        bar = right.barh(y, row["parameters"] / 1e3, color="0.75", height=0.6)
        right.bar_label(bar, fmt="{:,.0f}", padding=3)
    left.set_yticks(range(len(rows)), [row["name"] for row in rows[::-1]])
    left.set_xlabel(f"{evaluated_on} accuracy (%)\neach seed and the mean")
    right.set_xlabel("parameters (thousands)")
    right.margins(x=0.3)
    for axes in (left, right):
        axes.grid(axis="x")
    return figure
