"""Optimisers that give each number a rate of its own, by the gradients that it has had."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from ..arguments import ArgumentError
from ..backends import Array, backend_of
from .optimizer import Check, Group, Optimizer, at_least_0, bounded

fraction = partial(bounded, least=0, most=1)


def _betas(name: str, option: str, value: Any) -> tuple[Any, Any]:
    """Two numbers from 0 on and below 1."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ArgumentError(f"{name}: {option} must be two numbers, got {value!r}")
    first, second = (fraction(name, option, beta) for beta in value)
    if max(first, second) == 1:
        raise ArgumentError(f"{name}: {option} must be below 1, got {value!r}")
    return first, second


def _zeros(kept: dict[str, Any], name: str, p: Array) -> Array:
    """The array that is kept under this name; zeros at first."""
    return kept.setdefault(name, backend_of(p).xp.zeros_like(p))


def _decayed(p: Array, g: Array, options: Group) -> Array:
    """g with the gradient of ½·weight_decay·|p|²."""
    return g + options["weight_decay"] * p if options["weight_decay"] else g


def _averaged(average: Array, value: Array, beta: float) -> Array:
    """average ← β·average + (1-β)·value, in place."""
    average *= beta
    average += (1 - beta) * value
    return average


class Adam(Optimizer):
    """Kingma and Ba 2014, "Adam", algorithm 1, arXiv 1412.6980.

    m ← β₁·m + (1-β₁)·g,  v ← β₂·v + (1-β₂)·g²,
    p ← p - lr·m̂ / (√v̂ + eps)  with m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ) at step t.

    `weight_decay` goes into g. For all else see `Optimizer`.
    """

    checks: ClassVar[dict[str, Check]] = {
        "lr": at_least_0, "betas": _betas, "eps": at_least_0, "weight_decay": at_least_0
    }  # fmt: skip
    off: ClassVar[dict[str, Any]] = {
        **Optimizer.off,
        **dict.fromkeys(("amsgrad", "capturable", "decoupled_weight_decay"), False),
        "fused": None,
    }
    keeps = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        **off: Any,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, **off})

    def update(self, p: Array, g: Array, kept: dict[str, Any], options: Group) -> None:
        g = _decayed(p, g, options)
        (first, second), t = options["betas"], kept["step"]
        m = _averaged(_zeros(kept, "exp_avg", p), g, first)
        v = _averaged(_zeros(kept, "exp_avg_sq", p), g * g, second)
        root = backend_of(p).xp.sqrt(v)
        root /= (1 - second**t) ** 0.5
        p -= options["lr"] / (1 - first**t) * m / (root + options["eps"])


class AdamW(Adam):
    """Adam whose `weight_decay` shrinks p itself, by lr·weight_decay, beside the step.

    Loshchilov and Hutter 2017, "Decoupled weight decay regularization", arXiv 1711.05101.
    """

    off: ClassVar[dict[str, Any]] = {**Adam.off, "decoupled_weight_decay": True}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **off: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **off)

    def update(self, p: Array, g: Array, kept: dict[str, Any], options: Group) -> None:
        p *= 1 - options["lr"] * options["weight_decay"]
        super().update(p, g, kept, {**options, "weight_decay": 0})


class Adadelta(Optimizer):
    """Zeiler 2012, "ADADELTA", algorithm 1, arXiv 1212.5701.

    v ← ρ·v + (1-ρ)·g²,  d = √(u + eps) / √(v + eps) · g,  u ← ρ·u + (1-ρ)·d²,  p ← p - lr·d.
    """

    checks: ClassVar[dict[str, Check]] = {
        "lr": at_least_0, "rho": fraction, "eps": at_least_0, "weight_decay": at_least_0
    }  # fmt: skip
    off: ClassVar[dict[str, Any]] = {**Optimizer.off, "capturable": False}
    keeps = ("step", "square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        **off: Any,
    ) -> None:
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, **off})

    def update(self, p: Array, g: Array, kept: dict[str, Any], options: Group) -> None:
        g, rho, eps = _decayed(p, g, options), options["rho"], options["eps"]
        sqrt, u = backend_of(p).xp.sqrt, _zeros(kept, "acc_delta", p)
        v = _averaged(_zeros(kept, "square_avg", p), g * g, rho)
        d = sqrt(u + eps) / sqrt(v + eps) * g
        _averaged(u, d * d, rho)
        p -= options["lr"] * d


class RMSprop(Optimizer):
    """Tieleman and Hinton 2012, "Neural networks for machine learning", lecture 6e.

    v ← α·v + (1-α)·g²,  d = g / (√v + eps),  p ← p - lr·d, or with momentum μ
    b ← μ·b + d and p ← p - lr·b.
    """

    checks: ClassVar[dict[str, Check]] = {
        "lr": at_least_0,
        "alpha": at_least_0,
        "eps": at_least_0,
        "weight_decay": at_least_0,
        "momentum": at_least_0,
    }
    off: ClassVar[dict[str, Any]] = {
        **Optimizer.off,
        **dict.fromkeys(("capturable", "centered"), False),
    }
    keeps = ("step", "square_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        **off: Any,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "momentum": momentum, "centered": centered, **off})

    def update(self, p: Array, g: Array, kept: dict[str, Any], options: Group) -> None:
        g = _decayed(p, g, options)
        v = _averaged(_zeros(kept, "square_avg", p), g * g, options["alpha"])
        d = g / (backend_of(p).xp.sqrt(v) + options["eps"])
        if options["momentum"]:
            b = _zeros(kept, "momentum_buffer", p)
            b *= options["momentum"]
            b += d
            d = b
        p -= options["lr"] * d


class Adagrad(Optimizer):
    """Duchi, Hazan and Singer 2011, "Adaptive subgradient methods", figure 1.

    v ← v + g²,  p ← p - lr / (1 + (t-1)·lr_decay) · g / (√v + eps) at step t.
    """

    checks: ClassVar[dict[str, Check]] = {
        "lr": at_least_0,
        "lr_decay": at_least_0,
        "weight_decay": at_least_0,
        "initial_accumulator_value": at_least_0,
        "eps": at_least_0,
    }
    off: ClassVar[dict[str, Any]] = {**Optimizer.off, "fused": None}
    keeps = ("step", "sum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        **off: Any,
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        options["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, {**options, **off})

    def update(self, p: Array, g: Array, kept: dict[str, Any], options: Group) -> None:
        g, xp = _decayed(p, g, options), backend_of(p).xp
        if "sum" not in kept:
            kept["sum"] = xp.full_like(p, options["initial_accumulator_value"])
        kept["sum"] += g * g
        lr = options["lr"] / (1 + (kept["step"] - 1) * options["lr_decay"])
        p -= lr * g / (xp.sqrt(kept["sum"]) + options["eps"])
