"""1×1 convolutions in numbers: the same as a fully connected layer at every pixel.

Lin, Chen and Yan 2013, section 3.1. The numbers are whole and half ones, so that float32 holds each
result exactly, and three ways to compute it must agree to the last digit.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import minicnn
from minicnn import Tensor
from minicnn.backends import Array
from minicnn.nn import functional as F

from .. import drawing
from ..table import Column
from . import heatmap
from .report import Report

ARGUMENTS = "[flags]"
EXAMPLES = """
nin study onebyone
nin study onebyone --seed 3        # other numbers
"""
PIXEL = (2, 3)  # the one that is looked at
COLUMNS = (
    Column("1×1 convolution", "name"),
    Column("from C×H×W", lambda row: shape(row["images"])),
    Column("to", lambda row: shape(row["outputs"])),
    Column("weights", lambda row: sum(len(w) * len(w[0]) for w in row["weights"])),
    Column("Linear differs", lambda row: row["differences"]["by_linear"], "g"),
    Column("loop differs", lambda row: row["differences"]["by_loop"], "g"),
)


class Example(NamedTuple):
    """Images (N, C, H, W), and the weights (O, C, 1, 1) of each convolution that follows."""

    name: str
    images: Tensor
    weights: list[Tensor]
    relu: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def examples(device: Any) -> list[Example]:
    def whole(low: int, high: int, *size: int) -> Tensor:
        return minicnn.randint(low, high, size).float().to(device)

    two = minicnn.full((1, 1, 1, 1), 2.0, device=device)
    first = Example("6×6×1, weight 2", whole(0, 10, 1, 1, 6, 6), [two], relu=False)
    images, weights = whole(0, 10, 1, 32, 6, 6), [whole(-4, 5, 1, 32, 1, 1) / 2]
    second = Example("6×6×32 → 1, ReLU", images, weights, relu=True)
    images = whole(0, 10, 1, 3, 4, 4)
    weights = [whole(-4, 5, 6, 3, 1, 1) / 2, whole(-1, 2, 2, 6, 1, 1)]
    return [first, second, Example("4×4×3 → 6 → 2, ReLU", images, weights, relu=True)]


def by_convolution(x: Tensor, w: Tensor) -> Tensor:
    return F.conv2d(x, w)


def by_linear(x: Tensor, w: Tensor) -> Tensor:
    """A fully connected layer from C to O features, applied to the channels of each pixel."""
    o, c, _, _ = w.shape
    return F.linear(x.permute(0, 2, 3, 1), w.reshape(o, c)).permute(0, 3, 1, 2)


def by_loop(x: Tensor, w: Tensor) -> Tensor:
    """Pixel by pixel and channel by channel, in Python's numbers."""
    (image,) = x.tolist()  # [c][i][j]
    weights = [[v for ((v,),) in row] for row in w.tolist()]  # [o][c]

    def sum_at(row: list[float], i: int, j: int) -> float:
        return sum(v * channel[i][j] for v, channel in zip(row, image, strict=True))

    _, _, height, width = x.shape
    y = [
        [[sum_at(row, i, j) for j in range(width)] for i in range(height)] for row in weights
    ]  # [o][i][j]
    return minicnn.tensor([y]).to(x.device)


def through(how: Any, example: Example) -> list[Tensor]:
    """The images, and what comes after each layer."""
    outputs = [example.images]
    for w in example.weights:
        y = how(outputs[-1], w)
        outputs.append(F.relu(y) if example.relu else y)
    return outputs


def compared(example: Example) -> dict[str, Any]:
    """An example's numbers, and how far the other two ways are from the convolution's result."""
    y = through(by_convolution, example)[-1]
    return {
        "name": example.name,
        "images": example.images.tolist(),
        "weights": [w.tolist() for w in example.weights],
        "outputs": y.tolist(),
        "differences": {
            how.__name__: float((through(how, example)[-1] - y).abs().max().item())
            for how in (by_linear, by_loop)
        },
    }


