"""Crops, colours and erasing, against their formulas, which are written anew here, and Pillow."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.arguments import ArgumentError
from minicnn.random import Generator
from minicnn.tensor import Tensor
from minicnn.vision import transforms as T
from minicnn.vision.datasets import FakeData
from minicnn.vision.image_dataset import ImageDataset

from .arrays import array, named, placed


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def rng(seed=0):
    return Generator().manual_seed(seed)


def batch(transform, images, seed=0):
    """What a transform makes of a batch of images on the device under test."""
    return array(Tensor(transform.batch(placed(images), rng(seed))))


EACH = {
    "center crop": T.CenterCrop((5, 4)),
    "center crop, padded": T.CenterCrop((9, 12)),
    "crop": T.RandomCrop(5, padding=(1, 2)),
    "resized crop": T.RandomResizedCrop((6, 5)),
    "jitter": T.ColorJitter(0.5, 0.5, 0.5, 0.2),
    "brightness": T.ColorJitter(0.5),
    "erasing": T.RandomErasing(1.0, value=7),
    "grayscale": T.Grayscale(1),
    "grayscale, 3": T.Grayscale(3),
    "flip": T.RandomHorizontalFlip(),
    "resize": T.Resize((4, 9)),
}
each = pytest.mark.parametrize("name", EACH)


@each
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_each_gives_the_same_in_every_layout(name, dtype):
    """(N, H, W, C), (N, C, H, W), and (N, H, W) for one channel; and twice in a row."""
    transform = EACH[name]
    images = pixels(4, 8, 7, 3)
    images = images if dtype == "uint8" else (images / 255).astype("float32")
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    expected = batch(transform, first)
    assert np.array_equal(batch(transform, first), expected)
    assert expected.dtype == dtype
    last = array(Tensor(transform.in_layout(placed(images), rng(), True)))
    assert np.array_equal(last.transpose(0, 3, 1, 2), expected)
    plain, one = batch(transform, first[:, 0]), batch(transform, first[:, :1])
    if plain.ndim == 4 and dtype == "uint8":  # bytes (H, W) have become (H, W, 3)
        plain = plain.transpose(0, 3, 1, 2)
    assert np.array_equal(plain.reshape(one.shape), one)


@each
def test_each_draws_the_same_for_an_image_of_a_batch_whatever_the_device(name):
    images = pixels(5, 8, 7, 3)
    on_host = EACH[name].batch(images, rng(3))
    np.testing.assert_allclose(batch(EACH[name], images, seed=3), on_host, atol=1)


@each
def test_each_makes_new_memory_and_leaves_its_images_alone(name):
    images = pixels(3, 8, 7, 3)
    before = images.copy()
    images.flags.writeable = False
    EACH[name].batch(images, rng())[:] = 1
    assert np.array_equal(images, before)


@each
@pytest.mark.parametrize("shape", [(0, 8, 7), (0, 8, 7, 3)], ids=named)
def test_each_takes_a_batch_of_no_images(name, shape):
    assert len(batch(EACH[name], np.zeros(shape, "uint8"))) == 0


@each
def test_each_works_in_a_pipeline_before_and_after_to_tensor(name):
    images = pixels(4, 8, 7, 3)
    for steps in ([EACH[name], T.ToTensor()], [T.ToTensor(), EACH[name]]):
        data = ImageDataset(images, range(4), T.Compose(steps))
        got = data.get_batch(np.arange(4), rng())[0].numpy()
        assert got.ndim == 4
        assert got.shape[1] in (1, 3)
        assert data[0][0].shape == got.shape[1:]


# --- crops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 4, (5, 2), (8, 7), (9, 7), (9, 10), (3, 12)], ids=named)
def test_a_central_crop_is_the_middle_or_has_zeros_around_it(size):
    image = pixels(8, 7)
    ch, cw = np.atleast_1d(size)[[0, -1]]
    big = np.zeros((8 + 40, 7 + 40), "uint8")
    big[20:28, 20:27] = image
    # Less is padded above and on the left, and a half is rounded to the even pixel.
    top = 20 - (ch - 8) // 2 if ch > 8 else 20 + round((8 - ch) / 2)
    left = 20 - (cw - 7) // 2 if cw > 7 else 20 + round((7 - cw) / 2)
    assert np.array_equal(batch(T.CenterCrop(size), image[None])[0], big[top:, left:][:ch, :cw])


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_a_padded_crop_is_a_window_of_numpys_padding(mode):
    image = pixels(6, 5)
    crop = T.RandomCrop((10, 11), padding=(3, 2), padding_mode=mode)
    assert np.array_equal(batch(crop, image[None])[0], np.pad(image, ((2, 2), (3, 3)), mode))


def test_padding_has_a_number_for_each_side_and_is_filled():
    image = pixels(3, 4)
    crop = T.RandomCrop((10, 8), padding=(1, 2, 3, 5), fill=9)
    expected = np.pad(image, ((2, 5), (1, 3)), constant_values=9)
    assert np.array_equal(batch(crop, image[None])[0], expected)


@pytest.mark.cpu
def test_a_resized_crop_is_some_piece_of_the_image_resized_as_pillow_does():
    image = pixels(9, 12, 3)
    pil = Image.fromarray(image)
    crop = T.RandomResizedCrop((4, 5), scale=(0.2, 0.6))

    def resized(piece):
        """To (4, 5), with the axes in the order in which every Pillow since 13 takes them."""
        w, h = piece.size
        if h - 4 > max(0, 2 * (w - 5)):
            piece = piece.resize((w, 4), Image.BILINEAR)
        return np.asarray(piece.resize((5, 4), Image.BILINEAR)).tobytes()

    made = {
        resized(pil.crop((x, y, x + w, y + h)))
        for w in range(1, 13)
        for h in range(1, 10)
        for x in range(13 - w)
        for y in range(10 - h)
    }
    crops = crop.batch(np.stack([image] * 50), rng())
    assert len({crop.tobytes() for crop in crops}) > 30
    assert all(crop.tobytes() in made for crop in crops)


@pytest.mark.cpu
def test_rectangles_have_the_areas_and_ratios_asked_for():
    found = T.crop.rectangles(rng(), 3000, (90, 120), (0.1, 0.5), (0.5, 2.0), (90, 120))
    top, left, h, w = found.T
    assert ((top >= 0) & (left >= 0) & (top + h <= 90) & (left + w <= 120)).all()
    area, ratio = h * w / (90 * 120), w / h
    assert 0.09 < area.min() < 0.11
    assert 0.47 < area.max() < 0.52
    assert 0.48 < ratio.min() < 0.55
    assert 1.8 < ratio.max() < 2.1
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.05)
    assert (top / (91 - h)).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("shape", "window"),
    [((40, 3), (18, 0, 4, 3)), ((3, 40), (0, 18, 3, 4)), ((10, 11), (0, 0, 10, 11))],
    ids=named,
)
def test_where_no_rectangle_fits_the_middle_is_taken(shape, window):
    image, (top, left, h, w) = pixels(*shape), window
    crop = T.RandomResizedCrop((h, w), scale=(5, 5))
    expected = image[top : top + h, left : left + w]
    assert np.array_equal(crop(image).numpy(), expected)


# --- erasing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 200, (1, 2, 3)])
def test_erasing_paints_one_rectangle_of_the_size_asked_for(value):
    images = np.full((200, 3, 20, 30), 99, "uint8")
    got = batch(T.RandomErasing(1.0, scale=(0.1, 0.3), value=value), images)
    colour = np.broadcast_to(np.reshape(value, (-1, 1, 1)), (3, 20, 30))
    for image in got:
        changed = (image != 99).any(axis=0)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        window = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert window.all()
        assert 0.08 < window.size / 600 < 0.33
        assert np.array_equal(image[:, changed], colour[:, changed])


def test_erasing_happens_with_its_probability():
    images = np.ones((4000, 1, 9, 9), "uint8")
    erased = (batch(T.RandomErasing(0.3), images) == 0).any(axis=(1, 2, 3))
    assert erased.mean() == pytest.approx(0.3, abs=0.03)


def test_random_values_are_normal_noise():
    images = np.full((300, 1, 20, 20), 9, "float32")
    got = batch(T.RandomErasing(1.0, value="random"), images)
    noise = got[got != 9]
    assert (noise.mean(), noise.std()) == pytest.approx((0, 1), abs=0.05)


# --- colours -------------------------------------------------------------------------------------


@pytest.mark.cpu
def test_bytes_are_as_grey_as_pillows():
    image = pixels(40, 40, 3)
    expected = np.asarray(Image.fromarray(image).convert("L"))
    assert np.array_equal(T.Grayscale()(image).numpy()[..., 0], expected)
    assert np.array_equal(T.Grayscale(3)(image).numpy(), np.stack([expected] * 3, 2))


def test_numbers_are_as_grey_as_the_weights_say():
    x = np.random.default_rng(0).random((2, 3, 5, 6))
    expected = 0.2989 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    np.testing.assert_allclose(batch(T.Grayscale(), x)[:, 0], expected, rtol=1e-12)


def blend(x, y, f, most):
    return np.clip(f * x.astype("float64") + (1 - f) * y, 0, most)


def adjusted(x, kind, f):
    """An image (3, H, W) changed by one kind of change, in float64, by the definitions."""
    most = 255 if x.dtype == np.uint8 else 1
    grey = np.tensordot([0.2989, 0.587, 0.114], x.astype("float64"), 1)
    grey = np.floor(grey) if x.dtype == np.uint8 else grey
    if kind == "hue":
        turned = np.zeros(x.shape)
        for i in np.ndindex(*x.shape[1:]):
            h, s, v = colorsys.rgb_to_hsv(*(x[(slice(None), *i)] / most))
            turned[(slice(None), *i)] = colorsys.hsv_to_rgb((h + f) % 1, s, v)
        return turned * most
    return blend(x, {"brightness": 0, "contrast": grey.mean(), "saturation": grey}[kind], f, most)


FACTORS = {
    "brightness": [0, 0.3, 1.7],
    "contrast": [0, 0.4, 1.9],
    "saturation": [0, 0.6, 1.5],
    "hue": [-0.5, -0.1, 0.3],
}


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize(("kind", "f"), [(k, f) for k, fs in FACTORS.items() for f in fs])
def test_each_change_of_colours_is_its_definition(kind, f, dtype):
    x = pixels(3, 6, 7)
    x[:, 0] = x[0, 0]  # shades of grey, which have no hue
    x = x if dtype == "uint8" else (x / 255).astype(dtype)
    got = batch(T.ColorJitter(**{kind: (f, f)}), x[None])[0]
    tolerance = 1.001 if dtype == "uint8" else 2e-6
    np.testing.assert_allclose(got.astype("float64"), adjusted(x, kind, f), atol=tolerance)


def test_changes_come_in_random_order():
    x = (pixels(1, 3, 4, 4) / 255).astype("float32")
    jitter = T.ColorJitter(brightness=(2, 2), contrast=(0.5, 0.5))
    made = {image.tobytes() for image in batch(jitter, np.repeat(x, 100, 0))}
    assert len(made) == 2


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_factors_are_drawn_evenly_from_their_interval(kind):
    x = np.zeros((3000, 3, 2, 2), "float32")
    x[:, 0], x[:, 1, :, 0] = 0.2, 0.4
    if kind == "brightness":
        factors = batch(T.ColorJitter(brightness=0.5), x)[:, 0, 0, 0] / 0.2
        assert factors.min() == pytest.approx(0.5, abs=0.01)
        assert factors.max() == pytest.approx(1.5, abs=0.01)
        assert factors.mean() == pytest.approx(1, abs=0.02)
    else:
        assert len(np.unique(batch(T.ColorJitter(**{kind: 0.5}), x)[:, 0, 0, 0])) > 2000


def test_shades_of_grey_have_no_saturation_and_no_hue():
    x = pixels(2, 5, 6)
    assert np.array_equal(batch(T.ColorJitter(saturation=0.5, hue=0.3), x), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.Grayscale(2), "num_output_channels must be 1 or 3"),
        (lambda: T.Grayscale(True), "num_output_channels must be 1 or 3"),
        (lambda: T.Grayscale()(pixels(5, 6, 4)), "expected images of 1 or 3 channels"),
        (lambda: T.ColorJitter(-1), "brightness must be a number at least 0"),
        (lambda: T.ColorJitter(contrast=(2, 1)), "contrast must be two numbers"),
        (lambda: T.ColorJitter(saturation=(-1, 1)), "saturation must be a number at least 0"),
        (lambda: T.ColorJitter(hue=0.6), "hue must be a number at least 0 and at most 0.5"),
        (lambda: T.ColorJitter(hue=(-0.6, 0)), "hue must be a number at least -0.5"),
        (lambda: T.ColorJitter(brightness="much"), "brightness must be"),
        (lambda: T.ColorJitter(0.5)(pixels(4, 4).astype("int32")), "must be uint8 or floating"),
        (lambda: T.ColorJitter(0.5)(pixels(5, 6, 2)), "1 or 3 channels"),
        (lambda: T.CenterCrop(0), "size must be one or two ints"),
        (lambda: T.CenterCrop((1, 2, 3)), "size must be one or two ints"),
        (lambda: T.RandomCrop(3, padding=(1, 2, 3)), "padding must be one, two or four"),
        (lambda: T.RandomCrop(3, padding_mode="wrap"), "padding_mode must be one of"),
        (lambda: T.RandomCrop(3, pad_if_needed=True), "pad_if_needed must be False"),
        (lambda: T.RandomCrop(3, fill="black"), "fill must be a number"),
        (lambda: T.RandomResizedCrop(0), "size must be one or two ints"),
        (lambda: T.RandomResizedCrop(3, scale=(1, 0.5)), "scale must be two numbers"),
        (lambda: T.RandomResizedCrop(3, scale=0.5), "scale must be two numbers"),
        (lambda: T.RandomResizedCrop(3, ratio=(0, 1)), "ratio must be a number above 0"),
        (lambda: T.RandomResizedCrop(3)(np.zeros((0, 4), "uint8")), "no pixels"),
        (lambda: T.RandomErasing(2), "p must be a number"),
        (lambda: T.RandomErasing(scale=(0.5, 2)), "scale must be a number at least 0 and at most"),
        (lambda: T.RandomErasing(ratio=(-1, 1)), "ratio must be a number above 0"),
        (lambda: T.RandomErasing(value="black"), "value must be a number"),
        (lambda: T.RandomErasing(inplace=True), "inplace must be False"),
        (lambda: T.RandomErasing(1, value=(1, 2))(pixels(5, 6, 3)), "2 numbers for 3 channels"),
        (lambda: T.RandomErasing(1, value="random")(pixels(5, 6)), "needs floating-point"),
        (lambda: T.PILToTensor()(minicnn.zeros(3, 5, 6)), "already"),
        (lambda: T.Compose([T.PILToTensor(), T.ToTensor()])(pixels(5, 6)), "there twice"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(make, message):
    with pytest.raises((ArgumentError, TypeError), match=rf"^\w+: .*{message}"):
        make()


@pytest.mark.parametrize("value", [300, 256.0, float("nan")])
@pytest.mark.parametrize("kind", ["RandomErasing", "RandomCrop"])
def test_a_value_that_is_no_byte_is_refused_by_name(kind, value):
    paint = (
        T.RandomCrop(3, 1, fill=value) if kind == "RandomCrop" else T.RandomErasing(1, value=value)
    )
    with pytest.raises(RuntimeError, match=f"^{kind}: .* does not fit into uint8"):
        paint(pixels(5, 6))


# --- tensors, and how transforms are printed -----------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_pil_to_tensor_moves_channels_and_scales_nothing(dtype):
    images = pixels(2, 5, 6, 3).astype(dtype)
    got = array(Tensor(T.PILToTensor().batch(placed(images), rng())))
    assert np.array_equal(got, images.transpose(0, 3, 1, 2))
    assert got.dtype == dtype


def test_whole_numbers_that_can_only_have_their_channels_first_do():
    x = pixels(3, 8, 9)
    got = array(T.Resize((4, 5))(Tensor(x)))
    expected = array(T.Resize((4, 5))(Tensor(np.ascontiguousarray(x.transpose(1, 2, 0)))))
    assert np.array_equal(got.transpose(1, 2, 0), expected)


@pytest.mark.cpu
@pytest.mark.parametrize(
    "text",
    [
        "ToTensor()",
        "PILToTensor()",
        "Resize(size=256, interpolation=bilinear, max_size=None, antialias=True)",
        "Resize(size=(3, 4), interpolation=bicubic, max_size=None, antialias=True)",
        "CenterCrop(size=(3, 3))",
        "RandomCrop(size=(3, 3), padding=4)",
        "RandomCrop(size=(3, 3), padding=None)",
        "RandomResizedCrop(size=(3, 3), scale=(0.08, 1.0), ratio=(0.75, 1.3333),"
        " interpolation=bilinear, antialias=True)",
        "RandomHorizontalFlip(p=0.5)",
        "Grayscale(num_output_channels=3)",
        "ColorJitter(brightness=(0.5, 1.5), contrast=None, saturation=None, hue=(-0.25, 0.25))",
        "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=(1, 2), inplace=False)",
        "Normalize(mean=(0.5,), std=(0.25,))",
        "Compose(\n    ToTensor()\n    Compose(\n    PILToTensor()\n)\n)",
    ],
)
def test_transforms_are_printed_as_users_know_them(text):
    names = {k: v for k, v in vars(T).items() if isinstance(v, type)}
    modes = {mode.value: mode for mode in T.InterpolationMode}
    others = {
        "Compose": lambda: T.Compose([T.ToTensor(), T.Compose([T.PILToTensor()])]),
        "ColorJitter": lambda: T.ColorJitter(0.5, hue=0.25),
    }
    make = others.get(text.partition("(")[0], lambda: eval(text, {**names, **modes}))
    made = make()
    assert repr(made) == text


# --- made-up data --------------------------------------------------------------------------------


@pytest.mark.cpu
def test_fake_data_is_drawn_by_number():
    data, shifted = FakeData(9, (3, 6, 5)), FakeData(4, (3, 6, 5), random_offset=5)
    for i in range(4):
        (image, label), (same, also) = data[i + 5], shifted[i]
        assert np.array_equal(image.numpy(), same.numpy())
        assert label == also == data.targets[i + 5].item()
    assert image.shape == (6, 5, 3)
    assert image.dtype == minicnn.uint8
    assert FakeData(1, (1, 4, 5))[0][0].shape == (4, 5)


def test_batches_of_images_that_are_not_in_memory_are_where_the_data_set_was_put():
    data = FakeData(9, (3, 6, 5), 4, T.ToTensor()).to(minicnn.get_default_device())
    images, labels = data.get_batch(placed(np.array([7, 2])), rng())
    assert images.device == labels.device == minicnn.get_default_device()
    assert np.array_equal(array(images)[0], data[7][0].numpy())


@pytest.mark.cpu
def test_fake_data_makes_batches_and_parts():
    data = FakeData(9, (3, 6, 5), 4, T.ToTensor())
    images, labels = data.get_batch(np.array([7, 2]), rng())
    assert np.array_equal(images.numpy()[0], data[7][0].numpy())
    part = data.part(slice(7, None), None)
    assert np.array_equal(part.targets.numpy()[0], labels.numpy()[0])
    np.testing.assert_allclose(T.ToTensor()(part[0][0]).numpy(), data[7][0].numpy())
    assert len(data.classes) == 4


@pytest.mark.cpu
@pytest.mark.parametrize(
    "arguments",
    [
        {"size": -1},
        {"image_size": (3, 4)},
        {"image_size": 5},
        {"image_size": (0, 4, 4)},
        {"num_classes": 0},
        {"random_offset": 0.5},
    ],
)
def test_fake_data_of_no_size_is_refused(arguments):
    with pytest.raises(ArgumentError, match=f"FakeData: {next(iter(arguments))}"):
        FakeData(**arguments)
