"""save and load: what goes in comes out, whole or not at all."""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import minicnn
from minicnn import nn
from minicnn.serialization import pack, unpack

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


def test_what_is_read_is_in_the_order_of_the_names_each_time():
    names = [f"{i:02}" for i in range(20)]
    content = pack({name: minicnn.zeros(1) for name in reversed(names)})
    assert [[*unpack(content)[0]] for _ in range(3)] == [names] * 3


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
        (nn.Linear(1, 1), r"a minicnn\.nn\.layers\.Linear can't be saved.*state_dict"),
        ({"x": np.zeros(1)}, r"a numpy\.ndarray at x can't be saved"),
        ({"best": [1, {"model": print}]}, r"at best\.1\.model can't be saved"),
        ({1, 2}, "a set can't be saved"),
        ({(1, minicnn.ones(1)): 2}, "as the key of a dict"),
    ],
)
def test_what_is_neither_tensors_nor_plain_is_refused(path, value, message):
    with pytest.raises(TypeError, match=message):
        minicnn.save(value, path)
    assert not path.exists()


STRUCTURES = [
    (),
    [],
    [{}],
    None,
    3,
    -0.5,
    True,
    "text",
    {"epoch": 3, "loss": 0.25, "best": None, "names": ["a", "b"], "done": False},
    {1: "one", "1": ("two", [3.0]), (2, "x"): {}},
    OrderedDict(b=1, a=OrderedDict(c=2)),
    np.float64(0.5),
]


@pytest.mark.parametrize("value", STRUCTURES, ids=str)
def test_what_is_plain_comes_back_as_it_was(path, value):
    minicnn.save(value, path)
    back = minicnn.load(path, weights_only=True)
    assert back == value
    assert repr(back) == repr(getattr(value, "item", lambda: value)())


def test_tensors_come_back_from_where_they_were(path):
    x = minicnn.arange(6).reshape(2, 3)
    w = minicnn.ones(2, requires_grad=True)
    minicnn.save({1: x, "1": [w, (x[0], 7)]}, path)
    back = minicnn.load(path, map_location="cpu")
    assert [*back] == [1, "1"]
    assert back[1].tolist() == x.tolist() and back[1].dtype == minicnn.int64
    assert back["1"][0].requires_grad and not back[1].requires_grad
    assert back["1"][1][0].tolist() == [0, 1, 2] and back["1"][1][1] == 7


def test_one_tensor_and_an_open_file():
    file = io.BytesIO()
    minicnn.save(minicnn.tensor(2.5), file)
    file.seek(0)
    assert minicnn.load(file).item() == 2.5


def test_a_checkpoint_is_model_and_optimiser_and_goes_on(path):
    model = nn.Linear(2, 1)
    optimizer = minicnn.optim.Adam(model.parameters())
    for _ in range(2):
        model(minicnn.ones(1, 2)).sum().backward()
        optimizer.step()
    minicnn.save({"model": model.state_dict(), "opt": optimizer.state_dict(), "epoch": 2}, path)
    saved = minicnn.load(path)
    assert saved["epoch"] == 2
    twin = nn.Linear(2, 1)
    twin.load_state_dict(saved["model"])
    other = minicnn.optim.Adam(twin.parameters())
    other.load_state_dict(saved["opt"])
    for m, o in ((model, optimizer), (twin, other)):
        o.zero_grad()
        m(minicnn.ones(1, 2)).sum().backward()
        o.step()
    assert twin.weight.tolist() == model.weight.tolist()


def test_a_file_of_torch_save_is_told_from_a_broken_one(path):
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(RuntimeError, match=r"is a file of torch\.save's"):
        minicnn.load(path)


@pytest.mark.parametrize("structure", ["{", "[{}]", '{"tensor": "y", "requires_grad": false}'])
def test_a_structure_that_is_none_is_one_line(path, structure):
    path.write_bytes(pack({"x": minicnn.zeros(1)}, {"structure": structure}))
    with pytest.raises(RuntimeError, match="structure that can't be read") as caught:
        minicnn.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "texts", "message"),
    [
        (["x"], {"structure": "mine"}, "metadata can't be called 'structure'"),
        (["x"], {"epoch": 3}, "metadata must be texts by name, got 'epoch': 3"),
        (["x", "__metadata__"], {}, "a tensor can't be called '__metadata__'"),
    ],
)
def test_names_that_the_format_has_for_itself_are_refused(path, tensors, texts, message):
    with pytest.raises((ValueError, TypeError), match=message):
        minicnn.save(dict.fromkeys(tensors, minicnn.ones(1)), path, texts)
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    minicnn.save({"x": minicnn.zeros(1)}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        minicnn.save({"x": minicnn.ones(1000)}, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_pytorch_reads_all_types_and_writes_what_is_read(path, dtype):
    value = minicnn.tensor(np.arange(6).reshape(2, 3).astype(dtype))
    minicnn.save({"x": value, "e": minicnn.zeros(0, 2), "s": minicnn.tensor(1.5)}, path)
    theirs = load_file(path)
    assert np.array_equal(theirs["x"].numpy(), array(value))
    assert (theirs["e"].shape, theirs["s"].item()) == ((0, 2), 1.5)
    save_file(theirs, path)  # without a checksum
    assert np.array_equal(array(minicnn.load(path)["x"]), array(value))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_a_type_that_numpy_has_not_got_is_refused_by_name(path, dtype):
    save_file({"x": torch.zeros(2).to(dtype)}, path)
    with pytest.raises(RuntimeError, match=r"model\.safetensors holds numbers of the type \w+, wh"):
        minicnn.load(path)


@pytest.mark.cpu
def test_every_flipped_bit_is_refused_or_changes_nothing(path):
    """But for the checksum's own name: without it, the file is as those of other programs."""
    tensors = {"a.weight": minicnn.arange(3.0), "b": minicnn.arange(2)}
    minicnn.save(tensors, path, {"made by": "a test"})
    file, refused = path.read_bytes(), 0
    for bit in range(8 * len(file)):
        damaged = bytearray(file)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            loaded = minicnn.load(path)
        except RuntimeError:
            refused += 1
            continue
        assert {k: v.tolist() for k, v in loaded.items()} == {
            k: v.tolist() for k, v in tensors.items()
        }
    assert refused > 7 * len(file)


def test_the_same_tensors_give_the_same_file_in_any_order(path):
    x, y = minicnn.arange(3.0), minicnn.arange(2)
    minicnn.save({"x": x, "y": y}, path, {"a": "1", "b": "2"})
    first = path.read_bytes()
    minicnn.save({"y": y, "x": x}, path, {"a": "1", "b": "2"})
    assert path.read_bytes() == first


def test_texts_stand_beside_the_tensors(path):
    minicnn.save({"x": minicnn.zeros(1)}, path, {"made by": "ä", "sha256": "not one"})
    with safe_open(path, "numpy") as file:
        texts = file.metadata()
    assert texts["made by"] == "ä"
    assert len(texts["sha256"]) == 64
    minicnn.load(path)


@pytest.mark.cpu
def test_what_is_no_regular_file_is_refused_at_once(path):
    os.mkfifo(path)
    with pytest.raises(OSError, match="is not a regular file"):
        minicnn.load(path)


@pytest.mark.cpu
def test_a_header_that_is_nested_too_deeply_is_refused(path):
    header = json.dumps({"__metadata__": {}}).encode()[:-1] + b',"x":' + b"[" * 10**5 + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(RuntimeError, match="not a whole safetensors file"):
        minicnn.load(path)
