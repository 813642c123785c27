"""JAX: the step is compiled once by XLA, for the CPU; images and maps are (N, H, W, C)."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..network import Conv, Dropout, GlobalAverage, Layer, Pool, Relu, draw, initial_parameters
from ..network import layers as layers_of
from . import LR, MOMENTUM, WEIGHT_DECAY, Job, Step


def convolution(x: Any, w: Any, b: Any, layer: Conv) -> Any:
    padding = [(p, p) for p in layer.padding]
    axes = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, layer.stride, padding, dimension_numbers=axes) + b


def pooling(x: Any, layer: Pool) -> Any:
    window, stride = (1, *layer.kernel, 1), (1, *layer.stride, 1)
    around = ((0, 0), *layer.around, (0, 0))
    if layer.kind == "max":
        return lax.reduce_window(x, -jnp.inf, lax.max, window, stride, around)
    sums = lax.reduce_window(x, 0.0, lax.add, window, stride, around)
    return sums / layer.divisors()[..., None]


def forward(layers: list[Layer], parameters: Any, x: Any, key: Any = None) -> Any:
    """Logits; with a key of random numbers those of a training step, with dropout."""
    mine = iter(parameters)
    for layer in layers:
        if isinstance(layer, Conv):
            x = convolution(x, next(mine), next(mine), layer)
        elif isinstance(layer, Pool):
            x = pooling(x, layer)
        elif isinstance(layer, Relu):
            x = jax.nn.relu(x)  # maximum would pass half a gradient on at 0
        elif isinstance(layer, GlobalAverage):
            x = x.mean(axis=(1, 2))
        elif isinstance(layer, Dropout) and key is not None:
            key, own = jax.random.split(key)
            kept = jax.random.bernoulli(own, 1 - layer.p, x.shape)
            x = jnp.where(kept, x / (1 - layer.p), 0)
    return x


def step(job: Job) -> Step:
    os.environ["NPROC"] = str(job.threads)  # XLA asks for it as its threads start
    layers = layers_of(job.preset)
    images, labels = draw(job.preset, job.batch)
    x, y = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels, jnp.int32)
    parameters = [
        jnp.asarray(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)
        for value in initial_parameters(job.preset)
    ]

    def cross_entropy(parameters: Any, x: Any, y: Any, key: Any) -> Any:
        log_p = jax.nn.log_softmax(forward(layers, parameters, x, key))
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def updated(state: Any, x: Any, y: Any) -> Any:
        """(Parameters, momentum, key) after a step of SGD, and the loss before it."""
        parameters, momentum, key = state
        key, own = jax.random.split(key)
        loss, gradients = jax.value_and_grad(cross_entropy)(parameters, x, y, own)
        momentum = [
            MOMENTUM * v + g + WEIGHT_DECAY * p
            for p, v, g in zip(parameters, momentum, gradients, strict=True)
        ]
        parameters = [p - LR * v for p, v in zip(parameters, momentum, strict=True)]
        return (parameters, momentum, key), loss

    train_step = jax.jit(updated, donate_argnums=0)
    logits = jax.jit(lambda parameters, x: forward(layers, parameters, x))
    state = parameters, [jnp.zeros_like(p) for p in parameters], jax.random.key(0)

    def train() -> float:
        nonlocal state
        state, loss = jax.block_until_ready(train_step(state, x, y))
        return float(loss)

    def predict() -> Any:
        return np.asarray(jax.block_until_ready(logits(state[0], x)))

    return train if job.what == "train" else predict
