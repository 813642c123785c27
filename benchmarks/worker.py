"""One library in a process of its own: takes a step, or a prediction, whenever it is told to.

`benchmarks.cpu` starts one of these for each competitor and talks to it in lines: "train" or
"predict" comes in, the seconds that one took go out. So competitors take turns, and none shares
memory or threads with another. minicnn is not even imported where it doesn't compete, as it tells
the C library to keep freed memory, which would speed up others too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

Step = Callable[[], Any]
IMAGE_SIZE = {"article": 224, "d2l": 224, "quick": 28}
TURN = 0.5  # seconds that a turn lasts at least: short steps follow one another, as in training
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4


def draw(preset: str, n: int) -> tuple[Any, Any]:
    """Images and labels of the preset's size, the same for every library."""
    rng = np.random.default_rng(0)
    size = IMAGE_SIZE[preset]
    return rng.standard_normal((n, 1, size, size), dtype=np.float32), rng.integers(0, 10, n)


def network(preset: str, nn: Any) -> Any:
    """The preset's network, made of the layers of another `nn` than minicnn's."""
    stand_in = ModuleType("minicnn")
    stand_in.nn = nn  # type: ignore[attr-defined]
    sys.modules["minicnn"] = stand_in
    networks = import_module("nin.networks")
    if preset == "d2l":
        return networks.article(mlp_layers=2)
    return getattr(networks, preset)()


def minicnn(preset: str, n: int, threads: int, how: str) -> tuple[Step, Step]:
    """`how` is the convolution algorithm; "loop-" before it means a user's own loop."""
    import threadpoolctl

    import minicnn as mc
    from minicnn.parallel import MicroBatches
    from nin.presets import PRESETS

    model = PRESETS[preset].build()
    optimizer = mc.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
    criterion = mc.nn.CrossEntropyLoss()
    x, y = (mc.tensor(a) for a in draw(preset, n))
    threadpoolctl.threadpool_limits(threads, user_api="blas")
    mc.context.set_default(conv_algorithm=how.removeprefix("loop-"))
    if how.startswith("loop-"):

        def train() -> Any:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        def predict() -> Any:
            model.eval()
            with mc.no_grad():
                return model(x).numpy()

        return train, predict

    batches = MicroBatches(model, threads=threads, micro_batch=PRESETS[preset].micro_batch)

    def train_pieces() -> Any:
        optimizer.zero_grad()
        loss = batches.backward(criterion, x, y)
        optimizer.step()
        return loss

    def predict_pieces() -> Any:
        model.eval()
        return batches.predict(x).numpy()

    return train_pieces, predict_pieces


def pytorch(preset: str, n: int, threads: int, how: str) -> tuple[Step, Step]:
    """`how` is "contiguous", PyTorch's default memory layout, or "channels_last"."""
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if how == "channels_last" else torch.contiguous_format
    model: Any = network(preset, torch.nn)
    model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
    criterion = torch.nn.CrossEntropyLoss()
    x, y = (torch.from_numpy(a) for a in draw(preset, n))
    x = x.contiguous(memory_format=layout)

    def train() -> Any:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def predict() -> Any:
        model.eval()
        with torch.no_grad():
            return model(x).numpy()

    return train, predict


def layers(preset: str) -> list[tuple[str, dict[str, Any]]]:
    """The preset's network as a list of (layer, settings)."""
    found: list[tuple[str, dict[str, Any]]] = []

    def convolution(i: int, o: int, kernel_size: int, stride: int = 1, padding: int = 0) -> None:
        settings = {"shape": (o, i, kernel_size, kernel_size), "stride": stride, "padding": padding}
        found.append(("conv", settings))

    def pool(kernel: int, stride: int | None = None) -> None:
        found.append(("pool", {"kernel": kernel, "stride": stride or kernel}))

    stand_in = SimpleNamespace(
        Module=object,
        Sequential=lambda *parts: None,
        Conv2d=convolution,
        MaxPool2d=pool,
        ReLU=lambda: found.append(("relu", {})),
        Dropout=lambda p: found.append(("dropout", {"p": p})),
        AdaptiveAvgPool2d=lambda size: found.append(("average", {})),
        Flatten=lambda: None,
    )
    network(preset, stand_in)
    return found


