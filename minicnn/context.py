"""How a thread computes: the settings that a run makes and its threads inherit.

`using` changes them for a block of code in this thread, `set_default` for all threads that do not
use others. A thread that works for another thread gets its context: `using(that_context)`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from .arguments import one_of

CONV_ALGORITHMS = ("im2col", "winograd", "auto")


@dataclass(frozen=True)
class Context:
    """The settings.

    - `conv_algorithm`: how convolutions are computed, "im2col", "winograd" where that is possible,
      or "auto", winograd where it is faster. im2col is the reference; operations/winograd.py says
      what winograd gains and loses.
    - `tf32`: whether float32 matrices may be rounded to TF32, 11 binary digits in place of 24, for
      a GPU's tensor cores. Sums and results stay float32.
    - `threads`: how many threads of the CPU an operation spreads its chunks over, 1 for a thread
      that was given a part itself; None for as many as the BLAS has.
    - `fixed_filters`, an `operations.winograd.FixedFilters`: what does not change meanwhile.
    - `generator`: the `random.Generator` that is drawn from, None for `random.default_generator`.
    - `first_image` and `images`: of a batch that is cut into pieces, the number of the piece's
      first image, and how many it has; None for a whole batch. An image's dropout, flips and shifts
      are those of its number.
    - `in_pieces`: whether a caller cuts the batch already, so that nothing below may cut it.
    - `skip_init`: whether new layers leave their parameters at 0, as `nn.utils.skip_init` does.

    Raises ArgumentError for another `conv_algorithm`.
    """

    conv_algorithm: str = "im2col"
    tf32: bool = False
    threads: int | None = None
    fixed_filters: Any = None
    generator: Any = None
    first_image: int = 0
    images: int | None = None
    in_pieces: bool = False
    skip_init: bool = False

    def __post_init__(self) -> None:
        one_of("Context", "conv_algorithm", self.conv_algorithm, *CONV_ALGORITHMS)


class _Thread(threading.local):
    def __init__(self) -> None:
        self.blocks: list[Context] = []  # of the blocks that it is in


_thread = _Thread()
_default = Context()


def current() -> Context:
    """This thread's context: the default one, unless it is `using` another."""
    return _thread.blocks[-1] if _thread.blocks else _default


def set_default(**changes: Any) -> None:
    """Change the context of every thread that is not `using` one of its own.

    Raises TypeError for a field that there is not, and what `Context` raises.
    """
    global _default
    _default = replace(_default, **changes)


@contextmanager
def using(context: Context | None = None, **changes: Any) -> Iterator[None]:
    """Let this thread have another context meanwhile, or its own with some changes.

    A generator that yields within the block leaves the context to whoever it yields to, as all that
    is a thread's does, PyTorch's `no_grad` included. Raises what `set_default` raises, and
    RuntimeError at the end of a block that ends before one that was begun within it.
    """
    own = replace(current() if context is None else context, **changes)
    blocks = _thread.blocks
    blocks.append(own)
    try:
        yield
    finally:
        within = next((i for i, each in enumerate(reversed(blocks)) if each is own), None)
        if within is not None:  # or else the block that this one was in has ended before
            del blocks[-1 - within :]
        if within:
            raise RuntimeError(
                "context.using: a block within this one has not ended, as where a generator yields"
                " within a block; let it yield outside, and begin a block for each step"
            )
