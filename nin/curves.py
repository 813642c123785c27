"""Pictures of trainings: losses and accuracy by epoch, and the health of the layers by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import drawing
from .health import Look

History = Sequence[Mapping[str, float]]  # the rows of metrics.csv


def epochs(history: History, title: str, evaluated_on: str) -> drawing.Figure:
    """Losses of a run on the training set and another, "validation" or "test"; its accuracy."""
    figure, losses, accuracy = _by_epoch(7.5, 3.0, evaluated_on)
    x = [row["epoch"] for row in history]
    losses.plot(x, [row["train_loss"] for row in history], "o-", label="training")
    losses.plot(x, [row["eval_loss"] for row in history], "s--", label=evaluated_on)
    losses.set_title("Loss")
    losses.legend()
    accuracy.plot(x, [100 * row["accuracy"] for row in history], "s--", color="C1")
    accuracy.set_title(f"Accuracy: {100 * history[-1]['accuracy']:.2f}%")
    figure.suptitle(title)
    return figure


def runs(histories: Mapping[str, History], evaluated_on: str) -> drawing.Figure:
    """The same of runs over one another."""
    figure, losses, accuracy = _by_epoch(7.5, 3.5, evaluated_on)
    for i, (name, history) in enumerate(histories.items()):
        x, colour = [row["epoch"] for row in history], f"C{i % 10}"
        losses.plot(x, [row["train_loss"] for row in history], "-", color=colour, lw=1)
        losses.plot(x, [row["eval_loss"] for row in history], "--", color=colour, lw=1)
        accuracies = [100 * row["accuracy"] for row in history]
        accuracy.plot(x, accuracies, ".-", color=colour, label=drawing.label(name))
    losses.set_title(f"Loss (dashed: {evaluated_on})")
    accuracy.set_title("Accuracy")
    accuracy.legend()
    return figure


def _by_epoch(width: float, height: float, evaluated_on: str) -> tuple[drawing.Figure, Any, Any]:
    """A figure with axes for losses and for accuracies."""
    from matplotlib.ticker import MaxNLocator

    figure = drawing.figure(width, height)
    losses, accuracy = figure.subplots(1, 2)
    losses.set_ylabel("cross-entropy (nats)")
    accuracy.set_ylabel(f"{evaluated_on} accuracy (%)")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid()
    return figure, losses, accuracy


def health(looks: Sequence[Look], title: str) -> drawing.Figure:
    """The loss, and the dead units and the gradients of each layer, by step."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

    steps = [each.step for each in looks]
    figure = drawing.figure(10, 3.2)
    loss, dead, gradients = figure.subplots(1, 3)
    loss.plot(steps, [each.loss for each in looks], ".-")
    loss.set(title="Training loss", ylabel="cross-entropy (nats)")
    _by_layer(dead, steps, [each.dead for each in looks])
    dead.set(title="Dead units of each ReLU", ylim=(-0.03, 1.03))
    dead.yaxis.set_major_formatter(PercentFormatter(1))
    ratios = [
        {path: norm / (each.weight_norm[path] or 1) for path, norm in each.gradient_norm.items()}
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
        axes.grid()
    figure.suptitle(title)
    return figure


def _by_layer(axes: Any, steps: list[int], figures: list[dict[str, float]]) -> None:
    """A line for each layer, darker the nearer it is to the images."""
    from matplotlib import colormaps

    paths = list(figures[0])
    for i, path in enumerate(paths):
        colour = colormaps["viridis"](0.05 + 0.85 * i / max(1, len(paths) - 1))
        values = [each[path] for each in figures]
        axes.plot(steps, values, ".-", color=colour, label=path, lw=1)
    axes.legend(title="layer", loc="center left", bbox_to_anchor=(1, 0.5))
