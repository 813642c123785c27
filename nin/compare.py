"""`python -m nin.compare RUN RUN …`: runs beside one another, as a table and as a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minicnn import console
from minicnn.invocation import command

from . import command_line, curves, drawing, table
from .blocks import Block
from .command_line import Failure, UsageError, path, printable
from .presets import Preset
from .run import read_metrics, read_preset, read_test
from .table import Column

PROG = command("nin.compare")


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.compare",
        "RUN RUN... [flags]",
        "Print runs side by side, with the settings in which they differ, and draw their curves.",
        """
        nin compare runs/a runs/b
        nin compare runs/quick-* --out quick.png
        """,
    )
    add = parser.add_argument
    add("runs", type=path, nargs="+", metavar="RUN", help="the directory of a run")
    add("--json", action="store_true", help="print JSON in place of a table")
    text = "draw the curves into this file (default: compare.png)"
    add("--out", type=path, default=Path("compare.png"), metavar="PICTURE", help=text)
    return parser


def columns(evaluated_on: str) -> list[Column]:
    """Those of runs whose epochs were evaluated on this set; the test at the end is one look."""
    at_the_end = Column(
        "test\naccuracy", lambda row: row["test"] and row["test"]["accuracy"], ".2%"
    )
    validation = evaluated_on == "validation"
    return [
        Column("run", "run"),
        Column("epochs", "epochs"),
        Column("train\nloss", "train_loss", ".4f"),
        Column("val\nloss" if validation else "test\nloss", "eval_loss", ".4f"),
        Column("accuracy", "accuracy", ".2%"),
        Column("best", "best_accuracy", ".2%"),
        *([at_the_end] if validation else []),
        Column("minutes", "seconds", ".1f", 1 / 60),
    ]


def names(paths: Sequence[Path]) -> list[str]:
    """What to call the runs: the last parts of their paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for n in range(1, max(map(len, parts)) + 1):
        short = [printable("/".join(p[-n:])) for p in parts]
        if len(set(short)) == len(short):
            return short
    twice = next(path for i, path in enumerate(paths) if parts[i] in parts[:i])
    raise Failure(f"{twice} is named twice")


def differences(presets: Sequence[Preset]) -> list[dict[str, Any]]:
    """For each, the settings in which not all agree."""
    settings = [asdict(preset) for preset in presets]
    differing = [key for key in settings[0] if any(s[key] != settings[0][key] for s in settings)]
    return [{key: s[key] for key in differing} for s in settings]


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The last epoch's figures, the best accuracy, and the seconds of training."""
    last = rows[-1]
    return {
        "epochs": int(last["epoch"]),
        **{key: last[key] for key in ("train_loss", "eval_loss", "accuracy")},
        "best_accuracy": max(row["accuracy"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
    }


def evaluated_on(runs: Sequence[Path], presets: Sequence[Preset]) -> str:
    """The set that all runs were evaluated on. Raises Failure if some were on the other one."""
    first = presets[0].evaluated_on
    for run, preset in zip(runs, presets, strict=True):
        if preset.evaluated_on != first:
            raise Failure(
                f"{runs[0]} was evaluated on {first} images and {run} on {preset.evaluated_on}"
                " images, so they can't be compared"
            )
    return first


def _shown(value: Any) -> str:
    """A setting in words; of blocks, what sets each apart."""
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        return "; ".join(str(Block(**each)) for each in value)
    return command_line.shown_setting(value)


def report(results: Sequence[dict[str, Any]]) -> str:
    """A table, and under it the settings in which the runs differ."""
    parts = [table.text(columns(results[0]["evaluated_on"]), results)]
    for result in results:
        named = [f"{key}\0{_shown(value)}" for key, value in result["settings"].items()]
        if named or result["run"] not in parts[0]:  # its name was cut there
            settings = console.filled(", ".join(named), "  ", "  ").replace("\0", " ")
            parts.append("\n".join(filter(str.strip, [result["run"], settings])))
    return "\n\n".join(parts)


def compare(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    presets = [read_preset(run) for run in args.runs]
    seen = evaluated_on(args.runs, presets)
    histories = [read_metrics(run) for run in args.runs]
    tests = [read_test(run) for run in args.runs]
    if args.out.is_dir():
        raise UsageError(f"--out: {args.out} is a directory, not the name of a picture")
    called = names(args.runs)
    results = [
        {"run": name, "evaluated_on": seen, **summary(rows), "test": test, "settings": settings}
        for name, rows, test, settings in zip(
            called, histories, tests, differences(presets), strict=True
        )
    ]
    print(command_line.as_json(results) if args.json else report(results), flush=True)
    named = dict(zip(called, histories, strict=True))
    if drawing.write(args.out, lambda: curves.runs(named, seen)):
        print(f"Picture: {printable(args.out)}", file=sys.stderr)
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    return command_line.run(PROG, lambda: compare(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
