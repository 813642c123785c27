"""A run's network as the commands after a training need it: one that can answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files, nn
from minicnn.arguments import ArgumentError
from minicnn.dtype import is_floating
from minicnn.invocation import command, quoted
from minicnn.serialization import unpack

from . import config
from .checkpoint import MOST
from .presets import Preset
from .run import CONFIG, MODEL, RunError, read_preset


def network(directory: Path, device: Any = "cpu") -> tuple[nn.Sequential, Preset]:
    """The network of a run with the weights of its last finished epoch, for evaluation; its preset.

    Any device will do, whichever the run was on. Raises RunError for a directory that holds no run,
    whose model is missing, not whole, or of another network or other settings, and for a network
    without answers: one that has diverged, or can't take images of the run's size.
    """
    preset, path = read_preset(directory), directory / MODEL
    if not path.exists():
        raise RunError(
            f"{path} is missing: no epoch has finished, or the model could not be written;"
            f" {command('nin.train')} --resume {quoted(directory)} goes on"
        )
    try:
        state, texts = unpack(files.read_bytes(path, MOST))
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path} can't be read: it {error}") from None
    for name, value in state.items():
        if not is_floating(value.dtype):
            raise RunError(f"{path}: {name} holds {value.dtype}, where weights are float32")
    model = preset.build().to(device).eval()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        what = str(error).partition("Sequential: ")[2]
        raise RunError(
            f"{path} is not the network {preset.network!r} of {CONFIG}: {what}"
        ) from None
    _compare_settings(directory, preset, texts.get("settings"))
    for name, weights in model.named_parameters():
        if not np.isfinite(weights.detach().cpu().numpy()).all():
            raise RunError(
                f"{directory}: its network can't be used: {name} holds NaN or infinity, so the"
                " training has diverged; train again, with a smaller --lr"
            )
    try:
        preset.try_network(model)
    except ArgumentError as error:
        raise RunError(f"{directory}: {error}") from None
    return model, preset


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
