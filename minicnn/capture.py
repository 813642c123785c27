"""A training step as a CUDA graph.

The launch of a kernel from Python takes some 10 µs, and a step of a small network is some 100
kernels and products, most of which run for less. Their shapes don't change from step to step, so
they are captured once, as a graph, and launched together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from . import context, random
from .backends import Backend, backend_of
from .backends.protocol import GraphPool
from .grad_mode import is_grad_enabled
from .nn.module import Module
from .optim import SGD
from .tensor import Tensor
from .versions import changed_in_place, changed_since, counts, version

MOST = 16  # states that are remembered, each with the weights that it is of


class Captured:
    """`step(*tensors)`, captured as a graph when a call finds everything as an earlier one did.

    The first calls run as usual: they compile kernels, and make the arrays that stay (such as the
    momentum of an optimiser). Then the step is captured, and from then on launched. On a backend
    without graphs, `step` is simply called.

    `step` returns a tensor or None. It may use random numbers from the default generator, and
    change tensors in place. It must do the same operations every time, and read no number
    (`.item()`, `print`, `if loss > …`).

    If the step's optimiser is given, its options may change between calls. If `model` is given, so
    may its layers, their settings and modes, which weights are frozen, and where weights, buffers,
    gradients and momentum are in memory. How products and convolutions are computed may change in
    any case, and which random numbers are drawn. A graph belongs to one state of all this; in a new
    state, the step runs as usual at first. Only learning rates are read at each launch.

    The result is not recorded for gradients. Raises what `step` raises; RuntimeError for a step
    that reads a number or changes an input, and for an input that requires grad; and TypeError for
    a step that returns anything else, and for a call without an input.
    """

    def __init__(
        self,
        step: Callable[..., Tensor | None],
        model: Module | None = None,
        optimizer: SGD | None = None,
    ) -> None:
        self.step, self.model, self.optimizer = step, model, optimizer
        self._known: dict[Any, list[Any]] = {}  # how things stood, and those things
        self._launches: dict[Any, _Launch] = {}  # the graphs, by how things stood
        self._pools: dict[Backend, GraphPool | None] = {}
        self._lock = threading.Lock()  # a graph has one memory for its inputs, and one for results

    def __call__(self, *inputs: Tensor) -> Any:
        if not inputs:
            raise TypeError("Captured: a step takes at least one tensor, got none")
        backend = backend_of(inputs[0].array)
        if backend not in self._pools:
            self._pools.setdefault(backend, backend.graph_pool())
        pool = self._pools[backend]
        if pool is None:
            return self.step(*inputs)
        if any(x.requires_grad for x in inputs):
            raise RuntimeError("Captured: an input requires grad, which a graph can't fill")
        with self._lock:
            key, things, weights = self._standing(inputs)
            if key not in self._known:
                if len(self._known) >= MOST:  # something changes all the time: no two are alike
                    self._known.clear()
                    self._launches.clear()
                self._known[key] = things
                return _checked(self.step, inputs)
            if key not in self._launches:
                self._launches[key] = _Launch(self.step, inputs, pool, weights)
            if self.optimizer is not None:
                self.optimizer.set_rates()
            return self._launches[key](inputs)

    def _standing(
        self, inputs: tuple[Tensor, ...]
    ) -> tuple[tuple[Any, ...], list[Any], list[Tensor]]:
        """What a graph takes as given, so that one is launched only where all of it is the same.

        Returns a key; the things that stand in it by their ids, which whoever keeps the key must
        keep, too; and the tensors of all modules, which a step may read or change.
        """
        modules, generator = _tree(self.model), random.current()
        groups = self.optimizer.param_groups if self.optimizer else []
        named = [item for m in modules for item in vars(m).items()]
        named += [(k, v) for g in groups for k, v in g.items() if k not in ("lr", "params")]
        weights = [v for _, v in named if isinstance(v, Tensor)]
        weights += [p for g in groups for p in g["params"]]
        settings, things = [], [generator, *modules]
        for name, value in named:
            if _is_plain(value):
                settings.append((name, value))
            else:
                things.append(value)
        things += [thing for t in weights for thing in (t.array, t.grad_array)]
        things += self.optimizer.memories() if self.optimizer else []
        key = (
            (is_grad_enabled(), context.current(), generator.initial_seed()),
            tuple((x.shape, x.dtype) for x in inputs),
            tuple(t.requires_grad for t in weights),
            tuple(len(g["params"]) for g in groups),
            tuple(settings),
            tuple(map(id, things)),
        )
        return key, things, weights


def _is_plain(value: Any) -> bool:
    """Whether a value says by itself what it is."""
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _checked(step: Callable[..., Tensor | None], inputs: tuple[Tensor, ...]) -> Tensor | None:
    """What a step returns, without the record of how it was computed."""
    before = [version(x.array) for x in inputs]
    result = step(*inputs)
    if before != [version(x.array) for x in inputs]:
        raise RuntimeError("Captured: the step changes an input in place, which a graph can't")
    if not (result is None or isinstance(result, Tensor)):
        got = type(result).__name__
        raise TypeError(f"Captured: a step returns one tensor or None, got {got}")
    return None if result is None else result.detach()


def _tree(model: Module | None) -> list[Module]:
    """A module and all below it; one that is in several places comes as often."""
    found = [] if model is None else [model]
    for module in found:  # which grows meanwhile
        found += [child for child in module.registered(Module).values() if child is not None]
    return found


class _Launch:
    """A captured step, with the memory that it reads its inputs from."""

    def __init__(
        self,
        step: Callable[..., Tensor | None],
        inputs: tuple[Tensor, ...],
        pool: GraphPool,
        weights: list[Tensor],
    ) -> None:
        backend = backend_of(inputs[0].array)
        self._inputs = tuple(Tensor(x.array.copy(order="K")) for x in inputs)
        self._generator = random.CountedGenerator(random.current(), backend.xp.zeros(1, "uint64"))

        def work() -> Tensor | None:
            with context.using(generator=self._generator):
                return _checked(step, self._inputs)

        before = [t.grad_array for t in weights]
        changes = counts()
        try:
            self._graph = pool.capture(work)
        except BaseException:
            for t, g in zip(weights, before, strict=True):
                t.grad_array = g  # the step's own was never computed
            raise
        # What each launch does beside the numbers: there are gradients, and memory was written.
        self._gradients = [(t, t.grad_array) for t in weights]
        pairs = zip(self._gradients, before, strict=True)
        made = [g for (_, g), earlier in pairs if g is not None and g is not earlier]
        self._written = [*changed_since(changes), *made]

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        for mine, x in zip(self._inputs, inputs, strict=True):
            mine.array[...] = x.array
        self._generator.set()
        self._graph.launch()
        for t, g in self._gradients:
            t.grad_array = g
        for memory in self._written:
            changed_in_place(memory, "a captured step")
        result = self._graph.result
        return None if result is None else Tensor(result.array.copy(order="K"))
