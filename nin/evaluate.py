"""`python -m nin.evaluate RUN`: what a trained network gets right, and what it confuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from minicnn import log_softmax
from minicnn.backends import host
from minicnn.invocation import command
from minicnn.utils.data import DataLoader, Dataset
from minicnn.vision.datasets import ImageFolder
from minicnn.vision.image_dataset import ImageDataset

from . import command_line, drawing, table, trained
from . import data as datasets
from .command_line import Failure, UsageError, argument, directory, path, printable
from .executors import Executor, executor_for
from .presets import DATASET, Preset
from .schema import whole
from .table import Column

xp = host.xp
PROG = command("nin.evaluate")
MISTAKES = 12
LONGEST = 20  # characters of a name
COLUMNS = (
    Column("", "name"),
    Column("precision", "precision", ".1%"),
    Column("recall", "recall", ".1%"),
    Column("images", "images", ","),
    Column("most often taken for", "most", "<"),
)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "nin.evaluate",
        "RUN|FILE [flags]",
        "Measure the network of a run on the test images, or on those that the run held back.",
        """
        nin evaluate runs/RUN
        nin evaluate runs/RUN --json | jq .accuracy
        nin evaluate runs/RUN --limit-test 1000 --out /tmp/look
        nin evaluate runs/RUN --validation
        nin evaluate model.safetensors --dataset other-pictures
        """,
        "Writes confusion.png and mistakes.png. The backend need not be that of the training.",
    )
    add = parser.add_argument
    text = "the directory of a run, or its model.safetensors alone"
    add("run", type=path, metavar="RUN|FILE", help=text)
    add("--json", action="store_true", help="print JSON in place of tables")
    text = "put the pictures into this directory (default: RUN, or where FILE is)"
    add("--out", type=directory, metavar="DIR", help=text)
    which = parser.add_mutually_exclusive_group().add_argument
    text = "measure on the training images that the run held back, not on the test images"
    which("--validation", action="store_true", help=text)
    text = "measure on the first N test images (default: all)"
    which("--limit-test", type=argument(whole(1)), metavar="N", help=text)
    text = "other images of the same classes, as nin.train takes them (default: the run's own)"
    add("--dataset", type=argument(DATASET), metavar="NAME|PATH", help=text)
    text = "leave out pictures that can't be used (default: as in the training)"
    add("--skip-broken", action="store_true", help=text)
    text = "look here first for a data set with a name (default: data)"
    add("--data-dir", type=directory, metavar="DIR", help=text)
    command_line.add_own_network(parser)
    parser.add_backend()
    return parser


def probabilities(executor: Executor, dataset: Dataset, batch_size: int = 256) -> tuple[Any, Any]:
    """log p of each class for each image, (N, C), and the true classes, (N,), in host memory."""
    device = next(executor.model.parameters()).device
    logits, labels = [], []
    for images, truth in DataLoader(dataset, batch_size, num_workers=1):
        outputs = executor.predict(images.to(device))
        logits.append(log_softmax(outputs, 1).cpu().numpy())
        labels.append(truth.numpy())
    return xp.concatenate(logits), xp.concatenate(labels)


def confusion(truth: Any, answers: Any, classes: int) -> Any:
    """How many images of class i were taken for class j: (C, C), int64."""
    counts = xp.zeros((classes, classes), "int64")
    xp.add.at(counts, (truth, answers), 1)
    return counts


def figures(logp: Any, truth: Any, classes: Sequence[str]) -> dict[str, Any]:
    """Loss, accuracy, and for each class precision and recall, None for what is 0 of 0."""
    counts = confusion(truth, logp.argmax(1), logp.shape[1])
    right, asked, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    return {
        "images": len(truth),
        "loss": _share(-logp[xp.arange(len(truth)), truth].sum(dtype="float64"), len(truth)),
        "accuracy": _share(right.sum(), len(truth)),
        "classes": [
            {
                "name": name,
                "precision": _share(right[i], said[i]),
                "recall": _share(right[i], asked[i]),
                "images": int(asked[i]),
            }
            for i, name in enumerate(classes)
        ],
        "confusion": counts.tolist(),
    }


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _said(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def draw_confusion(
    counts: Sequence[Sequence[int]], classes: Sequence[str], title: str
) -> drawing.Figure:
    """The confusion matrix: rows are what it was, columns what it was taken for."""
    matrix = xp.asarray(counts)
    shares = matrix / xp.maximum(1, matrix.sum(axis=1, keepdims=True))
    side = min(24.0, max(4.0, 0.28 * len(classes)))  # inches
    figure = drawing.figure(side + 0.8, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = None if len(classes) <= 15 else 6
    for i, j in xp.argwhere(matrix):
        colour = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, str(matrix[i, j]), ha="center", va="center", color=colour, size=size)
    names = [_short(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=40 if size is None else 90, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="taken for", ylabel="was", title=title)
    return figure


def draw_mistakes(
    images: ImageDataset,
    logp: Any,
    truth: Any,
    classes: Sequence[str],
    title: str,
    negative: bool = True,
) -> drawing.Figure:
    """The wrong answers that were most certain: what was said, how surely, what it was."""
    files = getattr(images, "samples", None)  # which pictures in a folder have
    answers = logp.argmax(1)
    sure = xp.exp(logp.max(axis=1))
    wrong = xp.flatnonzero(answers != truth)
    worst = wrong[xp.argsort(-sure[wrong], kind="stable")[:MISTAKES]]
    figure = drawing.figure(4.6, 1.5 * MISTAKES // 3)
    figure.suptitle(title)
    for axes in figure.subplots(MISTAKES // 3, 3).flat:
        axes.set_axis_off()
    for axes, i in zip(figure.axes, worst, strict=False):
        drawing.image(axes, images.picture(int(i)).cpu().numpy(), negative)
        said = f"{_short(classes[answers[i]])} {100 * sure[i]:.1f}%"
        which = _short(printable(os.path.basename(files[i][0]))) if files else f"no. {i}"
        axes.set_title(f"{said}\nis {_short(classes[truth[i]])}, {which}", fontsize=8)
    return figure


def _most_often(counts: Sequence[int], own: int, classes: Sequence[str]) -> str:
    """The class, but for its own, that one was taken for most often, and how often."""
    n, other = max((n, j) for j, n in enumerate(counts) if j != own)
    return f"{_short(classes[other])} ({n})" if n else ""


def _short(name: str) -> str:
    """A name that leaves room for others in a line."""
    return table.cut(name, LONGEST)


def report(result: dict[str, Any]) -> str:
    """The figures as tables of 80 columns."""
    classes = [each["name"] for each in result["classes"]]
    rows = [
        {**each, "name": _short(each["name"]), "most": _most_often(counts, own, classes)}
        for own, (each, counts) in enumerate(
            zip(result["classes"], result["confusion"], strict=True)
        )
    ]
    loss, accuracy = _said(result["loss"], ".4f"), _said(result["accuracy"], ".2%")
    which = "Val" if result["set"] == "validation" else "Test"
    first = f"{which} Loss: {loss}, Acc: {accuracy} of {result['images']:,} images"
    return f"{first}\n\n{table.text(COLUMNS, rows)}"


def _images(
    args: argparse.Namespace, preset: Preset, network: trained.Trained
) -> tuple[ImageDataset, str]:
    """What to evaluate on, and what to call it."""
    preset = replace(preset, skip_broken=preset.skip_broken or args.skip_broken)
    if not args.dataset:
        datasets.refuse_missing(preset.dataset, args.run)
    if args.validation:
        data, _ = datasets.load(preset, args.data_dir, network.kind)
        if data.sha256() != network.data_sha256:
            raise Failure(
                f"{args.run}: which images it held back can't be told: those of {data.source} are"
                " not all the ones that it was trained with"
            )
        return data.evaluation, f"validation images of {data.name}"
    preset = replace(preset, dataset=args.dataset or preset.dataset)
    return datasets.load_test(preset, network.kind, args.data_dir, split=network.split)


def evaluate(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    device = command_line.device_of(args.backend or "numpy")
    network = trained.network(args.run, device, args.network)
    model, preset, kind = network.model, network.preset, network.kind
    out = args.out or (args.run if args.run.is_dir() else args.run.parent)
    if args.limit_test:
        preset = replace(preset, limit_test=args.limit_test)
    if args.validation and args.dataset:
        raise UsageError("--validation is of the run's own images, so it goes without --dataset")
    if args.validation and not preset.validation:
        raise Failure(f"{args.run} has no validation images: it was trained without --validation")
    images, name = _images(args, preset, network)
    negative = not isinstance(images, ImageFolder)  # data sets with names have light on dark
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: {command_line.described(error)}") from None
    logp, truth = probabilities(executor_for(model, preset), images)
    if xp.isnan(logp).any():
        raise Failure(f"{args.run}: its network's answers are NaN; the training diverged")
    result = {
        "set": "validation" if args.validation else "test",
        **figures(logp, truth, kind.classes),
    }
    print(command_line.as_json(result) if args.json else report(result), flush=True)
    title = f"{preset.name} on {name}: {_said(result['accuracy'], '.2%')}"
    certain = f"{title}. The most confident mistakes"
    pictures = {
        out / "confusion.png": lambda: draw_confusion(result["confusion"], kind.classes, title),
        out / "mistakes.png": lambda: draw_mistakes(
            images, logp, truth, kind.classes, certain, negative
        ),
    }
    written = [str(file) for file, draw in pictures.items() if drawing.write(file, draw)]
    if written:
        print(f"Pictures: {printable(', '.join(written))}", file=sys.stderr)
    return command_line.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (nin/command_line.py)."""
    return command_line.run(PROG, lambda: evaluate(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
