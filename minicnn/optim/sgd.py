"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backends import Array, backend_of
from ..nn.module import Parameter
from ..tensor import Tensor


class SGD:
    """Gradient descent with momentum, as `torch.optim.SGD` defines it.

    For a parameter p with gradient g, at each step:

        g ← g + weight_decay·p
        v ← momentum·v + (1-dampening)·g     (v ← g at the first step)
        d = g + momentum·v if nesterov, else v if momentum, else g
        p ← p - lr·d

    `params` is an iterable of parameters, or of dicts {"params": …, "lr": …} with options of their
    own. The options in use are in `param_groups`, where a schedule may change them. Sutskever et
    al. 2013, "On the importance of initialization and momentum in deep learning", section 2.
    Raises ValueError for an option out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        groups = list(params)
        if not groups:
            raise ValueError("SGD: got no parameters")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [{**defaults, **g, "params": list(g["params"])} for g in groups]
        for group in self.param_groups:
            for option in ("lr", "momentum", "weight_decay"):
                if not group[option] >= 0:
                    raise ValueError(f"SGD: {option} must be at least 0, got {group[option]}")
            if group["nesterov"] and (not group["momentum"] or group["dampening"]):
                raise ValueError("SGD: nesterov needs momentum above 0 and dampening 0")
            for p in group["params"]:
                if not isinstance(p, Parameter):
                    raise TypeError(f"SGD: expected Parameters, got {type(p).__name__}")
        self._velocity: dict[Parameter, Array] = {}

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self) -> None:
        """Change each parameter that has a gradient, in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad_array is not None:
                    with backend_of(p.array).quiet():
                        self._update(p, p.grad_array, group)

    def state_dict(self) -> dict[str, Any]:
        """The momentum of each parameter, by number, and the groups' options, as PyTorch has them.

        {"state": {0: {"momentum_buffer": Tensor}, …},
         "param_groups": [{"lr": …, "params": [0, …]}, …]}

        The tensors share their memory with the optimiser.
        """
        parameters = [p for group in self.param_groups for p in group["params"]]
        number = {p: i for i, p in enumerate(parameters)}
        return {
            "state": {
                i: {"momentum_buffer": Tensor(self._velocity[p])}
                for p, i in number.items()
                if p in self._velocity
            },
            "param_groups": [
                {**group, "params": [number[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, in copies.

        Raises ValueError, and changes nothing, if groups or shapes are not this optimiser's.
        """
        groups, state = state_dict["param_groups"], state_dict["state"]
        sizes = [[len(g["params"]) for g in side] for side in (self.param_groups, groups)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"SGD: groups of {sizes[1]} parameters for groups of {sizes[0]}")
        parameters = [p for group in self.param_groups for p in group["params"]]
        velocity = {}
        for i, each in state.items():
            p, v = parameters[i], each["momentum_buffer"]
            if v.shape != p.shape:
                raise ValueError(f"SGD: momentum {i} has shape {v.shape}, its parameter {p.shape}")
            velocity[p] = backend_of(p.array).xp.empty_like(p.array)
            velocity[p][...] = v.to(p.device).array
        self._velocity = velocity
        for own, other in zip(self.param_groups, groups, strict=True):
            own.update({**other, "params": own["params"]})

    def _update(self, p: Parameter, g: Array, group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p.array
        if momentum:
            v = self._velocity.get(p)
            if v is None:
                v = self._velocity[p] = g.copy(order="K")
            else:
                v *= momentum
                v += (1 - group["dampening"]) * g
            g = g + momentum * v if group["nesterov"] else v
        p.array -= group["lr"] * g
