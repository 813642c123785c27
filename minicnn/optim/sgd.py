"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backends import Array, backend_of
from ..nn.module import Parameter
from ..tensor import Tensor
from .flat import Flat


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
        self._flat: dict[int, Flat] = {}  # by the number of the group
        self._rates: dict[int, Any] = {}
        for number, group in enumerate(self.param_groups):
            self._lay_flat(number, group["params"])

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self) -> None:
        """Change each parameter that has a gradient, in place."""
        for number, group in enumerate(self.param_groups):
            params = [p for p in group["params"] if p.grad_array is not None]
            if not params:
                continue
            backend = backend_of(params[0].array)
            if not backend.capturing():
                self.set_rates()
            with backend.quiet():
                for p, g, v, new in self._updates(number, params, group["momentum"]):
                    backend.sgd(
                        p,
                        g,
                        v,
                        self._rates[number],
                        momentum=group["momentum"],
                        share=1 if new else 1 - group["dampening"],
                        weight_decay=group["weight_decay"],
                        nesterov=group["nesterov"],
                    )

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
        for flat in self._flat.values():  # in their own memory, which a graph may know already
            for p, own in flat.velocity.items():
                own[...] = velocity.get(p, 0)
                if p in velocity:
                    velocity[p] = own
        self._velocity = velocity
        for own, other in zip(self.param_groups, groups, strict=True):
            own.update({**other, "params": own["params"]})

    def set_rates(self) -> None:
        """Put the groups' learning rates where the updates read them; `step` does, itself.

        A captured graph does not: whoever launches one that holds a step calls this before.
        """
        for number, group in enumerate(self.param_groups):
            for p in group["params"][:1]:
                self._rates[number] = backend_of(p.array).rate(
                    group["lr"], p.dtype, self._rates.get(number)
                )

    def _updates(
        self, number: int, params: list[Parameter], momentum: float
    ) -> list[tuple[Array, Array, Array | None, bool]]:
        """What is to be updated: values, gradients, velocities, and whether these are new.

        Where each operation costs a launch, all parameters as one array, otherwise one by one.
        """
        new = {p for p in params if momentum and p not in self._velocity}
        flat = None
        if len(new) in (0, len(params)):
            flat = self._lay_flat(number, params)
        else:
            self._flat.pop(number, None)  # it would not know the velocities that follow
        if flat is not None:
            flat.collect_gradients()
            if momentum:
                self._velocity.update(flat.velocity)
            velocities = flat.velocities if momentum else None
            return [(flat.values, flat.gradients, velocities, bool(new))]
        for p in new:
            self._velocity[p] = backend_of(p.array).xp.zeros_like(p.array)
        velocity = self._velocity if momentum else {}
        return [(p.array, p.grad_array, velocity.get(p), p in new) for p in params]

    def _lay_flat(self, number: int, params: list[Parameter]) -> Flat | None:
        """The group's parameters one after another in memory, where that makes updates faster."""
        kinds = {(backend_of(p.array), p.dtype) for p in params}
        if len(kinds) != 1 or not next(iter(kinds))[0].flat_updates:
            return None
        if number not in self._flat or not self._flat[number].holds(params):
            self._flat[number] = Flat(params, self._velocity)
        return self._flat[number]
