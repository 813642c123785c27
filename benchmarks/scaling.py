"""Measure how ranks speed up a training here, and predict it for more of them.

    python -m benchmarks.scaling measure   # 1 and 2 ranks (five minutes)
    python -m benchmarks.scaling parts     # only the last minute of this
    python -m benchmarks.scaling           # the prediction: table and picture

"measure" times steps of 1 and 2 ranks beside one process, and then how long a
rank takes for different numbers of images, which is what "parts" measures
alone. The prediction is a model: a step of p ranks takes the time that one
rank needs for its part of the batch, and the time of one all-reduce of the
gradients. docs/distributed.md says what follows from it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import minicnn
from minicnn import distributed, nn, optim
from minicnn.context import using
from minicnn.parallel import MicroBatches
from minicnn.processes import Processes
from nin.presets import PRESETS

RESULTS = Path(__file__).parent / "results" / "scaling.json"
PICTURE = Path(__file__).parents[1] / "docs" / "scaling.png"
MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
BATCH = {"article": 64, "quick": 128, "paper": 64}
TURN = {"article": 5.0, "quick": 2.0, "paper": 3.0}  # seconds that a turn lasts
ROUNDS = {"article": 3, "quick": 5, "paper": 3}
RANKS = [2**k for k in range(11)]
FLOAT = 4  # bytes


# --- the model -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """What one message costs: α seconds, and β seconds for each byte; γ adds one byte's number."""

    name: str
    alpha: float
    beta: float
    gamma: float = 1 / 4e9  # a core adds 1e9 float32 a second; a GPU's memory is no limit here

    def all_reduce(self, p: int, m: float) -> float:
        """Seconds for m bytes on p ranks: the best of three algorithms.

        Recursive doubling, for short messages; halving and doubling, and the ring, for long ones.
        Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication Operations in
        MPICH", section 4.
        """
        if p == 1:
            return 0.0
        rounds, share = math.ceil(math.log2(p)), (p - 1) / p * m
        long = 2 * share * self.beta + share * self.gamma
        return min(
            rounds * (self.alpha + m * (self.beta + self.gamma)),
            2 * rounds * self.alpha + long,
            2 * (p - 1) * self.alpha + long,
        )


