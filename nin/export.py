"""`python -m nin.export RUN --onnx FILE`: a trained network as a file that other programs run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import minicnn
from minicnn import Tensor, atomic, nn, softmax
from minicnn.invocation import command
from minicnn.vision import transforms
from minicnn.vision.transforms.resampling import resampling_matrix

from . import command_line, trained
from .command_line import Failure, UsageError, path, printable
from .trained import Trained

PROG = command("nin.export")


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.export",
        "RUN --onnx FILE [flags]",
        "Write the network of a run to an ONNX file, for ONNX Runtime and many other programs.",
        """
        nin export runs/RUN --onnx model.onnx
        nin export runs/RUN --onnx model.onnx --with-preprocessing
        """,
        "The file takes what the network takes, normalised images as float32 (N, channels, H, W),"
        " and gives logits. With --with-preprocessing it takes pictures as the data set has them,"
        " uint8 (N, H, W) grey or (N, H, W, 3) colour, and gives probabilities. N is any number."
        " The metadata of the file has the names of the classes, and how images are prepared.",
    )
    add = parser.add_argument
    add("run", type=path, metavar="RUN", help="the directory of a run, or its model.safetensors")
    text = "write this file, or replace it"
    add("--onnx", type=path, metavar="FILE", required=True, help=text)
    text = "let the file take uint8 pictures and give probabilities"
    add("--with-preprocessing", action="store_true", help=text)
    command_line.add_own_network(parser)
    return parser


class FromPictures(nn.Module):
    """A network behind what is done to a data set's pictures, with probabilities for logits.

    It takes (N, H, W), or (N, H, W, C) with several channels, uint8. It computes what the run's
    transforms do to its test images, operation by operation, so that an export can trace it.
    Raises Failure for a transform that is not known here.
    """

    def __init__(self, network: Trained) -> None:
        super().__init__()
        self.network, self.kind = network.model, network.kind
        first, *self.steps = network.preset.transform(train=False, kind=network.kind).transforms
        if not isinstance(first, transforms.ToTensor):
            raise _without_counterpart(first)
        for step in self.steps:
            nearest = getattr(step, "interpolation", None) is transforms.InterpolationMode.NEAREST
            if not isinstance(step, (transforms.Resize, transforms.Normalize)) or nearest:
                raise _without_counterpart(step)

    def state_dict(self, *, prefix: str = "") -> Any:
        """Under the names that the network has alone."""
        return self.network.state_dict(prefix=prefix)

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures.unsqueeze(1) if pictures.ndim == 3 else pictures.permute(0, 3, 1, 2)
        x = x.float() * (1 / 255)  # ToTensor
        for step in self.steps:
            if isinstance(step, transforms.Resize):
                x = _resized(x, step)
            elif isinstance(step, transforms.Normalize):
                mean, std = (
                    minicnn.tensor(values, dtype=x.dtype).reshape(-1, 1, 1)
                    for values in (step.mean, step.std)
                )
                x = (x - mean) / std
        return softmax(self.network(x), 1)


def _without_counterpart(step: object) -> Failure:
    return Failure(
        f"--with-preprocessing: the run's images go through {step!r}, which has no counterpart in"
        " a graph; export without, and do that outside"
    )


def _resized(x: Tensor, resize: transforms.Resize) -> Tensor:
    """What `Resize` makes of floating-point images: a product with a matrix along each axis."""
    h, w = x.shape[2:]
    rows, columns = (
        Tensor(resampling_matrix(source, target, resize.interpolation).astype(x.dtype))
        for source, target in zip((h, w), resize.target(h, w), strict=True)
    )
    return rows @ (x @ columns.T)


def metadata(network: Trained, with_preprocessing: bool) -> dict[str, str]:
    """What a file says of itself: the classes, what it takes, and how that is prepared."""
    preset, kind = network.preset, network.kind
    h, w = preset.input_size(kind)
    several = f", {kind.channels}" if kind.channels > 1 else ""
    pictures = f"pictures: uint8 (N, {kind.height}, {kind.width}{several})"
    images = f"images: float32 (N, {kind.channels}, {h}, {w}), x / 255 resized, (x - mean) / std"
    return {
        "classes": json.dumps(list(kind.classes), ensure_ascii=False),
        "channels": str(kind.channels),
        "height": str(kind.height),
        "width": str(kind.width),
        "image_size": str(h) if h == w else f"{h},{w}",
        "mean": json.dumps(preset.mean),
        "std": json.dumps(preset.std),
        "network": preset.name,
        "input": pictures if with_preprocessing else images,
        "output": "probabilities" if with_preprocessing else "logits",
    }


def model_proto(network: Trained, with_preprocessing: bool) -> Any:
    """The network as an `onnx.ModelProto`, perhaps behind its preprocessing."""
    model, preset, kind, *_ = network
    if with_preprocessing:
        channels = (kind.channels,) if kind.channels > 1 else ()
        shape: tuple[int, ...] = (1, kind.height, kind.width, *channels)
        model, names = FromPictures(network), ("pictures", "probabilities")
        example = Tensor(np.zeros(shape, "uint8"))
    else:
        names = ("images", "logits")
        example = minicnn.zeros(1, kind.channels, *preset.input_size(kind))
    proto = minicnn.onnx.export(model, example, input_names=names[:1], output_names=names[1:])
    for key, value in metadata(network, with_preprocessing).items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def export(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    if args.onnx.is_dir():
        raise UsageError(f"--onnx: {args.onnx} is a directory, not the name of a file")
    network = trained.network(args.run, "cpu", args.network)
    try:
        proto = model_proto(network, args.with_preprocessing)
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from None
    content = proto.SerializeToString()
    atomic.write(args.onnx, content)
    what = metadata(network, args.with_preprocessing)
    print(f"{printable(args.onnx)}: {len(content):,} bytes, {len(proto.graph.node)} nodes")
    print(f"takes  {what['input']}")
    print(f"gives  {what['output']} (N, {len(network.kind.classes)})")
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    return command_line.run(PROG, lambda: export(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
