"""Pictures drawn with Matplotlib: blank figures, PNGs, and files of them.

A picture is never what ends a training or a command, and it depends on nothing but what is drawn:
neither a matplotlibrc, nor MPLBACKEND, nor a home directory that is not there. Matplotlib is
imported when there is something to draw.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn import atomic
from minicnn.console import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure

# Letters stay letters in an SVG, and the same numbers give the same file.
SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "minicnn"}


def figure(width: float, height: float, dpi: int = 140, layout: Any = "constrained") -> Figure:
    """A blank figure, its sides in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def png(figure: Figure) -> bytes:
    """The picture as a file's content, which depends on nothing but what is drawn."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def svg(figure: Figure) -> bytes:
    """The same as vectors."""
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context(SVG):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def write(path: Path, draw: Callable[[], bytes]) -> bool:
    """Draw a picture into a file; where it can't be drawn, warn in a line and return False.

    Raises OSError where it can't be written.
    """
    try:
        with _own_settings():
            content = draw()
    except Exception as error:  # whatever Matplotlib, its fonts and its settings come to
        what = str(error) or type(error).__name__
        warnings.warn(f"{path.name} can't be drawn: {what}", stacklevel=2)
        return False
    try:
        atomic.write(path, content)
    except OSError as error:  # of a full disk it does not say where
        raise OSError(error.errno, error.strerror, str(path)) from None
    return True


def label(name: str) -> str:
    """A name as a figure shows it, which takes dollar signs for formulas.

    A legend leaves out what begins with an underscore.
    """
    text = printable(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


@contextmanager
def _own_settings() -> Iterator[None]:
    """Matplotlib as it comes, and quiet."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of names that the font has no glyphs for
            matplotlib = _import()
            with matplotlib.rc_context():
                matplotlib.rcdefaults()
                yield
    finally:
        log.setLevel(level)


def _import() -> Any:
    """Matplotlib, also where MPLBACKEND holds what it refuses to be imported with."""
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    if wanted:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = wanted  # for whatever else draws in this process
    return matplotlib
