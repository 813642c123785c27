"""One library in a process of its own: takes a step, or a prediction, whenever it is told to.

`benchmarks.cpu` starts one of these for each competitor and talks to it in lines: "train" or
"predict" comes in, the seconds it took go out. So competitors take turns, and none shares memory or
threads with another.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from nin.presets import PRESETS, Preset

Step = Callable[[], Any]
OPTIONS: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


def draw(preset: Preset, n: int) -> tuple[Any, Any]:
    """Images and labels of the preset's size, the same for every library."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 1, preset.image_size, preset.image_size), dtype=np.float32)
    return x, rng.integers(0, 10, n)


def minicnn(preset: Preset, n: int, threads: int, how: str) -> tuple[Step, Step]:
    """`how` is "loop", a user's own loop, or "im2col", "winograd" or "auto" in micro-batches."""
    import threadpoolctl

    import minicnn as mc
    from minicnn.parallel import MicroBatches

    model = preset.build()
    optimizer = mc.optim.SGD(model.parameters(), **OPTIONS)
    criterion = mc.nn.CrossEntropyLoss()
    x, y = (mc.tensor(a) for a in draw(preset, n))
    threadpoolctl.threadpool_limits(threads, user_api="blas")
    if how.startswith("loop"):
        if how == "loop-auto":
            mc.backends.conv_algorithm = "auto"

        def train() -> Any:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        def predict() -> Any:
            with mc.no_grad():
                return model(x).numpy()

        return train, predict

    mc.backends.conv_algorithm = how
    batches = MicroBatches(model, threads=threads, micro_batch=preset.micro_batch)

    def train_pieces() -> Any:
        optimizer.zero_grad()
        loss = batches.backward(criterion, x, y)
        optimizer.step()
        return loss

    return train_pieces, lambda: batches.predict(x).numpy()


def pytorch(preset: Preset, n: int, threads: int, how: str) -> tuple[Step, Step]:
    """`how` is "contiguous", PyTorch's default memory layout, or "channels_last"."""
    import torch

    from .twin import twin

    torch.set_num_threads(threads)
    layout = torch.channels_last if how == "channels_last" else torch.contiguous_format
    model: Any = twin(preset.build(), share_masks=False)
    model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), **OPTIONS)
    criterion = torch.nn.CrossEntropyLoss()
    x, y = (torch.from_numpy(a) for a in draw(preset, n))
    x = x.contiguous(memory_format=layout)

    def train() -> Any:
        model.train()
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


LIBRARIES = {"minicnn": minicnn, "torch": pytorch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("how")
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    train, predict = LIBRARIES[args.library](
        PRESETS[args.preset], args.batch, args.threads, args.how
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        step = train if line.strip() == "train" else predict
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps({"seconds": seconds, "added_kib": added}), flush=True)


if __name__ == "__main__":
    main()
