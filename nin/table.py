"""Tables: a list of columns says how rows, which are what JSON gets, are printed."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from minicnn import console

LEAST = 8  # columns that are left of names


class Column(NamedTuple):
    """A heading and what stands under it: what a row has under a key, or a function of the row.

    The heading may have several lines. `form` is a format such as ",.2f", or "<" for text that
    begins at the left; numbers are multiplied by `scale` before, sizes written as 1×28×28, and
    `none` is written for None.
    """

    heading: str
    value: str | Callable[[Any], Any]
    form: str = ""
    scale: float = 1
    none: str = "–"

    def cell(self, row: Mapping[str, Any]) -> str:
        value = self.value(row) if callable(self.value) else row[self.value]
        if value is None or isinstance(value, str):
            return self.none if value is None else value
        if isinstance(value, (tuple, list)):
            return "×".join(map(str, value))
        return format(self.scale * value, self.form)


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_width(c) for c in text)


def _width(c: str) -> int:
    if unicodedata.category(c) in ("Mn", "Me", "Cf"):  # above the letter before, or unseen
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def cut(text: str, most: int, at_the_end: int = 0) -> str:
    """The text in at most so many columns, with "…" in its middle, and so many of them after it."""
    if width(text) <= most:
        return text
    first, last = most - 1 - at_the_end, at_the_end
    begin, end = "", ""
    for c in text:
        first -= _width(c)
        if first < 0:
            break
        begin += c
    for c in reversed(text):
        last -= _width(c)
        if last < 0:
            break
        end = c + end
    return f"{begin}…{end}"


def _told_apart(names: Sequence[str], most: int) -> list[str]:
    """The names in at most so many columns, cut where they are still told apart, or numbered."""
    middle = (most - 1) // 2
    for at_the_end in sorted(range(most), key=lambda n: abs(n - middle)):
        short = [cut(name, most, at_the_end) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return [cut(f"{i} {name}", most) for i, name in enumerate(names, 1)]


def text(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], across: bool = False) -> str:
    """The rows below their headings, or with `across` each in a column beside them.

    The first column begins at the left, the others end at the right unless they are to begin there.
    Where the terminal is too narrow, what stands in the first is cut, down to 8 columns.
    """
    headings = [column.heading.split("\n") for column in columns]
    high = max(map(len, headings))
    cells = [[column.cell(row) for column in columns] for row in rows]
    if across:
        heads = [[" ".join(heading) for heading in headings]]
        lines = list(map(list, zip(*heads, *cells, strict=True)))
    else:
        padded = ([""] * (high - len(heading)) + heading for heading in headings)
        heads = list(map(list, zip(*padded, strict=True)))
        lines = [*heads, *cells]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    room = max(LEAST, console.columns() - sum(widths[1:]) - 2 * (len(widths) - 1))
    if not across and widths[0] > room:
        widths[0] = room
        for line, name in zip(cells, _told_apart([line[0] for line in cells], room), strict=True):
            line[0] = name
    left = [i == 0 or (not across and columns[i].form == "<") for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell + " " * (wide - width(cell)) if begins else " " * (wide - width(cell)) + cell
            for cell, wide, begins in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )
