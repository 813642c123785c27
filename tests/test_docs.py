"""What the pages promise: lines that exist, pictures that exist and say where they come from."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from docs.source_links import LINK, definition, on_page_markdown

pytestmark = pytest.mark.cpu
DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


@each_page
def test_the_source_that_a_page_shows_is_there(page):
    links = LINK.findall(page.read_text())
    assert all(definition(path, name)[1] for _, path, name in links)


@each_page
def test_no_link_into_the_source_is_left_to_a_browser(page):
    """Within a sentence it would lead nowhere on the site, which holds the pages alone."""
    assert "](../" not in on_page_markdown(page.read_text())


@each_page
def test_files_that_a_page_names_exist(page):
    places = r"`((?:minicnn|nin|tests|benchmarks|docs)/[\w./-]+\.(?:py|md|png))`"
    for path in re.findall(places, page.read_text()):
        assert (DOCS.parent / path).exists(), path


@each_page
def test_every_picture_is_there_and_a_command_stands_under_it(page):
    for name, after in re.findall(r"^!\[[^\]]+\]\(([^)]+)\)\n\n(.+)", page.read_text(), re.M):
        assert (DOCS / name).exists(), name
        assert re.match(r"\(`(python -m|make) ", after), f"{name}: {after}"


@each_page
def test_the_examples_of_a_page_give_what_it_shows(page):
    text = re.sub(r"^```.*$", "", page.read_text(), flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(LookupError, match=r"autograd\.py defines no nosuch"):
        definition("minicnn/autograd.py", "nosuch")


def test_a_method_is_found_with_its_lines():
    first, text = definition("minicnn/autograd.py", "Variable.accumulate_grad")
    assert first > 1
    assert text.startswith("def accumulate_grad(")
