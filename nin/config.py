"""Presets in TOML: a file that changes some settings, or one that holds them all."""

from __future__ import annotations

import json
import reprlib
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from minicnn import files, spelling

from .presets import BLOCKS, PRESETS, Preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MOST = 2**16  # bytes of a file
LONGEST = 1000  # characters of a line, as the parser takes time by the square of a key's dots


class ConfigError(ValueError):
    """A file that is no configuration: the message names the file and what is wrong in it."""


def read(path: Path, base: Preset) -> Preset:
    """`base`, or the preset that the file names with `preset = "…"`, with the file's settings.

    Raises ConfigError.
    """
    settings = _settings(path)
    name = settings.pop("preset", None)
    if name is not None:
        if not isinstance(name, str) or name not in PRESETS:
            raise ConfigError(
                f"{path}: preset must be one of {', '.join(PRESETS)}, {spelling.got(name, PRESETS)}"
            )
        base = PRESETS[name]
    return _changed(str(path), base, settings, path.parent)


def read_whole(path: Path) -> Preset:
    """The preset that `render` wrote to a file: one that lacks a setting is refused.

    Raises ConfigError.
    """
    return _whole(_settings(path), str(path))


def parse_whole(text: str, where: str) -> Preset:
    """The preset that `render` wrote, which `where` is the name of. Raises ConfigError."""
    return _whole(_parsed(text, where), where)


def _whole(settings: dict[str, Any], where: str) -> Preset:
    for each in fields(Preset):
        if each.name not in settings and each.name != BLOCKS:
            raise ConfigError(
                f"{where}: {each.name} is missing; another version wrote this, or it was edited"
            )
    return _changed(where, Preset(), settings, Path("/"))


def _settings(path: Path) -> dict[str, Any]:
    try:
        text = files.read_text(path, MOST)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {str(error)[:200]}") from None
    return _parsed(text, str(path))


def _parsed(text: str, where: str) -> dict[str, Any]:
    if any(len(line) > LONGEST for line in text.splitlines()):
        raise ConfigError(f"{where}: a line is longer than {LONGEST:,} characters")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not TOML: {str(error)[:200]}") from None


def _changed(where: str, base: Preset, settings: dict[str, Any], directory: Path) -> Preset:
    known = [each.name for each in fields(Preset)]
    for key in settings:
        if key not in known:
            near = spelling.hint(key, known, "--print-config shows them all")
            raise ConfigError(f"{where}: there is no setting {reprlib.repr(key)}; {near}")
    try:
        return base.with_settings(settings, directory)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def render(preset: Preset) -> str:
    """All settings as TOML, which `read` reads again; the blocks come last, as they are tables."""
    values = asdict(preset)
    tables = values.pop(BLOCKS)
    for each in fields(Preset):
        if values.get(each.name) == () and each.metadata["check"].word:
            values[each.name] = each.metadata["check"].word
    return "\n".join([_lines(values), *(f"[[{BLOCKS}]]\n{_lines(each)}" for each in tables)])


def _lines(values: dict[str, Any]) -> str:
    # JSON's texts, finite numbers, truth values and lists are TOML's too, but for DEL and halves of
    # characters, which no setting holds.
    lines = (
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()
    )
    return "".join(lines)
