"""`Silhouettes`: drawn clothing in the ten classes of Fashion-MNIST, for where that can't be had.

A garment is a list of convex outlines painted one over another, some of them only at times, each
stretched a little and in a tone of its own. All images of a class are painted at once. Nothing here
needs more than + - × ÷ and square roots, which are rounded alike on every computer, so the images
are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from minicnn.arguments import whole
from minicnn.backends import Array, host
from minicnn.random import Generator, permutation
from minicnn.vision.datasets import FashionMNIST
from minicnn.vision.image_dataset import ImageDataset

CLASSES = FashionMNIST.classes
xp = host.xp
SIDE = 28
SHEET = 1000  # images drawn together; a data set is cut from whole sheets
NUMBERS = 64  # random numbers there are for one garment

Outline = tuple[tuple[float, float], ...]  # convex, clockwise: x to the right, y down, -1 … 1


SIZES = {True: 60_000, False: 10_000}  # for training and for testing


class Silhouettes(ImageDataset):
    """Images of clothing drawn by this program: 60,000 for training or 10,000 for testing.

    As in Fashion-MNIST, images are uint8 (28, 28) on black, and every class is a tenth of them.
    `size` is how many there are, instead, and `seed` which: the same seed gives the same images,
    and fewer are the first of more. No image for training is also one for testing. Raises
    ArgumentError for a size below 1.
    """

    def __init__(
        self,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        *,
        size: int | None = None,
        seed: int = 0,
    ) -> None:
        size = SIZES[bool(train)] if size is None else whole("Silhouettes", "size", size, 1)
        streams = Generator().manual_seed(whole("Silhouettes", "seed", seed)).split()
        # Even streams are for testing, odd ones for training.
        sheets = [streams.fold_in(2 * i + bool(train)) for i in range(-(-size // SHEET))]
        with ThreadPoolExecutor() as pool:
            images, labels = map(xp.concatenate, zip(*pool.map(_sheet, sheets), strict=True))
        super().__init__(images[:size], labels[:size], transform, target_transform, classes=CLASSES)
        self.train = bool(train)


def _sheet(rng: Generator) -> tuple[Array, Array]:
    """SHEET images (SHEET, 28, 28) and their labels (SHEET,), as many of each class, shuffled."""
    each = SHEET // len(CLASSES)
    images = xp.concatenate([_paint(GARMENTS[name], each, rng) for name in CLASSES])
    order = permutation(rng.next_key(), SHEET)
    return images[order], order // each


# --- painting ------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Outlines that are filled together, where they are there at all.

    They are stretched by up to these shares of their width, about the garment's axis, and of their
    height, about that of the first point. A tone of 1 is the garment's, 0 the background's.
    """

    outlines: tuple[Outline, ...]
    tone: tuple[float, float] = (0.8, 1.0)
    chance: float = 1.0
    stretch: tuple[float, float] = (0.1, 0.1)


def _paint(garment: list[Part], n: int, rng: Generator) -> Array:
    """n images of a garment, uint8 (n, 28, 28)."""
    numbers = iter(host.uniform(rng.next_key(), (NUMBERS, n, 1, 1), "float32"))

    def vary(low: float, high: float) -> Array:
        """A random number for each image, to go with (n, 28, 28)."""
        return low + (high - low) * next(numbers)

    width, height = vary(9.0, 13.0), vary(9.5, 13.0)
    turn, shear, view = vary(-0.18, 0.18), vary(-0.14, 0.14), vary(-0.15, 0.15)
    left, top = 13.5 + vary(-1.8, 1.8), 13.5 + vary(-1.8, 1.8)

    def pixels(x: Array, y: Array) -> tuple[Array, Array]:
        """Where points are in the image: a projective map, so that what is convex remains so."""
        near = 1 + view * y
        x, y = x / near, y / near
        return left + width * (x + (shear - turn) * y), top + height * (y + turn * x)

    canvas = xp.zeros((n, SIDE, SIDE), "float32")
    for part in garment:
        wide, high = (1 + vary(-share, share) for share in part.stretch)
        tone, there = vary(*part.tone), vary(0, 1) < part.chance
        start = part.outlines[0][0][1]
        for outline in part.outlines:
            x, y = xp.array(outline, "float32").T[:, :, None, None, None]  # (V, 1, 1, 1) each
            x, y = pixels(wide * x, start + high * (y - start))
            canvas += _cover(x, y) * there * (tone - canvas)
    canvas *= _cloth(vary) * vary(80, 230)
    noise = host.uniform(rng.next_key(), (n, SIDE, SIDE), "float32") - 0.5
    canvas += noise * (vary(2, 16) + canvas * vary(0.05, 0.35))
    images = xp.rint(canvas.clip(0, 255)).astype("uint8")
    return xp.where(vary(0, 1) < 0.5, images, images[:, :, ::-1])


