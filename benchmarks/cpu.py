"""Steps and predictions of the presets' networks, against PyTorch on the same CPU.

    python -m benchmarks.cpu --preset article --batch 64 --rounds 7

Every competitor runs in a process of its own; in each round each takes one step, in turn, so that
whatever else the machine does falls on all alike. Printed are medians and their ratios to PyTorch
with channels-last memory. The environment's OPENBLAS_CORETYPE should be unset.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from nin.presets import PRESETS

from .machine import describe

COMPETITORS = {
    "minicnn im2col": ("minicnn", "im2col"),
    "minicnn winograd": ("minicnn", "auto"),
    "minicnn own loop": ("minicnn", "loop"),
    "minicnn own loop auto": ("minicnn", "loop-auto"),
    "PyTorch": ("torch", "contiguous"),
    "PyTorch channels-last": ("torch", "channels_last"),
}
REFERENCE = "PyTorch channels-last"


class Worker:
    """A competitor's process."""

    def __init__(self, library: str, how: str, preset: str, batch: int, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", library, how, "--preset", preset]
        command += ["--batch", str(batch), "--threads", str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker stopped with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        return self._read()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def gemm_peak(threads: int) -> float:
    """GFLOP/s of NumPy's float32 matrix product, 2,048 square."""
    a = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    seconds = []
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        for _ in range(5):
            start = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - start)
    return float(2 * 2048**3 / statistics.median(seconds) / 1e9)


def measure(preset: str, batch: int, threads: int, rounds: int, what: str) -> dict[str, Any]:
    """Median seconds and added memory of each competitor."""
    workers = {
        name: Worker(library, how, preset, batch, threads)
        for name, (library, how) in COMPETITORS.items()
    }
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    peaks = []
    for _ in range(rounds + 1):
        peaks.append(gemm_peak(threads))
        for name, worker in workers.items():
            answers[name].append(worker.ask(what))
    for worker in workers.values():
        worker.stop()
    rows = {
        name: {
            "seconds": statistics.median(a["seconds"] for a in given[1:]),  # the first warms up
            "added_mib": given[-1]["added_kib"] / 1024,
        }
        for name, given in answers.items()
    }
    return {"rows": rows, "gemm_gflops": statistics.median(peaks)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="article")
    parser.add_argument("--batch", type=int, help="default: the preset's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=describe()["cores"])
    parser.add_argument("--what", choices=("train", "predict"), default="train")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    batch = args.batch or PRESETS[args.preset].batch_size

    result = measure(args.preset, batch, args.threads, args.rounds, args.what)
    reference = result["rows"][REFERENCE]
    print(f"{args.preset}, {args.what}, batch {batch}, {args.threads} threads")
    print(f"{'':<24}{'seconds':>9}{'ratio':>7}{'images/s':>10}{'MiB added':>11}{'ratio':>7}")
    for name, row in result["rows"].items():
        ratio = row["seconds"] / reference["seconds"]
        memory = row["added_mib"] / reference["added_mib"] if reference["added_mib"] else 0.0
        print(
            f"{name:<24}{row['seconds']:>9.4f}{ratio:>7.2f}{batch / row['seconds']:>10.0f}"
            f"{row['added_mib']:>11.0f}{memory:>7.2f}"
        )
    print(f"NumPy's float32 matrix product beside it: {result['gemm_gflops']:.0f} GFLOP/s")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"cpu-{args.preset}-{args.what}-{batch}-{args.threads}threads.json"
    settings = {"preset": args.preset, "what": args.what, "batch": batch, "threads": args.threads}
    path.write_text(json.dumps({**settings, "machine": describe(), **result}, indent=1) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
