"""Pictures from anywhere: of any kind, broken, hostile, or far too large."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nin import picture
from nin.picture import PictureError, read

pytestmark = pytest.mark.cpu

SHIRT = np.full((120, 90), 255, np.uint8)
SHIRT[20:100, 15:75] = 30
SHIRT[20:50, 15:30] = 140  # one corner is paler, so that it shows which way is up


def saved(path, image, kind="PNG", **options):
    image.save(path, kind, **options)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png(width, height, data=b"", extra=b""):
    """An RGBA PNG that says it is so large, whatever its data hold."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    body = header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def mode(name):
    return lambda path: saved(path, Image.fromarray(SHIRT).convert(name))


KINDS = {
    "grey": mode("L"),
    "1-bit": lambda path: saved(path, Image.fromarray(SHIRT).point(lambda v: v > 80 and 255)),
    "grey and alpha": mode("LA"),
    "palette": mode("P"),
    "RGBA": mode("RGBA"),
    "16 bits": lambda path: saved(path, Image.fromarray(SHIRT.astype("uint16") * 257)),
    "CMYK": lambda path: saved(path, Image.fromarray(SHIRT).convert("CMYK"), "JPEG", quality=95),
    "progressive": lambda path: saved(
        path, Image.fromarray(SHIRT), "JPEG", quality=95, progressive=True
    ),
    "a transparent grey": lambda path: saved(path, Image.fromarray(SHIRT), transparency=255),
    "a palette with alphas": lambda path: saved(
        path, Image.fromarray(SHIRT).convert("P"), transparency=bytes([255] * 255 + [0])
    ),
    "animated": lambda path: saved(
        path, Image.fromarray(SHIRT), save_all=True, append_images=[Image.new("L", (90, 120))]
    ),
    "odd notes": lambda path: saved(path, Image.fromarray(SHIRT), exif=b"Exif\0\0II*\0garbage"),
    "odd notes in a JPEG": lambda path: saved(
        path, Image.fromarray(SHIRT), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"
    ),
    "large": lambda path: saved(path, Image.fromarray(SHIRT).resize((2880, 3840), 0)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_gives_the_same(tmp_path, kind):
    plain = read(saved(tmp_path / "plain.png", Image.fromarray(SHIRT)))
    got = read(KINDS[kind](tmp_path / "picture"))
    if kind != "1-bit":
        assert abs(got.astype(float) - plain).mean() < 6
    assert ((got > 127) == (plain > 127)).mean() > 0.85


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_the_camera_was_held(tmp_path, turn):
    upright = Image.fromarray(SHIRT)
    if turn in picture.TURNS:  # the way back of a turn is itself, but of a quarter
        back = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}
        back |= {b: a for a, b in back.items()}
        upright = upright.transpose(back.get(picture.TURNS[turn], picture.TURNS[turn]))
    notes = Image.Exif()
    notes[0x0112] = turn
    turned = read(saved(tmp_path / "turned.png", upright, exif=notes))
    np.testing.assert_array_equal(turned, read(saved(tmp_path / "a.png", Image.fromarray(SHIRT))))


NULLS = zlib.compress(bytes(1 << 26), 9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(13_000, 13_000), "13000×13000, more than 67,108,864 pixels"),
        (png(2**31 - 1, 2**31 - 1), "more than 67,108,864 pixels"),
        (png(67_108_865, 1), "more than 67,108,864 pixels"),
        (png(0, 5), "is not a PNG or JPEG"),
        (png(5, 5), "is broken"),
        (png(5, 5, NULLS[:999]), "is broken|shows nothing"),
        (png(5, 5, extra=chunk(b"zTXt", b"a\0\0" + NULLS)), "is broken"),
        (png(5, 5, extra=chunk(b"iTXt", b"a\0\1\0\0\0" + NULLS)), "is broken"),
        (png(5, 5, extra=chunk(b"iCCP", b"a\0\0" + NULLS)), "is broken"),
        (b"GIF89a", "is not a PNG or JPEG"),
        (b"", "is not a PNG or JPEG"),
    ],
    ids=range(11),
)
def test_a_hostile_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(picture, "_upright", lambda *_: pytest.fail("it was decoded"))
    if "shows" in message:
        monkeypatch.undo()
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PictureError, match=message):
        read(tmp_path / "a.png")


def test_a_large_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "BYTES", 100)
    path = saved(tmp_path / "a.png", Image.fromarray(SHIRT))
    with pytest.raises(PictureError, match="is too large: more than 100 bytes"):
        read(path)


def test_what_is_changed_in_a_picture_is_a_picture_or_an_error_of_ours(tmp_path):
    contents = [KINDS[kind](tmp_path / "a").read_bytes() for kind in list(KINDS)[2:-1]]
    chance, outcomes = random.Random(0), {True: 0, False: 0}
    for _ in range(400):
        content = bytearray(chance.choice(contents))
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / "a").write_bytes(
            content[: chance.choice([len(content), chance.randrange(999)])]
        )
        try:
            image = read(tmp_path / "a")
        except PictureError:
            outcomes[False] += 1
        else:
            assert (image.shape, image.dtype) == ((28, 28), np.uint8)
            outcomes[True] += 1
    assert min(outcomes.values()) > 20
