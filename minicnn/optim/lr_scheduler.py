"""Schedules of the learning rate, under the names of `torch.optim.lr_scheduler`.

A scheduler sets the rate of its optimiser when it is made, and again at each `step()`, called after
the optimiser's: once an epoch or once a batch, as its counts are meant.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .sgd import SGD


class LRScheduler:
    """What the schedules share: `last_epoch` counts the steps, `get_lr` gives the rates.

    A subclass defines `get_lr()`, the rate of each group at step `last_epoch`.
    """

    def __init__(self, optimizer: SGD) -> None:
        if not isinstance(optimizer, SGD):
            raise TypeError(
                f"{type(self).__name__}: expected an optimiser, got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = -1
        self.step()

    def get_lr(self) -> list[float]:
        raise NotImplementedError(f"{type(self).__name__} defines no get_lr()")

    def step(self) -> None:
        """Go on by one, and set the rates."""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """The rate of each group as it is now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule is: numbers only. The rates themselves are in the optimiser's."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to where a scheduler with the same settings was."""
        self.last_epoch = state_dict["last_epoch"]
        self.base_lrs = list(state_dict["base_lrs"])


class MultiStepLR(LRScheduler):
    """The rate times gamma at each of the given steps; one that is named twice counts twice."""

    def __init__(self, optimizer: SGD, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr, then down to that start over final_div_factor.

    The rise takes `pct_start` of `total_steps`, along half a cosine or a straight line
    (`anneal_strategy`); momentum, with `cycle_momentum`, falls from max_momentum to base_momentum
    meanwhile and comes back. Smith and Topin 2018, "Super-convergence", arXiv 1708.07120.

    Raises ValueError for settings out of range, and for a step after the last.
    """

    def __init__(
        self,
        optimizer: SGD,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        if not isinstance(total_steps, int) or total_steps < 1:
            raise ValueError(f"OneCycleLR: total_steps must be a positive int, got {total_steps!r}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must be between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy must be cos or linear, got {anneal_strategy!r}"
            )
        if cycle_momentum and not all(g.get("momentum") for g in optimizer.param_groups):
            raise ValueError("OneCycleLR: cycle_momentum needs an optimiser with momentum")
        self.total_steps, self.linear = total_steps, anneal_strategy == "linear"
        self.peak = pct_start * total_steps - 1  # the step at which the rise ends
        self.max_lr, self.start = max_lr, max_lr / div_factor
        self.end = self.start / final_div_factor
        self.momenta = (max_momentum, base_momentum) if cycle_momentum else None
        for group in optimizer.param_groups:
            group["initial_lr"] = self.start
        super().__init__(optimizer)

    def _between(self, start: float, end: float, share: float) -> float:
        return start + (end - start) * (
            share if self.linear else (1 - math.cos(math.pi * share)) / 2
        )

    def _cycle(self, start: float, top: float, end: float) -> float:
        """The value at this step of what goes from start to top and on to end."""
        t, last = self.last_epoch, self.total_steps - 1
        if t <= self.peak:
            return self._between(start, top, t / self.peak if self.peak else 1.0)
        return self._between(top, end, (t - self.peak) / (last - self.peak))

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: all {self.total_steps} steps are done")
        if self.momenta is not None:
            high, low = self.momenta
            for group in self.optimizer.param_groups:
                group["momentum"] = self._cycle(high, low, high)
        return [self._cycle(self.start, self.max_lr, self.end)] * len(self.base_lrs)
