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


class Captured:
    """`step(*tensors)`, captured as a graph when shapes come for the second time.

    The first call for each shape runs as it is: it compiles kernels, and makes what lasts (the
    velocities of an optimiser, say). The second captures the step, and from then on it is launched.
    On a backend without graphs, `step` is simply called.

    `step` returns a tensor. It may use random numbers from the default generator, and change
    tensors in place; it must do the same operations every time, on arrays that stay where they are,
    and ask for no number (`.item()`, `print`, `if loss > …`). Learning rates may change between
    calls if the step's optimiser is given; modules may be switched by `train` and `eval` if
    `model` is.

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
        modes = tuple(m.training for m in self.model.modules()) if self.model else ()
        key = tuple((x.shape, str(x.dtype)) for x in inputs), modes, is_grad_enabled()
        if key not in self._seen:
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
