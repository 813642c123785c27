"""`python -m minicnn.gradcheck`: gradients against three other ways to compute them."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import backends, console, interruption, spelling
from ..backends import host
from ..device import device
from ..dtype import float32, float64
from ..invocation import command
from ..nn import functional
from ..random import Generator, normal
from ..tensor import Tensor
from . import GradcheckError, gradcheck
from .cases import CASES, Case

PROG = command("minicnn.gradcheck")
NAMES = list(dict.fromkeys(case.name for case in CASES))
# The columns of the table, and the largest errors that pass.
LIMITS = {"differences": 1e-6, "complex": 1e-12, "torch f64": 1e-10, "torch f32": 1e-5}


def _draw(case: Case) -> list[Any]:
    """The inputs of a case as NumPy arrays: normal, or from [0.5, 2.5) where they're positive."""
    generator = Generator().manual_seed(zlib.crc32(case.name.encode()))
    arrays = []
    for shape in case.shapes:
        key = generator.next_key()
        if case.positive:
            arrays.append(0.5 + 2 * host.uniform(key, shape, float64))
        else:
            arrays.append(normal(key, shape, float64))
    return arrays


def _tensors(arrays: list[Any], dtype: Any, where: device) -> list[Tensor]:
    return [Tensor(where.backend.from_host(a.astype(dtype)), requires_grad=True) for a in arrays]


def _against_torch(torch: Any, case: Case, arrays: list[Any], dtype: Any, where: device) -> float:
    """The largest ‖ours - PyTorch's‖ / ‖PyTorch's‖ over the output and all gradients."""
    ours = _tensors(arrays, dtype, where)
    theirs = [torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    y = case.function(functional, *ours)
    z = case.function(torch.nn.functional, *theirs)
    g = normal((1, 1), y.shape, dtype)
    y.backward(Tensor(where.backend.from_host(g)))
    z.backward(torch.tensor(g))
    want = [b.detach().numpy().astype("float64") for b in (z, *(x.grad for x in theirs))]
    got = [a.detach().cpu().numpy().astype("float64") for a in (y, *(x.grad for x in ours))]
    norm = np.linalg.norm
    errors = [norm(a - b) / (norm(b) or 1) for a, b in zip(got, want, strict=True)]
    return float(np.max(errors))  # NaN, if one is


def _numerically(case: Case, inputs: list[Tensor], method: str) -> float:
    """The largest error against a numerical derivative."""

    def function(*tensors: Tensor) -> Tensor:
        return case.function(functional, *tensors)

    try:
        return gradcheck(function, inputs, method=method, atol=1e-6, rtol=1e-6).error
    except GradcheckError as error:
        return error.report.error


def _errors(case: Case, where: device, torch: Any) -> dict[str, float]:
    """The error of a case in each column that there is one for."""
    arrays = _draw(case)
    inputs = _tensors(arrays, float64, where)
    errors = {"differences": _numerically(case, inputs, "central")}
    if case.analytic:
        errors["complex"] = _numerically(case, inputs, "complex")
    if torch is not None and case.in_torch:
        errors["torch f64"] = _against_torch(torch, case, arrays, float64, where)
        errors["torch f32"] = _against_torch(torch, case, arrays, float32, where)
    return errors


def check(names: list[str], where: device, torch: Any, out: Callable[[str], None]) -> bool:
    """Print the table for the operations named, or all; whether every one passed."""
    out(f"{'operation':<20}" + "".join(f"{column:>13}" for column in LIMITS))
    passed = True
    for name in names or NAMES:
        try:
            found = [_errors(case, where, torch) for case in CASES if case.name == name]
        except Exception as error:  # of the operation, whose fault is the answer
            out(f"{name:<20}  FAIL: {error}")
            passed = False
            continue
        cells, good = "", True
        for column, limit in LIMITS.items():
            errors = [each[column] for each in found if column in each]
            good &= all(error <= limit for error in errors)  # which NaN is not
            cells += f"{np.max(errors):>13.1e}" if errors else f"{'–':>13}"
        passed &= good
        out(f"{name:<20}{cells}  {'pass' if good else 'FAIL'}")
    out(f"{'passes up to':<20}" + "".join(f"{limit:>13.0e}" for limit in LIMITS.values()))
    return passed


def _parser() -> console.Parser:
    parser = console.Parser(
        prog=PROG,
        description="Compare every operation's gradients with central differences, the complex"
        " step and, where it is installed, PyTorch (float64 and float32).",
    )
    parser.add_argument(
        "operation",
        nargs="*",
        help=f"the operations to check; without any, all of {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--backend",
        choices=tuple(backends.DEVICES),
        default="numpy",
        help="where to compute (default: numpy)",
    )
    return parser


def gradients(argv: Sequence[str] | None) -> int:
    """Do what the command line says; status 1 if some gradients are wrong."""
    args = _parser().parse_args(argv)
    for name in args.operation:
        if name not in NAMES:
            near = spelling.hint(name, NAMES, f"there are {', '.join(NAMES)}")
            raise console.UsageError(f"there is no operation {name!r}; {near}")
    where = device(backends.DEVICES[args.backend])
    try:
        backends.load(where.type)
    except backends.BackendError as error:
        raise console.UsageError(f"--backend {args.backend}: {error}") from None
    try:
        with interruption.at_once():
            import torch
    except (ImportError, OSError):  # OSError: it lacks a library of its own
        torch = None  # type: ignore[assignment]
    return console.DONE if check(args.operation, where, torch, print) else console.FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 all passed, 1 some failed, 2 wrong use."""
    return console.run(PROG, lambda: gradients(argv))


if __name__ == "__main__":
    sys.exit(main())
