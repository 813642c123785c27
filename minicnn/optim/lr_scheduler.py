"""Schedules of the learning rate, under the names of `torch.optim.lr_scheduler`.

A scheduler sets the learning rate of its optimiser when it is made, and at each `step()`. Call its
`step()` after the optimiser's: once for each epoch or for each batch, whichever it counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..arguments import ArgumentError, one_of, real, whole
from .optimizer import Optimizer


class LRScheduler:
    """What the schedules share: `last_epoch` counts the steps, `get_lr` gives the rates.

    A subclass defines `get_lr()`, the rate of each group at step `last_epoch`. To go on from a
    later step, use `load_state_dict`; the argument `last_epoch` of PyTorch must be -1 here.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._check(optimizer, last_epoch)
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = -1
        self.step()

    def _check(self, optimizer: Any, last_epoch: int) -> None:
        if not isinstance(optimizer, Optimizer):
            got = type(optimizer).__name__
            raise TypeError(f"{self._name}: expected an optimiser, got {got}")
        if last_epoch != -1:
            raise NotImplementedError(
                f"{self._name}: last_epoch must be -1, got {last_epoch!r}; load_state_dict goes on"
                " from another step"
            )

    @property
    def _name(self) -> str:
        return type(self).__name__

    def get_lr(self) -> list[float]:
        raise NotImplementedError(f"{self._name} defines no get_lr()")

    def step(self) -> None:
        """Go on to the next step and set its rates. A step that raises does not count."""
        self.last_epoch += 1
        try:
            rates = [real(self._name, "a rate", lr, least=0) for lr in self.get_lr()]
        except BaseException:
            self.last_epoch -= 1
            raise
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """The rate of each group as it is now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The position of the schedule, as numbers. The optimiser's state has the rates."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the position of a scheduler with the same settings.

        Raises ArgumentError, and changes nothing, for anything but what `state_dict` gives.
        """
        own = self.state_dict()
        if not isinstance(state_dict, dict) or state_dict.keys() != own.keys():
            raise ArgumentError(f"{self._name}: a state has {', '.join(own)}, got {state_dict!r}")
        last_epoch = whole(self._name, "last_epoch", state_dict["last_epoch"], 0)
        given = state_dict["base_lrs"]
        if not isinstance(given, list) or len(given) != len(self.base_lrs):
            raise ArgumentError(
                f"{self._name}: base_lrs must be a list of {len(self.base_lrs)}, got {given!r}"
            )
        self.base_lrs = [real(self._name, "base_lrs", lr, least=0) for lr in given]
        self.last_epoch = last_epoch


