"""`Silhouettes`: drawn clothing in the ten classes of Fashion-MNIST, for where that can't be had.

A garment is a list of convex outlines painted one over another, with random proportions and
details. All images of a class are painted at once. Nothing here needs more than + - × ÷ and square
roots, which are rounded alike on every computer, so the images are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ..arguments import whole
from ..backends import Array, host
from ..dtype import float32
from ..random import Generator
from .image_dataset import CLASSES, ImageDataset

SIDE = 28
SHEET = 1000  # images drawn together; a data set is cut from whole sheets
NUMBERS = 64  # random numbers there are for one garment

Point = tuple[Any, Any]  # x to the right, y down, -1 … 1 over the image: numbers, or arrays (n,)


class Part(NamedTuple):
    """A convex outline, filled. A tone of 1 is the garment's brightness, 0 the background's."""

    outline: list[Point]
    tone: Any
    present: Any = 1.0  # 1 for the images that have this part, 0 for the others


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
        default = 60_000 if train else 10_000
        size = default if size is None else whole("Silhouettes", "size", size, 1)
        xp = host.xp
        streams = Generator().manual_seed(whole("Silhouettes", "seed", seed)).split()
        # Even streams are for testing, odd ones for training.
        sheets = [streams.at(2 * i + bool(train)) for i in range(-(-size // SHEET))]
        with ThreadPoolExecutor() as pool:
            images, labels = zip(*pool.map(_sheet, sheets), strict=True)
        super().__init__(
            xp.concatenate(images)[:size],
            xp.concatenate(labels)[:size],
            transform,
            target_transform,
        )
        self.train = bool(train)


def _sheet(rng: Generator) -> tuple[Array, Array]:
    """SHEET images (SHEET, 28, 28) and their labels (SHEET,), as many of each class, shuffled."""
    xp = host.xp
    each = SHEET // len(CLASSES)
    images = xp.concatenate([_draw(GARMENTS[name], each, rng) for name in CLASSES])
    order = host.permutation(rng.next_key(), SHEET)
    return images[order], order // each


class Vary:
    """Random numbers, one for each of n garments, new ones at every call."""

    def __init__(self, n: int, rng: Generator) -> None:
        self._rows = iter(host.uniform(rng.next_key(), (NUMBERS, n), float32))

    def __call__(self, low: float, high: float) -> Array:
        return low + (high - low) * next(self._rows)

    def chance(self, p: float) -> Array:
        """1 with probability p, else 0."""
        return (next(self._rows) < p).astype(float32)


# --- painting ------------------------------------------------------------------------------------


def _draw(garment: Callable[[Vary], list[Part]], n: int, rng: Generator) -> Array:
    """n images of a garment, uint8 (n, 28, 28)."""
    xp = host.xp
    vary = Vary(n, rng)
    pose = _pose(vary)
    canvas = xp.zeros((n, SIDE, SIDE), float32)
    for part in garment(vary):
        x, y = pose(part.outline)
        cover = _coverage(x, y) * _image(part.present)
        canvas += cover * (_image(part.tone) - canvas)
    canvas *= _cloth(vary)
    canvas *= _image(vary(80, 230))
    noise = host.uniform(rng.next_key(), (n, SIDE, SIDE), float32) - 0.5
    canvas += noise * (_image(vary(2, 16)) + canvas * _image(vary(0.05, 0.35)))
    return xp.rint(canvas.clip(0, 255)).astype("uint8")


def _image(value: Any) -> Any:
    """A number for each image, shaped to go with (n, 28, 28)."""
    return value[:, None, None] if hasattr(value, "shape") else value


def _pose(vary: Vary) -> Callable[[list[Point]], tuple[Array, Array]]:
    """A random affine map from a garment's coordinates to pixels: outline -> x (V, n), y (V, n)."""
    width, height = vary(9.0, 13.5), vary(9.5, 13.5)
    turn, shear = vary(-0.18, 0.18), vary(-0.14, 0.14)
    left, top = 13.5 + vary(-1.8, 1.8), 13.5 + vary(-1.8, 1.8)
    mirrored = 1 - 2 * vary.chance(0.5)

    def pose(outline: list[Point]) -> tuple[Array, Array]:
        xp = host.xp
        x = xp.stack([mirrored * px for px, _ in outline])
        y = xp.stack([py + 0 * turn for _, py in outline])
        return left + width * (x + (shear - turn) * y), top + height * (y + turn * x)

    return pose


