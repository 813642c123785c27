"""Checks: which values there may be, said once for flags, for TOML and for files read back.

A check is called with a value and with the words that say where it stands, and returns the value,
or raises Misfit. Nothing is converted, and nothing is filled in. Checks are put together as the
data is.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from minicnn import spelling
from minicnn.arguments import ArgumentError

Check = Callable[[Any, str], Any]
MANY = 10**9  # images, steps or minutes: more than anybody waits for
FAR = 1_000_000  # a bound this far from 0 is only spoken of to who goes past it


class Misfit(ArgumentError):
    """A value that can't be there; the message says where it stands, in one line."""


def refuse(where: str, expected: str, value: Any, names: Iterable[str] = ()) -> NoReturn:
    """Raise Misfit: what should be there, and what is; one of the names may have been meant."""
    raise Misfit(f"{where} must be {expected}, {spelling.got(value, names)}")


@dataclass(frozen=True)
class ValueCheck:
    """The check of one value: its type, what is true of it, and the words for that."""

    kind: type
    holds: Callable[[Any], bool]
    words: Callable[[Any], str]  # to somebody who wanted this value
    choices: tuple[str, ...] = ()  # of a text, if these are all
    item: type = float  # what a tuple is of
    word: str = ""  # for a tuple of nothing, beside which a number alone is a tuple, too
    names: tuple[str, ...] = ()  # among the texts, those that may have been meant

    def fits(self, value: Any) -> bool:
        """Whether it is such a value."""
        return type(value) is self.kind and self.holds(value)

    def __call__(self, value: Any, where: str) -> Any:
        if not self.fits(value):
            refuse(where, self.words(value), value, self.names)
        return value

    def parse(self, text: str) -> Any:
        """The value that a text, such as a flag's, stands for; raises ValueError for none."""
        value: Any = text
        try:
            if self.word and text == self.word:
                value = ()
            elif self.kind is tuple:
                value = tuple(map(self.item, text.split(","))) if text else ()
            elif self.kind in (int, float):
                value = self.kind(text)
        except ValueError:
            pass
        if not self.fits(value):
            raise ValueError(f"must be {self.words(value)}, {spelling.got(text, self.names)}")
        return value


def _bounds(value: Any, least: float, above: float, most: float) -> str:
    """The bounds in words, those that are far away only where this value is past them."""
    given = value if isinstance(value, (int, float)) else 0
    said = []
    if above > -math.inf:
        said.append(f"above {_said(above)}")
    elif least > -FAR or given < least:
        said.append(f"of at least {_said(least)}")
    if most < FAR or given > most:
        said.append(f"{'' if said else 'of '}at most {_said(most)}")
    return " and ".join(said)


def _said(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def whole(least: int, most: int = MANY) -> ValueCheck:
    """A whole number in these bounds."""

    def words(value: Any) -> str:
        return f"a whole number {_bounds(value, least, -math.inf, most)}"

    return ValueCheck(int, lambda value: least <= value <= most, words)


def number(
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float = -math.inf,
    finite: bool = True,
) -> ValueCheck:
    """A number in these bounds; if not `finite`, NaN and infinity are such numbers too."""

    def holds(value: float) -> bool:
        return least <= value <= most and value > above if math.isfinite(value) else not finite

    def words(value: Any) -> str:
        return f"a number {_bounds(value, least, above, most)}".strip()

    return ValueCheck(float, holds, words)


def numbers(above: float, most: float) -> ValueCheck:
    """A tuple of numbers in these bounds, each of a text's after a comma."""
    each = number(above=above, most=most)
    words = f"a list of numbers {_bounds(None, -math.inf, above, most)}"
    return ValueCheck(tuple, lambda values: all(map(each.fits, values)), lambda _: words)


def channels(least: float, most: float, word: str) -> ValueCheck:
    """A tuple of numbers, one for all channels or one for each; `word` is a tuple of none."""
    each = number(least, most)

    def words(values: Any) -> str:
        first = next((v for v in values if not each.fits(v)), 0) if type(values) is tuple else 0
        return f"{word}, {each.words(first)}, or one for each channel"

    def holds(values: Any) -> bool:
        return len(values) in (0, 1, 3) and all(map(each.fits, values))

    return ValueCheck(tuple, holds, words, word=word)


def wholes(least: int, most: int = MANY) -> ValueCheck:
    """A tuple of whole numbers in these bounds, each of a text's after a comma."""
    each = whole(least, most)
    words = f"a list of whole numbers {_bounds(None, least, -math.inf, most)}"
    return ValueCheck(tuple, lambda vs: all(map(each.fits, vs)), lambda _: words, item=int)


def text(most: int) -> ValueCheck:
    """A text of at most so many characters."""
    words = f"a text of at most {most} characters"
    return ValueCheck(str, lambda value: len(value) <= most, lambda _: words)


def choice(*texts: str) -> ValueCheck:
    """One of these texts."""
    words = "one of " + ", ".join(texts)
    return ValueCheck(str, lambda value: value in texts, lambda _: words, texts, names=texts)


def exactly(expected: Any, reason: str = "") -> ValueCheck:
    """This very value, of this very type."""
    words = f"{expected!r}{reason}"

    def holds(value: Any) -> bool:
        return bool(value == expected) and repr(value) == repr(expected)  # [0.0] is not [false]

    return ValueCheck(type(expected), holds, lambda _: words)


truth = ValueCheck(bool, lambda _: True, lambda _: "true or false")


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


def record(fields: Mapping[str, Any]) -> Check:
    """An object with these fields, all of them and no others, and the check of each."""

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
