"""Presets: what to train, on what, and how, as one typed record each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from minicnn import Tensor, nn, no_grad, zeros
from minicnn.arguments import ArgumentError
from minicnn.independence import refuse_coupled
from minicnn.vision import transforms

from . import blocks as own_blocks
from . import own_network
from .blocks import Block
from .catalogue import DATASETS, is_name
from .centring import centre_filters_
from .kind import CLOTHES, Kind
from .networks import NETWORKS
from .schema import ValueCheck, channels, choice, number, numbers, text, truth, whole, wholes
from .settings import check, setting

INITS = ("default", "xavier_uniform", "kaiming_normal", "kaiming_centred")
SCHEDULES = ("constant", "OneCycleLR", "MultiStepLR")
MEASURED = "measured"  # mean and std, of the training images
LARGE = 1_000_000  # of what float32 can still add up: more than anybody has a use for
BLOCKS = "blocks"  # the network that a list of them says

NETWORK = ValueCheck(
    str,
    lambda value: value in (*NETWORKS, BLOCKS) or own_network.names_one(value),
    lambda _: f"one of {', '.join(NETWORKS)}, or {own_network.HOW}",
    names=(*NETWORKS, BLOCKS),
)

DATASET = ValueCheck(
    str,
    lambda value: 0 < len(value) <= 900 and value.isprintable(),
    lambda _: "the name of a data set, or the path of a folder, of printable characters",
)


@dataclass(frozen=True)
class Preset:
    """A network, its data and the settings it is trained with: all that decides a run's result.

    Raises ArgumentError, naming the setting, for a value that it can't have.
    """

    network: str = setting(
        "quick",
        f"{', '.join(NETWORKS)}, or {own_network.HOW}, a function of yours that makes a network; it"
        " is called with channels=, classes= and image_size=, as far as it takes them",
        NETWORK,
    )
    blocks: tuple[Block, ...] = ()  # in a TOML file alone
    init: str = setting("default", "how the initial weights are drawn", choice(*INITS))
    last_bias: float = setting(
        0.0,
        "let the biases of the class maps start at N; 0 leaves them to --init",
        number(-LARGE, LARGE),
    )
    init_from: str = setting("", "begin with the weights of this run, or of this file", text(900))
    reset_head: bool = setting(
        False, "with --init-from, draw the last layer anew, and weights that do not fit", truth
    )
    freeze: tuple[int, ...] = setting(
        (), "do not train these blocks, counted from 0, such as 0,1", wholes(0, 999)
    )
    dataset: str = setting(
        "auto",
        f"a folder of pictures, or one of {', '.join(DATASETS)}; auto is fashion-mnist, or"
        " silhouettes if that can be neither found nor downloaded",
        DATASET,
    )
    skip_broken: bool = setting(False, "leave out pictures that can't be used", truth)
    limit_train: int = setting(0, "train on the first N images only; 0 for all", whole(0))
    limit_test: int = setting(0, "test on the first N images only; 0 for all", whole(0))
    validation: int = setting(
        0,
        "hold back N training images, and evaluate on them and not on the test set; 0 for none",
        whole(0),
    )
    image_size: int = setting(
        0, "resize images to N×N pixels; 0 leaves them as they are", whole(0, 512)
    )
    mean: tuple[float, ...] = setting(
        (0.0,),
        "normalise pixels to (x - mean) / std: a number, one for each channel, or measured",
        channels(-LARGE, LARGE, MEASURED),
    )
    std: tuple[float, ...] = setting((1.0,), "see --mean", channels(1e-6, LARGE, MEASURED))
    flip: bool = setting(False, "mirror training images at random", truth)
    shift: int = setting(0, "shift training images at random, by up to N pixels", whole(0, 511))
    batch_size: int = setting(64, "images in a training step", whole(1))
    epochs: int = setting(10, "go through all training images N times", whole(1))
    seed: int = setting(0, "draw all random numbers from this seed", whole(0, 2**63 - 1))
    lr: float = setting(
        0.1, "learning rate; the highest, if there is a schedule", number(above=0, most=LARGE)
    )
    momentum: float = setting(0.0, "momentum of SGD", number(0, 1))
    nesterov: bool = setting(False, "use Nesterov's momentum", truth)
    weight_decay: float = setting(0.0, "weight decay of SGD", number(0, LARGE))
    centre_gradients: bool = setting(
        False, "subtract from the gradient of each filter its mean", truth
    )
    max_norm: float = setting(
        0.0, "scale the gradients down if their norm is above N; 0 never does", number(0, LARGE)
    )
    lr_scheduler: str = setting("constant", "schedule of the learning rate", choice(*SCHEDULES))
    pct_start: float = setting(
        0.1, "OneCycleLR: the fraction of the steps in which the learning rate rises", number(0, 1)
    )
    milestones: tuple[float, ...] = setting(
        (),
        "MultiStepLR: the learning rate falls after these fractions of the training, such as"
        " 0.5,0.75",
        numbers(above=0, most=1),
    )
    gamma: float = setting(
        0.1, "MultiStepLR: multiply the learning rate by N at each fall", number(above=0, most=1)
    )
    warmup: float = setting(
        0.0,
        "MultiStepLR and constant: the learning rate rises in this first fraction of the training",
        number(0, 1),
    )
    micro_batch: int = setting(32, "on a CPU, each process takes N images at a time", whole(1))

    def __post_init__(self) -> None:
        for each in fields(self):
            # tuples and floats also where a file or a caller gives lists and whole numbers
            value, blocks = getattr(self, each.name), each.name == BLOCKS
            own = own_blocks.read(value, BLOCKS) if blocks else check(each, value)
            object.__setattr__(self, each.name, own)
        if (self.network == BLOCKS) != bool(self.blocks):
            raise ArgumentError(
                f"network is {self.network}, but there are [[blocks]]"
                if self.blocks
                else "network blocks needs [[blocks]], in a file that --config names"
            )
        if self.nesterov and not self.momentum:
            raise ArgumentError("nesterov needs a momentum above 0")
        if self.lr_scheduler == "MultiStepLR" and not self.milestones:
            raise ArgumentError("MultiStepLR needs milestones, such as 0.5,0.75")
        if self.lr_scheduler == "OneCycleLR" and self.warmup:
            raise ArgumentError("OneCycleLR warms up as pct_start says, without a warmup")
        if self.reset_head and not self.init_from:
            raise ArgumentError("reset_head needs init_from, whose head it is that begins anew")
        if len(set(self.freeze)) < len(self.freeze):
            raise ArgumentError(f"freeze names a block twice: {','.join(map(str, self.freeze))}")
        if not self.init_from.isprintable():
            raise ArgumentError(f"init_from must be a path, got {self.init_from!r}")

    def with_settings(self, settings: Mapping[str, Any], directory: Path) -> Preset:
        """This one with other settings, in which paths are those seen from a directory.

        A network of the user's own begins with the values that its own code gives it, unless the
        settings say `init`. Raises ArgumentError.
        """
        changed = dict(settings)
        if changed.get(BLOCKS):
            changed = {"network": BLOCKS, **changed}
        network, source = changed.get("network"), changed.get("init_from")
        if isinstance(network, str) and own_network.names_one(network):
            changed = {"init": "default", "last_bias": 0.0, **changed}
            changed["network"] = own_network.absolute(network, directory)
        dataset = changed.get("dataset")
        if isinstance(dataset, str) and dataset and not is_name(dataset):
            changed["dataset"] = str(directory.absolute() / Path(dataset).expanduser())
        if isinstance(source, str) and source:
            changed["init_from"] = str(directory.absolute() / source)
        return replace(self, **changed)

    @property
    def own_network(self) -> bool:
        """Whether the network is code of the user's own."""
        return own_network.names_one(self.network)

    @property
    def name(self) -> str:
        """What to call the network."""
        return own_network.function_of(self.network) if self.own_network else self.network

    @property
    def evaluated_on(self) -> str:
        """The set that each epoch is evaluated on: "validation" if there is one, or else "test"."""
        return "validation" if self.validation else "test"

    def input_size(self, kind: Kind = CLOTHES) -> tuple[int, int]:
        """The (H, W) that the network sees images of this kind in."""
        return (self.image_size,) * 2 if self.image_size else (kind.height, kind.width)

    def network_for(self, kind: Kind) -> nn.Module:
        """The network for images of this kind, with PyTorch's default initial values.

        It runs the user's own code, if the network is that. Raises ArgumentError.
        """
        known = {"channels": kind.channels, "classes": len(kind.classes)}
        if self.own_network:
            return own_network.build(self.network, **known, image_size=self.input_size(kind)[0])
        if self.blocks:
            return own_blocks.network(self.blocks, **known)
        return NETWORKS[self.network](**known)

    def build(self, kind: Kind = CLOTHES) -> nn.Module:
        """The network, with initial values drawn from the default generator."""
        model = self.network_for(kind).apply(self.initialise)
        if self.last_bias:
            # Above 0, it opens the ReLU on the logits for every class, so that the first steps
            # silence none. The softmax doesn't see what is the same for all classes.
            *_, bias = model.parameters()
            if bias.shape != (len(kind.classes),):
                raise ArgumentError("last_bias: the network's last parameter is no bias of classes")
            nn.init.constant_(bias, self.last_bias)
        return model

    def try_network(self, kind: Kind = CLOTHES, model: nn.Module | None = None) -> None:
        """Take black images through the network, or this one, which may not be made for them.

        Raises ArgumentError for a network that can't take them, or gives something else than a
        logit for each class, and for one of the user's own whose answer for an image depends on the
        others.
        """
        model, (h, w) = model or self.network_for(kind), self.input_size(kind)
        classes = len(kind.classes)
        device = next(model.parameters()).device
        images = zeros(2, kind.channels, h, w, device=device)
        own = own_network.blaming(self.network) if self.own_network else nullcontext()
        try:
            with own, no_grad():
                logits = model(images)
        except ValueError as error:
            raise ArgumentError(
                f"the network {self.name} can't take images of {h}×{w}: {error}"
            ) from None
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if shape != (2, classes):
            raise ArgumentError(
                f"the network {self.name} gives {shape} for 2 images, where a logit is needed for"
                f" each of the {classes} classes: (2, {classes})"
            )
        if self.own_network:
            try:
                with own_network.blaming(self.network):
                    refuse_coupled(model, images)
            except ArgumentError as error:
                what = str(error).removeprefix("MicroBatches: ").partition(", so a batch")[0]
                raise ArgumentError(f"the network {self.name}: {what}") from None

    def initialise(self, module: nn.Module) -> None:
        """Give a layer with weights the initial values that `init` says."""
        if self.init == "default" or not isinstance(module, (nn.Conv2d, nn.Linear)):
            return  # PyTorch's default initialisation is what layers are made with
        if self.init == "xavier_uniform":
            nn.init.xavier_uniform_(module.weight)
            return
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if self.init == "kaiming_centred":
            centre_filters_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    def transform(self, train: bool, kind: Kind = CLOTHES) -> transforms.Compose:
        """What is done to an image of this kind before the network sees it.

        Raises ArgumentError if the mean or the standard deviation is still to be measured.
        """
        if not (self.mean and self.std):
            raise ArgumentError("mean and std must be measured first, as nin.data.load does")
        size, wanted = (kind.height, kind.width), self.input_size(kind)
        steps: list[transforms.Transform] = []
        if self.shift and train:
            steps.append(transforms.RandomCrop(size, padding=self.shift))
        steps.append(transforms.ToTensor())
        if self.flip and train:
            steps.append(transforms.RandomHorizontalFlip())
        if wanted != size:
            steps.append(transforms.Resize(wanted))
        if (self.mean, self.std) != ((0.0,), (1.0,)):
            steps.append(transforms.Normalize(self.mean, self.std))
        return transforms.Compose(steps)


