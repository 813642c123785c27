"""Every primitive of the backend under test gives NumPy's numbers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn.backends import numpy as host

WINDOWS = {  # shape, kernel, stride, dilation
    "overlapping": ((2, 9, 8, 3), (3, 2), (1, 1), (1, 1)),
    "apart and spread": ((1, 11, 7, 1), (3, 3), (2, 1), (2, 1)),
    "side by side": ((2, 6, 5, 3), (2, 1), (2, 1), (1, 1)),
    "1×1": ((2, 6, 6, 4), (1, 1), (1, 1), (1, 1)),
    "1×1 at stride 2": ((2, 6, 6, 4), (1, 1), (2, 2), (1, 1)),
    "more than 256 places": ((1, 20, 20, 2), (18, 18), (1, 1), (1, 1)),
    "no images": ((0, 6, 6, 4), (2, 2), (2, 2), (1, 1)),
}
rng = np.random.default_rng(0)
windows = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
floats = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def same(expected, got, backend):
    got = backend.to_host(got)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(expected, got, equal_nan=got.dtype.kind == "f")


def drawn(shape, dtype):
    """Numbers with ties among them."""
    return rng.integers(-3, 3, shape).astype(dtype)


@floats
@windows
def test_im2col_and_its_transpose(backend, window, dtype):
    shape, *rest = window
    x = drawn(shape, dtype)
    cols = host.im2col(x, *rest)
    same(cols, backend.im2col(backend.from_host(x), *rest), backend)
    g = rng.standard_normal(cols.shape).astype(dtype)
    same(host.col2im(g, shape, *rest), backend.col2im(backend.from_host(g), shape, *rest), backend)


@windows
def test_col2im_is_the_transpose_of_im2col(backend, window):
    shape, *rest = window
    x = rng.standard_normal(shape)
    cols = backend.to_host(backend.im2col(backend.from_host(x), *rest))
    g = rng.standard_normal(cols.shape)
    dx = backend.to_host(backend.col2im(backend.from_host(g), shape, *rest))
    np.testing.assert_allclose((g * cols).sum(), (dx * x).sum(), atol=1e-10)


@floats
@windows
def test_max_pool_and_its_transpose(backend, window, dtype):
    shape, *rest = window
    x = drawn(shape, dtype)
    y, place = host.max_pool(x, *rest)
    values, places = backend.max_pool(backend.from_host(x), *rest)
    same(y, values, backend)
    same(place, places, backend)
    g = rng.standard_normal(y.shape).astype(dtype)
    dx = backend.max_unpool(backend.from_host(g), places, shape, *rest)
    same(host.max_unpool(g, place, shape, *rest), dx, backend)


@pytest.mark.parametrize("size", [128, 129, 256, 257])
def test_the_last_place_of_a_large_window_is_found(backend, size):
    x = np.arange(size, dtype=np.float32).reshape(1, 1, size, 1)
    values, places = backend.max_pool(backend.from_host(x), (1, size), (1, 1), (1, 1))
    assert (values.item(), places.item()) == (size - 1, size - 1)
    assert places.dtype.itemsize == (1 if size <= 256 else 2)


@floats
@pytest.mark.parametrize("at", range(4))
def test_nan_wins_in_max_pool(backend, at, dtype):
    x = np.arange(4, dtype=dtype)
    x[at] = np.nan
    x = x.reshape(1, 2, 2, 1)
    arguments = (2, 2), (2, 2), (1, 1)
    for expected, got in zip(
        host.max_pool(x, *arguments),
        backend.max_pool(backend.from_host(x), *arguments),
        strict=True,
    ):
        same(expected, got, backend)


@floats
@windows
def test_sum_pool_and_its_transpose(backend, window, dtype):
    shape, kernel, stride, _ = window
    x = rng.standard_normal(shape).astype(dtype)
    y = host.sum_pool(x, kernel, stride)
    same(y, backend.sum_pool(backend.from_host(x), kernel, stride), backend)
    dx = backend.sum_unpool(backend.from_host(y), shape, kernel, stride)
    same(host.sum_unpool(y, shape, kernel, stride), dx, backend)


@floats
def test_tiles_and_their_transpose(backend, dtype):
    x = rng.standard_normal((2, 10, 14, 3)).astype(dtype)
    tiles = host.gather_tiles(x, 6, 4)
    same(tiles, backend.gather_tiles(backend.from_host(x), 6, 4), backend)
    back = backend.scatter_tiles(backend.from_host(tiles), x.shape, 6, 4)
    same(host.scatter_tiles(tiles, x.shape, 6, 4), back, backend)


@floats
@pytest.mark.parametrize("skip", [0, 1, 5, 8, 13])
def test_uniform_numbers(backend, skip, dtype):
    arguments = (3, 2**63 + 5), (4, 5), dtype, skip
    same(host.uniform(*arguments), backend.uniform(*arguments), backend)


@floats
@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_dropout(backend, p, dtype):
    x = rng.standard_normal((4, 5)).astype(dtype)
    arguments = (1, 2), x.shape, dtype, p, 3
    expected = host.dropout(*arguments)(x)
    same(expected, backend.dropout(*arguments)(backend.from_host(x)), backend)


@floats
def test_relu_and_its_gradient(backend, dtype):
    x = np.array([1, -1, 0.0, -0.0, np.nan, np.inf, -np.inf], dtype)
    y = host.relu(x)
    same(y, backend.relu(backend.from_host(x)), backend)
    g = np.arange(1, 8).astype(dtype)
    dx = backend.relu_vjp(backend.from_host(g), backend.from_host(y))
    same(host.relu_vjp(g, y), dx, backend)


@pytest.mark.parametrize("columns", [1, 8192, 10_000])
def test_along_both_multiplies_from_either_side(backend, columns):
    m, x = rng.standard_normal((4, 6)), rng.standard_normal((36, columns))
    want = np.einsum("ij,jkl,nk->inl", m, x.reshape(6, 6, columns), m)
    got = backend.along_both(backend.from_host(m), backend.from_host(x))
    np.testing.assert_allclose(backend.to_host(got), want.reshape(16, columns), atol=1e-12)


def test_relu_keeps_the_layout(backend):
    x = backend.from_host(np.ones((2, 5, 4, 3))).transpose(0, 3, 1, 2)
    assert backend.relu(x).strides == backend.relu_vjp(x, x).strides == x.strides


@floats
def test_add_at_adds_again_where_an_index_occurs_again(backend, dtype):
    target, values = np.zeros((4, 3), dtype), rng.standard_normal((5, 3)).astype(dtype)
    index = np.array([0, 2, 2, 1, 0])
    on_device = backend.from_host(target.copy())
    np.add.at(target, index, values)
    backend.add_at(on_device, backend.from_host(index), backend.from_host(values))
    same(target, on_device, backend)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_cross_entropy_and_its_gradient(backend, dtype, tolerance):
    x = np.array([[1, 2, 3], [1e4, -1e4, 0], [-np.inf, 0, 1], [5, 5, 5]], dtype)
    q = np.array([[0, 1, 0], [1, 0, 0], [0, 0.5, 0.5], [0, 0, 0]], dtype)
    g = rng.standard_normal(4).astype(dtype)
    on_device = [backend.from_host(a) for a in (x, q, g)]
    with host.quiet():
        loss, logp = host.cross_entropy(x, q)
        dx = host.cross_entropy_vjp(g, q, logp)
        its_loss, its_logp = backend.cross_entropy(*on_device[:2])
        its_dx = backend.cross_entropy_vjp(on_device[2], on_device[1], its_logp)
    for expected, got in ((loss, its_loss), (logp, its_logp), (dx, its_dx)):
        np.testing.assert_allclose(backend.to_host(got), expected, tolerance, tolerance)


@floats
@pytest.mark.parametrize("weight_decay", [0, 0.25])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0, False), (0.5, False), (0.5, True)])
def test_an_update(backend, momentum, nesterov, weight_decay, dtype):
    p, g, v = (rng.standard_normal(9).astype(dtype) for _ in range(3))
    options = {
        "momentum": momentum,
        "share": 0.75,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
    }
    its_p, its_g, its_v = (backend.from_host(a.copy()) for a in (p, g, v))
    backend.sgd(its_p, its_g, its_v if momentum else None, backend.rate(0.5, dtype), **options)
    host.sgd(p, g, v if momentum else None, host.rate(0.5, dtype), **options)
    tolerance = 4 * np.finfo(dtype).eps  # a device may round a product and a sum together
    for expected, got in ((p, its_p), (g, its_g), (v, its_v)):
        np.testing.assert_allclose(backend.to_host(got), expected, tolerance, tolerance)


def test_a_backend_has_every_name_that_numpys_has(backend):
    names = {
        n for n, value in vars(host).items() if getattr(value, "__module__", "") == host.__name__
    }
    assert not {n for n in names if not n.startswith("_")} - set(vars(backend))


def test_a_number_is_fetched_without_waiting(backend):
    coming = backend.fetch(backend.from_host(np.array(2.5, np.float32)).reshape(()))
    while (number := coming()) is None:
        pass
    assert number == 2.5
