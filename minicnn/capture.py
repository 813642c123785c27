"""A training step as a CUDA graph.

The launch of a kernel from Python takes some 10 µs, and a step of a small network is some 65
kernels and products, most of which run for less. Their shapes don't change from step to step, so
they are captured once, as a graph, and launched together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import backends, random
from .autograd import changed_in_place, is_grad_enabled
from .backends import backend_of, context
from .nn.module import Module
from .optim import SGD
from .tensor import Tensor
from .versions import owner

MOST = 64  # states that are remembered
SETTINGS = (bool, int, float, str, tuple, type(None))


class Captured:
    """`step(*tensors)`, captured as a graph when shapes come for the second time.

    The first call for each shape runs as it is: it compiles kernels, and makes what lasts (the
    velocities of an optimiser, say). The second captures the step, and from then on it is launched.
    On a backend without graphs, `step` is simply called.

    `step` returns a tensor or None. It may use random numbers from the default generator, and
    change tensors in place; it must do the same operations every time, and ask for no number
    (`.item()`, `print`, `if loss > …`).

    If the step's optimiser is given, its options may change between calls. If `model` is, so may
    its layers, their settings and modes, which weights are frozen, and where weights and buffers
    are in memory. How products and convolutions are computed may change in any case. A graph is of
    how things stand; where they never stood so before, the step runs as it is. Learning rates alone
    are read anew at each launch.

    Raises what `step` raises, and RuntimeError for a step that asks for a number.
    """

    def __init__(
        self,
        step: Callable[..., Tensor | None],
        model: Module | None = None,
        optimizer: SGD | None = None,
    ) -> None:
        self.step, self.model, self.optimizer = step, model, optimizer
        self._known: dict[Any, _Known] = {}
        self._pool: Any = None

    def __call__(self, *inputs: Tensor) -> Any:
        backend = backend_of(inputs[0].array)
        if not hasattr(backend, "Graph"):
            return self.step(*inputs)
        shapes = tuple((x.shape, x.dtype) for x in inputs)
        standing, things = self._standing()
        how = context.current(), backends.conv_algorithm, backend.get_tf32()
        key = shapes, is_grad_enabled(), how, *standing
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST:  # something changes all the time: no two are alike
                self._known.clear()
            self._known[key] = _Known(things, self.optimizer)
            return self.step(*inputs)
        if known.launch is None:
            self._pool = self._pool or backend.Pool()
            known.launch = _Launch(self.step, inputs, self._pool)
        if self.optimizer is not None:
            self.optimizer.set_rates()
        result = known.launch(inputs)
        for memory in known.memories:
            changed_in_place(memory, "a captured step")
        return result

    def _standing(self) -> tuple[tuple[Any, ...], list[Any]]:
        """What a graph takes as given, so that one is launched only where all of it is the same.

        Modules and arrays are told apart by their ids; whoever keeps those keeps the things, too.
        """
        modules = _tree(self.model) if self.model else []
        groups = self.optimizer.param_groups if self.optimizer else []
        attributes = [v for m in modules for v in vars(m).values() if type(v) is not dict]
        settings = [v for v in attributes if isinstance(v, SETTINGS)]  # slow to deny of a dict
        options = [v for g in groups for k, v in g.items() if k != "lr" and isinstance(v, SETTINGS)]
        tensors = [t for m in modules for t in (*m._parameters.values(), *m._buffers.values())]
        weights = [t for t in tensors if t is not None]
        weights += [p for g in groups for p in g["params"]]
        things = [*modules, *(p.array for p in weights)]
        frozen = [p.requires_grad for p in weights]
        return (tuple(map(id, things)), tuple(settings), tuple(options), tuple(frozen)), things


def _tree(model: Module) -> list[Module]:
    """A module and all below it; one that is in several places comes as often."""
    found = [model]
    for module in found:  # which grows meanwhile
        found += [child for child in module._modules.values() if child is not None]
    return found


class _Known:
    """A way in which things stood: the things themselves, and the step's graph, once there is one.

    `memories` hold the parameters that the step changes.
    """

    def __init__(self, things: list[Any], optimizer: SGD | None) -> None:
        self.things = things
        groups = optimizer.param_groups if optimizer else []
        arrays = [owner(p.array) for g in groups for p in g["params"]]
        self.memories = list({id(memory): memory for memory in arrays}.values())
        self.launch: _Launch | None = None


class _Launch:
    """A captured step, with the memory that it reads its inputs from."""

    def __init__(
        self, step: Callable[..., Tensor | None], inputs: tuple[Tensor, ...], pool: Any
    ) -> None:
        backend = backend_of(inputs[0].array)
        self._inputs = [Tensor(x.array.copy(order="K")) for x in inputs]
        self._generator = random.CountedGenerator(
            random.current().generator, backend.xp.zeros(1, "uint64")
        )

        def work() -> Tensor | None:
            with random.drawing(self._generator, 0):
                return step(*self._inputs)

        self._graph = backend.Graph(work, pool)

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        for mine, x in zip(self._inputs, inputs, strict=True):
            mine.array[...] = x.array
        self._generator.set()
        self._graph.launch()
        result = self._graph.result
        return None if result is None else Tensor(result.array.copy(order="K"))
