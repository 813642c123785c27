"""How this thread computes: what a run decides, and hands on to the threads that work for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Context:
    """Decisions that no result but its rounding depends on.

    `conv_algorithm` is "im2col", "winograd" or "auto", or None for `backends.conv_algorithm`.
    `fixed_filters`, an `operations.winograd.FixedFilters`, holds what does not change meanwhile.
    """

    conv_algorithm: str | None = None
    fixed_filters: Any = None


class _Thread(threading.local):
    context = Context()


_thread = _Thread()


def current() -> Context:
    """This thread's context. A new thread's is empty."""
    return _thread.context


@contextmanager
def using(context: Context | None = None, **changes: Any) -> Iterator[None]:
    """Let this thread have another thread's context meanwhile, or its own with some changes."""
    before = _thread.context
    _thread.context = replace(before if context is None else context, **changes)
    try:
        yield
    finally:
        _thread.context = before
