"""Work shared out among threads: everything once, in order, and nothing left changed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import minicnn
from minicnn import context
from minicnn.backends import host, threads
from minicnn.nn import functional as F

from .arrays import array

pytestmark = pytest.mark.cpu
BLAS = ThreadpoolController()


@pytest.fixture(params=[1, 3])
def blas_threads(request):
    with BLAS.limit(limits=request.param, user_api="blas"):
        yield request.param


def blas_has():
    return min(library["num_threads"] for library in BLAS.select(user_api="blas").info())


def test_results_come_in_order_and_every_item_once(blas_threads):
    dealt = threads.spread(list, range(10))
    assert len(dealt) == blas_threads
    assert [item for own in dealt for item in own] == list(range(10))


def test_the_blas_has_one_thread_meanwhile_and_its_own_afterwards(blas_threads):
    assert threads.spread(lambda own: threads.count(), range(10)) == [1] * blas_threads
    assert threads.count() == blas_threads


def test_the_last_to_leave_puts_back_what_the_first_found():
    with BLAS.limit(limits=3, user_api="blas"):
        first, second = threads.blas_threads(1), threads.blas_threads(2)
        first.__enter__()
        second.__enter__()
        assert blas_has() == 1
        first.__exit__(None, None, None)
        assert blas_has() == 1
        second.__exit__(None, None, None)
        assert blas_has() == 3


def test_an_error_in_a_thread_arrives_and_leaves_the_blas_as_it_was():
    with BLAS.limit(limits=2, user_api="blas"):
        with pytest.raises(ZeroDivisionError):
            threads.spread(lambda own: 1 // 0, range(2))
        assert threads.count() == 2


def test_work_within_work_stays_in_its_thread():
    def outer(items):
        return threads.spread(lambda inner: threading.get_ident(), range(4)), threading.get_ident()

    with BLAS.limit(limits=2, user_api="blas"):
        for inner, own in threads.spread(outer, range(2)):
            assert inner == [own]


@pytest.mark.parametrize("n", [0, 1, 7, 100])
@pytest.mark.parametrize("size", [1, 2**18, 2**22])
def test_chunks_are_at_least_one_and_cover_the_batch(blas_threads, n, size):
    cut = threads.chunks(n, size)
    assert len(cut) >= 1
    assert np.concatenate([np.arange(n)[piece] for piece in cut]).tolist() == list(range(n))
    assert all((piece.stop - piece.start) * size <= threads.CHUNK_BYTES for piece in cut)


def test_relu_is_the_same_in_blocks(monkeypatch, blas_threads):
    monkeypatch.setattr(threads, "LEAST_BYTES", 1)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).transpose(0, 2, 1)
    y, vjp = host.relu(x, recorded=True)
    np.testing.assert_array_equal(y, x * (x > 0))
    np.testing.assert_array_equal(vjp(x), x * (x > 0))


def test_dropout_keeps_what_draws_its_probability(monkeypatch):
    # At p = 0, where nothing is dropped, one in 2²⁴ is 0.
    monkeypatch.setattr(host, "uniform", lambda key, shape, *rest: np.zeros(shape, "float32"))
    drop = host.dropout((0, 0), (3,), "float32", 0.0, 0)
    assert drop(np.ones(3, "float32")).tolist() == [1, 1, 1]


def test_infinity_in_a_thread_does_not_warn(monkeypatch):
    monkeypatch.setattr(threads, "LEAST_BYTES", 1)
    x = minicnn.tensor([[[[np.inf]]], [[[1.0]]]])
    with BLAS.limit(limits=2, user_api="blas"):
        y = F.conv2d(x, minicnn.zeros(1, 1, 1, 1))
    assert np.isnan(array(y)).ravel().tolist() == [True, False]


@pytest.mark.parametrize(
    ("algorithm", "size"), [("im2col", 1), ("im2col", 3), ("winograd", 3), ("winograd", 5)]
)
def test_convolution_has_the_same_gradients_in_chunks_on_threads(monkeypatch, algorithm, size):
    def gradients():
        with context.using(conv_algorithm=algorithm):
            return computed()

    def computed():
        minicnn.manual_seed(0)
        x, w, b = (
            minicnn.randn(*s, requires_grad=True) for s in ((7, 4, 9, 9), (5, 4, size, size), (5,))
        )
        F.max_pool2d(F.conv2d(x, w, b, padding=1), 2).sum().backward()
        return [array(p.grad) for p in (x, w, b)]

    whole = gradients()
    monkeypatch.setattr(threads, "CHUNK_BYTES", 1)
    with BLAS.limit(limits=3, user_api="blas"):
        for got, want in zip(gradients(), whole, strict=True):
            assert np.linalg.norm(got - want) <= 1e-5 * np.linalg.norm(want)