def _coverage(x: Array, y: Array) -> Array:
    """How much of each pixel lies within the convex outlines x, y (V, n): (n, 28, 28), 0 … 1.

    The signed distance to a convex outline is the least of those to its edges' lines, and a pixel
    is half covered where that is 0.
    """
    xp = host.xp
    pixel = xp.arange(SIDE, dtype=float32)
    dx, dy = xp.roll(x, -1, axis=0) - x, xp.roll(y, -1, axis=0) - y  # (V, n), along the edges
    twice_area = (x * xp.roll(y, -1, axis=0) - y * xp.roll(x, -1, axis=0)).sum(axis=0)
    length = xp.sqrt(dx * dx + dy * dy) * xp.sign(twice_area)  # inside is on the positive side
    a, b = -dy / length, dx / length  # distance = a·column + b·row + c
    c = -(a * x + b * y)
    nearest = xp.full((x.shape[1], SIDE, SIDE), 0.5, float32)
    for edge in range(len(x)):
        across = a[edge, :, None] * pixel  # (n, 28)
        down = b[edge, :, None] * pixel + c[edge, :, None]
        xp.minimum(nearest, down[:, :, None] + across[:, None, :], out=nearest)
    return (nearest + 0.5).clip(0, 1)


def _cloth(vary: Vary) -> Array:
    """Light, folds and a woven or printed pattern, as a factor for each pixel: (n, 28, 28)."""

    def wave(slope_x: Array, slope_y: Array) -> Array:
        """Parallel waves with so many periods across the image, -1 … 1."""
        phase = (slope_x[:, None, None] * place + slope_y[:, None, None] * place[:, None]) * 0.5
        phase += vary(0, 1)[:, None, None]
        phase -= xp.floor(phase)
        return 4 * abs(phase - 0.5) - 1

    xp = host.xp
    place = (xp.arange(SIDE, dtype=float32) - 13.5) / 13.5
    light = (
        vary(-0.25, 0.25)[:, None, None] * place + vary(-0.25, 0.25)[:, None, None] * place[:, None]
    )
    folds = _image(vary(0, 0.15)) * wave(vary(-2, 2), vary(-2, 2))
    striped = vary.chance(0.4) * vary(0.1, 0.5)
    upright = vary.chance(0.5)
    fine, slant = vary(4, 9), vary(-0.6, 0.6)
    stripes = wave(upright * fine + slant, (1 - upright) * fine - slant)
    return (1 + light + folds) * (1 + _image(striped) * stripes)


# --- the garments --------------------------------------------------------------------------------


def _mirror(outline: list[Point]) -> list[Point]:
    return [(-x, y) for x, y in outline]


def _both(outline: list[Point], tone: Any, present: Any = 1.0) -> list[Part]:
    """A part on the right side and its mirror image on the left."""
    return [Part(outline, tone, present), Part(_mirror(outline), tone, present)]


