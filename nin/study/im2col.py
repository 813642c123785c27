"""A convolution unrolled: windows as rows, one matrix product, and col2im on the way back.

What `minicnn/operations/convolution.py` does, with its own primitives, on one small image of one
channel, and every number of it shown.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import minicnn
from minicnn import Tensor
from minicnn import functional as F
from minicnn.backends import Array, backend_of
from minicnn.backends.numpy import NO_MARGINS

from .. import drawing
from ..command_line import UsageError, at_least
from . import heatmap
from .report import Report

ARGUMENTS = "[flags]"
EXAMPLES = """
python -m nin.study im2col
python -m nin.study im2col --size 4 --kernel 3 --stride 1 --padding 0
python -m nin.study im2col --size 6 --kernel 2 --stride 2
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, whole = parser.add_argument, at_least(1, int)
    add("--size", type=whole, default=5, help="height and width of the image (default: 5)")
    add("--kernel", type=whole, default=3, help="height and width of the filter (default: 3)")
    add("--stride", type=whole, default=2, help="pixels from window to window (default: 2)")
    add("--padding", type=at_least(0, int), default=1, help="zeros on each side (default: 1)")


def unroll(x: Tensor, w: Tensor, stride: int, padding: int) -> Steps:
    """The steps of conv2d and its gradients for x (1, 1, H, W) and w (1, 1, k, k)."""
    backend = backend_of(x.array)
    k = w.shape[2]
    window = ((k, k), (stride, stride), (1, 1), NO_MARGINS)  # of the padded image
    inside = slice(padding, padding + x.shape[2]), slice(padding, padding + x.shape[3])
    padded = backend.xp.pad(x.array[0, 0], padding)[None, :, :, None]  # (1, H, W, 1)
    oh, ow = backend.output_size(padded.shape[1:3], *window)
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
    if args.size + 2 * args.padding < args.kernel:
        raise UsageError(
            f"--kernel {args.kernel} is larger than the image of {args.size} with its padding,"
            f" {args.size + 2 * args.padding}"
        )
    out = (args.size + 2 * args.padding - args.kernel) // args.stride + 1
    for name, n in (("--size", args.size), ("--kernel", args.kernel), ("an output of", out)):
        if n > MOST:
            raise UsageError(f"{name} {n}: more than {MOST} pixels a side can't be drawn legibly")
    x = minicnn.randint(0, 10, (1, 1, args.size, args.size)).float().to(args.device)
    w = minicnn.randint(-2, 3, (1, 1, args.kernel, args.kernel)).float().to(args.device)
    steps = unroll(x, w, args.stride, args.padding)

    def size(matrix: Array) -> str:
        return "×".join(map(str, matrix.shape))

    report.table(
        ("forward", "size", "numbers"),
        [
            ("image, padded", size(steps.padded), str(steps.padded.size)),
            ("cols: its windows as rows", size(steps.cols), str(steps.cols.size)),
            ("filters, as rows", size(steps.filters), str(steps.filters.size)),
            ("y = cols · filtersᵀ, folded", size(steps.y), str(steps.y.size)),
        ],
    )
    print()
    report.table(
        ("backward", "size", "numbers"),
        [
            ("g, the gradient for y", size(steps.g), str(steps.g.size)),
            ("d cols = g · filters", size(steps.dcols), str(steps.dcols.size)),
            ("col2im: rows added on windows", size(steps.dpadded), str(steps.dpadded.size)),
            ("d image, margins cut off", size(steps.dx), str(steps.dx.size)),
            ("d filters = gᵀ · cols", size(steps.dw), str(steps.dw.size)),
        ],
    )
    least, most = int(steps.copies.min()), int(steps.copies.max())
    print(f"\nA pixel stands in {least} to {most} windows, and collects as many gradients.")
    print(f"Largest difference from conv2d and its gradients: {steps.difference:g}")
    row = len(steps.cols) // 2
    sizes = (args.kernel, args.stride, args.padding)
    report.figure(lambda: draw_forward(steps, *sizes, row), "forward")
    report.figure(lambda: draw_backward(steps, *sizes, row), "backward")
    numbers = steps._asdict()
    difference = numbers.pop("difference")
    report.finish({"difference": difference, **{k: a.tolist() for k, a in numbers.items()}})


def _window(steps: Steps, kernel: int, stride: int, row: int) -> heatmap.Box:
    i, j = divmod(row, steps.y.shape[1])
    return i * stride, j * stride, kernel, kernel


def _inside(matrix: Array, padding: int) -> heatmap.Box:
    return padding, padding, len(matrix) - 2 * padding, len(matrix) - 2 * padding


def draw_forward(steps: Steps, kernel: int, stride: int, padding: int, row: int) -> drawing.Figure:
    """The padded image, its windows as rows, the filter as a column, the product, folded."""
    figure = drawing.figure(6.4, 6.0)
    window = _window(steps, kernel, stride, row)
    axes = figure.subplot_mosaic("icc;fcc;yrp", height_ratios=(1.2, 0.8, 1))
    inside = _inside(steps.padded, padding)
    limit = float(steps.padded.max())
    heatmap.draw(
        axes["i"],
        steps.padded,
        "image and its margin of zeros",
        mark=window,
        grey=inside,
        limit=limit,
    )
    square = steps.filters.reshape(kernel, kernel)
    heatmap.draw(axes["f"], square, "filter")
    heatmap.draw(
        axes["c"],
        steps.cols,
        "cols: every window as a row",
        mark=(row, 0, 1, kernel**2),
        limit=limit,
    )
    heatmap.draw(axes["r"], steps.filters, "filters: every filter as a row", font=6)
    product = steps.y.reshape(-1, 1)
    heatmap.draw(axes["p"], product.T, "(cols · filtersᵀ)ᵀ", mark=(0, row, 1, 1))
    at = (*divmod(row, steps.y.shape[1]), 1, 1)
    heatmap.draw(axes["y"], steps.y, "y: the product, folded", mark=at)
    return figure


def draw_backward(steps: Steps, kernel: int, stride: int, padding: int, row: int) -> drawing.Figure:
    """The gradient for y, its product with the filter, and the rows added onto their windows."""
    figure = drawing.figure(6.4, 6.0)
    window = _window(steps, kernel, stride, row)
    axes = figure.subplot_mosaic("gcc;fcc;wni", height_ratios=(1, 0.8, 1.2))
    at = (*divmod(row, steps.y.shape[1]), 1, 1)
    heatmap.draw(axes["g"], steps.g, "g: the gradient for y", mark=at)
    square = steps.filters.reshape(kernel, kernel)
    heatmap.draw(axes["f"], square, "filter")
    heatmap.draw(
        axes["c"],
        steps.dcols,
        "d cols = g · filters",
        mark=(row, 0, 1, kernel**2),
    )
    heatmap.draw(axes["w"], steps.dw, "d filter = gᵀ · cols")
    inside = _inside(steps.dpadded, padding)
    heatmap.draw(
        axes["n"],
        steps.copies,
        "windows that hold a pixel",
        mark=window,
        grey=inside,
    )
    heatmap.draw(
        axes["i"],
        steps.dpadded,
        "d image: rows of d cols,\nadded onto their windows",
        mark=window,
        grey=inside,
    )
    return figure
