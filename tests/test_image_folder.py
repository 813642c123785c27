"""Pictures in folders: what becomes of every kind of them, and what is refused."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import minicnn
from minicnn.arguments import ArgumentError
from minicnn.random import Generator
from minicnn.utils.data import DataLoader
from minicnn.vision import transforms as T
from minicnn.vision.datasets import FolderError, ImageFolder
from minicnn.vision.datasets.picture import Look, PictureError, look, read_picture

pytestmark = pytest.mark.cpu


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def picture(seed=0, size=(12, 10)):
    return Image.fromarray(pixels(*size, 3, seed=seed))


def saved(image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three pictures of cats and two of dogs, of one size, without loss."""
    for i in range(3):
        saved(picture(i), tmp_path / "cat" / f"{i}.png")
    saved(picture(3), tmp_path / "dog" / "a.bmp")
    saved(picture(4), tmp_path / "dog" / "deep" / "b.png")
    return tmp_path


def test_folders_are_classes_and_pictures_within_them_samples(folder):
    data = ImageFolder(folder)
    assert data.classes == ["cat", "dog"]
    assert data.class_to_idx == {"cat": 0, "dog": 1}
    assert data.targets.tolist() == [0, 0, 0, 1, 1]
    assert [os.path.relpath(path, folder) for path, _ in data.samples] == [
        os.path.join(*parts)
        for parts in [("cat", "0.png"), ("cat", "1.png"), ("cat", "2.png"), ("dog", "a.bmp")]
    ] + [os.path.join("dog", "deep", "b.png")]
    for i in range(5):
        assert np.array_equal(data[i][0].numpy(), pixels(12, 10, 3, seed=i))


@pytest.mark.parametrize("memory", [0, 5 * 360 - 1, 5 * 360, 1 << 30])
def test_pictures_are_kept_if_they_fit_and_give_the_same_batches_if_not(folder, memory):
    data = ImageFolder(folder, T.ToTensor(), memory=memory)
    assert data.in_memory == (memory >= 5 * 360)
    images, labels = data.get_batch(np.array([4, 0]), Generator())
    expected = np.stack([pixels(12, 10, 3, seed=i) for i in (4, 0)]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images.numpy(), expected / 255, rtol=1e-6)
    assert labels.tolist() == [1, 0]


def test_random_transforms_of_pictures_that_are_read_depend_on_no_thread(folder):
    pipeline = T.Compose([T.RandomCrop((6, 6), padding=2), T.ToTensor()])
    data = ImageFolder(folder, pipeline, memory=0)

    def batches(workers):
        generator = Generator().manual_seed(1)
        loader = DataLoader(data, 2, shuffle=True, generator=generator, num_workers=workers)
        return [images.numpy() for images, _ in loader]

    for one, other in zip(batches(0), batches(3), strict=True):
        assert np.array_equal(one, other)


def test_different_sizes_are_read_as_needed_and_a_size_makes_them_one(folder):
    saved(picture(9, (20, 30)), folder / "dog" / "c.png")
    assert not ImageFolder(folder).in_memory
    data = ImageFolder(folder, size=(6, 5))
    assert data.data.shape == (6, 6, 5, 3)
    expected = ImageOps.fit(picture(9, (20, 30)), (5, 6), Image.Resampling.BILINEAR)
    assert np.array_equal(data[4][0].numpy(), np.asarray(expected))


def test_different_sizes_in_a_batch_are_refused_with_their_names(folder):
    saved(picture(9, (20, 30)), folder / "dog" / "c.png")
    data = ImageFolder(folder)
    with pytest.raises(FolderError, match=r"0\.png is .*12, 10, 3.*c\.png.*20, 30, 3.*Resize"):
        data.get_batch(np.array([0, 4]), Generator())


def test_a_part_has_the_samples_asked_for(folder):
    for memory in (0, 1 << 30):
        part = ImageFolder(folder, memory=memory).part(np.array([4, 1]), None)
        assert np.array_equal(part[0][0].numpy(), pixels(12, 10, 3, seed=4))
        assert part.targets.tolist() == [1, 0]
        assert [os.path.basename(path) for path, _ in part.samples] == ["b.png", "1.png"]


# --- kinds of pictures ---------------------------------------------------------------------------


def deep(values):
    return Image.fromarray(values.astype("uint16") * 257)


