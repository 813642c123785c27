"""Draw the error of numerical derivatives against the step (docs/gradcheck.md).

python -m benchmarks.step_size          # writes docs/step_size.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.gradcheck import EPS
from minicnn.nn import functional as F


def loss(x: np.ndarray) -> np.ndarray:
    """Cross-entropy of what a little convolution makes of x (1, 2, 6, 6), real or complex."""
    minicnn.manual_seed(0)
    w = minicnn.Tensor(minicnn.randn(5, 2, 3, 3, dtype=minicnn.float64).array.astype(x.dtype))
    logits = F.conv2d(minicnn.Tensor(x), w).sum((2, 3)) / 2
    value: np.ndarray = F.cross_entropy(logits, minicnn.tensor([3])).array
    return value


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_size",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "write the picture into this file (default: docs/step_size.png)"
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=Path("docs/step_size.png"), help=text
    )
    args = parser.parse_args()

    minicnn.manual_seed(1)
    x = minicnn.randn(1, 2, 6, 6, dtype=minicnn.float64).numpy()
    d = minicnn.randn(1, 2, 6, 6, dtype=minicnn.float64).numpy()
    d /= np.linalg.norm(d)
    exact = float(np.imag(loss(x + 1e-30j * d)) / 1e-30)

    steps = np.logspace(-16, 0, 97)
    one_sided = [abs((loss(x + h * d) - loss(x)) / h - exact) for h in steps]
    central = [abs((loss(x + h * d) - loss(x - h * d)) / (2 * h) - exact) for h in steps]
    complex_step = [abs(np.imag(loss(x + 1j * h * d)) / h - exact) for h in steps]

    figure = Figure(figsize=(4.8, 3.8), dpi=140, layout="constrained")
    axes = figure.subplots()
    floor = 1e-18  # where an error of exactly 0 is drawn
    for errors, style, label in (
        (one_sided, "C0.", "one-sided difference"),
        (central, "C1.", "central difference"),
        (complex_step, "C2.", "complex step"),
    ):
        axes.loglog(steps, np.maximum(errors, floor), style, label=label)
    u = np.finfo(float).eps
    axes.loglog(
        steps, np.minimum(u * abs(float(loss(x))) / steps, 1), "k:", lw=1, label="u·|f| / ε"
    )
    axes.loglog(steps, steps**2 * central[-1], "k--", lw=1, label="∝ ε²")
    axes.axvline(EPS, color="0.6", lw=1)
    axes.annotate(f"ε = {EPS:g}", (EPS, 1e-2), xytext=(4, 0), textcoords="offset points")
    axes.set(xlabel="step ε", ylabel="error of the derivative", ylim=(floor / 2, 3))
    axes.legend(loc=(0.02, 0.2), fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(args.out)
    best = steps[int(np.argmin(central))]
    print(f"central difference: smallest error {min(central):.1e}, at step {best:.1e}")
    print(f"complex step at 1e-16: error {complex_step[0]:.1e}")
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
