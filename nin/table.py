"""Tables: a list of columns says how rows, which are what JSON gets, are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A heading and what stands under it: what a row has under a key, or a function of the row.

    `form` is a format such as ",.2f", or "<" for text that begins at the left; numbers are
    multiplied by `scale` before, sizes written as 1×28×28, and `none` is written for None.
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


def text(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], across: bool = False) -> str:
    """The rows below their headings, or with `across` each in a column beside them.

    The first column begins at the left, the others end at the right unless they are to begin there.
    """
    lines = [[column.heading for column in columns]]
    lines += [[column.cell(row) for column in columns] for row in rows]
    if across:
        lines = list(map(list, zip(*lines, strict=True)))
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    left = [i == 0 or (not across and columns[i].form == "<") for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if begins else cell.rjust(width)
            for cell, width, begins in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )
