"""Where the parameters of classic networks are: in convolutions, or in fully connected heads."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from minicnn import nn

from .. import drawing, networks
from . import classics
from .report import Report

ARGUMENTS = "[flags]"
EXAMPLES = """
python -m nin.study heads
python -m nin.study heads --out runs/heads
"""
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "LeNet-5": classics.lenet,
    "AlexNet": classics.alexnet,
    "VGG-11": lambda: classics.vgg(classics.VGG11),
    "VGG-16": lambda: classics.vgg(classics.VGG16),
    **{f"NiN ({name})": network for name, network in networks.NETWORKS.items()},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def count(model: nn.Module) -> tuple[int, int]:
    """The parameters in a network's convolutions and in its fully connected layers."""

    def within(kind: type[nn.Module]) -> int:
        layers = [m for m in model.modules() if isinstance(m, kind)]
        return sum(p.numel() for layer in layers for p in layer.parameters())

    return within(nn.Conv2d), within(nn.Linear)


def run(args: argparse.Namespace, report: Report) -> None:
    rows: list[dict[str, Any]] = []
    for name, network in NETWORKS.items():
        model = nn.utils.skip_init(network)
        convolutions, connected = count(model)
        size = next(model.parameters()).dtype.itemsize
        total = convolutions + connected
        rows.append(
            {
                "network": name,
                "convolutions": convolutions,
                "fully_connected": connected,
                "parameters": total,
                "bytes": total * size,
                "fully_connected_share": connected / total,
            }
        )
    report.table(
        ("", "convolutions", "fully connected", "all", "MiB", "in the head"),
        [
            (
                row["network"],
                f"{row['convolutions']:,}",
                f"{row['fully_connected']:,}",
                f"{row['parameters']:,}",
                f"{row['bytes'] / 2**20:.1f}",
                f"{100 * row['fully_connected_share']:.1f}%",
            )
            for row in rows
        ],
    )
    report.figure(lambda: draw(rows))
    report.finish({"rows": rows})


def draw(rows: list[dict[str, Any]]) -> drawing.Figure:
    """Parameters as bars, those of convolutions and those of fully connected layers."""
    figure = drawing.figure(6.4, 3.4)
    axes = figure.subplots()
    names = [row["network"] for row in rows][::-1]
    left = [0.0] * len(rows)
    for field, label, colour in (
        ("convolutions", "in convolutions", "tab:blue"),
        ("fully_connected", "in fully connected layers", "tab:orange"),
    ):
        millions = [row[field] / 1e6 for row in rows][::-1]
        axes.barh(names, millions, left=left, color=colour, label=label)
        left = [a + b for a, b in zip(left, millions, strict=True)]
    for y, (end, row) in enumerate(zip(left, rows[::-1], strict=True)):
        share = f"{100 * row['fully_connected_share']:.0f}% in the head"
        axes.text(end, y, f" {end:.{1 if end >= 10 else 2}f} M, {share}", va="center", fontsize=8)
    axes.set(xlabel="parameters (millions)", xlim=(0, 1.5 * max(left)))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
