"""What is built holds what it must and nothing else, and works where the checkout is not."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import minicnn
from minicnn.installing import NAME

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]
STEM = f"{NAME.replace('-', '_')}-{minicnn.__version__}"


def python(*arguments, **options):
    """What this Python prints; the process must succeed."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ignored(directory, names):
    """What a checkout holds beside what is in the repository: .gitignore's, and .git."""
    patterns = [".*", "build", "dist", "data", "runs", "*.egg-info"]
    at_the_root = patterns if Path(directory) == ROOT else []
    return shutil.ignore_patterns("__pycache__", *at_the_root)(directory, names)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The directory with both distributions, built of a copy, as setuptools writes beside it."""
    place = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, place / "source", ignore=ignored)
    python("-m", "build", "--no-isolation", "--outdir", place, place / "source", cwd=place)
    return place


@pytest.fixture(scope="module")
def wheel(built):
    return built / f"{STEM}-py3-none-any.whl"


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"{STEM}.dist-info/METADATA"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Where the wheel is installed, beside what it needs."""
    place = tmp_path_factory.mktemp("installed")
    python("-m", "pip", "install", "--no-deps", "--no-index", "--target", place, wheel)
    return place


@pytest.fixture
def elsewhere(installed, tmp_path):
    """elsewhere(ARGUMENTS…): what Python prints in an empty directory, with the wheel installed."""
    return lambda *arguments: python(
        *arguments, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}
    )


def sources():
    """The files of the two packages."""
    there = (path for name in ("minicnn", "nin") for path in (ROOT / name).rglob("*"))
    return {
        str(path.relative_to(ROOT))
        for path in there
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_wheel_holds_the_packages_with_their_types_and_the_licence(wheel):
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == sources() | {f"{STEM}.dist-info/{x}" for x in about}
    assert "minicnn/py.typed" in sources()


def test_a_source_distribution_holds_what_a_wheel_is_built_from(built):
    needed = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "setup.cfg"}
    with tarfile.open(built / f"{STEM}.tar.gz") as archive:
        files = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert {name for name in files if ".egg-info/" not in name} == sources() | needed


def test_the_metadata_say_who_what_and_for_whom(metadata):
    assert (metadata["Name"], metadata["Version"]) == (NAME, minicnn.__version__)
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == (ROOT / "LICENSE").read_text().splitlines()[2][19:]
    assert metadata.get_payload(decode=True) == (ROOT / "README.md").read_bytes()
    assert metadata["Description-Content-Type"] == "text/markdown"
    for name in ("Summary", "Keywords", "Project-URL", "Classifier"):
        assert metadata[name], name


def test_the_pythons_that_the_metadata_name_are_those_that_are_tested(metadata):
    (workflow,) = (ROOT / ".github" / "workflows").iterdir()
    tested = re.search(r"python: \[(.+)\]", workflow.read_text())[1]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(metadata.get_all("Classifier")))
    assert named == re.findall(r"3\.\d+", tested)
    assert metadata["Requires-Python"] == f">={named[0]}"


def test_the_command_trains_in_an_empty_directory_and_leaves_it_empty(
    elsewhere, installed, tmp_path
):
    flags = ["--dry-run", "--dataset", "silhouettes", "--limit-train", "64", "--batch-size", "64"]
    assert "Acc: " in elsewhere(installed / "bin" / "nin", "train", *flags)
    assert not list(tmp_path.iterdir())


def test_what_is_said_to_bring_an_extra_names_the_file_that_was_installed(elsewhere, wheel):
    text = elsewhere("-c", "from minicnn import installing; print(installing.how('cuda13'))")
    assert f"install '{NAME}[cuda13] @ {wheel.as_uri()}'" in text
