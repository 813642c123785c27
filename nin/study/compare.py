"""NiN beside LeNet-5 and AlexNet: the same images, and the same time to learn from them.

How long a step takes is measured first; each network then gets as many epochs as fit into the time,
with a learning rate that suits it and `quick`'s schedule.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import minicnn
from minicnn import nn

from .. import drawing, networks
from ..command_line import at_least
from ..presets import PRESETS
from . import classics, trial
from .memory import allocated
from .report import Report

ARGUMENTS = "[flags]"
EXAMPLES = """
python -m nin.study compare
python -m nin.study compare --full             five minutes for each network
python -m nin.study compare --image-size 224   the networks at their own size
"""
Competitors = dict[str, tuple[Callable[[], nn.Sequential], dict[str, Any]]]
# Sigmoids: Xavier's initial values, and no decay of weights that are small already.
LENET = {"init": "xavier_uniform", "lr": 0.1, "weight_decay": 0.0}
COMPETITORS: dict[int, Competitors] = {
    28: {
        "NiN (quick)": (networks.quick, {}),
        "LeNet-5": (classics.lenet, LENET),
        "AlexNet, ¼ as wide": (classics.alexnet28, {"lr": 0.05}),
    },
    224: {
        "NiN (d2l)": (networks.d2l, {"lr": 0.02, "micro_batch": 4}),
        "LeNet-5": (lambda: classics.lenet(image_size=224), LENET | {"micro_batch": 4}),
        "AlexNet": (lambda: classics.alexnet(10, 1), {"lr": 0.02, "micro_batch": 4}),
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    trial.add_data(parser)
    add(
        "--image-size",
        type=int,
        choices=tuple(COMPETITORS),
        default=28,
        help="28: small networks; 224: LeNet-5 and AlexNet as they were (default: 28)",
    )
    add("--full", action="store_true", help="all images, 300 seconds each (default: small)")
    trial.limit(parser, "--limit-train", "5000; --full: all")
    trial.limit(parser, "--limit-test", "2000; --full: all")
    add(
        "--seconds",
        type=at_least(0, float, above=True),
        help="of training for each network (default: 20; --full: 300)",
    )


def run(args: argparse.Namespace, report: Report) -> None:
    images, tests, seconds = (0, 0, 300.0) if args.full else (5000, 2000, 20.0)
    seconds = args.seconds or seconds
    preset = replace(
        PRESETS["quick"],
        seed=args.seed,
        dataset=args.dataset,
        limit_train=args.limit_train or images,
        limit_test=args.limit_test or tests,
        image_size=args.image_size,
    )
    material = trial.load(preset, args.data_dir)
    print(
        f"{material.name}: {len(material.train):,} images of {args.image_size}×{args.image_size},"
        f" {seconds:g} s for each network\n",
        flush=True,
    )
    outcomes, peaks = [], []
    for name, (network, own) in COMPETITORS[args.image_size].items():
        settings = replace(preset, **own)
        step = trial.step_seconds(network, settings, material, args.device, seconds / 5)
        steps = -(-len(material.train) // settings.batch_size)
        settings = replace(settings, epochs=max(1, round(seconds / (step * steps))))
        outcomes.append(trial.train(name, network, settings, material, args.device))
        n, size = settings.batch_size, args.image_size
        x = minicnn.randn(n, 1, size, size, device=args.device)
        y = minicnn.randint(0, 10, (n,)).to(args.device)
        peaks.append(allocated(network().to(args.device), x, y)[1])
    report.table(
        ("", *(outcome.name for outcome in outcomes)),
        [
            ("parameters", *(f"{o.parameters:,}" for o in outcomes)),
            ("seconds of training", *(f"{o.seconds:.0f}" for o in outcomes)),
            ("epochs", *(str(o.epochs) for o in outcomes)),
            ("ms a step of 64", *(f"{1e3 * o.step_seconds:.1f}" for o in outcomes)),
            ("MiB a step, at most", *(_mib(peak) for peak in peaks)),
            ("test accuracy, %", *(f"{100 * o.accuracy:.2f}" for o in outcomes)),
            ("training accuracy, %", *(f"{100 * o.seen_accuracy:.2f}" for o in outcomes)),
            ("test loss", *(f"{o.test_loss:.3f}" for o in outcomes)),
            ("training loss", *(f"{o.seen_loss:.3f}" for o in outcomes)),
            ("gap", *(f"{o.test_loss - o.seen_loss:+.3f}" for o in outcomes)),
        ],
    )
    print("\ngap: loss on the test set less that on training images (above 0: overfitting)")
    print("MiB: what a step with the whole batch at once allocates beside the parameters")
    report.figure(lambda: draw(outcomes))
    rows = [{**asdict(o), "bytes_at_most": peak} for o, peak in zip(outcomes, peaks, strict=True)]
    report.finish({"seconds": seconds, "rows": rows})


def _mib(n: int | None) -> str:
    return "–" if n is None else f"{n / 2**20:.0f}"


def draw(outcomes: list[trial.Outcome]) -> drawing.Figure:
    """Parameters, accuracy and the gap between training and test, network by network."""
    figure = drawing.figure(6.4, 2.6)
    names = [o.name.replace(", ", ",\n").replace(" (", "\n(") for o in outcomes][::-1]
    panels = figure.subplots(1, 3, sharey=True)
    for axes, values, form, title in zip(
        panels,
        (
            [o.parameters / 1e3 for o in outcomes],
            [100 * o.accuracy for o in outcomes],
            [o.test_loss - o.seen_loss for o in outcomes],
        ),
        ("{:,.0f}", "{:.1f}", "{:.3f}"),
        ("parameters (thousands)", "test accuracy (%)", "test less training loss"),
        strict=True,
    ):
        colours = ["tab:orange" if o.name.startswith("NiN") else "tab:blue" for o in outcomes]
        bars = axes.barh(names, values[::-1], color=colours[::-1], height=0.6)
        axes.bar_label(bars, fmt=form, padding=3, fontsize=8)
        axes.set_title(title, fontsize=9)
        axes.margins(x=0.5)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
