"""`--init-from` and `--freeze`: weights of another training to begin with, and blocks that stay."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.utils.data import TensorDataset
from nin import fine_tuning, train
from nin.executors import executor_for
from nin.fit import Training
from nin.kind import CLOTHES
from nin.presets import PRESETS, Preset
from nin.run import read_metrics

from .arrays import array
from .noise import FLAGS
from .test_resume import metrics


def network():
    """Three blocks of weights, on images (N, 1, 6, 6)."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def values(model):
    return {name: array(value).copy() for name, value in model.state_dict().items()}


# --- which weights fit ---------------------------------------------------------------------------


def drawn_anew(model):
    """The weights of another such network, changed."""
    return {name: value + 1 for name, value in model.state_dict().items()}


def test_weights_of_the_same_names_and_shapes_are_taken_over():
    model = network()
    weights = drawn_anew(model)
    said = fine_tuning.take_over(model, weights, "x", reset_head=False)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, array(weights[name]))
    assert said == ["6 of 6 arrays are those of x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"4.weight": (7, 16)}, r"4\.weight is 7×16 there and 10×16 here; --reset-head draws"),
        ({"4.bias": None}, r"4\.bias is not there"),
        ({"9.weight": (2,)}, r"9\.weight is not in this network"),
        ({"0.0.weight": (4, 3, 3, 3)}, r"0\.0\.weight is 4×3×3×3 there and 4×1×3×3 here"),
        ({"4.bias": (), "4.weight": None}, r"4\.weight is not there, 4\.bias is a number there"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_changed(change, message):
    model = network()
    before, weights = values(model), drawn_anew(model)
    for name, shape in change.items():
        weights.pop(name, None)
        if shape is not None:
            weights[name] = minicnn.zeros(shape)
    with pytest.raises(ValueError, match=rf"x does not fit: {message}"):
        fine_tuning.take_over(model, weights, "x", reset_head=False)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("shape", [(7, 16), (10, 16)])
def test_the_head_is_drawn_anew_whether_it_fits_or_not(shape):
    model = network()
    before, weights = values(model), drawn_anew(model)
    weights["4.weight"] = minicnn.zeros(shape)
    said = fine_tuning.take_over(model, weights, "x", reset_head=True)
    for name, value in values(model).items():
        expected = before[name] if name.startswith("4.") else array(weights[name])
        np.testing.assert_array_equal(value, expected)
    assert said[0] == "4 of 6 arrays are those of x"
    assert "4.weight is" in said[1] and "4.bias is the last layer's" in said[1]


def test_what_does_not_fit_elsewhere_is_drawn_anew_too():
    model = network()
    before, weights = values(model), drawn_anew(model)
    weights["0.0.weight"] = minicnn.zeros(4, 3, 3, 3)
    fine_tuning.take_over(model, weights, "x", reset_head=True)
    np.testing.assert_array_equal(values(model)["0.0.weight"], before["0.0.weight"])


def test_what_a_source_has_beyond_the_network_is_said():
    model = network()
    weights = {**drawn_anew(model), "9.weight": minicnn.zeros(1)}
    said = fine_tuning.take_over(model, weights, "x", reset_head=True)
    assert said[1:] == [
        "the rest drawn anew: 4.weight is the last layer's, 4.bias is the last layer's",
        "not used: 9.weight",
    ]


def test_a_network_that_is_all_frozen_by_its_own_code_has_nothing_to_train():
    with pytest.raises(ValueError, match="the network has nothing to train"):
        fine_tuning.freeze(network().requires_grad_(False), ())


def test_a_source_of_which_nothing_fits_is_refused_with_reset_head_too():
    with pytest.raises(ValueError, match=r"x: none of its weights fits: 0\.0\.weight is not there"):
        fine_tuning.take_over(network(), {"a": minicnn.zeros(1)}, "x", reset_head=True)


# --- blocks that stay ----------------------------------------------------------------------------


def trained(freeze, preset):
    """A training of two epochs on noise, and the weights before it."""
    minicnn.manual_seed(1)
    images, labels = minicnn.rand(24, 1, 6, 6), minicnn.randint(0, 10, (24,))
    model, data = network(), TensorDataset(images, labels)
    before = values(model)
    fine_tuning.freeze(model, freeze)
    training = Training(model, preset, data, data, executor_for(model, preset, threads=2))
    training.fit()
    training.executor.close()
    return training, before


PRESET = Preset(
    epochs=2,
    batch_size=8,
    lr=0.05,
    momentum=0.9,
    nesterov=True,
    weight_decay=0.1,
    centre_gradients=True,
    max_norm=0.5,
)
LAYERS = {0: "0.0", 1: "2.0", 2: "4"}


@pytest.mark.parametrize("freeze", [(0,), (1,), (2,), (0, 1), (2, 0)])
def test_frozen_blocks_stay_bit_for_bit_and_the_others_learn(freeze):
    training, before = trained(freeze, PRESET)
    for name, value in values(training.model).items():
        stays = name.rpartition(".")[0] in [LAYERS[i] for i in freeze]
        assert np.array_equal(value, before[name]) == stays, name


def test_what_is_frozen_gets_no_gradient_and_no_momentum():
    training, _ = trained((0, 1), PRESET)
    assert [name for name, p in training.model.named_parameters() if p.grad is not None] == [
        "4.weight",
        "4.bias",
    ]
    assert len(training.optimizer.state_dict()["state"]) == 2


def test_the_norm_that_is_clipped_is_of_what_learns_alone():
    """As if the frozen blocks were no part of the network: the head alone learns the same."""
    training, _ = trained((0, 1), PRESET)
    minicnn.manual_seed(1)
    images, labels = minicnn.rand(24, 1, 6, 6), minicnn.randint(0, 10, (24,))
    model = network()
    with minicnn.no_grad():
        seen = model[:4](images)
    head = nn.Sequential(model[4])
    data = TensorDataset(seen, labels)
    alone = Training(head, PRESET, data, data, executor_for(head, PRESET, threads=2))
    alone.fit()
    alone.executor.close()
    np.testing.assert_allclose(
        array(head[0].weight), array(training.model[4].weight), rtol=1e-5, atol=1e-6
    )


def test_nothing_behind_the_last_frozen_block_is_recorded():
    model = network()
    fine_tuning.freeze(model, (0,))
    assert not model[:2](minicnn.zeros(1, 1, 6, 6)).requires_grad


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((3,), "there is no block 3; the network has 0 to 2, its layers 0, 2, 4"),
        ((0, 99), "there is no block 99"),
        ((0, 1, 2), "0,1,2 leaves nothing to train"),
    ],
)
def test_a_block_that_is_not_there_is_refused(numbers, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fine_tuning.freeze(network(), numbers)


def test_a_network_of_one_layer_has_no_blocks():
    with pytest.raises(ValueError, match="there is no block 0; the network is all one layer"):
        fine_tuning.freeze(nn.Linear(2, 2), (0,))


@pytest.mark.parametrize("name", PRESETS)
def test_the_blocks_of_a_preset_are_its_mlpconv_blocks(name):
    model = PRESETS[name].network_for(CLOTHES)
    blocks = [*fine_tuning.blocks(model).values()]
    assert len(blocks) == {"article": 4, "cifar": 3, "d2l": 4, "paper": 3, "quick": 4}[name]
    assert all(isinstance(block, nn.Sequential) for block in blocks[:3])


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def source(on_noise, tmp_path):
    """A run of one epoch."""
    assert on_noise(train, *FLAGS, "--out", tmp_path / "source")[0] == 0
    return tmp_path / "source"


@pytest.mark.cpu
@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_a_run_begins_with_another_ones_weights_and_records_whose(on_noise, source, tmp_path, file):
    out = tmp_path / "run"
    flags = ["--init-from", source / file, "--freeze", "0,1", "--out", out]
    status, _, err = on_noise(train, *FLAGS, *flags)
    assert status == 0, err
    assert f"Weights  14 of 14 arrays are those of {source}/model.safetensors" in err
    assert "Frozen   blocks 0, 1 (layers 0, 2), 163,978 parameters are trained" in err
    record = json.loads((out / "environment.json").read_text())["beginning"]
    assert record["sha256"] == fine_tuning.read(source / "model.safetensors")[1]
    theirs, ours = (minicnn.load(run / "model.safetensors") for run in (source, out))
    assert [n for n in ours if (array(ours[n]) == array(theirs[n])).all()] == [
        name for name in sorted(ours) if name[0] in "02"
    ]
    assert not [key for key in read_metrics(out)[0] if key.startswith("gradient_norm:0")]


@pytest.mark.cpu
def test_a_run_that_was_stopped_goes_on_without_its_source(on_noise, source, tmp_path):
    out = tmp_path / "run"
    flags = ["--init-from", source, "--freeze", "0", "--epochs", "2", "--out", out]
    assert on_noise(train, *FLAGS, *flags)[0] == 0
    model, seen = (out / "model.safetensors").read_bytes(), metrics(out)
    (source / "model.safetensors").unlink()
    sorted(out.glob("checkpoint-*"))[-1].unlink()
    status, _, err = on_noise(train, "--resume", out)
    assert status == 0, err
    assert ((out / "model.safetensors").read_bytes(), metrics(out)) == (model, seen)


@pytest.mark.cpu
def test_a_head_is_drawn_anew(on_noise, source, tmp_path):
    flags = ["--init-from", source, "--reset-head", "--out", tmp_path / "run"]
    status, _, err = on_noise(train, *FLAGS, *flags)
    assert status == 0, err
    assert "the rest drawn anew: 4.weight is the last layer's, 4.bias is the last layer's" in err


@pytest.mark.cpu
def test_what_is_said_of_a_source_is_the_same_each_time(source):
    """A run compares it with what it has recorded."""
    model = PRESETS["quick"].build(replace(CLOTHES, channels=3, classes=("a", "b")))
    said = []
    for _ in range(8):
        weights, *_ = fine_tuning.read(source / "model.safetensors")
        said.append(fine_tuning.take_over(model, weights, "x", reset_head=True))
    assert said == said[:1] * 8
    assert len(said[0]) == 2


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--init-from", "{source}", "--network", "paper"],
            "does not fit: 0.4.weight is not there",
        ),
        (["--init-from", "{source}/nosuch"], "nosuch can't be read: No such file"),
        (["--init-from", "{source}/config.toml"], "is not a whole safetensors file"),
        (["--init-from", "{empty}"], "model.safetensors is missing: no epoch"),
        (["--reset-head"], "reset_head needs init_from"),
        (["--freeze", "4"], "--freeze: there is no block 4; the network has 0 to 3"),
        (["--freeze", "0,1,2,3"], "--freeze: 0,1,2,3 leaves nothing to train"),
        (["--freeze", "0,0"], "freeze names a block twice: 0,0"),
        (["--freeze", "-1"], "must be a list of whole numbers of at least 0 and at most 999"),
        (["--freeze", "x"], "must be a list of whole numbers"),
        (["--freeze", "0,,1"], "must be a list of whole numbers"),
        (["--freeze", "0,"], "must be a list of whole numbers"),
        (["--freeze", "1.5"], "must be a list of whole numbers"),
    ],
)
def test_what_can_not_be_is_one_line_before_anything_is_made(
    on_noise, source, tmp_path, flags, message
):
    (tmp_path / "empty").mkdir()
    flags = [flag.format(source=source, empty=tmp_path / "empty") for flag in flags]
    status, out, err = on_noise(train, *FLAGS, *flags, "--out", tmp_path / "run")
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert not (tmp_path / "run").exists()


