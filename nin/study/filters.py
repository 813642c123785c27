"""What a trained network has learnt: its first filters, and how its 1×1 layers mix channels."""

from __future__ import annotations

import argparse
import math
from typing import Any

from minicnn import nn
from minicnn.backends import Array, host

from .. import drawing, trained
from ..command_line import add_trained
from ..table import Column
from .report import Report

ARGUMENTS = "[RUN] [flags]"
EXAMPLES = """
nin train --out runs/mine && nin study filters runs/mine
"""
COLUMNS = (
    Column("layer", "layer"),
    Column("channels", lambda row: "{1} → {0}".format(*row["shape"])),
    Column("largest weight", "largest", ".2f"),
    Column("half the norm in", lambda row: f"{row['half_norm_share']:.0%} of weights"),
    Column("rank", "rank", ".1f"),
)
NOTES = """\
half the norm: how few weights hold half of the sum of squares. rank: of a
matrix with equal singular values of the same entropy as these (Roy and Vetterli
2007)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained(parser)


def run(args: argparse.Namespace, report: Report) -> None:
    model, *_ = trained.network(args.run, args.device, args.network)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    name, first = next(iter(layers.items()))
    filters = first.weight.detach().cpu().numpy()  # (O, C, kh, kw)
    mixing = {
        name: layer.weight.detach().cpu().numpy()[:, :, 0, 0]  # (O, C)
        for name, layer in layers.items()
        if layer.kernel_size == (1, 1)
    }
    print(f"{len(filters)} filters of {'×'.join(map(str, filters.shape[2:]))} in layer {name};")
    print("1×1 convolutions, a row of weights for each new channel:\n")
    rows = [{"layer": name, **figures(matrix)} for name, matrix in mixing.items()]
    report.table(COLUMNS, rows, NOTES)
    report.figure(lambda: draw_filters(filters), "first")
    report.figure(lambda: draw_mixing(mixing), "mixing")
    report.finish({"first": {"layer": name, "filters": filters.tolist()}, "mixing": rows})


def figures(matrix: Array) -> dict[str, Any]:
    """The share of the weights that hold half the sum of squares, the effective rank, and more."""
    squares = sorted((matrix**2).ravel().tolist(), reverse=True)
    half, total, count = sum(squares) / 2, 0.0, 0
    while total < half:
        total += squares[count]
        count += 1
    return {
        "shape": matrix.shape,
        "largest": float(abs(matrix).max()),
        "half_norm_share": count / len(squares),
        "rank": effective_rank(matrix),
    }


def effective_rank(matrix: Array) -> float:
    """exp of the entropy of the singular values as shares of their sum (Roy and Vetterli 2007).

    0 for a matrix of zeros.
    """
    values = host.xp.linalg.svd(matrix, compute_uv=False).tolist()
    if not any(values):
        return 0.0
    shares = [v / sum(values) for v in values]
    return math.exp(-sum(p * math.log(p) for p in shares if p))


def draw_filters(filters: Array) -> drawing.Figure:
    """The filters (O, C, kh, kw), on one scale, strongest first.

    Those for colour images are drawn in colours, grey where they are 0; of other channels than one
    or three, it is the mean.
    """
    order = (-(filters**2).sum(axis=(1, 2, 3))).argsort()
    columns = 8 if len(filters) <= 64 else 12
    rows = -(-len(filters) // columns)
    figure = drawing.figure(4.6, 0.58 * rows * 8 / columns + 0.4)
    largest = float(abs(filters).max()) or 1.0
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, k in zip(figure.axes, order, strict=False):
        if filters.shape[1] == 3:
            axes.imshow(0.5 + filters[k].transpose(1, 2, 0) / (2 * largest))
        else:
            drawing.signed(axes, filters[k].mean(axis=0), largest)
    if filters.shape[1] != 3:
        drawing.signs(figure)
    return figure


def draw_mixing(mixing: dict[str, Array]) -> drawing.Figure:
    """The matrices (O, C) of the 1×1 layers, each on a scale of its own."""
    rows = -(-len(mixing) // 2)
    figure = drawing.figure(4.6, 2.3 * rows)
    for i, (name, matrix) in enumerate(mixing.items()):
        axes = figure.add_subplot(rows, 2, i + 1)
        image = drawing.signed(axes, matrix, aspect="auto", interpolation="nearest")
        axes.set_title(f"layer {name}: {matrix.shape[1]} → {len(matrix)}")
        axes.set(xlabel="channel before", ylabel="channel after")
        figure.colorbar(image, ax=axes, shrink=0.8)
    return figure