# NiN with the sizes of AlexNet, and plain SGD. The last ReLU stands on the logits, so the loss may
# stay at ln 10 = 2.303 for a few hundred steps before it falls.
article = Preset(
    network="article",
    image_size=224,
    mean=(0.5,),
    std=(0.5,),
    batch_size=64,
    epochs=10,
    lr=0.1,
    micro_batch=3,
)

# Dive into Deep Learning, section 8.3.
d2l = Preset(
    network="d2l",
    init="xavier_uniform",
    image_size=224,
    batch_size=128,
    epochs=10,
    lr=0.05,
    micro_batch=4,
)

# The paper's network for CIFAR-10, and its kind of training: momentum, weight decay, a learning
# rate that falls in steps, flips and shifts.
paper = Preset(
    network="paper",
    init="kaiming_centred",
    last_bias=4.0,
    mean=(),  # measured: 0.286 and 0.353 for Fashion-MNIST
    std=(),
    flip=True,
    shift=1,
    batch_size=64,
    epochs=32,
    lr=0.1,
    momentum=0.9,
    nesterov=True,
    weight_decay=1e-4,
    max_norm=2.0,
    lr_scheduler="MultiStepLR",
    milestones=(0.4, 0.6, 0.75, 0.85, 0.93),
    gamma=0.4,
    micro_batch=16,
)

