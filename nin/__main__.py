"""`python -m nin`: the commands."""

import sys
from collections.abc import Sequence

from minicnn import console

PROG = "python -m nin"
COMMANDS = {
    "train": "train a network on Fashion-MNIST, or go on with a run",
    "evaluate": "loss, accuracy, confusion matrix and mistakes of a run",
    "predict": "what a run's network takes pictures for",
    "compare": "runs beside one another",
    "study": "what 1×1 convolutions and NiN do, shown by running them",
}


def overview(name: str) -> int:
    """List the commands; whoever has asked for one of them is told how it is called."""
    if name in COMMANDS:
        raise console.UsageError(f"use python -m nin.{name}")
    if name not in ("-h", "--help"):
        raise console.UsageError(f"no command {name!r}; python -m nin lists them")
    print("nin: Network in Network on Fashion-MNIST\n")
    for command, what in COMMANDS.items():
        print(f"python -m nin.{command:9} {what}")
    print("\nEach shows its flags and examples with --help.")
    return console.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (minicnn/console.py)."""
    name, *_ = (sys.argv[1:] if argv is None else argv) or ["--help"]
    return console.run(PROG, lambda: overview(name))


if __name__ == "__main__":
    sys.exit(main())
