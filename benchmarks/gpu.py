"""Compare steps, predictions and runs with PyTorch on a GPU (`make bench-gpu`).

    python -m benchmarks.gpu

This takes ten minutes at most, and installs and downloads nothing: it needs a
Python with CuPy and PyTorch, and Fashion-MNIST where `nin.train` looks for
it. Each library runs in its own process on the same device, and they take
turns; the figures are medians over rounds. A figure that can't be measured is
left out with the reason, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from minicnn import backends, environment

from .cpu import Worker
from .gpu_worker import Setting
from .machine import describe

RESULTS = Path(__file__).parent / "results"
SECONDS = 570  # after which what is not done yet is left out
REFERENCE = "PyTorch"
COMPETITORS = {  # the library, and the algorithm of minicnn's convolutions
    "minicnn": ("minicnn", "auto"),
    REFERENCE: ("torch", "auto"),
    "minicnn, winograd": ("minicnn", "winograd"),
}
SETTINGS = {
    "article, batch 64, float32": Setting("article", "train", 64),
    "article, batch 256, float32": Setting("article", "train", 256),
    "article, batch 64, TF32": Setting("article", "train", 64, tf32=True),
    "article, batch 256, TF32": Setting("article", "train", 256, tf32=True),
    "quick, batch 128, float32": Setting("quick", "train", 128),
    "article, prediction, batch 256, float32": Setting("article", "predict", 256),
    "article, prediction, batch 256, TF32": Setting("article", "predict", 256, tf32=True),
}
ROUNDS = 5
DRY_SETTINGS = {
    "quick, batch 2": Setting("quick", "train", 2),
    "quick, prediction, batch 2, TF32": Setting("quick", "predict", 2, tf32=True),
}
DRY_TRAINING = ["--epochs", "1", "--limit-train", "4", "--limit-test", "4", "--batch-size", "4"]
DRY_KERNELS = ["--preset", "quick", "--batch", "2", "--rounds", "1", "--size", "64"]
GOALS = {  # images a second, as ratios to PyTorch's
    "article, batch 64, float32": 1.0,
    "article, batch 256, float32": 1.0,
    "article, batch 64, TF32": 0.8,
    "article, batch 256, TF32": 0.8,
    "quick, batch 128, float32": 2.0,
    "article, prediction, batch 256, float32": 1.0,
    "article, prediction, batch 256, TF32": 1.0,
}


class Process(Worker):
    """A library's process."""

    def __init__(self, library: str, device: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_worker", library, "--device", device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._read()


class Failed(Exception):
    """A figure that can't be had."""


class TooLate(Exception):
    """The time is up."""


def steps(processes: dict[str, Process], setting: Setting, rounds: int) -> dict[str, Any]:
    """Median milliseconds, and images a second, of each competitor."""
    rows: dict[str, Any] = {}
    # A process holds one network at a time, so minicnn's two algorithms come after one another.
    for algorithm in ("auto", "winograd"):
        taken: dict[str, list[float]] = {}
        for name, (library, conv) in COMPETITORS.items():
            if conv == algorithm and library in processes:
                changed = setting._replace(conv=conv)._asdict()
                answer = processes[library].ask(json.dumps(changed))
                if "error" in answer:
                    rows[name] = answer
                else:
                    taken[name] = []
        for _ in range(rounds):
            for name, times in taken.items():
                times.append(processes[COMPETITORS[name][0]].ask("turn")["ms"])
        for name, times in taken.items():
            ms = statistics.median(times)
            speed = 1e3 * setting.batch / ms
            rows[name] = {"ms": ms, "images_per_second": speed, "all_ms": times}
    return {**setting._asdict(), "rounds": rounds, "rows": rows}


def run(flags: list[str]) -> dict[str, Any]:
    """A whole `python -m nin.train --backend cupy`, from the command to its last line."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "nin.train", "--backend", "cupy", "--no-progress", *flags]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", f"{out}/run"], capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise Failed(f"nin.train {' '.join(flags)}: {done.stderr.strip().splitlines()[-1]}")
        with open(f"{out}/run/metrics.csv", encoding="utf-8") as file:
            epochs = list(csv.DictReader(file))
    data = re.search(r"^Data +(.*?):", done.stderr, re.MULTILINE)
    return {
        "command": f"nin.train {' '.join(command[3:])}",
        "data": data[1] if data else "",
        "seconds": seconds,
        "training_seconds": sum(float(row["seconds"]) for row in epochs),
        "accuracy": float(epochs[-1]["accuracy"]),
        "images_per_second": float(epochs[-1]["images_per_second"]),
    }


def kernels(flags: list[str]) -> dict[str, Any]:
    """What `benchmarks.gpu_kernels` measures."""
    command = [sys.executable, "-m", "benchmarks.gpu_kernels", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"benchmarks.gpu_kernels: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show_steps(name: str, result: dict[str, Any]) -> None:
    base = result["rows"].get(REFERENCE, {}).get("ms")
    for who, row in result["rows"].items():
        text = f"{name:<40}{who:<18}"
        if "error" in row:
            print(text + row["error"])
        else:
            ratio = f"{base / row['ms']:.2f}" if base else ""
            goal = f"{GOALS[name]:.2f}" if name in GOALS else ""
            print(f"{text}{row['images_per_second']:>9,.0f}{ratio:>6}{goal:>6}", flush=True)
        name = ""


def show_kernels(result: dict[str, Any]) -> None:
    limits = result["ceilings"]
    print(f"\nKernels of a step of {result['preset']}, batch {result['batch']}, beside", end=" ")
    print(
        f"{limits['float32_flops'] / 1e12:.1f} TFLOP/s and {limits['copy_bytes'] / 1e9:,.0f} GB/s"
    )
    print(f"{'':<46}{'calls':>6}{'ms each':>10}{'share':>8}  of")
    for row in result["rows"]:
        shapes = " ".join("×".join(map(str, shape)) for shape in row["shapes"][:2])
        text = f"{row['kernel']:<18}{shapes:<28.28}{row['calls']:>6}{row['ms']:>10.4f}"
        print(f"{text}{100 * row['share']:>7.0f}%  {row['limit']}")
    whole = sum(row["ms"] * row["calls"] for row in result["rows"])
    print(f"{'all':<46}{'':>6}{whole:>10.2f}", flush=True)


def show_run(name: str, result: dict[str, Any]) -> None:
    print(f"{name:<40}{result['seconds']:>10.1f} s{100 * result['accuracy']:>10.2f}%", end="")
    print(f"  {result['data']}", flush=True)


def draw(result: dict[str, Any], path: Path) -> None:
    """Ratios to PyTorch, and each kind of kernel's share of what the device can do."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(4.8, 6.8))
    names, ratios = [], []
    for name, each in result["steps"].items():
        rows = each.get("rows", {})
        if "ms" in rows.get(REFERENCE, {}) and "ms" in rows.get("minicnn", {}):
            names.append(name.replace(", batch", ",\nbatch"))  # room for bars on a phone
            ratios.append(rows[REFERENCE]["ms"] / rows["minicnn"]["ms"])
    bars = above.barh(names[::-1], ratios[::-1], color="tab:blue")
    above.bar_label(bars, [f"{r:.2f}" for r in ratios[::-1]], padding=3, fontsize=8)
    above.axvline(1, color="black", linewidth=0.8)
    above.set_title("images a second, PyTorch = 1")
    totals: dict[str, list[float]] = {}  # of each kernel: the floor, and the time
    for row in result.get("kernels", {}).get("rows", []):
        floor, taken = totals.setdefault(row["kernel"], [0.0, 0.0])
        ms = row["ms"] * row["calls"]
        totals[row["kernel"]] = [floor + row["share"] * ms, taken + ms]
    kinds = sorted(totals, key=lambda kind: totals[kind][1])
    bars = below.barh(kinds, [100 * totals[k][0] / totals[k][1] for k in kinds], color="silver")
    below.bar_label(bars, [f"{totals[k][1]:.2f} ms" for k in kinds], padding=3, fontsize=8)
    below.set_title("% of a large product or copy;\ntime in a step")
    for axes in (above, below):
        axes.margins(x=0.25)
        axes.tick_params(labelsize=8)
        axes.title.set_fontsize(9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(result["device"]["Device"])
    figure.tight_layout()
    figure.savefig(path, dpi=140)
    plt.close(figure)


class Session:
    """Collects results, and writes them after each, so that nothing is lost."""

    def __init__(self, path: Path, result: dict[str, Any]) -> None:
        self.path, self.result = path, result
        self.failed = False

    def take(
        self, section: str, name: str | None, work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """What `work` gives, kept under its section and name; None, and the reason, if it fails."""
        try:
            found = work()
        except (Failed, OSError, ValueError, SystemExit) as error:
            print(f"{name or section}: left out: {error}", file=sys.stderr, flush=True)
            self.failed, found = True, {"error": str(error)}
        if name is None:
            self.result[section] = found
        else:
            self.result[section][name] = found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.result, indent=1) + "\n")
        return None if "error" in found else found


def measure(session: Session, dry: bool) -> None:
    """Everything, in the order of importance."""
    settings, rounds, training, alone = SETTINGS, ROUNDS, ["--preset", "article"], []
    if dry:
        settings, rounds, training, alone = DRY_SETTINGS, 1, DRY_TRAINING, DRY_KERNELS
    print(f"{'':<58}{'images/s':>9}{'ratio':>6}{'goal':>6}")
    processes: dict[str, Process] = {}
    for library in ("minicnn", "torch"):
        try:
            processes[library] = Process(library, "cpu" if dry and library == "torch" else "cuda")
        except SystemExit as error:
            print(f"without {library}: {error}", file=sys.stderr)
            session.failed = True
    try:
        for name, setting in settings.items():
            found = session.take("steps", name, partial(steps, processes, setting, rounds))
            if found:
                show_steps(name, found)
    finally:
        for process in processes.values():
            process.process.kill()
    print(f"\nnin.train {' '.join(training[:2])}, from the command to its last line")
    for name, flags in (("float32", training), ("TF32", [*training, "--tf32"])):
        if found := session.take("runs", name, partial(run, flags)):
            show_run(name, found)
    if found := session.take("kernels", None, partial(kernels, alone)):
        show_kernels(found)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status: 0 all measured, 1 not all, 2 no GPU."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "write the results into this directory (default: benchmarks/results)"
    parser.add_argument("--out", type=Path, metavar="DIR", default=RESULTS, help=text)
    parser.add_argument("--dry-run", action="store_true", help="do only a little of everything")
    args = parser.parse_args(argv)
    device = backends.describe("cuda")
    if "Trouble" in device:
        print(f"python -m benchmarks.gpu: {device['Trouble']}", file=sys.stderr)
        return 2

    def too_late(*_: object) -> None:
        raise TooLate(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS)
    slug = re.sub(r"[^a-z0-9]+", "-", device["Device"].lower()).strip("-")
    result = {
        "device": device,
        "machine": {**describe(), "processor": environment.processor()},
        "command": "python -m benchmarks.gpu" + (" --dry-run" if args.dry_run else ""),
        "steps": {},
        "runs": {},
    }
    session = Session(args.out / f"{slug}.json", result)
    print(f"{device['Device']}, CuPy {device['CuPy']}, CUDA {device['CUDA']}")
    try:
        measure(session, args.dry_run)
    except (TooLate, KeyboardInterrupt) as error:
        print(f"\nstopped: {error or 'interrupted'}", file=sys.stderr)
        session.failed = True
    signal.alarm(0)
    draw(result, session.path.with_suffix(".png"))
    print(f"\nwritten: {session.path}\n         {session.path.with_suffix('.png')}")
    return int(session.failed)


if __name__ == "__main__":
    sys.exit(main())
