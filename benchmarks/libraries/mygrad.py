"""MyGrad: autograd on NumPy, with convolution and max pooling among its layers."""

from __future__ import annotations

from typing import Any

import mygrad
import numpy as np
import threadpoolctl
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from ..network import (
    Conv,
    Dropout,
    GlobalAverage,
    Pair,
    Pool,
    Relu,
    draw,
    initial_parameters,
    layers,
    outputs,
)
from . import LR, MOMENTUM, WEIGHT_DECAY, Job, Step


def bordered(x: Any, around: tuple[Pair, Pair], value: float) -> Any:
    """x (N, C, H, W) with (above, below) and (left, right) places of a value around its maps."""
    for axis, (before, after) in zip((2, 3), around, strict=True):
        sides = []
        for n in (before, after):
            shape = [*x.shape[:axis], n, *x.shape[axis + 1 :]]
            sides.append(mygrad.full(shape, value, dtype=np.float32, constant=True))
        if before or after:
            x = mygrad.concatenate([sides[0], x, sides[1]], axis)
    return x


def fitted(x: Any, kernel: Pair, stride: Pair) -> Any:
    """x without what is left beside the last window: MyGrad wants windows that fit."""
    sizes = zip(x.shape[2:], kernel, stride, strict=True)
    h, w = ((size - k) // s * s + k for size, k, s in sizes)
    return x if (h, w) == x.shape[2:] else x[:, :, :h, :w]


def convolution(x: Any, w: Any, b: Any, layer: Conv) -> Any:
    kernel, padding = layer.shape[2:], layer.padding
    sizes = zip(x.shape[2:], kernel, layer.stride, padding, strict=True)
    if any((size + 2 * p - k) % s for size, k, s, p in sizes):
        (top, left), padding = padding, (0, 0)
        x = fitted(bordered(x, ((top, top), (left, left)), 0), kernel, layer.stride)
    return conv_nd(x, w, stride=layer.stride, padding=padding) + b.reshape(1, -1, 1, 1)


def pooling(x: Any, layer: Pool) -> Any:
    """The largest of each window, or the average, for which MyGrad has no layer."""
    value = -np.inf if layer.kind == "max" else 0.0
    (kh, kw), (sh, sw) = layer.kernel, layer.stride
    x = fitted(bordered(x, layer.around, value), layer.kernel, layer.stride)
    if layer.kind == "max":
        return max_pool(x, layer.kernel, layer.stride)
    h, w = map(outputs, x.shape[2:], layer.kernel, layer.stride, (0, 0))
    places = [
        x[:, :, i : i + (h - 1) * sh + 1 : sh, j : j + (w - 1) * sw + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    return mygrad.add_sequence(*places) / layer.divisors()


def step(job: Job) -> Step:
    threadpoolctl.threadpool_limits(job.threads, user_api="blas")
    parts = layers(job.preset)
    images, labels = draw(job.preset, job.batch)
    parameters = [mygrad.tensor(value) for value in initial_parameters(job.preset)]
    momentum = [np.zeros_like(p.data) for p in parameters]
    rng = np.random.default_rng(0)

    def forward(training: bool) -> Any:
        x, mine = mygrad.tensor(images, constant=True), iter(parameters)
        for layer in parts:
            if isinstance(layer, Conv):
                x = convolution(x, next(mine), next(mine), layer)
            elif isinstance(layer, Pool):
                x = pooling(x, layer)
            elif isinstance(layer, Relu):
                x = relu(x)
            elif isinstance(layer, GlobalAverage):
                x = x.mean(axis=(2, 3))
            elif isinstance(layer, Dropout) and training:
                kept = rng.random(x.shape, np.float32) >= layer.p
                x = x * (kept / np.float32(1 - layer.p))
        return x

    def train() -> float:
        loss = softmax_crossentropy(forward(True), labels)
        loss.backward()
        for p, v in zip(parameters, momentum, strict=True):
            v *= MOMENTUM
            v += p.grad + WEIGHT_DECAY * p.data
            p.data -= LR * v
            p.null_grad()
        return float(loss)

    def predict() -> Any:
        with mygrad.no_autodiff:
            return forward(False).data

    return train if job.what == "train" else predict
