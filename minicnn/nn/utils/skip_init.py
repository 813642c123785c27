"""Modules made without initial values, which will be loaded anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ... import context
from ..module import Module

M = TypeVar("M", bound=Module)


def skip_init(module_cls: Callable[..., M], *args: Any, **kwargs: Any) -> M:
    """module_cls(*args, **kwargs), a layer or a whole network, with all layers' parameters at 0.

    For a model that will be loaded, or only counted: on a CPU the zeros take no memory until
    something is written to them.
    """
    with context.using(skip_init=True):
        return module_cls(*args, **kwargs)
