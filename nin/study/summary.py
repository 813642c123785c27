"""A network layer by layer: what each layer makes, costs and keeps; checked against a real step.

A ReLU behind a convolution is one layer with it. Memory and time are for one image, measured on a
micro-batch, on one thread, as in `nin.train`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from minicnn import Tensor, context, nn
from minicnn.autograd import Edge, Node, watching
from minicnn.backends import Array, threads
from minicnn.operations.winograd import FixedFilters
from minicnn.parallel import available_cores

from ..command_line import add_recipe, argument
from ..data import kind_of
from ..executors import executor_for
from ..kind import Kind
from ..networks import watched
from ..presets import Preset
from ..schema import whole
from ..table import Column
from . import tape
from .memory import allocated, drawn
from .report import Report

ARGUMENTS = "[PRESET] [flags]"
EXAMPLES = """
nin study summary
nin study summary article --steps 9
"""


COLUMNS = (
    Column("layer", "name"),
    Column("output", "output"),
    Column("weights", lambda layer: layer["parameters"] or None, ",", none=""),
    Column("MMAC", lambda layer: layer["multiply_adds"] or None, ",.2f", 1e-6, none=""),
    Column("sees", "receptive_field", none="all"),
    Column("train", "held", ",.0f", 2**-10),
    Column("pred", "made", ",.0f", 2**-10),
    Column("fwd", "forward", ".2f", 1e3),
    Column("bwd", "backward", ".2f", 1e3),
)
NOTES = """\
MMAC: million multiply-adds an image. sees: pixels a side that one output pixel
depends on. train: KiB an image kept for the backward pass; pred: KiB of the
output. fwd, bwd: ms an image, {} images at once on one thread.
"""
TOTALS = ("parameters", "multiply_adds", "held", "forward", "backward")


class Layer(NamedTuple):
    """One row: sizes without the batch's axis, bytes and seconds for one image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: int | None  # pixels a side of the image that one output pixel sees; None: all
    held: float  # kept from the forward to the backward pass
    made: float  # its output, all that prediction needs of it
    forward: float
    backward: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument(
        "--steps",
        type=argument(whole(1, 10_000)),
        default=5,
        metavar="N",
        help="time N steps (default: 5)",
    )


def stages(model: nn.Module) -> list[nn.Module]:
    """The layers in order; a ReLU that follows a convolution together with it."""
    found: list[nn.Module] = []
    for layer in _applied(model):
        if isinstance(layer, nn.ReLU) and found and isinstance(found[-1], nn.Conv2d):
            found[-1] = nn.Sequential(found[-1], layer)
        else:
            found.append(layer)
    return found


