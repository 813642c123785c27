"""Take all measurements, and draw the picture of the README (`make bench`).

    python -m benchmarks.suite [NAME …]
    python -m benchmarks.suite article quick paper article-predict table

This takes more than half an hour on two cores. "draw" draws the picture, and
"table" prints a Markdown table of the steps and predictions in the results.
Without a name, everything is done.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator

from .agreement import check
from .by_operation import main as operations
from .convolution import main as layers
from .cpu import (
    BATCH,
    COMPETITORS,
    REFERENCE,
    Entry,
    measure,
    report,
    save,
    usual,
    warn_of_settings,
)
from .machine import describe
from .table import table

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "cpu.png"
CORES = describe()["cores"]
FAST = [name for name in COMPETITORS if name not in ("MyGrad", "tinygrad")]


def agreement() -> None:
    """Raises SystemExit if a competitor computes something else than the others."""
    agree = [check(preset) for preset in BATCH]
    if not all(agree):
        raise SystemExit("competitors don't agree: their times can't be compared")


def step(
    preset: str,
    rounds: int,
    names: list[str] | None = None,
    what: str = "train",
    batch: int | None = None,
) -> None:
    result = measure(preset, what, rounds, usual(preset, what, batch, CORES, names))
    report(result)
    save(f"cpu-{preset}-{what}", result, RESULTS)


def compare(name: str, entries: dict[str, Entry], rounds: int) -> None:
    result = measure("article", "train", rounds, entries)
    report(result, next(iter(entries)))
    save(f"cpu-article-{name}", result, RESULTS)


def batches() -> None:
    """The cost of an image from batch 16 to 1,024, against batch 64."""
    entries = {}
    for name in ("minicnn, auto", "PyTorch channels-last"):
        for batch in (64, 16, 256, 1024):
            entries[f"{name} {batch}"] = Entry(COMPETITORS[name], batch, CORES)
    compare("batches", entries, 3)


def threads() -> None:
    """One thread against two."""
    names = ("minicnn, auto", "minicnn, im2col", "own loop, auto", "PyTorch channels-last")
    entries = {f"{name} {n}": Entry(COMPETITORS[name], 64, n) for name in names for n in (1, 2)}
    compare("threads", entries, 2)


def runs() -> None:
    """Images a second of whole `nin.train` runs, loading included."""
    rows: dict[str, Any] = {}
    for preset, images in (("article", 1280), ("quick", 19200)):
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "nin.train", "--preset", preset, "--epochs", "2"]
            command += ["--limit-train", str(images), "--limit-test", "256", "--out", f"{out}/run"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            with open(f"{out}/run/metrics.csv", encoding="utf-8") as file:
                last = list(csv.DictReader(file))[-1]
        rows[preset] = {"images_per_second": float(last["images_per_second"])}
        print(f"nin.train --preset {preset}: {rows[preset]['images_per_second']:.0f} images/s")
    save("runs", {"rows": rows}, RESULTS)


MEASUREMENTS = {
    "agreement": agreement,
    "article": lambda: step("article", 5),
    "quick": lambda: step("quick", 9),
    "paper": lambda: step("paper", 5, FAST),
    "article-predict": lambda: step("article", 5, FAST, "predict"),
    "quick-predict": lambda: step("quick", 9, FAST, "predict", 256),
    "d2l": lambda: step("d2l", 2, FAST),
    "layers": lambda: layers([]),
    "operations": lambda: operations([]),
    "runs": runs,
    "threads": threads,
    "batches": batches,
}


def draw() -> None:
    """The step of `article`: time and memory against PyTorch channels-last."""
    rows = json.loads((RESULTS / "cpu-article-train.json").read_text())["rows"]
    base = rows[REFERENCE]
    names = list(rows)[::-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axes, field, title in (
        (left, "ms_an_image", "time of a training step"),
        (right, "added_mib", "memory that it adds"),
    ):
        shown = [n for n in names if field == "ms_an_image" or rows[n]["batch"] == base["batch"]]
        ratios = [rows[n][field] / base[field] for n in shown]
        ours = [COMPETITORS[n].library == "minicnn" for n in shown]
        colours = ["tab:blue" if own else "silver" for own in ours]
        bars = axes.barh(shown, ratios, color=colours)
        axes.bar_label(bars, [f"{r:.2f}" for r in ratios], padding=3)
        axes.axvline(1, color="black", linewidth=0.8, zorder=0)
        axes.set_title(title)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_xscale("log")
    left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_locator(NullLocator())
    figure.supxlabel(f"ratio to {REFERENCE} (`article`, 64 images of 224×224, two cores)")
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)
    print(f"drawn: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite",
        usage="%(prog)s [NAME ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"measure only these, of {', '.join(MEASUREMENTS)}; or draw, or table",
    )
    args = parser.parse_args()
    if unknown := set(args.names) - {*MEASUREMENTS, "draw", "table"}:
        parser.error(f"no measurement is called {sorted(unknown)[0]!r}")
    measured = [name for name in args.names or MEASUREMENTS if name in MEASUREMENTS]
    if measured:
        warn_of_settings()
    for name in measured:
        MEASUREMENTS[name]()
    if not args.names or "draw" in args.names:
        draw()
    if not args.names or "table" in args.names:
        print(table(RESULTS))


if __name__ == "__main__":
    main()
