"""`python -m nin.predict RUN image.png …`: what a trained network takes a picture for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minicnn import Generator, Tensor, softmax
from minicnn.backends import host
from minicnn.vision.image_dataset import CLASSES

from . import command_line
from .command_line import Failure
from .fit import batches_for
from .picture import PictureError, as_text, read
from .run import RunError, load_model

PROG = "python -m nin.predict"


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.predict",
        "RUN IMAGE... [flags]",
        "Say what a run's network takes pictures for: PNG or JPEG, grey or colour, any size.",
        """
        python -m nin.predict runs/RUN shirt.jpg
        python -m nin.predict runs/RUN *.png --json | jq '.[].class'
        """,
        "Pictures are trimmed, made grey and 28 pixels high or wide, light on dark, as those that"
        "\nthe network has learned from; what it saw is printed too.",
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="directory of a training")
    add("images", type=Path, nargs="+", metavar="IMAGE", help="a PNG or JPEG file")
    add("--json", action="store_true", help="print JSON, without the pictures (default: text)")
    parser.add_backend()
    return parser


def report(prediction: dict[str, Any], image: Any) -> str:
    """What was seen, and the classes, most likely first, with a bar for each."""
    ranked = sorted(prediction["probabilities"].items(), key=lambda each: -each[1])
    rows = [f"{name:12} {100 * p:5.1f}% {'█' * round(30 * p)}".rstrip() for name, p in ranked]
    return "\n".join([f"{prediction['file']}: {prediction['class']}", as_text(image), *rows, ""])


def predict(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    device = command_line.device_of(args.backend or "numpy")
    try:
        model, preset = load_model(args.run, device)
        images = [read(path) for path in args.images]
    except (RunError, PictureError) as error:
        raise Failure(str(error)) from None
    x = preset.transform(train=False).batch(host.xp.stack(images), Generator())
    p = softmax(batches_for(model, preset).predict(Tensor(x).to(device)), 1).cpu().tolist()
    predictions = [
        {
            "file": str(path),
            "class": CLASSES[row.index(max(row))],
            "probabilities": dict(zip(CLASSES, row, strict=True)),
        }
        for path, row in zip(args.images, p, strict=True)
    ]
    if args.json:
        print(json.dumps(predictions))
    else:
        for prediction, image in zip(predictions, images, strict=True):
            print(report(prediction, image))
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    args = _parser().parse_args(argv)
    return command_line.run(PROG, lambda: predict(args))


if __name__ == "__main__":
    sys.exit(main())
