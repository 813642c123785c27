"""`make_grid` and `save_image` against pixels put down one by one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.vision.utils import make_grid, save_image

from .arrays import array


def images(n, channels, high=3, wide=2):
    return np.random.default_rng(n).random((n, channels, high, wide)).astype("float32")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize(("n", "nrow"), [(2, 8), (5, 2), (4, 2)])
def test_images_stand_in_rows_with_padding_around_each(n, nrow, padding, channels):
    given, high, wide = images(n, channels), 3, 2
    columns = min(n, nrow)
    size = -(-n // columns) * (high + padding) + padding, columns * (wide + padding) + padding
    want = np.full((3, *size), 0.25, "float32")
    for i, image in enumerate(given):
        row, column = divmod(i, columns)
        top, left = padding + row * (high + padding), padding + column * (wide + padding)
        want[:, top : top + high, left : left + wide] = image
    for tensor in (minicnn.tensor(given), [minicnn.tensor(image) for image in given]):
        got = make_grid(tensor, nrow, padding, pad_value=0.25)
        np.testing.assert_array_equal(array(got), want)


@pytest.mark.parametrize("each", [False, True])
def test_normalised_values_go_from_0_to_1_in_all_or_in_each(each):
    given = images(2, 3) + np.array([0, 10]).reshape(2, 1, 1, 1).astype("float32")
    grid = array(make_grid(minicnn.tensor(given), padding=0, normalize=True, scale_each=each))
    parts = [grid[:, :, :2], grid[:, :, 2:]] if each else [grid]
    assert all(part.min() == 0 and part.max() == 1 for part in parts)


@pytest.mark.parametrize(
    ("tensor", "options", "message"),
    [
        (minicnn.ones(0, 3, 2, 2), {}, r"expected images \(N, C, H, W\)"),
        (minicnn.ones(2, 3, 2, 2), {"scale_each": True}, "go with normalize=True"),
        (minicnn.ones(2, 3, 2, 2), {"nrow": 0}, "nrow must be an int ≥ 1"),
    ],
)
def test_what_is_no_grid_is_refused(tensor, options, message):
    with pytest.raises(ValueError, match=message):
        make_grid(tensor, **options)


def test_a_picture_has_the_grids_numbers_as_bytes(tmp_path):
    given = minicnn.tensor([[[[0.0, 0.5], [1.0, 1.5]]]])
    save_image(given, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(pixels[..., 0], [[0, 128], [255, 255]])
