"""Weights of another training to begin with, and blocks that stay as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import Tensor, files, nn
from minicnn.arguments import ArgumentError
from minicnn.dtype import is_floating
from minicnn.serialization import unpack

from .checkpoint import MOST
from .presets import Preset
from .schema import items, record, text
from .split import Split

MODEL = "model.safetensors"
NAMED = 6  # weights that a line names one by one
NOTHING: dict[str, Any] = {"sha256": "", "said": []}
BEGINNING = record({"sha256": text(64), "said": items(text(10_000), most=3)})


def begin(model: nn.Module, preset: Preset) -> dict[str, Any]:
    """Give a network the weights that it is to begin with; return what a run records of that.

    Raises ArgumentError for a file that can't be used, and for weights that do not fit.
    """
    if not preset.init_from:
        return NOTHING
    path = _file(preset)
    weights, sha256, _ = read(path)
    said = take_over(model, weights, str(path), reset_head=preset.reset_head)
    return {"sha256": sha256, "said": said}


def known_already(preset: Preset, split: Split) -> list[str]:
    """A line if the weights to begin with have learned from some of the pictures for testing.

    So it is if a folder has got pictures since that training, and is split anew. Raises
    ArgumentError for a file that can't be used.
    """
    if not preset.init_from:
        return []
    path = _file(preset)
    _, _, texts = read(path)
    try:
        earlier = Split.of_texts(texts) or Split()
    except ValueError:  # another program's
        return []
    n = len({*earlier.train} & {*split.test})
    if not n:
        return []
    return [
        f"{n:,} of the {len(split.test):,} test pictures are among those that {path} was trained"
        " on, so results on them are too good; separate them as train/ and test/"
    ]


def _file(preset: Preset) -> Path:
    path = Path(preset.init_from)
    if path.is_dir():
        path = path / MODEL
        if not path.exists():
            raise ArgumentError(
                f"{path} is missing: no epoch of that run has finished, if it is one"
            )
    return path


def read(path: Path) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """The weights by name that a file holds, its SHA-256, and the texts beside them.

    No network is made for them, and nobody's code is run. Raises ArgumentError.
    """
    try:
        content = files.read_bytes(path, MOST)
        weights, texts = unpack(content)
    except OSError as error:
        raise ArgumentError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ArgumentError(f"{path} {error}") from None
    for name, value in weights.items():
        if not is_floating(value.dtype):
            raise ArgumentError(f"{path}: {name} holds {value.dtype}, where weights are float32")
        if not np.isfinite(value.cpu().numpy()).all():
            raise ArgumentError(f"{path}: {name} holds NaN or infinity; that training has diverged")
    return weights, hashlib.sha256(content).hexdigest(), texts


def take_over(
    model: nn.Module, weights: dict[str, Tensor], source: str, *, reset_head: bool
) -> list[str]:
    """Give a network the weights of the same names and shapes; return lines that say which.

    All must fit, unless `reset_head`: then the last layer keeps the values that it was drawn with,
    and so does what does not fit. Raises ArgumentError, which lists what does not fit.
    """
    own = model.state_dict()
    misfits = {name: f"{name} is not there" for name in own if name not in weights}
    for name, value in weights.items():
        if name not in own:
            misfits[name] = f"{name} is not in this network"
        elif value.shape != own[name].shape:
            misfits[name] = f"{name} is {_shape(value)} there and {_shape(own[name])} here"
    if misfits and not reset_head:
        raise ArgumentError(
            f"{source} does not fit: {listed(misfits.values())}; --reset-head draws the last layer"
            " anew, and what does not fit"
        )
    head = [name for name in _last_layer(model) if name not in misfits] if reset_head else []
    fitting = {n: value for n, value in weights.items() if n not in misfits and n not in head}
    if not fitting:
        raise ArgumentError(f"{source}: none of its weights fits: {listed(misfits.values())}")
    try:
        model.load_state_dict(fitting, strict=False)
    except ArgumentError as error:
        raise ArgumentError(f"{source}: {error}") from None
    anew = [said for name, said in misfits.items() if name in own]
    anew += [f"{name} is the last layer's" for name in head]
    unused = [name for name in weights if name not in own]
    return [
        f"{len(fitting)} of {len(own)} arrays are those of {source}",
        *([f"the rest drawn anew: {listed(anew)}"] if anew else []),
        *([f"not used: {listed(unused)}"] if unused else []),
    ]


def _last_layer(model: nn.Module) -> list[str]:
    """The names of the parameters of the last layer that has any."""
    names = [name for name, _ in model.named_parameters()]
    layer = names[-1].rpartition(".")[0] if names else ""
    return [name for name in names if name.rpartition(".")[0] == layer]


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"


def listed(what: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    each = list(what)
    rest = f" and {len(each) - NAMED} more" if len(each) > NAMED else ""
    return ", ".join(each[:NAMED]) + rest


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks that a network is made of, by name: its parts that have weights, in order."""
    return {name: part for name, part in model.named_children() if [*part.parameters()]}


def freeze(model: nn.Module, numbers: Sequence[int]) -> None:
    """Leave these blocks, counted from 0, as they are.

    They get no gradients, and with these neither momentum nor weight decay. Raises ArgumentError
    for a block that there isn't, and if nothing is left to train.
    """
    parts = blocks(model)
    for number in numbers:
        if number >= len(parts):
            last, layers = len(parts) - 1, ", ".join(parts)
            raise ArgumentError(
                f"there is no block {number}; the network has 0 to {last}, its layers {layers}"
                if parts
                else f"there is no block {number}; the network is all one layer"
            )
        [*parts.values()][number].requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        which = "the network has" if not numbers else f"{','.join(map(str, numbers))} leaves"
        raise ArgumentError(f"{which} nothing to train")


def frozen(model: nn.Module, numbers: Sequence[int]) -> str:
    """Which blocks stay as they are, and what is left, in words."""
    layers = ", ".join([*blocks(model)][number] for number in numbers)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    which = f"{'block' if len(numbers) == 1 else 'blocks'} {', '.join(map(str, numbers))}"
    return f"{which} (layer{'s' * (len(numbers) > 1)} {layers}), {trained:,} parameters are trained"
