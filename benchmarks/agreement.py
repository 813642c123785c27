"""Check that all that `benchmarks.cpu` times compute the same.

    python -m benchmarks.agreement --preset paper

From the same weights and images, the logits of each library are compared with
those of the first one. So are the losses of the first steps of SGD, if the
network has no dropout, as each library draws its own dropout masks. The
differences are printed as a share of the largest number; if one is above
1e-4, the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from .cpu import COMPETITORS, Worker, usual
from .network import IMAGE_SIZE, Dropout, layers

LIMIT = 1e-4
IMAGES, STEPS = 4, 3


def distances(preset: str, what: str, names: list[str] | None = None) -> dict[str, float]:
    """How far each competitor's logits ("predict") or losses ("train") are from the first one's."""
    values = {}
    for name, entry in usual(preset, what, IMAGES, 1, names).items():
        worker = Worker(entry, preset, what)
        times = STEPS if what == "train" else 1
        values[name] = np.array([worker.ask("answer")["value"] for _ in range(times)])
        worker.stop()
    first = next(iter(values.values()))
    return {name: float(abs(v - first).max() / abs(first).max()) for name, v in values.items()}


def check(preset: str, names: list[str] | None = None) -> bool:
    """Print the distances, and whether all are within the limit."""
    has_dropout = any(isinstance(layer, Dropout) for layer in layers(preset))
    agree = True
    for what in ("predict",) if has_dropout else ("predict", "train"):
        print(f"{preset}, {'logits' if what == 'predict' else f'losses of {STEPS} steps'}:")
        for name, distance in distances(preset, what, names).items():
            close = distance <= LIMIT  # false for NaN, too
            agree = agree and close
            print(f"  {name:<24}{distance:.1e}{'' if close else '  DIFFERS'}", flush=True)
    return agree


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--preset", choices=IMAGE_SIZE, help="only this one (default: each of them)"
    )
    text = f"compare only these, of {', '.join(map(repr, COMPETITORS))}"
    parser.add_argument("--only", nargs="*", choices=COMPETITORS, metavar="NAME", help=text)
    args = parser.parse_args()
    agree = [check(p, args.only) for p in ([args.preset] if args.preset else IMAGE_SIZE)]
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
