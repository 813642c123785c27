"""Checking derivatives against the function itself, without knowing how either was written.

Two independent ways of differentiating numerically:

* **Central differences**, (f(x+εd) - f(x-εd)) / 2ε along a direction d. The error is about
  ε²·|f‴|/6 from cutting the Taylor series plus u·|f|/ε from rounding, u = 2.2e-16; the sum is
  smallest near ε = ∛u = 6e-6, where some 10 or 11 digits are right (Nocedal and Wright 2006,
  "Numerical Optimization", section 8.1). docs/gradcheck.md has the curve.
* **The complex step**, Im f(x+ihd) / h (Squire and Trapp 1998). Nothing is subtracted, so h can be
  1e-30 and the result is exact to rounding; but f must be made of analytic operations.

Kinks: where f has a corner within ε of x, such as relu at 0 or a tie in max pooling, it has no
derivative to compare with, only a different one on each side. The two one-sided differences, which
for a smooth f agree to ε·|f″|, then disagree outright, output element by output element. There the
derivative must lie between them (Clarke's generalised gradient along d), and the comparison is
counted in `Report.kinks`, not among those that prove something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import grad_mode
from ..arguments import one_of, real
from ..backends import Array, backend_of
from ..dtype import float64
from ..elementwise import tensor_argument
from ..random import Generator, normal
from ..tensor import Tensor

EPS = 6e-6  # ∛u
COMPLEX_STEP = 1e-30
ELEMENTWISE = 64  # inputs of up to so many elements are checked element by element
DIRECTIONS = 16  # and larger ones along so many random directions
KINK = 1e-3  # one-sided derivatives that differ by more, relative to 1 or to themselves, are a kink
SMALLER = 8  # unless they come together with a step that is so many times smaller


@dataclass(frozen=True)
class Comparison:
    """One derivative, computed twice.

    `index` is the element of input number `input` that was moved, or None for a random direction.
    `numeric` is the derivative found numerically; at a kink, the nearest value that would be right.
    """

    input: int
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    kink: bool = False

    @property
    def error(self) -> float:
        """|analytic - numeric|, relative to |numeric| where that is above 1."""
        difference = abs(self.analytic - self.numeric)
        return difference / max(1.0, abs(self.numeric)) if math.isfinite(difference) else math.inf

    def __str__(self) -> str:
        place = "along a random direction" if self.index is None else f"at {list(self.index)}"
        return (
            f"input {self.input} {place}: analytic {self.analytic:.10g}, numeric"
            f" {self.numeric:.10g}, error {self.error:.2g}{' (at a kink)' if self.kink else ''}"
        )


@dataclass(frozen=True)
class Report:
    """All comparisons of one check."""

    comparisons: tuple[Comparison, ...]

    @property
    def worst(self) -> Comparison | None:
        """The comparison with the largest error; None if there was nothing to compare."""
        return max(self.comparisons, key=lambda c: c.error, default=None)

    @property
    def error(self) -> float:
        """The largest error."""
        return self.worst.error if self.worst else 0.0

    @property
    def kinks(self) -> int:
        """How many comparisons fell on a kink, where the derivative was only confined."""
        return sum(c.kink for c in self.comparisons)


class GradcheckError(AssertionError):
    """A derivative that differs from the function's own; `report` has all comparisons."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


