"""Train a preset in minicnn and in PyTorch side by side: losses and seconds.

    python -m benchmarks.beside_pytorch --preset article --steps 200

Both start from the same weights and see the same batches and dropout masks.
They take their steps in turn, so that other work on the machine slows both;
the times are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import minicnn
from minicnn.parallel import MicroBatches
from minicnn.utils.data import DataLoader
from nin import data as datasets
from nin.presets import PRESETS

from .machine import describe
from .twin import same_masks, to_torch, twin


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside_pytorch",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "the network and its settings (default: article)"
    parser.add_argument("--preset", choices=PRESETS, default="article", help=text)
    text = "compare N steps (default: 200)"
    parser.add_argument("--steps", type=int, default=200, metavar="N", help=text)
    text = "draw all random numbers from this seed (default: 0)"
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=text)
    text = "look here first for Fashion-MNIST"
    parser.add_argument("--data-dir", metavar="DIR", help=text)
    text = "print every Nth step (default: 10)"
    parser.add_argument("--every", type=int, default=10, metavar="N", help=text)
    text = "write the results into this directory (default: benchmarks/results)"
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("benchmarks/results"), help=text
    )
    args = parser.parse_args()

    preset = replace(PRESETS[args.preset], dataset="fashion-mnist", limit_test=1)
    data, preset = datasets.load(preset, args.data_dir)
    minicnn.manual_seed(args.seed)
    model = preset.build()
    loader = DataLoader(
        data.train,
        preset.batch_size,
        shuffle=True,
        num_workers=1,
        generator=minicnn.Generator().manual_seed(args.seed),
    )
    options: dict[str, Any] = {
        "lr": preset.lr,
        "momentum": preset.momentum,
        "weight_decay": preset.weight_decay,
        "nesterov": preset.nesterov,
    }
    ours = minicnn.optim.SGD(model.parameters(), **options)
    batches = MicroBatches(model, micro_batch=preset.micro_batch)
    criterion = minicnn.nn.CrossEntropyLoss()

    other = twin(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    theirs = torch.optim.SGD(other.parameters(), **options)
    other_criterion = torch.nn.CrossEntropyLoss()

    rows: list[dict[str, float]] = []
    print(" step   minicnn   PyTorch  difference")
    for step, (x, y) in enumerate(loader):
        if step == args.steps:
            break
        same_masks(step)
        start = time.perf_counter()
        ours.zero_grad()
        loss = batches.backward(criterion, x, y)
        ours.step()
        seconds = time.perf_counter() - start

        tx = to_torch(x).contiguous(memory_format=torch.channels_last)
        ty = to_torch(y)
        same_masks(step)
        start = time.perf_counter()
        theirs.zero_grad()
        other_loss = other_criterion(other(tx), ty)
        other_loss.backward()
        theirs.step()
        value = other_loss.item()
        other_seconds = time.perf_counter() - start

        rows.append(
            {"loss": loss, "torch_loss": value, "seconds": seconds, "torch_seconds": other_seconds}
        )
        if step % args.every == 0 or step == args.steps - 1:
            print(f"{step:5d} {loss:9.6f} {value:9.6f}  {loss - value:+.1e}", flush=True)

    mine = statistics.median(row["seconds"] for row in rows[1:])
    torchs = statistics.median(row["torch_seconds"] for row in rows[1:])
    worst = max(abs(row["loss"] - row["torch_loss"]) for row in rows)
    print(f"largest difference of the losses {worst:.1e}")
    print(f"median step: minicnn {mine:.3f} s, PyTorch (channels-last) {torchs:.3f} s,", end=" ")
    print(f"ratio {mine / torchs:.2f}")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"beside_pytorch-{args.preset}.json"
    result = {
        "command": f"benchmarks.beside_pytorch --preset {args.preset} --steps {args.steps}",
        "machine": describe(),
        "threads": batches.threads,
        "micro_batch": batches.micro_batch,
        "median_seconds": mine,
        "torch_median_seconds": torchs,
        "ratio": mine / torchs,
        "largest_difference": worst,
        "losses": [round(row["loss"], 6) for row in rows],
        "torch_losses": [round(row["torch_loss"], 6) for row in rows],
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
