"""What messages tell the user to type runs this Python and these commands, where they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from minicnn import invocation

from .test_installing import CODE, ROOT, texts

pytestmark = pytest.mark.cpu


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A directory with two environments, whose Pythons are links to one file."""
    project = tmp_path_factory.mktemp("my project").resolve()
    for name in (".venv", "other"):
        venv.EnvBuilder(symlinks=True).create(project / name)
    return project


@pytest.fixture
def stand(project, monkeypatch):
    """stand(PLACE, ENVIRONMENTS…): go to a place, with these environments on PATH; .venv runs."""

    def go(place, *on_path):
        place.mkdir(exist_ok=True)
        monkeypatch.chdir(place)
        first = [str(project / name / "bin") for name in on_path]
        monkeypatch.setenv("PATH", os.pathsep.join([*first, os.environ["PATH"]]))
        monkeypatch.setattr(sys, "executable", str(project / ".venv" / "bin" / "python"))

    return go


def run(command):
    """What a shell prints for a command."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    return done.stdout.strip()


PLACES = {
    "activated": (".", [".venv"], "python"),
    "activated, elsewhere": ("elsewhere", [".venv"], "python"),
    "not activated": (".", [], ".venv/bin/python"),
    "another is": (".", ["other", ".venv"], ".venv/bin/python"),
    "not activated, elsewhere": ("elsewhere", [], "'{}/.venv/bin/python'"),
}


@pytest.mark.parametrize(("place", "on_path", "expected"), PLACES.values(), ids=PLACES)
def test_what_is_said_to_be_this_python_is_it(project, stand, place, on_path, expected):
    stand(project / place, *on_path)
    said = invocation.python()
    assert said == expected.format(project)
    assert run(f"{said} -c 'import sys; print(sys.prefix)'") == str(project / ".venv")


def test_a_python_that_is_there_as_python3_alone_is_called_so(project, stand, tmp_path):
    stand(project)
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        patch.setenv("PATH", str(program.parent))
        assert invocation.python() == "python3"


def test_a_python_inside_another_program_has_no_path(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    assert invocation.python() == "python"


def test_where_the_directory_is_gone_paths_are_whole(project, stand):
    stand(project / "gone")
    (project / "gone").rmdir()
    assert invocation.python() == f"'{project}/.venv/bin/python'"


def test_a_module_is_run_with_this_python(project, stand, monkeypatch):
    stand(project)
    monkeypatch.setattr(sys, "argv", ["nin/train.py"])
    assert invocation.command("nin.train") == ".venv/bin/python -m nin.train"


@pytest.mark.parametrize(
    ("on_path", "module", "expected"),
    [
        ([".venv"], "nin.train", "nin train"),
        ([".venv"], "nin.study", "nin study"),
        ([".venv"], "nin", "nin"),
        ([".venv"], "minicnn.gradcheck", "python -m minicnn.gradcheck"),
        ([], "nin.train", ".venv/bin/nin train"),
        (["other"], "nin.train", ".venv/bin/nin train"),
    ],
)
def test_who_has_called_the_packages_own_command_is_told_that(
    project, stand, monkeypatch, on_path, module, expected
):
    for name in (".venv", "other"):
        script = project / name / "bin" / "nin"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    stand(project, *on_path)
    monkeypatch.setattr(sys, "argv", [str(project / ".venv" / "bin" / "nin"), "train"])
    assert invocation.command(module) == expected


@pytest.mark.parametrize("text", ["plain", "my project", ".[cuda13]", "it's", "$HOME", "a;b", ""])
def test_a_quoted_text_is_one_word_for_a_shell(text):
    assert run(f"printf '%s|' {invocation.quoted(text)}") == f"{text}|"


@pytest.mark.skipif(shutil.which("bash") is None, reason="$'…' is not every shell's")
@pytest.mark.parametrize(
    "text", ["a\nb", 'it\'s\n"new" \\n', "\x1b[2J", "é\t\N{OWL}\u200d", "a\udce9b"]
)
def test_a_text_of_several_lines_is_one_word_in_one_line(text):
    word = invocation.quoted(text)
    assert word.isprintable()
    out = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert os.fsdecode(out.stdout) == text


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_other_file_of_the_code_says_how_a_command_is_called(path):
    """But by examples of a parser: `nin COMMAND`, which it shows as the user calls them."""
    if path != Path(invocation.__file__):
        assert not [t for t in texts(path) if re.search(r"python3? -m +(nin|minicnn)\b", t)]
