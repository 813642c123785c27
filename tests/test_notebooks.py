"""The afternoon's pages keep their promises, and their notebooks stand alone."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.cpu
DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted((DOCS / "path").glob("*.md"))
NUMBERS = {"ten": 10, "fifteen": 15, "twenty": 20, "twenty-five": 25}
WHEEL = "nin_from_scratch-1.2-py3-none-any.whl"

spec = importlib.util.spec_from_file_location("offered", DOCS / "offered.py")
offered = importlib.util.module_from_spec(spec)
spec.loader.exec_module(offered)


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param


def minutes(page):
    """Those of the reading and those of the exercises, as the page's second line says them."""
    line = page.read_text().split("\n\n")[1].replace("\n", " ").lower()
    words = re.match(r"\*(\S+) minutes.*?([\w-]+) for the exercises", line).groups()
    return [NUMBERS[word] for word in words]


def exercises(page):
    """The text of each exercise with its solution."""
    part = page.read_text().split("\n## Exercises\n")[1].split("\n## What you have learnt\n")[0]
    return re.split(r"^\*\*\d\.\*\* ", part, flags=re.MULTILINE)[1:]


def test_a_page_has_three_to_five_exercises_each_with_a_solution_that_is_run(page):
    assert 3 <= len(exercises(page)) <= 5
    assert all(each.count('```python tags=["solution"]') == 1 for each in exercises(page))


def test_some_exercise_is_by_hand_some_in_code_and_some_asks_why(page):
    kinds = " ".join(re.match(r"\*(.*?)\*", each)[1] for each in exercises(page))
    assert {"hand", "code", "Why"} <= set(re.findall(r"\w+", kinds))


def test_a_page_ends_with_what_was_learnt_and_leads_on(page):
    end = page.read_text().split("\n## What you have learnt\n")[1]
    following = dict(pairwise(PAGES)).get(page)
    leads = rf"\nNext: .*\]\({following.name}\)" if following else r"\n## Where next\n"
    assert re.search(leads, end, re.DOTALL)


def test_the_minutes_of_a_page_are_those_on_the_first_page(page):
    row = re.search(rf"\(path/{page.name}\) \| (\d+) \| (\d+) \|", (DOCS / "index.md").read_text())
    assert minutes(page) == [int(n) for n in row.groups()]


def test_the_minutes_of_all_pages_are_two_hours_and_two_hours():
    assert [sum(each) for each in zip(*map(minutes, PAGES), strict=True)] == [120, 120]


def test_no_line_of_code_has_to_be_moved_sideways(page):
    blocks = re.findall(r"^```python.*?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert [line for block in blocks for line in block.splitlines() if len(line) > 75] == []


# --- the notebooks that are offered -------------------------------------------------------------


def code(*tags):
    outputs = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    return {"cell_type": "code", "source": "1", "outputs": outputs, "metadata": {"tags": [*tags]}}


def notebook(*cells, site=""):
    page = DOCS / "path" / "page.md"
    return offered.offered({"cells": [*cells], "metadata": {}}, page, WHEEL, site)


def alone(*cells, site=""):
    """These cells, and the one that installs, as offered."""
    return notebook(*cells, site=site)["cells"]


def text(markdown, site=""):
    return alone({"cell_type": "markdown", "source": markdown}, site=site)[0]["source"]


def test_only_a_solution_hides_what_it_has_printed():
    solution, _, folded, plain = alone(code("solution"), code("folded"), code())
    hidden = [each["metadata"].get("jupyter") for each in (solution, folded, plain)]
    both, source = ({"source_hidden": True, "outputs_hidden": o} for o in (True, False))
    assert hidden == [both, source, None]


def test_it_says_what_it_is_run_with_as_jupyter_asks_otherwise():
    assert notebook(code())["metadata"]["kernelspec"]["name"] == "python3"


def test_no_link_points_at_nothing_where_it_is_only_its_words(page):
    words = re.findall(r"\[([^]]+)\]\((?!https)", page.read_text())
    assert [each for each in words if each.lower() in ("here", "this", "this page", "more")] == []


def test_the_notebook_of_the_page_itself_is_left_alone():
    cell = code("solution")
    alone(cell)
    assert cell == code("solution")


@pytest.mark.parametrize(
    ("site", "line"),
    [
        ("", f'%pip install --quiet "{WHEEL}{{gpu}}"'),
        (
            "https://x.org/path/",
            f'%pip install --quiet "nin-from-scratch{{gpu}} @ https://x.org/path/{WHEEL}"',
        ),
    ],
)
def test_it_installs_the_package_by_one_line_of_pip(site, line):
    lines = alone(code(), site=site)[1]["source"].splitlines()
    assert [each.strip() for each in lines if "%pip" in each] == [line]


def test_a_link_to_another_page_is_its_words_where_the_site_has_no_address():
    assert text("See [the tape](../tape.md#x) and [this](a.md){target=_blank}.") == (
        "See the tape and this."
    )


def test_a_link_to_another_page_leads_to_the_site_where_it_has_an_address():
    assert text("[tape](../tape.md#x)", "https://x.org/path/") == (
        "[tape](https://x.org/tape.html#x)"
    )


def test_a_link_to_elsewhere_stays():
    assert text("[paper](https://arxiv.org/abs/1)") == "[paper](https://arxiv.org/abs/1)"


def test_a_picture_goes_with_the_notebook():
    picture = text("![quick](../figures/architecture-quick.svg)")
    assert re.fullmatch(r"!\[quick\]\(data:image/svg\+xml;base64,[\w+/]+=*\)", picture)


def test_no_page_has_a_link_that_a_notebook_would_not_understand(page):
    markdown = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)]*)\)", text(markdown.replace(str(page), "")))
    assert all(re.match(r"https://|data:", each) for each in found)
