"""The pictures of a run: losses and accuracy by epoch, and the health of its layers by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from . import drawing
from .health import Look


def epochs(history: Sequence[dict[str, float]], title: str) -> bytes:
    """A PNG of the rows of metrics.csv: training and test loss, and test accuracy."""
    from matplotlib.ticker import MaxNLocator

    x = [row["epoch"] for row in history]
    figure = drawing.figure(9, 3.6, dpi=120)
    losses, accuracy = figure.subplots(1, 2)
    losses.plot(x, [row["train_loss"] for row in history], "o-", label="training")
    losses.plot(x, [row["test_loss"] for row in history], "s--", label="test")
    losses.set(ylabel="cross-entropy (nats)", title="Loss")
    losses.legend()
    accuracy.plot(x, [100 * row["accuracy"] for row in history], "s--", color="C1")
    accuracy.set(ylabel="test accuracy (%)")
    accuracy.set_title(f"Accuracy: {100 * history[-1]['accuracy']:.2f}%")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    return drawing.png(figure)


def health(looks: Sequence[Look], title: str) -> bytes:
    """A PNG of what was seen: the loss, the dead units and the gradients of each layer, by step."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

    steps = [each.step for each in looks]
    figure = drawing.figure(12, 3.8, dpi=120)
    loss, dead, gradients = figure.subplots(1, 3)
    loss.plot(steps, [each.loss for each in looks], ".-")
    loss.set(title="Training loss", ylabel="cross-entropy (nats)")
    _by_layer(dead, steps, [each.dead for each in looks])
    dead.set(title="Dead units of each ReLU", ylim=(-0.03, 1.03))
    dead.yaxis.set_major_formatter(PercentFormatter(1))
    ratios = [
        {path: each.gradient_norm[path] / (norm or 1) for path, norm in each.weight_norm.items()}
        for each in looks
    ]
    _by_layer(gradients, steps, ratios)
    gradients.set_title("Gradient norm over weight norm")
    if any(0 < v < math.inf for each in ratios for v in each.values()):
        gradients.set_yscale("log")  # which wants something to show: after NaN there may be nothing
    for axes in (loss, dead, gradients):
        axes.set(xlabel="step", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    return drawing.png(figure)


def _by_layer(axes: Any, steps: list[int], figures: list[dict[str, float]]) -> None:
    """A line for each layer, darker the nearer it is to the images."""
    from matplotlib import colormaps

    paths = list(figures[0])
    for i, path in enumerate(paths):
        shade = 0.05 + 0.85 * i / max(1, len(paths) - 1)
        axes.plot(
            steps,
            [each[path] for each in figures],
            ".-",
            color=colormaps["viridis"](shade),
            label=path,
            lw=1,
        )
    axes.legend(title="layer", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
