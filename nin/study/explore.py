"""A trained network in one HTML page: draw a picture, see every layer, send the gradient back.

The page needs no server and no network. It is put together from the files in `explorer/`, which
hold the forward and the backward pass in plain JavaScript, and from what is read out of a run here:
the layers, their weights, and some pictures of the test set.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import nn, no_grad, zeros
from minicnn.backends import Array
from minicnn.vision.image_dataset import ImageDataset

from .. import trained
from ..command_line import Failure, UsageError, add_trained, argument, printable
from ..kind import Kind
from ..picture import preparation
from ..schema import whole
from ..table import Column
from . import trial
from .report import Report

ARGUMENTS = "[RUN] [flags]"
EXAMPLES = """
nin train --out runs/mine && nin study explore runs/mine
nin study explore runs/mine --half --pictures 2
"""
IMAGES = {"test": 2000}
PARTS = Path(__file__).with_name("explorer")
SCRIPTS = (  # in this order; the last one begins
    *("contents", "network", "picture", "colours", "maps", "stage", "words", "pixel", "panel"),
    *("overview", "answer", "easel", "page"),
)
IDLE = (nn.Dropout, nn.Dropout2d, nn.Identity)  # they do nothing in a trained network
COLUMNS = (
    Column("layer", "path"),
    Column("kind", "kind"),
    Column("output", lambda layer: "×".join(map(str, layer["output"]))),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained(parser)
    trial.add_data(parser, IMAGES, "choose pictures from the whole test set")
    parser.add_argument(
        "--pictures",
        type=argument(whole(1, 20)),
        default=3,
        metavar="N",
        help="offer N test pictures of each class (default: 3)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store weights in 16 bits and not 32: half the size, and slightly different answers",
    )


def run(args: argparse.Namespace, report: Report) -> None:
    run = trained.network(args.run, named=args.network)
    if run.kind.channels not in (1, 3):
        raise UsageError(f"{args.run} is for {run.kind}, and the page draws in grey or in colour")
    network = describe(run.model, (run.kind.channels, *run.preset.input_size(run.kind)), args.half)
    images, name = trial.load_test(args, IMAGES, run)
    contents = about(run, name) | network | pictures(images, run.kind, args.pictures)
    html = page(contents)
    report.table(COLUMNS, network["layers"])
    report.text(html, kind="html")
    report.finish(contents)
    where = printable(report.directory / "explore.html")
    print(f"\nOpen {where} in a browser ({len(html) / 1e6:.1f} MB).")


def about(run: trained.Trained, dataset: str) -> dict[str, Any]:
    """What the page says of a network, and how it makes pictures into what the network sees."""
    model, preset, kind, *_ = run
    reading = preparation(preset.dataset, kind)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "about": f"This is the network {preset.name}, with the {parameters:,} weights that it has"
        f" learnt from {dataset}.",
        "kind": kind.as_json(),
        "normalisation": {
            "size": preset.input_size(kind),
            "mean": _each(preset.mean, kind.channels),
            "std": _each(preset.std, kind.channels),
        },
        "uploads": {"words": reading.words, "box": reading.box, "turned": reading.turned},
    }


def page(contents: Mapping[str, Any]) -> str:
    """The page that shows `contents`, which is what `run` writes as explore.json."""
    parts = {
        "style": _part("style.css"),
        "scripts": "\n".join(_part(f"{name}.js") for name in SCRIPTS),
        "contents": json.dumps(contents).replace("<", "\\u003c"),  # so that no text ends the script
    }
    html = _part("page.html")
    for name, text in parts.items():
        html = html.replace("{{" + name + "}}", text, 1)
    return html


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


# --- the pictures --------------------------------------------------------------------------------


def pictures(images: ImageDataset, kind: Kind, count: int) -> dict[str, Any]:
    """The first images of each class, as many as there are of `count`: all first ones first.

    They are `pictures`, bytes (H, W) or (H, W, 3) one after another in base64, with their `labels`
    and `numbers` in the data set.
    """
    labels = images.targets.numpy()
    where = [np.flatnonzero(labels == label)[:count] for label in range(len(kind.classes))]
    chosen = [int(found[k]) for k in range(count) for found in where if k < len(found)]
    return {
        "pictures": _base64(np.stack([images.picture(i).numpy() for i in chosen])),
        "labels": [int(labels[i]) for i in chosen],
        "numbers": chosen,
    }


def _each(values: Sequence[float], channels: int) -> list[float]:
    """A value for each channel, where there may be one for all."""
    return list(values) * (channels // len(values))


def _base64(array: Array) -> str:
    """An array's bytes, the lowest of each number first."""
    little_endian = array.astype(array.dtype.newbyteorder("<"))
    return base64.b64encode(little_endian.tobytes()).decode()