def _band(left: Any, right: Any, top: Any, bottom: Any) -> list[Point]:
    """An upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _sleeves(vary: Vary, shoulder: Array, top: Array, long: Array) -> list[Part]:
    """A pair of sleeves, `long` 1 or 0, that hang from shoulders of this half width."""
    reach = long * vary(0.16, 0.42) + (1 - long) * vary(0.24, 0.42)
    end = top + long * vary(1.05, 1.6) + (1 - long) * vary(0.3, 0.62)
    wide = long * vary(0.13, 0.2) + (1 - long) * vary(0.2, 0.3)
    tone = vary(0.8, 1.0)
    x = shoulder + reach
    sleeve: list[Point] = [
        (shoulder - 0.12, top),
        (x, end - 0.1),
        (x - wide, end),
        (shoulder - 0.14, long * (top + 0.5) + (1 - long) * (end + 0.01)),
    ]
    return _both(sleeve, tone)


def _body(shoulder: Array, hem: Array, top: Array, bottom: Array, neck: Array) -> list[Point]:
    """A torso from the neck over the shoulders down to the hem."""
    half: list[Point] = [(neck, top - 0.12), (shoulder, top + 0.02), (hem, bottom)]
    return half + _mirror(half)[::-1]


def _neckline(vary: Vary, neck: Array, top: Array, depth: Array) -> Part:
    """The opening at the neck, round to pointed: the inside of the back, or background."""
    x = neck * vary(0.5, 0.85)
    outline: list[Point] = [
        (neck, top - 0.16),
        (x, top - 0.14 + 0.75 * depth),
        (0.0, top - 0.1 + depth),
        (-x, top - 0.14 + 0.75 * depth),
        (-neck, top - 0.16),
    ]
    return Part(outline, vary.chance(0.5) * vary(0.3, 0.7))


def _print(vary: Vary, p: float) -> Part:
    """A patch of another tone on the chest."""
    x, y = vary(-0.1, 0.1), vary(-0.4, 0.2)
    w, h = vary(0.08, 0.28), vary(0.06, 0.3)
    outline: list[Point] = [(x - w, y), (x, y - h), (x + w, y), (x, y + h)]
    return Part(outline, vary(0.3, 1.5), vary.chance(p))


def _tshirt(vary: Vary) -> list[Part]:
    top, shoulder, hem, neck = vary(-0.84, -0.76), vary(0.42, 0.58), vary(0.4, 0.6), vary(0.16, 0.3)
    bottom = vary(0.78, 0.95)
    return [
        *_sleeves(vary, shoulder, top, vary.chance(0.06)),
        Part(_body(shoulder, hem, top, bottom, neck), 1.0),
        _print(vary, 0.4),
        _neckline(vary, neck, top, vary(0.1, 0.36)),
    ]


def _trouser(vary: Vary) -> list[Part]:
    waist, hem = vary(0.26, 0.4), vary(0.2, 0.5)
    gap, crotch = vary(0.02, 0.14), vary(-0.6, -0.3)
    hips = 0.75 * waist + 0.25 * hem + vary(0.03, 0.12)
    leg: list[Point] = [(0.0, -0.9), (waist, -0.9), (hips, crotch), (hem, 0.94), (gap, 0.94)]
    return [
        *_both(leg, vary(0.85, 1.0)),
        Part([(-gap, 0.98), (0.0, crotch), (gap, 0.98)], 0.0, vary.chance(0.8)),
        Part(_band(-waist, waist, -0.97, -0.84), vary(0.6, 1.2)),
        Part(_band(-0.02, 0.02, -0.84, crotch), 0.6, vary.chance(0.4)),
    ]


def _pullover(vary: Vary) -> list[Part]:
    top, shoulder, hem, neck = (
        vary(-0.82, -0.72),
        vary(0.42, 0.56),
        vary(0.4, 0.6),
        vary(0.14, 0.28),
    )
    bottom, rib = vary(0.78, 0.95), vary(0.6, 1.3)
    turtle = vary(0.08, 0.22)
    return [
        Part(_band(-neck, neck, top - turtle, top + 0.1), rib, vary.chance(0.5)),
        *_sleeves(vary, shoulder, top, 1 - vary.chance(0.06)),
        Part(_body(shoulder, hem, top, bottom, neck), 1.0),
        Part(_band(-hem, hem, bottom - 0.12, bottom), rib, vary.chance(0.7)),
        _print(vary, 0.35),
        _neckline(vary, neck, top, vary(0.06, 0.24)),
    ]


def _dress(vary: Vary) -> list[Part]:
    top, shoulder, neck = vary(-0.86, -0.76), vary(0.28, 0.42), vary(0.12, 0.22)
    waist, line, hem = vary(0.2, 0.34), vary(-0.3, 0.1), vary(0.28, 0.6)
    sleeved, long = vary.chance(0.5), vary.chance(0.4)
    sleeves = [part._replace(present=sleeved) for part in _sleeves(vary, shoulder, top, long)]
    skirt: list[Point] = [(waist, line - 0.04), (hem, 0.95)]
    return [
        *sleeves,
        Part(_body(shoulder, waist, top, line + 0.02, neck), vary(0.85, 1.0)),
        Part(skirt + _mirror(skirt)[::-1], 1.0),
        Part(_band(-waist, waist, line - 0.06, line + 0.04), vary(0.4, 1.3), vary.chance(0.4)),
        _neckline(vary, neck, top, vary(0.1, 0.4)),
    ]


def _coat(vary: Vary) -> list[Part]:
    top, shoulder, hem, neck = (
        vary(-0.82, -0.72),
        vary(0.42, 0.56),
        vary(0.42, 0.62),
        vary(0.14, 0.26),
    )
    bottom, v = vary(0.84, 0.97), vary(0.25, 0.7)
    hood, inner = vary.chance(0.3), vary(0.2, 0.6)
    line, pocket = vary(-0.06, 0.06), vary(0.1, 0.35)
    lapel: list[Point] = [(neck, top - 0.14), (neck + 0.14, top + 0.1), (line, top + v)]
    return [
        Part([(-0.24, top), (-0.2, top - 0.2), (0.2, top - 0.2), (0.24, top)], 0.8, hood),
        *_sleeves(vary, shoulder, top, 1 - vary.chance(0.04)),
        Part(_body(shoulder, hem, top, bottom, neck), 1.0),
        *_both(lapel, vary(0.75, 1.3), vary.chance(0.8)),
        Part([(-neck, top - 0.16), (neck, top - 0.16), (line, top + v)], inner),
        Part(_band(line - 0.035, line + 0.035, top + v - 0.1, bottom + 0.03), vary(0.0, 0.5)),
        *_both(
            [(0.18, pocket), (0.36, pocket - 0.06), (0.36, pocket + 0.04), (0.18, pocket + 0.1)],
            0.6,
            vary.chance(0.6),
        ),
    ]


def _shirt(vary: Vary) -> list[Part]:
    top, shoulder, hem, neck = (
        vary(-0.84, -0.74),
        vary(0.42, 0.57),
        vary(0.4, 0.6),
        vary(0.14, 0.24),
    )
    bottom, collar = vary(0.78, 0.95), vary(0.14, 0.26)
    tone, button = vary(0.7, 1.25), vary(0.0, 0.45)
    buttoned = vary.chance(0.95)
    flap: list[Point] = [(0.02, top - 0.02), (neck + 0.04, top - 0.18), (neck, top + collar)]
    return [
        *_sleeves(vary, shoulder, top, vary.chance(0.6)),
        Part(_body(shoulder, hem, top, bottom, neck), 1.0),
        Part([(-neck, top - 0.18), (neck, top - 0.18), (0.0, top + 0.1)], vary(0.2, 0.6)),
        Part(_band(-0.05, 0.05, top + 0.05, bottom), tone, vary.chance(0.7)),
        *_both(flap, vary(1.1, 1.4)),
        *[Part(_band(-0.04, 0.04, y, y + 0.08), button, buttoned) for y in (-0.5, -0.2, 0.1, 0.4)],
        Part(_band(0.14, 0.34, -0.35, -0.12), vary(0.7, 0.9), vary.chance(0.4)),
    ]


# Shoes point to the left.


def _sole(vary: Vary, y: Array, thick: Array, tone: Array) -> Part:
    tip = vary(0.0, 0.08)
    outline: list[Point] = [(-0.95, y), (0.92, y), (0.95, y + thick), (-0.92 + tip, y + thick)]
    return Part(outline, tone)


def _foot(y: Array, instep: Array, toe: Array) -> list[Point]:
    """The part of a shoe over the toes, up to the instep's height above the sole at y."""
    return [(-0.93, y), (-0.86, y - toe), (0.05, y - instep), (0.9, y - instep), (0.93, y)]


