"""What data that is read back may be: checks that are put together as the data is.

A check is called with a value and with the words that say where it stands, and returns the value,
or raises Misfit. Nothing is converted, and nothing is filled in.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

Check = Callable[[Any, str], Any]


class Misfit(ValueError):
    """A value that can't be what was written; the message says where it stands, in one line."""


def refuse(where: str, expected: str, value: Any) -> NoReturn:
    raise Misfit(f"{where} must be {expected}, got {reprlib.repr(value)}")


def whole(least: int, most: int) -> Check:
    """A whole number in these bounds."""

    def check(value: Any, where: str) -> Any:
        if type(value) is not int or not least <= value <= most:
            refuse(where, f"a whole number from {least} to {most}", value)
        return value

    return check


def number(least: float = -math.inf, most: float = math.inf, finite: bool = True) -> Check:
    """A number in these bounds; if not `finite`, NaN and infinity are such numbers too."""

    def check(value: Any, where: str) -> Any:
        if type(value) is not float or not (
            least <= value <= most if math.isfinite(value) else not finite
        ):
            bounds = [f"at least {least:g}"] if least > -math.inf else []
            bounds += [f"at most {most:g}"] if most < math.inf else []
            refuse(where, " ".join(["a number", " and ".join(bounds)]).strip(), value)
        return value

    return check


def truth(value: Any, where: str) -> Any:
    """True or false."""
    if type(value) is not bool:
        refuse(where, "true or false", value)
    return value


def text(most: int) -> Check:
    """A text of at most so many characters."""

    def check(value: Any, where: str) -> Any:
        if type(value) is not str or len(value) > most:
            refuse(where, f"a text of at most {most} characters", value)
        return value

    return check


def choice(*texts: str) -> Check:
    """One of these texts."""

    def check(value: Any, where: str) -> Any:
        if type(value) is not str or value not in texts:
            refuse(where, "one of " + ", ".join(texts), value)
        return value

    return check


def exactly(expected: Any, reason: str = "") -> Check:
    """This very value, of this very type."""

    def check(value: Any, where: str) -> Any:
        if type(value) is not type(expected) or value != expected:
            refuse(where, f"{expected!r}{reason}", value)
        return value

    return check


def maybe(check: Check) -> Check:
    """What `check` takes, or null."""
    return lambda value, where: value if value is None else check(value, where)


def items(check: Check, least: int = 0, most: int = 10**6) -> Check:
    """A list of so many items, each of which `check` takes."""

    def check_all(value: Any, where: str) -> Any:
        if type(value) is not list or not least <= len(value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            refuse(where, f"a list of {count} items", value)
        return [check(each, f"{where}[{i}]") for i, each in enumerate(value)]

    return check_all


def record(fields: Mapping[str, Check]) -> Check:
    """An object with these fields, all of them and no others."""

    def check(value: Any, where: str) -> Any:
        if type(value) is not dict:
            refuse(where, "an object", value)
        for name in fields:
            if name not in value:
                raise Misfit(f"{where}: {name} is missing")
        for name in value:
            if name not in fields:
                raise Misfit(f"{where}: {reprlib.repr(name)} does not belong there")
        return {name: each(value[name], f"{where}.{name}") for name, each in fields.items()}

    return check


def by_name(names: Iterable[str], check: Check) -> Check:
    """An object with these fields, each of which `check` takes."""
    return record(dict.fromkeys(names, check))
