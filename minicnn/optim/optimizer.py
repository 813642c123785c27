"""What optimisers share: groups of parameters with options, and what is kept for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from ..arguments import ArgumentError, number, real, whole
from ..backends import Array, backend_of
from ..nn.module import Parameter, value_for, zero_grad
from ..tensor import Tensor
from ..versions import changed_in_place

Group = dict[str, Any]  # "params", and options
Check = Callable[[str, str, Any], Any]

SCHEDULED = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")


def bounded(name: str, option: str, value: Any, **bounds: float) -> bool | int | float:
    """The number, if it is within bounds. Raises ArgumentError."""
    real(name, option, value, **bounds)
    return number(value)


at_least_0 = partial(bounded, least=0.0)


def switch(name: str, option: str, value: Any) -> bool:
    """True or False."""
    return bool(real(name, option, value, least=0, most=1))


class Optimizer:
    """Changes parameters by their gradients, by a rule that a subclass defines.

    `params` is an iterable of parameters, or of dicts {"params": …, "lr": …} with their own
    options. `param_groups` has the options in use; a schedule or a program may change them there.

    A subclass defines `update`, the `checks` of its options by name, and `off`: the options that
    only PyTorch has, with the values that switch them off.

    Raises ArgumentError for an option that is unknown or out of range, for a parameter given twice
    and for a tensor that was computed, TypeError for what is no parameter, and NotImplementedError
    for an option of `off` with another value.
    """

    checks: ClassVar[dict[str, Check]]
    off: ClassVar[dict[str, Any]] = {"foreach": None, "maximize": False, "differentiable": False}

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        for option in defaults.keys() - self.checks.keys() - self.off.keys():
            raise TypeError(f"{self._name}: there is no option {option!r}")
        self.defaults = self._options(defaults)
        self.param_groups: list[Group] = []
        self._kept: dict[Tensor, dict[str, Any]] = {}
        groups = self._listed(params)
        if not groups:
            raise ArgumentError(f"{self._name}: got no parameters")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self._take_over(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters, {"params": …, "lr": …}; options that are left out have their defaults."""
        self._take_over(param_group)

    def _take_over(self, param_group: Group) -> None:
        name = self._name
        if not isinstance(param_group, dict):
            raise TypeError(f"{name}: expected a group, a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise KeyError(f"{name}: a group has no 'params'")
        given = param_group["params"]
        params = [given] if isinstance(given, Tensor) else self._listed(given)
        options = self._options({**self.defaults, **param_group}, known=())
        known = {id(p) for p in self._parameters()}
        for p in params:
            if not isinstance(p, Tensor) or not (isinstance(p, Parameter) or p.requires_grad):
                what = "a Tensor that requires no grad" if isinstance(p, Tensor) else ""
                raise TypeError(f"{name}: expected Parameters, got {what or type(p).__name__}")
            if not p.is_leaf:
                shape = p.array.shape
                raise ArgumentError(
                    f"{name}: a tensor of shape {shape} has a history ({p.grad_fn})"
                )
            if id(p) in known:
                raise ArgumentError(f"{name}: a parameter of shape {p.array.shape} is given twice")
            known.add(id(p))
        self.param_groups.append({**options, "params": params})

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Delete the gradients of all parameters, or set them to 0."""
        for group in self.param_groups:
            zero_grad(group["params"], set_to_none)

    def step(self) -> None:
        """Change each parameter that has a gradient, in place.

        Raises ArgumentError, and changes nothing, if an option has become one that can't be, or a
        gradient is not of its parameter's shape and type.
        """
        work = [(self._options(group), p) for group in self.param_groups for p in group["params"]]
        work = [(options, p) for options, p in work if p.grad_array is not None]
        for _, p in work:
            self._refuse_misfit(p)
            for name, value in self._kept.get(p, {}).items():
                if name != "step":
                    self._refuse_another_shape(p, name, value)
        for options, p in work:
            kept = self._kept.setdefault(p, {"step": 0})
            for name, value in kept.items():  # where the parameter has gone since
                if name != "step":
                    kept[name] = Tensor(value).to(p.device, p.dtype).array
            kept["step"] += 1
            for array in (p.array, *(v for name, v in kept.items() if name != "step")):
                changed_in_place(array, f"{self._name}.step")
            with backend_of(p.array).quiet():
                self.update(p.array, p.grad_array, kept, options)

    def update(self, p: Array, g: Array, kept: dict[str, Any], options: Group) -> None:
        """Change p by its gradient g. `kept["step"]` counts from 1; the rest is the subclass's.

        What it keeps are arrays of the shape of p.
        """
        raise NotImplementedError(f"{self._name} defines no update()")

    def _refuse_misfit(self, p: Tensor) -> None:
        g: Array = p.grad_array
        if (g.shape, g.dtype, type(g)) != (p.array.shape, p.dtype, type(p.array)):
            raise ArgumentError(
                f"{self._name}: a gradient of shape {g.shape} and {g.dtype} for a parameter of"
                f" {p.array.shape} and {p.dtype}; zero_grad() forgets those from before a change"
            )

    def _refuse_another_shape(self, p: Tensor, name: str, kept: Array) -> None:
        if kept.shape != p.array.shape:
            raise ArgumentError(
                f"{self._name}: a parameter of shape {p.array.shape} had {kept.shape} before, and"
                f" has a {name} of that; a new optimiser begins anew"
            )

    # --- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state of each parameter, by number, and the options of the groups, as in PyTorch.

        {"state": {0: {"momentum_buffer": Tensor}, …},
         "param_groups": [{"lr": …, "params": [0, …]}, …]}

        The tensors share their memory with the optimiser.
        """
        number_of = {p: i for i, p in enumerate(self._parameters())}
        kept = self._state()
        return {
            "state": {
                i: {n: v if n == "step" else Tensor(v) for n, v in kept[p].items()}
                for p, i in number_of.items()
                if p in kept
            },
            "param_groups": [
                {**group, "params": [number_of[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned; it is copied.

        Raises ArgumentError, and changes nothing, if it is not the state of such an optimiser: if
        something is missing, unknown, out of range or of another size.
        """
        name = self._name
        groups = self._part(state_dict, "param_groups", list)
        state = self._part(state_dict, "state", dict)
        numbers = [self._part(group, "params", list) for group in groups]
        sizes = [[len(n) for n in numbers], [len(g["params"]) for g in self.param_groups]]
        if sizes[0] != sizes[1]:
            raise ArgumentError(f"{name}: groups of {sizes[0]} parameters for groups of {sizes[1]}")
        options = [
            self._options(group, known=own)
            for own, group in zip(self.param_groups, groups, strict=True)
        ]
        every = [whole(name, "a parameter's number", i, 0) for group in numbers for i in group]
        if len(set(every)) < len(every):
            raise ArgumentError(f"{name}: parameters' numbers must differ, got {every}")
        numbered = dict(zip(every, self._parameters(), strict=True))
        kept = {}
        for i in state:
            p, entry = numbered.get(i), self._part(state, i, dict)
            given = {n: v for n, v in entry.items() if v is not None}
            needed = set(self.keeps) - {"momentum_buffer"}  # which only momentum has
            if p is None or entry.keys() - set(self.keeps) or (given and needed - given.keys()):
                raise ArgumentError(
                    f"{name}: state {i!r} is of no parameter, or does not hold"
                    f" {', '.join(self.keeps)}: {[*given]}"
                )
            kept[p] = {n: self._loaded(p, i, n, v) for n, v in given.items()}
        self._take_state({p: entry for p, entry in kept.items() if entry})
        for own, loaded, group in zip(self.param_groups, options, groups, strict=True):
            own.update({**group, **loaded, "params": own["params"]})

    keeps: ClassVar[tuple[str, ...]]  # the names of what is kept

    def _loaded(self, p: Tensor, i: Any, name: str, value: Any) -> Any:
        """What is to be kept for a parameter: the count of steps, or an array laid out as it is."""
        if name == "step":
            count = value.item() if isinstance(value, Tensor) else value  # PyTorch's is a float
            return whole(self._name, f"step {i}", int(count) if type(count) is float else count, 0)
        try:
            array = value_for(p, value)
        except ArgumentError as error:
            raise ArgumentError(f"{self._name}: {name} {i} {error}") from None
        like = backend_of(p.array).xp.empty_like(p.array)
        like[...] = array
        return like

    def _state(self) -> dict[Tensor, dict[str, Any]]:
        return self._kept

    def _take_state(self, kept: dict[Tensor, dict[str, Any]]) -> None:
        self._kept = kept

    def __repr__(self) -> str:
        groups = []
        for number_of, group in enumerate(self.param_groups):
            shown = {**self.off, **group}
            del shown["params"]
            lines = [f"    {option}: {shown[option]}\n" for option in sorted(shown)]
            groups.append("".join([f"Parameter Group {number_of}\n", *lines]))
        return f"{self._name} (\n" + "\n".join(groups) + ")"

    # --- arguments -------------------------------------------------------------------------------

    def _options(self, group: Mapping[str, Any], known: Iterable[str] | None = None) -> Group:
        """A group's options as Python's own numbers, without "params".

        With `known`, all that it may hold beside the optimiser's options and those that schedules
        keep there, an option of another name is refused.
        """
        name = self._name
        for option in self.off:
            if group.get(option) not in (None, False, self.off[option]):
                raise NotImplementedError(
                    f"{name}: {option} is not supported, got {group[option]!r}"
                )
        for option in self.checks:
            if option not in group:
                raise ArgumentError(f"{name}: a group has no {option!r}")
        checks: dict[str, Check] = {**dict.fromkeys(SCHEDULED, at_least_0), **self.checks}
        options = {o: check(name, o, group[o]) for o, check in checks.items() if o in group}
        unknown = [] if known is None else group.keys() - {*options, *self.off, "params", *known}
        for option in unknown:
            raise ArgumentError(f"{name}: there is no option {option!r}")
        return options

    def _listed(self, params: Any) -> list[Any]:
        if isinstance(params, (Tensor, set)) or not isinstance(params, Iterable):
            got = type(params).__name__
            raise TypeError(f"{self._name}: expected a list of parameters, got {got}")
        return list(params)

    def _part(self, state: Any, part: Any, kind: type) -> Any:
        """A part of a state that is to be loaded. Raises ArgumentError for one of another kind."""
        found = state.get(part) if isinstance(state, Mapping) else None
        if not isinstance(found, kind):
            got = type(found if isinstance(state, Mapping) else state).__name__
            raise ArgumentError(f"{self._name}: a state has a {kind.__name__} {part!r}, got {got}")
        return found
