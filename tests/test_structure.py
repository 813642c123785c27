"""What the map of the code promises: which files know what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]
ENGINE = sorted((ROOT / "minicnn").rglob("*.py"))
# Lower layers first: a file may import from its own layer and from those before it.
LAYERS = [
    {"absent", "arguments", "atomic", "backends", "console", "context", "device", "dtype", "files"}
    | {"installing", "interruption", "invocation", "spelling"},
    {"grad_mode"},
    {"versions"},
    {"autograd", "random"},
    {"axes", "indexing", "operations"},
    {"elementwise", "reductions", "shapes", "storage", "tensor"},
    {"creation", "methods"},
    {"accelerator", "cuda", "nn", "serialization", "utils"},
    {"optim", "vision", "gradcheck"},
    {
        "capture",
        "distributed",
        "environment",
        "independence",
        "onnx",
        "parallel",
        "processes",
        "__main__",
    },
]
# and operations:
ANY_DEVICE = {"autograd", "elementwise", "reductions", "shapes", "storage", "tensor", "versions"}


def imported(path: Path) -> list[str]:
    """The modules that a file imports, with minicnn's own by their full names."""
    package = path.relative_to(ROOT).parent.parts
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_backends_import_cupy_and_nothing_that_computes_imports_an_array_library(path):
    """NumPy alone may be imported, for what is on the host whatever the device."""
    inside = path.relative_to(ROOT / "minicnn")
    if inside.parts[0] == "backends":
        return
    computes = inside.parts[0] == "operations" or inside.stem in ANY_DEVICE
    refused = {"numpy", "cupy"} if computes else {"cupy"}
    assert not {name.split(".")[0] for name in imported(path)} & refused


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    own = path.relative_to(ROOT / "minicnn").with_suffix("").parts[0]
    if own == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "minicnn" and len(parts) > 1 and parts[1] in rank:
            assert rank[parts[1]] <= rank[own], f"{own} imports {name}"


def test_the_engine_does_not_know_the_application():
    assert not any(name.split(".")[0] == "nin" for path in ENGINE for name in imported(path))
