"""Primitives of the backend under test give NumPy's numbers, most of them bit for bit."""

from __future__ import annotations

import re
from inspect import isfunction, signature
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import context
from minicnn.backends import numpy as host
from minicnn.backends import protocol
from minicnn.backends.windows import Window

WINDOWS = {  # shape, window
    "overlapping": ((2, 9, 8, 3), Window((3, 2), (1, 1), (1, 1))),
    "in packs": ((2, 7, 9, 8), Window((3, 3), (2, 2), (1, 1), ((1, 0), (1, 2)))),
    "apart and spread": ((1, 11, 7, 1), Window((3, 3), (2, 1), (2, 1))),
    "spread, with padding": ((2, 9, 7, 4), Window((3, 2), (3, 2), (2, 3), ((3, 1), (0, 2)))),
    "side by side": ((2, 6, 5, 3), Window((2, 1), (2, 1), (1, 1))),
    "1×1": ((2, 6, 6, 4), Window((1, 1), (1, 1), (1, 1))),
    "1×1 at stride 2": ((2, 6, 6, 4), Window((1, 1), (2, 2), (1, 1))),
    "more than 256 places": ((1, 20, 20, 2), Window((18, 18), (1, 1), (1, 1))),
    "the whole image": ((3, 4, 5, 3), Window((4, 5), (1, 1), (1, 1))),
    "no images": ((0, 6, 6, 4), Window((2, 2), (2, 2), (1, 1))),
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


@pytest.mark.parametrize("tf32", [False, True])
@floats
@windows
def test_im2col_and_its_transpose(backend, window, dtype, tf32):
    shape, window = window
    x = drawn(shape, dtype)
    cols = host.im2col(x, window)
    with context.using(tf32=tf32):  # with zeros at the end of rows, perhaps
        got = backend.im2col(backend.from_host(x), window)
    same(cols, got[:, : cols.shape[1]], backend)
    assert not got[:, cols.shape[1] :].any()
    g = rng.standard_normal(cols.shape).astype(dtype)
    wide = backend.xp.zeros_like(got)
    wide[:, : cols.shape[1]] = backend.from_host(g)
    dx, got = np.full(shape, np.nan, dtype), backend.xp.full(shape, np.nan, dtype)
    host.col2im(g, window, dx)
    backend.col2im(wide, window, got)
    same(dx, got, backend)


@windows
def test_col2im_is_the_transpose_of_im2col(backend, window):
    shape, window = window
    x = rng.standard_normal(shape)
    cols = backend.im2col(backend.from_host(x), window)
    g = rng.standard_normal(cols.shape)
    dx = backend.xp.empty(shape)
    backend.col2im(backend.from_host(g), window, dx)
    left, right = (g * backend.to_host(cols)).sum(), (backend.to_host(dx) * x).sum()
    np.testing.assert_allclose(left, right, atol=1e-10)


@floats
@windows
def test_max_pool_and_its_transpose(backend, window, dtype):
    shape, window = window
    x = drawn(shape, dtype)
    y, place = host.max_pool(x, window)
    values, places = backend.max_pool(backend.from_host(x), window)
    same(y, values, backend)
    same(place, places, backend)
    g = rng.standard_normal(y.shape).astype(dtype)
    dx = backend.max_unpool(backend.from_host(g), places, shape, window)
    same(host.max_unpool(g, place, shape, window), dx, backend)


@pytest.mark.parametrize("spread", [1, 2])
def test_padding_never_holds_a_maximum(backend, spread):
    window = Window((2, 2), (1, 1), (spread, spread), ((1, 1), (1, 1)))
    x = backend.from_host(np.full((1, 3, 3, 1), -np.inf))
    _, places = backend.max_pool(x, window)
    ones = backend.xp.ones_like(places, dtype=float)
    dx = backend.max_unpool(ones, places, x.shape, window)
    assert dx.sum() == places.size  # of each window, one element of the image


@pytest.mark.parametrize("size", [128, 129, 256, 257])
def test_the_last_place_of_a_large_window_is_found(backend, size):
    x = np.arange(size, dtype=np.float32).reshape(1, 1, size, 1)
    window = Window((1, size))
    values, places = backend.max_pool(backend.from_host(x), window)
    assert (values.item(), places.item()) == (size - 1, size - 1)
    assert places.dtype.itemsize == (1 if size <= 256 else 2)


@floats
@pytest.mark.parametrize("at", range(4))
def test_nan_wins_in_max_pool(backend, at, dtype):
    x = np.arange(4, dtype=dtype)
    x[at] = np.nan
    x = x.reshape(1, 2, 2, 1)
    window = Window((2, 2), (2, 2))
    for expected, got in zip(
        host.max_pool(x, window), backend.max_pool(backend.from_host(x), window), strict=True
    ):
        same(expected, got, backend)


@floats
@windows
def test_sum_pool_and_its_transpose(backend, window, dtype):
    shape, window = window
    x = rng.standard_normal(shape).astype(dtype)
    y = host.sum_pool(x, window)
    same(y, backend.sum_pool(backend.from_host(x), window), backend)
    dx = backend.sum_unpool(backend.from_host(y), shape, window)
    same(host.sum_unpool(y, shape, window), dx, backend)


@floats
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (1, 40, 50, 3), (3, 1, 1, 1100), (0, 4, 4, 4)])
def test_the_sum_of_pixels(backend, shape, dtype):
    g = rng.integers(-9, 9, shape).astype(dtype)  # so that no order of the sum rounds
    same(g.sum((0, 1, 2), dtype), backend.sum_pixels(backend.from_host(g)), backend)


