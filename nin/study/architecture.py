"""A network drawn from itself: what each layer makes, as a block of maps, and its weights.

The picture is as narrow as a phone's screen. It is read from top to bottom, as the forward pass
goes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import minicnn
from minicnn import Tensor, nn

from ..command_line import add_recipe
from ..data import kind_of
from ..presets import Preset
from ..table import Column
from .memory import drawn
from .report import Report
from .summary import name, stages

ARGUMENTS = "[PRESET] [flags]"
EXAMPLES = """
nin study architecture
nin study architecture article
nin study architecture nets.py:small
"""
COLUMNS = (
    Column("layer", "name"),
    Column("output", "output"),
    Column("parameters", lambda block: block["parameters"] or None, ",", none=""),
)
NOTES = """\
In the picture, the sides of a block grow with the square root of the maps'
height and width, and its depth with that of the number of channels."""
LEGEND = {
    "windows": ("#a8ddb5", "convolution with a larger window"),
    "pixels": ("#fec44f", "1×1 convolution"),
    "dense": ("#bcaedc", "fully connected"),
    "other": ("#dddddd", "no weights"),
}
WIDTH = 360  # of the picture, in pixels, as all that follows
LEFT = 150  # where the texts begin
SIDE, DEPTH, LEAST = 74, 50, 3  # the longest side and depth, and the shortest
GAP = 12  # between two rows
ROW = 32  # the least height of a row, that of its two lines of text
HEADING = 34


class Block(NamedTuple):
    """What a layer makes: its output's sizes without the batch's axis."""

    name: str
    kind: str  # a key of LEGEND
    output: tuple[int, ...]
    parameters: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)


def run(args: argparse.Namespace, report: Report) -> None:
    blocks = read(args.preset, args.device)
    rows = [block._asdict() for block in blocks]
    report.table(COLUMNS, rows, NOTES)
    report.text(draw(args.preset.name, blocks), kind="svg")
    report.finish({"blocks": rows, "parameters": sum(block.parameters for block in blocks)})


def picture(preset: Preset) -> str:
    """A preset's network, drawn as SVG."""
    return draw(preset.name, read(preset, minicnn.device("cpu")))


def read(preset: Preset, device: minicnn.device) -> list[Block]:
    """The images that a preset is for, and what each layer of its network makes of them."""
    kind = kind_of(preset)
    model = preset.build(kind).to(device).eval()
    preset.try_network(kind, model)
    images, _ = drawn(1, preset, kind, device)
    return list(through(model, images))


def through(model: nn.Module, x: Tensor) -> Iterator[Block]:
    """The images, and what each layer makes of them; a ReLU is drawn with its convolution."""
    yield Block("image", "other", x.shape[1:], 0)
    for stage in stages(model):
        layer = stage[0] if isinstance(stage, nn.Sequential) else stage
        with minicnn.no_grad():
            x = stage(x)
        if not isinstance(layer, (nn.Dropout, nn.Flatten)):
            count = sum(p.numel() for p in stage.parameters())
            yield Block(name(stage), legend(layer, count), x.shape[1:], count)


def legend(layer: Any, parameters: int) -> str:
    """The key of LEGEND by which a layer is coloured."""
    if isinstance(layer, nn.Conv2d):
        return "pixels" if layer.kernel_size == (1, 1) else "windows"
    return "dense" if parameters else "other"


def draw(network: str, blocks: list[Block]) -> str:
    """The picture of a network of this name, as SVG."""
    title = f"{network}: {sum(block.parameters for block in blocks):,} parameters"
    sizes = [block.output if len(block.output) == 3 else (*block.output, 1, 1) for block in blocks]
    channels = max(c for c, _, _ in sizes)
    pixels = max(max(h, w) for _, h, w in sizes)
    parts, y = [_text(8, 20, title, 13, weight="bold")], float(HEADING)
    middle = (LEFT - 12) / 2
    for i, (block, (c, h, w)) in enumerate(zip(blocks, sizes, strict=True)):
        height, width = (max(LEAST, SIDE * math.sqrt(n / pixels)) for n in (h, w))
        depth = max(LEAST, DEPTH * math.sqrt(c / channels))
        slant = 0.4 * depth
        row = max(ROW, height + slant)
        top, left = y + (row - height + slant) / 2, middle - (width + depth) / 2
        parts += _slab(left, top, width, height, depth, slant, LEGEND[block.kind][0])
        centre = y + row / 2
        weights = f", {block.parameters:,} parameters" if block.parameters else ""
        parts.append(_text(LEFT, centre - 3, block.name, 12))
        parts.append(
            _text(LEFT, centre + 12, "×".join(map(str, block.output)) + weights, 11, "#555")
        )
        y += row + GAP
        if i + 1 < len(blocks):
            parts.append(
                f'<path d="M{middle:.1f} {y - GAP + 1:.1f}v{GAP - 3}" stroke="#888"'
                ' marker-end="url(#head)"/>'
            )
    for key in dict.fromkeys(block.kind for block in blocks):
        colour, meaning = LEGEND[key]
        parts.append(f'<rect x="8" y="{y:.1f}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(26, y + 10, meaning, 11, "#555"))
        y += 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 8:.0f}"'
        f' viewBox="0 0 {WIDTH} {y + 8:.0f}" font-family="sans-serif" fill="none">\n'
        '<marker id="head" viewBox="0 0 6 6" refX="3" refY="3" markerWidth="6" markerHeight="6"'
        ' orient="auto"><path d="M0 0L6 3L0 6z" fill="#888"/></marker>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, size: int, fill: str = "#222", weight: str = "") -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x}" y="{y:.1f}" font-size="{size}" fill="{fill}"{bold}>{escape(text)}</text>'


def _slab(
    x: float, y: float, width: float, height: float, depth: float, slant: float, colour: str
) -> Iterator[str]:
    """A box seen from the front, a little from above and the right; (x, y): its front's corner."""
    look = f'fill="{colour}" stroke="#444" stroke-width="0.8" stroke-linejoin="round"'
    yield f'<path d="M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z" {look}/>'
    above = f"M{x:.1f} {y:.1f}l{depth:.1f} {-slant:.1f}h{width:.1f}l{-depth:.1f} {slant:.1f}z"
    side = (
        f"M{x + width:.1f} {y:.1f}l{depth:.1f} {-slant:.1f}v{height:.1f}l{-depth:.1f} {slant:.1f}z"
    )
    yield f'<path d="{above}" {look} fill-opacity="0.6"/>'
    yield f'<path d="{side}" {look} fill-opacity="0.8"/>'
