"""How many epochs a training has, which may change on the way, and the rates that follow."""

from __future__ import annotations

from dataclasses import replace

import minicnn
from minicnn import optim

from .fit import Lengths, Training, schedule


def change(training: Training, epochs: int) -> None:
    """Have so many epochs from here on, and the rates that a training of that length has here.

    Whatever the schedule is, it ends with the training: so a cycle that was over is taken up again
    where the longer one would be by now. Steps that are done keep the rates that they had.
    """
    if training.steps > (training.lengths[-1][0] if training.lengths else 0):
        training.lengths.append((training.steps, training.preset.epochs))
    training.preset = replace(training.preset, epochs=epochs)
    training.scheduler = schedule(training.optimizer, training.preset, _steps(training, epochs))
    restore_rate(training)


def restore_rate(training: Training) -> None:
    """Set the learning rate to what it is after the steps that are done, and the schedule too."""
    rates = learning_rates(training, training.lengths, training.steps)
    training.lr = rates[max(0, training.steps - 1)]
    training.optimizer.param_groups[0]["lr"] = rates[-1]
    if training.scheduler is not None:
        at = {**training.scheduler.state_dict(), "last_epoch": training.steps}
        training.scheduler.load_state_dict(at)


def learning_rates(training: Training, lengths: Lengths, steps: int) -> list[float]:
    """The learning rate of each of the first steps and of the one after them.

    A step's is of the schedule for the length that the training was to have when it was taken.
    """
    rates: list[float] = []
    for until, epochs in [*lengths, (steps + 1, training.preset.epochs)]:
        until = min(until, steps + 1)
        rates += _rates(training, epochs, until)[len(rates) :]
    return rates


def _rates(training: Training, epochs: int, steps: int) -> list[float]:
    """The learning rates of the first steps of a training of so many epochs."""
    optimizer = optim.SGD(
        [minicnn.zeros(1, device="cpu", requires_grad=True)], lr=training.preset.lr
    )
    scheduler = schedule(optimizer, training.preset, _steps(training, epochs))
    rates = [optimizer.param_groups[0]["lr"]]
    while len(rates) < steps:
        if scheduler is not None:
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates[:steps]


def _steps(training: Training, epochs: int) -> int:
    return epochs * len(training.train_loader)
