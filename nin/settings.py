"""Settings: fields of a record that say what they mean and which values they may have."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import Field, field
from typing import Any

from minicnn.arguments import ArgumentError, number


def setting(
    default: Any,
    help: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    far: float = math.inf,
    choices: Sequence[str] = (),
) -> Any:
    """A dataclass's field: its default, what it means, and the values that it may have.

    Numbers are at least `least`, above `above`, at most `most`, and no further from 0 than `far`,
    which is more than anybody has a use for, and only said to who asks for more. Texts are among
    `choices`.
    """
    limits = {"least": least, "above": above, "most": most, "far": far, "choices": tuple(choices)}
    return field(default=default, metadata={"help": help, **limits})


def parse(setting: Field[Any], text: str) -> Any:
    """The value that a text, such as a flag's, stands for; raises ValueError if it can't be one."""
    kind: Any = setting.type
    value: Any = text
    try:
        if kind.startswith("tuple"):
            value = [float(part) for part in text.split(",") if part]
        elif kind != "str":
            value = int(text) if kind == "int" else float(text)
        return check(setting, value)
    except ValueError:
        what = describe(setting, value)
        raise ValueError(f"must be {what}, got {reprlib.repr(text)}") from None


def check(setting: Field[Any], value: Any) -> Any:
    """The value of a setting in the setting's type.

    Raises ArgumentError, which is a ValueError, for one it can't have.
    """
    kind: Any = setting.type
    try:
        if kind.startswith("tuple") and isinstance(value, (list, tuple)):
            return tuple(float(_number(setting, each)) for each in value)
        if kind in ("int", "float"):
            return _number(setting, value)
        if kind == "bool" and isinstance(value, bool):
            return value
        if kind == "str" and isinstance(value, str) and value in setting.metadata["choices"]:
            return value
    except (TypeError, OverflowError):
        pass
    what = describe(setting, value)
    raise ArgumentError(f"{setting.name} must be {what}, got {reprlib.repr(value)}")


def _number(setting: Field[Any], value: Any) -> int | float:
    """A number in the setting's type. Raises TypeError or OverflowError for one out of bounds."""
    value, limits = number(value), setting.metadata
    if isinstance(value, bool) or not (
        math.isfinite(value)
        and limits["least"] <= value <= limits["most"]
        and value > limits["above"]
        and abs(value) <= limits["far"]
    ):
        raise TypeError
    if setting.type != "int":
        return float(value)
    if not isinstance(value, int):
        raise TypeError
    return value


def describe(setting: Field[Any], value: Any = None) -> str:
    """The values that a setting may have, in words to somebody who wanted this one."""
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
    if isinstance(value, (int, float)) and abs(value) > limits["far"]:
        bounds.append(f"at most {limits['far']:,}" if value > 0 else f"above {-limits['far']:,}")
    return " ".join([what, " and ".join(bounds)]).strip()
