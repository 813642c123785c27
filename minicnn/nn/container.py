"""Modules made of modules."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from ..arguments import ArgumentError
from .module import Module, Parameter


class _Numbered(Module):
    """A list of modules, or of parameters, which are named by their numbers."""

    kind: type = Module

    def append(self, module: Any) -> Any:
        """Put a module at the end. Raises ArgumentError if its number is another one's name."""
        name = str(len(self))
        if name in self.registered(self.kind):
            raise ArgumentError(
                f"{type(self).__name__}: append: layer {name!r} is there already, as the layers'"
                f" names are {', '.join(self.registered(self.kind))}"
            )
        self._register(self.kind, name, module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Insert a module before the one at `index`; all get new numbers."""
        modules, n = list(self), len(self)
        if not -n <= index <= n:
            raise IndexError(
                f"{type(self).__name__}: insert: {index} is out of range for {n} layers"
            )
        self.append(module)  # which refuses what can't be there
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def __len__(self) -> int:
        return len(self.registered(self.kind))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.registered(self.kind).values())

    def __getitem__(self, index: int | slice) -> Module:
        """One module, or a container of several, which shares them and keeps their names."""
        if isinstance(index, slice):
            return self._several(OrderedDict(list(self.registered(self.kind).items())[index]))
        module: Any = self.registered(self.kind)[self._name(index)]
        return module

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        """Remove modules; those that stay get new numbers."""
        modules = list(self)
        del modules[index]
        self._renumber(modules)

    def _several(self, named: OrderedDict[str, Module]) -> Any:
        made: Any = type(self)
        return made(named)

    def _name(self, index: int) -> str:
        i, n = operator.index(index), len(self)
        if not -n <= i < n:
            raise IndexError(f"{type(self).__name__}: {i} is out of range for {n} layers")
        return list(self.registered(self.kind))[i]

    def _renumber(self, modules: Iterable[Module | None]) -> None:
        for name in self.registered(self.kind):
            delattr(self, name)
        for i, module in enumerate(modules):
            self._register(self.kind, str(i), module)

    def _extend(self, modules: Iterable[Any]) -> Any:
        for module in list(modules):
            self.append(module)
        return self


class Sequential(_Numbered):
    """Modules applied one after another: `Sequential(a, b, …)` or `Sequential(OrderedDict(…))`."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            named = dict(modules[0])
        else:
            named = {str(i): module for i, module in enumerate(modules)}
        for name, module in named.items():
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        for name, module in self.registered(Module).items():
            if module is None:
                raise TypeError(f"Sequential: layer {name!r} is None; del takes it out")
            input = module(input)
        return input

    def extend(self, sequential: Iterable[Module]) -> Sequential:
        """Put modules at the end."""
        return self._extend(sequential)


class ModuleList(_Numbered):
    """A list of modules; how they are applied is up to the module that has it."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Put modules at the end."""
        return self._extend(modules)

    __iadd__ = extend

    def _several(self, named: OrderedDict[str, Module]) -> ModuleList:
        return ModuleList(named.values())


class ParameterList(_Numbered):
    """A list of parameters."""

    kind = Parameter

    def __init__(self, values: Iterable[Parameter] | None = None) -> None:
        super().__init__()
        self.extend(() if values is None else values)

    def append(self, value: Any) -> Any:
        """Put a parameter at the end."""
        return super().append(value)

    def extend(self, values: Iterable[Parameter]) -> ParameterList:
        """Put parameters at the end."""
        return self._extend(values)

    def _several(self, named: OrderedDict[str, Any]) -> ParameterList:
        return ParameterList(named.values())


class ModuleDict(Module):
    """Modules by name; how they are applied is up to the module that has them."""

    kind: type = Module

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        self.update({} if modules is None else modules)

    def update(self, modules: Any) -> None:
        """Set modules, given as a mapping or as pairs of name and module."""
        for name, module in dict(modules).items():
            self[name] = module

    def __setitem__(self, key: str, module: Module) -> None:
        self._register(self.kind, key, module)

    def __getitem__(self, key: str) -> Any:
        return self.registered(self.kind)[key]

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __contains__(self, key: str) -> bool:
        return key in self.registered(self.kind)

    def __len__(self) -> int:
        return len(self.registered(self.kind))

    def __iter__(self) -> Iterator[str]:
        return iter(self.registered(self.kind))

    def keys(self) -> Any:
        return self.registered(self.kind).keys()

    def values(self) -> Any:
        return self.registered(self.kind).values()

    def items(self) -> Any:
        return self.registered(self.kind).items()


class ParameterDict(ModuleDict):
    """Parameters by name."""

    kind = Parameter

    def __init__(self, parameters: Any = None) -> None:
        super().__init__(parameters)

    def update(self, parameters: Any) -> None:
        """Set parameters, given as a mapping, in the order of their names, or as pairs."""
        sort = isinstance(parameters, dict) and not isinstance(parameters, OrderedDict)
        super().update(sorted(parameters.items()) if sort else parameters)