@floats
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("m", "k", "o"), [(5, 3, 4), (1, 8, 1), (7, 1, 2), (0, 3, 2)])
def test_a_product_is_written_into_an_array_and_a_bias_added(backend, m, k, o, bias, dtype):
    x, w, b = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((m, k), (o, k), (o,)))
    out = backend.xp.full((m, o), np.nan, dtype)
    device = [backend.from_host(each) for each in (x, w, b)]
    backend.matmul(device[0], device[1].T, out, device[2] if bias else None)
    same(x @ w.T + (b if bias else dtype(0)), out, backend)


TILES = {  # shape, first, grid: on the image, over its edges, and cut off before it
    "inside": ((2, 10, 14, 3), (0, 0), (2, 3)),
    "over the edges": ((2, 7, 5, 2), (2, 1), (3, 2)),
    "cut off": ((1, 9, 9, 4), (-1, -2), (1, 1)),
}


@pytest.mark.parametrize(("shape", "first", "grid"), TILES.values(), ids=TILES)
def test_tiles_are_gathered_and_multiplied_from_either_side(backend, shape, first, grid):
    m, x = rng.standard_normal((3, 6)), rng.standard_normal(shape)
    wide = np.pad(x, ((0, 0), (9, 19), (9, 19), (0, 0)))
    want = []
    for p, q in np.ndindex(*grid):
        a, b = 4 * p - first[0] + 9, 4 * q - first[1] + 9
        want.append(np.einsum("ij,njkc,lk->ilnc", m, wide[:, a : a + 6, b : b + 6], m))
    want = np.stack(want, axis=3).reshape(9, -1)  # (3, 3, N, T, C)
    got = backend.gather_tiles(m, backend.from_host(x), 4, first, grid)
    np.testing.assert_allclose(backend.to_host(got), want, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 8, 4, 3), (1, 5, 7, 2), (3, 3, 3, 1)])
