"""Modules made of modules."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from ..arguments import ArgumentError
from .module import Module


class Sequential(Module):
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

    def append(self, module: Module) -> Sequential:
        """Put a module at the end. Raises ArgumentError if its number is another one's name."""
        name = str(len(self))
        if name in self.registered(Module):
            raise ArgumentError(
                f"Sequential: append: layer {name!r} is there already, as the layers'"
                f" names are {', '.join(self.registered(Module))}"
            )
        self.add_module(name, module)
        return self

    def extend(self, sequential: Iterable[Module]) -> Sequential:
        """Put modules at the end."""
        for module in list(sequential):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Sequential:
        """Put a module before the one at `index`; all are numbered anew."""
        modules, n = list(self), len(self)
        if not -n <= index <= n:
            raise IndexError(f"Sequential: insert: {index} is out of range for {n} layers")
        self.append(module)  # which refuses what can't be there
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def __len__(self) -> int:
        return len(self.registered(Module))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.registered(Module).values())

    def __getitem__(self, index: int | slice) -> Module:
        """One module, or a container of several, which shares them and keeps their names."""
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self.registered(Module).items())[index]))
        module: Any = self.registered(Module)[self._name(index)]
        return module

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        """Take out modules; those that stay are numbered anew."""
        modules = list(self)
        del modules[index]
        self._renumber(modules)

    def _name(self, index: int) -> str:
        i, n = operator.index(index), len(self)
        if not -n <= i < n:
            raise IndexError(f"Sequential: {i} is out of range for {n} layers")
        return list(self.registered(Module))[i]

    def _renumber(self, modules: Iterable[Module | None]) -> None:
        for name in self.registered(Module):
            delattr(self, name)
        for i, module in enumerate(modules):
            self.add_module(str(i), module)