def _cover(x: Array, y: Array) -> Array:
    """How much of each pixel lies within a convex outline, clockwise: (n, 28, 28), 0 … 1.

    The signed distance to a convex outline, whose corners x and y (V, n, 1, 1) are, is the least of
    those to its edges' lines, and a pixel is half covered where that is 0.
    """
    column = xp.arange(SIDE, dtype="float32")
    row = column[:, None]
    dx, dy = xp.roll(x, -1, axis=0) - x, xp.roll(y, -1, axis=0) - y
    length = xp.sqrt(dx * dx + dy * dy)
    down, across = dx / length * (row - y), dy / length * (column - x)
    inside = xp.full((x.shape[1], SIDE, SIDE), 0.5, "float32")
    for edge in range(len(x)):
        xp.minimum(inside, down[edge] - across[edge], out=inside)
    return (inside + 0.5).clip(0, 1)


def _cloth(vary: Callable[[float, float], Array]) -> Array:
    """Light, folds and a woven or printed pattern, as a factor for each pixel: (n, 28, 28)."""
    x = (xp.arange(SIDE, dtype="float32") - 13.5) / 13.5
    y = x[:, None]

    def wave(slope_x: Array, slope_y: Array) -> Array:
        """Parallel waves with so many periods across the image, -1 … 1."""
        phase = (slope_x * x + slope_y * y) * 0.5 + vary(0, 1)
        return 4 * abs(phase - xp.floor(phase) - 0.5) - 1

    light = vary(-0.25, 0.25) * x + vary(-0.25, 0.25) * y
    folds = vary(0, 0.15) * wave(vary(-2, 2), vary(-2, 2))
    striped = (vary(0, 1) < 0.4) * vary(0.1, 0.5)
    upright, fine, slant = vary(0, 1) < 0.5, vary(4, 9), vary(-0.6, 0.6)
    stripes = wave(upright * fine + slant, ~upright * fine - slant)
    return (1 + light + folds) * (1 + striped * stripes)


# --- the garments --------------------------------------------------------------------------------


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _symmetric(*right: tuple[float, float]) -> Outline:
    """An outline from its right side, from top to bottom."""
    return right + tuple((-x, y) for x, y in reversed(right))


def _pair(*right: tuple[float, float]) -> tuple[Outline, Outline]:
    """An outline on the right, and its mirror image on the left."""
    return right, tuple((-x, y) for x, y in reversed(right))


SHORT = Part(_pair((0.38, -0.8), (0.83, -0.44), (0.58, -0.34), (0.36, -0.33)), stretch=(0.12, 0.3))
LONG = Part(_pair((0.38, -0.8), (0.8, 0.42), (0.63, 0.52), (0.36, -0.3)), stretch=(0.12, 0.2))
BODY = Part((_symmetric((0.22, -0.92), (0.5, -0.78), (0.5, 0.87)),), (1, 1), stretch=(0.15, 0.08))
NECK = Part((_symmetric((0.22, -0.96), (0.15, -0.78), (0.03, -0.7)),), (0, 0.6), 1, (0.3, 0.6))
PRINT = Part((((-0.18, -0.1), (0, -0.3), (0.18, -0.1), (0, 0.1)),), (0.3, 1.5), 0.4, (0.5, 0.6))