# --- the network ---------------------------------------------------------------------------------


def describe(model: nn.Module, shape: tuple[int, int, int], half: bool = False) -> dict[str, Any]:
    """A network for images of a shape (C, H, W) as the page reads it: its layers and parameters.

    Layers that do nothing in a trained network are left out. Raises UsageError for a network
    with a layer that the page doesn't know, for one that gives no number for each class, and where
    layers share weights; and Failure for weights that `half` the bits can't hold.
    """
    layers: list[dict[str, Any]] = []
    parameters: list[Array] = []
    x = zeros(1, *shape)
    for place, layer in _layers(model):
        settings = _settings(place, layer, x.ndim == 4)
        with no_grad():
            x = layer(x)
        if type(layer) not in IDLE:
            record = {"path": place, "kind": type(layer).__name__}
            layers.append({**record, "output": [*x.shape[1:], 1, 1][:3], **settings})
        if hasattr(layer, "weight"):
            parameters += _parameters(layer)
    if x.ndim != 2 or not parameters:
        raise UsageError("the page shows networks that have weights and give a number a class")
    biases = sum(layer["out"] for layer in layers if not layer.get("hasBias", True))
    if sum(p.numel() for p in model.parameters()) != sum(p.size for p in parameters) - biases:
        raise UsageError("the page can't show a network whose layers share weights")
    with np.errstate(over="ignore"):  # of what becomes infinite the next lines tell
        flat = np.concatenate(parameters).astype("float16" if half else "float32")
    if not np.isfinite(flat).all():
        raise Failure("the weights are too large for 16 bits; leave --half away")
    return {"layers": layers, "parameters": _base64(flat), "bits": 8 * flat.dtype.itemsize}


def _layers(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Those of nested Sequentials; one with a forward of its own may do anything: it is a layer."""
    if type(module) is not nn.Sequential:
        yield path, module
        return
    for i, child in enumerate(module):
        yield from _layers(child, f"{path}.{i}" if path else str(i))


def _settings(path: str, layer: Any, maps: bool) -> dict[str, Any]:
    """What the page has to know of a layer that is given maps, or else rows. Raises UsageError."""
    kind = type(layer)
    if kind is nn.Conv2d and maps:
        return _convolution(layer)
    if kind is nn.Linear and not maps:
        has_bias = layer.bias is not None
        return {"out": layer.out_features, "in": layer.in_features, "hasBias": has_bias}
    if kind is nn.MaxPool2d and maps:
        return _window(layer, "kernel_size", "stride", "padding", "dilation")
    if kind is nn.AvgPool2d and maps:
        counted = {"countPadding": layer.count_include_pad, "divisor": layer.divisor_override}
        return _window(layer, "kernel_size", "stride", "padding") | counted
    if kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return {}
    if kind in (nn.ReLU, *IDLE) or (kind is nn.AdaptiveAvgPool2d and maps):
        return {}
    what = f"layer {path}, {kind.__name__}" if path else kind.__name__
    raise UsageError(
        f"the page can't show {what}: it knows nn.Sequential of convolutions, pooling, ReLU,"
        " Dropout, Flatten and Linear"
    )


def _convolution(layer: nn.Conv2d) -> dict[str, Any]:
    """Its window, with the padding above and at the left in numbers."""
    settings = _window(layer, "kernel_size", "stride", "dilation")
    padding = layer.padding
    if padding == "valid":
        padding = (0, 0)
    elif padding == "same":
        reach = zip(settings["dilation"], settings["kernel"], strict=True)
        padding = [d * (k - 1) // 2 for d, k in reach]
    _, *filter_shape = layer.weight.shape
    return settings | {
        "padding": padding,
        "out": layer.out_channels,
        "in": int(np.prod(filter_shape)),
        "hasBias": layer.bias is not None,
    }


def _window(layer: Any, *names: str) -> dict[str, Any]:
    """Settings of a window, each as a pair."""
    pairs = {name.partition("_size")[0]: getattr(layer, name) for name in names}
    return {name: [v, v] if isinstance(v, int) else list(v) for name, v in pairs.items()}


def _parameters(layer: Any) -> list[Array]:
    """A layer's weight, flat, the channels of a place side by side, and its bias, or zeros."""
    weight = layer.weight.detach().cpu().numpy()
    if weight.ndim == 4:
        weight = weight.transpose(0, 2, 3, 1)
    if layer.bias is None:
        return [weight.ravel(), np.zeros(len(weight), weight.dtype)]
    return [weight.ravel(), layer.bias.detach().cpu().numpy()]
