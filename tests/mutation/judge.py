"""Whether the tests notice a fault: they run in a fork of this process, with the fault planted.

A fork has PyTorch and the like in memory already: to import them takes ten times as long as most
faults take to be found. The engine itself it imports anew, a file with a fault from other source
than the file's, so that nothing is written anywhere.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401
import pytest
import torch  # noqa: F401

ROOT = Path(__file__).parents[2]
SECONDS = 90  # within which each part must have passed
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-W", "ignore:Module already imported")
Sources = Mapping[str, str]  # by file, from ROOT on


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a text in place of its file."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.source.encode(), self.path)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the files that `sources` has a text for."""

    def __init__(self, sources: Sources) -> None:
        self.sources = {str(ROOT / file): source for file, source in sources.items()}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin not in self.sources:
            return None
        spec.loader = _Loader(name, spec.origin, self.sources[spec.origin])
        return spec


def plant(sources: Sources) -> None:
    """Let the engine be imported anew in this process, from these sources."""
    sys.path.insert(0, str(ROOT))
    for name in list(sys.modules):
        if name.partition(".")[0] in ("minicnn", "nin", "benchmarks", "tests"):
            del sys.modules[name]
    sys.meta_path.insert(0, _Finder(sources))
    os.environ["HYPOTHESIS_PROFILE"] = "verdict"


def run_tests(backend: str, names: Sequence[str], plugins: Sequence[object] = ()) -> int:
    """Pytest's status after the tests of these names, up to the first that fails.

    A name is a file's, or `file::test`.
    """
    files = [name.partition("::") for name in names]
    paths = [str(ROOT / f"tests/test_{file}.py") + colons + test for file, colons, test in files]
    flags = [*OPTIONS, "--rootdir", str(ROOT), "--backend", backend, *paths]
    return int(pytest.main(flags, plugins=plugins))


def write_output_to(path: str | Path) -> None:
    """Have all that this process writes in a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _gradients() -> bool:
    from minicnn import device
    from minicnn.gradcheck.__main__ import check

    return check([], device("cpu"), None, lambda line: None)


def _tests(backend: str, names: Sequence[str]) -> bool:
    return run_tests(backend, names) == 0


def _silently(sources: Sources, test: Callable[..., bool], *args: object) -> None:
    write_output_to(os.devnull)
    plant(sources)
    sys.exit(not test(*args))


def _in_a_fork(sources: Sources, test: Callable[..., bool], *args: object) -> bool:
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=_silently, args=(sources, test, *args))
    child.start()
    child.join(SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode == 0


def passes(names: Sequence[str], sources: Sources) -> bool:
    """Whether all gradients are right, and then the tests named pass, one file after another.

    The names of those to be run on CuPy with a pretend GPU begin with "pretend:".
    """
    there = [name.removeprefix("pretend:") for name in names if name.startswith("pretend:")]
    here = [name for name in names if not name.startswith("pretend:")]
    return (
        _in_a_fork(sources, _gradients)
        and (not here or _in_a_fork(sources, _tests, "numpy", here))
        and (not there or _in_a_fork(sources, _tests, "pretend", there))
    )