def _applied(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested Sequentials, in the order in which they are applied."""
    for layer in model if isinstance(model, nn.Sequential) else [model]:
        yield from _applied(layer) if isinstance(layer, nn.Sequential) else [layer]


def _main(stage: nn.Module) -> Any:
    return stage[0] if isinstance(stage, nn.Sequential) else stage


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def name(stage: nn.Module) -> str:
    """Conv 3×3/2+ReLU, for a stride of 2."""
    layer = _main(stage)
    text = type(layer).__name__.replace("2d", "").replace("AdaptiveAvgPool", "AvgPool, global")
    if hasattr(layer, "kernel_size"):
        text += " {}×{}".format(*_pair(layer.kernel_size))
        stride = _pair(layer.stride)[0]
        text += f"/{stride}" if stride > 1 else ""
    return text if stage is layer else f"{text}+ReLU"


def multiply_adds(layer: nn.Module, output: tuple[int, ...]) -> int:
    """Products of a weight and a value, for one image whose output (C, H, W) or (C,) this is."""
    if isinstance(layer, nn.Conv2d):
        return math.prod(output) * layer.in_channels * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Linear):
        return layer.in_features * layer.out_features
    return 0


def through(stage: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    """What a stage makes of x, and the products that it takes for an image, in all its layers."""
    counts: list[int] = []

    def seen(path: str, layer: nn.Module, output: Any) -> None:
        counts.append(multiply_adds(layer, output.shape[1:]))

    with watched(stage, seen):
        return stage(x), sum(counts)


class ReceptiveField:
    """Pixels a side that an output pixel sees, layer after layer.

    A window of k pixels, which are `step` image pixels apart, reaches (k - 1)·step further than one
    of them; a stride makes the outputs that many times as far apart.
    """

    def __init__(self) -> None:
        self.size: int | None = 1
        self.step = 1

    def through(self, layer: Any) -> int | None:
        known = not [*layer.children()]  # a module of the user's own may look anywhere
        if isinstance(layer, (nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear)) or not known:
            self.size = None
        elif self.size is not None and hasattr(layer, "kernel_size"):
            dilation = _pair(getattr(layer, "dilation", 1))[0]
            self.size += (_pair(layer.kernel_size)[0] - 1) * dilation * self.step
            self.step *= _pair(layer.stride)[0]
        return self.size


def timed(device: Any, call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """What a call returns, and the seconds that it took; a GPU has done its work by then."""
    start = time.perf_counter()
    result = call(*args)
    if device.type == "cuda":
        device.backend.xp.cuda.get_current_stream().synchronize()
    return result, time.perf_counter() - start


class Stages:
    """Which stage an operation belongs to, asked on the way back: the last made its output first.

    Operations after the last stage, such as the loss, belong to one more.
    """

    def __init__(self, outputs: list[Tensor]) -> None:
        self.last = {output.node: i for i, output in reversed(list(enumerate(outputs)))}
        self.stage = len(outputs)

    def of(self, node: Node) -> int:
        self.stage = self.last.get(node, self.stage)
        return self.stage


def timed_step(model: list[nn.Module], x: Tensor, y: Tensor) -> dict[tuple[int, str], float]:
    """The seconds of one pass "forward" and "backward", by stage."""
    seconds: dict[tuple[int, str], float] = defaultdict(float)
    outputs: list[Tensor] = []
    for i, stage in enumerate(model):
        x, seconds[i, "forward"] = timed(x.device, stage, x)
        outputs.append(x)
    loss, where = nn.CrossEntropyLoss()(x, y), Stages(outputs)

    def watcher(node: Node, edge: Edge, g: Array) -> Array:
        result, taken = timed(x.device, edge.vjp, g)
        seconds[where.of(node), "backward"] += taken
        return result

    with watching(watcher):
        loss.backward()
    return seconds


def measure(model: list[nn.Module], x: Tensor, y: Tensor, steps: int) -> tuple[list[Layer], float]:
    """The rows, from one recorded pass and `steps` timed ones; and what the loss holds an image."""
    n, field = len(x), ReceptiveField()
    outputs, products = [x], []
    for stage in model:
        output, n_products = through(stage, outputs[-1])
        outputs.append(output)
        products.append(n_products)
    recorded = tape.read(nn.CrossEntropyLoss()(outputs[-1], y))
    known = tape.blocks([*(p for stage in model for p in stage.parameters()), x])
    held, where = [0.0] * (len(model) + 1), Stages(outputs[1:])
    bytes_held = tape.held(recorded, known)
    for each, size in zip(reversed(recorded), reversed(bytes_held), strict=True):
        held[where.of(each.node)] += size / n

    fixed = FixedFilters(p.array for stage in model for p in stage.parameters())
    with threads.blas_threads(1), context.using(threads=1, fixed_filters=fixed):
        timed_step(model, x, y)  # to warm up
        taken = [timed_step(model, x, y) for _ in range(steps)]
    layers = [
        Layer(
            name=name(stage),
            output=output.shape[1:],
            parameters=sum(p.numel() for p in stage.parameters()),
            multiply_adds=products[i],
            receptive_field=field.through(_main(stage)),
            held=held[i],
            made=output.array.nbytes / n,
            forward=statistics.median(step[i, "forward"] for step in taken) / n,
            backward=statistics.median(step[i, "backward"] for step in taken) / n,
        )
        for i, (stage, output) in enumerate(zip(model, outputs[1:], strict=True))
    ]
    return layers, held[-1]


def seconds_an_image(
    model: nn.Module, preset: Preset, kind: Kind, device: Any, steps: int
) -> float:
    """Seconds for an image of a whole batch's forward and backward pass, as `nin.train` runs it."""
    n = preset.batch_size
    x, y = drawn(n, preset, kind, device)
    executor = executor_for(model, preset)
    step, loss = executor.backward, nn.CrossEntropyLoss()
    taken = [timed(device, step, loss, x, y)[1] for _ in range(steps + 1)]
    return statistics.median(taken[1:]) / n


def run(args: argparse.Namespace, report: Report) -> None:
    preset = args.preset
    kind = kind_of(preset)
    model = preset.build(kind).to(args.device)
    preset.try_network(kind, model)
    n = preset.micro_batch
    x, y = drawn(n, preset, kind, args.device)
    layers, loss_held = measure(stages(model), x, y, args.steps)
    model.zero_grad()
    kept, training, prediction = allocated(model, x, y)
    in_a_run = seconds_an_image(model, preset, kind, args.device, args.steps)

    rows = [layer._asdict() for layer in layers]
    total = {key: sum(row[key] for row in rows) for key in TOTALS}
    held = n * (total["held"] + loss_held)
    one_thread = total["forward"] + total["backward"]
    parameters = sum(p.numel() for p in model.parameters())
    report.table(COLUMNS, rows, NOTES.format(n))
    totals = (
        ("parameters", f"{total['parameters']:,}", f"{parameters:,}"),
        (f"MiB kept for the backward pass, {n} images", mib(held), mib(kept)),
        (f"MiB at most in a training step, {n} images", "", mib(training)),
        (f"MiB at most in a prediction, {n} images", "", mib(prediction)),
        ("ms an image, forward and backward", f"{1e3 * one_thread:.2f}", f"{1e3 * in_a_run:.2f}"),
    )
    headings = ("", "the layers'", "a run's")
    report.table(
        [Column(heading, heading) for heading in headings],
        [dict(zip(headings, cells, strict=True)) for cells in totals],
        f"The last: layers on one thread, one by one; a run on all {available_cores()} cores.",
    )
    report.finish(
        {
            "layers": rows,
            "images": n,
            "multiply_adds": total["multiply_adds"],
            "parameters": {"layers": total["parameters"], "model": parameters},
            "bytes_kept": {"layers": held, "allocated": kept},
            "bytes_at_most": {"training": training, "prediction": prediction},
            "seconds_an_image": {"layers": one_thread, "run": in_a_run},
        }
    )


def mib(n: float | None) -> str:
    return "–" if n is None else f"{n / 2**20:.2f}"
