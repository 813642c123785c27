"""Windows that slide over images: what convolution and pooling share."""

from __future__ import annotations

from typing import NamedTuple

from ..arguments import Pair as Pair

Pads = tuple[Pair, Pair]  # ((top, bottom), (left, right)): rows and columns around the image

NO_PADS: Pads = ((0, 0), (0, 0))


class Window(NamedTuple):
    """Its size, how far apart windows are, how far apart a window's places are, and the padding."""

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pads: Pads = NO_PADS

    def output_size(self, size: Pair) -> Pair:
        """How many windows fit along each axis of an image of H×W: ⌊(n - reach) / stride⌋ + 1."""
        (kh, kw), (sh, sw), (dh, dw), ((top, bottom), (left, right)) = self
        h, w = size
        return (
            (h + top + bottom - dh * (kh - 1) - 1) // sh + 1,
            (w + left + right - dw * (kw - 1) - 1) // sw + 1,
        )
