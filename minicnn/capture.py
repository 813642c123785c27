"""A training step as a CUDA graph.

The launch of a kernel from Python takes some 10 µs, and a step of a small network is some 65
kernels and products, most of which run for less. Their shapes don't change from step to step, so
they are captured once, as a graph, and launched together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from . import context, random
from .autograd import changed_in_place
from .backends import backend_of
from .backends.protocol import GraphPool
from .grad_mode import is_grad_enabled
from .nn.module import Module, Parameter
from .optim import SGD
from .tensor import Tensor
from .versions import owner, version

MOST = 16  # states that are remembered, each with the weights that it is of


class Captured:
    """`step(*tensors)`, captured as a graph when things stand as they stood at a call before.

    The first calls run as they are: they compile kernels, and make what lasts (the velocities of an
    optimiser, say). Then the step is captured, and from then on launched. On a backend without
    graphs, `step` is simply called.

    `step` returns a tensor or None. It may use random numbers from the default generator, and
    change tensors in place; it must do the same operations every time, and ask for no number
    (`.item()`, `print`, `if loss > …`).

    If the step's optimiser is given, its options may change between calls. If `model` is, so may
    its layers, their settings and modes, which weights are frozen, and where weights, buffers,
    gradients and velocities are in memory. How products and convolutions are computed may change in
    any case, and which random numbers are drawn. A graph is of how things stand; where they never
    stood so before, the step runs as it is. Learning rates alone are read anew at each launch.

    What it returns has no history. Raises what `step` raises, RuntimeError for a step that asks for
    a number, or changes an input, or an input that requires grad, and TypeError for one that
    returns anything else, or for no input.
    """

    def __init__(
        self,
        step: Callable[..., Tensor | None],
        model: Module | None = None,
        optimizer: SGD | None = None,
    ) -> None:
        self.step, self.model, self.optimizer = step, model, optimizer
        self._known: dict[Any, _Known] = {}
        self._pool: GraphPool | None = None
        self._lock = threading.Lock()  # a graph has one memory for its inputs, and one for results

    def __call__(self, *inputs: Tensor) -> Any:
        if not inputs:
            raise TypeError("Captured: a step takes at least one tensor, got none")
        self._pool = self._pool or backend_of(inputs[0].array).graph_pool()
        if self._pool is None:
            return self.step(*inputs)
        if any(x.requires_grad for x in inputs):
            raise RuntimeError("Captured: an input requires grad, which a graph can't fill")
        with self._lock:
            return self._call(self._pool, inputs)

    def _call(self, pool: GraphPool, inputs: tuple[Tensor, ...]) -> Tensor | None:
        key, things = self._standing()
        how = is_grad_enabled(), context.current()
        key = tuple((x.shape, x.dtype) for x in inputs), how, *key
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST:  # something changes all the time: no two are alike
                self._known.clear()
            self._known[key] = _Known(things)
            return _checked(self.step, inputs)
        if known.launch is None:
            known.launch = _Launch(self.step, inputs, pool, self._weights())
        if self.optimizer is not None:
            self.optimizer.set_rates()
        return known.launch(inputs)

    def _weights(self) -> list[Tensor]:
        """The parameters and buffers that a step may read or change."""
        modules = _tree(self.model) if self.model else []
        groups = self.optimizer.param_groups if self.optimizer else []
        kinds = (Parameter, Tensor)
        found = [t for m in modules for k in kinds for t in m.registered(k).values()]
        return [t for t in (*found, *(p for g in groups for p in g["params"])) if t is not None]

    def _standing(self) -> tuple[tuple[Any, ...], list[Any]]:
        """What a graph takes as given, so that one is launched only where all of it is the same.

        Things are told apart by their ids; whoever keeps those keeps the things, too.
        """
        modules = _tree(self.model) if self.model else []
        groups = self.optimizer.param_groups if self.optimizer else []
        named = [(k, v) for m in modules for k, v in vars(m).items()]
        named += [(k, v) for g in groups for k, v in g.items() if k not in ("lr", "params")]
        weights, generator = self._weights(), random.current()
        things = [generator, *modules, *(v for _, v in named if not _is_plain(v))]
        things += [thing for t in weights for thing in (t.array, t.grad_array)]
        if self.optimizer is not None:
            things += self.optimizer.memories()
        settings = tuple((k, v) for k, v in named if _is_plain(v))
        frozen = tuple(t.requires_grad for t in weights)
        sizes = tuple(len(g["params"]) for g in groups)
        key = tuple(map(id, things)), settings, frozen, sizes, generator.initial_seed()
        return key, things


def _is_plain(value: Any) -> bool:
    """Whether a value says by itself what it is."""
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _checked(step: Callable[..., Tensor | None], inputs: tuple[Tensor, ...]) -> Tensor | None:
    """What a step returns, without its history."""
    before = [version(x.array) for x in inputs]
    result = step(*inputs)
    if before != [version(x.array) for x in inputs]:
        raise RuntimeError("Captured: the step changes an input in place, which a graph can't")
    if not (result is None or isinstance(result, Tensor)):
        got = type(result).__name__
        raise TypeError(f"Captured: a step returns one tensor or None, got {got}")
    return None if result is None else result.detach()


def _tree(model: Module) -> list[Module]:
    """A module and all below it; one that is in several places comes as often."""
    found = [model]
    for module in found:  # which grows meanwhile
        found += [child for child in module.registered(Module).values() if child is not None]
    return found


class _Known:
    """A way in which things stood: the things, and the step's graph, once there is one."""

    def __init__(self, things: list[Any]) -> None:
        self.things = things
        self.launch: _Launch | None = None


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
            with context.using(generator=self._generator, first_image=0, images=None):
                return _checked(step, self._inputs)

        before = [t.grad_array for t in weights]
        memories = [version(t.array) for t in weights]
        try:
            self._graph = pool.capture(work)
        except BaseException:
            for t, g in zip(weights, before, strict=True):
                t.grad_array = g  # the step's own was never computed
            raise
        # What each launch does to weights, beside their numbers.
        self._gradients = [(t, t.grad_array) for t in weights]
        changed = zip(weights, memories, strict=True)
        written = [owner(t.array) for t, seen in changed if version(t.array) != seen]
        self._written = list({id(memory): memory for memory in written}.values())

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
