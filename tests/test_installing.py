"""What messages and pages say about installing works; no other place in the code says it."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from minicnn import installing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
CODE = [path for part in ("minicnn", "nin", "benchmarks") for path in (ROOT / part).rglob("*.py")]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.fixture
def from_a_wheel(monkeypatch, tmp_path):
    """from_a_wheel(ORIGIN): installed as files, with this in direct_url.json; None is no file."""
    monkeypatch.setattr(installing, "ROOT", tmp_path)
    monkeypatch.setattr(installing, "_pip", lambda: "pip")

    def origin(written):
        text = None if written is None else json.dumps(written)
        found = SimpleNamespace(read_text={"direct_url.json": text}.get)
        monkeypatch.setattr(installing.metadata, "distribution", {installing.NAME: found}.get)

    return origin


def test_the_distribution_has_the_name_that_is_said():
    assert PROJECT["name"] == installing.NAME


def test_the_page_on_installing_names_every_extra():
    rows = (ROOT / "docs" / "installing.md").read_text().partition("| --- |")[2]
    named = [re.findall(r"`([^`]+)`", row.split(" | ")[0]) for row in rows.splitlines()[1:]]
    assert {name for names in named for name in names if name in EXTRAS} == EXTRAS


def test_from_a_checkout_the_checkout_is_installed(monkeypatch):
    monkeypatch.setattr(installing, "_pip", lambda: "pip")
    monkeypatch.chdir(ROOT)
    assert installing.how("cuda13") == "pip install -e '.[cuda13]'"
    assert installing.how() == "pip install -e ."


def test_from_elsewhere_the_checkout_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(installing, "_pip", lambda: "pip")
    monkeypatch.chdir(tmp_path)
    assert installing.how("cuda13") == f"pip install -e '{ROOT}[cuda13]'"


ORIGINS = {
    "an index": (None, "'nin-from-scratch[cuda13]'"),
    "a file": (
        {"url": "file:///tmp/a.whl", "archive_info": {}},
        "'nin-from-scratch[cuda13] @ file:///tmp/a.whl'",
    ),
    "a repository": (
        {"url": "https://host/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
        "'nin-from-scratch[cuda13] @ git+https://host/a.git@abc'",
    ),
}


@pytest.mark.parametrize(("origin", "what"), ORIGINS.values(), ids=ORIGINS)
def test_what_was_installed_is_installed_again_from_where_it_came(from_a_wheel, origin, what):
    from_a_wheel(origin)
    assert installing.how("cuda13") == f"pip install {what}"


def test_a_copy_that_was_never_installed_comes_from_the_index(from_a_wheel, monkeypatch):
    def missing(name):
        raise installing.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installing.metadata, "distribution", missing)
    assert installing.how() == "pip install nin-from-scratch"


def test_the_pyproject_of_a_program_that_holds_a_copy_is_not_ours(from_a_wheel, tmp_path):
    from_a_wheel(None)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    assert installing.how("onnx") == "pip install 'nin-from-scratch[onnx]'"


def test_pip_is_this_environments(monkeypatch, tmp_path):
    for name in ("python", "pip"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert installing.how().startswith(f"{tmp_path}/python -m pip install ")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert installing.how().startswith("pip install ")


# --- the kind: every place that says it ----------------------------------------------------------


def texts(path):
    """The strings of a file that a program may print, without docstrings."""
    tree = ast.parse(path.read_text())
    with_docstring = (ast.Module, ast.ClassDef, ast.FunctionDef)
    inside = [node for node in ast.walk(tree) if isinstance(node, with_docstring)]
    docstrings = {id(node.body[0].value) for node in inside if ast.get_docstring(node) is not None}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_other_file_of_the_code_says_how_to_install(path):
    if path != Path(installing.__file__):
        assert not [text for text in texts(path) if re.search(r"\bpip3? +install\b", text)]


def test_every_extra_that_the_code_advises_exists():
    calls = [
        node
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "how"
    ]
    advised = {arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)}
    assert advised and advised <= EXTRAS


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_what_a_page_installs_is_this_distribution_with_extras_that_exist(page):
    for what in re.findall(r"pip\s+install\s+([^`\n#]+)", page.read_text()):
        ours = re.fullmatch(r"(?:-e '?\.|'?nin-from-scratch)(?:\[([\w,]+)\])?'?", what.strip())
        assert ours, what
        assert set((ours[1] or "").split(",")) - {""} <= EXTRAS
