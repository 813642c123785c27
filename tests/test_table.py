"""Tables: what stands in a cell, and where the columns stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nin import compare, table
from nin.table import Column

pytestmark = pytest.mark.cpu

COLUMNS = (
    Column("run", "name"),
    Column("accuracy", "accuracy", ".1%"),
    Column("ms", "seconds", ".0f", 1e3),
    Column("note", "note", "<"),
)
ROWS = [
    {"name": "a", "accuracy": 0.5, "seconds": 0.012, "note": "first"},
    {"name": "longer", "accuracy": None, "seconds": 1.5, "note": ""},
]


def test_the_first_column_and_texts_that_ask_for_it_begin_at_the_left():
    assert table.text(COLUMNS, ROWS).splitlines() == [
        "run     accuracy    ms  note",
        "a          50.0%    12  first",
        "longer         –  1500",
    ]


def test_across_each_row_has_a_column_beside_the_headings():
    assert table.text(COLUMNS[:3], ROWS, across=True).splitlines() == [
        "run           a  longer",
        "accuracy  50.0%       –",
        "ms           12    1500",
    ]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        (Column("", "n", ","), "1,234,567"),
        (Column("", lambda row: row["n"] + 1), "1234568"),
        (Column("", "size"), "1×28×28"),
        (Column("", "nothing", none="all"), "all"),
        (Column("", "text", ".2f"), "as it is"),
        (Column("", "n", ".1f", 2**-20), "1.2"),
    ],
)
def test_what_a_cell_says(column, cell):
    row = {"n": 1_234_567, "size": (1, 28, 28), "nothing": None, "text": "as it is"}
    assert column.cell(row) == cell


def test_without_rows_the_headings_stand_alone():
    assert table.text(COLUMNS, []) == "run  accuracy  ms  note"


# --- on a terminal -------------------------------------------------------------------------------

LETTERS = st.sampled_from(
    ["a", "b", "-", " ", "é", "e\N{COMBINING ACUTE ACCENT}", "日", "\N{OWL}", "2026"]
)
NAMES = st.lists(st.lists(LETTERS, min_size=1, max_size=70).map("".join), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("run", 3), ("Größe", 5), ("e\N{COMBINING ACUTE ACCENT}", 1), ("日本", 4)],
)
def test_a_width_is_in_columns_of_a_terminal(text, columns):
    assert table.width(text) == columns


@given(NAMES, st.integers(8, 60), st.integers(0, 60))
def test_a_text_that_is_cut_fits_and_keeps_both_ends(names, most, at_the_end):
    for name in names:
        short = table.cut(name, most, min(at_the_end, most - 1))
        assert table.width(short) <= most
        if short != name:
            begin, end = short.split("…")
            assert name.startswith(begin) and name.endswith(end)


@pytest.mark.parametrize(
    ("columns", "evaluated_on"),
    [(60, "test"), (80, "test"), (80, "validation"), (120, "validation")],
)
def test_a_comparison_fits_the_terminal_and_tells_all_runs_apart(columns, evaluated_on):
    figures = {"epochs": 100, "train_loss": 2.3, "eval_loss": 2.3, "accuracy": 1.0}
    figures |= {"best_accuracy": 1.0, "seconds": 6000.0, "test": {"accuracy": 1.0}}
    settings = {"lr": 0.1, "mean": (0.1, 0.2, 0.3), "init_from": "", "dataset": "/a b/" + 9 * "c/"}

    @given(NAMES)
    def check(names):
        names = list(dict.fromkeys(filter(str.strip, names)))
        common = {**figures, "evaluated_on": evaluated_on, "settings": settings}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            text = compare.report([{"run": name, **common} for name in names]) if names else ""
        lines = text.splitlines()
        rows = [line[: -len("100")] for line in lines if line.endswith("100.0")]
        assert len(set(rows)) == len(names)
        assert all(table.width(line) <= columns or line in names for line in lines)
        assert all(name in lines for name in names)
        assert not any(line.endswith(("lr", "mean", "dataset")) for line in lines)

    check()
