"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..arguments import ArgumentError, real, whole
from ..backends import Array, backend_of
from ..backends.protocol import SGDOptions
from ..nn.module import Parameter, value_for, zero_grad
from ..tensor import Tensor
from ..versions import changed_in_place, owner
from .flat import Flat

Group = dict[str, Any]  # "params", and options

OPTIONS = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
SCHEDULED = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")
BOUNDS: dict[str, dict[str, float]] = {"dampening": {}, "nesterov": {"least": 0, "most": 1}}
AT_LEAST_0 = {"least": 0.0}  # those of all others
OFF = ("maximize", "foreach", "differentiable", "fused")  # what PyTorch has and this hasn't


class SGD:
    """Gradient descent with momentum, as `torch.optim.SGD` defines it.

    For a parameter p with gradient g, at each step:

        g ← g + weight_decay·p
        v ← momentum·v + (1-dampening)·g     (the momentum buffer; v ← g at the first step)
        d = g + momentum·v if nesterov, else v if momentum, else g
        p ← p - lr·d

    `params` is an iterable of parameters, or of dicts {"params": …, "lr": …} with options of their
    own. The options in use are in `param_groups`, where a schedule or a program may change them.

    On a GPU the optimiser gives parameters and their gradients memory of its own (see `Flat`), and
    each backward pass writes the gradients where the last one's were, also after `zero_grad()`. A
    gradient that is to outlive it must be cloned: `p.grad.clone()`.

    Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning",
    section 2.

    Raises ArgumentError for an option that is unknown or out of range, for a parameter given twice
    and for a tensor with a history, TypeError for what is no parameter, and NotImplementedError for
    PyTorch's `maximize`, `foreach`, `differentiable` and `fused`, unless they are off.
    """

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
        self.defaults = _options(
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
            }
        )
        self.param_groups: list[Group] = []
        self._momentum_buffers: dict[Tensor, Array] = {}
        self._flat: dict[int, Flat] = {}  # by the number of the group
        self._rates: dict[Any, tuple[float, Array]] = {}  # each with the number that it holds
        groups = _listed(params)
        if not groups:
            raise ArgumentError("SGD: got no parameters")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self._take_over(group)
        for number, group in enumerate(self.param_groups):
            self._lay_flat(number, group["params"])

    def add_param_group(self, param_group: Group) -> None:
        """Take over further parameters, {"params": …, "lr": …}; what is left out is as before."""
        self._take_over(param_group)
        self._lay_flat(len(self.param_groups) - 1, self.param_groups[-1]["params"])

    def _take_over(self, param_group: Group) -> None:
        if not isinstance(param_group, dict):
            raise TypeError(f"SGD: expected a group, a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise KeyError("SGD: a group has no 'params'")
        given = param_group["params"]
        params = [given] if isinstance(given, Tensor) else _listed(given)
        options = _options({**self.defaults, **param_group}, known=())
        known = {id(p) for p in self._parameters()}
        for p in params:
            if not isinstance(p, Tensor) or not (isinstance(p, Parameter) or p.requires_grad):
                what = "a Tensor that requires no grad" if isinstance(p, Tensor) else ""
                raise TypeError(f"SGD: expected Parameters, got {what or type(p).__name__}")
            if not p.is_leaf:
                raise ArgumentError(f"SGD: a tensor of shape {p.shape} has a history ({p.grad_fn})")
            if id(p) in known:
                raise ArgumentError(f"SGD: a parameter of shape {p.shape} is given twice")
            known.add(id(p))
        self.param_groups.append({**options, "params": params})

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: not the memory laid flat, of which it would have only copies."""
        return {**vars(self), "_flat": {}, "_rates": {}}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with 0."""
        for group in self.param_groups:
            zero_grad(group["params"], set_to_none)

    def step(self) -> None:
        """Change each parameter that has a gradient, in place.

        Raises ArgumentError, and changes nothing, if an option has become one that can't be, or a
        gradient is not of its parameter's shape and type.
        """
        work = []
        for number, group in enumerate(self.param_groups):
            params = [p for p in group["params"] if p.grad_array is not None]
            if params:
                work.append((number, params, _options(group)))
        stepped = [p for _, params, _ in work for p in params]
        self._fit(stepped)
        if not any(backend_of(p.array).capturing() for _, (p, *_), _ in work):
            self.set_rates()
        for number, params, options in work:
            rule = SGDOptions(*(options[name] for name in SGDOptions._fields))
            for p, g, v, new in self._updates(number, params, rule.momentum):
                backend, lr = backend_of(p), self._rates[_rate_key(number, p)][1]
                with backend.quiet():
                    backend.sgd(p, g, v, lr, rule._replace(dampening=0) if new else rule)
        for p in stepped:
            changed_in_place(p.array, "SGD.step")
            if p in self._momentum_buffers:
                changed_in_place(self._momentum_buffers[p], "SGD.step")

    def state_dict(self) -> dict[str, Any]:
        """The momentum of each parameter, by number, and the groups' options, as PyTorch has them.

        {"state": {0: {"momentum_buffer": Tensor}, …},
         "param_groups": [{"lr": …, "params": [0, …]}, …]}

        The tensors share their memory with the optimiser.
        """
        number = {p: i for i, p in enumerate(self._parameters())}
        kept = self._momentum_buffers
        return {
            "state": {
                i: {"momentum_buffer": Tensor(kept[p])} for p, i in number.items() if p in kept
            },
            "param_groups": [
                {**group, "params": [number[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, in copies.

        Raises ArgumentError, and changes nothing, if it is not the state of such an optimiser: if
        something is missing, unknown, out of range or of another size.
        """
        groups, state = _part(state_dict, "param_groups", list), _part(state_dict, "state", dict)
        numbers = [_part(group, "params", list) for group in groups]
        sizes = [[len(n) for n in numbers], [len(g["params"]) for g in self.param_groups]]
        if sizes[0] != sizes[1]:
            raise ArgumentError(f"SGD: groups of {sizes[0]} parameters for groups of {sizes[1]}")
        options = [
            _options(group, known=own) for own, group in zip(self.param_groups, groups, strict=True)
        ]
        every = [whole("SGD", "a parameter's number", i, 0) for group in numbers for i in group]
        if len(set(every)) < len(every):
            raise ArgumentError(f"SGD: parameters' numbers must differ, got {every}")
        numbered = dict(zip(every, self._parameters(), strict=True))
        buffers = {}
        for i in state:
            p, entry = numbered.get(i), _part(state, i, dict)
            if p is None or entry.keys() - {"momentum_buffer"}:
                raise ArgumentError(
                    f"SGD: state {i!r} is of no parameter, or holds more: {[*entry]}"
                )
            if entry.get("momentum_buffer") is None:
                continue
            try:
                value = value_for(p, entry["momentum_buffer"])
            except ArgumentError as error:
                raise ArgumentError(f"SGD: momentum {i} {error}") from None
            buffers[p] = backend_of(p.array).xp.empty_like(p.array)
            buffers[p][...] = value
        self._momentum_buffers, self._flat = buffers, {}
        for own, loaded, group in zip(self.param_groups, options, groups, strict=True):
            own.update({**group, **loaded, "params": own["params"]})

    def memories(self) -> list[Any]:
        """What is kept from step to step: a step that was captured is of these very things."""
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
            if (g.shape, g.dtype, type(g)) != (p.shape, p.dtype, type(p.array)):
                raise ArgumentError(
                    f"SGD: a gradient of shape {g.shape} and {g.dtype} for a parameter of {p.shape}"
                    f" and {p.dtype}; zero_grad() forgets those from before a change"
                )
            if v is not None and v.shape != p.shape:
                raise ArgumentError(
                    f"SGD: a parameter of shape {p.shape} had {v.shape} before, and has momentum of"
                    " that; a new optimiser begins anew"
                )
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


def _options(group: Mapping[str, Any], known: Iterable[str] | None = None) -> Group:
    """A group's options as Python's own numbers, without "params".

    With `known`, all that it may hold beside SGD's options and those that schedules keep there, an
    option of another name is refused.
    """
    for name in OFF:
        if group.get(name):
            raise NotImplementedError(f"SGD: {name} is not supported, got {group[name]!r}")
    for name in OPTIONS:
        if name not in group:
            raise ArgumentError(f"SGD: a group has no {name!r}")
    options: Group = {
        name: real("SGD", name, group[name], **BOUNDS.get(name, AT_LEAST_0))
        for name in (*OPTIONS, *SCHEDULED)
        if name in group
    }
    options["nesterov"] = bool(options["nesterov"])
    if options["nesterov"] and (not options["momentum"] or options["dampening"]):
        raise ArgumentError("SGD: nesterov needs momentum above 0 and dampening 0")
    unknown = [] if known is None else group.keys() - {*options, *OFF, "params", *known}
    for name in unknown:
        raise ArgumentError(f"SGD: there is no option {name!r}")
    return options


def _rate_key(number: int, array: Array) -> tuple[int, str, Any]:
    """Groups have a rate for each device and type among their parameters."""
    return number, backend_of(array).device_type, array.dtype


def _listed(params: Any) -> list[Any]:
    if isinstance(params, (Tensor, set)) or not isinstance(params, Iterable):
        raise TypeError(f"SGD: expected a list of parameters, got {type(params).__name__}")
    return list(params)


def _part(state: Any, name: Any, kind: type) -> Any:
    """A part of a state that is to be loaded. Raises ArgumentError if it isn't of this kind."""
    part = state.get(name) if isinstance(state, Mapping) else None
    if not isinstance(part, kind):
        got = type(part if isinstance(state, Mapping) else state).__name__
        raise ArgumentError(f"SGD: a state has a {kind.__name__} {name!r}, got {got}")
    return part
