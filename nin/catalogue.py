"""The data sets that have a name, and how to have their images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from minicnn import spelling
from minicnn.console import UsageError
from minicnn.vision import datasets
from minicnn.vision.image_dataset import ImageDataset

from .kind import CLOTHES, Kind
from .silhouettes import SIZES, Silhouettes


@dataclass(frozen=True)
class Named:
    """A data set: its title, the kind of its images, and a function that makes them.

    The function takes the directory to look in first, whether they are for training, and how many
    will be used at most, 0 for all. Of the CIFARs, whose classes have their names in the archive,
    the kind has numbers for names.
    """

    title: str
    kind: Kind
    make: Callable[[str, bool, int], ImageDataset]


def _found(kind: Callable[..., ImageDataset], directory: str, train: bool, _: int) -> ImageDataset:
    return kind(directory, train=train, download=True)


def _drawn(_: str, train: bool, most: int) -> Silhouettes:
    """Silhouettes, no more than will be used."""
    drawn = Silhouettes(train, size=min(most or SIZES[train], SIZES[train]))
    drawn.source = "drawn by this program"
    return drawn


def _grey(found: Any) -> Named:
    return Named(found.title, _like_clothes(found.classes), partial(_found, found))


def _emnist(split: str) -> Named:
    kind = _like_clothes(datasets.EMNIST.splits[split].classes)
    return Named(f"EMNIST {split}", kind, partial(_found, partial(datasets.EMNIST, split=split)))


def _like_clothes(classes: Sequence[str]) -> Kind:
    return replace(CLOTHES, classes=tuple(classes))


def _cifar(found: type[datasets.CIFAR10]) -> Named:
    *_, classes = found.labels.values()
    kind = Kind(tuple(map(str, range(classes))), channels=3, height=32, width=32)
    return Named(found.title, kind, partial(_found, found))


DATASETS: Mapping[str, Named] = {
    "fashion-mnist": _grey(datasets.FashionMNIST),
    "silhouettes": Named("silhouettes", CLOTHES, _drawn),
    "mnist": _grey(datasets.MNIST),
    "kmnist": _grey(datasets.KMNIST),
    **{f"emnist-{split}": _emnist(split) for split in datasets.EMNIST.splits},
    "cifar-10": _cifar(datasets.CIFAR10),
    "cifar-100": _cifar(datasets.CIFAR100),
}
AUTO = "auto"  # Fashion-MNIST, or silhouettes if that can't be had


def is_name(dataset: str) -> bool:
    """Whether this is the name of a data set, or else the path of a folder."""
    return dataset == AUTO or dataset in DATASETS


def title(dataset: str) -> str:
    """What to call a data set, of this name or in this folder."""
    return DATASETS[dataset].title if dataset in DATASETS else Path(dataset).name or dataset


def refuse_unknown(dataset: str) -> None:
    """Raise UsageError for what is neither the name of a data set nor the path of anything."""
    if is_name(dataset) or Path(dataset).exists():
        return
    names = (AUTO, *DATASETS)
    near = spelling.hint(Path(dataset).name, names, f"there are {', '.join(names)}")
    raise UsageError(
        f"--dataset: there is no folder {dataset}, and no data set of this name; {near}"
    )