COLOUR = picture()
KINDS = {
    "RGB": (COLOUR, "png", np.asarray(COLOUR)),
    "L": (COLOUR.convert("L"), "png", np.asarray(COLOUR.convert("L").convert("RGB"))),
    "1": (COLOUR.convert("1"), "png", np.asarray(COLOUR.convert("1").convert("RGB"))),
    "palette": (COLOUR.quantize(8), "png", np.asarray(COLOUR.quantize(8).convert("RGB"))),
    "16 bits": (deep(pixels(12, 10)), "png", np.repeat(pixels(12, 10)[..., None], 3, 2)),
    "16 bits, TIFF": (deep(pixels(12, 10)), "tif", np.repeat(pixels(12, 10)[..., None], 3, 2)),
    "CMYK": (COLOUR.convert("CMYK"), "tif", np.asarray(COLOUR.convert("CMYK").convert("RGB"))),
    "GIF": (COLOUR.quantize(8), "gif", np.asarray(COLOUR.quantize(8).convert("RGB"))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_mode_becomes_colours_of_8_bits(tmp_path, kind):
    image, end, expected = KINDS[kind]
    saved(image, tmp_path / "a" / f"x.{end}")
    assert np.array_equal(ImageFolder(tmp_path)[0][0].numpy(), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    image = Image.new("RGBA", (4, 4), (9, 9, 9, 0)).convert("LA" if mode == "LA" else "RGBA")
    options = {}
    if mode == "P":
        image, options = Image.new("P", (4, 4)), {"transparency": 0}
        image.putpalette([9, 9, 9])
    saved(image, tmp_path / "a" / "x.png", **options)
    assert (ImageFolder(tmp_path).data == 255).all()


@pytest.mark.parametrize("end", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_upright_as_the_camera_noted_it(tmp_path, turn, end):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = saved(picture(), tmp_path / "a" / f"x.{end}", exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    data = ImageFolder(tmp_path)
    assert np.array_equal(data[0][0].numpy(), expected)
    assert data.data.shape[1:3] == ((10, 12) if turn > 4 else (12, 10))


@pytest.mark.parametrize(("grey", "mode"), [(True, "L"), (False, "RGB")])
def test_auto_is_grey_where_no_picture_has_colours(tmp_path, grey, mode):
    saved(picture().convert("L"), tmp_path / "a" / "x.png")
    saved(picture().convert("L" if grey else "RGB"), tmp_path / "a" / "y.png")
    assert ImageFolder(tmp_path, mode="auto").mode == mode
    assert ImageFolder(tmp_path, mode="auto").data.ndim == (3 if grey else 4)


# --- what is wrong -------------------------------------------------------------------------------


def content(image, form, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


JPEG, PNG = content(picture(0, (60, 70)), "JPEG"), content(picture(0, (60, 70)), "PNG")
FRAMES = {"save_all": True, "append_images": [picture(1).quantize(8)]}
WRONG = {
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"This is no picture at all.", "is no picture that Pillow knows"),
    "short.jpg": (JPEG[: len(JPEG) // 2], "is broken: "),
    "short.png": (PNG[: len(PNG) // 2], "is broken: "),
    "header.png": (PNG[:20], "is "),
    "changed.png": (PNG[:200] + b"xxxx" + PNG[204:], "is broken: "),
    "named.jpg": (PNG, "is wrongly named: by its content it is PNG"),
    "named.txt": (PNG, "is wrongly named"),
    "nameless": (JPEG, "is wrongly named"),
    "moving.gif": (content(picture().quantize(8), "GIF", **FRAMES), "is animated: 2 pictures"),
    "moving.webp": (content(picture(), "WEBP", **FRAMES), "is animated: 2 pictures"),
    "moving.png": (content(picture(), "PNG", **FRAMES), "is animated: 2 pictures"),
    "pages.tif": (content(picture(), "TIFF", **FRAMES), "is animated: 2 pictures"),
    "floating.tif": (content(Image.new("F", (4, 4)), "TIFF"), "has floating-point pixels"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_what_cannot_be_used_is_refused_by_name_or_left_out(folder, name, memory):
    wrong, complaint = WRONG[name]
    (folder / "cat" / name).write_bytes(wrong)
    with pytest.raises(FolderError) as caught:
        ImageFolder(folder, memory=memory)
    message = str(caught.value)
    assert f"1 of 6 pictures can't be used: {os.path.join('cat', name)} {complaint}" in message
    assert "\n" not in message
    data = ImageFolder(folder, memory=memory, skip_broken=True)
    assert [os.path.basename(path) for path, _ in data.skipped] == [name]
    assert data.targets.tolist() == [0, 0, 0, 1, 1]
    assert np.array_equal(data[4][0].numpy(), pixels(12, 10, 3, seed=4))
    assert "Skipped: 1 " in repr(data)


FORMS = ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "TGA", "ICO"]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMS), st.data())
def test_whatever_a_file_holds_is_a_picture_or_one_line(tmp_path_factory, form, data):
    whole = bytearray(content(picture(0, (16, 16)).quantize(16).convert("RGB"), form))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"fuzz.{form.lower()}"
    end = data.draw(st.integers(0, len(whole))) if data.draw(st.booleans()) else None
    path.write_bytes(whole[:end])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in (look, read_picture):
            try:
                made = read(path)
            except PictureError:
                continue
            assert isinstance(made, Look) or (made.dtype == "uint8" and made.shape[2] == 3)


@pytest.mark.parametrize("side", [50_000, 12_000])
def test_a_decompression_bomb_is_huge(folder, side):
    bomb = bytearray(content(Image.new("1", (1, 1)), "BMP"))
    bomb[18:26] = side.to_bytes(4, "little") * 2
    (folder / "cat" / "bomb.bmp").write_bytes(bomb)
    with pytest.raises(FolderError, match=rf"bomb\.bmp is huge: {side}×{side}|bomb\.bmp is huge"):
        ImageFolder(folder)


def test_many_wrong_pictures_are_counted_and_a_few_named(folder):
    for i in range(9):
        (folder / "cat" / f"x{i}.jpg").touch()
    with pytest.raises(FolderError, match=r"9 of 14 .*x4\.jpg is empty; and 4 more; repair") as e:
        ImageFolder(folder)
    assert "x5" not in str(e.value)


def test_other_files_are_passed_over_and_counted(folder):
    for name in ("notes.txt", "cat/labels.csv", ".DS_Store", "cat/.hidden.jpg"):
        (folder / name).write_text("text")
    (folder / ".git").mkdir()
    data = ImageFolder(folder)
    assert (len(data), data.others, data.classes) == (5, 2, ["cat", "dog"])
    assert "Passed over: 2 files" in repr(data)


def test_what_cameras_call_raw_is_no_picture_by_a_wrong_name(folder):
    (folder / "cat" / "0.dng").write_bytes(content(picture(), "TIFF"))
    assert ImageFolder(folder).others == 1


def test_a_picture_that_breaks_later_is_an_error_with_its_name(folder):
    data = ImageFolder(folder, memory=0)
    (folder / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(FolderError, match=r"1\.png is empty; it was whole when"):
        data[1]


def test_a_link_that_leads_back_ends(folder):
    (folder / "cat" / "again").symlink_to(folder / "cat")
    (folder / "dog" / "up").symlink_to(folder / "dog" / "deep")
    assert len(ImageFolder(folder)) == 6  # what is linked from elsewhere counts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: ImageFolder(f / "missing"), "there is no such folder"),
        (lambda f: ImageFolder(f / "cat" / "0.png"), "can't be read: Not a directory"),
        (lambda f: ImageFolder(f / "dog" / "deep"), r"no folders with pictures in it.*is b\.png"),
    ],
)
def test_a_root_that_is_none_is_refused(folder, make, message):
    with pytest.raises(FileNotFoundError, match=message):
        make(folder)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_a_class_without_pictures_is_refused_unless_allowed(folder, memory):
    (folder / "bird").mkdir()
    with pytest.raises(FolderError, match=r"no pictures in bird, of 3 classes; remove"):
        ImageFolder(folder, memory=memory)
    data = ImageFolder(folder, allow_empty=True, memory=memory)
    assert data.targets.tolist() == [1, 1, 1, 2, 2]


def test_a_folder_of_empty_classes_has_no_samples_if_that_is_allowed(tmp_path):
    (tmp_path / "bird").mkdir()
    assert len(ImageFolder(tmp_path, allow_empty=True)) == 0


# --- arguments -----------------------------------------------------------------------------------


def test_a_loader_of_ones_own_makes_the_images(folder):
    data = ImageFolder(folder, T.ToTensor(), loader=lambda path: Image.open(path).convert("L"))
    images, _ = data.get_batch(np.arange(2), Generator())
    assert images.shape == (2, 1, 12, 10)
    assert data[3][0].shape == (1, 12, 10)


def test_valid_files_are_those_that_the_function_says(folder):
    data = ImageFolder(folder, is_valid_file=lambda path: "b.png" in path or "0.png" in path)
    assert data.targets.tolist() == [0, 1]


@pytest.mark.parametrize("ends", [".png", [".PNG"], (".png",)])
def test_extensions_are_the_ends_of_names(folder, ends):
    assert ImageFolder(folder, extensions=ends).targets.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 0},
        {"size": (3, 4, 5)},
        {"mode": "CMYK"},
        {"memory": -1},
        {"extensions": ".png", "is_valid_file": bool},
        {"loader": Image.open, "size": 3},
    ],
)
def test_arguments_that_cannot_be_used_are_refused(folder, arguments):
    with pytest.raises(ArgumentError, match=f"ImageFolder: .*{next(iter(arguments))}"):
        ImageFolder(folder, **arguments)


def test_a_picture_is_read_alone_as_the_folder_reads_it(folder):
    saved(picture(9, (20, 30)), folder / "dog" / "c.png")
    data = ImageFolder(folder, size=7, mode="L")
    assert np.array_equal(read_picture(folder / "dog" / "c.png", "L", (7, 7)), data[4][0].numpy())


def test_a_folder_is_printed_with_what_is_in_it(folder):
    text = repr(ImageFolder(folder, T.ToTensor()))
    assert text == (
        f"Dataset ImageFolder\n    Number of datapoints: 5\n    Root location: {folder}\n"
        "    StandardTransform\nTransform: ToTensor()"
    )


def test_batches_of_pictures_that_are_read_are_where_the_data_set_was_put(folder):
    data = ImageFolder(folder, T.ToTensor(), memory=0).to(minicnn.device("cpu"))
    assert data.get_batch(np.arange(2), Generator())[0].device == minicnn.device("cpu")
