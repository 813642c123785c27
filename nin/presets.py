"""Presets: what to train, and how, as one typed record each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from minicnn import nn
from minicnn.vision import transforms

from . import networks


@dataclass(frozen=True)
class Preset:
    """A network, the images it wants and the settings it is trained with."""

    network: Callable[[], nn.Sequential]
    image_size: int  # images are resized to this
    mean: float  # and normalised to (x - mean) / std
    std: float
    init: Literal["default", "xavier_uniform", "kaiming_normal"]
    flip: bool  # mirror training images at random
    batch_size: int
    epochs: int
    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float
    max_norm: float | None  # gradients are clipped to this norm
    schedule: Literal["constant", "one-cycle"]
    micro_batch: int  # images that a CPU thread takes through the network at a time

    def build(self) -> nn.Sequential:
        """The network, with initial values drawn from the default generator."""
        return self.network().apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if self.init == "default" or not isinstance(module, (nn.Conv2d, nn.Linear)):
            return  # PyTorch's default initialisation is what layers are made with
        if self.init == "xavier_uniform":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def transform(self, train: bool) -> transforms.Compose:
        """What is done to an image before the network sees it."""
        steps: list[transforms.Transform] = [transforms.ToTensor()]
        if self.flip and train:
            steps.append(transforms.RandomHorizontalFlip())
        if self.image_size != 28:
            steps.append(transforms.Resize((self.image_size, self.image_size)))
        if (self.mean, self.std) != (0, 1):
            steps.append(transforms.Normalize(self.mean, self.std))
        return transforms.Compose(steps)

    def rate(self, progress: float) -> float:
        """The factor on the learning rate when this share of the training is done.

        One cycle (Smith and Topin 2018): up in a straight line over the first tenth of the
        training, then down in another.
        """
        if self.schedule == "constant":
            return 1.0
        rise = 0.1
        return progress / rise if progress < rise else (1 - progress) / (1 - rise)


# The tutorial's settings. The last ReLU stands on the logits, so the loss may stay at ln 10 = 2.303
# for a few hundred steps before it falls.
article = Preset(
    network=networks.article,
    image_size=224,
    mean=0.5,
    std=0.5,
    init="default",
    flip=False,
    batch_size=64,
    epochs=10,
    lr=0.1,
    momentum=0.0,
    nesterov=False,
    weight_decay=0.0,
    max_norm=None,
    schedule="constant",
    micro_batch=4,
)

# Dive into Deep Learning, section 8.3.
d2l = Preset(
    network=lambda: networks.article(mlp_layers=2),
    image_size=224,
    mean=0.0,
    std=1.0,
    init="xavier_uniform",
    flip=False,
    batch_size=128,
    epochs=10,
    lr=0.05,
    momentum=0.0,
    nesterov=False,
    weight_decay=0.0,
    max_norm=None,
    schedule="constant",
    micro_batch=4,
)

quick = Preset(
    network=networks.quick,
    image_size=28,
    mean=0.286,  # Fashion-MNIST's own mean and standard deviation
    std=0.353,
    init="kaiming_normal",
    flip=True,
    batch_size=64,
    epochs=5,
    lr=0.2,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    max_norm=1.0,
    schedule="one-cycle",
    micro_batch=32,
)

PRESETS = {"article": article, "d2l": d2l, "quick": quick}
