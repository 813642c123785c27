"""A matrix drawn as coloured cells, each with its number in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minicnn.backends import Array

from .. import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[int, int, int, int]  # the first row and column of a part, its rows and columns


def number(value: float) -> str:
    """As short as it can be said: 2, -1.5, 0.33."""
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-0", "-0" if value <= -0.005 else "0")


def draw(
    axes: Axes,
    matrix: Array,
    title: str = "",
    *,
    mark: Box | None = None,
    grey: Box | None = None,
    limit: float | None = None,
    font: float | None = None,
) -> None:
    """Draw a matrix (rows, columns); `mark` outlines a part, and what is outside `grey` is paler.

    Numbers are as large as a line of them has room for in a third of a page, unless `font` says
    otherwise.
    """
    from matplotlib.patches import Rectangle

    rows, columns = matrix.shape
    limit = limit or float(abs(matrix).max()) or 1.0
    drawing.signed(axes, matrix, 2 * limit)  # pale enough to read on
    font = font or max(3.5, min(8.0, 75 / max(rows, columns)))
    top, left, height, width = grey or (0, 0, rows, columns)
    for i in range(rows):
        for j in range(columns):
            inside = top <= i < top + height and left <= j < left + width
            colour = "black" if inside else "0.6"
            text = number(float(matrix[i, j]))
            axes.text(j, i, text, ha="center", va="center", fontsize=font, color=colour)
    axes.set_xticks([j - 0.5 for j in range(1, columns)], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, rows)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1, alpha=1)
    axes.tick_params(which="both", length=0)
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set(visible=True, color="0.75")
    if mark is not None:
        i, j, height, width = mark
        outline = Rectangle((j - 0.5, i - 0.5), width, height, fill=False, linewidth=2)
        outline.set(color=drawing.MARK, zorder=3, clip_on=False)
        axes.add_patch(outline)
