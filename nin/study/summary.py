"""A network layer by layer: what each layer makes, costs and keeps; checked against a real step.

A ReLU behind a convolution is one layer with it, as the engine runs them. Memory and time are for
one image, measured on a micro-batch, on one thread, as in `nin.train`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import minicnn
from minicnn import Tensor, nn
from minicnn.backends import threads
from minicnn.operations.winograd import fixed_weights

from ..command_line import at_least
from ..presets import PRESETS
from . import tape
from .report import Report

ARGUMENTS = "PRESET [flags]"
EXAMPLES = """
python -m nin.study summary quick
python -m nin.study summary article --steps 9
"""


@dataclass
class Layer:
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
    parser.add_argument("preset", metavar="PRESET", choices=PRESETS, help=", ".join(PRESETS))
    parser.add_argument(
        "--steps", type=at_least(1, int), default=5, help="steps to time (default: 5)"
    )


def stages(model: nn.Module) -> list[nn.Module]:
    """The layers in order; a ReLU that follows a convolution together with it."""
    found: list[nn.Module] = []
    for layer in _leaves(model):
        if isinstance(layer, nn.ReLU) and found and isinstance(found[-1], nn.Conv2d):
            found[-1] = nn.Sequential(found[-1], layer)
        else:
            found.append(layer)
    return found


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _leaves(child)
    else:
        yield module


def _main(stage: nn.Module) -> Any:
    return stage[0] if isinstance(stage, nn.Sequential) else stage


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def name(stage: nn.Module) -> str:
    """Conv2d 3×3/2 + ReLU, for a stride of 2."""
    layer = _main(stage)
    text = type(layer).__name__
    if hasattr(layer, "kernel_size"):
        text += " {}×{}".format(*_pair(layer.kernel_size))
        stride = _pair(layer.stride)[0]
        text += f"/{stride}" if stride > 1 else ""
    return text.replace("AdaptiveAvgPool2d", "AvgPool2d, global") + (
        "+ReLU" if stage is not layer else ""
    )


def multiply_adds(layer: nn.Module, output: tuple[int, ...]) -> int:
    """Products of a weight and a value, for one image whose output (C, H, W) or (C,) this is."""
    if isinstance(layer, nn.Conv2d):
        return math.prod(output) * layer.in_channels * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Linear):
        return layer.in_features * layer.out_features
    return 0


class ReceptiveField:
    """Pixels a side that an output pixel sees, layer after layer.

    A window of k pixels, which are `step` image pixels apart, reaches (k - 1)·step further than one
    of them; a stride makes the outputs that many times as far apart.
    """

    def __init__(self) -> None:
        self.size: int | None = 1
        self.step = 1

    def through(self, layer: Any) -> int | None:
        if isinstance(layer, (nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear)):
            self.size = None
        elif self.size is not None and hasattr(layer, "kernel_size"):
            dilation = _pair(getattr(layer, "dilation", 1))[0]
            self.size += (_pair(layer.kernel_size)[0] - 1) * dilation * self.step
            self.step *= _pair(layer.stride)[0]
        return self.size


class Clock:
    """Seconds that calls take, by stage and direction; a GPU has done its work when one ends."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.seconds: dict[tuple[int, str], list[float]] = {}

    def timed(self, call: Callable[..., Any], stage: int, direction: str) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            start = time.perf_counter()
            result = call(*args)
            if self.device.type == "cuda":
                self.device.backend.xp.cuda.get_current_stream().synchronize()
            self.seconds.setdefault((stage, direction), []).append(time.perf_counter() - start)
            return result

        return run

    def of(self, stage: int, direction: str, steps: int) -> float:
        """The median over steps of what all calls of one step took together."""
        taken = self.seconds.get((stage, direction), [0.0] * steps)
        calls = len(taken) // steps
        return statistics.median(
            sum(taken[i : i + calls]) for i in range(0, len(taken), max(calls, 1))
        )


def timed_step(model: list[nn.Module], x: Tensor, y: Tensor, clock: Clock) -> None:
    """One forward and backward pass, with each stage and each VJP timed."""
    for i, stage in enumerate(model):
        before, x = x, clock.timed(stage, i, "forward")(x)
        node = x.node
        while node is not None and node is not before.node:
            edges = node.edges or []
            node.edges = [(source, clock.timed(vjp, i, "backward")) for source, vjp in edges]
            node = next((s for s, _ in edges if not isinstance(s, minicnn.Tensor)), None)  # type: ignore[misc]
    nn.CrossEntropyLoss()(x, y).backward()


def measure(model: list[nn.Module], x: Tensor, y: Tensor, steps: int) -> list[Layer]:
    """The rows, from one recorded pass and from `steps` timed ones."""
    n, field = len(x), ReceptiveField()
    output, ends = x, []
    for stage in model:
        output = stage(output)
        ends.append(output)
    recorded = tape.read(nn.CrossEntropyLoss()(output, y))
    known = tape.blocks([*(p for stage in model for p in stage.parameters()), x])
    held = iter(zip(recorded, tape.held(recorded, known), strict=True))

    clock = Clock(x.device)
    with threads.blas_threads(1), fixed_weights():
        for i in range(steps + 1):
            if i == 1:
                clock.seconds.clear()  # the first one warms up
            timed_step(model, x, y, clock)

    layers, before = [], x
    for i, (stage, end) in enumerate(zip(model, ends, strict=True)):
        shape = end.shape[1:]
        own = 0
        # what was recorded since the stage before
        for _ in range(0 if end is before else len(list(_nodes(stage, before)))):
            own += next(held)[1]
        layers.append(
            Layer(
                name(stage),
                shape,
                sum(p.numel() for p in stage.parameters()),
                multiply_adds(_main(stage), shape),
                field.through(_main(stage)),
                own / n,
                0 if end is before else end.array.nbytes / n,
                clock.of(i, "forward", steps) / n,
                clock.of(i, "backward", steps) / n,
            )
        )
        before = end
    return layers