@pytest.mark.cpu
def test_weights_that_have_diverged_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    minicnn.save({"a": minicnn.tensor([1.0, float("nan")])}, path)
    with pytest.raises(ValueError, match="a holds NaN or infinity"):
        fine_tuning.read(path)


@pytest.mark.cpu
def test_a_source_that_has_changed_since_the_run_was_begun_is_refused(on_noise, source, tmp_path):
    out = tmp_path / "run"
    assert on_noise(train, *FLAGS, "--init-from", source, "--out", out)[0] == 0
    for path in out.iterdir():
        if path.name.startswith(("checkpoint", "model", "metrics")):
            path.unlink()
    weights = minicnn.load(source / "model.safetensors")
    minicnn.save({**weights, "4.bias": weights["4.bias"] + 1}, source / "model.safetensors")
    status, _, err = on_noise(train, "--resume", out)
    assert (status, err.count("\n")) == (1, 1)
    assert "is not what it was when" in err


@pytest.mark.cpu
def test_settings_of_a_preset_that_is_tuned_are_in_its_toml(on_noise):
    preset = replace(PRESETS["quick"], freeze=[1, 0])
    assert preset.freeze == (1, 0)
    status, out, _ = on_noise(train, "--freeze", "1,0", "--print-config")
    assert (status, "freeze = [1, 0]\n" in out) == (0, True)
