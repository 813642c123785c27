"""CUDA graphs: what a function does on the device, captured once and launched as a whole.

Each launch of a kernel from Python takes longer than a small kernel runs. A graph holds all of
them and costs one launch. It repeats exactly what was captured, at the same addresses; so while
capturing

- nothing may wait for the device or be copied from or to the host;
- what changes from run to run must be read from device memory: inputs, learning rate, the count of
  random draws;
- memory comes from a pool that belongs to the graphs of one step, so that nobody else is given what
  they use.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import cupy as xp

from .inquiry import out_of_memory
from .kernels.sums import arrived

_pools: WeakSet[GraphPool] = WeakSet()
_peak = 0


class GraphPool:
    """CuPy's pools have a store for each stream, so all graphs of a pool are captured on one."""

    def __init__(self) -> None:
        self.memory = xp.cuda.MemoryPool(_allocate)
        self.memory.set_limit(size=0)  # or what CUPY_GPU_MEMORY_LIMIT says would be theirs as well
        self.stream = xp.cuda.Stream(non_blocking=True)
        with self.stream:
            arrived(self.stream.ptr)
        self.stream.synchronize()  # so that it is there whichever stream a graph is launched on
        _pools.add(self)

    def capture(self, function: Callable[[], Any]) -> Graph:
        free_unused()  # what steps before have used is needed by the pool now
        stream = self.stream
        stream.wait_event(xp.cuda.get_current_stream().record())
        with stream, xp.cuda.using_allocator(self.memory.malloc):
            stream.begin_capture()
            try:
                result = function()
            except BaseException:
                with suppress(Exception):  # the error that ended the capture is the one to show
                    stream.end_capture()
                raise
            return Graph(result, stream.end_capture(), self)

    def __del__(self) -> None:
        self.memory.free_all_blocks()  # CuPy's pools keep what is free, even when they go


def _allocate(size: int) -> Any:
    """Memory of the device, for a pool.

    Where there is none left, CuPy would give what is free in the pool back to the device and try
    again. But kernels that were captured use it when they run. So that is the end, by an error that
    CuPy passes on.
    """
    try:
        return xp.cuda.MemoryPointer(xp.cuda.Memory(size), 0)
    except xp.cuda.runtime.CUDARuntimeError as error:
        if not out_of_memory(error):
            raise
        raise xp.cuda.memory.OutOfMemoryError(size, 0) from None


class Graph:
    """What was captured; its attributes go in their order, and the pool after what lies in it."""

    def __init__(self, result: Any, graph: Any, pool: GraphPool) -> None:
        self.result, self._graph, self._pool = result, graph, pool

    def launch(self) -> None:
        self._graph.launch()


def _note_peak() -> None:
    global _peak
    now = xp.get_default_memory_pool().total_bytes() + sum(p.memory.total_bytes() for p in _pools)
    _peak = max(_peak, now)


def free_unused() -> None:
    _note_peak()
    xp.get_default_memory_pool().free_all_blocks()


def peak_bytes() -> int:
    _note_peak()
    return _peak
