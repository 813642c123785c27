"""What the pages promise: lines and pictures that exist, commands under these, floors, state."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import figures
from docs.source_links import LINK, definition, on_page_markdown

from .test_structure import ENGINE, LAYERS

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*sorted(DOCS.glob("*.md")), *ROOT_PAGES[1:]]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


@each_page
def test_the_source_that_a_page_shows_is_there(page):
    links = LINK.findall(page.read_text())
    assert all(definition(path, name)[1] for _, path, name in links)


@each_page
def test_no_link_into_the_source_is_left_to_a_browser(page):
    """Within a sentence it would lead nowhere on the site, which holds the pages alone."""
    assert "](../" not in on_page_markdown(page.read_text())


@pytest.mark.parametrize("page", [*PAGES, ROOT_PAGES[0]], ids=lambda p: p.stem)
def test_files_that_a_page_names_exist(page):
    places = r"`((?:minicnn|nin|tests|benchmarks|docs)/[\w./-]+\.(?:py|md|png))`"
    for path in re.findall(places, page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("package", ["minicnn", "nin"])
def test_the_map_in_the_readme_names_every_file(package):
    section = re.search(rf"^{package}/ .*\n((?:  .*\n)+)", ROOT_PAGES[0].read_text(), re.M)
    named = set(re.findall(r"\w+(?:/|\.py)", section[1].replace("utils/data/", "utils/")))
    there = [p for p in (ROOT / package).iterdir() if p.is_dir() or p.suffix == ".py"]
    expected = {f"{p.name}/" if p.is_dir() else p.name for p in there if p.name[0] != "_"}
    assert named >= expected


@pytest.mark.parametrize("page", ROOT_PAGES, ids=lambda p: p.stem)
def test_links_of_the_pages_at_the_root_lead_to_files(page):
    for path in re.findall(r"\]\(([^):#]+)[^):]*\)", page.read_text()):
        assert (ROOT / path).exists(), path


@each_page
def test_every_picture_is_there_and_a_command_stands_under_it(page):
    for name, after in re.findall(r"^!\[[^\]]+\]\(([^)]+)\)\n\n(.+)", page.read_text(), re.M):
        assert (DOCS / name).exists(), name
        assert re.match(r"\(`(python -m|make) ", after), f"{name}: {after}"


@each_page
def test_the_examples_of_a_page_give_what_it_shows(page):
    text = re.sub(r"^```.*$", "", page.read_text(), flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(test).failed == 0


ELSEWHERE = {  # code that needs what a test has not
    "README": "a download; tests/test_readme.py runs it with other images",
    "export": "a file that a command has written",
    "gpu": "a GPU",
}


@pytest.mark.parametrize("page", [*PAGES, ROOT_PAGES[0]], ids=lambda p: p.stem)
def test_the_code_of_a_page_runs_as_it_stands(page, monkeypatch, tmp_path):
    blocks = re.findall(r"^```python\n(.+?)^```", page.read_text(), re.M | re.S)
    if page.stem in ELSEWHERE:
        del blocks[0]
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, str(page), "exec"), {"__name__": "page"})


@each_page
def test_the_code_of_a_page_is_as_wide_as_the_site_shows(page):
    """75 columns of what is typed; what programs print is as wide as they print it."""
    text = page.read_text()
    typed = re.findall(r"^(?:>>> |\.\.\. |\$ ).*", text, re.M)
    for block in re.findall(r"^```(?:python|toml)\n(.+?)^```", text, re.M | re.S):
        typed += block.splitlines()
    assert [line for line in typed if len(line) > 75] == []


def test_every_page_of_the_site_is_one_link_from_the_first():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = set(re.findall(r"[\w./-]+\.md", nav)) - {"index.md"}
    linked = re.findall(r"\]\(([^)#:]+\.md)\)", (DOCS / "index.md").read_text())
    assert set(linked) == pages
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    root_pages = {page.name for page in ROOT_PAGES[1:]}
    assert {name for name in there if not name.endswith("README.md")} | root_pages == pages


def test_a_picture_becomes_a_figure_that_says_what_to_see():
    page = "![A curve](a.png)\n\n(`make bench`, (twice).) Below.\n\n    ![Inside](b.png)\n"
    figure = "[![A curve](a.png)](a.png){ .enlarge }\n<figcaption>A curve</figcaption>\n</figure>"
    made = figures.on_page_markdown(page)
    assert f'<figure markdown="1">\n{figure}\n\n(`make bench`, (twice).)\n{{: .made }}' in made
    assert "\n\nBelow.\n" in made
    assert "\n    <figcaption>Inside</figcaption>\n" in made


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(LookupError, match=r"autograd\.py defines no nosuch"):
        definition("minicnn/autograd.py", "nosuch")


def test_a_method_is_found_with_its_lines():
    first, text = definition("minicnn/autograd.py", "Variable.accumulate_grad")
    assert first > 1
    assert text.startswith("def accumulate_grad(")


# --- docs/architecture.md ------------------------------------------------------------------------


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the architecture's page."""
    section = (DOCS / "architecture.md").read_text().partition(f"## {heading}\n")[2]
    table = section.partition("\n## ")[0].split("| --- |")[-1]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_the_page_has_the_floors_that_imports_are_held_to():
    floors = [names(modules) for modules, _ in rows("The floors")]
    assert floors == LAYERS[::-1]


def state(path: Path) -> Iterator[str]:
    """What a module keeps for a whole process or thread.

    Names that functions set anew, caches, and what may be filled: objects that are made of nothing,
    and dicts and lists but those of constants, whose names are of capitals, and `__all__`.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names
        if isinstance(node, ast.FunctionDef) and any(map(is_cache, node.decorator_list)):
            yield node.name
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            bound = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            if any(map(may_be_filled, made)):
                yield from (name for name in bound if not name.isupper() and name != "__all__")


def may_be_filled(value: ast.expr | None) -> bool:
    """Something(), {…}, […], and what is_cache() finds."""
    made_of_nothing = isinstance(value, ast.Call) and not value.args and not value.keywords
    return made_of_nothing or isinstance(value, (ast.Dict, ast.List)) or is_cache(value)


def is_cache(node: ast.expr | None) -> bool:
    """cache, lru_cache, lru_cache(…) and what these make of a function."""
    if isinstance(node, ast.Call):
        return is_cache(node.func)
    return isinstance(node, ast.Name) and node.id in ("cache", "lru_cache")


def test_the_page_names_all_state_that_outlives_a_call():
    found = {(path, name) for path in ENGINE for name in state(path)}
    told = {
        (ROOT / "minicnn" / path, name)
        for place, what, _ in rows("State that outlives a call")
        for path in names(place)
        for name in names(what)
    }
    assert found == told


def test_the_application_keeps_no_state_that_outlives_a_call():
    assert not [(path, *state(path)) for path in (ROOT / "nin").rglob("*.py") if [*state(path)]]
