"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from ..arguments import ArgumentError, real
from ..backends import Array, backend_of
from ..backends.protocol import SGDOptions
from ..nn.module import UninitializedParameter
from ..tensor import Tensor
from ..versions import changed_in_place, owner
from .flat import Flat
from .optimizer import Check, Group, Optimizer, at_least_0, bounded, switch


class SGD(Optimizer):
    """Gradient descent with momentum, as `torch.optim.SGD` defines it.

    For a parameter p with gradient g, at each step:

        g ← g + weight_decay·p
        v ← momentum·v + (1-dampening)·g     (the momentum buffer; v ← g at the first step)
        d = g + momentum·v if nesterov, else v if momentum, else g
        p ← p - lr·d

    On a GPU the optimiser gives parameters and their gradients memory of its own (see `Flat`), and
    each backward pass writes the gradients where the last one's were, also after `zero_grad()`. A
    gradient that is to outlive it must be cloned: `p.grad.clone()`.

    Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning",
    section 2.

    For all else see `Optimizer`.
    """

    checks: ClassVar[dict[str, Check]] = {
        "lr": at_least_0,
        "momentum": at_least_0,
        "dampening": partial(bounded),
        "weight_decay": at_least_0,
        "nesterov": switch,
    }
    off: ClassVar[dict[str, Any]] = {**Optimizer.off, "fused": None}
    keeps = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        self._momentum_buffers: dict[Tensor, Array] = {}
        self._flat: dict[int, Flat] = {}  # by the number of the group
        self._rates: dict[Any, tuple[float, Array]] = {}  # each with the number that it holds
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for number, group in enumerate(self.param_groups):
            self._lay_flat(number, group["params"])

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters, {"params": …, "lr": …}; options that are left out have their defaults."""
        super().add_param_group(param_group)
        self._lay_flat(len(self.param_groups) - 1, self.param_groups[-1]["params"])

    def _options(self, group: Mapping[str, Any], known: Iterable[str] | None = None) -> Group:
        options = super()._options(group, known)
        if options["nesterov"] and (not options["momentum"] or options["dampening"]):
            raise ArgumentError("SGD: nesterov needs momentum above 0 and dampening 0")
        return options

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: not the memory laid flat, of which it would have only copies."""
        return {**vars(self), "_flat": {}, "_rates": {}}

    def step(self) -> None:
        """Change each parameter that has a gradient, in place.

        Raises ArgumentError, and changes nothing, if an option has become one that can't be, or a
        gradient is not of its parameter's shape and type.
        """
        work = []
        for number, group in enumerate(self.param_groups):
            params = [p for p in group["params"] if p.grad_array is not None]
            if params:
                work.append((number, params, self._options(group)))
        stepped = [p for _, params, _ in work for p in params]
        self._fit(stepped)
        for p in stepped:
            changed_in_place(p.array, "SGD.step")
            if p in self._momentum_buffers:
                changed_in_place(self._momentum_buffers[p], "SGD.step")
        if not any(backend_of(p.array).capturing() for _, (p, *_), _ in work):
            self.set_rates()
        for number, params, options in work:
            rule = SGDOptions(*(options[name] for name in SGDOptions._fields))
            for p, g, v, new in self._updates(number, params, rule.momentum):
                backend, lr = backend_of(p), self._rates[_rate_key(number, p)][1]
                with backend.quiet():
                    backend.sgd(p, g, v, lr, rule._replace(dampening=0) if new else rule)

    def _state(self) -> dict[Tensor, dict[str, Any]]:
        return {p: {"momentum_buffer": v} for p, v in self._momentum_buffers.items()}

    def _take_state(self, kept: dict[Tensor, dict[str, Any]]) -> None:
        self._momentum_buffers = {p: entry["momentum_buffer"] for p, entry in kept.items()}
        self._flat = {}

    def memories(self) -> list[Any]:
        """The arrays that stay from step to step, which a captured step refers to."""
        rates = [array for _, array in self._rates.values()]
        return [*self._momentum_buffers.values(), *self._flat.values(), *rates]

    def set_rates(self) -> None:
        """Put the groups' learning rates where the updates read them; `step` does, itself.

        A captured graph does not: whoever launches one that holds a step calls this before.
        """
        for number, group in enumerate(self.param_groups):
            lr = real("SGD", "lr", group["lr"], least=0)
            for p in group["params"]:
                key = _rate_key(number, p.array)
                before, rate = self._rates.get(key, (lr, None))
                if rate is None:
                    rate = backend_of(p.array).xp.full(1, lr, p.dtype)
                elif lr != before:
                    rate.fill(lr)
                self._rates[key] = lr, rate

    def _fit(self, params: list[Tensor]) -> None:
        """Refuse gradients that are not their parameters'; bring momentum to where these have gone.

        A gradient that lies where another's belongs is copied, as that may be written there before.
        """
        places = {id(flat.gradients) for flat in self._flat.values()}
        for p in params:
            g: Array = p.grad_array
            v = self._momentum_buffers.get(p)
            self._refuse_misfit(p)
            if v is not None:
                self._refuse_another_shape(p, "momentum_buffer", v)
            if v is not None and (v.dtype, type(v)) != (p.dtype, type(p.array)):
                self._momentum_buffers[p] = Tensor(v).to(p.device, p.dtype).array
            if g is not p.grad_home and id(owner(g)) in places:
                p.grad_array = g.copy()

    def _updates(
        self, number: int, params: list[Tensor], momentum: float
    ) -> list[tuple[Array, Array, Array | None, bool]]:
        """What is to be updated: values, gradients, momentum buffers, and whether these are new.

        Where each operation costs a launch, all parameters as one array, otherwise one by one.
        """
        buffers = self._momentum_buffers if momentum else {}
        new = {p for p in params if momentum and p not in buffers}
        if len(new) not in (0, len(params)):
            self._flat.pop(number, None)  # it would not know the buffers that follow
        elif flat := self._lay_flat(number, params):
            flat.collect_gradients()
            buffers.update(flat.momentum_buffers)
            return [(flat.values, flat.gradients, flat.momentum if momentum else None, bool(new))]
        for p in new:
            buffers[p] = backend_of(p.array).xp.zeros_like(p.array)
        return [(p.array, p.grad_array, buffers.get(p), p in new) for p in params]

    def _lay_flat(self, number: int, params: list[Tensor]) -> Flat | None:
        """The group's parameters one after another in memory, where that makes updates faster."""
        if any(isinstance(p, UninitializedParameter) for p in params):
            return None
        kinds = {(backend_of(p.array), p.dtype) for p in params}
        if len(kinds) != 1:
            return None
        backend, _ = kinds.pop()
        if not backend.costly_launches:
            return None
        if number not in self._flat or not self._flat[number].holds(params):
            # By the addresses alone: CuPy's shares_memory() would launch kernels and wait for them.
            share = backend.xp.may_share_memory
            here = [q for q in self._parameters() if backend_of(q.array) is backend]
            if any(p is not q and share(p.array, q.array) for p in params for q in here):
                return None  # they are one, and in memory of their own would no longer be
            self._flat[number] = Flat(params, self._momentum_buffers)
        return self._flat[number]


def _rate_key(number: int, array: Array) -> tuple[int, str, Any]:
    """Groups have a rate for each device and type among their parameters."""
    return number, backend_of(array).device_type, array.dtype
