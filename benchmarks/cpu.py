"""Time training steps and predictions of several libraries on the same CPU.

    python -m benchmarks.cpu --preset article --rounds 7

Each library runs in its own process. In each round each takes one step, in
turn, so that other work on the machine affects all alike. The medians are
printed, and their ratios to PyTorch with channels-last memory. The memory
that a step adds is that of the first step, which includes the memory of a
compiler in the process. `benchmarks.agreement` checks that all compute the
same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

import minicnn

from .machine import describe
from .network import IMAGE_SIZE


class Competitor(NamedTuple):
    library: str
    how: str = ""
    most: int | None = None  # so slow that it gets no more images than this
    environment: dict[str, str] = {}  # noqa: RUF012
    needs: tuple[str, ...] = ()  # modules beside the library
    trains: bool = True  # or else it only predicts


class Entry(NamedTuple):
    """Something to time: a competitor at a batch size, on some threads."""

    competitor: Competitor
    batch: int
    threads: int


# What minicnn asks of the C library as it is imported, asked for PyTorch through the environment.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
COMPETITORS = {
    "minicnn, im2col": Competitor("minicnn", "im2col"),
    "minicnn, auto": Competitor("minicnn", "auto"),
    "threads, auto": Competitor("minicnn", "threads-auto"),
    "own loop, im2col": Competitor("minicnn", "loop-im2col"),
    "own loop, auto": Competitor("minicnn", "loop-auto"),
    "PyTorch": Competitor("torch", "contiguous"),
    "PyTorch channels-last": Competitor("torch", "channels_last"),
    "the same, memory kept": Competitor("torch", "channels_last", environment=KEEP),
    # Frozen, a model that predicts has its weights laid out for oneDNN once.
    "torch.compile": Competitor("torch", "compiled", environment={"TORCHINDUCTOR_FREEZING": "1"}),
    "JAX": Competitor("jax", environment={"JAX_PLATFORMS": "cpu"}),
    "ONNX Runtime": Competitor("onnxruntime", needs=("onnx",), trains=False),
    "OpenVINO": Competitor("openvino", needs=("onnx",), trains=False),
    "MyGrad": Competitor("mygrad", most=8),
    "tinygrad": Competitor("tinygrad", most=8, environment={"DEV": "CPU"}),
}
REFERENCE = "PyTorch channels-last"
BATCH = {"article": 64, "d2l": 128, "paper": 64, "quick": 128}  # the presets'


class Worker:
    """A competitor's process."""

    def __init__(self, entry: Entry, preset: str, what: str) -> None:
        competitor = self.competitor = entry.competitor
        command = [sys.executable, "-m", "benchmarks.worker", competitor.library, competitor.how]
        command += ["--preset", preset, "--what", what]
        command += ["--batch", str(entry.batch), "--threads", str(entry.threads)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **competitor.environment},
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise SystemExit(f"the worker of {self.competitor.library} stopped: status {status}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        return self._read()

    def stop(self) -> None:
        self.process.communicate()  # closes its input, at which it ends


def missing(competitor: Competitor) -> str | None:
    """What a competitor needs and this machine lacks."""
    for module in (competitor.library, *competitor.needs):
        if find_spec(module) is None:
            return f"{module} is not installed (make bench installs it)"
    if competitor.library == "tinygrad" and shutil.which("clang") is None:
        return "tinygrad needs clang"
    if competitor.how == "compiled" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return "torch.compile needs g++"
    return None


def gemm_peak(threads: int) -> float:
    """GFLOP/s of NumPy's float32 matrix product, 2,048 square."""
    a = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    seconds = []
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        for _ in range(3):
            start = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - start)
    return float(2 * 2048**3 / statistics.median(seconds) / 1e9)


def warn_of_settings() -> None:
    """Say that the environment takes the choice of its kernels from OpenBLAS."""
    if kernels := os.environ.get("OPENBLAS_CORETYPE"):
        print(
            f"warning: OPENBLAS_CORETYPE={kernels} chooses the kernels of NumPy's OpenBLAS, "
            "which are not measured as users have them; unset it",
            file=sys.stderr,
        )


