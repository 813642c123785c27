"""What a network has to fit: the shape of a data set's images, and which classes they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from minicnn.console import Failure
from minicnn.vision.datasets import FashionMNIST

from .schema import Check, ValueCheck, items, record, whole

SIDES = whole(1, 2**16)


def is_class_name(name: str) -> bool:
    """Whether a class may be called so: a short text that a terminal shows as it is."""
    return 0 < len(name) <= 255 and name.isprintable()


CLASS_NAME = ValueCheck(str, is_class_name, lambda _: "a class's name, of printable characters")


@dataclass(frozen=True)
class Kind:
    """The kind of images that a data set holds, as they come from it: before any resizing.

    `channels` is 1 for grey and 3 for colour; `classes` are the names of the labels 0, 1, …
    """

    classes: tuple[str, ...]
    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        colour = {1: "grey", 3: "colour"}.get(self.channels, f"{self.channels} channels")
        return f"{len(self.classes)} classes, {colour}, {self.height}×{self.width}"

    def must_be(self, other: Kind, whose: str, name: str) -> None:
        """Raise Failure unless this kind, of the data set `name`, is that of somebody's network."""
        if self == other:
            return
        here, there = str(self), str(other)
        if here == there:
            pairs = zip(self.classes, other.classes, strict=True)
            here, there = next((repr(a), repr(b)) for a, b in pairs if a != b)
        raise Failure(f"{whose} is for other images than those of {name}: {there}, and not {here}")

    def as_json(self) -> dict[str, Any]:
        """What `of_json` takes, where files keep it."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Kind:
        """The kind that a file says, which has passed `KIND`."""
        return cls(**{**value, "classes": tuple(value["classes"])})


CLOTHES = Kind(tuple(FashionMNIST.classes), channels=1, height=28, width=28)  # Fashion-MNIST's

KIND: Check = record(
    {
        "classes": items(CLASS_NAME, least=1, most=100_000),
        "channels": whole(1, 4),
        "height": SIDES,
        "width": SIDES,
    }
)
