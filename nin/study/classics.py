"""The networks that Network in Network is held against: LeNet-5, AlexNet, VGG.

LeNet-5 is that of Dive into Deep Learning, section 7.6. AlexNet and the VGGs have the layers, and
the names of the parameters, of torchvision's, whose trained weights they load.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Literal

from minicnn import nn


def lenet(classes: int = 10, in_channels: int = 1, image_size: int = 28) -> nn.Sequential:
    """LeNet-5 for images (N, in_channels, image_size, image_size): 61,706 parameters for grey 28.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", with sigmoids and
    without the Gaussian output layer.
    """
    last = (image_size // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=2),
        *(nn.Sigmoid(), nn.AvgPool2d(2, stride=2)),  # (N, 6, 14, 14)
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2, stride=2)),  # (N, 16, 5, 5)
        *(nn.Flatten(), nn.Linear(16 * last * last, 120), nn.Sigmoid()),
        *(nn.Linear(120, 84), nn.Sigmoid()),
        nn.Linear(84, classes),
    )


def _network(features: list[nn.Module], pooled: int, classifier: list[nn.Module]) -> nn.Sequential:
    """Convolutions, an average to pooled×pooled pixels, and a fully connected head."""
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            avgpool=nn.AdaptiveAvgPool2d((pooled, pooled)),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(*classifier),
        )
    )


def alexnet(classes: int = 1000, in_channels: int = 3) -> nn.Sequential:
    """AlexNet for images (N, in_channels, 224, 224): 61,100,840 parameters.

    Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks".
    """
    first = nn.Conv2d(in_channels, 64, 11, stride=4, padding=2)
    return _alexnet(first, (64, 192, 384, 256), 3, 6, 4096, classes)


def alexnet28(classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """AlexNet at a quarter of its width for images (N, in_channels, 28, 28).

    For ten classes of grey images, 1,803,962 parameters.

    The first filters are 3×3 at stride 1, and pooling windows 2×2, so that 28 pixels go to 14, 7
    and 3.
    """
    first = nn.Conv2d(in_channels, 16, 3, padding=1)
    return _alexnet(first, (16, 48, 96, 64), 2, 3, 1024, classes)


def _alexnet(
    first: nn.Conv2d, widths: Sequence[int], window: int, pooled: int, hidden: int, classes: int
) -> nn.Sequential:
    a, b, c, d = widths
    halving = partial(nn.MaxPool2d, window, stride=2)
    features = [
        *(first, nn.ReLU(), halving()),  # 27×27 pixels from 224×224
        *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), halving()),  # 13×13
        *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(d, d, 3, padding=1), nn.ReLU(), halving()),  # 6×6
    ]
    classifier = [
        *(nn.Dropout(0.5), nn.Linear(d * pooled * pooled, hidden), nn.ReLU()),
        *(nn.Dropout(0.5), nn.Linear(hidden, hidden), nn.ReLU()),
        nn.Linear(hidden, classes),
    ]
    return _network(features, pooled, classifier)


# Widths of the 3×3 convolutions, "M" a halving: configurations A and D of the paper's table 1.
Widths = Sequence[int | Literal["M"]]
VGG11: Widths = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
VGG16: Widths = (
    *(64, 64, "M", 128, 128, "M", 256, 256, 256, "M"),
    *(512, 512, 512, "M", 512, 512, 512, "M"),
)


def vgg(widths: Widths, classes: int = 1000, in_channels: int = 3) -> nn.Sequential:
    """VGG for images (N, in_channels, 224, 224).

    VGG-11 has 132,863,336 parameters, VGG-16 138,357,544. Simonyan and Zisserman 2014, "Very deep
    convolutional networks for large-scale image recognition".
    """
    features: list[nn.Module] = []
    for width in widths:
        if width == "M":
            features.append(nn.MaxPool2d(2, stride=2))
        else:
            features += [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU()]
            in_channels = width
    classifier = [
        *(nn.Linear(in_channels * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(4096, classes),
    ]
    return _network(features, 7, classifier)
