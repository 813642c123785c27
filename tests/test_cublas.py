"""Products of matrices by cuBLASLt: any shapes and layouts, the same bits captured or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import context
from minicnn.nn import functional as F
from minicnn.vision import transforms

pytestmark = pytest.mark.cuda

DTYPES = ("float32", "float64", "complex64", "complex128")
LAYOUTS = {  # how an array may lie in a larger one: the larger one's shape, and what is taken of it
    "whole": (lambda m, n: (m, n), lambda x: x),
    "transposed": (lambda m, n: (n, m), lambda x: x.swapaxes(-1, -2)),
    "every other": (lambda m, n: (m, 2 * n), lambda x: x[..., ::2]),
    "columns of more": (lambda m, n: (m, n + 3), lambda x: x[..., 1:-2]),
    "backwards": (lambda m, n: (m, n), lambda x: x[..., ::-1, :]),
    "rows of more": (lambda m, n: (2 * m + 1, n), lambda x: x[..., 1::2, :]),
}
STACKS = [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((), (4,)), ((1,), (3,)), ((2, 1), (1, 3))]
layouts, sizes = st.sampled_from(list(LAYOUTS.values())), st.integers(0, 9)


@pytest.fixture(scope="module")
def cublas():
    from minicnn.backends import cublas, load

    load("cuda")
    return cublas


@pytest.fixture
def tf32():
    with context.using(tf32=True):
        yield


def draw(rng, dtype, stack, size, layout):
    shape, taken = layout
    x = rng.integers(-9, 9, (*stack, *shape(*size))).astype(dtype)  # products that no order rounds
    return (x + 1j * rng.integers(-9, 9, x.shape)).astype(dtype) if dtype[0] == "c" else x, taken


@given(
    sizes, sizes, sizes, st.sampled_from(STACKS), layouts, layouts, st.sampled_from(DTYPES),
    st.integers(0, 2**32),
)  # fmt: skip
def test_any_product_is_numpys(cublas, m, k, n, stacks, x_layout, y_layout, dtype, seed):
    rng = np.random.default_rng(seed)
    x, x_taken = draw(rng, dtype, stacks[0], (m, k), x_layout)
    y, y_taken = draw(rng, dtype, stacks[1], (k, n), y_layout)
    want = np.matmul(x_taken(x), y_taken(y))
    xp = cublas.xp
    got = cublas.matmul(x_taken(xp.asarray(x)), y_taken(xp.asarray(y))).get()
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


VECTORS = [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3,)), ((3,), (4, 3, 2))]
VECTORS += [((0,), (0,)), ((3,), (3, 0))]


@pytest.mark.parametrize(("x", "y"), VECTORS)
def test_vectors_have_numpys_shapes(cublas, x, y):
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-9, 9, shape).astype("float64") for shape in (x, y))
    got = cublas.matmul(*map(cublas.xp.asarray, (x, y))).get()
    want = np.matmul(x, y)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


def test_shapes_that_do_not_meet_are_refused(cublas):
    x, y = cublas.xp.zeros((2, 3)), cublas.xp.zeros((4, 2))
    with pytest.raises(ValueError, match="3 columns do not meet 4"):
        cublas.matmul(x, y)


@pytest.mark.parametrize("stack", [(), (3,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_captured_product_has_the_bits_of_an_eager_one(cublas, backend, dtype, stack):
    rng = np.random.default_rng(0)

    def drawn(*shape):
        return backend.from_host(rng.standard_normal(shape).astype(dtype))

    x, y = drawn(*stack, 33, 70), drawn(*stack, 70, 8)[..., ::2]  # the second has to be copied
    eager = backend.matmul(x, y).get()
    graph = backend.graph_pool().capture(lambda: backend.matmul(x, y))
    graph.launch()
    np.testing.assert_array_equal(graph.result.get(), eager)


def test_tf32_rounds_the_factors_of_products(backend, tf32):
    x = backend.from_host(np.full((64, 64), 1 + 2**-12, "float32"))  # cuBLAS leaves tiny ones alone
    assert float(backend.matmul(x, x).max()) == 64
    wide = x.astype("float64")
    assert abs(backend.matmul(wide, wide) - 64 * (1 + 2**-12) ** 2).max() < 1e-12


@pytest.mark.parametrize("forward", [False, True])
def test_a_gradient_may_be_asked_for_in_another_precision(backend, forward):
    x, w = (minicnn.tensor(np.ones(s, "float32")) for s in ((2, 3, 6, 6), (4, 3, 3, 3)))
    w.requires_grad_()
    with context.using(tf32=forward):
        y = F.conv2d(x, w).sum()
    with context.using(tf32=not forward):
        y.backward()
    np.testing.assert_array_equal(w.grad.cpu().numpy(), 32)


def test_tf32_rounds_no_image(tf32):
    pixels = np.random.default_rng(0).random((1, 5, 7), "float32")
    resize = transforms.Resize((9, 8))
    got = resize(minicnn.tensor(pixels)).cpu().numpy()
    want = resize(minicnn.tensor(pixels, device="cpu")).numpy()
    np.testing.assert_allclose(got, want, rtol=2e-6)
