"""Time each convolution and pooling layer alone, and measure its error.

    python -m benchmarks.convolution [--preset article] [--images 8]

Each layer takes a few images on one thread, as a thread of `nin.train` does.
Its speed is compared with the peak, which is that of NumPy's float32 matrix
product, measured in turn with the layers. GFLOP/s count the multiplications
and additions of the definition, 2·O·H'·W'·C·kh·kw. Minimal filtering needs
fewer, so it may exceed the peak. The error is the largest difference of
float32 to float64, relative to the largest value.
"""

from __future__ import annotations

import argparse
import statistics
import time
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

from .cpu import gemm_peak, save

WAYS = ("forward", "d input", "d weight")


def inputs(preset: str, n: int) -> list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]:
    """Every convolution and pooling layer with the shapes that come in and go out."""
    size, _ = PRESETS[preset].input_size()
    x = minicnn.randn(n, 1, size, size)
    found: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = []
    with minicnn.no_grad():
        for layer in named_layers(PRESETS[preset].build()).values():
            y = layer(x)
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)):
                found.append((layer, tuple(x.shape), tuple(y.shape)))
            x = y
    return found


def channels_last(shape: tuple[int, ...], seed: int) -> Any:
    n, c, h, w = shape
    array = np.random.default_rng(seed).standard_normal((n, h, w, c), dtype=np.float32)
    return array.transpose(0, 3, 1, 2)


def derivatives(layer: nn.Module, x: Any, g: Any) -> list[Callable[[], Any]]:
    """Calls that compute the output, and each gradient."""
    leaf = minicnn.tensor(x).requires_grad_()
    kept = layer(leaf)
    assert kept.node is not None and kept.node.edges is not None
    vjps = [edge.vjp for edge in kept.node.edges[:2]]
    return [lambda: layer(leaf).detach().numpy(), *(lambda v=v: v(g) for v in vjps)]


def seconds(call: Callable[[], Any], repeats: int) -> float:
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(preset: str, n: int, repeats: int) -> dict[str, Any]:
    rows = []
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        for layer, shape, out in inputs(preset, n):
            peak = gemm_peak(1)
            x, g = channels_last(shape, 0), channels_last(out, 1)
            flops = None
            algorithms = ["im2col"]
            exact: list[Any] = []
            if isinstance(layer, nn.Conv2d):
                o, c, kh, kw = layer.weight.shape
                flops = 2 * n * o * out[2] * out[3] * c * kh * kw
                if (kh, kw) in ((3, 3), (5, 5)) and layer.stride == (1, 1):
                    algorithms.append("winograd")
                layer.double()
                exact = [f() for f in derivatives(layer, x.astype(float), g.astype(float))]
                layer.float()
            for algorithm in algorithms:
                fixed = FixedFilters(p.array for p in layer.parameters())
                with context.using(conv_algorithm=algorithm, fixed_filters=fixed):
                    calls = derivatives(layer, x, g)
                    times = [seconds(f, repeats) for f in calls]
                    errors = [
                        float(abs(f() - e).max() / abs(e).max())
                        for f, e in zip(calls, exact, strict=False)
                    ]
                row = {
                    "layer": repr(layer),
                    "input": shape,
                    "algorithm": algorithm if flops else "",
                    "seconds": dict(zip(WAYS, times, strict=False)),
                    "errors": dict(zip(WAYS, errors, strict=False)),
                    "gflops": flops and [flops / t / 1e9 for t in times],
                    "gemm_gflops": peak,
                }
                rows.append(row)
                show(row, n)
    return {"preset": preset, "images": n, "threads": 1, "rows": rows}


def show(row: dict[str, Any], n: int) -> None:
    times = " ".join(f"{1e3 * t / n:6.2f}" for t in row["seconds"].values())
    shares = " ".join(f"{100 * f / row['gemm_gflops']:4.0f}%" for f in row["gflops"] or [])
    errors = " ".join(f"{e:.0e}" for e in row["errors"].values())
    name = row["layer"].partition("(")[0] + " " + "×".join(map(str, row["input"][1:]))
    print(f"{name:<28}{row['algorithm']:<9}{times:<21} {shares:<16} {errors}", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.convolution",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "the network and its settings (default: article)"
    parser.add_argument("--preset", choices=PRESETS, default="article", help=text)
    text = "images in a batch (default: 8)"
    parser.add_argument("--images", type=int, default=8, metavar="N", help=text)
    text = "time each layer N times (default: 7)"
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help=text)
    text = "write the results into this directory (default: benchmarks/results)"
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("benchmarks/results"), help=text
    )
    args = parser.parse_args(argv)
    print(f"{'':<37}{'ms an image':<21} {'share of peak':<16} {'error against float64'}")
    print(f"{'':<37}{'fwd     dx     dw':<21} {'fwd   dx   dw':<16} fwd   dx    dw")
    result = measure(args.preset, args.images, args.repeats)
    save(f"layers-{args.preset}", result, args.out)


if __name__ == "__main__":
    main()
