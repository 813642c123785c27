"""`[[blocks]]`: a network as a list in a TOML file."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import nn
from nin import blocks, compare, config, evaluate, networks, train
from nin.blocks import Block
from nin.kind import Kind
from nin.presets import PRESETS, Preset
from nin.run import read_preset

from .noise import FLAGS

pytestmark = pytest.mark.cpu
TWO = """
[[blocks]]
channels = 6
kernel = 5
stride = 2
mlp = [5, 4]
pool = "max"
dropout = 0.5

[[blocks]]
channels = 3
pool = "avg"
"""
DRAWN = st.builds(
    Block,
    channels=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 2),
    padding=st.integers(2, 4),
    mlp=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    pool=st.sampled_from(blocks.POOLS),
    dropout=st.sampled_from([0.0, 0.25, 1.0]),
)


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "my.toml"
        path.write_text(text)
        return path

    return write


def test_blocks_are_the_layers_that_they_say():
    first, second = blocks.read(
        [
            {"channels": 6, "kernel": 5, "mlp": [5, 4], "pool": "max", "dropout": 0.5},
            {"channels": 3, "kernel": 4, "stride": 2, "pool": "avg"},
        ],
        "blocks",
    )
    expected = nn.Sequential(
        networks.nin_block(2, 6, 5, 1, 2, [5, 4]),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Dropout(0.5),
        networks.nin_block(4, 3, 4, 2, 2, []),
        nn.AvgPool2d(3, stride=2, ceil_mode=True),
        nn.Conv2d(3, 7, kernel_size=1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )
    assert repr(blocks.network([first, second], channels=2, classes=7)) == repr(expected)


@given(st.lists(DRAWN, min_size=1, max_size=3), st.integers(1, 3), st.integers(2, 12))
def test_any_blocks_give_a_logit_for_each_class(drawn, channels, classes):
    model = blocks.network(drawn, channels, classes).eval()
    with minicnn.no_grad():
        assert model(minicnn.zeros(2, channels, 28, 28)).shape == (2, classes)


@given(st.lists(DRAWN, min_size=1, max_size=3).map(tuple))
def test_what_is_rendered_is_read_again(drawn):
    preset = Preset(network="blocks", blocks=drawn)
    assert config.parse_whole(config.render(preset), "it") == preset


def test_blocks_take_the_place_of_the_presets_network(toml):
    preset = config.read(toml("lr = 0.3\n" + TWO), PRESETS["quick"])
    assert (preset.network, preset.lr, len(preset.blocks)) == ("blocks", 0.3, 2)
    assert preset.build(Kind(("a", "b"), 3, 28, 28))[0][0].weight.shape == (6, 3, 5, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[blocks]]\nkernel = 3", "blocks[0]: channels is missing"),
        (
            "[[blocks]]\nchannels = 4\n[[blocks]]\nchannels = 0",
            "blocks[1].channels must be a whole",
        ),
        ("[[blocks]]\nchannels = 4.0", "blocks[0].channels must be a whole number"),
        ("[[blocks]]\nchannels = 4\nkernel = 0", "blocks[0].kernel must be a whole number"),
        ("[[blocks]]\nchannels = 4\nkernel = '3'", "blocks[0].kernel must be a whole number"),
        ("[[blocks]]\nchannels = 4\nstride = -1", "blocks[0].stride must be a whole number"),
        ("[[blocks]]\nchannels = 4\npadding = -1", "blocks[0].padding must be a whole number"),
        ("[[blocks]]\nchannels = 4\nmlp = 4", "blocks[0].mlp must be a list of whole numbers"),
        ("[[blocks]]\nchannels = 4\nmlp = [4, 0]", "blocks[0].mlp must be a list of whole numbers"),
        ("[[blocks]]\nchannels = 4\nmlp = [4.5]", "blocks[0].mlp must be a list of whole numbers"),
        ("[[blocks]]\nchannels = 4\npool = 'min'", "blocks[0].pool must be one of none, max, avg"),
        (
            "[[blocks]]\nchannels = 4\ndropout = 2",
            "blocks[0].dropout must be a number of at least 0",
        ),
        ("[[blocks]]\nchannels = 4\nkernal = 3", "no setting 'kernal'; did you mean kernel?"),
        ("[[blocks]]\nchannels = 4\nzz = 3", "no setting 'zz'; there are channels, kernel, stride"),
        ("blocks = 3", "blocks must be a list of at most 64 tables, got 3"),
        ("blocks = [3]", "blocks[0] must be a table of settings, got 3"),
        ("[blocks]\nchannels = 4", "blocks must be a list of at most 64 tables"),
        ("[[blocks]]\nchannels = 4\n" * 65, "blocks must be a list of at most 64 tables"),
        (
            "network = 'quick'\n[[blocks]]\nchannels = 4",
            "network is quick, but there are [[blocks]]",
        ),
        ("network = 'blocks'", "network blocks needs [[blocks]]"),
        ("network = 'blocks'\nblocks = []", "network blocks needs [[blocks]]"),
    ],
)
def test_what_can_not_be_is_one_line_with_the_blocks_number(toml, text, message):
    with pytest.raises(config.ConfigError) as caught:
        config.read(toml(text), PRESETS["quick"])
    assert "my.toml: " in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blocks_that_images_are_too_small_for_are_refused(on_noise, toml, tmp_path):
    text = "[[blocks]]\nchannels = 4\nkernel = 9\npadding = 0\n" * 4
    status, out, err = on_noise(train, "--config", toml(text), "--out", tmp_path / "run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "the network blocks can't take images of 28×28" in err
    assert not (tmp_path / "run").exists()


def test_a_run_of_blocks_is_trained_used_and_gone_on_with(on_noise, toml, tmp_path):
    run = tmp_path / "run"
    status, _, err = on_noise(train, *FLAGS, "--config", toml(TWO), "--out", run)
    assert status == 0, err
    assert len(read_preset(run).blocks) == 2
    assert on_noise(evaluate, run)[0] == 0
    assert on_noise(train, "--resume", run, "--epochs", 2)[0] == 0
    again = tmp_path / "again"
    assert on_noise(train, "--config", run / "config.toml", "--out", again)[0] == 0
    config_of = (again / "config.toml").read_text()
    assert config_of == (run / "config.toml").read_text()


def test_runs_of_other_blocks_are_told_apart(on_noise, toml, tmp_path):
    runs = [tmp_path / "one", tmp_path / "two"]
    for run, text in zip(runs, (TWO, TWO.replace("channels = 3", "channels = 2")), strict=True):
        assert on_noise(train, *FLAGS, "--config", toml(text), "--out", run)[0] == 0
    status, out, _ = on_noise(compare, *runs, "--out", tmp_path / "x.png")
    assert status == 0
    told = " ".join(out.split())  # in one line or two, as a terminal is wide
    assert "two blocks 6 of 5×5/2 with 1×1 of 5 and 4, max, dropout 0.5; 2 of 3×3, avg" in told


def test_other_blocks_than_the_weights_are_of_are_one_line(on_noise, toml, tmp_path):
    run = tmp_path / "run"
    assert on_noise(train, *FLAGS, "--config", toml(TWO), "--out", run)[0] == 0
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("channels = 3", "channels = 2"))
    for module, *arguments in ([evaluate, run], [train, "--resume", run]):
        status, out, err = on_noise(module, *arguments)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert re.search(r"channels = 2.*channels = 3|state\.settings\.blocks", err), err
