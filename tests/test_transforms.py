"""Transforms against PyTorch's interpolation and plain arithmetic; one image and a batch agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import minicnn
from minicnn.tensor import Tensor
from minicnn.vision import transforms as T

from .arrays import array, placed

RNG = minicnn.Generator().manual_seed(0)


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def batch(transform, images):
    """What a transform makes of a batch of images on the device under test."""
    return array(Tensor(transform.batch(placed(images), RNG)))


def interpolated(images, size):
    """Bilinear and antialiased, in float64, by PyTorch."""
    x = torch.tensor(images, dtype=torch.float64)[:, None]
    return array(torch.nn.functional.interpolate(x, size, mode="bilinear", antialias=True)[:, 0])


def test_to_tensor_scales_and_adds_the_channel():
    images = pixels(3, 5, 4)
    got = batch(T.ToTensor(), images)
    assert got.shape == (3, 1, 5, 4)
    assert got.dtype == minicnn.float32
    np.testing.assert_allclose(got[:, 0], images / 255, rtol=1e-6)


def test_to_tensor_of_a_colour_image_puts_channels_first():
    image = pixels(5, 4, 3)
    got = T.ToTensor()(image)
    np.testing.assert_allclose(array(got), image.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_to_tensor_leaves_floating_point_unscaled():
    image = np.full((2, 2), 7.5)
    assert (T.ToTensor()(image) == 7.5).all()


SIZES = [((28, 28), (224, 224)), ((28, 28), (7, 9)), ((5, 9), (9, 5)), ((3, 4), (1, 1))]


@pytest.mark.parametrize(("source", "target"), [*SIZES, ((6, 6), (6, 13))], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_resizing_is_pytorchs_interpolation(source, target, dtype, tolerance):
    images = pixels(2, *source).astype(dtype)
    got = batch(T.Resize(target), images[:, None])[:, 0]
    assert got.dtype == dtype
    np.testing.assert_allclose(got, interpolated(images, target), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("source", "target"), SIZES, ids=str)
def test_resizing_bytes_rounds_to_the_nearest(source, target):
    images = pixels(2, *source)
    got = batch(T.Resize(target), images)
    assert got.dtype == np.uint8
    assert abs(got - interpolated(images, target)).max() <= 0.5 + 1e-3


def test_one_size_is_that_of_the_shorter_side():
    assert T.Resize(14)(pixels(28, 56)).shape == (14, 28)
    assert T.Resize(14)(pixels(56, 28)).shape == (28, 14)


def test_resizing_to_the_same_size_changes_nothing():
    images = pixels(2, 5, 6)
    assert np.array_equal(batch(T.Resize((5, 6)), images), images)


def test_normalize_is_plain_arithmetic_channel_by_channel():
    images = np.random.default_rng(0).random((2, 3, 4, 4))
    got = batch(T.Normalize((0.1, 0.2, 0.3), (1, 2, 4)), images)
    mean, std = (np.array(v).reshape(3, 1, 1) for v in ((0.1, 0.2, 0.3), (1, 2, 4)))
    np.testing.assert_allclose(got, (images - mean) / std, rtol=1e-12)


def test_a_flip_mirrors_left_and_right():
    image = pixels(4, 5)
    assert np.array_equal(array(T.RandomHorizontalFlip(1.0)(image)), image[:, ::-1])
    assert np.array_equal(array(T.RandomHorizontalFlip(0.0)(image)), image)


def test_images_of_a_batch_are_flipped_one_by_one():
    images = np.tile(np.array([[0, 1]], dtype="uint8"), (10_000, 1, 1))
    flipped = batch(T.RandomHorizontalFlip(0.3), images)[:, 0, 0]
    assert flipped.mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("channels", [False, True])
def test_every_crop_is_a_window_of_the_padded_image_and_every_place_occurs(channels):
    image = np.arange(1, 13, dtype="uint8").reshape(3, 4)
    padded = np.pad(image, 1)
    images = np.tile(image, (500, 1, 1))
    if channels:
        crops = batch(T.RandomCrop((2, 3), padding=1), images[:, None])[:, 0]
    else:
        crops = batch(T.RandomCrop((2, 3), padding=1), images)
    places = {(i, j): padded[i : i + 2, j : j + 3] for i in range(4) for j in range(4)}
    found = [[k for k, window in places.items() if np.array_equal(window, c)] for c in crops]
    assert all(found)
    assert {k for ks in found for k in ks} == set(places)


def test_a_pipeline_of_one_image_is_that_of_a_batch():
    steps = [T.ToTensor(), T.Resize((9, 9)), T.Normalize(0.5, 0.5)]
    images = pixels(3, 6, 6)
    together = batch(T.Compose(steps), images)
    for image, expected in zip(images, together, strict=True):
        np.testing.assert_allclose(array(T.Compose(steps)(image)), expected, rtol=1e-6)


def test_a_function_among_transforms_is_called_image_by_image():
    shapes = []
    pipeline = T.Compose([T.ToTensor(), lambda x: (shapes.append(x.shape), x * 2)[1]])
    got = batch(pipeline, pixels(3, 4, 4))
    assert shapes == [(1, 4, 4)] * 3
    assert got.shape == (3, 1, 4, 4)


@pytest.mark.parametrize("transform", [T.Resize(9), T.RandomCrop(3), T.RandomHorizontalFlip(1.0)])
def test_images_are_not_changed_in_place(transform):
    images = placed(pixels(2, 6, 6))
    transform.batch(images, RNG)
    assert np.array_equal(array(Tensor(images)), pixels(2, 6, 6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.Resize(0), "size"),
        (lambda: T.Resize((1, 2, 3)), "size"),
        (lambda: T.Normalize(0.5, 0), "std must not be 0"),
        (lambda: T.RandomHorizontalFlip(2), "p must be between"),
        (lambda: T.RandomCrop(0), "size"),
        (lambda: T.RandomCrop(3, padding=-1), "padding"),
        (lambda: T.Compose([T.ToTensor(), 3]), "expected functions, got int"),
        (lambda: T.RandomCrop(9)(pixels(4, 4)), "9×9 does not fit"),
        (lambda: T.Normalize(0.5, 0.5)(pixels(4, 4)), "needs ToTensor before it"),
        (lambda: T.Normalize((1, 2), 1)(np.zeros((3, 4, 4))), "2 means for 3 channels"),
        (lambda: T.ToTensor()(np.zeros(3)), r"\(3,\)"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