def shape(images: list[Any]) -> tuple[int, int, int]:
    """C×H×W of nested lists."""
    return len(images[0]), len(images[0][0]), len(images[0][0][0])


def run(args: argparse.Namespace, report: Report) -> None:
    doubled, dot, channels = shown = examples(args.device)
    rows = [compared(example) for example in shown]
    report.table(COLUMNS, rows)
    i, j = PIXEL
    products = (dot.images[0, :, i, j] * dot.weights[0].reshape(-1)).sum().item()
    print(f"\nPixel {PIXEL} of the second: 32 values · 32 weights = {heatmap.number(products)},")
    print(f"and after ReLU {heatmap.number(max(products, 0))}.")
    report.figure(lambda: draw_doubled(doubled), "doubled")
    report.figure(lambda: draw_dot(dot), "dot")
    report.figure(lambda: draw_channels(channels), "channels")
    report.finish({"examples": rows})


def _maps(x: Tensor) -> Array:
    """The maps (C, H, W) of the one image of x, on the host."""
    return x[0].cpu().numpy()


def draw_doubled(example: Example) -> drawing.Figure:
    """An image and, beside it, its 1×1 convolution with the weight 2."""
    figure = drawing.figure(4.4, 2.5)
    left, right = figure.subplots(1, 2)
    x, y = (_maps(t)[0] for t in through(by_convolution, example))
    heatmap.draw(left, x, "6×6×1 image", limit=18, font=8)
    heatmap.draw(right, y, "its convolution with 2", limit=18, font=8)
    drawing.signs(figure)
    return figure


def draw_dot(example: Example) -> drawing.Figure:
    """One pixel's 32 channels, the 32 weights, their products, and where the sum goes."""
    x, y = (_maps(t) for t in through(by_convolution, example))
    w = example.weights[0].reshape(-1).cpu().numpy()
    i, j = PIXEL
    column = x[:, i, j]
    sums = _maps(by_convolution(example.images, example.weights[0]))[0]
    figure = drawing.figure(4.6, 7.0)
    parts: Any = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    left, right = parts
    columns = {
        f"pixel {PIXEL}:\n32 channels": column,
        "32\nweights": w,
        "\nproducts": column * w,
    }
    for axes, (title, values) in zip(left.subplots(1, 3), columns.items(), strict=True):
        heatmap.draw(axes, values[:, None], title, font=7)
        axes.set_aspect(0.5)
    maps = {"channel 0 of 32": x[0], "sums of the products": sums, "after ReLU": y[0]}
    for axes, (title, matrix) in zip(right.subplots(3, 1), maps.items(), strict=True):
        heatmap.draw(axes, matrix, title, font=6, mark=(i, j, 1, 1))
    drawing.signs(figure)
    return figure


def draw_channels(example: Example) -> drawing.Figure:
    """3 maps to 6 and 6 to 2, with the weights between them; one pixel is marked all through."""
    outputs = [_maps(t) for t in through(by_convolution, example)]
    names = ("3 channels of 4×4", "6 channels", "2 channels")
    figure = drawing.figure(4.0, 8.4)
    rows: Any = figure.subfigures(5, 1, height_ratios=(1.1, 1.25, 2, 0.8, 1.1))
    i, j = 1, 2
    for row, maps, name in zip(rows[::2], outputs, names, strict=True):
        row.suptitle(name)
        all_axes = row.subplots(-(-len(maps) // 3), min(len(maps), 3), squeeze=False)
        limit = float(abs(maps).max()) or 1.0
        for axes, channel in zip(all_axes.flat, maps, strict=True):
            heatmap.draw(axes, channel, font=7, mark=(i, j, 1, 1), limit=limit)
    for row, w in zip(rows[1::2], example.weights, strict=True):
        o, c = w.shape[:2]
        row.suptitle(f"{o}×{c} weights: a row for each new channel, then ReLU")
        heatmap.draw(row.subplots(), w.reshape(o, c).cpu().numpy(), font=7)
    drawing.signs(figure)
    return figure
