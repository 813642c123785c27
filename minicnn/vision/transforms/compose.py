"""`Compose`: transforms one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...backends import Array
from ...random import Generator, default_generator
from ...tensor import Tensor
from ...utils.data.collate import collate
from ...utils.data.dataset import many_at_once
from .tensors import PILToTensor
from .transform import Transform, as_array, transformed


class Compose(Transform):
    """Transforms one after another. Other functions among them are called image by image.

    A function gets a Tensor, or the image itself if it stands first in a call, and its result is
    one image in the layout of its place; only after the last transform may it be something else.
    """

    def __init__(self, transforms: Iterable[Callable[[Any], Any]]) -> None:
        if not isinstance(transforms, Iterable):
            raise TypeError(f"Compose: expected functions in a list, got {transforms!r}")
        self.transforms = list(transforms)
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(f"Compose: expected functions, got {type(transform).__name__}")

    def _steps(self) -> list[Any]:
        """The transforms, with those of a Compose among them in its place."""
        steps: list[Any] = []
        for transform in self.transforms:
            steps += transform._steps() if type(transform) is Compose else [transform]
        return steps

    def batch(self, images: Array, rng: Generator) -> Any:
        """The transformed images, an array; if functions stand last, what `collate` makes of them.

        `collate`'s tensor is given as its array, too.
        """
        return self.in_layout(images, rng, None)

    def in_layout(self, images: Array, rng: Generator, channels_last: bool | None) -> Any:
        done = self._through(images, rng, channels_last)
        if isinstance(done, list):
            done = collate(done)
        return done.array if isinstance(done, Tensor) else done

    def __call__(
        self, image: Any, channels_last: bool | None = None, rng: Generator | None = None
    ) -> Any:
        rng = default_generator.split() if rng is None else rng
        done = self._through([image], rng, channels_last)
        return done[0] if isinstance(done, list) else Tensor(done[0])

    def _through(self, images: Any, rng: Generator, channels_last: bool | None) -> Any:
        """What the steps make of images: an array (N, …), or a list where functions stand last.

        They come in either form, too. What is in a list no transform here has made.
        """
        device = None if isinstance(images, list) else Tensor(images).device
        layout_is_given = channels_last is not None
        if channels_last is None and _makes_tensors(self):
            channels_last = True
        for step in self._steps():
            if not _at_once(step):
                images = [step(x) for x in _listed(images)]
                layout_is_given = False
                continue
            if isinstance(images, list):
                for x in () if layout_is_given else images:
                    channels_last = step.layout(x, channels_last)
                stacked = collate([Tensor(as_array(type(step).__name__, x)) for x in images])
                images = (stacked if device is None else stacked.to(device)).array
            images = transformed(step, images, rng, channels_last)
            if _makes_tensors(step):
                channels_last = False
        return images

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}(", *(f"    {t}" for t in self.transforms), ")"])


def _at_once(transform: Any) -> bool:
    return isinstance(transform, Transform) and many_at_once(transform, "batch", "__call__")


def _listed(images: Any) -> Iterable[Any]:
    return images if isinstance(images, list) else map(Tensor, images)


def _makes_tensors(step: Any) -> bool:
    """Whether a ToTensor or PILToTensor is in it, or it is one."""
    inner = step.transforms if isinstance(step, Compose) else ()
    return isinstance(step, PILToTensor) or any(map(_makes_tensors, inner))
