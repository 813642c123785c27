"""tinygrad on the CPU, its step compiled once by TinyJit (it needs clang)."""

from __future__ import annotations

from typing import Any

import tinygrad
from tinygrad.helpers import Context
from tinygrad.nn.optim import SGD

from ..network import (
    Conv,
    Dropout,
    GlobalAverage,
    Pool,
    Relu,
    draw,
    initial_parameters,
    layers,
)
from . import LR, MOMENTUM, WEIGHT_DECAY, Job, Step


def pooling(x: Any, layer: Pool) -> Any:
    kh, kw = layer.kernel
    around = ((0, 0), (0, 0), *layer.around)
    if layer.kind == "max":
        return x.pad(around, value=-float("inf")).max_pool2d(layer.kernel, layer.stride)
    sums = x.pad(around).avg_pool2d(layer.kernel, layer.stride) * (kh * kw)
    return sums / tinygrad.Tensor(layer.divisors())


def step(job: Job) -> Step:
    images, labels = (tinygrad.Tensor(a).realize() for a in draw(job.preset, job.batch))
    parts = layers(job.preset)
    parameters = [tinygrad.Tensor(v).contiguous().realize() for v in initial_parameters(job.preset)]
    for p in parameters:
        p.requires_grad = True
    optimizer = SGD(parameters, LR, MOMENTUM, WEIGHT_DECAY)

    def forward() -> Any:
        x, mine = images, iter(parameters)
        for layer in parts:
            if isinstance(layer, Conv):
                # Four paddings: two would be read as those of the width's sides.
                (top, left), (w, b) = layer.padding, (next(mine), next(mine))
                x = x.conv2d(w, b, stride=layer.stride, padding=(left, left, top, top))
            elif isinstance(layer, Pool):
                x = pooling(x, layer)
            elif isinstance(layer, Relu):
                x = x.relu()
            elif isinstance(layer, GlobalAverage):
                x = x.mean(axis=(2, 3))
            elif isinstance(layer, Dropout):
                x = x.dropout(layer.p)  # nothing while TRAINING is not set
        return x

    def one_step() -> Any:
        with Context(TRAINING=1):
            optimizer.zero_grad()
            loss = forward().sparse_categorical_crossentropy(labels)
            loss.backward()
            # In one go: later, the loss would be computed again, and with the new parameters.
            return loss.realize(*optimizer.schedule_step())

    def answer() -> Any:
        return forward().realize()

    compiled = tinygrad.TinyJit(one_step if job.what == "train" else answer)
    return lambda: compiled().item() if job.what == "train" else compiled().numpy()
