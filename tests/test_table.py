"""Tables: what stands in a cell, and where the columns stand."""

from __future__ import annotations

import pytest

from nin import table
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
