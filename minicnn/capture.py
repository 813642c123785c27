"""A training step as a CUDA graph.

The launch of a kernel from Python takes some 10 µs, and a step of a small network is a few hundred
kernels that run for less. Their shapes don't change from step to step, so they are captured once,
as a graph, and launched together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import random
from .autograd import changed_in_place, is_grad_enabled
from .backends import backend_of
from .nn.module import Module
from .optim import SGD
from .tensor import Tensor

MOST = 64  # states that are remembered
SETTINGS = (bool, int, float, str, tuple, type(None))


class Captured:
    """`step(*tensors)`, captured as a graph when shapes come for the second time.

    The first call for each shape runs as it is: it compiles kernels, and makes what lasts (the
    velocities of an optimiser, say). The second captures the step, and from then on it is launched.
    On a backend without graphs, `step` is simply called.

    `step` returns a tensor. It may use random numbers from the default generator, and change
    tensors in place; it must do the same operations every time, and ask for no number (`.item()`,
    `print`, `if loss > …`). If the step's optimiser is given, its options may change between calls,
    and if `model` is, so may its layers, their settings and modes, which weights are frozen, and
    where weights are in memory: the graph is that of how things stand, and where they never stood
    so before, the step runs as it is. Learning rates alone are read anew at each launch.

    Raises what `step` raises, and RuntimeError (from CUDA) for a step that asks for a number.
    """

    def __init__(
        self,
        step: Callable[..., Tensor],
        model: Module | None = None,
        optimizer: SGD | None = None,
    ) -> None:
        self.step, self.model, self.optimizer = step, model, optimizer
        self._seen: set[Any] = set()
        self._graphs: dict[Any, _Launch] = {}
        self._pool: Any = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        backend = backend_of(inputs[0].array)
        if not hasattr(backend, "Graph"):
            return self.step(*inputs)
        shapes = tuple((x.shape, str(x.dtype)) for x in inputs)
        key = shapes, is_grad_enabled(), *self._standing()
        if key not in self._seen:
            if len(self._seen) >= MOST:  # something changes all the time: no two are alike
                self._seen.clear()
                self._graphs.clear()
            self._seen.add(key)
            return self.step(*inputs)
        if key not in self._graphs:
            self._pool = self._pool or backend.Pool()
            self._graphs[key] = _Launch(self.step, inputs, self._pool)
        if self.optimizer is not None:
            self.optimizer.set_rates()
        result = self._graphs[key](inputs)
        if self.optimizer is not None:
            for group in self.optimizer.param_groups:
                for p in group["params"]:
                    changed_in_place(p.array, "a captured step")
        return result

    def _standing(self) -> tuple[Any, ...]:
        """What a graph takes as given, so that one is launched only where all of it is the same."""
        modules = tuple(self.model.modules()) if self.model else ()
        settings = tuple(v for m in modules for v in vars(m).values() if isinstance(v, SETTINGS))
        groups = self.optimizer.param_groups if self.optimizer else []
        options = tuple(
            v for g in groups for k, v in g.items() if k != "lr" and isinstance(v, SETTINGS)
        )
        parameters = [*(self.model.parameters() if self.model else ())]
        parameters += [p for g in groups for p in g["params"]]
        weights = tuple((_Same(p.array), p.requires_grad) for p in parameters)
        return tuple(map(_Same, modules)), settings, options, weights


class _Same:
    """Equal to itself alone; holds the thing, so that no other one can be at its address."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


class _Launch:
    """A captured step, with the memory that it reads its inputs from."""

    def __init__(self, step: Callable[..., Tensor], inputs: tuple[Tensor, ...], pool: Any) -> None:
        backend = backend_of(inputs[0].array)
        self._inputs = [Tensor(x.array.copy(order="K")) for x in inputs]
        self._generator = random.CountedGenerator(
            random.current().generator, backend.xp.zeros(1, "uint64")
        )

        def work() -> Tensor:
            with random.drawing(self._generator, 0):
                return step(*self._inputs)

        self._graph = backend.Graph(work, pool)

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for mine, x in zip(self._inputs, inputs, strict=True):
            mine.array[...] = x.array
        self._generator.set()
        self._graph.launch()
        return Tensor(self._graph.result.array.copy(order="K"))
