"""Show where the time of a training step goes: each layer, and its derivatives.

    python -m benchmarks.by_operation [--preset article] [--conv auto]

One micro-batch on one thread is timed, as in `nin.train`; the figures are
medians. For each layer: the milliseconds for an image, the share of the
whole, the megabytes for an image that must be moved, and for a convolution
the share of the peak. That is the speed of the multiplications and additions
in its formula, divided by the speed of a large matrix product. Minimal
filtering multiplies less often, so it may be above 100%.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

import minicnn
from minicnn import context, nn
from minicnn.operations.winograd import FixedFilters
from nin.networks import named_layers
from nin.presets import PRESETS

from .cpu import save

COLUMNS = ("forward", "d input", "d weight", "d bias")
Times = dict[tuple[int, str], list[float]]
Work = dict[tuple[int, str], tuple[int, int]]  # bytes, and floating-point operations


def timed(call: Callable[..., Any], key: tuple[int, str], times: Times) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        start = time.perf_counter()
        result = call(*args)
        times[key].append(time.perf_counter() - start)
        return result

    return run


def column(source: Any) -> str:
    """What the VJP of an edge is the derivative by."""
    if not isinstance(source, nn.Parameter):
        return "d input"
    return "d bias" if source.ndim == 1 else "d weight"


def name(layer: nn.Module) -> str:
    """The layer's types and kernel size."""
    if isinstance(layer, nn.Sequential):
        return ", ".join(map(name, layer))
    return type(layer).__name__ + (f" {layer.kernel_size}" if hasattr(layer, "kernel_size") else "")


def bytes_and_flops(layer: nn.Module, x: Any, y: Any) -> dict[str, tuple[int, int]]:
    """By column: the bytes of the arrays that it reads and writes, and its arithmetic.

    x (N, C, H, W) and y (N, C', H', W') are the layer's input and output; gradients are as large.
    """
    both = x.array.nbytes + y.array.nbytes
    flops = 0
    if isinstance(layer, nn.Conv2d):
        _, *window = layer.weight.shape  # (C', C, kh, kw)
        flops = 2 * y.numel() * math.prod(window)
    return {"forward": (both, flops), "d input": (both, flops), "d weight": (both, flops)}


def peak(size: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of a product of square float32 matrices on one thread."""
    a = np.ones((size, size), "float32")
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(taken)


def step(layers: list[nn.Module], x: Any, y: Any, times: Times, work: Work) -> None:
    """One step, every layer and every VJP timed, and what each has to do."""
    for i, layer in enumerate(layers):
        before, x = x, timed(layer, (i, "forward"), times)(x)
        for way, both in bytes_and_flops(layer, before, x).items():
            work[i, way] = both
        if x.node is not None:
            x.node.edges = [
                edge._replace(vjp=timed(edge.vjp, (i, column(edge.source)), times))
                for edge in x.node.edges
            ]
    nn.CrossEntropyLoss()(x, y).backward()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.by_operation",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "the network and its settings (default: article)"
    parser.add_argument("--preset", choices=PRESETS, default="article", help=text)
    text = "how to compute convolutions (default: auto)"
    parser.add_argument("--conv", choices=("im2col", "winograd", "auto"), default="auto", help=text)
    text = "time N steps (default: 9)"
    parser.add_argument("--steps", type=int, default=9, metavar="N", help=text)
    text = "write the results into this directory (default: benchmarks/results)"
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("benchmarks/results"), help=text
    )
    args = parser.parse_args(argv)

    preset = PRESETS[args.preset]
    n, size = preset.micro_batch, preset.input_size()[0]
    layers = list(named_layers(PRESETS[args.preset].build()).values())
    x, y = minicnn.randn(n, 1, size, size), minicnn.tensor(np.arange(n) % 10)
    times: Times = defaultdict(list)
    work: Work = {}
    fixed = FixedFilters(p.array for layer in layers for p in layer.parameters())
    with (
        threadpoolctl.threadpool_limits(1, user_api="blas"),
        context.using(conv_algorithm=args.conv, fixed_filters=fixed),
    ):
        for _ in range(args.steps + 1):
            step(layers, x, y, times, work)
        rate = peak()

    ms = {key: 1e3 / n * statistics.median(taken[1:]) for key, taken in times.items()}
    whole = sum(ms.values())
    heads = "".join(f"{way:>9}" for way in COLUMNS)
    print(f"{'ms an image':<24}{heads}{'share':>7}{'MB':>6}{'peak':>6}")
    for i, layer in enumerate(layers):
        row = [ms.get((i, way), 0.0) for way in COLUMNS]
        cells = "".join(f"{t:>9.4f}" if t else " " * 9 for t in row)
        done = [work[i, way] for way in COLUMNS if (i, way) in ms and (i, way) in work]
        moved, flops = (sum(each) / n for each in zip(*done, strict=True))
        of_peak = f"{flops / (sum(row) / 1e3) / rate:>6.0%}" if flops else ""
        print(
            f"{i:>2} {name(layer):<21}{cells}{sum(row) / whole:>7.1%}{moved / 1e6:>6.2f}{of_peak}"
        )
    print(f"{'all':<24}{whole:>9.3f}, beside a product's {rate / 1e9:.0f} GFLOP/s")
    rows = [
        {"layer": repr(layers[i]), "what": way, "ms": t, "bytes_and_flops": work.get((i, way))}
        for (i, way), t in ms.items()
    ]
    content = {"conv": args.conv, "images": n, "peak_flops": rate, "rows": rows}
    save(f"operations-{args.preset}", content, args.out)


if __name__ == "__main__":
    main()
