"""Presets, their settings, and TOML files that change them."""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np
import pytest

import minicnn
from minicnn.arguments import ArgumentError
from nin import command_line, config
from nin.kind import Kind
from nin.presets import PRESETS, Preset

from .arrays import array


@pytest.fixture
def toml(tmp_path):
    """Write a file, read it on top of quick."""

    def read(text):
        path = tmp_path / "my.toml"
        path.write_text(text)
        return config.read(path, PRESETS["quick"])

    return read


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_written_and_read_is_the_same(toml, preset):
    assert toml(config.render(preset)) == preset


def test_a_file_changes_what_it_names_and_nothing_else(toml):
    changed = toml("lr = 0.01")
    assert (changed.lr, changed.momentum) == (0.01, PRESETS["quick"].momentum)


def test_a_file_may_name_the_preset_it_starts_from(toml):
    assert toml('preset = "article"\nepochs = 1').network == "article"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate = 1", "no setting 'learning_rate'"),
        ("moment = 1", "did you mean momentum?"),
        ("lr = 0", "lr must be a number above 0, got 0"),
        ("lr = nan", "lr must be a number above 0, got nan"),
        ("lr = '0.1'", "lr must be a number above 0, got '0.1'"),
        ("epochs = 2.5", "epochs must be a whole number of at least 1, got 2.5"),
        ("epochs = true", "epochs must be a whole number of at least 1, got True"),
        ("flip = 1", "flip must be true or false, got 1"),
        (
            "network = 'resnet'",
            "network must be one of article, d2l, paper, quick, or FILE.py:function, got 'resnet'",
        ),
        (
            'lr_scheduler = "OneCycleLR"\nwarmup = 0.1',
            "OneCycleLR warms up as pct_start says",
        ),
        ("milestones = 0.5", "milestones must be a list of numbers above 0 and at most 1"),
        ("milestones = [2]", "milestones must be a list of numbers above 0 and at most 1"),
        ("momentum = 0", "nesterov needs a momentum above 0"),
        (
            "preset = 'resnet'",
            "preset must be one of article, cifar, d2l, paper, quick, got 'resnet'",
        ),
        ("mean = 'x'", "mean must be measured, a number, or one for each channel, got 'x'"),
        ("mean = [0.5, 0.5]", "mean must be measured, a number, or one for each channel"),
        ("mean = [0.5, true, 1]", "mean must be measured, a number, or one for each channel"),
        ("mean = true", "mean must be measured, a number, or one for each channel, got True"),
        ("std = 0", "std must be measured, a number of at least 1e-06, or one for each channel"),
        ("std = [1, 0, 1]", "std must be measured, a number of at least 1e-06, or one for each"),
        ("dataset = ''", "dataset must be the name of a data set, or the path of a folder"),
        ("lr: 0.1", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused_by_name(toml, text, message):
    with pytest.raises(config.ConfigError, match=r"my\.toml") as caught:
        toml(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(config.ConfigError, match=re.escape(str(tmp_path / "no.toml"))):
        config.read(tmp_path / "no.toml", Preset())


@pytest.mark.cpu
def test_the_relu_on_the_logits_of_paper_is_open_at_first():
    images = minicnn.rand(8, 1, 28, 28)
    for seed in range(3):
        minicnn.manual_seed(seed)
        logits = array(PRESETS["paper"].build().eval()(images))
        assert (logits > 0).all()


def test_last_bias_is_where_the_biases_of_the_classes_start_and_no_others():
    minicnn.manual_seed(0)
    *others, bias = Preset(network="quick", init="kaiming_normal", last_bias=2).build().parameters()
    np.testing.assert_array_equal(array(bias), np.full(10, 2))
    assert not any(array(each).any() for each in others if each.ndim == 1)


def test_lists_and_whole_numbers_become_the_settings_types():
    preset = Preset(lr=1, milestones=[1])
    assert (preset.lr, preset.milestones) == (1.0, (1.0,))
    assert isinstance(preset.lr, float)


@pytest.mark.parametrize(
    ("text", "mean"),
    [
        ("mean = 0.5", (0.5,)),
        ("mean = 1", (1.0,)),
        ("mean = [0.1, 0.2, 0.3]", (0.1, 0.2, 0.3)),
        ("mean = 'measured'", ()),
        ("mean = []", ()),
    ],
)
def test_a_mean_is_a_number_one_for_each_channel_or_measured(toml, text, mean):
    preset = toml(text)
    assert preset.mean == mean
    assert toml(config.render(preset)) == preset


@pytest.mark.parametrize(
    ("text", "mean"), [("0.5", (0.5,)), ("0.1,0.2,0.3", (0.1, 0.2, 0.3)), ("measured", ())]
)
def test_a_mean_on_the_command_line_is_written_as_it_is_shown(text, mean):
    (setting,) = (each for each in fields(Preset) if each.name == "mean")
    assert setting.metadata["check"].parse(text) == mean
    assert command_line.shown_setting(mean, setting.metadata["check"].word) == text


def test_what_is_still_to_be_measured_makes_no_transform():
    with pytest.raises(ArgumentError, match="must be measured first"):
        PRESETS["quick"].transform(train=True)


@pytest.mark.cpu
def test_the_papers_network_for_cifar_has_the_parameters_of_its_definition():
    kind = Kind(tuple("abcdefghij"), 3, 32, 32)
    sizes = [p.numel() for p in PRESETS["cifar"].build(kind).parameters()]
    # 5×5×3×192, 192×160, 160×96; 5×5×96×192, 192×192 twice; 3×3×192×192, 192×192, 192×10; biases
    weights = 14_400 + 30_720 + 15_360 + 460_800 + 36_864 * 2 + 331_776 + 36_864 + 1_920
    assert sum(sizes) == weights + 192 * 6 + 160 + 96 + 10
