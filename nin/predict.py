"""`python -m nin.predict RUN image.png …`: what a trained network takes a picture for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from minicnn import Generator, Tensor, softmax
from minicnn.backends import host
from minicnn.invocation import command

from . import command_line, table, trained
from .command_line import Failure, path, printable
from .executors import executor_for
from .picture import as_text, preparation

PROG = command("nin.predict")
LONGEST = 40  # columns of a class's name, beside its bar


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.predict",
        "RUN|FILE IMAGE... [flags]",
        "Say what is on a picture of any size, grey or colour, with the network of a run.",
        """
        nin predict runs/RUN shirt.jpg
        nin predict runs/RUN *.png --json | jq '.[].class'
        nin predict model.safetensors cat.jpg
        """,
        "Pictures are prepared like those that the network was trained on. For Fashion-MNIST they"
        " are trimmed, grey, light on dark, and 28 pixels high or wide; for your own folder they"
        " are scaled and cut as its pictures were. The prepared picture is printed, too.",
    )
    add = parser.add_argument
    text = "the directory of a run, or its model.safetensors alone"
    add("run", type=path, metavar="RUN|FILE", help=text)
    add("images", type=path, nargs="+", metavar="IMAGE", help="a file, such as a PNG or JPEG")
    add("--json", action="store_true", help="print JSON in place of text, without the pictures")
    command_line.add_own_network(parser)
    parser.add_backend()
    return parser


def report(prediction: dict[str, Any], image: Any) -> str:
    """What was seen, and the classes, most likely first, with a bar for each."""
    ranked = sorted(prediction["probabilities"].items(), key=lambda each: -each[1])
    names = [table.cut(name, LONGEST) for name, _ in ranked]
    wide = max(12, *map(table.width, names))
    rows = [
        f"{name}{' ' * (wide - table.width(name))} {100 * p:5.1f}% {'█' * round(30 * p)}".rstrip()
        for name, (_, p) in zip(names, ranked, strict=True)
    ]
    title = f"{printable(prediction['file'])}: {prediction['class']}"
    return "\n".join([title, as_text(image), *rows, ""])


def predict(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    device = command_line.device_of(args.backend or "numpy")
    model, preset, kind, *_ = trained.network(args.run, device, args.network)
    reading = preparation(preset.dataset, kind)
    images = [reading.read(image) for image in args.images]
    x = preset.transform(train=False, kind=kind).batch(host.xp.stack(images), Generator())
    p = softmax(executor_for(model, preset).predict(Tensor(x).to(device)), 1).cpu()
    if not host.xp.isfinite(p.numpy()).all():
        raise Failure(f"{args.run}: its network's answers are NaN; the training diverged")
    predictions = [
        {
            # Where a name is not UTF-8, with escapes: JSON can't say such bytes.
            "file": os.fsencode(file).decode("utf-8", "backslashreplace"),
            "class": kind.classes[row.index(max(row))],
            "probabilities": dict(zip(kind.classes, row, strict=True)),
        }
        for file, row in zip(args.images, p.tolist(), strict=True)
    ]
    if args.json:
        print(command_line.as_json(predictions))
    else:
        print(f"The network sees pictures {reading.words}.", file=sys.stderr)
        for prediction, image in zip(predictions, images, strict=True):
            print(report(prediction, 255 - image if reading.on_paper else image))
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    return command_line.run(PROG, lambda: predict(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
