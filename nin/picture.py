"""Anybody's picture of a piece of clothing, made into one like Fashion-MNIST's.

The data set's own images were made from shop photographs: trimmed, the longer side scaled to 28, in
the middle of a square, grey, and negated, so that the background is 0 (Xiao, Rasul and Vollgraf
2017, section 2).
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from minicnn.backends import Array, host

SIDE = 28
FAINT = 0.1  # of the contrast: what differs less from the background is taken for it


class PictureError(ValueError):
    """A file that is no picture, or an empty one; the message names it."""


def read(path: Path) -> Array:
    """A PNG or JPEG, grey or colour, of any size, as (28, 28) uint8 on a background of 0.

    The background is what the picture's edge shows: a dark thing on light is negated, a light one
    on dark is not. A picture of 28×28 with a black edge is taken as it is. Raises PictureError.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as opened:
            grey = _grey(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise PictureError(f"{path}: there is no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = "is not a PNG or JPEG" if "cannot identify" in str(error) else f"is broken: {error}"
        raise PictureError(f"{path} {what}") from None
    xp = host.xp
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
    scale = SIDE / max(trimmed.size)
    w, h = (max(1, round(n * scale)) for n in trimmed.size)
    small = trimmed.resize((w, h), Image.Resampling.BILINEAR)
    square = Image.new("L", (SIDE, SIDE))
    square.paste(small, ((SIDE - w) // 2, (SIDE - h) // 2))
    return xp.array(square)


def _grey(image: Image.Image) -> Array:
    """Brightness 0 … 255 as float (H, W); what is transparent is white."""
    if image.mode.startswith("I"):  # 16 bits
        return host.xp.array(image, dtype="float64") / 257
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return host.xp.array(image.convert("L"), dtype="float64")


def as_text(image: Array) -> str:
    """The image in characters, two for a pixel's width, darker ones for more ink."""
    shades = " .:-=+*#%@"
    rows = image[::2].astype("int64") + image[1::2]  # a character is twice as high as wide
    return "\n".join("".join(shades[v * len(shades) // 511] for v in row).rstrip() for row in rows)
