"""Where the time of a training step goes: each layer forward, and each of its derivatives.

    python -m benchmarks.by_operation [--preset article] [--conv auto]

One micro-batch on one thread, as in `nin.train`; milliseconds for an image, medians, and the
layers' shares of the whole.
"""

from __future__ import annotations

import argparse
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


def step(layers: list[nn.Module], x: Any, y: Any, times: Times) -> None:
    """One step, every layer and every VJP timed."""
    for i, layer in enumerate(layers):
        x = timed(layer, (i, "forward"), times)(x)
        if x.node is not None:
            x.node.edges = [
                edge._replace(vjp=timed(edge.vjp, (i, column(edge.source)), times))
                for edge in x.node.edges
            ]
    nn.CrossEntropyLoss()(x, y).backward()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="article")
    parser.add_argument("--conv", choices=("im2col", "winograd", "auto"), default="auto")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args(argv)

    preset = PRESETS[args.preset]
    n, size = preset.micro_batch, preset.image_size
    layers = [layer for _, layer in named_layers(PRESETS[args.preset].build())]
    x, y = minicnn.randn(n, 1, size, size), minicnn.tensor(np.arange(n) % 10)
    times: Times = defaultdict(list)
    fixed = FixedFilters(p.array for layer in layers for p in layer.parameters())
    with (
        threadpoolctl.threadpool_limits(1, user_api="blas"),
        context.using(conv_algorithm=args.conv, fixed_filters=fixed),
    ):
        for _ in range(args.steps + 1):
            step(layers, x, y, times)

    ms = {key: 1e3 / n * statistics.median(taken[1:]) for key, taken in times.items()}
    whole = sum(ms.values())
    print(f"{'ms an image':<28}" + "".join(f"{way:>10}" for way in COLUMNS) + f"{'share':>8}")
    for i, layer in enumerate(layers):
        row = [ms.get((i, way), 0.0) for way in COLUMNS]
        cells = "".join(f"{t:>10.3f}" if t else " " * 10 for t in row)
        print(f"{i:>2} {name(layer):<25}{cells}{100 * sum(row) / whole:>7.1f}%")
    print(f"{'all':<28}{whole:>10.3f}")
    rows = [{"layer": repr(layers[i]), "what": what, "ms": t} for (i, what), t in ms.items()]
    save(f"operations-{args.preset}", {"conv": args.conv, "images": n, "rows": rows}, args.out)


if __name__ == "__main__":
    main()
