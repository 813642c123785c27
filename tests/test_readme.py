"""What the README promises on its first screens: an example that trains, and its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import minicnn
from minicnn.vision import datasets
from nin.silhouettes import Silhouettes

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SLACK = 0.25  # by which a number of lines may have changed since it was written


def figure(cell: str) -> float:
    return float(cell.replace(",", ""))


def lines(*paths: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in paths)


def test_the_ten_lines_train(monkeypatch):
    def drawn(*_, transform, **__):
        return Silhouettes(transform=transform, size=3200)

    monkeypatch.setattr(datasets, "FashionMNIST", drawn)
    minicnn.manual_seed(0)
    space: dict[str, object] = {}
    exec(re.search(r"^```python\n(.+?)^```", README, re.M | re.S)[1], space)
    assert space["loss"].item() < 2.2  # to guess is 2.3


def test_the_core_has_the_lines_that_the_table_gives():
    rows = re.findall(r"^\| `((?:minicnn|nin)/[\w/]+\.py)` \| ([\d,]+) \|", README, re.M)
    total = re.search(r"^\| all \| ([\d,]+) \|", README, re.M)[1]
    assert sum(figure(n) for _, n in rows) == figure(total)
    there = {path: pytest.approx(lines(ROOT / path), rel=SLACK) for path, _ in rows}
    assert {path: figure(n) for path, n in rows} == there


def test_the_engine_has_the_lines_that_the_comparison_gives():
    told = re.search(r"^\| \*\*minicnn\*\* \| ([\d,]+) \|", README, re.M)[1]
    there = lines(*(ROOT / "minicnn").rglob("*.py"))
    assert figure(told) == pytest.approx(there, rel=SLACK)


@pytest.mark.parametrize(
    ("library", "row", "results"),
    [
        (r"\*\*minicnn\*\*", "minicnn, auto", ("cpu-article-train", "cpu-article-train-first")),
        (r"\[tinygrad\]", "tinygrad", (None, "cpu-article-train-first")),
    ],
)
def test_the_times_of_the_comparison_are_those_that_were_measured(library, row, results):
    cells = re.search(rf"^\| {library}.*?\|.*?\| (?:([\d.]+) )?\(([\d.]+)\)", README, re.M)
    for told, name in zip(cells.groups(), results, strict=True):
        if name is None:
            assert told is None
            continue
        rows = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())["rows"]
        ratio = rows[row]["ms_an_image"] / rows["PyTorch channels-last"]["ms_an_image"]
        assert float(told) == pytest.approx(ratio, rel=0.02)
