"""Transforms against PyTorch's interpolation and plain arithmetic; one image and a batch agree."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import minicnn
from minicnn.tensor import Tensor
from minicnn.vision import transforms as T
from minicnn.vision.image_dataset import ImageDataset

from .arrays import array, named, placed

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


@pytest.mark.parametrize(("source", "target"), [*SIZES, ((6, 6), (6, 13))], ids=named)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_resizing_is_pytorchs_interpolation(source, target, dtype, tolerance):
    images = pixels(2, *source).astype(dtype)
    got = batch(T.Resize(target), images[:, None])[:, 0]
    assert got.dtype == dtype
    np.testing.assert_allclose(got, interpolated(images, target), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("source", "target"), SIZES, ids=named)
def test_resizing_bytes_rounds_after_each_axis(source, target):
    images = pixels(2, *source)
    got = batch(T.Resize(target), images)
    assert got.dtype == np.uint8
    assert abs(got - interpolated(images, target)).max() <= 1 + 1e-3


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
        crops = batch(T.RandomCrop((2, 3), padding=1), images[..., None])[..., 0]
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
        np.testing.assert_allclose(array(T.Compose(steps)(image)), expected, rtol=0, atol=1e-6)


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
        (lambda: T.RandomHorizontalFlip(2), "p must be a number"),
        (lambda: T.RandomCrop(0), "size"),
        (lambda: T.RandomCrop(3, padding=-1), "padding"),
        (lambda: T.Compose([T.ToTensor(), 3]), "expected functions, got int"),
        (lambda: T.RandomCrop(9)(pixels(4, 4)), "9×9 does not fit"),
        (lambda: T.Normalize(0.5, 0.5)(pixels(4, 4)), "needs ToTensor before it"),
        (lambda: T.Normalize((1, 2), 1)(np.zeros((3, 4, 4))), "2 means for 3 channels"),
        (lambda: T.Normalize(1, (1, 2))(np.zeros((3, 4, 4))), "2 stds for 3 channels"),
        (lambda: T.Normalize(0, (1, 0.0, 1)), "std must not be 0"),
        (lambda: T.Normalize(0, np.zeros(3)), "std must not be 0"),
        (lambda: T.Normalize(0, 1e-60)(np.zeros((1, 2, 2), "float32")), "is 0 as float32"),
        (lambda: T.Normalize(float("inf"), 1), "infinite"),
        (lambda: T.Normalize([[1.0]], 1), "mean must be a number"),
        (lambda: T.Normalize("0.5", 1), "mean must be a number"),
        (lambda: T.Normalize(0, 1)(np.zeros((4, 4))), r"\(C, H, W\), got \(4, 4\)"),
        (lambda: T.Resize(2.7), "size"),
        (lambda: T.Resize("28"), "size"),
        (lambda: T.Resize(3, max_size=5)(pixels(2, 40)), "2×40 has no pixels at max_size 5"),
        (lambda: T.RandomCrop(np.float64(3)), "size"),
        (lambda: T.RandomCrop(3, padding=1.5), "padding"),
        (lambda: T.RandomHorizontalFlip(float("nan")), "p must be a number"),
        (lambda: T.Compose(T.ToTensor()), "functions in a list"),
        (lambda: T.Resize(3)(np.zeros((0, 4), "uint8")), "no pixels"),
        (lambda: T.Resize(3)(np.zeros((4, 4), bool)), "bools"),
        (lambda: T.Resize(3)(np.zeros((5, 4, 3))), "may be"),
        (lambda: T.ToTensor()(np.zeros(3)), r"\(3,\)"),
        (lambda: T.ToTensor()(np.zeros((2, 4, 4, 3))), r"\(2, 4, 4, 3\)"),
        (lambda: T.ToTensor()(pixels(3, 5, 6)), "looks like"),
        (lambda: T.ToTensor()(minicnn.zeros(3, 5, 6)), "already"),
        (lambda: T.Compose([T.Resize(3), T.ToTensor()])(minicnn.zeros(3, 5, 6)), "already"),
        (lambda: T.Compose([T.ToTensor(), T.ToTensor()])(pixels(5, 6)), "there twice"),
        (
            lambda: T.Compose([T.Normalize(0, 1), T.ToTensor()])(np.zeros((5, 6, 3))),
            "needs ToTensor",
        ),
        (lambda: T.Resize(3)(minicnn.zeros(1, 4, 4, requires_grad=True)), "records no gradient"),
        (lambda: T.Resize(3)([[1, 2], [3, 4]]), "expected an image.*got list"),
        (lambda: T.ToTensor()(None), "expected an image.*got NoneType"),
        (lambda: T.ToTensor()(np.array([["a"]])), "expected an image"),
        (lambda: T.ToTensor()(Image.new("P", (4, 4))), "places in a palette"),
        (lambda: batch(T.Compose([lambda x: None]), pixels(2, 4, 4)), "NoneType"),
        (lambda: batch(T.Compose([lambda x: (x, x), T.ToTensor()]), pixels(2, 4, 4)), "got tuple"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


# --- layouts -------------------------------------------------------------------------------------


def resized(x):
    """x (…, H, W) resized to 7×3 by PyTorch."""
    planes = torch.tensor(np.ascontiguousarray(x).reshape(1, -1, *x.shape[-2:]))
    y = torch.nn.functional.interpolate(planes, (7, 3), mode="bilinear", antialias=True)
    return y.numpy().reshape(*x.shape[:-2], 7, 3)


# Of each step the transform, for images of (h, w), and the same of x (…, H, W), axis by axis.
STEPS = {
    "resize": (lambda h, w: T.Resize((7, 3)), resized),
    "flip": (lambda h, w: T.RandomHorizontalFlip(1.0), lambda x: x[..., ::-1]),
    "no flip": (lambda h, w: T.RandomHorizontalFlip(0.0), lambda x: x),
    "pad": (
        lambda h, w: T.RandomCrop((h + 4, w + 4), padding=2),
        lambda x: np.pad(x, [*[(0, 0)] * (x.ndim - 2), (2, 2), (2, 2)]),
    ),
    "function": (lambda h, w: lambda image: image, lambda x: x),
}
LAYOUTS = {
    "plain": lambda images: images,
    "reversed": lambda images: np.ascontiguousarray(images[:, ::-1, ::-1])[:, ::-1, ::-1],
    "transposed": lambda images: np.ascontiguousarray(images.swapaxes(1, 2)).swapaxes(1, 2),
    "swapped bytes": lambda images: images.astype(images.dtype.newbyteorder()),
}


@settings(max_examples=200)
@given(
    before=st.lists(st.sampled_from(list(STEPS)), max_size=3),
    after=st.lists(st.sampled_from(list(STEPS)), max_size=3),
    channels=st.sampled_from([None, 1, 2, 3, 4, 9]),
    dtype=st.sampled_from(["uint8", "uint16", "int64", "float32", "float64"]),
    memory=st.sampled_from(list(LAYOUTS)),
    nested=st.integers(0, 7),
)
def test_every_pipeline_keeps_channels_apart(before, after, channels, dtype, memory, nested):
    floating = dtype.startswith("float")
    if floating and channels:  # as their Tensors are (C, H, W), see below
        before = [name for name in before if name != "function"]
    shape = (5, 6) if channels is None else (5, 6, channels)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(dtype)

    x = images.astype("float64") if channels is None else images.transpose(0, 3, 1, 2) * 1.0
    steps = []
    for name in [*before, "to tensor", *after]:
        if name == "to tensor":
            steps.append(T.ToTensor())
            x = (x[:, None] if channels is None else x) / (255 if dtype == "uint8" else 1)
            continue
        make, reference = STEPS[name]
        steps.append(make(*x.shape[-2:]))
        x = reference(x)
        if not floating and (dtype != "uint8" or len(steps) <= len(before)):
            x = x.round()
    pipeline = T.Compose([T.Compose(steps[:nested]), *steps[nested:]])

    dataset = ImageDataset(LAYOUTS[memory](images), [0, 1], pipeline)
    got = array(dataset.to(minicnn.get_default_device()).get_batch(placed(np.arange(2)), RNG)[0])
    assert got.dtype == ("float32" if dtype == "uint8" else dtype)
    # A half may have been rounded the other way, and resized since.
    atol = 1e-3 if floating else 2 / 255 if dtype == "uint8" else 2
    np.testing.assert_allclose(got, x, rtol=0, atol=atol)
    for i, image in enumerate(LAYOUTS[memory](images)):
        for alone in (dataset[i][0], pipeline(image)):
            np.testing.assert_allclose(array(alone), got[i], rtol=1e-6, atol=1e-5)


GEOMETRIC = [T.Resize((3, 7)), T.RandomHorizontalFlip(1.0), T.RandomCrop((9, 10), padding=2)]


@pytest.mark.parametrize("transform", GEOMETRIC, ids=named)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_whole_numbers_have_their_channels_last(transform, channels):
    image = pixels(5, 6, channels)
    planes = [array(transform(np.ascontiguousarray(image[..., c]))) for c in range(channels)]
    expected = np.stack(planes, axis=-1)
    assert np.array_equal(array(transform(image)), expected)
    assert np.array_equal(array(transform(Tensor(image))), expected)
    assert np.array_equal(batch(transform, image[None])[0], expected)


@pytest.mark.parametrize("transform", GEOMETRIC, ids=named)
@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6), (9, 5, 6), (2, 3, 5, 6)], ids=named)
def test_floating_point_tensors_have_their_height_and_width_last(transform, shape):
    x = np.random.default_rng(0).random(shape)
    planes = [array(transform(plane)) for plane in x.reshape(-1, *shape[-2:])]
    got = array(transform(Tensor(x)))
    np.testing.assert_allclose(got.reshape(-1, *got.shape[-2:]), planes, rtol=1e-12)


def test_a_batch_of_tensors_is_normalised_channel_by_channel():
    x = np.random.default_rng(0).random((2, 3, 4, 5))
    got = array(T.Normalize((1, 2, 3), 1)(Tensor(x)))
    np.testing.assert_allclose(got, x - np.array([1, 2, 3]).reshape(3, 1, 1), rtol=1e-12)


def test_whole_numbers_behind_to_tensor_are_channels_first():
    pipeline = T.Compose([T.ToTensor(), lambda x: (x * 255).to(minicnn.uint8), T.Resize((4, 3))])
    image = pixels(5, 6, 3)
    expected = interpolated(image.transpose(2, 0, 1), (4, 3))
    assert abs(array(pipeline(image)) - expected).max() <= 2
    assert abs(batch(pipeline, image[None])[0] - expected).max() <= 2


def test_a_colour_tensor_from_a_function_before_to_tensor_is_refused_in_both_ways():
    pipeline = T.Compose([lambda x: x.float(), T.ToTensor()])
    for call in (
        lambda: pipeline(Tensor(pixels(5, 6, 3))),
        lambda: batch(pipeline, pixels(2, 5, 6, 3)),
    ):
        with pytest.raises(TypeError, match="already"):
            call()


# --- element types -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["uint8", "bool", "int16", "uint16", "int32", "int64", "float16", "float32", "float64"]
)
def test_to_tensor_scales_bytes_alone_and_keeps_other_types(dtype):
    image = pixels(5, 6, 3).astype(dtype)
    got = array(T.ToTensor()(image))
    assert got.dtype == ("float32" if dtype == "uint8" else dtype)
    expected = image.transpose(2, 0, 1) / (255 if dtype == "uint8" else 1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "int64"])
def test_resizing_whole_numbers_reaches_the_whole_range(dtype):
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**40)), min(limits.max, 2**40)
    image = np.random.default_rng(0).integers(low, high, (6, 8), dtype, endpoint=True)
    got = array(T.Resize((4, 5))(image))
    assert got.dtype == dtype
    expected = interpolated(image[None].astype("float64"), (4, 5))[0]
    assert abs(got - expected).max() <= 0.51


def test_infinity_and_nan_are_no_error():
    image = np.ones((4, 4))
    image[0, 0], image[3, 3] = np.inf, np.nan
    assert np.isnan(array(T.Resize(2)(image))).all()


# --- images of other kinds -----------------------------------------------------------------------

# For each mode of PIL, an image of it and what torchvision's ToTensor makes of that.
COLOUR = Image.fromarray(pixels(5, 6, 3))
MODES = {
    "L": (Image.fromarray(pixels(5, 6)), pixels(1, 5, 6) / 255),
    "RGB": (COLOUR, pixels(5, 6, 3).transpose(2, 0, 1) / 255),
    "RGBA": (Image.fromarray(pixels(5, 6, 4)), pixels(5, 6, 4).transpose(2, 0, 1) / 255),
    "LA": (Image.fromarray(pixels(5, 6, 2)), pixels(5, 6, 2).transpose(2, 0, 1) / 255),
    "1": (Image.fromarray(pixels(5, 6) > 99), (pixels(1, 5, 6) > 99) * 1.0),
    "I": (Image.fromarray(pixels(5, 6).astype("int32")), pixels(1, 5, 6)),
    "I;16": (Image.fromarray(pixels(5, 6).astype("uint16") * 256), pixels(1, 5, 6) * 256.0),
    "F": (Image.fromarray(pixels(5, 6).astype("float32")), pixels(1, 5, 6)),
}


@pytest.mark.cpu
@pytest.mark.parametrize("mode", MODES)
def test_to_tensor_takes_pil_images(mode):
    image, expected = MODES[mode]
    assert image.mode == mode
    np.testing.assert_allclose(array(T.ToTensor()(image)), expected, rtol=1e-6)


@pytest.mark.cpu
@pytest.mark.parametrize("size", [(3, 7), (10, 4), (9, 13)], ids=named)
def test_resizing_a_pil_image_is_what_pil_makes(size):
    expected = np.asarray(COLOUR.resize(size[::-1], Image.Resampling.BILINEAR))
    got = array(T.Resize(size)(COLOUR))
    assert np.array_equal(got, expected)


@pytest.mark.cpu
def test_a_pil_image_may_come_from_a_function():
    pipeline = T.Compose([ImageOps.mirror, T.Resize((3, 7)), T.ToTensor()])
    expected = T.Compose([T.Resize((3, 7)), T.ToTensor()])(ImageOps.mirror(COLOUR))
    assert np.array_equal(array(pipeline(COLOUR)), array(expected))
    by_hand = T.Compose([lambda x: Image.fromarray(x.numpy()), *pipeline.transforms])
    together = batch(by_hand, np.asarray(COLOUR)[None])
    np.testing.assert_allclose(together[0], array(expected), rtol=1e-6)


@pytest.mark.cpu
def test_a_pil_image_that_a_function_makes_of_a_tensor_has_its_channels_last():
    def drawn(x):
        return Image.fromarray((x * 255).numpy().round().astype("uint8").transpose(1, 2, 0))

    pipeline = T.Compose([T.ToTensor(), drawn, T.Resize((7, 3)), T.ToTensor()])
    expected = array(T.Compose([T.Resize((7, 3)), T.ToTensor()])(COLOUR))
    np.testing.assert_allclose(array(pipeline(COLOUR)), expected, rtol=1e-6)
    np.testing.assert_allclose(batch(pipeline, np.asarray(COLOUR)[None])[0], expected, rtol=1e-6)


@pytest.mark.cpu
def test_a_memory_map_is_an_image_and_a_data_set(tmp_path: Path):
    images = np.memmap(tmp_path / "images", "uint8", "w+", shape=(4, 5, 6, 3))
    images[:] = pixels(4, 5, 6, 3)
    pipeline = T.Compose([T.Resize((3, 7)), T.ToTensor()])
    dataset = ImageDataset(
        np.memmap(tmp_path / "images", "uint8", "r", shape=(4, 5, 6, 3)), range(4)
    )
    dataset.transform = pipeline
    together = array(dataset.get_batch(placed(np.arange(4)), RNG)[0])
    np.testing.assert_allclose(array(pipeline(images[2])), together[2], rtol=1e-6)


# --- memory --------------------------------------------------------------------------------------

IDENTITIES = [
    None,
    T.Resize((5, 6)),
    T.Resize(5),
    T.RandomHorizontalFlip(0.0),
    T.RandomCrop((5, 6)),
    T.Normalize(0, 1),
    T.ToTensor(),
    T.Compose([]),
    T.Compose([lambda x: x]),
    lambda x: x,
]


@pytest.mark.cpu
@pytest.mark.parametrize("transform", IDENTITIES, ids=named)
@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 5, 6, 1), (2, 5, 6, 3)], ids=named)
def test_writing_into_a_sample_or_a_batch_leaves_the_data_set_alone(transform, shape):
    images = pixels(*shape)
    if isinstance(transform, T.Normalize):
        images, transform = images * 1.0, T.Compose([T.ToTensor(), transform])
    dataset = ImageDataset(images, [0, 1], transform)
    before = images.copy()
    dataset[0][0].fill_(7)
    dataset.get_batch(placed(np.arange(2)), RNG)[0].fill_(7)
    assert np.array_equal(images, before)


@pytest.mark.cpu
@pytest.mark.parametrize("transform", IDENTITIES[1:7], ids=named)
def test_writing_into_a_result_leaves_the_image_alone_which_may_be_read_only(transform):
    image = pixels(5, 6) * (1.0 if isinstance(transform, T.Normalize) else 1)
    image = image[None] if isinstance(transform, T.Normalize) else image
    image = Tensor(image.astype("float32")) if isinstance(transform, T.Normalize) else image
    before = np.array(image)
    np.asarray(image).flags.writeable = False
    transform(image).fill_(7)
    assert np.array_equal(np.array(image), before)


@pytest.mark.cpu
def test_resizing_pictures_of_many_sizes_keeps_nothing():
    resize = T.Resize((200, 200))
    resize(pixels(99, 300))
    tracemalloc.start()
    try:
        for side in range(100, 130):
            resize(pixels(side, 300))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(make, id=name)
        for name, make in {
            "NumPy's float64": np.float64,
            "NumPy's float32": np.float32,
            "an array without axes": np.array,
            "an array": lambda v: np.array([v]),
            "a tensor": lambda v: minicnn.tensor([v]),
            "a list of tensors": lambda v: [minicnn.tensor(v)],
            "a list of NumPy's": lambda v: [np.float32(v)],
        }.items()
    ],
)
def test_a_mean_and_a_deviation_are_whatever_is_a_number(number):
    x = np.random.default_rng(0).random((2, 1, 4, 4)).astype("float32")
    got = batch(T.Normalize(number(0.5), number(0.25)), x)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, batch(T.Normalize(0.5, 0.25), x))


@pytest.mark.parametrize(
    "size", [np.int64(3), np.array(3), [np.int32(3)], (np.uint8(3), 4), np.array([3, 4])], ids=named
)
def test_a_size_is_whatever_is_a_whole_number(size):
    plain = [int(n) for n in np.atleast_1d(size)]
    crop = plain if len(plain) == 2 else plain * 2
    assert T.RandomCrop(size, padding=np.int64(1))(pixels(5, 6)).shape == tuple(crop)
    assert T.Resize(size)(pixels(5, 6)).shape == T.Resize(plain)(pixels(5, 6)).shape


# --- functions and classes of one's own ----------------------------------------------------------


def test_what_the_last_function_returns_is_collated():
    pipeline = T.Compose([T.ToTensor(), lambda x: (x, -x)])
    dataset = ImageDataset(pixels(2, 5, 6), [0, 1], pipeline).to(minicnn.get_default_device())
    first, second = dataset.get_batch(placed(np.arange(2)), RNG)[0]
    assert np.array_equal(array(first), -array(second))
    assert first.shape == (2, 1, 5, 6)
    assert np.array_equal(array(dataset[1][0][1]), array(second)[1])


def test_images_of_different_shapes_are_refused_and_the_first_other_one_named():
    shapes = iter([(4, 4), (4, 4), (3, 4)])
    pipeline = T.Compose([lambda x: minicnn.zeros(next(shapes)), T.ToTensor()])
    with pytest.raises(ValueError, match=r"sample 2 .* \(3, 4\), sample 0 of shape \(4, 4\)"):
        batch(pipeline, pixels(3, 4, 4))


def test_a_batch_that_lost_an_image_is_refused():
    class Half(T.Transform):
        def batch(self, images, rng):
            return images[::2]

    dataset = ImageDataset(pixels(4, 5, 6), range(4), Half()).to(minicnn.get_default_device())
    with pytest.raises(ValueError, match="2 images of 4"):
        dataset.get_batch(placed(np.arange(4)), RNG)


class Called(T.Resize):
    """A Resize whose calls do more; `batch` knows nothing of it."""

    def __call__(self, image, channels_last=None):
        return super().__call__(image, channels_last) * 0 + 3


class Batched(T.Resize):
    """A Resize whose batches do more."""

    def batch(self, images, rng):
        return super().batch(images, rng) * 0 + 3


@pytest.mark.parametrize("transform", [Called(3), Batched(3)], ids=["called", "batched"])
@pytest.mark.parametrize("inside", [False, True])
def test_what_a_subclass_defines_anew_holds_for_samples_and_for_batches(transform, inside):
    pipeline = T.Compose([transform]) if inside else transform
    dataset = ImageDataset(pixels(2, 5, 6), [0, 1], pipeline).to(minicnn.get_default_device())
    assert (array(dataset[0][0]) == 3).all()
    assert (array(dataset.get_batch(placed(np.arange(2)), RNG)[0]) == 3).all()


class OwnToTensor(T.Transform):
    """What ToTensor does, by somebody else."""

    def batch(self, images, rng):
        return T.ToTensor().batch(images, rng)


class OwnCompose(T.Compose):
    """A Compose that shows its images."""

    def batch(self, images, rng):
        return super().batch(images, rng)


TO_TENSOR = {
    "a function": lambda x: T.ToTensor()(x),
    "a transform": OwnToTensor(),
    "a Compose": OwnCompose([T.ToTensor()]),
    "a nested Compose": OwnCompose([OwnCompose([T.ToTensor()])]),
}


@pytest.mark.parametrize("name", TO_TENSOR)
@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 5, 6, 3)], ids=named)
def test_a_pipeline_may_make_its_tensors_in_its_own_way(name, shape):
    images = pixels(*shape)
    expected = batch(T.Compose([T.ToTensor(), T.Resize((7, 3))]), images)
    pipeline = T.Compose([TO_TENSOR[name], T.Resize((7, 3))])
    dataset = ImageDataset(images, [0, 1], pipeline).to(minicnn.get_default_device())
    together = array(dataset.get_batch(placed(np.arange(2)), RNG)[0])
    np.testing.assert_allclose(together, expected, rtol=1e-6)
    np.testing.assert_allclose(array(dataset[1][0]), expected[1], rtol=1e-6)
