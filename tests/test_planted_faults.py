"""The suite can fail: faults planted in the engine, one at a time, are each caught."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .mutation import judge
from .processes import processes

pytestmark = pytest.mark.cpu
ENGINE = sorted((judge.ROOT / "minicnn").rglob("*.py"))


class Fault(NamedTuple):
    """An expression in a function, and what is planted in its place; capitals are any expression.

    It stands for each that looks like it, wherever the function is defined. `by` names the tests
    that have to catch it.
    """

    name: str
    function: str
    right: str
    wrong: str
    by: str = "gradcheck"


class KernelFault(NamedTuple):
    """A regular expression for a piece of a kernel's C, and what is planted in its place.

    It is `by` a test of test_backends that it has to be caught.
    """

    name: str
    right: str
    wrong: str
    by: str


FAULTS = [
    Fault("a sign", "subtract", "-G", "+G"),
    Fault("a transposed weight", "conv2d", "nhwc(w)", "nhwc(w.swapaxes(2, 3))"),
    Fault("a missing sum over the batch", "linear", "X.sum(axis=0)", "X[0]"),
    Fault("a mask inverted", "relu", "Y[E] != 0", "Y[E] == 0"),
    Fault(
        "padding off by one",
        "_unpad",
        "Y[:, A : H - B, C : W - D]",
        "Y[:, B : H - A, C : W - D]",
    ),
    Fault("a dropped scale", "dropout", "(F(X), F)", "(F(X), lambda g: g * (F(g) != 0))"),
    Fault(
        "a stale buffer reused between calls",
        "conv2d",
        "X.empty(S, D)",
        "globals().setdefault(repr((S, D)), X.empty(S, D))",
    ),
    Fault(
        "a place counted down columns",
        "max_pool",
        "_taps(X, W)",
        "_taps(X, W._replace(kernel=W.kernel[::-1]))",
        by="operations",
    ),
    Fault(
        "momentum without the gradient",
        "sgd",
        "G + M * V if N else V",
        "M * V if N else V",
        by="optim",
    ),
    Fault(
        "weight decay pulling outwards",
        "sgd",
        "G + weight_decay * P",
        "G - weight_decay * P",
        by="optim",
    ),
]
KERNEL_FAULTS = [
    KernelFault(
        "an index",
        r"\(n \* h \+ a\) \* w \+ b\b",
        "(n * h + b) * w + a",
        "im2col_and_its_transpose",
    ),
    KernelFault("a boundary", r"(a / sh \+ 1) < oh \? \1 : oh", r"\1", "im2col_and_its_transpose"),
    KernelFault(
        "a type",
        r"(at\.e\[l\] =) (u \* kw \+ v);",
        r"\1 (signed char)(\2);",
        "the_last_place_of_a_large_window_is_found",
    ),
    KernelFault("the same number everywhere", r"draw\(skip \+ i,", "draw(skip,", "uniform_numbers"),
]


def looks_like(pattern: Any, node: Any, found: dict[str, ast.expr]) -> bool:
    """Whether a node is what the pattern says; `found` gets what its capitals stand for."""
    if isinstance(pattern, ast.Name) and pattern.id.isupper():
        known = found.setdefault(pattern.id, node)
        return isinstance(node, ast.expr) and ast.dump(known) == ast.dump(node)
    if isinstance(pattern, list) and isinstance(node, list):
        pairs = zip(pattern, node, strict=False)
        return len(pattern) == len(node) and all(looks_like(p, n, found) for p, n in pairs)
    if not isinstance(pattern, ast.AST):
        return bool(pattern == node)
    return type(pattern) is type(node) and all(
        looks_like(getattr(pattern, field), getattr(node, field), found)
        for field in pattern._fields
    )


class Planter(ast.NodeTransformer):
    """Puts one expression in the place of another, and counts how often."""

    def __init__(self, right: str, wrong: str) -> None:
        self.right, self.wrong = (ast.parse(text, mode="eval").body for text in (right, wrong))
        self.planted = 0

    def visit(self, node: ast.AST) -> Any:
        found: dict[str, ast.expr] = {}
        if not looks_like(self.right, node, found):
            return super().generic_visit(node)
        self.planted += 1
        return _Filled(found).visit(copy.deepcopy(self.wrong))


class _Filled(ast.NodeTransformer):
    def __init__(self, found: dict[str, ast.expr]) -> None:
        self.found = found

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.found.get(node.id, node))


def with_fault(fault: Fault) -> dict[str, str]:
    """The source, with the fault, of each file that defines its function and has the expression."""
    sources = {}
    for path in ENGINE:
        tree, planter = ast.parse(path.read_text()), Planter(fault.right, fault.wrong)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == fault.function:
                planter.generic_visit(node)
        if planter.planted:
            sources[str(path.relative_to(judge.ROOT))] = ast.unparse(tree)
    return sources


def run(sources: dict[str, str], by: str, output: Path) -> None:
    judge.write_output_to(output)
    judge.plant(sources)
    raise SystemExit(judge.run_tests("numpy", [by]))


class _Compiler:
    """A plugin of pytest that changes the source of each kernel on its way to CuPy's compiler."""

    def __init__(self, fault: KernelFault) -> None:
        self.fault, self.planted = fault, 0

    def pytest_sessionstart(self) -> None:
        from cupy.cuda import compiler

        compile = compiler._compile_with_cache_cuda

        def planted(source: str, *args: Any) -> Any:
            changed, times = re.subn(self.fault.right, self.fault.wrong, source)
            self.planted += times
            return compile(changed, *args)

        compiler._compile_with_cache_cuda = planted

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(f"planted {self.planted} times")


def run_with_kernel_fault(fault: KernelFault, output: Path) -> None:
    judge.write_output_to(output)
    judge.plant({})
    raise SystemExit(judge.run_tests("pretend", [f"backends::test_{fault.by}"], [_Compiler(fault)]))


def assert_caught(target, *args, output):
    process = processes.Process(target=target, args=(*args, output))
    process.start()
    process.join()
    said = output.read_text()
    caught = re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    print(f"caught by {', '.join(caught)}")
    assert process.exitcode == 1, said
    assert caught
    return said


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_suite_catches(fault, tmp_path):
    sources = with_fault(fault)
    assert sources, f"no function {fault.function} of the engine has {fault.right!r} any more"
    assert_caught(run, sources, fault.by, output=tmp_path / "output")


@pytest.mark.parametrize("fault", KERNEL_FAULTS, ids=lambda fault: fault.name)
def test_the_suite_catches_in_a_kernel(fault, tmp_path):
    said = assert_caught(run_with_kernel_fault, fault, output=tmp_path / "output")
    assert "planted 0 times" not in said, f"no kernel has {fault.right!r} any more"