def initial_weights(shape: tuple[int, ...]) -> Any:
    """He et al.'s, which is enough for timing."""
    scale = np.sqrt(2 / np.prod(shape[1:]))
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def mygrad(preset: str, n: int, threads: int, how: str) -> tuple[Step, Step]:
    """MyGrad: autograd on NumPy, with convolution and pooling among its layers."""
    import mygrad as mg
    import threadpoolctl
    from mygrad.nnet import layers as mg_layers
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy

    threadpoolctl.threadpool_limits(threads, user_api="blas")
    images, labels = draw(preset, n)
    network_layers = layers(preset)
    parameters, momentum_buffers = [], []
    for name, settings in network_layers:
        if name == "conv":
            shape = settings["shape"]
            parameters += [mg.tensor(initial_weights(shape))]
            parameters += [mg.tensor(np.zeros((shape[0], 1, 1), np.float32))]
    momentum_buffers = [np.zeros_like(p.data) for p in parameters]
    rng = np.random.default_rng(0)

    def fitted(x: Any, kernel: int, stride: int, padding: int = 0) -> Any:
        """x without what hangs over: MyGrad wants windows that fit, others leave the rest out."""
        around = 2 * padding - kernel
        h, w = ((size + around) // stride * stride - around for size in x.shape[2:])
        return x[:, :, :h, :w]

    def forward(training: bool) -> Any:
        x, mine = mg.tensor(images, constant=True), iter(parameters)
        for name, settings in network_layers:
            if name == "conv":
                stride, padding = settings["stride"], settings["padding"]
                x = fitted(x, settings["shape"][2], stride, padding)
                x = mg_layers.conv_nd(x, next(mine), stride=stride, padding=padding) + next(mine)
            elif name == "relu":
                x = relu(x)
            elif name == "pool":
                k, s = settings["kernel"], settings["stride"]
                x = mg_layers.max_pool(fitted(x, k, s), (k, k), s)
            elif name == "dropout" and training:
                kept = rng.random(x.shape, np.float32) >= settings["p"]
                x = x * (kept / np.float32(1 - settings["p"]))
            elif name == "average":
                x = x.mean(axis=(2, 3))
        return x

    def train() -> Any:
        loss = softmax_crossentropy(forward(True), labels)
        loss.backward()
        for p, v in zip(parameters, momentum_buffers, strict=True):
            v *= MOMENTUM
            v += p.grad + WEIGHT_DECAY * p.data
            p.data -= LR * v
            p.null_grad()
        return float(loss)

    def predict() -> Any:
        with mg.no_autodiff:
            return forward(False).data

    return train, predict


def tinygrad(preset: str, n: int, threads: int, how: str) -> tuple[Step, Step]:
    """tinygrad on the CPU, its step compiled once by TinyJit (it needs clang)."""
    import tinygrad as tg
    from tinygrad.helpers import Context
    from tinygrad.nn.optim import SGD

    images, labels = (tg.Tensor(a).realize() for a in draw(preset, n))
    network_layers = layers(preset)
    parameters = []
    for name, settings in network_layers:
        if name == "conv":
            shape = settings["shape"]
            parameters += [tg.Tensor(initial_weights(shape)), tg.Tensor.zeros(shape[0])]
    parameters = [p.contiguous().realize() for p in parameters]
    for p in parameters:
        p.requires_grad = True
    optimizer = SGD(parameters, LR, MOMENTUM, WEIGHT_DECAY)

    def forward() -> Any:
        x, mine = images, iter(parameters)
        for name, settings in network_layers:
            if name == "conv":
                stride, padding = settings["stride"], settings["padding"]
                x = x.conv2d(next(mine), next(mine), stride=stride, padding=padding)
            elif name == "relu":
                x = x.relu()
            elif name == "pool":
                kernel = (settings["kernel"],) * 2
                x = x.max_pool2d(kernel, settings["stride"])
            elif name == "dropout":
                x = x.dropout(settings["p"])
            elif name == "average":
                x = x.mean(axis=(2, 3))
        return x

    def step() -> Any:
        with Context(TRAINING=1):
            optimizer.zero_grad()
            loss = forward().sparse_categorical_crossentropy(labels)
            loss.backward()
            optimizer.step()
            return loss.realize()

    def answer() -> Any:
        return forward().realize()

    train, predict = tg.TinyJit(step), tg.TinyJit(answer)
    return lambda: train().item(), lambda: predict().numpy()


def memory(field: str) -> int:
    """KiB held now (VmRSS) or at most so far (VmHWM). getrusage's maximum includes the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))


LIBRARIES = {"minicnn": minicnn, "torch": pytorch, "mygrad": mygrad, "tinygrad": tinygrad}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("how")
    parser.add_argument("--preset", choices=IMAGE_SIZE, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    train, predict = LIBRARIES[args.library](args.preset, args.batch, args.threads, args.how)
    before = memory("VmRSS")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        step = train if line.strip() == "train" else predict
        steps, start = 0, time.perf_counter()
        while not steps or time.perf_counter() - start < TURN:
            step()
            steps += 1
        seconds = (time.perf_counter() - start) / steps
        added = memory("VmHWM") - before
        print(json.dumps({"seconds": seconds, "added_kib": added}), flush=True)


if __name__ == "__main__":
    main()
