"""Count how often and how long a training stays on the plateau of ln(classes).

    python -m benchmarks.plateau [--preset article] [--seeds 10] [--steps 300]
                                 [--init NAME] [--last-bias N]

Each seed is trained for some steps, watched by nin's monitor as in
`nin.train`. Printed are the step from which on the loss was better than
guessing, how many logits were dead at the end, and what the monitor reported,
and when. `--init` and `--last-bias` choose other initial values than those of
the preset.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import minicnn
from minicnn import context
from nin import data
from nin.fit import Callback, Training
from nin.health import Monitor
from nin.presets import INITS, PRESETS, Preset

from .machine import describe


class Enough(Exception):
    """The steps are done."""


def watch(preset: Preset, train_set: Any, test_set: Any, steps: int) -> dict[str, Any]:
    """Train for so many steps; what the monitor saw and said."""
    minicnn.manual_seed(preset.seed)
    training = Training(preset.build(), preset, train_set, test_set)
    monitor = Monitor(training)
    said: list[dict[str, Any]] = []
    start = time.perf_counter()

    class Watch(Callback):
        def on_batch(self, training: Training) -> None:
            if finding := monitor.after_step():
                seconds = round(time.perf_counter() - start, 1)
                said.append({"kind": finding.kind, "seconds": seconds, "text": finding.text})
                print(f"  {seconds} s: {finding.text}", flush=True)
            if training.steps >= steps:
                raise Enough

    training.callbacks.append(Watch())
    with suppress(Enough):
        training.fit()
    last = monitor.looks[-1]
    return {
        "seed": preset.seed,
        "left_after": None if monitor.plateau_since is not None else _left(monitor),
        "loss": last.loss,
        "dead_logits": last.dead_logits,
        "losses": [[each.step, each.loss] for each in monitor.looks],
        "said": said,
    }


def _left(monitor: Monitor) -> int:
    """The step of the first look that found the loss better than guessing, and so from then on."""
    step = 0
    for each in reversed(monitor.looks):
        if each.loss >= each.ceiling:
            break
        step = each.step
    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plateau",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "the network and its settings (default: article)"
    parser.add_argument("--preset", choices=PRESETS, default="article", help=text)
    text = "train with N seeds (default: 10)"
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help=text)
    text = "take N steps with each seed (default: 300)"
    parser.add_argument("--steps", type=int, default=300, metavar="N", help=text)
    parser.add_argument("--init", choices=INITS, help="initial weights (default: as in the preset)")
    text = "the biases of the class maps at the start (default: as in the preset)"
    parser.add_argument("--last-bias", type=float, metavar="N", help=text)
    text = "write the results into this directory (default: benchmarks/results)"
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("benchmarks/results"), help=text
    )
    args = parser.parse_args()
    context.set_default(conv_algorithm="auto")
    preset = PRESETS[args.preset]
    if args.init is not None:
        preset = replace(preset, init=args.init)
    if args.last_bias is not None:
        preset = replace(preset, last_bias=args.last_bias)
    sets, preset = data.load(preset)
    rows = []
    for seed in range(args.seeds):
        print(f"seed {seed}", flush=True)
        row = watch(replace(preset, seed=seed), sets.train, sets.test, args.steps)
        rows.append(row)
        if not math.isfinite(row["loss"]):
            end = "diverged"
        else:
            end = f"left after {row['left_after']}" if row["left_after"] else "still there"
        print(f"  loss {row['loss']:.3f}, {row['dead_logits']} dead logits, {end}", flush=True)
        result = {
            "preset": args.preset,
            "init": preset.init,
            "last_bias": preset.last_bias,
            "steps": args.steps,
            "rows": rows,
            "machine": describe(),
        }
        bias = f"-bias-{args.last_bias:g}" if args.last_bias is not None else ""
        path = args.out / f"plateau-{args.preset}-{preset.init}{bias}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
