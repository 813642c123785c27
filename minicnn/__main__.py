"""`python -m minicnn`: what it runs on, for a report of a fault."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import console, show_config
from .invocation import command

PROG = command("minicnn")


def describe(argv: Sequence[str] | None) -> int:
    """Print the versions, the processor, the backends and the threads."""
    console.Parser(prog=PROG, description=describe.__doc__).parse_args(argv)
    show_config()
    return console.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (minicnn/console.py)."""
    return console.run(PROG, lambda: describe(argv))


if __name__ == "__main__":
    sys.exit(main())
