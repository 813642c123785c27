"""A trained network, as the commands that come after a training need it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import Tensor, files, nn
from minicnn.arguments import ArgumentError
from minicnn.dtype import is_floating
from minicnn.invocation import command, quoted
from minicnn.serialization import unpack

from . import config, own_network
from .checkpoint import MOST
from .command_line import printable
from .fine_tuning import listed
from .kind import KIND, Kind
from .presets import Preset
from .run import CONFIG, MODEL, RunError, read_environment, read_preset
from .split import Split


class Trained(NamedTuple):
    """A trained network, the settings of its training, and its kind of images.

    Which pictures it has learned from is in `split`, and `data_sha256` is the hash of all its data
    (nin/data.py). Both are None if the model was saved by another program.
    """

    model: nn.Module
    preset: Preset
    kind: Kind
    split: Split | None = None
    data_sha256: str | None = None


def network(where: Path, device: Any = "cpu", named: str | None = None) -> Trained:
    """The network of a run, or of a model file alone, for evaluation.

    `where` is the directory of a run, whose weights are those of its last finished epoch, or a
    model.safetensors that a run has written, which says all that is needed itself. Any device will
    do, whichever the run was on. A network of the user's own is made by its code where a run has
    left it, or by the FILE.py:function that is `named`.

    Raises RunError for what is neither, for a model that is missing, not whole, or of another
    network or other settings, and for a network without answers: one that has diverged, or can't
    take images of the run's size.
    """
    alone = where.exists() and not where.is_dir()
    path = where if alone else where / MODEL
    preset = None if alone else read_preset(where)
    if not path.exists():
        raise RunError(
            f"{path} is missing: no epoch has finished, or the model could not be written;"
            f" {command('nin.train')} --resume {quoted(where)} goes on"
        )
    try:
        state, texts = _read(path)
    except RunError as error:
        again = f"; {command('nin.train')} --resume {quoted(where)} writes it again"
        raise RunError(f"{error}{'' if alone else again}") from None
    if preset is None:
        preset = _settings(path, texts)
    else:
        _compare_settings(where, preset, texts.get("settings"))
    if not (preset.mean and preset.std):
        raise RunError(f"{where}: its settings leave mean or std to be measured, and are no run's")
    if "kind" in texts or alone:
        kind = _kind(path, texts)
    else:  # it was saved by another program
        kind = Kind.of_json(read_environment(where)["kind"])
    sha256 = texts.get("network_sha256", "")
    try:
        split = Split.of_texts(texts)
    except ValueError as error:
        raise RunError(f"{path}: its metadata: {error}") from None
    try:
        preset = _found_again(preset, where, alone, sha256, named)
        model = preset.build(kind).to(device).eval()
    except ArgumentError as error:
        raise RunError(f"{where}: {error}") from None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        what = listed(str(error).partition(": ")[2].partition(": ")[2].split("; "))
        raise RunError(f"{path} is not the network {preset.name!r} {_OF[alone]}: {what}") from None
    for name, weights in model.named_parameters():
        if not np.isfinite(weights.detach().cpu().numpy()).all():
            raise RunError(
                f"{where}: its network can't be used: {name} holds NaN or infinity, so the"
                " training has diverged; train again, with a smaller --lr"
            )
    try:
        preset.try_network(kind, model)
    except ArgumentError as error:
        raise RunError(f"{where}: {error}") from None
    return Trained(model, preset, kind, split, texts.get("data_sha256"))


def _found_again(
    preset: Preset, where: Path, alone: bool, sha256: str, named: str | None
) -> Preset:
    """The settings, with the place where the user's own network is now. Raises ArgumentError."""
    if not preset.own_network:
        if named is not None:
            raise ArgumentError(
                f"its network is {preset.network}, and no file's, as --network says"
            )
        return preset
    inside = Path("/") if alone else where  # a file of weights may have come from anywhere
    network = own_network.found_again(preset.network, inside, sha256, named)
    print(f"Network  {printable(network)}: its code is run", file=sys.stderr)
    return replace(preset, network=network)


_OF = {False: f"of {CONFIG}", True: "of its settings"}


def _read(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    """The weights of a file, and its texts."""
    try:
        state, texts = unpack(files.read_bytes(path, MOST))
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path} can't be read: it {error}") from None
    for name, value in state.items():
        if not is_floating(value.dtype):
            raise RunError(f"{path}: {name} holds {value.dtype}, where weights are float32")
    return state, texts


def _settings(path: Path, texts: Mapping[str, str]) -> Preset:
    """The settings that a model file says it was trained with."""
    if "settings" not in texts:
        raise RunError(
            f"{path} holds weights alone, and doesn't say of which network; name the directory of"
            " its run, or a model.safetensors that nin.train has written"
        )
    try:
        return config.parse_whole(texts["settings"], f"{path}: its settings")
    except config.ConfigError as error:
        raise RunError(str(error)) from None


def _kind(path: Path, texts: Mapping[str, str]) -> Kind:
    """The kind of images that a model file says it is for."""
    try:
        return Kind.of_json(KIND(json.loads(texts.get("kind", "null")), "kind"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: its metadata: {error}") from None


def _compare_settings(directory: Path, preset: Preset, written: str | None) -> None:
    """Raise RunError for settings other than those that a model says it was trained with.

    The seed may be another: `--on-stuck reinit` has taken the next one since the last epoch.
    """
    if written is None:  # it was saved by another program
        return
    now = config.render(preset)
    for then, line in zip(written.splitlines(), now.splitlines(), strict=False):
        if then != line and not line.startswith("seed = "):
            raise RunError(
                f"{directory / CONFIG} says {line}, but the model was trained with {then}"
            )