def _strap(x: Any, lean: Array, wide: Array, bottom: Array, top: Array) -> list[Point]:
    """A strap that rises from x at the sole, leaning backwards."""
    return [(x, bottom), (x + lean, top), (x + lean + wide, top), (x + wide, bottom)]


def _sandal(vary: Vary) -> list[Part]:
    y, thick, tone = vary(0.25, 0.5), vary(0.08, 0.22), vary(0.7, 1.1)
    rise = vary(0.05, 0.4) * vary.chance(0.4)  # of the heel above the toes
    heel, instep, ankle = y - rise, y - vary(0.3, 0.55), y - rise - vary(0.35, 0.6)
    wide, lean = vary(0.14, 0.4), vary(0.1, 0.3)
    band, counter = vary(0.1, 0.2), vary(0.1, 0.3)
    middle, back = vary.chance(0.85), vary.chance(0.75)
    return [
        Part([(0.62, heel), (0.92, heel), (0.9, y + thick), (0.7, y + thick)], 0.9),
        Part([(-0.95, y), (0.95, heel), (0.93, heel + thick), (-0.9, y + thick)], vary(0.5, 1.2)),
        Part(_strap(-0.78, lean, wide, y, y - vary(0.2, 0.35)), tone),
        Part(_strap(-0.3, lean, wide, y, instep), tone, middle),
        Part(
            [(-0.1, instep), (0.9, ankle), (0.9, ankle + band), (-0.1, instep + band)],
            tone,
            middle * back * vary.chance(0.8),
        ),
        Part(_band(0.92 - counter, 0.92, ankle, heel), tone, back),
    ]


