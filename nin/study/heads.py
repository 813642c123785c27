"""Where the parameters of classic networks are: in convolutions, or in fully connected heads."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from minicnn import nn

from .. import drawing, networks
from ..command_line import argument
from ..schema import whole
from ..table import Column
from . import architecture, classics
from .report import Report

ARGUMENTS = "[flags]"
EXAMPLES = """
nin study heads
nin study heads --out runs/heads
"""
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "LeNet-5": classics.lenet,
    "AlexNet": classics.alexnet,
    "VGG-11": partial(classics.vgg, classics.VGG11),
    "VGG-16": partial(classics.vgg, classics.VGG16),
    **{f"NiN ({name})": network for name, network in networks.NETWORKS.items()},
}
COLUMNS = (
    Column("", "network"),
    Column("convolutions", "convolutions", ","),
    Column("fully connected", "fully_connected", ","),
    Column("all", "parameters", ","),
    Column("MiB", "bytes", ".1f", 2**-20),
    Column("in the head", "fully_connected_share", ".1%"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "give each network N classes (default: 1,000 for AlexNet and VGG, 10 for the others)"
    parser.add_argument("--classes", type=argument(whole(2, 100_000)), metavar="N", help=text)


def count(model: nn.Module) -> tuple[int, int]:
    """The parameters in a network's convolutions and in its fully connected layers."""

    def within(kind: type[nn.Module]) -> int:
        layers = [m for m in model.modules() if isinstance(m, kind)]
        return sum(p.numel() for layer in layers for p in layer.parameters())

    return within(nn.Conv2d), within(nn.Linear)


def row(name: str, model: nn.Module) -> dict[str, Any]:
    """Where this network's parameters are."""
    convolutions, connected = count(model)
    total = convolutions + connected
    return {
        "network": name,
        "convolutions": convolutions,
        "fully_connected": connected,
        "parameters": total,
        "bytes": total * next(model.parameters()).dtype.itemsize,
        "fully_connected_share": connected / total,
    }


def run(args: argparse.Namespace, report: Report) -> None:
    own = {"classes": args.classes} if args.classes else {}
    rows = [row(name, nn.utils.skip_init(network, **own)) for name, network in NETWORKS.items()]
    report.table(COLUMNS, rows)
    report.figure(lambda: draw(rows))
    report.finish({"rows": rows})


def draw(rows: list[dict[str, Any]]) -> drawing.Figure:
    """Parameters as bars, those of convolutions and those of fully connected layers."""
    figure = drawing.figure(4.6, 3.4)
    axes = figure.subplots()
    rows = rows[::-1]  # from the bottom
    names = [row["network"] for row in rows]
    inner, ends = ([row[key] / 1e6 for row in rows] for key in ("convolutions", "parameters"))
    for values, key, label in (
        (ends, "dense", "in fully connected layers"),
        (inner, "windows", "in convolutions"),
    ):
        axes.barh(names, values, color=architecture.LEGEND[key][0], label=label)
    for y, (end, row) in enumerate(zip(ends, rows, strict=True)):
        share = f"{row['fully_connected_share']:.0%} in the head"
        axes.text(end, y, f" {end:.{1 if end >= 10 else 2}f} M, {share}", va="center")
    axes.set(xlabel="parameters (millions)", xlim=(0, 1.9 * max(ends)))
    axes.legend(loc="lower right", frameon=False, reverse=True)
    return figure
