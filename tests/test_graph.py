"""The memory of captured graphs: shared, given back, and never taken from under them."""

from __future__ import annotations

import gc

import numpy as np
import pytest

pytestmark = pytest.mark.cuda

MIB = 2**20


@pytest.fixture
def xp(backend):
    backend.free_unused()
    return backend.xp


def free(xp):
    xp.cuda.runtime.deviceSynchronize()
    return xp.cuda.runtime.memGetInfo()[0]


def test_a_pool_that_goes_gives_its_memory_back(backend, xp):
    x = xp.ones(1, "float32")

    def captured():
        pool = backend.graph_pool()
        graph = pool.capture(lambda: (x * xp.ones(64 * MIB // 4, "float32")).sum())
        graph.launch()
        return graph, pool

    captured()  # what CUDA keeps for kernels and graphs is kept from now on
    gc.collect()
    backend.free_unused()
    before = free(xp)
    graph, pool = captured()
    assert before - free(xp) >= 64 * MIB
    del graph, pool
    gc.collect()
    backend.free_unused()
    assert before - free(xp) < 16 * MIB


def test_a_pool_may_go_before_its_graph(backend, xp):
    graph = backend.graph_pool().capture(lambda: xp.arange(5) * 2)
    gc.collect()
    graph.launch()
    np.testing.assert_array_equal(graph.result.get(), [0, 2, 4, 6, 8])


def test_graphs_of_a_pool_use_the_same_memory(backend, xp):
    x, pool = xp.ones(1, "float32"), backend.graph_pool()

    def work():
        return (x * xp.ones(16 * MIB // 4, "float32")).sum()

    graphs = [pool.capture(work)]
    one = pool.memory.total_bytes()
    graphs += [pool.capture(work) for _ in range(3)]
    assert pool.memory.total_bytes() < 2 * one  # a result may stand where the next begins
    for graph in graphs:
        graph.launch()
        assert graph.result.item() == 4 * MIB


def test_memory_that_runs_out_ends_the_capture_and_not_another_graph(backend, xp, monkeypatch):
    """CuPy would give what is free in the pool back to the device: kernels captured write there."""
    x, pool = xp.ones(1, "float32"), backend.graph_pool()
    real, left = xp.cuda.Memory, [2]

    def memory(size):
        if not left[0]:
            raise xp.cuda.runtime.CUDARuntimeError(2)
        left[0] -= 1
        return real(size)

    def work():
        first = (x * xp.full(4 * MIB, 3, "float32")).sum()  # what it needs is free again here
        return first + (x * xp.full(16 * MIB, 1, "float32")).sum()

    monkeypatch.setattr(xp.cuda, "Memory", memory)
    with pytest.raises(xp.cuda.memory.OutOfMemoryError):
        pool.capture(work)
    kept = pool.memory.free_bytes()
    assert kept >= 16 * MIB  # it is not the device's
    monkeypatch.setattr(xp.cuda, "Memory", real)
    graph = pool.capture(work)
    graph.launch()
    assert graph.result.item() == 28 * MIB


def test_a_capture_that_fails_leaves_the_pool_usable(backend, xp):
    pool = backend.graph_pool()

    def wrong():
        raise KeyError("wrong")

    with pytest.raises(KeyError):
        pool.capture(wrong)
    assert not backend.capturing()
    graph = pool.capture(lambda: xp.arange(3) + 1)
    graph.launch()
    np.testing.assert_array_equal(graph.result.get(), [1, 2, 3])
