"""save and load: what goes in comes out, whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import minicnn
from minicnn import nn

from .arrays import array


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_state_dict_comes_back_as_it_was(path):
    layer = nn.Conv2d(3, 4, 5)  # channels-last in memory
    minicnn.save(layer.state_dict(), path)
    loaded = minicnn.load(path)
    assert list(loaded) == ["bias", "weight"]
    assert np.array_equal(array(loaded["weight"]), array(layer.weight))


@pytest.mark.parametrize("value", [minicnn.tensor(1.5), minicnn.zeros(0, 3), minicnn.tensor([1])])
def test_shapes_and_types_come_back(path, value):
    minicnn.save({"x": value}, path)
    loaded = minicnn.load(path)["x"]
    assert (loaded.shape, loaded.dtype) == (value.shape, value.dtype)


def test_pytorch_reads_the_file(path):
    layer = nn.Conv2d(3, 4, 5)
    minicnn.save(layer.state_dict(), path)
    other = torch.nn.Conv2d(3, 4, 5)
    other.load_state_dict(load_file(path), strict=True)
    assert np.array_equal(array(other.weight), array(layer.weight))


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_file_cut_short_is_refused_by_name(path, keep):
    minicnn.save({"x": minicnn.zeros(10)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RuntimeError, match=r"model\.safetensors is not a whole safetensors file"):
        minicnn.load(path)


def test_another_kind_of_file_is_refused_by_name(path):
    path.write_text("epoch,loss\n1,2.3\n" * 100)
    with pytest.raises(RuntimeError, match="not a whole safetensors file"):
        minicnn.load(path)


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        minicnn.load(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nn.Linear(1, 1), "got Linear"),
        ({"x": np.zeros(1)}, "'x' must be a Tensor, got ndarray"),
        ({"epoch": 3}, "'epoch' must be a Tensor, got int"),
    ],
)
def test_what_is_not_tensors_by_name_is_refused(path, value, message):
    with pytest.raises(TypeError, match=message):
        minicnn.save(value, path)
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    minicnn.save({"x": minicnn.zeros(1)}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        minicnn.save({"x": minicnn.ones(1000)}, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
