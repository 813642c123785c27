"""`python -m nin.study`: the list of studies, and each of them as a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import minicnn
from minicnn import console, context, spelling
from minicnn.invocation import command
from minicnn.parallel import available_cores

from .. import command_line
from ..command_line import UsageError, argument, directory, printable
from ..run import newest
from ..schema import whole
from .report import Report

PROG = command("nin.study")
STUDIES = {
    "onebyone": "a 1×1 convolution is a fully connected layer at every pixel",
    "im2col": "a convolution as a matrix product, forward and backward",
    "summary": "a network layer by layer: shapes, arithmetic, memory, time",
    "architecture": "a drawing of a network: its layers as blocks, with shapes",
    "heads": "where classic networks have their parameters",
    "compare": "NiN beside LeNet-5 and AlexNet, trained for the same time",
    "ablate": "the exercises: change one thing in a NiN, train it, measure",
    "classmaps": "what global average pooling sees: a network's last maps",
    "filters": "what the first and the 1×1 layers of a network have learnt",
    "explore": "a trained network as a page: draw, see layers and gradients",
    "graph": "the tape of a training step, as a graph",
}


def _overview() -> str:
    lines = [f"usage: {PROG} STUDY [flags]", ""]
    lines += console.listed(STUDIES)
    return "\n".join([*lines, "", f"{PROG} STUDY --help shows a study's flags."])


def _parser(name: str, study: Any) -> command_line.Parser:
    text = STUDIES[name]
    parser = command_line.Parser(
        f"nin.study {name}", study.ARGUMENTS, f"{text[0].upper()}{text[1:]}.", study.EXAMPLES
    )
    study.add_arguments(parser)
    parser.add_backend()
    parser.add_argument(
        "--seed",
        type=argument(whole(0, 2**63 - 1)),
        default=0,
        metavar="N",
        help="draw all random numbers from this seed (default: 0)",
    )
    parser.add_argument(
        "--out",
        type=directory,
        metavar="DIR",
        help=f"put the results into this directory (default: runs/{name}-<time>)",
    )
    return parser


def _run(name: str, study: Any, args: argparse.Namespace) -> int:
    args.backend = args.backend or "numpy"
    if "run" in args and args.run is None:
        args.run = newest()
        print(f"Run      {printable(args.run)}, the newest", file=sys.stderr)
    args.device = command_line.device_of(args.backend)
    settings = {
        "arguments": {k: str(v) for k, v in vars(args).items() if k not in ("device", "out")},
        "backend": f"{args.backend} {args.device.backend.xp.__version__}",
        "cores": available_cores(),
        "minicnn": minicnn.__version__,
    }
    try:
        report = Report(args.out, name, settings)
    except OSError as error:
        raise UsageError(f"--out: {command_line.described(error)}") from None
    try:
        minicnn.manual_seed(args.seed)
        with context.using(conv_algorithm="auto"):  # as nin.train does
            study.run(args, report)
    finally:
        report.close()
    return command_line.DONE


def _other(name: str) -> int:
    """What there is beside the studies."""
    if name not in ("-h", "--help"):
        near = spelling.hint(name, [*STUDIES, "--help"], f"{PROG} lists them")
        raise UsageError(f"there is no study {name!r}; {near}")
    print(_overview())
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    name, *flags = (list(sys.argv[1:]) if argv is None else list(argv)) or ["--help"]
    if name not in STUDIES:
        return command_line.run(PROG, lambda: _other(name))
    study = import_module(f"{__package__}.{name}")
    return command_line.run(
        f"{PROG} {name}", lambda: _run(name, study, _parser(name, study).parse_args(flags))
    )


if __name__ == "__main__":
    sys.exit(main())