class MultiStepLR(LRScheduler):
    """Multiply the rate by gamma at each of the given steps; one given twice counts twice."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(f"MultiStepLR: milestones must be several, got {milestones!r}")
        self.milestones = Counter(whole("MultiStepLR", "a milestone", m, 0) for m in milestones)
        self.gamma = real("MultiStepLR", "gamma", gamma, least=0)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class StepLR(LRScheduler):
    """Multiply the rate by gamma every `step_size` steps."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = whole(self._name, "step_size", step_size, 1)
        self.gamma = real(self._name, "gamma", gamma, least=0)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        now = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        factor = self.gamma if now else 1.0
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class ExponentialLR(StepLR):
    """Multiply the rate by gamma at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        super().__init__(optimizer, 1, gamma, last_epoch)


class LambdaLR(LRScheduler):
    """The first rate times `lr_lambda(step)`, for a function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._check(optimizer, last_epoch)
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            got = len(self.lr_lambdas)
            raise ArgumentError(f"LambdaLR: {got} functions for {groups} groups")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [lr * function(self.last_epoch) for lr, function in pairs]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine: from the first rate down to `eta_min` at step T_max, then up again.

    A rate that was changed since the last step, by hand or by another schedule, goes on from there
    in the same proportions. Loshchilov and Hutter 2016, "SGDR", equation 5, arXiv 1608.03983.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = real("CosineAnnealingLR", "eta_min", eta_min, least=0)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        part, before = self._part(self.last_epoch), self._part(self.last_epoch - 1)
        rates = []
        for base, group in zip(self.base_lrs, self.optimizer.param_groups, strict=True):
            rate, above = self._rate(base, part), group["lr"] - self.eta_min
            if self.last_epoch and group["lr"] != self._rate(base, before):
                at_the_least = (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0
                rate = (
                    group["lr"] + (base - self.eta_min) * self._part(self.T_max - 1)
                    if at_the_least
                    else self.eta_min + above * part / before
                )
            rates.append(rate)
        return rates

    def _part(self, step: int) -> float:
        """How much of the way from eta_min up to the first rate the curve is at."""
        return (1 + math.cos(math.pi * step / self.T_max)) / 2

    def _rate(self, base: float, part: float) -> float:
        return self.eta_min + (base - self.eta_min) * part


class OneCycleLR(LRScheduler):
    """Rise from max_lr/div_factor to max_lr, then fall to the first rate/final_div_factor.

    There are `total_steps` steps, or epochs·steps_per_epoch. The rise takes `pct_start` of them (0:
    there is none, 1: there is nothing else), along half a cosine or a straight line
    (`anneal_strategy`); momentum, with `cycle_momentum`, falls from max_momentum to base_momentum
    meanwhile and comes back. After the last step, when PyTorch goes on beyond the end, to a rate
    that may be negative, all stays as it is. Smith and Topin 2018, "Super-convergence", arXiv
    1708.07120.

    Raises ArgumentError for settings out of range, and for a step too many, and NotImplementedError
    for `three_phase`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        name = "OneCycleLR"
        self._check(optimizer, last_epoch)
        if three_phase:
            raise NotImplementedError(f"{name}: three_phase is not supported")
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError(
                    f"{name}: total_steps, or epochs and steps_per_epoch, must be given"
                )
            epochs = whole(name, "epochs", epochs, 1)
            total_steps = epochs * whole(name, "steps_per_epoch", steps_per_epoch, 1)
        self.total_steps = whole(name, "total_steps", total_steps, 1)
        pct_start = real(name, "pct_start", pct_start, least=0, most=1)
        if cycle_momentum and not all(g.get("momentum") for g in optimizer.param_groups):
            raise ArgumentError(f"{name}: cycle_momentum needs an optimiser with momentum")
        self.linear = one_of(name, "anneal_strategy", anneal_strategy, "cos", "linear") == "linear"
        self.peak = pct_start * self.total_steps - 1  # the step at which the rise ends
        self.max_lr = real(name, "max_lr", max_lr, least=0)
        self.start = self.max_lr / real(name, "div_factor", div_factor, above=0)
        self.end = self.start / real(name, "final_div_factor", final_div_factor, above=0)
        high = real(name, "max_momentum", max_momentum, least=0)
        low = real(name, "base_momentum", base_momentum, least=0)
        self.momenta = (high, low) if cycle_momentum else None
        for group in optimizer.param_groups:
            group["initial_lr"] = self.start
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, fraction: float) -> float:
        if not self.linear:
            fraction = (1 - math.cos(math.pi * fraction)) / 2
        return start + (end - start) * fraction

    def _cycle(self, start: float, top: float, end: float) -> float:
        """The value at this step of what goes from start to top and on to end."""
        t = min(self.last_epoch, self.total_steps - 1)
        if t <= self.peak:
            return self._between(start, top, t / self.peak if self.peak else 1.0)
        return self._between(top, end, (t - self.peak) / (self.total_steps - 1 - self.peak))

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ArgumentError(f"OneCycleLR: all {self.total_steps} steps are done")
        if self.momenta is not None:
            high, low = self.momenta
            for group in self.optimizer.param_groups:
                group["momentum"] = self._cycle(high, low, high)
        return [self._cycle(self.start, self.max_lr, self.end)] * len(self.optimizer.param_groups)
