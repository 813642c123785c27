"""What the emulator offers, and what the code asks of CuPy, exists in the real CuPy.

Of names and parameters alone: no GPU is needed to look at them.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cupy
import pytest

ROOT = Path(__file__).parents[1]
# Files in which the methods called are those of arrays.
ON_ARRAYS = [ROOT / "minicnn/backends/cupy.py", *sorted((ROOT / "minicnn/operations").glob("*.py"))]
FILES = [p for folder in ("minicnn", "nin") for p in sorted((ROOT / folder).rglob("*.py"))]


# What the emulator's files import, and its own.
NOT_OF_CUPY = {"annotations", "Any", "SimpleNamespace", "contextmanager", "operator", "np"}
NOT_OF_CUPY |= {"perf_counter", "Recording", "recording"}


def emulator() -> ModuleType:
    """The emulator, under that name."""
    spec = importlib.util.spec_from_file_location(
        "emulator",
        ROOT / "tests/emulator/cupy/__init__.py",
        submodule_search_locations=[str(ROOT / "tests/emulator/cupy")],
    )
    module = sys.modules["emulator"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def offered(owner: Any, path: str = "") -> dict[str, Any]:
    """The public names of the emulator, its modules and classes, by their dotted paths."""
    found = {}
    for name, value in vars(owner).items():
        if name.startswith("_") or name in NOT_OF_CUPY or path + name == "cuda.cublas":
            continue  # to look into the real cuda.cublas takes cuBLAS
        found[path + name] = value
        if isinstance(value, (type, ModuleType)) and "emulator" in repr(value):
            found |= offered(value, f"{path}{name}.")
    return found


def real(path: str) -> Any:
    value = cupy
    for name in path.split("."):
        value = getattr(value, name)
    return value


def signature(function: Any) -> inspect.Signature | None:
    """Of a compiled function it stands in the first line of its docstring; None if nowhere."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        first = (function.__doc__ or "").strip().split("\n")[0].replace("\\", "")
    if not (match := re.match(r"(?:ufunc )?[\w.]+\((.*)\)", first)):
        return None
    # Cython puts C types before names: "Py_ssize_t axis".
    parameters = re.sub(r"\b\w+ (\w+)(?=[,=]|$)", r"\1", match[1])
    scope: dict[str, Any] = {}
    exec(f"def f({parameters}): pass", scope)
    return inspect.signature(scope["f"])


EMULATOR = emulator()
OFFERED = offered(EMULATOR)


@pytest.mark.parametrize("path", OFFERED)
def test_what_the_emulator_offers_exists(path):
    real(path)


@pytest.mark.parametrize("path", [p for p in OFFERED if callable(OFFERED[p])])
def test_what_the_emulator_takes_cupy_takes_too(path):
    mine, theirs = signature(OFFERED[path]), signature(real(path))
    if mine and theirs and not any(p.kind == p.VAR_KEYWORD for p in theirs.parameters.values()):
        options = {n for n, p in mine.parameters.items() if p.default is not p.empty}
        assert {n for n in options if not n.startswith("_")} <= set(theirs.parameters)


@pytest.mark.parametrize("name", [n for n in vars(EMULATOR.ndarray) if n != "__weakref__"])
def test_what_an_array_of_the_emulator_can_do_exists(name):
    assert hasattr(cupy.ndarray, name)


METHODS = set(vars(EMULATOR.ndarray)) - {"get"}  # which dicts have too


def calls() -> dict[str, tuple[Any, ast.Call]]:
    """The calls of CuPy's functions, as `xp.name(…)`, and of methods of arrays: what is called."""
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            text, method = ast.unparse(node.func), node.func.attr
            where = f"{path.relative_to(ROOT)}:{node.lineno} {text}"
            if text.startswith("host."):
                continue  # NumPy's
            if match := re.search(r"\bxp\.([\w.]+)$", text):
                found[where] = match[1], node
            elif path in ON_ARRAYS and method in METHODS and not re.match(r"(np|math)\.", text):
                found[where] = f"ndarray.{method}", node
    return found


CALLS = calls()


@pytest.mark.parametrize("where", CALLS)
def test_what_the_code_calls_exists_and_takes_these_arguments(where):
    path, node = CALLS[where]
    takes = signature(real(path))
    unpacked = any(isinstance(a, ast.Starred) for a in node.args) or any(
        k.arg is None for k in node.keywords
    )
    if takes and not unpacked:
        this = [None] if path.startswith("ndarray.") else []
        takes.bind(*this, *node.args, **{k.arg: k.value for k in node.keywords})


def test_a_call_that_cupy_would_refuse_is_noticed():
    assert len(CALLS) > 20
    with pytest.raises(TypeError):
        signature(cupy.argsort).bind(None, descending=True)
    with pytest.raises(TypeError):
        signature(cupy.ndarray.item).bind(None, 0)
    with pytest.raises(TypeError):
        signature(cupy.exp).bind(None, axis=0)
