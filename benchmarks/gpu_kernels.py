"""Time each kernel of a training step alone, as a share of the device's limits.

    python -m benchmarks.gpu_kernels [--preset article] [--batch 256]

One step is taken, and every call of a backend's primitive is recorded. Then
each call is repeated alone, as a graph; if its arrays would fit into the
cache, it takes turns with copies of them. The limits of the device are
measured, too: the float32 speed of a large matrix product, and the bandwidth
of a large copy. A kernel can't be faster than its multiplications and
additions at that speed, nor than its bytes (of all arrays that are read or
written, once each) at that bandwidth. Its share is the longer of these two
times, divided by its own. The result is printed as JSON, for `benchmarks.gpu`.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import minicnn
from minicnn import context, nn, optim
from minicnn.backends import Backend, protocol
from nin.presets import PRESETS

from .gpu_worker import MiniCNN
from .network import draw

PRIMITIVES = {*vars(protocol.Kernels)} - {"filtering_gains"}  # which computes on the host alone
# Arguments that are read and written.
IN_PLACE = {"add_at": ("target",), "sgd": ("p", "v")}
OVER_ITS_ARGUMENT = ("relu", "relu_vjp")  # what these write may lie where they have read
ROTATED_BYTES = 2**28  # several times the cache of any GPU so far
MOST_COPIES = 8


class Call(NamedTuple):
    """A primitive and the arguments that it was called with."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Recorder:
    """Notes down the calls of a backend's primitives: one of each kind, and how often it came."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.calls: dict[str, Call] = {}
        self.count: dict[str, int] = {}
        self.inside = False

    def arrays(self, values: Any) -> list[Any]:
        if isinstance(values, self.backend.xp.ndarray):
            return [values]
        if isinstance(values, dict):
            values = list(values.values())
        if not isinstance(values, (list, tuple)):
            return []
        return [a for v in values for a in self.arrays(v)]

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.inside:  # a primitive that another is made of
                return function(*args, **kwargs)
            self.inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                self.inside = False
            if callable(result):  # `dropout` gives the function that drops
                return self.wrapped(name, result)
            if isinstance(result, tuple) and callable(result[-1]):  # `relu` gives its VJP, too
                result = *result[:-1], self.wrapped(f"{name}_vjp", result[-1])
            given = self.arrays([args, kwargs])
            if given or self.arrays([result]):
                layout = [(a.shape, a.strides, str(a.dtype)) for a in given]
                numbers = [a for a in args if isinstance(a, (int, tuple))]
                key = f"{name} {layout} {numbers}"
                self.calls.setdefault(key, Call(name, function, args, kwargs))
                self.count[key] = self.count.get(key, 0) + 1
            return result

        return call

    def primitives(self) -> dict[str, Callable[..., Any]]:
        return {
            name: self.wrapped(name, getattr(self.backend, name))
            for name in PRIMITIVES
            if not name.startswith("_")
        }


@contextmanager
def patched(module: Any, functions: dict[str, Any]) -> Iterator[None]:
    """The module has these functions in place of its own."""
    before = {name: getattr(module, name) for name in functions}
    vars(module).update(functions)
    try:
        yield
    finally:
        vars(module).update(before)


def record(preset_name: str, batch: int, device: Any) -> Recorder:
    """The primitives of one training step."""
    preset, recorder = PRESETS[preset_name], Recorder(device.backend)
    minicnn.manual_seed(0)
    model = preset.build().to(device)
    optimizer = optim.SGD(
        model.parameters(), preset.lr, preset.momentum, weight_decay=preset.weight_decay
    )
    x, y = (minicnn.tensor(a).to(device) for a in draw(preset_name, batch))

    def step() -> None:
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(model(x), y).backward()
        optimizer.step()

    step()
    with patched(device.backend, recorder.primitives()):
        step()
    return recorder


def copies(call: Call, recorder: Recorder) -> list[Call]:
    """The call with its arrays, and with copies of them, until no cache holds them all."""
    size = sum(a.nbytes for a in recorder.arrays([call.args, call.kwargs]))
    count = max(1, min(MOST_COPIES, ROTATED_BYTES // max(1, size)))

    def copied(value: Any) -> Any:
        if isinstance(value, recorder.backend.xp.ndarray):
            return value.copy(order="K")
        holds = isinstance(value, (list, tuple)) and recorder.arrays(value)
        return [copied(each) for each in value] if holds else value

    return [call] + [
        call._replace(args=copied(call.args), kwargs={k: copied(v) for k, v in call.kwargs.items()})
        for _ in range(count - 1)
    ]


def work(call: Call, result: Any, recorder: Recorder) -> tuple[float, float]:
    """The multiplications and additions of a call, of matrix products alone, and its bytes."""
    flops = 2.0 * result.size * call.args[0].shape[-1] if call.name == "matmul" else 0.0
    arrays = recorder.arrays([call.args, call.kwargs, result])
    distinct = {(a.data.ptr, a.shape): a.nbytes for a in arrays}
    moved = sum(distinct.values())
    named = inspect.signature(call.function).bind(*call.args, **call.kwargs).arguments
    moved += sum(
        a.nbytes for n in IN_PLACE.get(call.name, ()) for a in recorder.arrays([named.get(n)])
    )
    if call.name in OVER_ITS_ARGUMENT and is_over(call, result, recorder):
        moved += sum(a.nbytes for a in recorder.arrays([result]))
    return flops, float(moved)


def is_over(call: Call, result: Any, recorder: Recorder) -> bool:
    """Whether the result lies where an argument does."""
    given = {a.data.ptr for a in recorder.arrays([call.args, call.kwargs])}
    results = recorder.arrays([result])
    return bool(results) and all(a.data.ptr in given for a in results)


def is_view(call: Call, result: Any, recorder: Recorder) -> bool:
    """Whether nothing was done: the result is an argument seen in another shape."""
    works = call.name in ("matmul", *OVER_ITS_ARGUMENT)
    return not works and is_over(call, result, recorder)


class Stopwatch:
    """Times calls as graphs, so that the gaps between launches from Python don't count."""

    def __init__(self, library: MiniCNN, rounds: int) -> None:
        self.library, self.rounds = library, rounds
        self.backend = library.device.backend
        pool = self.backend.graph_pool()
        assert pool is not None
        self.pool = pool

    def milliseconds(self, calls: list[Callable[[], Any]]) -> float:
        """Of one of the calls, which take turns: the median over rounds."""

        def all_of_them() -> None:
            for call in calls:
                call()

        all_of_them()  # compiles what is not compiled yet
        graph = self.pool.capture(all_of_them)
        graph.launch()
        taken = [self.library.milliseconds(graph.launch, 3) for _ in range(self.rounds)]
        return statistics.median(taken) / len(calls)


