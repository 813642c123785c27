"""The presets' networks, weights and images for libraries other than minicnn.

Nothing here imports minicnn: it tells the C library to keep freed memory, which would speed up
others too.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

IMAGE_SIZE = {"article": 224, "d2l": 224, "paper": 28, "quick": 28}
Pair = tuple[int, int]  # of the height and the width


def draw(preset: str, n: int) -> tuple[Any, Any]:
    """Images (n, 1, size, size) of the preset's size and labels (n,), the same for every library.

    More images begin with those that fewer are.
    """
    size = IMAGE_SIZE[preset]
    images = np.random.default_rng(0).standard_normal((n, 1, size, size), dtype=np.float32)
    return images, np.random.default_rng(1).integers(0, 10, n)


def network(preset: str, nn: Any) -> Any:
    """The preset's network, made of the layers of another `nn` than minicnn's."""
    stand_in = ModuleType("minicnn")
    stand_in.nn = nn  # type: ignore[attr-defined]
    spec = find_spec("nin.networks")
    assert spec is not None and spec.loader is not None
    networks = module_from_spec(spec)
    before = sys.modules.get("minicnn")
    sys.modules["minicnn"] = stand_in
    try:
        spec.loader.exec_module(networks)
    finally:
        del sys.modules["minicnn"]
        if before is not None:
            sys.modules["minicnn"] = before
    return networks.NETWORKS[preset]()


class Conv(NamedTuple):
    """A convolution with a bias."""

    shape: tuple[int, int, int, int]  # of the weight: (C_out, C_in, kh, kw)
    stride: Pair
    padding: Pair


class Relu(NamedTuple):
    """max(x, 0)."""


class Dropout(NamedTuple):
    """In training, an element is 0 with probability p, and else divided by 1 - p."""

    p: float


class GlobalAverage(NamedTuple):
    """Each map's mean: (N, C, H, W) becomes (N, C)."""


class Pool(NamedTuple):
    """The maximum or the average of each window.

    `padding` is what the layer was told, on both sides. `overhang` is how far the last window
    reaches beyond that below and on the right (ceil mode); libraries that are given both as
    explicit padding need no ceil mode, whose last window is not the same everywhere.
    """

    kind: str  # "max" or "average"
    size: Pair  # of the maps that go in
    kernel: Pair
    stride: Pair
    padding: Pair
    overhang: Pair
    counts_padding: bool  # whether an average takes the padding, though not the overhang, as zeros

    @property
    def around(self) -> tuple[Pair, Pair]:
        """What lies (above, below) and (left, right) of the maps for the windows to fit."""
        (top, left), (below, right) = self.padding, self.overhang
        return (top, top + below), (left, left + right)

    def divisors(self) -> Any:
        """How many places each window's average is over, float32, (H', W')."""
        counts = []
        for size, k, s, p, (before, after) in zip(
            self.size, self.kernel, self.stride, self.padding, self.around, strict=True
        ):
            start = np.arange(0, before + size + after - k + 1, s) - p
            margin = p if self.counts_padding else 0
            counts.append(np.minimum(start + k, size + margin) - np.maximum(start, -margin))
        return np.outer(*counts).astype(np.float32)


Layer = Conv | Relu | Dropout | GlobalAverage | Pool


def pair(value: Any) -> Pair:
    """A number as two, or the two that there are."""
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def outputs(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool = False) -> int:
    """How many windows an axis has, by PyTorch's rule."""
    room = size + 2 * padding - kernel
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    # The last window has to begin within the maps, or in the padding before them.
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


def overhang(size: int, kernel: int, stride: int, padding: int, count: int) -> int:
    """How far the last of `count` windows reaches beyond an axis and its padding."""
    return max(0, (count - 1) * stride + kernel - (size + 2 * padding))


class Recorder:
    """Stands in for `nn`: writes down the layers that a network is made of, in their order.

    An argument that no competitor was taught raises TypeError.
    """

    def __init__(self, image_size: int) -> None:
        self.layers: list[Layer] = []
        self.size: Pair = (image_size, image_size)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no competitor knows nn.{name}: teach benchmarks/libraries and this")

    def Sequential(self, *layers: Any) -> None:
        pass

    def Conv2d(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
    ) -> None:
        kernel, stride, padding = pair(kernel_size), pair(stride), pair(padding)
        self.layers.append(Conv((out_channels, in_channels, *kernel), stride, padding))
        height, width = map(outputs, self.size, kernel, stride, padding)
        self.size = height, width

    def _pool(
        self, kind: str, kernel: Any, stride: Any, padding: Any, ceil: bool, counts: bool
    ) -> None:
        kernel, padding = pair(kernel), pair(padding)
        stride = kernel if stride is None else pair(stride)
        height, width = map(outputs, self.size, kernel, stride, padding, (ceil, ceil))
        below, right = map(overhang, self.size, kernel, stride, padding, (height, width))
        pool = Pool(kind, self.size, kernel, stride, padding, (below, right), counts)
        self.layers.append(pool)
        self.size = height, width

    def MaxPool2d(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self._pool("max", kernel_size, stride, padding, ceil_mode, False)

    def AvgPool2d(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._pool("average", kernel_size, stride, padding, ceil_mode, count_include_pad)

    def ReLU(self, inplace: bool = False) -> None:
        self.layers.append(Relu())

    def Dropout(self, p: float = 0.5) -> None:
        self.layers.append(Dropout(p))

    def AdaptiveAvgPool2d(self, output_size: int | Pair) -> None:
        if pair(output_size) != (1, 1):
            raise ValueError(f"no competitor can average to {output_size}, only to (1, 1)")
        self.layers.append(GlobalAverage())

    def Flatten(self) -> None:
        """Nothing is left to do: a `GlobalAverage` leaves (N, C)."""


def layers(preset: str) -> list[Layer]:
    """The preset's network, layer by layer."""
    recorder = Recorder(IMAGE_SIZE[preset])
    network(preset, recorder)
    return recorder.layers


def initial_parameters(preset: str) -> list[Any]:
    """Weight and bias of each convolution in turn, float32, the same for every library.

    He et al.'s normal weights; biases are small and none is 0, so that a lost one shows.
    """
    rng, parameters = np.random.default_rng(0), []
    for layer in layers(preset):
        if isinstance(layer, Conv):
            scale = np.sqrt(2 / np.prod(layer.shape[1:]))
            parameters += [rng.standard_normal(layer.shape) * scale]
            parameters += [rng.uniform(0.01, 0.1, layer.shape[0])]
    return [each.astype(np.float32) for each in parameters]