# The first minutes. Chosen on 10,000 training images held back (docs/training.md): gradients that
# leave the filters centred are worth 0.4 points after four epochs, batches of 128 at this rate cost
# no accuracy and less time, gradients clipped at 1 do better than at 5, and eight epochs than four.
quick = Preset(
    network="quick",
    init="kaiming_centred",
    mean=(),
    std=(),
    batch_size=128,
    epochs=8,
    lr=0.4,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    centre_gradients=True,
    max_norm=1.0,
    lr_scheduler="OneCycleLR",
    micro_batch=64,
)

# The paper's experiment on CIFAR-10, section 4.1: batches of 128, momentum, weight decay, and a
# rate that falls to a tenth twice, when the training accuracy stops rising; here the falls are set.
# Translations by up to 4 pixels and mirroring are its augmentation, with which it reports 8.81%
# error, and 10.41% without. In place of its global contrast normalisation and ZCA whitening there
# is the normalisation of each channel, and the initial values are those of the preset `paper`,
# which the paper leaves open. Not measured here.
cifar = Preset(
    network="paper",
    init="kaiming_centred",
    last_bias=4.0,
    dataset="cifar-10",
    mean=(),
    std=(),
    flip=True,
    shift=4,
    batch_size=128,
    epochs=240,
    lr=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    max_norm=2.0,
    lr_scheduler="MultiStepLR",
    milestones=(0.75, 0.9),
    gamma=0.1,
    micro_batch=16,
)

PRESETS = {"article": article, "cifar": cifar, "d2l": d2l, "paper": paper, "quick": quick}
