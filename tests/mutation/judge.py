"""Whether the engine in the current directory passes its tests.

The tests run in forks of this process, which has PyTorch and the like in memory already: to import
them takes ten times as long as most mutants take to die.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence

import hypothesis  # noqa: F401
import pytest
import torch  # noqa: F401

SECONDS = 90  # within which each part must have passed
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-W", "ignore:Module already imported")


def _gradients() -> bool:
    from minicnn import device
    from minicnn.gradcheck.__main__ import check

    return check([], device("cpu"), None, lambda line: None)


def _tests(backend: str, names: Sequence[str]) -> bool:
    files = [f"tests/test_{name}.py" for name in names]
    return pytest.main([*OPTIONS, "--backend", backend, *files]) == 0


def _silently(test: Callable[..., bool], *args: object) -> None:
    sys.path.insert(0, os.getcwd())
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # so that they are imported from the current directory
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.exit(not test(*args))


def _in_a_fork(test: Callable[..., bool], *args: object) -> bool:
    child = multiprocessing.get_context("fork").Process(target=_silently, args=(test, *args))
    child.start()
    child.join(SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode == 0


def passes(names: Sequence[str]) -> bool:
    """Whether all gradients are right, and then the tests named pass, one file after another.

    The names of those to be run on CuPy with a pretend GPU begin with "pretend:".
    """
    there = [name.removeprefix("pretend:") for name in names if name.startswith("pretend:")]
    here = [name for name in names if not name.startswith("pretend:")]
    return (
        _in_a_fork(_gradients)
        and (not here or _in_a_fork(_tests, "numpy", here))
        and (not there or _in_a_fork(_tests, "pretend", there))
    )
