"""Settings: fields of a record that say what they mean and which values they may have."""

from __future__ import annotations

from dataclasses import Field, field
from typing import Any

from minicnn.arguments import number

from .schema import ValueCheck, refuse


def setting(default: Any, help: str, check: ValueCheck) -> Any:
    """A dataclass's field: its default, what it means, and the values that it may have.

    Flags, TOML and the record itself all read it from here.
    """
    return field(default=default, metadata={"help": help, "check": check})


def check(setting: Field[Any], value: Any) -> Any:
    """The value of a setting in the setting's type, which may come as a list or a whole number.

    Raises Misfit, which is a ValueError, for one that it can't have.
    """
    allowed: ValueCheck = setting.metadata["check"]
    own = _converted(allowed.kind, value, allowed.item)
    if allowed.word and isinstance(own, (str, int, float)) and not isinstance(own, bool):
        own = () if own == allowed.word else _converted(tuple, [own])
    if not allowed.fits(own):
        refuse(setting.name, allowed.words(own), value, allowed.names)
    return own


def _converted(kind: type, value: Any, item: type = float) -> Any:
    """The value in this type, where it stands for one of those; otherwise as it is."""
    if kind is tuple and isinstance(value, (list, tuple)):
        return tuple(_converted(item, each) for each in value)
    if kind not in (int, float) or isinstance(value, bool):
        return value
    try:
        value = number(value)
        return float(value) if kind is float and type(value) is int else value
    except (TypeError, OverflowError):
        return value
