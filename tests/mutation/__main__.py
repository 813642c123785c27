"""Plant every small fault that cosmic-ray knows in the derivative code, and count what survives.

    python -m tests.mutation            all of it, on all cores; prints scores and survivors

The faults are planted in copies of the tree, one for each core. Left out are

- the replacements of an arithmetic operator by %, //, **, a shift or a bitwise one: on arrays of
  floats they mostly raise, which would flatter the score, and each place has +, -, × and ÷ for one
  another already;
- those of |, which stands in type annotations, where nothing can fail;
- what changes only how a batch is cut into pieces, which is no derivative;
- other negative numbers for the -1 of a reshape, as NumPy takes any.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minicnn.parallel import available_cores

ROOT = Path(__file__).parents[2]
SUITE = ("operations", "gradcheck", "autograd", "optim", "winograd", "nn", "parallel", "threads")
MODULES = {  # and the tests to run, the likeliest to notice first; None is all of SUITE
    "minicnn/operations/arithmetic.py": None,
    "minicnn/operations/convolution.py": None,
    "minicnn/operations/matrix.py": None,
    "minicnn/operations/pooling.py": None,
    "minicnn/operations/shape.py": None,
    "minicnn/operations/softmax.py": None,
    "minicnn/operations/dropout.py": None,
    "minicnn/autograd.py": ("autograd", *SUITE),
    "minicnn/optim/sgd.py": ("optim",),  # nothing else can notice
    "minicnn/backends/numpy.py": None,
    "minicnn/nn/layers.py": ("nn", *SUITE),
    "minicnn/operations/winograd.py": ("winograd", "threads", "parallel"),  # nor here
}
ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # a core each
ENVIRONMENT = {**os.environ, "HYPOTHESIS_PROFILE": "verdict", **dict.fromkeys(ONE, "1")}
CONFIG = """
[cosmic-ray]
module-path = ["{module}"]
timeout = 90.0
excluded-modules = []
test-command = "{python} -m tests.mutation.judge {tests}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = [
    "core/ReplaceBinaryOperator_.*_(Mod|FloorDiv|Pow|LShift|RShift|BitOr|BitAnd|BitXor)",
    "core/ReplaceBinaryOperator_BitOr_.*",
]
"""


def changes_nothing(old: str, new: str) -> bool:
    """Whether a mutant is of a kind that is left out, from the line and what became of it."""
    return "pieces(" in old or re.sub(r"(reshape\(.*)(~1|- 2)", r"\g<1>-1", new) == old


def changed(diff: str) -> list[str]:
    """The lines of a diff that went and came."""
    lines = diff.splitlines()
    return [text for text in lines if text[:1] in "+-" and text[:3] not in ("+++", "---")]


def run(module: str) -> list[dict[str, str]]:
    """Mutate a file in a copy of the tree; the place, outcome and diff of each mutant."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        place = Path(name)
        for part in ("minicnn", "nin", "benchmarks", "tests"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, place / part, ignore=ignore)
        shutil.copy(ROOT / "pyproject.toml", place)
        names = " ".join(dict.fromkeys(MODULES[module] or SUITE))
        config = CONFIG.format(module=module, tests=names, python=sys.executable)
        (place / "cr.toml").write_text(config)
        tool = str(Path(sys.executable).with_name("cosmic-ray"))
        filters = str(Path(sys.executable).with_name("cr-filter-operators"))
        for command in (
            [tool, "init", "cr.toml", "cr.sqlite"],
            [filters, "cr.sqlite", "cr.toml"],
            [tool, "exec", "cr.toml", "cr.sqlite"],
        ):
            subprocess.run(command, cwd=place, check=True, capture_output=True, env=ENVIRONMENT)
        dump = subprocess.run(
            [tool, "dump", "cr.sqlite"], cwd=place, check=True, capture_output=True, text=True
        )
    results = []
    for line in dump.stdout.splitlines():
        item, result = json.loads(line)
        if result is None or result["worker_outcome"] == "skipped":
            continue
        mutation, lines = item["mutations"][0], changed(result["diff"] or "")
        if len(lines) == 2 and changes_nothing(lines[0][1:], lines[1][1:]):
            continue
        results.append(
            {
                "module": mutation["module_path"],
                "line": str(mutation["start_pos"][0]),
                "operator": mutation["operator_name"].removeprefix("core/"),
                "outcome": result["test_outcome"] or result["worker_outcome"],
                "diff": result["diff"] or "",
            }
        )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="default: all of them")
    parser.add_argument("--out", type=Path, help="write all results as JSON")
    args = parser.parse_args()

    results: list[dict[str, str]] = []
    with ThreadPoolExecutor(available_cores()) as pool:  # a file at a time on each core
        for part in pool.map(run, args.modules):
            results += part
            if args.out:
                args.out.write_text(json.dumps(results, indent=1) + "\n")

    total, survived = Counter(r["module"] for r in results), Counter[str]()
    for r in results:
        if r["outcome"] == "survived":
            survived[r["module"]] += 1
            print(f"{r['module']}:{r['line']} {r['operator']}")
            print("\n".join(f"    {text}" for text in changed(r["diff"])))
    print()
    for module in args.modules:
        print(f"{module:<40}{total[module] - survived[module]:>5} of {total[module]:>5} killed")
    killed = sum(total.values()) - sum(survived.values())
    print(f"{'all':<40}{killed:>5} of {sum(total.values()):>5} killed", end=" ")
    print(f"({100 * killed / max(1, sum(total.values())):.1f}%)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
