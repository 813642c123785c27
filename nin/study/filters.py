"""What a trained network has learnt: its first filters, and how its 1×1 layers mix channels."""

from __future__ import annotations

import argparse
import math
from typing import Any

from minicnn import nn
from minicnn.backends import Array, host

from .. import drawing, trained
from ..command_line import UsageError, path
from ..run import RunError
from .report import Report

ARGUMENTS = "RUN [flags]"
EXAMPLES = """
python -m nin.train --out runs/mine && python -m nin.study filters runs/mine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="directory of a training")


def run(args: argparse.Namespace, report: Report) -> None:
    try:
        model, _ = trained.network(args.run, args.device)
    except RunError as error:
        raise UsageError(str(error)) from None
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    name, first = next(iter(layers.items()))
    filters = first.weight.detach().cpu().numpy()[:, 0]  # (O, kh, kw): of the one input channel
    mixing = {
        name: layer.weight.detach().cpu().numpy()[:, :, 0, 0]  # (O, C)
        for name, layer in layers.items()
        if layer.kernel_size == (1, 1)
    }
    print(f"{len(filters)} filters of {'×'.join(map(str, filters.shape[1:]))} in layer {name};")
    print("1×1 convolutions, a row of weights for each new channel:\n")
    rows = [(name, matrix, *figures(matrix)) for name, matrix in mixing.items()]
    report.table(
        ("layer", "channels", "largest weight", "half the norm in", "rank"),
        [
            (
                name,
                f"{matrix.shape[1]} → {len(matrix)}",
                f"{float(abs(matrix).max()):.2f}",
                f"{100 * share:.0f}% of weights",
                f"{rank:.1f}",
            )
            for name, matrix, share, rank in rows
        ],
    )
    print("\nhalf the norm: how few weights hold half of the sum of squares. rank: of a matrix")
    print("with equal singular values of the same entropy as these (Roy and Vetterli 2007).")
    report.figure(lambda: draw_filters(filters), "first")
    report.figure(lambda: draw_mixing(mixing), "mixing")
    report.finish(
        {
            "first": {"layer": name, "filters": filters.tolist()},
            "mixing": [
                {"layer": name, "shape": matrix.shape, "half_norm_share": share, "rank": rank}
                for name, matrix, share, rank in rows
            ],
        }
    )


def figures(matrix: Array) -> tuple[float, float]:
    """The share of the weights that hold half the sum of squares, and the effective rank."""
    squares = sorted((matrix**2).ravel().tolist(), reverse=True)
    half, total, count = sum(squares) / 2, 0.0, 0
    while total < half:
        total += squares[count]
        count += 1
    return count / len(squares), effective_rank(matrix)


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
    """The filters (O, kh, kw), red where negative and blue where positive, strongest first."""
    order = (-(filters**2).sum(axis=(1, 2))).argsort()
    columns = 8 if len(filters) <= 64 else 12
    rows = -(-len(filters) // columns)
    figure = drawing.figure(5.6, 0.7 * rows * 8 / columns + 0.2)
    limit = float(abs(filters).max())
    all_axes: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in all_axes.flat:
        axes.axis("off")
    for axes, k in zip(all_axes.flat, order, strict=False):
        axes.imshow(filters[k], cmap="RdBu", vmin=-limit, vmax=limit)
    return figure


def draw_mixing(mixing: dict[str, Array]) -> drawing.Figure:
    """The matrices (O, C) of the 1×1 layers, on one scale each."""
    columns = 2
    rows = -(-len(mixing) // columns)
    figure = drawing.figure(6.4, 2.9 * rows)
    all_axes: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in all_axes.flat[len(mixing) :]:
        axes.remove()
    for axes, (name, matrix) in zip(all_axes.flat, mixing.items(), strict=False):
        limit = float(abs(matrix).max())
        image = axes.imshow(
            matrix,
            cmap="RdBu",
            vmin=-limit,
            vmax=limit,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_title(f"layer {name}: {matrix.shape[1]} → {len(matrix)} channels", fontsize=9)
        axes.set_xlabel("channel before", fontsize=8)
        axes.set_ylabel("channel after", fontsize=8)
        axes.tick_params(labelsize=7)
        figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    return figure
