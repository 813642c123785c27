"""`python -m minicnn.gradcheck`: gradients against three other ways to compute them."""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from .. import backends, console, functional
from ..backends import host
from ..device import device
from ..dtype import float32, float64
from ..random import Generator, normal
from ..tensor import Tensor
from . import GradcheckError, gradcheck
from .cases import CASES, Case

PROG = "python -m minicnn.gradcheck"
DIFFERENCES, COMPLEX = 1e-6, 1e-12  # largest errors that pass
TORCH64, TORCH32 = 1e-10, 1e-5


def _dropout(x: Tensor) -> Tensor:
    """Dropout with one mask for all calls."""
    from ..operations.dropout import dropout

    return dropout(x, 0.4, (1, 2), 0)


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
    xp = host.xp
    ours = _tensors(arrays, dtype, where)
    theirs = [torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    y = case.function(functional, *ours)
    z = case.function(torch.nn.functional, *theirs)
    g = normal((1, 1), y.shape, dtype)
    y.backward(Tensor(where.backend.from_host(g)))
    z.backward(torch.tensor(g))
    pairs = [(y.detach(), z.detach())] + [
        (a.grad, b.grad) for a, b in zip(ours, theirs, strict=True)
    ]
    worst = 0.0
    for mine, other in pairs:
        want = other.numpy().astype("float64")
        got = mine.cpu().numpy().astype("float64")
        scale = float(xp.linalg.norm(want)) or 1.0
        worst = max(worst, float(xp.linalg.norm(got - want)) / scale)
    return worst


def _numerically(case: Case, inputs: list[Tensor], method: str) -> float:
    """The largest error against a numerical derivative."""

    def function(*tensors: Tensor) -> Tensor:
        return case.function(functional, *tensors)

    try:
        return gradcheck(function, inputs, method=method, atol=1e-6, rtol=1e-6).error
    except GradcheckError as error:
        return error.report.error


def check(names: list[str], where: device, torch: Any, out: Callable[[str], None]) -> bool:
    """Print the table for the operations named, or all; whether every one passed."""
    cases = [*CASES, Case("dropout", lambda F, x: _dropout(x), ((3, 4),))]
    columns = ["differences", "complex", "torch f64", "torch f32"]
    limits = [DIFFERENCES, COMPLEX, TORCH64, TORCH32]
    out(f"{'operation':<20}" + "".join(f"{c:>13}" for c in columns))
    passed = True
    for name in names or list(dict.fromkeys(case.name for case in cases)):
        worst: list[float | None] = [None] * len(columns)
        for case in (c for c in cases if c.name == name):
            arrays = _draw(case)
            inputs = _tensors(arrays, float64, where)
            errors: list[float | None] = [_numerically(case, inputs, "central"), None, None, None]
            if case.analytic and name != "dropout":
                errors[1] = _numerically(case, inputs, "complex")
            if torch is not None and name != "dropout":  # PyTorch draws other masks
                errors[2] = _against_torch(torch, case, arrays, float64, where)
                errors[3] = _against_torch(torch, case, arrays, float32, where)
            worst = [
                b if a is None else a if b is None else max(a, b)
                for a, b in zip(worst, errors, strict=True)
            ]
        good = all(
            e is None or (math.isfinite(e) and e <= limit)
            for e, limit in zip(worst, limits, strict=True)
        )
        passed &= good
        cells = "".join(f"{'–' if e is None else f'{e:.1e}':>13}" for e in worst)
        out(f"{name:<20}{cells}  {'pass' if good else 'FAIL'}")
    out(f"{'passes up to':<20}" + "".join(f"{limit:>13.0e}" for limit in limits))
    return passed


def _parser(names: Sequence[str]) -> console.Parser:
    parser = console.Parser(
        prog=PROG,
        description="Compare every operation's gradients with central differences, the complex"
        " step and, where it is installed, PyTorch (float64 and float32).",
    )
    parser.add_argument("operation", nargs="*", help=f"which to check (default: all): {names}")
    parser.add_argument(
        "--backend", choices=("numpy", "cupy"), default="numpy", help="default: numpy"
    )
    return parser


def gradients(argv: Sequence[str] | None) -> int:
    """Do what the command line says; status 1 if some gradients are wrong."""
    names = list(dict.fromkeys([*(case.name for case in CASES), "dropout"]))
    args = _parser(names).parse_args(argv)
    for name in args.operation:
        if name not in names:
            raise console.UsageError(f"no operation {name!r}")
    where = device("cpu" if args.backend == "numpy" else "cuda")
    try:
        backends.load(where.type)
    except backends.BackendError as error:
        raise console.UsageError(f"--backend {args.backend}: {error}") from None
    try:
        import torch
    except (ImportError, OSError):  # OSError: it lacks a library of its own
        torch = None  # type: ignore[assignment]
    return console.DONE if check(args.operation, where, torch, print) else console.FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 all passed, 1 some failed, 2 wrong use."""
    return console.run(PROG, lambda: gradients(argv))


if __name__ == "__main__":
    sys.exit(main())
