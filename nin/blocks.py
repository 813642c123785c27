"""A network as a list of blocks, as `[[blocks]]` in a TOML file says it."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from minicnn import nn, spelling

from .networks import nin_block
from .schema import Misfit, choice, number, whole, wholes
from .settings import check, setting

MOST = 64  # blocks
WIDE = 8192  # channels: such a 1×1 convolution has 2**26 weights
POOLS = ("none", "max", "avg")


@dataclass(frozen=True)
class Block:
    """An mlpconv block, and what stands behind it: pooling, dropout, or neither.

    Raises Misfit, naming the setting, for a value that it can't have.
    """

    channels: int = setting(0, "of its convolution", whole(1, WIDE))
    kernel: int = setting(3, "pixels a side of its filters", whole(1, 99))
    stride: int = setting(1, "pixels from one place of a filter to the next", whole(1, 99))
    padding: int = setting(
        1, "zeros at each edge; in a table by default half the kernel", whole(0, 99)
    )
    mlp: tuple[int, ...] = setting((), "channels of the 1×1 convolutions", wholes(1, WIDE))
    pool: str = setting("none", "3×3 windows, two pixels apart", choice(*POOLS))
    dropout: float = setting(0.0, "share of the values that are dropped", number(0, 1))

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, check(each, getattr(self, each.name)))

    def __str__(self) -> str:
        """In few words, 96 of 5×5/2 with 1×1 of 96 and 96, max, dropout 0.5."""
        words = f"{self.channels} of {self.kernel}×{self.kernel}"
        words += f"/{self.stride}" if self.stride > 1 else ""
        words += f" with 1×1 of {' and '.join(map(str, self.mlp))}" if self.mlp else ""
        words += f", {self.pool}" if self.pool != "none" else ""
        return words + (f", dropout {self.dropout:g}" if self.dropout else "")


def read(value: Any, where: str) -> tuple[Block, ...]:
    """The blocks that a list of tables, or of blocks, says. Raises Misfit."""
    if not isinstance(value, (list, tuple)) or len(value) > MOST:
        raise Misfit(f"{where} must be a list of at most {MOST} tables, got {reprlib.repr(value)}")
    return tuple(_read(each, f"{where}[{i}]") for i, each in enumerate(value))


def _read(value: Any, where: str) -> Block:
    if isinstance(value, Block):
        return value
    if not isinstance(value, dict):
        raise Misfit(f"{where} must be a table of settings, got {reprlib.repr(value)}")
    known = [each.name for each in fields(Block)]
    for name in value:
        if name not in known:
            hint = spelling.hint(name, known, f"there are {', '.join(known)}")
            raise Misfit(f"{where}: there is no setting {reprlib.repr(name)}; {hint}")
    if "channels" not in value:
        raise Misfit(f"{where}: channels is missing")
    kernel = value.get("kernel", Block.kernel)
    half = kernel // 2 if type(kernel) is int else 0  # which leaves the maps as large as they are
    try:
        return Block(**{"padding": max(0, half), **value})
    except Misfit as error:
        raise Misfit(f"{where}.{error}") from None


def network(blocks: Sequence[Block], channels: int, classes: int) -> nn.Sequential:
    """The blocks one after another, a 1×1 convolution to a map for each class, and its average.

    As in `quick`, no ReLU stands on the logits. Pooling windows overlap and may hang over the edge,
    as in the paper. Takes images (N, channels, H, W), gives (N, classes).
    """
    layers: list[nn.Module] = []
    for block in blocks:
        sizes = (block.kernel, block.stride, block.padding)
        layers.append(nin_block(channels, block.channels, *sizes, block.mlp))
        channels = [block.channels, *block.mlp][-1]
        if block.pool != "none":
            kind = nn.MaxPool2d if block.pool == "max" else nn.AvgPool2d
            layers.append(kind(3, stride=2, ceil_mode=True))
        if block.dropout:
            layers.append(nn.Dropout(block.dropout))
    head = nn.Conv2d(channels, classes, kernel_size=1)
    return nn.Sequential(*layers, head, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())