def _sneaker(vary: Vary) -> list[Part]:
    y, thick = vary(0.3, 0.5), vary(0.1, 0.22)
    instep, toe, high = vary(0.3, 0.5), vary(0.12, 0.25), vary(0.1, 0.45)
    front, lace = vary(-0.1, 0.2), vary(0.3, 1.5)
    laced, striped = vary.chance(0.85), vary.chance(0.6)
    collar = y - instep - high
    return [
        Part(_foot(y, instep, toe), 1.0),
        Part(
            [
                (front - 0.25, y - instep * 0.8),
                (front + 0.1, collar),
                (0.85, collar - 0.06),
                (0.93, y),
            ],
            vary(0.85, 1.0),
        ),
        Part(
            [
                (front + 0.2, collar - 0.06),
                (0.75, collar - 0.1),
                (0.7, collar + 0.07),
                (front + 0.25, collar + 0.1),
            ],
            vary(0.1, 0.5),
            vary.chance(0.7),
        ),
        Part([(-0.93, y), (-0.86, y - toe), (-0.66, y - toe * 1.3), (-0.6, y)], vary(0.7, 1.3)),
        *[
            Part(
                [(x, y - 0.3), (x + 0.2, y - 0.5), (x + 0.26, y - 0.44), (x + 0.06, y - 0.24)],
                lace,
                laced,
            )
            for x in (-0.45, -0.25, -0.05)
        ],
        Part([(0.2, y), (0.45, y - 0.4), (0.6, y - 0.4), (0.35, y)], vary(0.4, 1.4), striped),
        _sole(vary, y, thick, vary(0.9, 1.5)),
    ]


def _boot(vary: Vary) -> list[Part]:
    y, thick = vary(0.5, 0.7), vary(0.06, 0.16)
    instep, toe, high = vary(0.35, 0.55), vary(0.12, 0.25), vary(0.3, 0.85)
    front, heel = vary(-0.1, 0.2), vary(0.06, 0.25)
    collar = y - instep - high
    zip_at = vary(0.35, 0.55)
    tone = vary(0.5, 1.0)
    return [
        Part(_foot(y, instep, toe), 1.0),
        Part(
            [(front - 0.25, y - instep * 0.8), (front, collar), (0.86, collar), (0.93, y)],
            vary(0.9, 1.0),
        ),
        Part(
            [(front, collar), (0.86, collar), (0.86, collar + 0.12), (front, collar + 0.12)],
            vary(0.5, 1.4),
            vary.chance(0.5),
        ),
        Part(_band(zip_at, zip_at + 0.06, collar, y - 0.1), vary(0.3, 0.7), vary.chance(0.6)),
        _sole(vary, y, thick, tone),
        Part(_band(0.5, 0.95, y, y + thick + heel), tone),
    ]


def _bag(vary: Vary) -> list[Part]:
    top, bottom = vary(-0.45, 0.1), vary(0.6, 0.92)
    upper, lower = vary(0.55, 0.92), vary(0.6, 0.95)
    wide, high, thick = vary(0.25, 0.6), vary(0.25, 0.6), vary(0.06, 0.14)
    handled, flap = vary.chance(0.8), vary(0.2, 0.6)
    flapped = vary.chance(0.6)
    arch: list[Point] = [
        (wide, top + 0.1),
        (wide * 0.9, top - high * 0.7),
        (wide * 0.5, top - high),
    ]
    hole: list[Point] = [
        (wide - thick, top + 0.1),
        (wide * 0.9 - thick, top - high * 0.7 + thick * 0.6),
        (wide * 0.5 - thick * 0.5, top - high + thick),
    ]
    half: list[Point] = [(upper, top), (lower, bottom)]
    crease = top + flap
    return [
        Part(arch + _mirror(arch)[::-1], vary(0.5, 1.0), handled),
        Part(hole + _mirror(hole)[::-1], 0.0, handled),
        Part(half + _mirror(half)[::-1], 1.0),
        Part(_band(-upper, upper, crease, crease + 0.05), vary(0.3, 0.7), flapped),
        Part(_band(-0.08, 0.08, crease - 0.04, crease + 0.12), vary(0.3, 1.5), vary.chance(0.6)),
    ]


GARMENTS: dict[str, Callable[[Vary], list[Part]]] = {
    "T-shirt/top": _tshirt,
    "Trouser": _trouser,
    "Pullover": _pullover,
    "Dress": _dress,
    "Coat": _coat,
    "Sandal": _sandal,
    "Shirt": _shirt,
    "Sneaker": _sneaker,
    "Bag": _bag,
    "Ankle boot": _boot,
}
