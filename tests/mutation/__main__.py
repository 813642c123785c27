"""Plant every small fault that cosmic-ray knows in the derivative code, one by one.

    python -m tests.mutation            # all of it, on all cores

This prints how many faults the tests notice, and those that they don't. The
faults are planted in what forks import (judge.py). A mutant whose tests take
longer than 90 seconds, three times as long as those of the unchanged code,
counts as killed. These changes are left out:

- the replacements of an arithmetic operator by %, //, **, a shift or a
  bitwise one: on arrays of floats they mostly raise, which would flatter the
  score, and each place has +, -, × and ÷ for one another already;
- those of |, which stands in type annotations, where nothing can fail;
- those that only change into which chunks the work is cut, which is no
  derivative;
- those of the -1 of a reshape, as NumPy takes any negative number.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
SUITE = (  # the quickest first
    *("backends", "nn", "numbers", "tensor", "functional", "winograd", "parallel", "threads"),
    *("optim", "gradcheck", "own_operations", "autograd", "operations"),
)
MODULES = {  # and the tests to run; None is all of SUITE
    "minicnn/operations/arithmetic.py": None,
    "minicnn/operations/convolution.py": None,
    "minicnn/operations/matrix.py": None,
    "minicnn/operations/pooling.py": None,
    "minicnn/operations/shape.py": None,
    "minicnn/operations/softmax.py": None,
    "minicnn/operations/dropout.py": None,
    "minicnn/operations/winograd.py": ("winograd", "threads", "parallel"),  # nothing else notices
    "minicnn/autograd.py": None,
    "minicnn/backends/numpy.py": None,
    "minicnn/nn/layers.py": None,
    "minicnn/optim/sgd.py": ("optim", "pretend:optim"),  # nor here
    "minicnn/optim/flat.py": ("flat", "pretend:optim", "pretend:capture"),  # only a GPU uses it
}
EXCLUDED = re.compile(
    r"core/ReplaceBinaryOperator_(.*_(Mod|FloorDiv|Pow|LShift|RShift|BitOr|BitAnd|BitXor)|BitOr_.*)"
)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a core for each mutant


class Mutant(NamedTuple):
    module: str
    line: int
    operator: str
    code: str
    diff: list[str]  # the lines that went and came, with - and + before them


def left_out(code: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where nothing is changed: calls of `chunks`, and the -1 of a reshape."""
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call):
            name = getattr(call.func, "attr", getattr(call.func, "id", None))
            for node in {"chunks": [call], "reshape": call.args}.get(name, []):
                if node is call or ast.unparse(node) == "-1":
                    yield (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def read(module: str) -> str:
    return (ROOT / module).read_text(encoding="utf-8")


def mutants(module: str) -> Iterator[Mutant]:
    """All that can be made of a file."""
    code = read(module)
    spans = list(left_out(code))
    for name in operator_names():
        operator_class = get_operator(name)
        if EXCLUDED.fullmatch(name) or operator_class.arguments():
            continue
        operator = operator_class()
        places = [p for node in ast_nodes(get_ast(code)) for p in operator.mutation_positions(node)]
        for i, (place, _) in enumerate(places):
            if any(begin <= place < end for begin, end in spans):
                continue
            mutated = mutate_code(code, operator, i)
            compared = difflib.unified_diff(code.splitlines(), mutated.splitlines(), n=0)
            diff = [each for each in compared if not each.startswith(("---", "+++", "@@"))]
            yield Mutant(module, place[0], name.removeprefix("core/"), mutated, diff)


def survives(mutant: Mutant) -> bool:
    """Whether the tests pass with this mutant."""
    from .judge import passes  # here, as it imports NumPy, for which the environment must be set

    return passes(MODULES[mutant.module] or SUITE, {mutant.module: mutant.code})


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        usage="%(prog)s [MODULE ...] [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "modules", nargs="*", default=list(MODULES), metavar="MODULE", help="only these files"
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="try one of N mutants, for a quick estimate",
    )
    parser.add_argument("--out", type=Path, help="write the survivors as JSON, as they are found")
    args = parser.parse_args()
    if unknown := set(args.modules) - set(MODULES):
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}; only for {[*MODULES]}")

    chosen: list[str] = args.modules
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(affinity(0)) if affinity else os.cpu_count()
    os.environ.update(ENVIRONMENT)
    total, survived = Counter[str](), Counter[str]()
    survivors: list[Mutant] = []
    with ProcessPoolExecutor(cores, get_context("fork")) as pool:
        unchanged = {MODULES[each] or SUITE: Mutant(each, 0, "", read(each), []) for each in chosen}
        for mutant in unchanged.values():  # as what fails by itself would be counted as killed
            if not pool.submit(survives, mutant).result():
                parser.exit(1, f"the tests of {mutant.module} fail before anything is changed\n")
        futures = {
            pool.submit(survives, mutant): mutant
            for module in chosen
            for mutant in list(mutants(module))[:: args.every]
        }
        for done, future in enumerate(as_completed(futures), 1):
            mutant = futures[future]
            total[mutant.module] += 1
            if future.result():
                survived[mutant.module] += 1
                survivors.append(mutant)
                print(f"{mutant.module}:{mutant.line} {mutant.operator}")
                print("\n".join(f"    {line}" for line in mutant.diff), flush=True)
                if args.out:
                    kept = [m._replace(code="")._asdict() for m in survivors]
                    args.out.write_text(json.dumps(kept, indent=1) + "\n")
            if sys.stderr.isatty():
                print(f"\r{done} of {len(futures)}", end="", file=sys.stderr, flush=True)

    print()
    for module in chosen:
        print(f"{module:<40}{total[module] - survived[module]:>5} of {total[module]:>5} killed")
    killed = total.total() - survived.total()
    print(f"{'all':<40}{killed:>5} of {total.total():>5} killed", end=" ")
    print(f"({100 * killed / max(1, total.total()):.1f}%)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
