"""Picture files that may be anything, read without trusting them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ...arguments import ArgumentError, one_of, pair
from ...files import open_regular
from .errors import DatasetError

MODES = ("RGB", "L")  # what pictures are made into: colours, or shades of grey
# Pillow hands EPS to Ghostscript, a program that a file can tell what to do, and knows the others
# by name alone.
REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
# Those that begin with a mark of their own, so that no other file is taken for one. TIFF is not
# among them, as what cameras call raw begins like it.
MARKED = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
STILL = {"MPO", "PSD"}  # more pictures in a file, of which the first is what is meant
SAME = {"MPO": "JPEG", "DIB": "BMP", "CUR": "ICO"}  # formats that go by each other's names
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what makes a picture upright, by the orientation of EXIF
GREY = ("1", "L", "LA", "La", "I", "F")  # modes without colours, but those that begin with "I;"


class Look(NamedTuple):
    """What a file's first bytes say of a picture: (height, width) upright, and if it is grey."""

    size: tuple[int, int]
    grey: bool


class PictureError(DatasetError):
    """Why a file is no picture that can be used, without its name."""


def formats() -> list[str]:
    """The formats that are read."""
    Image.init()  # which loads Pillow's plugins, once
    return [name for name in Image.OPEN if name not in REFUSED]


def suffixes() -> dict[str, str]:
    """The ends of the names of pictures, small letters with the dot, and the format of each."""
    known = formats()
    return {end: name for end, name in Image.registered_extensions().items() if name in known}


def look(path: str | os.PathLike[str], any_name: bool = False) -> Look:
    """What a file's first bytes say of its picture.

    Raises PictureError for what is empty, huge, animated, no picture, or one by a wrong name, which
    is that of another format, or of none, if it may not have `any_name`.
    """
    with _Opened(path) as image:
        expected = suffixes().get(Path(path).suffix.lower())
        right = any_name if expected is None else _family(expected) == _family(image.format)
        if not right:
            raise PictureError(f"is wrongly named: by its content it is {image.format}")
        if image.format == "TIFF":
            image.load()  # Pillow turns these itself, and has their size for certain only then
        size = image.size[::-1]
        if _turn(image) >= 5:  # it lies on its side
            size = size[::-1]
        grey = image.mode in GREY or image.mode.startswith("I;")
        return Look(size, grey or (image.mode == "P" and _grey_palette(image)))


def read_picture(
    path: str | os.PathLike[str], mode: str = "RGB", size: tuple[int, int] | None = None
) -> Any:
    """A picture file as an array: uint8 (H, W, 3) for mode "RGB", (H, W) for "L".

    It is turned upright where a camera noted how it was held (EXIF), what is transparent is white,
    and 16 bits become 8. With a `size` (H, W) it is scaled until it just covers that, bilinear and
    antialiased, and the middle is cut out. Raises PictureError, without the file's name.
    """
    with _Opened(path) as image:
        upright = _converted(image, mode)
        if (turn := TURNS.get(_turn(image))) is not None:
            upright = upright.transpose(turn)
        if size is not None and upright.size != size[::-1]:
            upright = ImageOps.fit(upright, size[::-1], Image.Resampling.BILINEAR)
        return np.array(upright)


def picture_mode(name: str, mode: str) -> str:
    """The mode of pictures. Raises ArgumentError for another."""
    return one_of(name, "mode", mode, *MODES)


def picture_size(name: str, size: Any) -> tuple[int, int] | None:
    """(H, W) of two whole numbers, of one for both, or None. Raises ArgumentError."""
    return None if size is None else pair(name, "size", size, 1)


class _Opened:
    """A picture that has been opened, but not decoded; what goes wrong becomes a PictureError."""

    def __init__(self, path: str | os.PathLike[str], known: tuple[str, ...] | None = None) -> None:
        self.path, self.known = path, known

    def __enter__(self) -> Image.Image:
        try:
            self.file = open_regular(self.path)
        except OSError as error:
            raise PictureError(f"can't be read: {error.strerror or error}") from None
        try:
            return self._opened()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def _opened(self) -> Image.Image:
        if not os.fstat(self.file.fileno()).st_size:
            raise PictureError("is empty")
        image = Image.open(self.file, formats=self.known or formats())
        w, h = image.size
        most = Image.MAX_IMAGE_PIXELS
        if most is not None and w * h > most:
            raise PictureError(f"is huge: {w}×{h}, more than {most:,} pixels")
        if image.format not in STILL and getattr(image, "is_animated", False):
            raise PictureError(f"is animated: {getattr(image, 'n_frames', 'many')} pictures in one")
        return image

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        self.file.close()
        if error is None or isinstance(error, (PictureError, MemoryError, ArgumentError)):
            return
        if isinstance(error, UnidentifiedImageError):
            raise PictureError("is no picture that Pillow knows") from None
        if isinstance(error, Image.DecompressionBombError):
            raise PictureError("is huge: it would take too much memory") from None
        if isinstance(error, Exception):  # Pillow's decoders raise whatever a broken file leads to
            raise PictureError(f"is broken: {error}") from None


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file, whatever its name, begins as pictures of the common formats do."""
    try:
        with _Opened(path, MARKED):
            return True
    except PictureError as error:
        return "huge" in str(error) or "animated" in str(error)


def _family(name: str | None) -> str | None:
    return SAME.get(name or "", name)


def _turn(image: Image.Image) -> int:
    """How the camera was held: EXIF's orientation, 1 where there is none that can be read."""
    try:
        turn = image.getexif().get(0x0112, 1)
    except Exception:  # as with a broken picture; but this one may be whole, without its notes
        return 1
    return turn if turn in range(1, 9) else 1


def _grey_palette(image: Image.Image) -> bool:
    """Whether all colours of a picture's palette are shades of grey."""
    colours = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """The decoded picture in a mode."""
    if image.mode == "F":
        raise PictureError("has floating-point pixels, of which nobody knows how bright 1 is")
    if image.mode.startswith("I"):  # 16 bits, also where Pillow keeps them in 32
        pixels = np.asarray(image).astype("int64") // 257
        return Image.fromarray(pixels.clip(0, 255).astype("uint8")).convert(mode)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        made = Image.new(mode, image.size, "white")
        made.paste(colours.convert(mode), mask=colours.getchannel("A"))
        return made
    return image.convert(mode)
