"""Anybody's picture, made into one like those that a network has learned from.

Fashion-MNIST's own images were made from shop photographs: trimmed, the longer side scaled to 28,
in the middle of a square, grey, and negated, so that the background is 0 (Xiao, Rasul and Vollgraf
2017, section 2). MNIST's digits have 20 pixels of 28, and EMNIST's letters 24.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from minicnn.backends import Array, host
from minicnn.console import Failure
from minicnn.files import open_regular
from minicnn.vision.datasets.picture import TURNS, read_picture
from minicnn.vision.datasets.picture import PictureError as UnusablePicture

from .catalogue import DATASETS
from .folder import MODES
from .kind import Kind

SIDE = 28
PIXELS = 1 << 26  # of a picture at most: some 67 million, and about 600 MB while it is read
BYTES = 1 << 28  # of its file
# How many pixels the longer side of what they show has, of 28, in data sets of light on dark.
BOXES = {
    **{"fashion-mnist": 28, "silhouettes": 28, "kmnist": 28, "mnist": 20},
    **{name: 24 for name in DATASETS if name.startswith("emnist")},
}
LARGE = 1024  # pixels a side that are enough: larger pictures are first made smaller
WIDEST = 56  # characters of a picture as text
FAINT = 0.1  # of the contrast: what differs less from the background is taken for it


class PictureError(Failure):
    """A file that is no picture, or an empty one; the message names it."""


class Preparation(NamedTuple):
    """How a picture is read for a network, and what that makes of it, in words.

    `box` is how many pixels of 28 the longer side of what is trimmed is made long, and `turned`
    whether the image is laid on its side. Of photographs, which are scaled and cut, `box` is None.
    """

    read: Callable[[Path], Array]
    words: str
    box: int | None = None
    turned: bool = False

    @property
    def on_paper(self) -> bool:
        """Whether a picture's background is mostly light, as in photographs."""
        return self.box is None


def preparation(dataset: str, kind: Kind) -> Preparation:
    """How the pictures for a network are read that was trained on this data set, of this kind.

    For clothes, digits and letters they are drawn as those data sets' images were, light on dark;
    for photographs, in a folder or of CIFAR, they are scaled and cut as `ImageFolder` does it.
    """
    if dataset in BOXES:
        box, turned = BOXES[dataset], dataset.startswith("emnist")

        def drawn(path: Path) -> Array:
            image = read(path, box)
            return image.T.copy() if turned else image

        words = f"trimmed, grey, light on dark, {box} of {SIDE} pixels large"
        return Preparation(drawn, words, box, turned)
    size, mode = (kind.height, kind.width), MODES[kind.channels]

    def scaled(path: Path) -> Array:
        try:
            return read_picture(path, mode, size)
        except UnusablePicture as error:
            raise PictureError(f"{path} {error}") from None

    colour = "in colour" if kind.channels == 3 else "grey"
    words = f"scaled to cover {kind.height}×{kind.width} and cut to that, {colour}"
    return Preparation(scaled, words)


def read(path: Path, box: int = SIDE) -> Array:
    """A PNG or JPEG, grey or colour, of any size, as (28, 28) uint8 on a background of 0.

    What it shows is trimmed, and its longer side made `box` pixels long, in the middle.

    The background is what the picture's edge shows: a dark thing on light is negated, a light one
    on dark is not. A picture of 28×28 with a black edge is taken as it is. Raises PictureError.
    """
    xp = host.xp
    grey = xp.array(_decoded(path), dtype="float64")
    edge = xp.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = float(xp.median(edge))
    if grey.shape == (SIDE, SIDE) and background == 0:
        return grey.astype("uint8")
    ink = abs(grey - background)
    if not ink.max() >= 1:
        raise PictureError(f"{path} shows nothing: all of it has one colour")
    if background > 127:  # a light background is paper; only what is darker is on it
        ink = xp.maximum(0, background - grey) if (grey < background).any() else ink
    rows, columns = (xp.flatnonzero((ink > FAINT * ink.max()).any(axis=a)) for a in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * (255 / ink.max())
    trimmed = Image.fromarray(xp.rint(ink).astype("uint8"))
    scale = box / max(trimmed.size)
    w, h = (max(1, round(n * scale)) for n in trimmed.size)
    small = trimmed.resize((w, h), Image.Resampling.BILINEAR)
    square = Image.new("L", (SIDE, SIDE))
    square.paste(small, ((SIDE - w) // 2, (SIDE - h) // 2))
    return xp.array(square)


def _decoded(path: Path) -> Image.Image:
    """The picture in shades of grey, the right way up, and not much larger than it has to be."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise PictureError(f"{path}: there is no such file") from None
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from None
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd things in a file that can be read nevertheless
        if os.fstat(file.fileno()).st_size > BYTES:
            raise PictureError(f"{path} is too large: more than {BYTES:,} bytes")
        try:
            image = Image.open(file, formats=("PNG", "JPEG"))
            width, height = image.size
            if width * height > PIXELS:
                raise PictureError(
                    f"{path} is too large: {width}×{height}, more than {PIXELS:,} pixels"
                )
            grey = _upright(_grey(image), image)
            return grey.reduce(max(1, max(image.size) // LARGE))
        except UnidentifiedImageError:
            raise PictureError(f"{path} is not a PNG or JPEG") from None
        except Image.DecompressionBombError:
            raise PictureError(f"{path} is too large: more than {PIXELS:,} pixels") from None
        except (MemoryError, PictureError):
            raise
        except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
            raise PictureError(f"{path} is broken: {error}") from None


def _grey(image: Image.Image) -> Image.Image:
    """Brightness, a byte a pixel; what is transparent is white."""
    if image.mode.startswith("I"):  # 16 bits
        return Image.fromarray((host.xp.array(image) // 257).clip(0, 255).astype("uint8"))
    if not image.has_transparency_data:
        return image.convert("L")
    colours = image.convert("RGBA")
    paper = Image.new("L", image.size, "white")
    paper.paste(colours.convert("L"), mask=colours.getchannel("A"))
    return paper


def _upright(grey: Image.Image, original: Image.Image) -> Image.Image:
    """The picture as the camera was held, where the original's notes say so and can be read."""
    try:
        turn = original.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as with a broken picture; but this one is whole, without its notes
        return grey
    return grey if turn not in TURNS else grey.transpose(TURNS[turn])


def as_text(image: Array) -> str:
    """An image (H, W) or (H, W, 3) in characters, darker ones for brighter pixels.

    A character is twice as high as wide. What is larger than 56×56 is made smaller first.
    """
    shades = " .:-=+*#%@"
    small = Image.fromarray(image).convert("L")
    small.thumbnail((WIDEST, WIDEST))
    image = host.xp.array(small)[: small.height // 2 * 2]
    rows = image[::2].astype("int64") + image[1::2]
    return "\n".join("".join(shades[v * len(shades) // 511] for v in row).rstrip() for row in rows)
