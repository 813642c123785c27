"""LeNet-5, AlexNet and VGG: the published counts, and the names of torchvision's parameters."""

from __future__ import annotations

import pytest

import minicnn
from minicnn import nn
from nin.study import classics

PUBLISHED = [
    (classics.lenet, 61_706),
    (classics.alexnet, 61_100_840),
    (lambda: classics.vgg(classics.VGG11), 132_863_336),
    (lambda: classics.vgg(classics.VGG16), 138_357_544),
]


@pytest.mark.parametrize(
    ("network", "published"), PUBLISHED, ids=["LeNet-5", "AlexNet", "VGG-11", "VGG-16"]
)
def test_published_parameters(network, published):
    model = nn.utils.skip_init(network)
    assert sum(p.numel() for p in model.parameters()) == published


@pytest.mark.parametrize(
    ("network", "last"),
    [(classics.alexnet, "classifier.6"), (lambda: classics.vgg(classics.VGG11), "classifier.6")],
    ids=["AlexNet", "VGG-11"],
)
def test_parameters_have_torchvisions_names(network, last):
    names = list(nn.utils.skip_init(network).state_dict())
    assert names[0] == "features.0.weight"
    assert names[-2:] == [f"{last}.weight", f"{last}.bias"]


def test_lenet_gives_a_logit_for_each_class():
    assert classics.lenet()(minicnn.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("size", [63, 224])
def test_alexnet_takes_images_from_63_pixels_on(size):
    model = nn.utils.skip_init(classics.alexnet, classes=10, in_channels=1)
    with minicnn.no_grad():
        assert model(minicnn.zeros(1, 1, size, size)).shape == (1, 10)


def test_the_small_alexnet_takes_images_of_28_pixels():
    assert classics.alexnet28()(minicnn.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_lenet_takes_larger_images_too():
    assert classics.lenet(image_size=64)(minicnn.zeros(1, 1, 64, 64)).shape == (1, 10)
