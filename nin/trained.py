"""A run's network as the commands after a training need it: one that can answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import minicnn
from minicnn import nn
from minicnn.arguments import ArgumentError
from minicnn.backends import host

from .presets import Preset
from .run import RunError, load_model


def network(directory: Path, device: Any) -> tuple[nn.Sequential, Preset]:
    """What `load_model` gives. Raises RunError where it does, and for a network without answers.

    That is one whose training diverged, and one that can't take images of the run's size.
    """
    model, preset = load_model(directory, device)
    for name, weights in model.named_parameters():
        if not host.xp.isfinite(weights.detach().cpu().numpy()).all():
            raise RunError(
                f"{directory}: its network can't be used: {name} holds NaN or infinity, so the"
                " training has diverged; train again, with a smaller --lr"
            )
    size = preset.image_size
    try:
        with minicnn.no_grad():
            model(minicnn.zeros(1, 1, size, size, device=device))
    except ArgumentError as error:
        raise RunError(
            f"{directory}: its network, {preset.network}, can't take images of {size}×{size}:"
            f" {error}"
        ) from None
    return model, preset
