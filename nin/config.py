"""Presets in TOML: a file that changes some settings, or one that holds them all."""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from .presets import PRESETS, Preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ConfigError(ValueError):
    """A file that is no configuration: the message names the file and what is wrong in it."""


def read(path: Path, base: Preset) -> Preset:
    """`base`, or the preset that the file names with `preset = "…"`, with the file's settings.

    Raises ConfigError.
    """
    try:
        settings: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    name = settings.pop("preset", None)
    if name is not None:
        if name not in PRESETS:
            raise ConfigError(f"{path}: preset must be one of {', '.join(PRESETS)}, got {name!r}")
        base = PRESETS[name]
    known = [each.name for each in fields(Preset)]
    for key in settings:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else "--print-config shows them all"
            raise ConfigError(f"{path}: there is no setting {key!r}; {hint}")
    try:
        return replace(base, **settings)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def render(preset: Preset) -> str:
    """All settings as TOML, which `read` reads again."""
    # JSON's texts, finite numbers, truth values and lists are TOML's too.
    values = asdict(preset).items()
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values)
