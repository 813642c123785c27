"""One library in a process of its own: takes steps, or predictions, whenever it is told to.

`benchmarks.cpu` starts one of these for each competitor and talks to it in lines: "turn" comes in,
the seconds that one step took go out; "answer" comes in, and what one step returned goes out. So
competitors take turns, and none shares memory or threads with another. minicnn is not even imported
where it doesn't compete, as it tells the C library to keep freed memory, which would speed up
others too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .libraries import Job, Step
from .network import IMAGE_SIZE

TURN = 0.5  # seconds that a turn lasts at least: short steps follow one another, as in training
LIBRARIES = ("jax", "minicnn", "mygrad", "onnxruntime", "openvino", "tinygrad", "torch")


def memory(field: str) -> int:
    """KiB held now (VmRSS) or at most so far (VmHWM), by this process and its children together.

    getrusage's maximum includes the parent's.
    """
    children = Path("/proc/self/task").glob("*/children")
    kib = 0
    for pid in ["self", *(pid for file in children for pid in file.read_text().split())]:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        kib += next(int(line.split()[1]) for line in lines.splitlines() if line.startswith(field))
    return kib


def turn(step: Step) -> float:
    """Seconds that a step takes, as many of them as fit into a turn, and one at least."""
    steps, start = 0, time.perf_counter()
    while not steps or time.perf_counter() - start < TURN:
        step()
        steps += 1
    return (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("how")
    parser.add_argument("--preset", choices=IMAGE_SIZE, required=True)
    parser.add_argument("--what", choices=("train", "predict"), required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = Job(args.preset, args.what, args.batch, args.threads, args.how)
    step = import_module(f"benchmarks.libraries.{args.library}").step(job)
    before = memory("VmRSS")

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    answer(ready=True)
    for line in sys.stdin:
        if line.strip() == "turn":
            answer(seconds=turn(step), added_kib=memory("VmHWM") - before)
        else:
            answer(value=np.asarray(step(), np.float64).tolist())


if __name__ == "__main__":
    main()
