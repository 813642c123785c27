"""The picture of a run: losses and accuracy by epoch."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw(history: list[dict[str, float]], title: str, path: Path) -> None:
    """Write a PNG of the rows of metrics.csv: training and test loss, and test accuracy."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    losses.plot(epochs, [row["train_loss"] for row in history], "o-", label="training")
    losses.plot(epochs, [row["test_loss"] for row in history], "s--", label="test")
    losses.set(ylabel="cross-entropy (nats)", title="Loss")
    losses.legend()
    accuracy.plot(epochs, [100 * row["accuracy"] for row in history], "s--", color="C1")
    accuracy.set(ylabel="test accuracy (%)")
    accuracy.set_title(f"Accuracy: {100 * history[-1]['accuracy']:.2f}%")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    beside = path.with_name(f".{path.name}.tmp")
    figure.savefig(beside, format="png")
    beside.replace(path)