def test_tiles_are_multiplied_and_placed_side_by_side(backend, shape, bias):
    n, h, w, c = shape
    m, th, tw = rng.standard_normal((4, 6)), -(-h // 4), -(-w // 4)
    tiles, b = rng.standard_normal((6, 6, n, th, tw, c)), rng.standard_normal(c)
    squares = np.einsum("ij,jknpqc,lk->npiqlc", m, tiles, m).reshape(n, 4 * th, 4 * tw, c)
    want = squares[:, :h, :w] + (b if bias else 0)
    out = backend.xp.empty(shape)
    given = backend.from_host(tiles.reshape(36, -1))
    backend.scatter_tiles(m, given, out, backend.from_host(b) if bias else None)
    np.testing.assert_allclose(backend.to_host(out), want, atol=1e-12)


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
    y, vjp = backend.relu(backend.from_host(x), recorded=True)
    same(np.array([1, 0, 0, 0, np.nan, np.inf, 0], dtype), y, backend)
    g = np.arange(1, 8).astype(dtype)
    same(np.array([1, 0, 0, 0, 5, 6, 0], dtype), vjp(backend.from_host(g)), backend)


@pytest.mark.parametrize("size", [0, 1, 8, 9, 1000])
def test_relus_gradient_has_a_bit_for_each_element_of_any_size(backend, size):
    x = rng.standard_normal(size).astype("float32")
    y, vjp = backend.relu(backend.from_host(x), recorded=True)
    same(np.where(x > 0, x, 0), vjp(y), backend)


def test_relu_keeps_the_layout(backend):
    x = backend.from_host(np.ones((2, 5, 4, 3))).transpose(0, 3, 1, 2)
    y, vjp = backend.relu(x, recorded=True)
    assert y.strides == vjp(y).strides == x.strides


def test_relus_gradient_may_lie_otherwise_in_memory(backend):
    x = rng.standard_normal((2, 3, 5)).astype("float32")
    _, vjp = backend.relu(backend.from_host(x), recorded=True)
    g = backend.from_host(np.ascontiguousarray(x.transpose(2, 0, 1))).transpose(1, 2, 0)
    same(np.where(x > 0, x, 0), vjp(g), backend)


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
    options = protocol.SGDOptions(momentum, 0.25, weight_decay, nesterov)
    its_p, its_g, its_v = (backend.from_host(a.copy()) for a in (p, g, v))
    rates = np.full(1, 0.5, dtype), backend.xp.full(1, 0.5, dtype)
    host.sgd(p, g, v if momentum else None, rates[0], options)
    backend.sgd(its_p, its_g, its_v if momentum else None, rates[1], options)
    tolerance = 4 * np.finfo(dtype).eps  # a device may round a product and a sum together
    for expected, got in ((p, its_p), (g, its_g), (v, its_v)):
        np.testing.assert_allclose(backend.to_host(got), expected, tolerance, tolerance)


GROUPS = (protocol.Arrays, protocol.Kernels, protocol.Device)
PRIMITIVES = [
    n for group in GROUPS for n, f in vars(group).items() if isfunction(f) and n[0] != "_"
]


def parameters(function):
    """Names, kinds and defaults, without `self`; types are mypy's to compare."""
    found = [p.replace(annotation=None) for p in signature(function).parameters.values()]
    return [p for p in found if p.name != "self"]


@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_primitive_is_called_as_the_protocol_says(backend, name):
    assert parameters(getattr(backend, name)) == parameters(getattr(protocol.Backend, name))


def test_a_backend_has_every_name_that_it_is_asked_for(backend):
    names = {n for group in GROUPS for n in group.__annotations__}
    root = Path(minicnn.__file__).parents[1]
    files = [*root.glob("minicnn/**/*.py"), *root.glob("nin/**/*.py")]
    asked = {n for f in files for n in re.findall(r"\bbackend\.(\w+)", f.read_text("utf-8"))}
    assert {"im2col", "matmul", "for_chunks", "xp"} <= asked <= names | {*PRIMITIVES}
    assert names <= set(vars(backend))


def test_the_host_has_no_graphs_and_no_figure_of_its_memory(backend):
    backend.free_unused()
    on_host = backend.device_type == "cpu"
    assert (backend.graph_pool() is None, backend.peak_bytes() is None) == (on_host, on_host)


def test_a_number_is_fetched_without_waiting(backend):
    coming = backend.fetch(backend.from_host(np.array(2.5, np.float32)).reshape(()))
    while (number := coming()) is None:
        pass
    assert number == 2.5


@pytest.mark.cuda
def test_a_number_that_nobody_waits_for_comes_into_nobody_elses_memory(backend):
    sent = backend.from_host(np.array(7.0, np.float32))
    backend.fetch(sent)  # and dropped, while it is under way
    assert backend.to_host(backend.from_host(np.array([1.5], np.float32))).tolist() == [1.5]


@pytest.mark.cuda
def test_memory_of_numbers_that_have_come_is_used_again(backend):
    number = backend.from_host(np.array(7.0, np.float32))
    for _ in range(3):
        backend.fetch(number)
        backend.xp.cuda.get_current_stream().synchronize()
    assert len(backend._underway) == 1


@pytest.mark.cpu
@pytest.mark.parametrize("kernel", [(1, 3), (2, 2), (3, 1)])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3, 6])  # the last steps over the whole image
def test_the_first_place_of_a_window_on_the_image(kernel, stride, dilation):
    for pads in (((3, 0), (0, 4)), ((2, 5), (4, 1))):
        window = Window(kernel, (stride, stride), (dilation, dilation), pads)
        size, (kh, kw) = (4, 5), kernel
        got = host._first_places(size, window)[:, :, 0]
        for p, q in np.ndindex(got.shape):
            a, b = p * stride - pads[0][0], q * stride - pads[1][0]
            places = [
                u * kw + v
                for u, v in np.ndindex(kh, kw)
                if 0 <= a + u * dilation < size[0] and 0 <= b + v * dilation < size[1]
            ]
            assert got[p, q] == (places[0] if places else 0)


@pytest.mark.cpu
@pytest.mark.parametrize("shape", [(3, 32), (0, 4), (5, 0), (6, 3)])
def test_a_bias_is_added_whatever_the_result_lies_in(shape):
    m, n = shape
    x, y = rng.standard_normal((m, 2)), rng.standard_normal((2, n))
    bias = rng.standard_normal(n)
    np.testing.assert_array_equal(host.matmul(x, y, None, bias), x @ y + bias)
    out = np.empty((n, m)).T
    np.testing.assert_array_equal(host.matmul(x, y, out, bias), x @ y + bias)
