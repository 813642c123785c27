"""Resize against Pillow, to the last bit, over many sizes; and what it refuses."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import minicnn
from minicnn.arguments import ArgumentError
from minicnn.tensor import Tensor
from minicnn.vision import transforms as T
from minicnn.vision.transforms.resampling import InterpolationMode, resampling_matrix

from .arrays import array, named, placed

RNG = minicnn.Generator()
PILLOW = {mode: Image.Resampling[mode.name] for mode in InterpolationMode}
side = st.integers(1, 60)
modes = st.sampled_from(InterpolationMode)


def bytes_of(h, w, c=3, kind="noise", seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (h, w, c), dtype="uint8")
    return noise // 128 * 255 if kind == "edges" else noise


def pillow(image, size, mode):
    return np.asarray(Image.fromarray(image).resize(size[::-1], PILLOW[mode]))


def comparable(h, w, th, tw):
    """Whether this Pillow takes the axes in the order that 13 does."""
    return int(PIL.__version__.split(".")[0]) >= 13 or h - th <= max(0, 2 * (w - tw))


@pytest.mark.cpu
@settings(max_examples=200, deadline=None)
@given(
    side, side, side, side, st.sampled_from(InterpolationMode), st.sampled_from(["noise", "edges"])
)
def test_bytes_are_pillows_to_the_last_bit(h, w, th, tw, mode, kind):
    assume(comparable(h, w, th, tw))
    image = bytes_of(h, w, kind=kind)
    got = T.Resize((th, tw), mode)(image).numpy()
    assert np.array_equal(got, pillow(image, (th, tw), mode))


LARGE = [(700, 500, 224, 224), (300, 400, 299, 401), (257, 900, 31, 900), (1200, 3, 7, 5)]


@pytest.mark.cpu
@pytest.mark.parametrize("sizes", LARGE, ids=named)
@pytest.mark.parametrize("mode", InterpolationMode, ids=lambda mode: mode.value)
def test_large_images_are_pillows_too(sizes, mode):
    h, w, th, tw = sizes
    if not comparable(*sizes):
        h, w, th, tw = w, h, tw, th
    image = bytes_of(h, w)
    assert np.array_equal(T.Resize((th, tw), mode)(image).numpy(), pillow(image, (th, tw), mode))


@pytest.mark.parametrize("size", [(28, 28), (7, 9), (40, 13)], ids=named)
def test_a_batch_of_bytes_is_pillows_on_each_device_and_in_each_layout(size):
    images = np.stack([bytes_of(20, 24, seed=seed) for seed in range(3)])
    expected = [pillow(image, size, InterpolationMode.BILINEAR) for image in images]
    resize = T.Resize(size)
    assert np.array_equal(array(Tensor(resize.batch(placed(images), RNG))), expected)
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    got = array(Tensor(resize.batch(placed(first), RNG)))
    assert np.array_equal(got.transpose(0, 2, 3, 1), expected)
    grey = np.ascontiguousarray(images[..., 1])
    got = array(Tensor(resize.batch(placed(grey), RNG)))
    assert np.array_equal(got, np.asarray(expected)[..., 1])


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64"])
def test_blocks_of_a_long_axis_give_what_one_product_gives(dtype):
    x = np.random.default_rng(0).integers(0, 99, (700, 5)).astype(dtype)
    got = T.Resize((90, 5))(x).numpy()
    expected = resampling_matrix(700, 90, InterpolationMode.BILINEAR) @ x
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, atol=0.51 if dtype[0] == "i" else 1e-4)


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ((7,), (7, 8)),
        ((7, InterpolationMode.NEAREST), (7, 8)),
        ((7, InterpolationMode.BILINEAR, 8), (7, 8)),
        ((30, InterpolationMode.BILINEAR, 31), (27, 31)),
        (((4, 5), InterpolationMode.BICUBIC), (4, 5)),
    ],
)
def test_one_size_is_that_of_the_shorter_side(arguments, shape):
    image = bytes_of(20, 23)
    assert T.Resize(*arguments)(image).shape == (*shape, 3)
    turned = shape if len(np.atleast_1d(arguments[0])) == 2 else shape[::-1]
    assert T.Resize(*arguments)(image.transpose(1, 0, 2)).shape == (*turned, 3)


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.Resize(3, "bilinear"), r"interpolation must be one of .*got 'bilinear'"),
        (lambda: T.Resize(3, 2), "interpolation must be one of"),
        (lambda: T.Resize(3, max_size=3), "max_size must be an int ≥ 4"),
        (lambda: T.Resize((3, 4), max_size=9), "max_size is for one size"),
        (lambda: T.Resize(3, antialias=False), "antialias must be True"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(make, message):
    with pytest.raises(ArgumentError, match=f"Resize: {message}"):
        make()
