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

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import cupy as xp

from . import inquiry, kernels


class _Thread(threading.local):
    capturing = False  # whether this thread captures a graph now


_thread = _Thread()
_pools: WeakSet[Pool] = WeakSet()
_peak = 0


class Pool:
    """The memory of graphs that never run at the same time: they may use it after one another.

    CuPy's pools have a store for each stream, so all graphs of a pool are captured on one.
    """

    def __init__(self) -> None:
        self.memory = xp.cuda.MemoryPool(_allocate)
        self.memory.set_limit(size=0)  # or what CUPY_GPU_MEMORY_LIMIT says would be theirs as well
        self.stream = xp.cuda.Stream(non_blocking=True)
        with self.stream:
            kernels.arrived(self.stream.ptr)
        self.stream.synchronize()  # so that it is there whichever stream a graph is launched on
        _pools.add(self)

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
        if not inquiry.out_of_memory(error):
            raise
        raise xp.cuda.memory.OutOfMemoryError(size, 0) from None


class Graph:
    """What `function()` does on the device. It is captured here, and runs when launched.

    `result` is what the function returned; each launch writes to the arrays in it again.
    """

    def __init__(self, function: Callable[[], Any], pool: Pool) -> None:
        free_unused()  # what steps before have used is needed by the pool now
        stream = pool.stream
        stream.wait_event(xp.cuda.get_current_stream().record())
        with stream, xp.cuda.using_allocator(pool.memory.malloc):
            stream.begin_capture()
            _thread.capturing = True
            try:
                self.result = function()
            except BaseException:
                _abandon(stream)
                raise
            finally:
                _thread.capturing = False
            self._graph = stream.end_capture()
        self._pool = pool  # after what lies in it, as attributes go in their order

    def launch(self) -> None:
        """Run it on the current stream; this returns before it has run."""
        self._graph.launch()


def capturing() -> bool:
    """Whether this thread is capturing a graph, so that nothing may be asked of the device."""
    return _thread.capturing


def _abandon(stream: Any) -> None:
    with suppress(Exception):  # the error that ended the capture is the one to show
        stream.end_capture()


def _note_peak() -> None:
    global _peak
    now = xp.get_default_memory_pool().total_bytes() + sum(p.memory.total_bytes() for p in _pools)
    _peak = max(_peak, now)


def free_unused() -> None:
    """Give memory that is kept for later back to the device."""
    _note_peak()
    xp.get_default_memory_pool().free_all_blocks()


def peak_bytes() -> int:
    """The most device memory that arrays, and what is kept for later ones, have taken."""
    _note_peak()
    return _peak