@dataclass(frozen=True)
class Work:
    """A step of n images on one rank: `fixed` + `each`·n seconds; gradients of `size` bytes."""

    fixed: float
    each: float
    size: float

    def step(self, n: int) -> float:
        return self.fixed + self.each * n

    def strong(self, batch: int, p: int, network: Network) -> float:
        """Efficiency where p ranks share one batch: the time of one, by p times theirs."""
        taken = self.step(-(-batch // p)) + network.all_reduce(p, self.size)
        return self.step(batch) / (p * taken)

    def weak(self, batch: int, p: int, network: Network) -> float:
        """Efficiency where every rank has such a batch of its own."""
        return self.step(batch) / (self.step(batch) + network.all_reduce(p, self.size))


def networks(measured: dict[str, Any]) -> list[Network]:
    """This machine's memory as it was measured, and others by what they are sold as.

    Latencies of Ethernet are those of MPI over TCP and over RDMA; NVLink's 300 GB/s are what NCCL
    reaches of 450 on eight H100s.
    """
    return [
        Network("shared memory", measured["alpha"], measured["beta"], 0.0),
        Network("10 Gbit/s Ethernet", 30e-6, 8 / 10e9),
        Network("100 Gbit/s Ethernet", 5e-6, 8 / 100e9),
        Network("NVLink", 5e-6, 1 / 300e9, 0.0),
    ]


# --- measuring -----------------------------------------------------------------------------------


def _step(preset_name: str, batch: int, how: str, threads: int) -> Callable[[], None]:
    """A training step of a part of a random batch, as nin.train takes it."""
    preset = PRESETS[preset_name]
    minicnn.manual_seed(0)
    model = preset.build()
    size = preset.image_size
    part = distributed.part(batch)
    images = minicnn.randn(batch, 1, size, size)[part]
    labels = minicnn.randint(0, 10, (batch,))[part]
    optimizer = optim.SGD(model.parameters(), lr=1e-6, momentum=preset.momentum)
    kind = Processes if how == "processes" else MicroBatches
    batches = kind(model, threads=threads, micro_batch=preset.micro_batch)
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        with distributed.taking_part(batch):
            loss = minicnn.tensor(batches.backward(criterion, images, labels))
            distributed.all_reduce_gradients(model.parameters(), loss, len(labels))
        if preset.max_norm:
            nn.utils.clip_grad_norm_(model.parameters(), preset.max_norm)
        optimizer.step()
        distributed.largest(0)

    return step


def worker(args: argparse.Namespace) -> None:
    """On each rank: print the seconds of a step, and of it the share of waiting for others."""
    if args.how == "ranks":
        distributed.init_process_group()
    if args.preset == "all-reduce":
        found = _all_reduce_times()
    else:
        with using(conv_algorithm="auto"):
            step = _step(args.preset, args.batch, args.how, args.threads)
            for _ in range(2):
                step()
            steps, waited, start = 0, distributed.seconds(), time.perf_counter()
            while not distributed.largest(time.perf_counter() - start > args.seconds) or not steps:
                step()
                steps += 1
        taken = time.perf_counter() - start
        found = {"seconds": taken / steps, "waiting": (distributed.seconds() - waited) / taken}
    if distributed.get_rank() == 0:
        print(json.dumps(found))


def _all_reduce_times() -> dict[str, float]:
    """Seconds of an all-reduce by bytes."""
    found = {}
    for size in (4, 2**12, 2**16, 2**20, 2**23):
        tensor, times = minicnn.ones(size // FLOAT), []
        for _ in range(30):
            distributed.barrier()
            start = time.perf_counter()
            distributed.all_reduce(tensor)
            times.append(time.perf_counter() - start)
        found[str(size)] = statistics.median(times)
    return found


def run(ranks: int, preset: str, batch: int = 1, how: str = "ranks", threads: int = 1) -> Any:
    command = [MPIEXEC, "-n", str(ranks)] if how == "ranks" else []
    command += [sys.executable, "-m", "benchmarks.scaling", "worker", preset, str(batch), how]
    command += [str(threads), str(TURN.get(preset, 0))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> None:
    found: dict[str, Any] = {"steps": {}, "parts": {}}
    times = {int(size): t for size, t in run(2, "all-reduce").items()}
    long = max(times)
    found["all_reduce"] = times
    found["alpha"] = times[min(times)]
    # Two ranks: a message each way, of half of it, twice.
    found["beta"] = (times[long] - times[min(times)]) / long
    for preset, batch in BATCH.items():
        ways = {
            "2 ranks": (2, preset, batch, "ranks", 1),
            "2 threads": (1, preset, batch, "threads", 2),
            "2 processes": (1, preset, batch, "processes", 2),
        }
        rounds = [{name: run(*way) for name, way in ways.items()} for _ in range(ROUNDS[preset])]
        entry: dict[str, Any] = {}
        for name in ways:
            taken = [each[name]["seconds"] for each in rounds]
            ratios = [each["2 ranks"]["seconds"] / each[name]["seconds"] for each in rounds]
            entry[name] = {"seconds": statistics.median(taken), "ratio": statistics.median(ratios)}
        entry["2 ranks"]["waiting"] = statistics.median(e["2 ranks"]["waiting"] for e in rounds)
        entry["4 ranks"] = run(4, preset, batch)
        found["steps"][preset] = entry
        print(preset, json.dumps(entry), flush=True)
    _save(found)
    measure_parts()


def measure_parts() -> None:
    """Seconds of a step of one rank by its images, while another works beside it on its own.

    The largest part, half a batch, takes turns with two ranks that share the batch.
    """
    found = json.loads(RESULTS.read_text())
    for preset, batch in BATCH.items():
        parts = {n: _apart(preset, n) for n in (1, batch // 8)}
        turns = [(run(2, preset, batch)["seconds"], _apart(preset, batch // 2)) for _ in range(3)]
        shared, parts[batch // 2] = map(statistics.median, zip(*turns, strict=True))
        found["parts"][preset] = parts
        found["steps"][preset]["2 ranks, beside parts"] = {"seconds": shared}
        print(preset, json.dumps(parts), shared, flush=True)
    _save(found)


def _apart(preset: str, n: int) -> float:
    """Seconds of a step of n images where two processes take such steps, each for itself."""
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(run, 1, preset, n, "threads") for _ in range(2)]
        return statistics.mean(each.result()["seconds"] for each in both)


def _save(found: dict[str, Any]) -> None:
    from .machine import describe  # it asks PyTorch, which the plan does without

    RESULTS.write_text(json.dumps({**found, "machine": describe()}, indent=1) + "\n")
    print(f"written: {RESULTS}")


# --- the plan ------------------------------------------------------------------------------------


def gpu_steps(preset: str) -> dict[str, float]:
    """Seconds of a step by its images on an H200, as they were measured (`make bench-gpu`)."""
    steps = json.loads((RESULTS.parent / "nvidia-h200.json").read_text())["steps"].values()
    own = [s for s in steps if (s["preset"], s["what"], s["tf32"]) == (preset, "train", False)]
    return {str(s["batch"]): s["rows"]["minicnn"]["ms"] / 1000 for s in own}


def work_of(preset: str, parts: dict[str, float]) -> Work:
    """The line through the smallest and the largest part that were measured."""
    size = FLOAT * sum(p.numel() for p in PRESETS[preset].build().parameters())
    times = sorted((int(n), t) for n, t in parts.items())
    (few, least), (many, most) = times[0], times[-1]
    each = (most - least) / (many - few)
    return Work(max(0.0, least - each * few), each, size)


def plan() -> None:
    found = json.loads(RESULTS.read_text())
    works = {preset: work_of(preset, parts) for preset, parts in found["parts"].items()}
    shared, *_ = nets = networks(found)
    print("step, seconds       measured   predicted")
    for preset, work in works.items():
        for ranks, name in ((2, "2 ranks, beside parts"), (4, "4 ranks")):
            busy = ranks / 2  # ranks on each of this machine's cores
            n = -(-BATCH[preset] // ranks)
            predicted = busy * work.step(n) + shared.all_reduce(ranks, work.size)
            measured = found["steps"][preset][name]["seconds"]
            print(f"{preset:8} {ranks} ranks {measured:11.4f} {predicted:11.4f}")
    columns = {f"{preset}, a core each": (work, nets[:3]) for preset, work in works.items()}
    columns["article, a GPU each"] = work_of("article", gpu_steps("article")), nets[1:]
    for name, (work, own) in columns.items():
        batch = BATCH[name.split(",")[0]]
        print(f"\n{name}; one batch of {batch} for all, and one for each: efficiency")
        print("ranks   " + "".join(f"{net.name:>21}" for net in own))
        for p in (2, 8, 64, 1024):
            pairs = [(work.strong(batch, p, net), work.weak(batch, p, net)) for net in own]
            print(f"{p:5}   " + "".join(f"{f'{s:.2f} {w:.2f}':>21}" for s, w in pairs))
    draw(columns)


def draw(columns: dict[str, tuple[Work, list[Network]]]) -> None:
    """Efficiency over ranks, for one batch and for a batch for each rank."""
    size = 4.8, 2.1 * len(columns)  # inches: the labels can be read on a phone
    figure, axes = plt.subplots(len(columns), 2, figsize=size, sharex=True, sharey=True)
    colours = {"shared memory": "C2", "10 Gbit/s Ethernet": "C3", "NVLink": "C4"}
    for row, (name, (work, nets)) in zip(axes, columns.items(), strict=True):
        batch = BATCH[name.split(",")[0]]
        kinds = (work.strong, f"share a batch of {batch}"), (work.weak, f"a batch of {batch} each")
        for one, (efficiency, text) in zip(row, kinds, strict=True):
            for net in nets:
                values = [efficiency(batch, p, net) for p in RANKS]
                colour = colours.get(net.name, "C0")
                one.plot(RANKS, values, marker=".", color=colour, label=net.name)
            one.set_title(f"{name}:\n{text}", fontsize=8)
            one.set_xscale("log", base=2)
            one.set_xticks(RANKS[::3], [f"{p:,}" for p in RANKS[::3]])
            one.tick_params(labelsize=8)
            one.set_ylim(0, 1.05)
            one.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    axes[-1, 0].legend(fontsize=7)
    figure.supxlabel("ranks")
    figure.supylabel("efficiency")
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=140)
    print(f"drawn: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("measure")
    commands.add_parser("parts")
    inside = commands.add_parser("worker")
    inside.add_argument("preset")
    inside.add_argument("batch", type=int)
    inside.add_argument("how")
    inside.add_argument("threads", type=int)
    inside.add_argument("seconds", type=float)
    args = parser.parse_args()
    if args.command == "worker":
        worker(args)
    elif args.command is not None:
        {"measure": measure, "parts": measure_parts}[args.command]()
    else:
        plan()


if __name__ == "__main__":
    main()
