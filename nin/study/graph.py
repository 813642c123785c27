"""The tape of one training step, as Graphviz DOT, Mermaid and SVG.

Drawn is what was recorded: images need no gradient, so no edge leads to them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from minicnn import Tensor, nn

from .. import drawing
from ..command_line import add_recipe, argument
from ..data import kind_of
from ..schema import whole
from ..table import Column
from . import tape
from .memory import drawn
from .report import Report

ARGUMENTS = "[PRESET] [flags]"
EXAMPLES = """
nin study graph
nin study graph article --batch-size 1
dot -Tpdf runs/RUN/graph.dot -o graph.pdf        # needs Graphviz
"""
COLUMNS = (
    Column("operation", "name"),
    Column("output", lambda row: shape(row["output"])),
    Column("from", lambda row: ", ".join(row["parameters"])),
    Column("holds, KiB", lambda row: row["bytes_held"] or None, ",.1f", 2**-10, none=""),
)


class Vertex(NamedTuple):
    """An operation, or a leaf, with the numbers of the vertices it was made from."""

    label: list[str]
    inputs: list[int]
    leaf: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument(
        "--batch-size",
        type=argument(whole(1, 256)),
        default=8,
        metavar="N",
        help="images in the step (default: 8)",
    )


def run(args: argparse.Namespace, report: Report) -> None:
    preset = args.preset
    kind = kind_of(preset)
    model = preset.build(kind).to(args.device)
    preset.try_network(kind, model)
    images, labels = drawn(args.batch_size, preset, kind, args.device)
    recorded = tape.read(nn.CrossEntropyLoss()(model(images), labels))
    held = tape.held(recorded, tape.blocks([*model.parameters(), images]))
    names = {id(p): name for name, p in model.named_parameters()}
    rows = [
        {
            "name": each.name,
            "output": each.shape,
            "parameters": [names[id(i)] for i in each.inputs if isinstance(i, Tensor)],
            "bytes_held": bytes_held,
        }
        for each, bytes_held in zip(recorded, held, strict=True)
    ]
    notes = (
        f"{len(recorded)} operations, which hold {sum(held) / 2**20:.2f} MiB for the backward\n"
        f"pass of {len(images)} images, beside the images and the parameters."
    )
    report.table(COLUMNS, rows, notes)
    vertices = list(layout(recorded, held, names))
    report.text(dot(vertices), kind="dot")
    report.text(mermaid(vertices), kind="mmd")
    report.figure(lambda: draw(vertices), kind="svg")
    report.finish({"operations": rows, "bytes_held": sum(held)})


def shape(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes)) or "scalar"


def layout(
    recorded: list[tape.Recorded], held: list[int], names: dict[int, str]
) -> Iterator[Vertex]:
    """Vertices in an order in which all come after what they were made from."""
    numbers: dict[int, int] = {}
    for each, n in zip(recorded, held, strict=True):
        for source in each.inputs:
            if isinstance(source, Tensor) and id(source) not in numbers:
                numbers[id(source)] = len(numbers)
                yield Vertex([names[id(source)], shape(source.shape)], [], leaf=True)
        label = [each.name, shape(each.shape), *([f"holds {n / 1024:,.1f} KiB"] if n else [])]
        numbers[id(each)] = len(numbers)
        yield Vertex(label, [numbers[id(source)] for source in each.inputs], leaf=False)


def dot(vertices: list[Vertex]) -> str:
    """The graph in Graphviz' language."""
    lines = ["digraph tape {", '  node [shape=box, fontname="sans-serif"]']
    for i, vertex in enumerate(vertices):
        style = ", shape=ellipse" if vertex.leaf else ""
        text = r"\n".join(vertex.label)
        lines.append(f'  n{i} [label="{text}"{style}]')
        lines += [f"  n{source} -> n{i}" for source in vertex.inputs]
    return "\n".join([*lines, "}", ""])


def mermaid(vertices: list[Vertex]) -> str:
    """The graph in Mermaid's language, for a Markdown page."""
    lines = ["flowchart TD"]
    for i, vertex in enumerate(vertices):
        text = "<br>".join(vertex.label)
        lines.append(f'  n{i}(["{text}"])' if vertex.leaf else f'  n{i}["{text}"]')
        lines += [f"  n{source} --> n{i}" for source in vertex.inputs]
    return "\n".join([*lines, ""])


def draw(vertices: list[Vertex]) -> drawing.Figure:
    """The operations in a column, and beside each the parameters that come in with it."""
    operations = [i for i, vertex in enumerate(vertices) if not vertex.leaf]
    row = {i: -r for r, i in enumerate(operations)}
    figure = drawing.figure(4.6, 0.52 * len(operations) + 0.2)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 4.6), ylim=(min(row.values()) - 0.6, 0.6))
    axes.axis("off")

    def box(x: float, y: float, lines: list[str], **style: Any) -> Any:
        look = {"boxstyle": "round,pad=0.35", "linewidth": 0.8, **style}
        text = axes.text(x, y, "\n".join(lines), ha="center", va="center", bbox=look)
        return text.get_bbox_patch()

    def arrow(start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.3", **style})

    boxes = {}
    for i in operations:
        name, *rest = vertices[i].label
        lines = [f"{name}: {rest[0]}", *rest[1:]]
        boxes[i] = box(3.45, row[i], lines, facecolor="#eeeeee", edgecolor="0.3")
        leaves = [vertices[s] for s in vertices[i].inputs if vertices[s].leaf]
        if leaves:
            lines = [": ".join(leaf.label) for leaf in leaves]
            beside = box(1.05, row[i], lines, facecolor="white", edgecolor="0.6")
            arrow((1.05, row[i]), (3.45, row[i]), patchA=beside, patchB=boxes[i])
    for i in operations:
        for source in vertices[i].inputs:
            if source in row:
                curve = "arc3" if row[source] - row[i] == 1 else "arc3,rad=-0.4"
                ends = {"patchA": boxes[source], "patchB": boxes[i], "connectionstyle": curve}
                arrow((3.45, row[source]), (3.45, row[i]), **ends)
    return figure
