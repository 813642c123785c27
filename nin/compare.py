"""`python -m nin.compare RUN RUN …`: runs beside one another, as a table and as a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import command_line, drawing
from .command_line import Failure, UsageError, path, printable
from .presets import Preset
from .run import RunError, read_metrics, read_preset

PROG = "python -m nin.compare"
Runs = dict[str, tuple[Preset, list[dict[str, float]]]]


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.compare",
        "RUN RUN... [flags]",
        "Draw runs over one another, and print what differs.",
        """
        python -m nin.compare runs/a runs/b
        python -m nin.compare runs/quick-* --out quick.png
        """,
    )
    add = parser.add_argument
    add("runs", type=path, nargs="+", metavar="RUN", help="directory of a training")
    add("--json", action="store_true", help="print JSON (default: a table)")
    add("--out", type=path, default=Path("compare.png"), help="picture (default: compare.png)")
    return parser


def names(paths: Sequence[Path]) -> list[str]:
    """What to call the runs: the last parts of their paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for n in range(1, max(map(len, parts)) + 1):
        short = [printable("/".join(p[-n:])) for p in parts]
        if len(set(short)) == len(short):
            return short
    raise Failure("a run was named twice")


def differences(presets: Sequence[Preset]) -> list[dict[str, Any]]:
    """For each, the settings in which not all agree."""
    settings = [asdict(preset) for preset in presets]
    differing = [key for key in settings[0] if any(s[key] != settings[0][key] for s in settings)]
    return [{key: s[key] for key in differing} for s in settings]


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The last epoch's figures, the best accuracy, and the seconds of training."""
    last = rows[-1]
    return {
        "epochs": int(last["epoch"]),
        "train_loss": last["train_loss"],
        "test_loss": last["test_loss"],
        "accuracy": last["accuracy"],
        "best_accuracy": max(row["accuracy"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
    }


def draw(runs: Runs) -> bytes:
    """A PNG: training and test losses, and test accuracies, by epoch."""
    from matplotlib.ticker import MaxNLocator

    figure = drawing.figure(9, 4.2, dpi=120)
    losses, accuracy = figure.subplots(1, 2)
    for i, (name, (_, rows)) in enumerate(runs.items()):
        x, colour = [row["epoch"] for row in rows], f"C{i % 10}"
        losses.plot(x, [row["train_loss"] for row in rows], "-", color=colour, lw=1)
        losses.plot(x, [row["test_loss"] for row in rows], "--", color=colour, lw=1)
        accuracies = [100 * row["accuracy"] for row in rows]
        accuracy.plot(x, accuracies, ".-", color=colour, label=drawing.label(name))
    losses.set(title="Loss (dashed: test)", ylabel="cross-entropy (nats)")
    accuracy.set(title="Accuracy", ylabel="test accuracy (%)")
    accuracy.legend(fontsize="small")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    return drawing.png(figure)


def report(runs: Runs) -> str:
    """A table, and under it the settings in which the runs differ."""
    wide = max(3, *map(len, runs))
    lines = [f"{'run':{wide}}  epochs  train loss  test loss  accuracy    best  minutes"]
    for name, (_, rows) in runs.items():
        s = summary(rows)
        lines.append(
            f"{name:{wide}}  {s['epochs']:6}  {s['train_loss']:10.4f}  {s['test_loss']:9.4f}"
            f"  {100 * s['accuracy']:7.2f}%  {100 * s['best_accuracy']:5.2f}%"
            f"  {s['seconds'] / 60:7.1f}"
        )
    different = differences([preset for preset, _ in runs.values()])
    if any(different):
        lines.append("")
        for name, values in zip(runs, different, strict=True):
            text = ", ".join(f"{key} {value}" for key, value in values.items())
            lines.append(f"{name:{wide}}  {text}")
    return "\n".join(lines)


def compare(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    try:
        found = [(read_preset(run), read_metrics(run)) for run in args.runs]
    except RunError as error:
        raise Failure(str(error)) from None
    if args.out.is_dir():
        raise UsageError(f"--out: {args.out} is a directory, not the name of a picture")
    runs: Runs = dict(zip(names(args.runs), found, strict=True))
    if args.json:
        different = differences([preset for preset, _ in found])
        table = [
            {"run": name, **summary(rows), "settings": settings}
            for (name, (_, rows)), settings in zip(runs.items(), different, strict=True)
        ]
        print(command_line.as_json(table))
    else:
        print(report(runs))
    sys.stdout.flush()  # before what may fail
    if drawing.write(args.out, lambda: draw(runs)):
        print(f"Picture: {printable(args.out)}", file=sys.stderr)
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    return command_line.run(PROG, lambda: compare(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
