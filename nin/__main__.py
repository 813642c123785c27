"""`nin` and `python -m nin`: the list of commands, and each of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import minicnn
from minicnn import console, installing, spelling
from minicnn.invocation import command

PROG = command("nin")
COMMANDS = {
    "train": "train a network on pictures, or go on with a run",
    "evaluate": "loss, accuracy, confusion matrix and mistakes of a run",
    "predict": "say what is on a picture, with the network of a run",
    "compare": "runs side by side: a table, and their curves in one picture",
    "export": "write the network of a run as an ONNX file, for other programs",
    "study": "what 1×1 convolutions and NiN do, shown by experiments",
}


def _overview() -> str:
    lines = ["Network in Network on Fashion-MNIST.", "", f"usage: {PROG} COMMAND [flags]", ""]
    lines += console.listed(COMMANDS)
    last = console.filled(f"{PROG} COMMAND --help shows a command's flags and examples.")
    return "\n".join([*lines, "", last])


def _other(name: str) -> int:
    """What there is beside the commands."""
    if name in ("-h", "--help"):
        print(_overview())
    elif name == "--version":
        print(f"{installing.NAME} {minicnn.__version__}")
    else:
        near = spelling.hint(name, [*COMMANDS, "--help", "--version"], f"{PROG} lists them")
        raise console.UsageError(f"there is no command {name!r}; {near}")
    return console.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (minicnn/console.py)."""
    name, *flags = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name not in COMMANDS:
        return console.run(PROG, lambda: _other(name))
    module = f"{__package__}.{name}"
    if name == "study":  # a package
        module += ".__main__"
    status: int = import_module(module).main(flags)
    return status


if __name__ == "__main__":
    sys.exit(main())