def gradcheck(
    fn: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    eps: float = EPS,
    atol: float = 1e-7,
    rtol: float = 1e-6,
    method: str = "central",
    seed: int = 0,
) -> Report:
    """Compare the gradients of fn(*inputs) with numerical ones.

    `inputs` are float64 tensors with requires_grad, on any backend; other arguments belong inside
    `fn`. fn may return a tensor of any shape: what is differentiated is its inner product with a
    fixed random tensor. An input of up to 64 elements is checked element by element, a larger one
    along 16 random directions drawn with `seed`. `method` is "central" or "complex".

    Returns a Report. Raises GradcheckError, naming the worst element, if an analytic derivative a
    and a numeric one n have |a - n| > atol + rtol·|n|; TypeError or ValueError, before anything is
    compared, for inputs that are not float64 or don't require grad, and for a fn that does not
    return a floating-point tensor or not the same one each time.
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    _check_inputs(inputs)
    one_of("gradcheck", "method", method, "central", "complex")
    eps = real("gradcheck", "eps", eps, above=0)
    generator = Generator().manual_seed(seed).split()  # see _analytic
    with grad_mode.enable_grad():
        v, gradients = _analytic(fn, inputs, generator)
    comparisons = []
    with grad_mode.no_grad():
        values = _call(fn, inputs).array
        for number, (x, g) in enumerate(zip(inputs, gradients, strict=True)):
            for index, d in _directions(x, generator):
                f, analytic, kink = _along(fn, inputs, x, d), float((g * d).sum()), False
                if method == "complex":
                    numeric = float((v * _imaginary(f(1j * COMPLEX_STEP))).sum()) / COMPLEX_STEP
                else:
                    numeric, kink = _central_difference(f, values, v, eps, analytic)
                comparisons.append(Comparison(number, index, analytic, numeric, kink))

    report = Report(tuple(comparisons))
    failed = [
        c for c in comparisons if not abs(c.analytic - c.numeric) <= atol + rtol * abs(c.numeric)
    ]
    if failed:
        worst = max(failed, key=lambda c: c.error)
        raise GradcheckError(
            f"gradcheck: {len(failed)} of {len(comparisons)} derivatives are wrong; worst: {worst}",
            report,
        )
    return report


def _analytic(
    fn: Callable[..., Tensor], inputs: list[Tensor], generator: Generator
) -> tuple[Array, list[Array]]:
    """v, the fixed random tensor, and the gradients of its inner product with fn(*inputs).

    It is drawn from a stream of its own: inputs are often drawn with the same seed, and with a v
    equal to the input x a gradient vᵀ x is symmetric, whether or not it should be transposed.
    """
    copies = [x.array.copy() for x in inputs]
    output = _call(fn, inputs)
    for i, (x, before) in enumerate(zip(inputs, copies, strict=True)):
        if not _same(before, x.array):
            raise ValueError(f"gradcheck: fn changed its input {i} in place; it may only read it")
    if not _same(output.array, _call(fn, inputs).array):
        raise ValueError(
            "gradcheck: fn gave two different results for the same inputs; seed what it draws, as"
            " with minicnn.manual_seed inside fn"
        )
    v = _normal(output.array, output.shape, generator)
    found = output.gradients(Tensor(v)) if output.requires_grad else {}
    xp = backend_of(v).xp
    return v, [found.get(x, xp.zeros_like(x.array)) for x in inputs]


def _same(a: Array, b: Array) -> bool:
    """Whether two arrays are equal, but for where the first is NaN."""
    return a.shape == b.shape and bool(((a == b) | (a != a)).all())


def _along(
    fn: Callable[..., Tensor], inputs: list[Tensor], x: Tensor, d: Array
) -> Callable[[complex], Array]:
    """fn(*inputs) as a function of how far x, in each place where it stands, is moved along d."""

    def moved(step: complex) -> Array:
        dtype = "complex128" if isinstance(step, complex) else float64
        arrays = [t.array.astype(dtype, copy=False) for t in inputs]
        return _call(
            fn,
            [Tensor(a + step * d if t is x else a) for t, a in zip(inputs, arrays, strict=True)],
        ).array

    return moved


def _check_inputs(inputs: Sequence[Any]) -> None:
    if not inputs:
        raise ValueError("gradcheck: no inputs to differentiate with respect to")
    for i, x in enumerate(inputs):
        tensor_argument("gradcheck", f"input {i}", x)
        if x.dtype != float64:
            raise TypeError(
                f"gradcheck: input {i} is {x.dtype}, but only in float64 do numerical derivatives"
                " have digits to compare; use .double(), and keep whole numbers inside fn"
            )
        if not x.requires_grad or not x.is_leaf:
            raise ValueError(
                f"gradcheck: input {i} must be a leaf that requires grad; make it with"
                " requires_grad=True"
            )


def _call(fn: Callable[..., Any], inputs: Sequence[Tensor]) -> Tensor:
    output = fn(*inputs)
    if not isinstance(output, Tensor):
        raise TypeError(f"gradcheck: fn must return a Tensor, got {type(output).__name__}")
    if output.dtype.kind not in "fc":
        raise TypeError(f"gradcheck: fn must return floating point, got {output.dtype}")
    return output


def _normal(like: Array, shape: tuple[int, ...], generator: Generator) -> Array:
    return backend_of(like).from_host(normal(generator.next_key(), shape, float64))


def _imaginary(z: Array) -> Array:
    if z.dtype.kind != "c":
        raise TypeError("gradcheck: fn has an operation that takes no complex step")
    return z.imag


def _directions(x: Tensor, generator: Generator) -> list[tuple[tuple[int, ...] | None, Array]]:
    """Directions to move x along: each element, with its index, or random ones of norm 1."""
    n, xp = x.numel(), backend_of(x.array).xp
    if n <= ELEMENTWISE:
        indices = (np.unravel_index(i, x.shape) for i in range(n))
        return [
            (tuple(map(int, index)), d)
            for index, d in zip(indices, xp.eye(n).reshape(n, *x.shape), strict=True)
        ]
    drawn = (_normal(x.array, x.shape, generator) for _ in range(DIRECTIONS))
    return [(None, d / xp.sqrt((d * d).sum())) for d in drawn]


def _central_difference(
    f: Callable[[float], Array], values: Array, v: Array, eps: float, analytic: float
) -> tuple[float, bool]:
    """The derivative at 0 of vᵀ f, where f is `values`; and if there's a kink.

    Slopes to both sides that differ show a kink, unless they differ by less for a smaller step,
    which then counts: the function is merely steep, or its kink is further away. Where an output
    has a kink, any value between its two is right: of the values that the sum can then take, the
    one nearest to `analytic` is returned.
    """
    xp = backend_of(v).xp

    def slopes(step: float) -> tuple[Array, Array]:
        return v * (f(step) - values) / step, v * (values - f(-step)) / step

    ahead, behind = slopes(eps)
    centre = (ahead + behind) / 2
    corner = abs(ahead - behind) > KINK * xp.maximum(1, abs(centre))
    if not bool(corner.any()):
        return float(centre.sum()), False
    nearer_ahead, nearer_behind = slopes(eps / SMALLER)
    smooth = corner & (abs(nearer_ahead - nearer_behind) <= abs(ahead - behind) / 2)
    centre = xp.where(smooth, (nearer_ahead + nearer_behind) / 2, centre)
    corner &= ~smooth
    if not bool(corner.any()):
        return float(centre.sum()), False
    least = float(xp.where(corner, xp.minimum(ahead, behind), centre).sum())
    most = float(xp.where(corner, xp.maximum(ahead, behind), centre).sum())
    return min(max(analytic, least), most), True
