"""`Lambda`: any function as a transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...arguments import ArgumentTypeError, type_name


class Lambda:
    """`lambd(image)`, for one image, or one label, after another."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise ArgumentTypeError(f"Lambda: expected a function, got {type_name(lambd)}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return "Lambda()"
