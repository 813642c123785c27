"""Where tensors are made, how they move, and that arrays of two libraries never mix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import minicnn
from minicnn import nn
from minicnn.backends import BackendError
from minicnn.backends.protocol import Inquiry
from minicnn.nn import functional as F

HERE = minicnn.get_default_device()  # the device under test

MADE = {
    "tensor": lambda L: L.tensor([1.0]),
    "full": lambda L: L.full((2,), 1.0),
    "zeros": lambda L: L.zeros(2),
    "ones": lambda L: L.ones(2),
    "arange": lambda L: L.arange(3),
    "rand": lambda L: L.rand(2),
    "randn": lambda L: L.randn(2),
    "randint": lambda L: L.randint(0, 9, (2,)),
    "randperm": lambda L: L.randperm(3),
    "zeros_like": lambda L: L.zeros_like(L.ones(2)),
    "ones_like": lambda L: L.ones_like(L.ones(2)),
    "Linear": lambda L: L.nn.Linear(2, 3).weight,
    "Conv2d": lambda L: L.nn.Conv2d(1, 2, 3).bias,
}


@pytest.fixture
def default():
    """Sets the default device of a library, and sets it back."""
    yield lambda library, device: library.set_default_device(device)
    minicnn.set_default_device(HERE)
    torch.set_default_device(None)


# --- the default device --------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_what_names_no_device_is_made_on_the_default_one(name):
    assert MADE[name](minicnn).device == HERE


@pytest.mark.parametrize("name", MADE)
def test_the_default_device_governs_what_pytorchs_does(name, default):
    default(torch, "meta")
    assert MADE[name](torch).device.type == "meta"


def test_what_names_a_device_is_made_there(default):
    default(minicnn, HERE)
    assert minicnn.zeros(2, device="cpu").device.type == "cpu"
    assert nn.Linear(2, 1, device="cpu").weight.device.type == "cpu"


def test_memory_that_is_there_already_stays_where_it_is():
    assert minicnn.from_numpy(np.zeros(2)).device.type == "cpu"


def test_none_sets_the_cpu(default):
    default(minicnn, None)
    assert minicnn.get_default_device() == minicnn.device("cpu")
    assert minicnn.zeros(1).device.type == "cpu"


@pytest.mark.usefixtures("without_cupy")
def test_a_default_that_cannot_be_used_is_refused_and_changes_nothing():
    before = minicnn.get_default_device()
    with pytest.raises(BackendError, match="cupy is not installed"):
        minicnn.set_default_device("cuda")
    assert minicnn.get_default_device() == before


# --- the number of a device ----------------------------------------------------------------------

PUT = {  # what asks for memory on a device
    "zeros": lambda place, _: minicnn.zeros(1, device=place),
    "tensor.to": lambda place, _: minicnn.zeros(1).to(place),
    "tensor.cpu().to": lambda place, _: minicnn.zeros(1).cpu().to(place),
    "module.to": lambda place, _: nn.Linear(1, 1).to(place),
    "Linear": lambda place, _: nn.Linear(1, 1, device=place),
    "set_default_device": lambda place, _: minicnn.set_default_device(place),
    "load": lambda place, path: minicnn.load(path, map_location=place),
}


@pytest.fixture
def saved(tmp_path):
    """A file of tensors."""
    minicnn.save({"x": minicnn.zeros(1)}, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize("put", PUT.values(), ids=PUT)
def test_a_device_that_is_not_there_is_refused_with_how_many_are(put, saved):
    with pytest.raises(BackendError, match=f"no device {HERE}:7: there is 1, {HERE}:0$"):
        put(f"{HERE}:7", saved)
    assert minicnn.get_default_device() == HERE


@pytest.mark.parametrize("put", PUT.values(), ids=PUT)
def test_the_first_device_may_be_given_by_its_number(put, saved, default):
    put(f"{HERE}:0", saved)


@pytest.mark.cuda
@pytest.mark.parametrize("put", PUT.values(), ids=PUT)
@pytest.mark.parametrize(
    ("visible", "name"), [(None, "1"), ("", "1"), ("5, 3", "3"), ("MIG-a,MIG-b", "MIG-b")]
)
def test_a_second_gpu_is_refused_with_how_it_can_be_used(
    put, saved, visible, name, backend, monkeypatch
):
    monkeypatch.setattr(backend, "inquire", lambda: Inquiry(None, 2, {}))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(BackendError, match=f"cuda:0 alone is: set CUDA_VISIBLE_DEVICES={name}$"):
        put("cuda:1", saved)
    with pytest.raises(BackendError, match=r"no device cuda:2: there are 2$"):
        put("cuda:2", saved)


@pytest.mark.parametrize("name", ["cuda:", "cuda:-1", "cuda:1.0", "cuda:¹", "cuda:٣", "gpu", ""])
def test_what_names_no_device_is_refused(name):
    with pytest.raises(RuntimeError, match="device must be cpu, cuda or cuda:N"):
        minicnn.device(name)


@pytest.mark.parametrize(("name", "index"), [("cuda", -1), ("cuda:0", 0), ("cuda", "0")])
def test_a_number_that_is_none_is_refused(name, index):
    with pytest.raises((RuntimeError, TypeError, ValueError), match="device"):
        minicnn.device(name, index)


@pytest.mark.cuda
def test_a_device_full_of_ones_own_tensors_stays_one(backend, monkeypatch):
    monkeypatch.setattr(backend.xp.cuda.runtime, "memGetInfo", lambda: (0, 2**34))
    assert minicnn.zeros(2).sum().item() == 0
    assert minicnn.cuda.is_available()


# --- between devices -----------------------------------------------------------------------------


@pytest.mark.cuda
def test_a_tensor_and_its_gradient_cross_to_the_device_and_back():
    x = minicnn.tensor([1.0, 2.0], device="cpu", requires_grad=True)
    y = (x.to("cuda") * 3).cpu()
    y.backward(minicnn.tensor([1.0, 10.0], device="cpu"))
    assert (y.device.type, x.grad.device.type) == ("cpu", "cpu")
    assert x.grad.tolist() == [3, 30]


@pytest.mark.cuda
def test_a_module_moves_with_its_gradients():
    layer = nn.Linear(2, 1)
    layer(minicnn.ones(1, 2)).backward()
    layer.cpu()
    assert {layer.weight.device.type, layer.weight.grad.device.type} == {"cpu"}
    assert layer.cuda().weight.grad.device.type == "cuda"


@pytest.mark.cuda
@pytest.mark.parametrize(
    "mix",
    [
        lambda here, there: here + there,
        lambda here, there: there * here,
        lambda here, there: here @ there,
        lambda here, there: F.linear(there, here),
        lambda here, there: F.conv2d(there[None, None], here[None, None]),
        lambda here, there: minicnn.cat([here, there]),
        lambda here, there: here.requires_grad_().backward(there),
    ],
)
def test_tensors_of_two_devices_are_refused_by_name(mix):
    with pytest.raises(RuntimeError, match=r"different devices.*move one with"):
        mix(minicnn.zeros(2, 2), minicnn.zeros(2, 2, device="cpu"))


@pytest.mark.parametrize("index", [np.array([2, 0]), minicnn.tensor([2, 0], device="cpu")])
def test_an_index_may_be_on_the_host(index):
    x = minicnn.arange(3)
    assert x[index].tolist() == [2, 0]
    x[index] = 7
    assert x.tolist() == [7, 1, 7]


@pytest.mark.cuda
def test_images_in_a_numpy_array_are_refused_by_a_model_on_the_device():
    with pytest.raises(TypeError, match=r"input must be a Tensor, got numpy\.ndarray"):
        nn.Conv2d(1, 1, 3)(np.zeros((1, 1, 5, 5), "float32"))


@pytest.mark.cuda
def test_labels_on_the_cpu_are_refused_for_logits_on_the_device():
    with pytest.raises(RuntimeError, match="different devices"):
        F.cross_entropy(minicnn.zeros(2, 3), minicnn.tensor([0, 1], device="cpu"))


@pytest.mark.cuda
def test_a_tensor_on_the_device_is_no_numpy_array():
    with pytest.raises(TypeError, match=r"on a GPU; use \.cpu\(\)\.numpy\(\)"):
        minicnn.zeros(2).numpy()


@pytest.mark.cuda
def test_a_tensor_says_where_it_is():
    assert repr(minicnn.tensor([1, 2])) == "tensor([1, 2], device='cuda')"
