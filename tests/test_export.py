"""`nin.export`: what the file computes is what `nin.evaluate` and `nin.predict` say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

import minicnn
from minicnn import Generator, nn
from minicnn.console import Failure
from minicnn.vision import transforms
from nin import data, evaluate, export, train, trained
from nin.executors import executor_for
from nin.kind import CLOTHES, Kind
from nin.presets import PRESETS, Preset
from nin.trained import Trained

from .arrays import array
from .test_onnx_operations import runner

pytestmark = pytest.mark.cpu
SMALL = ["--dataset", "silhouettes", "--limit-train", "640", "--limit-test", "50", "--epochs", "1"]
COLOUR = Kind(("ball", "Würfel", "cone"), channels=3, height=20, width=30)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    assert train.main([*SMALL, "--no-progress", "--out", str(out)]) == 0
    return out


@pytest.fixture
def exported(tmp_path, capsys):
    """Export as a person does: the file, and what was printed."""

    def call(*arguments):
        path = tmp_path / "model.onnx"
        status = export.main([*map(str, arguments), "--onnx", str(path)])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return onnx.load(path), captured.out

    return call


def texts(proto):
    return {each.key: each.value for each in proto.metadata_props}


def test_pictures_in_probabilities_out_as_evaluation_has_them(run, exported):
    proto, _ = exported(run, "--with-preprocessing")
    model, preset, *_ = trained.network(run)
    images = data.load(preset)[0].test
    logp, _ = evaluate.probabilities(executor_for(model, preset), images)
    got = runner(proto)(array(images.data))
    np.testing.assert_allclose(got, np.exp(logp), rtol=0, atol=1e-5)


def test_images_in_logits_out_as_the_network_has_them(run, exported):
    proto, _ = exported(run)
    model = trained.network(run).model
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype("float32")
    expected = array(model(minicnn.tensor(x)))
    np.testing.assert_allclose(runner(proto)(x), expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_a_model_file_alone_gives_the_same_file(run, exported):
    assert exported(run / "model.safetensors")[0] == exported(run)[0]


@pytest.mark.parametrize("flags", [(), ("--with-preprocessing",)])
def test_weights_have_the_names_of_the_state_dict(run, exported, flags):
    names = [i.name for i in exported(run, *flags)[0].graph.initializer]
    assert set(minicnn.load(run / "model.safetensors")) <= set(names)


@pytest.mark.parametrize(
    ("flags", "takes", "gives"),
    [
        ((), "images: float32 (N, 1, 28, 28), x / 255 resized, (x - mean) / std", "logits"),
        (("--with-preprocessing",), "pictures: uint8 (N, 28, 28)", "probabilities"),
    ],
)
def test_the_metadata_says_what_the_file_is(run, exported, flags, takes, gives):
    proto, out = exported(run, *flags)
    found, preset = texts(proto), trained.network(run).preset
    assert json.loads(found["classes"]) == list(CLOTHES.classes)
    assert [tuple(json.loads(found[name])) for name in ("mean", "std")] == [preset.mean, preset.std]
    assert [found[key] for key in ("channels", "height", "image_size")] == ["1", "28", "28"]
    assert (found["input"], found["output"], found["network"]) == (takes, gives, "quick")
    assert f"takes  {takes}\ngives  {gives} (N, 10)\n" in out


KINDS = {
    "colour, as large as the network's": (replace(COLOUR, width=20), 20),
    "colour, smaller one way and larger the other": (COLOUR, 24),
    "grey, larger": (CLOTHES, 45),
    "grey, smaller": (replace(CLOTHES, height=60, width=90), 32),
}


@pytest.mark.parametrize("name", KINDS)
def test_preprocessing_is_that_of_the_runs_transforms(name):
    kind, size = KINDS[name]
    mean = (0.2, 0.3, 0.4)[: kind.channels]
    preset = replace(PRESETS["quick"], image_size=size, mean=mean, std=0.25)
    minicnn.manual_seed(0)
    model = preset.build(kind).eval()
    proto = export.model_proto(Trained(model, preset, kind), with_preprocessing=True)
    shape = (5, kind.height, kind.width, *([kind.channels] if kind.channels > 1 else []))
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
    images = preset.transform(train=False, kind=kind).batch(pictures, Generator())
    expected = array(minicnn.softmax(model(minicnn.Tensor(images)), 1))
    np.testing.assert_allclose(runner(proto)(pictures), expected, rtol=0, atol=1e-5)
    assert json.loads(texts(proto)["classes"]) == list(kind.classes)


def test_a_transform_without_a_counterpart_is_named(monkeypatch):
    steps = transforms.Compose([transforms.ToTensor(), transforms.CenterCrop(20)])
    monkeypatch.setattr(Preset, "transform", lambda self, train, kind: steps)
    preset = PRESETS["quick"]
    with pytest.raises(Failure, match=r"go through CenterCrop\(size=\(20, 20\)\), which has no"):
        export.model_proto(Trained(nn.Flatten(), preset, CLOTHES), with_preprocessing=True)


def test_a_file_that_is_there_is_replaced_and_kept_where_nothing_can_be_written(run, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"before")
    assert export.main([str(tmp_path), "--onnx", str(file)]) == 1
    assert file.read_bytes() == b"before"
    assert export.main([str(run), "--onnx", str(file)]) == 0
    onnx.checker.check_model(onnx.load(file), full_check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