def usual(
    preset: str, what: str, batch: int | None, threads: int, names: list[str] | None = None
) -> dict[str, Entry]:
    """The competitors named, or all, as far as they are here and do that; says which are not."""
    entries = {}
    for name in names or COMPETITORS:
        competitor = COMPETITORS[name]
        if what == "train" and not competitor.trains:
            print(f"without {name}: it only predicts")
        elif lacks := missing(competitor):
            print(f"without {name}: {lacks}")
        else:
            most = competitor.most or 2**20
            entries[name] = Entry(competitor, min(batch or BATCH[preset], most), threads)
    return entries


def measure(preset: str, what: str, rounds: int, entries: dict[str, Entry]) -> dict[str, Any]:
    """Median seconds for an image, and the memory that the steps added, of each entry."""
    workers = {name: Worker(entry, preset, what) for name, entry in entries.items()}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    peaks = []
    for _ in range(rounds + 2):  # the first two warm up, and compile
        peaks.append(gemm_peak(max(e.threads for e in entries.values())))
        for name, worker in workers.items():
            answers[name].append(worker.ask("turn"))
    for worker in workers.values():
        worker.stop()
    rows = {
        name: {
            "batch": entries[name].batch,
            "threads": entries[name].threads,
            "ms_an_image": 1e3
            * statistics.median(a["seconds"] for a in given[2:])
            / entries[name].batch,
            "added_mib": given[-1]["added_kib"] / 1024,
        }
        for name, given in answers.items()
    }
    others = sorted({each.library for each in COMPETITORS.values()} - {"minicnn"})
    versions = {"minicnn": minicnn.__version__}  # what is installed has another name
    versions |= {library: version(library) for library in others if find_spec(library)}
    settings = {"preset": preset, "what": what, "rounds": rounds, "versions": versions}
    return {**settings, "gemm_gflops": statistics.median(peaks), "rows": rows}


def report(result: dict[str, Any], reference: str = REFERENCE) -> None:
    """Print one measurement as a table, with ratios to one of its rows."""
    rows = result["rows"]
    base = rows.get(reference) or next(iter(rows.values()))
    print(f"{result['preset']}, {result['what']}, medians of {result['rounds']};", end="")
    print(f" NumPy's matrix product beside it: {result['gemm_gflops']:.0f} GFLOP/s")
    columns = f"{'batch':>6}{'threads':>8}{'ms/image':>10}{'ratio':>7}{'MiB added':>11}{'ratio':>7}"
    print(" " * 24 + columns)
    for name, row in rows.items():
        ms = row["ms_an_image"]
        text = f"{name:<24}{row['batch']:>6}{row['threads']:>8}{ms:>10.3f}"
        text += f"{ms / base['ms_an_image']:>7.2f}{row['added_mib']:>11.0f}"
        if row["batch"] == base["batch"]:
            text += f"{row['added_mib'] / max(base['added_mib'], 1):>7.2f}"
        print(text)
    sys.stdout.flush()


def save(name: str, result: dict[str, Any], directory: Path) -> None:
    """Write a measurement beside what it was made on."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(), **result}, indent=1) + "\n")
    print(f"written: {path}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "the network and its settings (default: article)"
    parser.add_argument("--preset", choices=IMAGE_SIZE, default="article", help=text)
    text = "images in a batch (default: as in the preset)"
    parser.add_argument("--batch", type=int, metavar="N", help=text)
    text = "take turns N times (default: 7)"
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help=text)
    text = "threads for each library (default: one for each core)"
    parser.add_argument("--threads", type=int, default=describe()["cores"], metavar="N", help=text)
    text = "what to time: training steps or predictions (default: train)"
    parser.add_argument("--what", choices=("train", "predict"), default="train", help=text)
    text = f"compare only these, of {', '.join(map(repr, COMPETITORS))}"
    parser.add_argument("--only", nargs="*", choices=COMPETITORS, metavar="NAME", help=text)
    text = "write the results into this directory (default: benchmarks/results)"
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("benchmarks/results"), help=text
    )
    args = parser.parse_args()
    warn_of_settings()
    entries = usual(args.preset, args.what, args.batch, args.threads, args.only)
    result = measure(args.preset, args.what, args.rounds, entries)
    report(result)
    save(f"cpu-{args.preset}-{args.what}", result, args.out)


if __name__ == "__main__":
    main()
