"""Tables on the pages say what their commands compute now, where that takes seconds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nin import __main__ as package
from nin.kind import Kind
from nin.presets import PRESETS
from nin.study import summary
from nin.study.__main__ import main
from nin.study.ablate import percent
from nin.study.chance import least_difference

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the page's table whose heading begins so, without the quotes of code."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("`", "")
    body = text.partition(f"|{heading} |")[2].partition("\n\n")[0]
    assert body, f"{page} has no table that begins with {heading}"
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in body.splitlines()[2:]]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """What a study writes as JSON."""

    def of(name: str, *flags: str) -> dict:
        out = tmp_path_factory.mktemp(name) / "out"
        assert main([name, *flags, "--out", str(out)]) == 0
        return json.loads((out / f"{name}.json").read_text())

    return of


def test_where_the_parameters_are(numbers):
    assert table("docs/nin.md", " | convolutions | fully connected") == [
        [
            row["network"],
            f"{row['convolutions']:,}",
            f"{row['fully_connected']:,}",
            f"{row['bytes'] / 2**20:.1f}",
            f"{row['fully_connected_share']:.1%}".replace("0.0%", "0%"),
        ]
        for row in numbers("heads")["rows"]
    ]


def test_one_by_one_convolutions_agree(numbers):
    examples = numbers("onebyone")["examples"]
    said = table("docs/onebyone.md", " 1×1 convolution | weights")
    assert [row[0] for row in said] == [each["name"] for each in examples]
    there = [[each["differences"][by] for by in ("by_linear", "by_loop")] for each in examples]
    assert [[float(cell) for cell in row[2:]] for row in said] == there


@pytest.fixture(scope="module")
def summaries(numbers):
    with pytest.MonkeyPatch.context() as patch:  # seconds are no part of the tables
        patch.setattr(summary, "seconds_an_image", lambda *_: 1.0)
        return {name: numbers("summary", name, "--steps", "1") for name in ("article", "d2l")}


def test_the_layers_of_article(summaries):
    layers = summaries["article"]["layers"][:-1]  # the last only lays its input out anew
    said = table("docs/nin.md", " layer | output | weights")
    assert [row[1:] for row in said] == [
        [
            "×".join(map(str, layer["output"])),
            f"{layer['parameters'] or '':,}" if layer["parameters"] else "",
            f"{layer['multiply_adds'] / 1e6:.1f}" if layer["multiply_adds"] else "",
            str(layer["receptive_field"] or "all"),
            f"{layer['held'] / 2**10:,.0f}",
        ]
        for layer in layers
    ]


def test_what_a_nin_needs(summaries):
    said = {row[0]: row[1:] for row in table("docs/exercises.md", " | article | d2l")}
    both = [summaries["article"], summaries["d2l"]]
    assert said["parameters"] == [f"{s['parameters']['model']:,}" for s in both]
    adds = [f"{s['multiply_adds'] / 1e6:.0f} million" for s in both]
    assert said["multiply-adds an image"] == adds
    kept = [f"{s['bytes_kept']['layers'] / 2**20:.1f} MiB" for s in both]
    assert said["kept for their backward pass"] == kept
    for row, what in (("training step", "training"), ("prediction", "prediction")):
        # To a tenth, as allocators differ.
        measured = [s["bytes_at_most"][what] / 2**20 for s in both]
        told = [float(cell.split()[0]) for cell in said[f"at most in their {row}"]]
        assert told == pytest.approx(measured, rel=0.1)


def test_the_presets_parameters():
    said = table("README.md", " preset | parameters")
    grey, colour = (Kind(tuple("abcdefghij"), channels, 32, 32) for channels in (1, 3))
    models = {
        name: each.build(colour if each.dataset == "cifar-10" else grey)
        for name, each in PRESETS.items()
    }
    there = {
        name: f"{sum(p.numel() for p in model.parameters()):,}" for name, model in models.items()
    }
    assert {row[0]: row[1] for row in said} == there


def test_the_list_of_commands(monkeypatch):
    monkeypatch.setattr(package, "PROG", "python -m nin")
    monkeypatch.setenv("COLUMNS", "80")
    quoted = (ROOT / "docs/training.md").read_text(encoding="utf-8").partition("$ python -m nin\n")
    assert quoted[2].partition("\n```")[0] == package._overview()


def test_what_the_ablations_came_to():
    rows = json.loads((ROOT / "docs/figures/ablate.json").read_text())["rows"]
    said = table("docs/exercises.md", " network | parameters")
    assert [row[:3] for row in said] == [
        [r["name"], f"{r['parameters']:,}", percent(r["accuracy"], r["spread"])] for r in rows
    ]
    page = (ROOT / "docs/exercises.md").read_text()
    least = float(re.search(r"less than \*\*([\d.]+) points", page)[1])
    assert least == round(100 * least_difference([r["accuracies"] for r in rows]), 2)
