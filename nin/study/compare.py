"""NiN beside LeNet-5 and AlexNet: the same images, and the same time to learn from them.

How long a step takes is measured first; each network then takes as many steps as fit into the time,
with a learning rate that suits it and `quick`'s schedule.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from minicnn import nn

from .. import drawing, networks
from ..command_line import argument
from ..presets import PRESETS
from ..schema import MANY, number
from ..table import Column
from . import classics, trial
from .memory import allocated, drawn
from .report import Report

ARGUMENTS = "[flags]"
EXAMPLES = """
nin study compare
nin study compare --full             # five minutes for each network
nin study compare --image-size 224   # larger images and networks
"""
IMAGES = {"train": 5000, "test": 2000}
# Networks by the numbers of classes and of channels, with their own settings.
Competitors = dict[str, tuple[Callable[[int, int], nn.Sequential], dict[str, Any]]]
# Batches of 64 and He's initial weights, without `quick`'s centring, which is for its own filters.
OTHERS: dict[str, Any] = {"init": "kaiming_normal", "batch_size": 64, "centre_gradients": False}
# Sigmoids: Xavier's initial values, and no decay of weights that are small already.
LENET = OTHERS | {"init": "xavier_uniform", "lr": 0.1, "weight_decay": 0.0}
COMPETITORS: dict[int, Competitors] = {
    28: {
        "NiN (quick)": (networks.quick, {}),
        "LeNet-5": (classics.lenet, LENET),
        "AlexNet, ¼ as wide": (classics.alexnet28, OTHERS | {"lr": 0.05}),
    },
    224: {
        "NiN (d2l)": (networks.d2l, OTHERS | {"lr": 0.02, "micro_batch": 4}),
        "LeNet-5": (partial(classics.lenet, image_size=224), LENET | {"micro_batch": 4}),
        "AlexNet": (classics.alexnet, OTHERS | {"lr": 0.02, "micro_batch": 4}),
    },
}
NOTES = """\
gap: {} loss less that on training images (above 0: overfitting)
MiB: what a step with the whole batch at once allocates beside the parameters
One training for each network can't tell a difference from chance; another
--seed shows how much chance changes."""


def columns(evaluated_on: str) -> list[Column]:
    """Those of the table, if networks were evaluated on this set."""
    return [
        Column("", "name"),
        Column("parameters", "parameters", ","),
        Column("seconds of training", "seconds", ".0f"),
        Column("epochs", "epochs", ".1f"),
        Column("ms an image", lambda row: row["step_seconds"] / row["batch_size"], ".3f", 1e3),
        Column("MiB a step, at most", "bytes_at_most", ".0f", 2**-20),
        Column(f"{evaluated_on} accuracy, %", "accuracy", ".2f", 100),
        Column("training accuracy, %", "seen_accuracy", ".2f", 100),
        Column(f"{evaluated_on} loss", "eval_loss", ".3f"),
        Column("training loss", "seen_loss", ".3f"),
        Column("gap", "gap", "+.3f"),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    trial.add_data(parser, IMAGES, "take all images, and 300 seconds for each network")
    add(
        "--image-size",
        type=int,
        choices=tuple(COMPETITORS),
        default=28,
        help="28: small networks; 224: larger ones, AlexNet at its full width (default: 28)",
    )
    add(
        "--seconds",
        type=argument(number(above=0, most=MANY)),
        metavar="N",
        help="train each network for N seconds (default: 20; with --full: 300)",
    )


def run(args: argparse.Namespace, report: Report) -> None:
    seconds, size = args.seconds or (300.0 if args.full else 20.0), args.image_size
    preset = replace(PRESETS["quick"], seed=args.seed, image_size=size)
    data, preset = trial.load(args, IMAGES, preset)
    print(
        f"{data.name}: {len(data.train):,} images of {size}×{size}, {seconds:g} s for each"
        " network\n",
        flush=True,
    )
    rows: list[dict[str, Any]] = []
    classes, channels = len(data.kind.classes), data.kind.channels
    series = trial.Series(len(COMPETITORS[size]))
    for name, (function, own) in COMPETITORS[size].items():
        network = partial(function, classes, channels)
        settings = replace(preset, **own)
        step = trial.step_seconds(network, settings, data, args.device, seconds / 5)
        steps = max(2, round(seconds / step))
        outcome = trial.train(name, network, settings, data, args.device, series, steps)
        x, y = drawn(settings.batch_size, settings, data.kind, args.device)
        _, peak, _ = allocated(network().to(args.device), x, y)
        row = {"gap": outcome.gap, "bytes_at_most": peak, "batch_size": settings.batch_size}
        rows.append({**asdict(outcome), **row})
    evaluated_on = preset.evaluated_on
    report.table(columns(evaluated_on), rows, NOTES.format(evaluated_on), across=True)
    report.figure(lambda: draw(rows, evaluated_on))
    report.finish({"seconds": seconds, "rows": rows})


def draw(rows: list[dict[str, Any]], evaluated_on: str) -> drawing.Figure:
    """Parameters, accuracy on this set, and the gap to training's loss, network by network."""
    figure = drawing.figure(6.4, 2.6)
    rows = rows[::-1]  # from the bottom
    names = [row["name"].replace(", ", ",\n").replace(" (", "\n(") for row in rows]
    colours = [drawing.NIN if name.startswith("NiN") else drawing.OTHERS for name in names]
    panels = {
        "parameters (thousands)": ("parameters", 1e-3, "{:,.0f}"),
        f"{evaluated_on} accuracy (%)": ("accuracy", 100, "{:.1f}"),
        f"{evaluated_on} less training loss": ("gap", 1, "{:.3f}"),
    }
    all_axes = figure.subplots(1, 3, sharey=True)
    for axes, (title, (key, scale, form)) in zip(all_axes, panels.items(), strict=True):
        bars = axes.barh(names, [scale * row[key] for row in rows], color=colours, height=0.6)
        axes.bar_label(bars, fmt=form, padding=3)
        axes.set_title(title)
        axes.margins(x=0.5)
    return figure
