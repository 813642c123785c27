"""The drawn data set: what its images and labels are, and that the seed alone decides them."""

from dataclasses import replace

import numpy as np
import pytest

import minicnn
from nin import data, silhouettes
from nin.presets import PRESETS
from nin.silhouettes import GARMENTS, SHEET, Silhouettes

pytestmark = pytest.mark.cpu


@pytest.fixture(scope="module")
def sample() -> Silhouettes:
    return Silhouettes(size=2000)


def as_set(dataset: Silhouettes) -> set[bytes]:
    return {image.tobytes() for image in dataset.data.array}


def test_there_are_sixty_thousand_training_images_and_ten_thousand_for_testing(monkeypatch):
    blank = np.zeros((SHEET, 28, 28), np.uint8), np.zeros(SHEET, np.int64)
    monkeypatch.setattr(silhouettes, "_sheet", lambda rng: blank)  # to draw them takes 8 seconds
    assert [len(Silhouettes(train)) for train in (True, False)] == [60_000, 10_000]


def test_images_are_28_by_28_bytes(sample):
    assert (sample.data.shape, sample.data.dtype) == ((2000, 28, 28), np.uint8)


def test_labels_are_int64(sample):
    assert (sample.targets.shape, sample.targets.dtype) == ((2000,), np.int64)


def test_every_class_is_a_tenth_of_the_images(sample):
    assert np.bincount(sample.targets.array).tolist() == [200] * 10


def test_classes_come_in_random_order(sample):
    assert set(sample.targets.array[:100]) == set(range(10))


def test_there_is_a_garment_for_each_class_in_order(sample):
    assert list(GARMENTS) == sample.classes


def test_the_same_seed_gives_the_same_images():
    one, two = Silhouettes(size=300, seed=5), Silhouettes(size=300, seed=5)
    np.testing.assert_array_equal(one.data.array, two.data.array)


def test_another_seed_gives_other_images():
    one, two = Silhouettes(size=300, seed=5), Silhouettes(size=300, seed=6)
    assert not as_set(one) & as_set(two)


@pytest.mark.parametrize("size", [1, SHEET - 1, SHEET, SHEET + 1])
def test_fewer_images_are_the_first_of_more(sample, size):
    fewer = Silhouettes(size=size)
    np.testing.assert_array_equal(fewer.data.array, sample.data.array[:size])


@pytest.mark.parametrize("size", [1, SHEET - 1, SHEET, SHEET + 1])
def test_fewer_labels_are_the_first_of_more(sample, size):
    fewer = Silhouettes(size=size)
    np.testing.assert_array_equal(fewer.targets.array, sample.targets.array[:size])


def test_no_image_is_drawn_twice(sample):
    assert len(as_set(sample)) == len(sample)


def test_no_training_image_is_a_test_image(sample):
    assert not as_set(sample) & as_set(Silhouettes(False, size=2000))


def test_garments_are_bright_on_a_dark_ground(sample):
    images = sample.data.array
    border = np.concatenate([images[:, 0], images[:, -1]])
    assert np.median(border) < 10 < 100 < np.median(images[:, 10:18, 10:18])


def test_every_image_shows_something(sample):
    assert sample.data.array.reshape(2000, -1).max(axis=1).min() > 60


def test_the_default_generator_does_not_matter(sample):
    minicnn.manual_seed(123)
    np.testing.assert_array_equal(Silhouettes(size=10).data.array, sample.data.array[:10])


@pytest.mark.parametrize("name", GARMENTS)
def test_outlines_are_convex_and_go_clockwise(name):
    for outline in (outline for part in GARMENTS[name] for outline in part.outlines):
        x, y = np.array(outline).T
        dx, dy = np.roll(x, -1) - x, np.roll(y, -1) - y
        assert (dx * np.roll(dy, -1) - dy * np.roll(dx, -1) >= 0).all(), outline


@pytest.mark.parametrize("size", [0, -1, 1.5, "all"])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match="size must be an int ≥ 1, got"):
        Silhouettes(size=size)


def test_numpys_numbers_are_sizes_and_seeds(sample):
    given = Silhouettes(size=np.int64(10), seed=np.uint8(0))
    np.testing.assert_array_equal(given.data.array, sample.data.array[:10])


@pytest.mark.parametrize("seed", [0.5, "0", None])
def test_an_impossible_seed_is_refused(seed):
    with pytest.raises(ValueError, match="Silhouettes: seed must be an int"):
        Silhouettes(size=1, seed=seed)


def test_only_what_a_preset_uses_is_drawn(monkeypatch):
    sizes, real = [], silhouettes._sheet
    monkeypatch.setattr(silhouettes, "_sheet", lambda rng: sizes.append(1) or real(rng))
    few = replace(PRESETS["quick"], dataset="silhouettes", limit_train=1500, limit_test=100)
    found, _ = data.load(few)
    assert (len(found.train), len(found.test), len(sizes)) == (1500, 100, 3)
    np.testing.assert_array_equal(found.test.data.array, Silhouettes(False, size=100).data.array)
