"""The networks: mlpconv blocks, then global average pooling in place of a fully connected head.

Lin, Chen and Yan 2013, "Network In Network", arXiv 1312.4400. All take images
(N, channels, H, W) and give logits (N, classes). They are plain `nn.Sequential`s, so their state
dicts fit the same networks in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from minicnn import nn


def nin_block(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int,
    padding: int,
    mlp_channels: Sequence[int],
) -> nn.Sequential:
    """An mlpconv block: a convolution, then a small network at every pixel, ReLU after each.

    The small network is a 1×1 convolution for each width in `mlp_channels` (section 3.1): a fully
    connected layer whose weights all pixels share. The ReLUs take the memory of what they are
    given, which nothing else needs: with them a step of `article` adds 240 MiB, without 290.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding),
        nn.ReLU(inplace=True),
    ]
    for width in mlp_channels:
        layers += [nn.Conv2d(out_channels, width, kernel_size=1), nn.ReLU(inplace=True)]
        out_channels = width
    return nn.Sequential(*layers)


def article(classes: int = 10, channels: int = 1, *, mlp_layers: int = 1) -> nn.Sequential:
    """NiN with the sizes of AlexNet, for 224×224 images, `mlp_layers` 1×1 convolutions in a block.

    For ten classes of grey images it has 1,769,112 parameters with one 1×1 convolution in each
    block, and 1,992,166 with two.
    """

    def block(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
        return nin_block(inputs, outputs, kernel, stride, padding, [outputs] * mlp_layers)

    return nn.Sequential(
        block(channels, 96, 11, 4, 0),  # (N, 96, 54, 54)
        nn.MaxPool2d(3, stride=2),  # (N, 96, 26, 26)
        block(96, 256, 5, 1, 2),
        nn.MaxPool2d(3, stride=2),  # (N, 256, 12, 12)
        block(256, 384, 3, 1, 1),
        nn.MaxPool2d(3, stride=2),  # (N, 384, 5, 5)
        nn.Dropout(0.5),
        block(384, classes, 3, 1, 1),  # (N, classes, 5, 5): one map for each class
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),  # (N, classes)
    )


def d2l(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """The network of Dive into Deep Learning, section 8.3: two 1×1 convolutions in a block."""
    return article(classes, channels, mlp_layers=2)


def quick(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """A small network for 28×28 images, which the first layer halves.

    The first convolution has stride 2, so that all that follows has a quarter of the pixels. The
    others are 5×5 on 7×7 maps, which see most of an image; minimal filtering makes them cost little
    more than 3×3 ones (docs/training.md). The classes' maps come from a 1×1 convolution without a
    ReLU: on the logits, a ReLU stops the learning of every class whose maps are all negative, which
    is how NiNs get stuck at the start. 221,290 parameters.
    """
    return nn.Sequential(
        nin_block(channels, 32, 5, 2, 2, [32]),  # (N, 32, 14, 14)
        nn.MaxPool2d(2),
        nin_block(32, 64, 5, 1, 2, [64]),  # (N, 64, 7, 7)
        nin_block(64, 96, 5, 1, 2, [96]),  # (N, 96, 7, 7)
        nn.Conv2d(96, classes, kernel_size=1),  # (N, classes, 7, 7)
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),  # (N, classes)
    )


def paper(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """The network of the paper's section 4.2, for CIFAR-10.

    The sizes are those of the authors' own definition for Caffe. Pooling windows overlap and may
    hang over the edge (ceil mode). 957,386 parameters for grey images, 966,986 for colour images.
    """
    return nn.Sequential(
        nin_block(channels, 192, 5, 1, 2, [160, 96]),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 96, 14, 14) from 28×28 images
        nn.Dropout(0.5),
        nin_block(96, 192, 5, 1, 2, [192, 192]),
        nn.AvgPool2d(3, stride=2, ceil_mode=True),  # (N, 192, 7, 7)
        nn.Dropout(0.5),
        nin_block(192, 192, 3, 1, 1, [192, classes]),  # (N, classes, 7, 7)
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),  # (N, classes)
    )


NETWORKS: dict[str, Callable[..., nn.Sequential]] = {
    "article": article,
    "d2l": d2l,
    "paper": paper,
    "quick": quick,
}


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that a network is made of, by their paths: what has weights, or nothing below it.

    For nested Sequentials that is the order in which they are applied. A network that is one layer
    goes by the name of its class.
    """
    return {
        path or type(layer).__name__: layer
        for path, layer in model.named_modules()
        if [*layer.parameters(recurse=False)] or not [*layer.children()]
    }


@contextmanager
def watched(model: nn.Module, seen: Callable[[str, nn.Module, Any], None]) -> Iterator[None]:
    """Whenever a layer is called meanwhile, call `seen(path, layer, output)`, at once.

    A layer further on may write over the output.
    """

    def watcher(path: str, layer: nn.Module) -> Callable[..., Any]:
        def forward(*inputs: Any, **named: Any) -> Any:
            output = type(layer).forward(layer, *inputs, **named)
            seen(path, layer, output)
            return output

        return forward

    layers = named_layers(model)
    for path, layer in layers.items():
        vars(layer)["forward"] = watcher(path, layer)
    try:
        yield
    finally:
        for layer in layers.values():
            del vars(layer)["forward"]
