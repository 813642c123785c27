"""Pictures drawn with Matplotlib: their style, and files of them.

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
from minicnn.backends import Array
from minicnn.console import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "minicnn",  # and the same numbers give the same file
}
# One colour code for sign, in all figures and in the explorer, whose light colours these are: blue
# above 0, red below and white for 0; ColorBrewer's, from the palest to the darkest.
POSITIVE = ("#92c5de", "#4393c3", "#2166ac", "#053061")
ZERO = "#ffffff"
NEGATIVE = ("#f4a582", "#d6604d", "#b2182b", "#67001f")
GREY = "#8c8c8c"  # what does not matter here, such as a number that is 0
MARK = "#d97a00"  # frames what to look at
# What is told apart and has no sign: Network in Network is always the first of them.
NIN, OTHERS = MARK, GREY
METADATA: Any = {"png": {"Software": None}, "svg": {"Date": None}}  # what depends on more


def figure(width: float, height: float) -> Figure:
    """A blank figure, its sides in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=140, layout="constrained")


def image(axes: Axes, pixels: Array, negative: bool = False) -> None:
    """Draw an image, uint8 (H, W) or (H, W, 3); as a negative, a grey one has white for 0."""
    axes.imshow(pixels, cmap="gray_r" if negative else "gray", vmin=0, vmax=255)


def signed(axes: Axes, values: Array, limit: float | None = None, **options: Any) -> Any:
    """Draw a matrix, blue where it is positive, red where negative, and white at 0.

    The colours are darkest at ±`limit`, by default the largest value without its sign. A figure
    says so by `signs`, or by a colour bar.
    """
    limit = limit or float(abs(values).max()) or 1.0
    return axes.imshow(values, cmap=colours_of_signs(), vmin=-limit, vmax=limit, **options)


def colours_of_signs() -> Any:
    """Matplotlib's map of numbers to colours, to be used from -x to x."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signs", [*NEGATIVE[::-1], ZERO, *POSITIVE])


def ink(value: float) -> str:
    """The colour that a number of this sign is written in; 0 is grey."""
    return GREY if value == 0 else (NEGATIVE if value < 0 else POSITIVE)[2]


def signs(figure: Figure, zero: str = ZERO) -> None:
    """Below a figure, the legend of what `signed` draws, or, with the zero GREY, of `ink`."""
    from matplotlib.patches import Patch

    names = {"negative": NEGATIVE[1], "0": zero, "positive": POSITIVE[1]}
    patches = [Patch(fc=colour, ec="#bbbbbb", label=name) for name, colour in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False)


def label(name: str) -> str:
    """A name as a figure shows it, which takes dollar signs for formulas.

    A legend leaves out what begins with an underscore.
    """
    text = printable(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def write(path: Path, draw: Callable[[], Figure]) -> bool:
    """Draw a figure into a file; where it can't be drawn, warn in a line and return False.

    It is a PNG, unless the file is called .svg. Raises OSError where it can't be written.
    """
    kind, content = "svg" if path.suffix == ".svg" else "png", io.BytesIO()
    try:
        with _own_settings():
            draw().savefig(content, format=kind, metadata=METADATA[kind])
    except Exception as error:  # whatever Matplotlib, its fonts and its settings come to
        what = str(error) or type(error).__name__
        warnings.warn(f"{path.name} can't be drawn: {what}", stacklevel=2)
        return False
    atomic.write(path, content.getvalue())
    return True


@contextmanager
def _own_settings() -> Iterator[None]:
    """Matplotlib as it comes, but for the style, and quiet."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of names that the font has no glyphs for
            matplotlib = _import()
            with matplotlib.rc_context():
                matplotlib.rcdefaults()
                matplotlib.rcParams.update(STYLE)
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
