"""What a study leaves behind: tables on the screen; figures, and its numbers as JSON, in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from minicnn import atomic

from .. import drawing, table
from ..command_line import Failure, as_json, printable
from ..run import claim


class Report:
    """The files of one study in one directory, each of them whole or not there.

    Without a directory, it is a new one in runs/. Raises FileExistsError if the directory holds
    files of a study of this name, or others that are called like them, and other OSErrors if it
    can't be made.
    """

    def __init__(self, directory: Path | None, name: str, settings: dict[str, Any]) -> None:
        self.made = directory is None or not directory.exists()
        if directory is None:
            directory = claim(name)
        else:
            directory.mkdir(parents=True, exist_ok=True)
        for other in sorted(os.listdir(directory)):
            if other.startswith((f"{name}.", f"{name}-")):
                raise FileExistsError(f"{directory} holds {other} already; choose another --out")
        self.directory, self.name, self.settings = directory, name, settings
        self.written: list[str] = []

    def table(
        self,
        columns: Sequence[table.Column],
        rows: Sequence[Mapping[str, Any]],
        notes: str = "",
        across: bool = False,
    ) -> None:
        """Print rows as `table.text` writes them, and notes on them below."""
        print(table.text(columns, rows, across), end=f"\n\n{notes}\n" if notes else "\n")

    def figure(self, draw: Callable[[], drawing.Figure], part: str = "", kind: str = "png") -> None:
        """Draw a figure as <study>-<part>.<kind>; where it can't be drawn, warn, and go on."""
        self._write(part, kind, lambda path: drawing.write(path, draw))

    def text(self, text: str, part: str = "", kind: str = "txt") -> None:
        """Write a text as <study>-<part>.<kind>."""
        # In JSON, too, this is the escape for a byte of a file name that is not UTF-8.
        content = text.encode(errors="backslashreplace")
        self._write(part, kind, lambda path: atomic.write(path, content))

    def numbers(self, numbers: dict[str, Any]) -> None:
        """Write <study>.json: the settings and the numbers; again if there are more of them."""
        content = {"study": self.name, "settings": self.settings, **numbers}
        self.text(as_json(content, indent=1, ensure_ascii=False) + "\n", kind="json")

    def finish(self, numbers: dict[str, Any]) -> None:
        """Write the numbers, and say what was written."""
        self.numbers(numbers)
        print(f"\nWritten to {printable(self.directory)}:")
        for name in self.written:
            print(f"  {name}")

    def close(self) -> None:
        """Leave no directory behind that was made for this and in which nothing is."""
        if self.made:
            with suppress(OSError):
                self.directory.rmdir()

    def _write(self, part: str, kind: str, write: Callable[[Path], bool | None]) -> None:
        path = self.directory / f"{'-'.join(filter(None, (self.name, part)))}.{kind}"
        try:
            done = write(path)
        except OSError as error:
            raise Failure(f"{path} can't be written: {error.strerror}") from None
        if done is not False and path.name not in self.written:
            self.written.append(path.name)
