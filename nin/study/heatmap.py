"""A matrix drawn as coloured cells, each with its number in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minicnn.backends import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[int, int, int, int]  # the first row and column of a part, its rows and columns
MARK = "#d1495b"


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
    numbers: bool = True,
) -> Any:
    """Draw a matrix (rows, columns); `mark` outlines a part, and what is outside `grey` is paler.

    Numbers from 0 to `limit` are white to blue; with negative ones among them, -limit to limit are
    red to blue around white. Numbers are as large as a line of them has room for in a third of a
    page, unless `font` says otherwise.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    rows, columns = matrix.shape
    limit = limit or float(abs(matrix).max()) or 1.0
    signed = bool((matrix < 0).any())
    colours = colormaps["RdBu" if signed else "Blues"]
    scale = Normalize(-1.5 * limit if signed else 0, 1.5 * limit)  # pale enough to read on
    image = axes.imshow(matrix, cmap=colours, norm=scale, aspect="equal")
    font = font or max(3.5, min(8.0, 75 / max(rows, columns)))
    for i in range(rows):
        for j in range(columns):
            outside = grey is not None and not (
                grey[0] <= i < grey[0] + grey[2] and grey[1] <= j < grey[1] + grey[3]
            )
            if numbers:
                text = number(float(matrix[i, j]))
                colour = "0.6" if outside else "black"
                axes.text(j, i, text, ha="center", va="center", fontsize=font, color=colour)
    axes.set_xticks([j - 0.5 for j in range(1, columns)], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, rows)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("0.75")
    if title:
        axes.set_title(title, fontsize=9)
    if mark is not None:
        i, j, height, width = mark
        axes.add_patch(
            Rectangle(
                (j - 0.5, i - 0.5),
                width,
                height,
                fill=False,
                color=MARK,
                linewidth=2,
                zorder=3,
                clip_on=False,
            )
        )
    return image