GARMENTS: dict[str, list[Part]] = {
    "T-shirt/top": [LONG._replace(chance=0.06), SHORT, BODY, PRINT, NECK],
    "Trouser": [
        Part(_pair((0, -0.9), (0.33, -0.9), (0.4, -0.45), (0.35, 0.94), (0.08, 0.94))),
        Part((((0, -0.45), (0.1, 0.98), (-0.1, 0.98)),), (0, 0), 0.8, (0.6, 0.1)),
        Part((_box(-0.34, -0.97, 0.34, -0.84),), (0.6, 1.2)),
        Part((_box(-0.02, -0.84, 0.02, -0.45),), (0.6, 0.6), 0.4),
    ],
    "Pullover": [
        Part((_box(-0.2, -0.98, 0.2, -0.7),), (0.6, 1.3), 0.5, (0.3, 0.1)),
        SHORT,
        LONG._replace(chance=0.94),
        BODY,
        Part((_box(-0.5, 0.74, 0.5, 0.87),), (0.6, 1.3), 0.7),
        PRINT,
        NECK._replace(stretch=(0.3, 0.3)),
    ],
    "Dress": [
        Part(_pair((0.25, -0.8), (0.7, -0.44), (0.5, -0.3), (0.2, -0.3)), chance=0.4),
        Part(_pair((0.25, -0.8), (0.65, 0.4), (0.5, 0.5), (0.2, -0.3)), chance=0.2),
        Part((_symmetric((0.17, -0.93), (0.35, -0.79), (0.27, -0.05)),)),
        Part((_symmetric((0.27, -0.1), (0.45, 0.95)),), (1, 1), stretch=(0.35, 0.1)),
        Part((_box(-0.28, -0.14, 0.28, 0),), (0.4, 1.3), 0.4),
        NECK._replace(stretch=(0.4, 0.6)),
    ],
    "Coat": [
        Part((_symmetric((0.2, -1), (0.24, -0.8)),), chance=0.3),
        SHORT,
        LONG._replace(chance=0.96),
        BODY,
        Part(_pair((0.2, -0.92), (0.34, -0.68), (0.02, -0.3)), (0.75, 1.3), 0.8, (0.1, 0.3)),
        Part((_symmetric((0.2, -0.96), (0.03, -0.3)),), (0.2, 0.6), 1, (0.2, 0.3)),
        Part((_box(-0.035, -0.4, 0.035, 0.93),), (0, 0.5)),
        Part(_pair((0.18, 0.2), (0.36, 0.14), (0.36, 0.24), (0.18, 0.3)), (0.6, 0.6), 0.6),
    ],
    "Sandal": [
        Part((_box(0.66, 0.36, 0.9, 0.58),), chance=0.5, stretch=(0.1, 0.8)),
        Part((((-0.95, 0.38), (0.95, 0.34), (0.93, 0.48), (-0.9, 0.53)),), (0.5, 1.2)),
        Part((((-0.78, 0.4), (-0.58, 0.1), (-0.32, 0.1), (-0.52, 0.4)),), stretch=(0.1, 0.5)),
        Part((((-0.3, 0.4), (-0.1, 0), (0.16, 0), (-0.04, 0.4)),), (0.7, 1.1), 0.85, (0.3, 0.3)),
        Part((((-0.1, -0.04), (0.9, -0.1), (0.9, 0.05), (-0.1, 0.11)),), (0.7, 1.1), 0.6),
        Part((_box(0.72, -0.1, 0.92, 0.36),), (0.7, 1.1), 0.75),
    ],
    "Shirt": [
        SHORT,
        LONG._replace(chance=0.6),
        BODY,
        Part((_symmetric((0.18, -0.96), (0.03, -0.68)),), (0.2, 0.6)),
        Part((_box(-0.05, -0.72, 0.05, 0.87),), (0.7, 1.25), 0.7),
        Part(_pair((0.02, -0.8), (0.22, -0.96), (0.2, -0.6)), (1.1, 1.4)),
        Part(tuple(_box(-0.04, y, 0.04, y + 0.08) for y in (-0.5, -0.2, 0.1, 0.4)), (0, 0.4), 0.95),
        Part((_box(0.14, -0.35, 0.34, -0.12),), (0.7, 0.9), 0.4),
    ],
    "Sneaker": [  # shoes point to the left
        Part((((-0.93, 0.4), (-0.86, 0.22), (0.05, 0), (0.9, 0), (0.93, 0.4)),), (1, 1)),
        Part((((0.93, 0.4), (-0.2, 0.08), (0.15, -0.28), (0.85, -0.34)),), stretch=(0.05, 0.2)),
        Part((((0.25, -0.3), (0.75, -0.36), (0.7, -0.19), (0.3, -0.16)),), (0.1, 0.5), 0.7),
        Part((((-0.93, 0.4), (-0.86, 0.22), (-0.66, 0.17), (-0.6, 0.4)),), (0.7, 1.3)),
        Part(
            tuple(
                ((x, 0.1), (x + 0.2, -0.1), (x + 0.26, -0.04), (x + 0.06, 0.16))
                for x in (-0.45, -0.25, -0.05)
            ),
            (0.3, 1.5),
            0.85,
        ),
        Part((((0.2, 0.4), (0.45, 0), (0.6, 0), (0.35, 0.4)),), (0.4, 1.4), 0.6),
        Part((((-0.95, 0.4), (0.92, 0.4), (0.95, 0.56), (-0.9, 0.56)),), (0.9, 1.5), 1, (0, 0.4)),
    ],
    "Bag": [
        Part(
            (
                *_pair((0.32, -0.07), (0.28, -0.5), (0.38, -0.56), (0.42, -0.07)),
                _box(-0.38, -0.58, 0.38, -0.48),
            ),
            (0.5, 1),
            0.8,
            (0.3, 0.4),
        ),
        Part((_symmetric((0.75, -0.17), (0.78, 0.76)),), (1, 1), stretch=(0.25, 0.25)),
        Part((_box(-0.72, 0.2, 0.72, 0.25),), (0.3, 0.7), 0.6, (0.1, 0.3)),
        Part((_box(-0.08, 0.16, 0.08, 0.32),), (0.3, 1.5), 0.6),
    ],
    "Ankle boot": [
        Part((((-0.93, 0.6), (-0.86, 0.42), (0.05, 0.15), (0.9, 0.15), (0.93, 0.6)),), (1, 1)),
        Part((((0.93, 0.6), (-0.2, 0.24), (0.05, -0.42), (0.86, -0.42)),), stretch=(0.05, 0.3)),
        Part((_box(0.02, -0.12, 0.86, 0),), (0.5, 1.4), 0.5, (0, 0.5)),
        Part((_box(0.42, -0.1, 0.48, 0.5),), (0.3, 0.7), 0.6),
        Part((((-0.95, 0.6), (0.92, 0.6), (0.95, 0.71), (-0.9, 0.71)),), (0.5, 1), 1, (0, 0.4)),
        Part((_box(0.5, 0.6, 0.95, 0.84),), (0.5, 1), 1, (0, 0.5)),
    ],
}
