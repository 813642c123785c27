"""Settings: fields of a record that say what they mean and which values they may have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field, field
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    choices: Sequence[str] = (),
) -> Any:
    """A dataclass's field: its default, what it means, and the values that it may have.

    Numbers are at least `least`, above `above` and at most `most`; texts are among `choices`.
    """
    limits = {"least": least, "above": above, "most": most, "choices": tuple(choices)}
    return field(default=default, metadata={"help": help, **limits})


def parse(setting: Field[Any], text: str) -> Any:
    """The value that a text, such as a flag's, stands for; raises ValueError if it can't be one."""
    kind: Any = setting.type
    try:
        if kind.startswith("tuple"):
            return check(setting, [float(part) for part in text.split(",") if part])
        return check(
            setting, text if kind == "str" else int(text) if kind == "int" else float(text)
        )
    except ValueError:
        raise ValueError(f"must be {describe(setting)}, got {text!r}") from None


def check(setting: Field[Any], value: Any) -> Any:
    """The value of a setting in the setting's type; raises ValueError for one it can't have."""
    wrong = ValueError(f"{setting.name} must be {describe(setting)}, got {value!r}")
    kind: Any = setting.type
    several = kind.startswith("tuple")
    if several != isinstance(value, (list, tuple)):
        raise wrong
    if several:
        if not all(_is_number(setting, v) for v in value):
            raise wrong
        return tuple(float(v) for v in value)
    if kind == "str":
        fits = value in setting.metadata["choices"]
    elif kind == "bool":
        fits = isinstance(value, bool)
    else:
        fits = _is_number(setting, value)
    if not fits:
        raise wrong
    return float(value) if kind == "float" else value


def _is_number(setting: Field[Any], value: Any) -> bool:
    kinds = int if setting.type == "int" else (int, float)
    limits = setting.metadata
    return (
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and limits["least"] <= value <= limits["most"]
        and value > limits["above"]
    )


def describe(setting: Field[Any]) -> str:
    """The values that a setting may have, in words."""
    limits = setting.metadata
    if setting.type == "bool":
        return "true or false"
    if setting.type == "str":
        return "one of " + ", ".join(limits["choices"])
    kinds: dict[Any, str] = {"int": "a whole number", "float": "a number"}
    what = kinds.get(setting.type, "a list of numbers")
    bounds = [
        f"{words} {limits[name]:g}"
        for name, words in (("least", "of at least"), ("above", "above"), ("most", "at most"))
        if math.isfinite(limits[name])
    ]
    return " ".join([what, " and ".join(bounds)]).strip()
