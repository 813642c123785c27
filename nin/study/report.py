"""What a study leaves behind: tables on the screen; figures, and its numbers as JSON, in files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from ..command_line import Failure

# Letters stay letters in an SVG, and the same numbers give the same file.
SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "minicnn"}


class Report:
    """The files of one study in one directory, each written beside its place and renamed.

    Raises FileExistsError if the directory holds a study of this name already, and other OSErrors
    if it can't be made.
    """

    def __init__(self, directory: Path, name: str, settings: dict[str, Any]) -> None:
        if (directory / f"{name}.json").exists():
            raise FileExistsError(f"{directory} holds {name}.json already; choose another --out")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.name, self.settings = directory, name, settings
        self.written: list[str] = []

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of cells below a header: the first column to the left, others to the right."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            first, *others = (
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            print("  ".join([first, *others]).rstrip())

    def figure(self, figure: Figure, part: str = "", kind: str = "png") -> None:
        """Write a figure as <study>-<part>.<kind>."""
        content = io.BytesIO()
        with rc_context(SVG):
            figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else None)
        self._write(self._called(part, kind), content.getvalue())

    def text(self, text: str, part: str = "", kind: str = "txt") -> None:
        """Write a text as <study>-<part>.<kind>."""
        self._write(self._called(part, kind), text.encode())

    def numbers(self, numbers: dict[str, Any]) -> None:
        """Write <study>.json: the settings and the numbers; again if there are more of them."""
        content = {"study": self.name, "settings": self.settings, **numbers}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        self._write(f"{self.name}.json", f"{text}\n".encode())

    def finish(self, numbers: dict[str, Any]) -> None:
        """Write the numbers, and say what was written."""
        self.numbers(numbers)
        print(f"\nWritten to {self.directory}:")
        for name in self.written:
            print(f"  {name}")

    def close(self) -> None:
        """Leave no directory behind in which nothing was written."""
        if not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _called(self, part: str, kind: str) -> str:
        return f"{self.name}-{part}.{kind}" if part else f"{self.name}.{kind}"

    def _write(self, name: str, content: bytes) -> None:
        beside = self.directory / f".{name}.tmp"
        try:
            beside.write_bytes(content)
            beside.replace(self.directory / name)
        except OSError as error:
            raise Failure(f"{self.directory / name} can't be written: {error.strerror}") from None
        if name not in self.written:
            self.written.append(name)
