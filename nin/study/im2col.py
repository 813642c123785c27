"""A convolution unrolled: windows as rows, one matrix product, and col2im on the way back.

What `minicnn/operations/convolution.py` does, with its own primitives, on one small image of one
channel, and every number of it shown.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import minicnn
from minicnn import Tensor
from minicnn.backends import Array, backend_of
from minicnn.backends.windows import Window
from minicnn.nn import functional as F

from .. import drawing
from ..command_line import UsageError, argument
from ..schema import whole
from ..table import Column
from . import heatmap
from .report import Report

ARGUMENTS = "[flags]"
EXAMPLES = """
nin study im2col
nin study im2col --size 4 --kernel 3 --stride 1 --padding 0
nin study im2col --size 6 --kernel 2 --stride 2
"""
MOST = 12  # a line of more numbers, or a matrix of more than 12² lines, can't be read


class Steps(NamedTuple):
    """Everything on the way, as host arrays: matrices, and images as matrices (H, W)."""

    difference: float  # the largest from conv2d and its two gradients
    padded: Array
    cols: Array  # (H'·W', k·k)
    filters: Array  # (1, k·k)
    y: Array  # (H', W')
    g: Array  # (H', W'), the gradient of some loss with respect to y
    dcols: Array  # (H'·W', k·k)
    dpadded: Array
    dx: Array
    dw: Array  # (k, k)
    copies: Array  # how many windows each pixel of the padded image is in


FORWARD = {
    "image, padded": "padded",
    "cols: its windows as rows": "cols",
    "filters, as rows": "filters",
    "y = cols · filtersᵀ, folded": "y",
}
BACKWARD = {
    "g, the gradient for y": "g",
    "d cols = g · filters": "dcols",
    "col2im: rows added on windows": "dpadded",
    "d image, margins cut off": "dx",
    "d filters = gᵀ · cols": "dw",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, count = parser.add_argument, argument(whole(1))
    add(
        "--size",
        type=count,
        default=5,
        metavar="N",
        help="height and width of the image (default: 5)",
    )
    add(
        "--kernel",
        type=count,
        default=3,
        metavar="N",
        help="height and width of the filter (default: 3)",
    )
    add("--stride", type=count, default=2, metavar="N", help="pixels between windows (default: 2)")
    text = "zeros on each side of the image (default: 1)"
    add("--padding", type=argument(whole(0)), default=1, metavar="N", help=text)


def unroll(x: Tensor, w: Tensor, stride: int, padding: int) -> Steps:
    """The steps of conv2d and its gradients for x (1, 1, H, W) and w (1, 1, k, k)."""
    backend = backend_of(x.array)
    k = w.shape[2]
    window = Window((k, k), (stride, stride))  # of the padded image
    inside = slice(padding, padding + x.shape[2]), slice(padding, padding + x.shape[3])
    padded = backend.xp.pad(x.array[0, 0], padding)[None, :, :, None]  # (1, H, W, 1)
    oh, ow = window.output_size(padded.shape[1:3])
    cols = backend.im2col(padded, window)[:, : k * k]
    filters = w.array.reshape(1, k * k)
    y = (cols @ filters.T).reshape(oh, ow)
    g = (2 * minicnn.randint(-2, 2, (oh, ow)) + 1).float().to(x.device).array  # never 0
    dcols = g.reshape(-1, 1) @ filters
    dpadded, copies = (backend.xp.empty_like(padded) for _ in range(2))
    backend.col2im(dcols, window, dpadded)
    dx = dpadded[0, :, :, 0][inside]
    dw = (g.reshape(1, -1) @ cols).reshape(k, k)
    backend.col2im(backend.xp.ones_like(cols), window, copies)

    a, b = (Tensor(t.array, requires_grad=True) for t in (x, w))
    whole = F.conv2d(a, b, stride=stride, padding=padding)
    whole.backward(Tensor(g[None, None]))
    pairs: list[tuple[Array, Array]] = [(y, whole.array), (dx, a.grad_array), (dw, b.grad_array)]
    difference = max(float(abs(mine - its[0, 0]).max()) for mine, its in pairs)

    padded, dpadded, copies = (each[0, :, :, 0] for each in (padded, dpadded, copies))
    arrays = (padded, cols, filters, y, g, dcols, dpadded, dx, dw, copies)
    return Steps(difference, *(backend.to_host(a) for a in arrays))


def run(args: argparse.Namespace, report: Report) -> None:
    whole = args.size + 2 * args.padding
    if whole < args.kernel:
        raise UsageError(
            f"--kernel {args.kernel} is larger than the image of {args.size} with its padding,"
            f" {whole}"
        )
    out = (whole - args.kernel) // args.stride + 1
    for name, n in (("--size", args.size), ("--kernel", args.kernel), ("an output of", out)):
        if n > MOST:
            raise UsageError(f"{name} {n}: more than {MOST} pixels a side can't be drawn legibly")
    x = minicnn.randint(0, 10, (1, 1, args.size, args.size)).float().to(args.device)
    w = minicnn.randint(-2, 3, (1, 1, args.kernel, args.kernel)).float().to(args.device)
    steps = unroll(x, w, args.stride, args.padding)
    arrays = steps._asdict()
    difference = arrays.pop("difference")

    for name, matrices in (("forward", FORWARD), ("backward", BACKWARD)):
        report.table(
            (Column(name, "name"), Column("size", "size"), Column("numbers", "numbers")),
            [
                {"name": text, "size": arrays[key].shape, "numbers": arrays[key].size}
                for text, key in matrices.items()
            ],
        )
        print()
    least, most = int(steps.copies.min()), int(steps.copies.max())
    print(f"A pixel stands in {least} to {most} windows, and collects as many gradients.")
    print(f"Largest difference from conv2d and its gradients: {difference:g}")
    report.figure(lambda: draw_forward(steps, args.stride, args.padding), "forward")
    report.figure(lambda: draw_backward(steps, args.stride, args.padding), "backward")
    report.finish({"difference": difference, **{k: a.tolist() for k, a in arrays.items()}})


class Marks(NamedTuple):
    """Where the window in the middle is found: in the image, among the rows, and in the output."""

    window: heatmap.Box
    row: heatmap.Box
    pixel: heatmap.Box
    inside: heatmap.Box  # the image without its margin


def marks(steps: Steps, stride: int, padding: int) -> Marks:
    k, row, size = len(steps.dw), len(steps.cols) // 2, len(steps.dx)
    i, j = divmod(row, steps.y.shape[1])
    return Marks(
        window=(i * stride, j * stride, k, k),
        row=(row, 0, 1, k * k),
        pixel=(i, j, 1, 1),
        inside=(padding, padding, size, size),
    )


def draw_forward(steps: Steps, stride: int, padding: int) -> drawing.Figure:
    """The padded image, its windows as rows, the filter as a row, the product, folded."""
    at, limit = marks(steps, stride, padding), float(steps.padded.max())
    figure = drawing.figure(4.6, 7.6)
    axes = figure.subplot_mosaic("iif;ccc;rry;ppy", height_ratios=(2, 3.2, 0.7, 0.7))
    title = "image and its margin of zeros"
    heatmap.draw(axes["i"], steps.padded, title, mark=at.window, grey=at.inside, limit=limit)
    heatmap.draw(axes["f"], steps.filters.reshape(steps.dw.shape), "filter")
    heatmap.draw(axes["c"], steps.cols, "cols: every window as a row", mark=at.row, limit=limit)
    heatmap.draw(axes["r"], steps.filters, "filters: every filter as a row", font=6)
    product, place = steps.y.reshape(1, -1), (0, at.row[0], 1, 1)
    heatmap.draw(axes["p"], product, "(cols · filtersᵀ)ᵀ", mark=place)
    heatmap.draw(axes["y"], steps.y, "y: folded", mark=at.pixel)
    drawing.signs(figure)
    return figure


def draw_backward(steps: Steps, stride: int, padding: int) -> drawing.Figure:
    """The gradient for y, its product with the filter, and the rows added onto their windows."""
    at = marks(steps, stride, padding)
    figure = drawing.figure(4.6, 8.0)
    axes = figure.subplot_mosaic("ggffww;cccccc;nnniii", height_ratios=(1, 1.9, 1.4))
    heatmap.draw(axes["g"], steps.g, "g: the gradient for y", mark=at.pixel)
    heatmap.draw(axes["f"], steps.filters.reshape(steps.dw.shape), "filter")
    heatmap.draw(axes["c"], steps.dcols, "d cols = g · filters", mark=at.row)
    heatmap.draw(axes["w"], steps.dw, "d filter = gᵀ · cols")
    title = "windows that hold a pixel"
    heatmap.draw(axes["n"], steps.copies, title, mark=at.window, grey=at.inside)
    title = "d image: rows of d cols,\nadded onto their windows"
    heatmap.draw(axes["i"], steps.dpadded, title, mark=at.window, grey=at.inside)
    drawing.signs(figure)
    return figure