def ceilings(stopwatch: Stopwatch, size: int) -> dict[str, float]:
    """FLOP/s of a large float32 product, in float32 and TF32, and bytes/s of a large copy."""
    backend = stopwatch.backend
    rng = np.random.default_rng(0)
    a, b = (backend.from_host(rng.standard_normal((size, size), dtype="float32")) for _ in range(2))
    out = backend.xp.empty((size, size), "float32")
    found = {}
    for name, tf32 in (("float32_flops", False), ("tf32_flops", True)):
        with context.using(tf32=tf32):
            ms = stopwatch.milliseconds([lambda: backend.matmul(a, b, out)])
        found[name] = 2.0 * size**3 / (ms / 1e3)
    source = backend.xp.concatenate([a.ravel()] * 4)
    target = backend.xp.empty_like(source)

    def copy() -> None:  # by the device's own means: CuPy's `target[...] = source` is a kernel
        target.data.copy_from_device_async(source.data, source.nbytes)

    found["copy_bytes"] = 2.0 * source.nbytes / (stopwatch.milliseconds([copy]) / 1e3)
    return found


def measure(
    preset: str, batch: int, conv: str, tf32: bool, rounds: int, size: int
) -> dict[str, Any]:
    library = MiniCNN("cuda")
    stopwatch = Stopwatch(library, rounds)
    limits = ceilings(stopwatch, size)
    context.set_default(conv_algorithm=conv, tf32=tf32)
    recorder = record(preset, batch, library.device)
    rows: list[dict[str, Any]] = []
    for key, call in recorder.calls.items():
        result = call.function(*call.args, **call.kwargs)
        if is_view(call, result, recorder):
            continue
        flops, moved = work(call, result, recorder)
        del result
        turns: list[Callable[[], Any]] = [
            functools.partial(each.function, *each.args, **each.kwargs)
            for each in copies(call, recorder)
        ]
        ms = stopwatch.milliseconds(turns)
        rate = limits["tf32_flops" if tf32 else "float32_flops"]
        floors = {"product": flops / rate, "copy": moved / limits["copy_bytes"]}
        limit = max(floors, key=floors.__getitem__)
        rows.append(
            {
                "kernel": call.name,
                "shapes": [list(a.shape) for a in recorder.arrays([call.args, call.kwargs])],
                "calls": recorder.count[key],
                "ms": ms,
                "flops": flops,
                "bytes": moved,
                "limit": limit,
                "share": 1e3 * floors[limit] / ms,
            }
        )
    rows.sort(key=lambda row: -row["ms"] * row["calls"])
    setting = {"preset": preset, "batch": batch, "conv": conv, "tf32": tf32}
    return {**setting, "ceilings": limits, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_kernels",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "the network and its settings (default: article)"
    parser.add_argument("--preset", choices=PRESETS, default="article", help=text)
    text = "images in the step (default: 256)"
    parser.add_argument("--batch", type=int, default=256, metavar="N", help=text)
    text = "how to compute convolutions (default: auto)"
    parser.add_argument("--conv", choices=("im2col", "winograd", "auto"), default="auto", help=text)
    parser.add_argument("--tf32", action="store_true", help="multiply on the tensor cores")
    text = "time each kernel N times (default: 5)"
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help=text)
    text = "rows and columns of the matrices that show the peak (default: 8192)"
    parser.add_argument("--size", type=int, default=8192, metavar="N", help=text)
    args = parser.parse_args()
    found = measure(args.preset, args.batch, args.conv, args.tf32, args.rounds, args.size)
    json.dump(found, sys.stdout)
    print()


if __name__ == "__main__":
    main()
