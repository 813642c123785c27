"""Modules: the tree, its state, errors that name the layer, initial values."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import sys
from collections import OrderedDict
from dataclasses import InitVar, dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from benchmarks.twin import twin
from minicnn import nn
from minicnn.nn import init
from nin.networks import nin_block

from .arrays import array


def network():
    return nn.Sequential(
        nin_block(1, 4, 3, 1, 1, [5]),
        nn.MaxPool2d(2),
        nn.Dropout(0.3),
        nn.Sequential(nn.Flatten(), nn.Linear(5 * 4 * 4, 3, bias=False)),
    )


# --- the tree ------------------------------------------------------------------------------------


def test_names_and_shapes_of_the_state_are_pytorchs():
    model = network()
    ours = {name: value.shape for name, value in model.state_dict().items()}
    assert ours == {name: tuple(v.shape) for name, v in twin(model).state_dict().items()}


def test_a_state_dict_loads_into_another_model():
    model, other = network(), network()
    other.load_state_dict(model.state_dict())
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert np.array_equal(array(p), array(q))


def test_loading_keeps_the_parameters_own_memory_and_order():
    layer = nn.Conv2d(3, 4, 5)
    memory, strides = layer.weight.array, layer.weight.array.strides
    layer.load_state_dict({"weight": np.ones((4, 3, 5, 5)), "bias": np.zeros(4)})
    assert layer.weight.array is memory
    assert layer.weight.array.strides == strides == (4 * 75, 4, 4 * 15, 4 * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("3.1.weight"), r"missing '3\.1\.weight'"),
        (lambda s: s.update(extra=minicnn.zeros(1)), "unexpected 'extra'"),
        (lambda s: s.update({"0.0.bias": minicnn.zeros(9)}), r"'0\.0\.bias'.*\(9,\).*\(4,\)"),
    ],
)
def test_a_state_that_does_not_fit_is_named_and_changes_nothing(change, message):
    model = network()
    before = [array(p).copy() for p in model.parameters()]
    state = {name: value * 0 for name, value in model.state_dict().items()}
    change(state)
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict(state)
    assert all(map(np.array_equal, before, (array(p) for p in model.parameters())))


def test_strict_off_takes_what_fits():
    layer = nn.Linear(2, 2)
    layer.load_state_dict({"bias": minicnn.zeros(2), "other": minicnn.zeros(1)}, strict=False)
    assert layer.bias.tolist() == [0, 0]


def test_what_was_found_is_told_as_pytorch_tells_it():
    for top in (minicnn, torch):
        layer = top.nn.Linear(2, 2)
        assert repr(layer.load_state_dict(layer.state_dict())) == "<All keys matched successfully>"
        some = layer.load_state_dict({"bias": top.zeros(2), "x": top.zeros(1)}, strict=False)
        assert (some.missing_keys, some.unexpected_keys) == (["weight"], ["x"])
        assert repr(some) == "_IncompatibleKeys(missing_keys=['weight'], unexpected_keys=['x'])"


def test_a_layer_in_two_places_exchanges_its_state_with_pytorch():
    made = []
    for top in (minicnn, torch):
        layer = top.nn.Linear(2, 2)
        made.append(top.nn.Sequential(layer, top.nn.ReLU(), layer))
    ours, theirs = made
    theirs.load_state_dict({k: torch.tensor(array(v)) for k, v in ours.state_dict().items()})
    assert np.array_equal(array(ours[0].weight), array(theirs[0].weight))
    ours.load_state_dict({k: 2 * array(v) for k, v in theirs.state_dict().items()})
    assert np.array_equal(array(ours[0].weight), 2 * array(theirs[0].weight))


def test_the_weights_of_classes_are_state_as_in_pytorch():
    ours, theirs = (top.nn.CrossEntropyLoss(top.ones(3)) for top in (minicnn, torch))
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
    assert ours.double().weight.dtype == minicnn.float64
    assert ours.weight.device == minicnn.get_default_device()


def test_a_state_that_shares_the_models_memory_is_taken_as_it_was():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    model = nn.Sequential(first, second)
    before = [array(p.weight).copy() for p in (first, second)]
    state = model.state_dict()
    model.load_state_dict(
        {
            "0.weight": state["1.weight"],
            "1.weight": state["0.weight"].T,
            "0.bias": state["1.bias"],
            "1.bias": state["0.bias"],
        }
    )
    assert np.array_equal(array(first.weight), before[1])
    assert np.array_equal(array(second.weight), before[0].T)


@pytest.mark.parametrize(
    "value",
    [
        np.float32([1, 2]),
        np.float64([1, 2]),
        np.float16([1, 2]),
        np.array([1, 2]),
        np.array([True, False]),
        np.array([1, 2], ">f4").astype("f4"),
        np.array([0, 1.0, 0, 2.0])[1::2],
        np.broadcast_to(np.float32(3), 2),
        np.float64([np.nan, -np.inf]),
        torch.tensor([1.0, 2.0]),
    ],
    ids=repr,
)
def test_values_that_a_parameter_can_hold_are_taken(value):
    layer = nn.Linear(1, 2)
    layer.load_state_dict({"bias": value}, strict=False)
    assert layer.bias.dtype == minicnn.float32
    np.testing.assert_array_equal(array(layer.bias), np.asarray(value).astype("float32"))


@pytest.mark.cpu
def test_values_may_lie_in_a_file(tmp_path):
    mapped = np.memmap(tmp_path / "bias", "float32", "w+", shape=2)
    mapped[:] = 1, 2
    layer = nn.Linear(1, 2)
    layer.load_state_dict({"bias": mapped}, strict=False)
    assert layer.bias.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], "'bias' must be a Tensor or an array"),
        (1.0, "'bias' must be a Tensor or an array"),
        ("12", "'bias' must be a Tensor or an array"),
        (None, "'bias' must be a Tensor or an array"),
        (np.array(["1", "2"]), "'bias' must be a Tensor or an array"),
        (np.array([1, None]), "'bias' must be a Tensor or an array"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "'bias' must be a Tensor or an array"),
        (np.float32(1), r"'bias' has shape \(\), the model's is \(2,\)"),
        (np.ones(1), r"'bias' has shape \(1,\), the model's is \(2,\)"),
        (np.ones((1, 2)), r"'bias' has shape \(1, 2\)"),
        (np.ones((2, 1)), r"'bias' has shape \(2, 1\)"),
        (np.ones(0), r"'bias' has shape \(0,\)"),
        (np.ones(2, "complex64"), "'bias' is complex64, the model's is float32"),
        (np.array([1, 2**24 + 1]), "'bias' is int64 and has numbers that float32 can't hold"),
        (np.array([1, 2**63 - 1]), "'bias' is int64 and has numbers that float32 can't hold"),
        (np.array([1, 1e39]), "'bias' is float64 and has numbers that float32 can't hold"),
    ],
    ids=repr,
)
def test_values_that_a_parameter_cannot_hold_are_refused_and_change_nothing(value, message):
    layer = nn.Linear(1, 2)
    before = [array(p).copy() for p in layer.parameters()]
    with pytest.raises(RuntimeError, match=message):
        layer.load_state_dict({"weight": np.zeros((2, 1)), "bias": value})
    assert all(map(np.array_equal, before, (array(p) for p in layer.parameters())))


@pytest.mark.parametrize("state", [None, 3, [("bias", np.ones(2))], "bias"])
def test_a_state_that_is_no_mapping_is_refused(state):
    with pytest.raises(TypeError, match="load_state_dict: expected values by name, got"):
        nn.Linear(1, 2).load_state_dict(state)


def test_a_name_that_is_no_string_is_unexpected():
    with pytest.raises(RuntimeError, match="unexpected 3"):
        nn.ReLU().load_state_dict({3: np.ones(2)})


def test_values_are_copied_and_never_assigned():
    with pytest.raises(NotImplementedError, match="assign must be False"):
        nn.ReLU().load_state_dict({}, assign=True)


def test_loading_between_forward_and_backward_is_noticed():
    layer = nn.Linear(2, 2)
    y = layer(minicnn.ones(1, 2).requires_grad_()).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="load_state_dict"):
        y.backward()


def test_a_shared_parameter_is_listed_once():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    assert len(list(nn.Sequential(first, second).parameters())) == 3


def test_train_and_eval_reach_every_module():
    model = network().eval()
    assert not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())


def test_apply_visits_children_before_their_parent():
    seen = []
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Flatten()))
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["ReLU", "Flatten", "Sequential", "Sequential"]


def test_zero_grad_forgets_gradients():
    layer = nn.Linear(2, 1)
    layer(minicnn.ones(1, 2)).backward()
    layer.zero_grad()
    assert layer.weight.grad is None


def test_to_converts_parameters_and_their_gradients():
    layer = nn.Linear(2, 1)
    layer(minicnn.ones(1, 2)).backward()
    layer.to(minicnn.float64)
    assert layer.weight.dtype == layer.weight.grad.dtype == minicnn.float64


def test_double_and_float_change_the_type():
    layer = nn.Linear(2, 1)
    assert layer.double().weight.dtype == minicnn.float64
    assert layer.float().weight.dtype == minicnn.float32


@pytest.mark.parametrize(
    "target", [int, bool, "uint8", np.float16, np.complex64, minicnn.int64, minicnn.ones(1).long()]
)
@pytest.mark.parametrize("module", [nn.Linear(2, 1), nn.ReLU()])
def test_a_module_is_of_one_of_two_types(module, target):
    target = np.dtype(target) if isinstance(target, str) else target
    with pytest.raises(
        TypeError, match=r"to(\(\): a module can be float32 or float64|: expected a dtype)"
    ):
        module.to(target)


@pytest.mark.parametrize("dtype", [minicnn.int64, np.float16, np.complex64, bool, "f8 or so"])
def test_a_layer_is_of_one_of_two_types(dtype):
    for make in (lambda: nn.Linear(2, 1, dtype=dtype), lambda: nn.Conv2d(1, 1, 1, dtype=dtype)):
        with pytest.raises(RuntimeError, match="a layer's dtype must be float32 or float64, got"):
            make()


@pytest.mark.parametrize("name", ["half", "bfloat16", "type", "register_forward_hook"])
def test_what_there_is_not_is_refused_by_name(name):
    with pytest.raises(AttributeError, match=f"'Linear' object has no attribute '{name}'"):
        getattr(nn.Linear(2, 1), name)


def test_to_leaves_whole_numbers_frozen_parameters_and_sharing_as_they_are():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    layer.register_buffer("steps", minicnn.tensor([3]))
    net = nn.Sequential(layer, layer).to(minicnn.float64)
    assert net[0] is net[1] and net[1].weight.dtype == minicnn.float64
    assert layer.steps.dtype == minicnn.int64
    assert layer.weight.requires_grad and not layer.bias.requires_grad


def test_gradients_can_be_kept_at_zero():
    layer = nn.Linear(2, 1)
    layer(minicnn.ones(1, 2)).backward()
    memory = layer.weight.grad_array
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad_array is memory and not layer.weight.grad.any()


def test_setting_a_parameter_before_init_says_what_to_do():
    class Forgetful(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(minicnn.zeros(1))

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Forgetful()


def test_a_parameter_cannot_be_replaced_by_something_else():
    layer = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="weight must be a Parameter or None, got Tensor"):
        layer.weight = minicnn.zeros(1, 2)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no forward"):
        Empty()(1)


# --- attributes and registration, as PyTorch's ---------------------------------------------------


class Side:
    """One library's module to work on, and what may be set in it, made in the same order."""

    def __init__(self, top):
        nn = top.nn
        net = type("Net", (nn.Module,), {})
        inner = net()
        self.owners = [net(), inner]
        self.values = [
            nn.Linear(2, 3),
            nn.ReLU(),
            inner,
            nn.Parameter(top.ones(2)),
            nn.Parameter(top.ones(3, 1)),
            top.zeros(4),
            None,
            7,
        ]

    def attempt(self, owner, how, name, value):
        """Whether it could be done, or the error."""
        owner, value = self.owners[owner], self.values[value]
        try:
            if how == "set":
                setattr(owner, name, value)
            elif how == "delete":
                delattr(owner, name)
            elif how == "train":
                owner.train(bool(value))
            else:
                getattr(owner, how)(name, value)
        except Exception as error:
            return error
        return None

    def picture(self):
        """All that a program sees of it."""
        net = self.owners[0]
        return {
            "state": [(k, tuple(v.shape)) for k, v in net.state_dict().items()],
            "parameters": [(k, tuple(v.shape)) for k, v in net.named_parameters()],
            "own": [k for k, _ in net.named_parameters("x", recurse=False)],
            "all": [k for k, _ in net.named_parameters(remove_duplicate=False)],
            "buffers": [k for k, _ in net.named_buffers()],
            "modules": [(k, type(m).__name__, m.training) for k, m in net.named_modules()],
            "places": [k for k, _ in net.named_modules(remove_duplicate=False)],
            "children": [k for k, _ in net.named_children()],
            "attributes": [[hasattr(owner, n) for n in "abc"] for owner in self.owners],
            "kept": [
                [i for i, v in enumerate(self.values) if getattr(owner, n, self) is v]
                for owner in self.owners
                for n in "abc"
            ],
            "repr": repr(net),
        }


KINDS = {"register_parameter": [3, 4, 6], "add_module": [0, 1, 2, 6], "register_buffer": [5, 6]}
ACTIONS = st.one_of(
    st.tuples(st.integers(0, 1), st.just("set"), st.sampled_from("abc"), st.integers(0, 7)),
    st.tuples(st.integers(0, 1), st.just("delete"), st.sampled_from("abc"), st.just(6)),
    st.tuples(st.integers(0, 1), st.just("train"), st.just("a"), st.sampled_from([6, 7])),
    st.tuples(
        st.integers(0, 1), st.sampled_from([*KINDS]), st.sampled_from("abc"), st.integers(0, 7)
    ),
    st.sampled_from([*KINDS]).flatmap(  # names that can't be, with values that can
        lambda how: st.tuples(
            st.integers(0, 1),
            st.just(how),
            st.sampled_from(["", "a.b", "forward", "training", 3]),
            st.sampled_from(KINDS[how]),
        )
    ),
)


@settings(max_examples=150)
@given(st.lists(ACTIONS, max_size=12))
def test_what_is_set_replaced_and_deleted_is_kept_as_in_pytorch(actions):
    ours, theirs = Side(minicnn), Side(torch)
    for owner, how, name, value in actions:
        if owner == 1 and value == 2:
            continue  # a module in itself: PyTorch takes it, and then recurses without end
        if value not in KINDS.get(how, [value]) and hasattr(theirs.owners[owner], name):
            continue  # of two faults either may be told
        mine = ours.attempt(owner, how, name, value)
        its = theirs.attempt(owner, how, name, value)
        assert isinstance(mine, type(its)), (how, name, value, mine, its)
        assert ours.picture() == theirs.picture()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_module_cannot_contain_itself(depth):
    top = module = nn.Sequential()
    for _ in range(depth):
        inner = nn.Sequential()
        module.append(inner)
        module = inner
    for put in (
        lambda: setattr(module, "x", top),
        lambda: module.append(top),
        lambda: module.insert(0, top),
        lambda: module.add_module("x", top),
    ):
        with pytest.raises(RuntimeError, match="a module can't contain itself"):
            put()
    assert len(list(top.modules())) == depth + 1


def test_a_name_that_the_class_has_is_not_taken_from_it():
    with pytest.raises(KeyError, match="Sequential: forward: there is an attribute of this name"):
        nn.Sequential().forward = nn.ReLU()


def test_a_layer_that_was_taken_away_is_gone_for_the_optimiser():
    net = nn.Sequential(OrderedDict(body=nn.Linear(2, 2), head=nn.Linear(2, 1)))
    net.head = None
    assert len(minicnn.optim.SGD(net.parameters()).param_groups[0]["params"]) == 2


def test_an_override_of_train_is_called():
    class Frozen(nn.ReLU):
        def train(self, mode=True):
            return super().train(False)

    assert [m.training for m in nn.Sequential(Frozen(), nn.ReLU()).train()] == [False, True]


@pytest.mark.parametrize("mode", [None, 1, "eval"])
def test_a_mode_that_is_none_is_refused(mode):
    with pytest.raises(ValueError, match="train: mode must be True or False"):
        nn.ReLU().train(mode)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_keeps_its_structure_and_shares_nothing(twin_of):
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    net = nn.Sequential(layer, nn.ReLU(), layer, nn.CrossEntropyLoss(minicnn.ones(2))).eval()
    other = twin_of(net)
    assert repr(other) == repr(net)
    assert list(other.state_dict()) == list(net.state_dict())
    assert other[0] is other[2] and not other[0].training and not other[0].bias.requires_grad
    other.load_state_dict({k: v * 0 for k, v in net.state_dict().items()})
    assert layer.weight.any()


def test_what_is_set_in_a_shallow_copy_is_not_set_in_the_original():
    layer = nn.Linear(2, 3)
    other = copy.copy(layer)
    assert other.weight is layer.weight
    other.extra = nn.ReLU()
    del other.bias
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert not list(layer.children())


def test_freezing_a_network_reaches_every_parameter():
    net = network().requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("value", [3, [1.0], np.ones(2), None])
def test_a_parameter_is_made_of_a_tensor(value):
    with pytest.raises(TypeError, match="Parameter: data must be a Tensor, got"):
        nn.Parameter(value)


# --- Sequential ----------------------------------------------------------------------------------


def layers(nn, n):
    return [nn.Linear(1, i + 1) for i in range(n)]


CHANGES = [
    lambda nn, s: s.append(nn.ReLU()),
    lambda nn, s: s.extend([nn.ReLU(), nn.Flatten()]),
    lambda nn, s: s.insert(1, nn.ReLU()),
    lambda nn, s: s.insert(-1, nn.ReLU()),
    lambda nn, s: s.insert(3, nn.ReLU()),
    lambda nn, s: s.insert(4, nn.ReLU()),
    lambda nn, s: s.__setitem__(0, nn.ReLU()),
    lambda nn, s: s.__setitem__(-1, nn.ReLU()),
    lambda nn, s: s.__setitem__(np.int64(1), nn.ReLU()),
    lambda nn, s: s.__setitem__(1, None),
    lambda nn, s: s.__setitem__(1, 5),
    lambda nn, s: s.__setitem__(3, nn.ReLU()),
    lambda nn, s: s.__delitem__(0),
    lambda nn, s: s.__delitem__(-2),
    lambda nn, s: s.__delitem__(slice(0, 2)),
    lambda nn, s: s.__delitem__(5),
    lambda nn, s: s.append(3),
    lambda nn, s: s.extend([3]),
    lambda nn, s: s["0"],
    lambda nn, s: s[1.0],
    lambda nn, s: s[3],
    lambda nn, s: s[-4],
    lambda nn, s: s[np.int64(2)],
    lambda nn, s: s[1:],
    lambda nn, s: s[::2],
    lambda nn, s: s[5:],
    lambda nn, s: len(s),
    lambda nn, s: [*s],
    lambda nn, s: nn.Sequential(s[0], s[0]),
    lambda nn, s: nn.Sequential([s[0]]),
    lambda nn, s: nn.Sequential({"a": s[0]}),
    lambda nn, s: nn.Sequential(OrderedDict({"a.b": s[0]})),
    lambda nn, s: nn.Sequential(OrderedDict({"": s[0]})),
    lambda nn, s: nn.Sequential(OrderedDict({1: s[0]})),
    lambda nn, s: nn.Sequential(OrderedDict(forward=s[0])),
]


@pytest.mark.parametrize("change", CHANGES, ids=map(str, range(len(CHANGES))))
def test_a_sequence_is_changed_as_in_pytorch(change):
    ours, theirs = nn.Sequential(*layers(nn, 3)), torch.nn.Sequential(*layers(torch.nn, 3))
    results = []
    for library, sequence in ((nn, ours), (torch.nn, theirs)):
        try:
            results.append(repr(change(library, sequence)))
        except Exception as error:
            results.append(error)
    mine, its = results
    assert isinstance(mine, type(its)) and (isinstance(its, Exception) or mine == its), results
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_a_layer_is_not_lost_under_anothers_number():
    rest = nn.Sequential(*layers(nn, 3))[1:]  # named 1 and 2
    with pytest.raises(
        ValueError, match="layer '2' is there already, as the layers' names are 1, 2"
    ):
        rest.append(nn.ReLU())
    assert len(rest) == 2


def test_a_slice_is_of_the_same_class():
    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    assert type(Residual(nn.ReLU(), nn.ReLU())[:1]) is Residual


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.Conv2d(1, 2, 3),
        lambda nn: nn.Conv2d(3, 2, (3, 2), stride=2, padding=(1, 0), dilation=2, bias=False),
        lambda nn: nn.Conv2d(3, 2, 3, padding="same", dilation=(1, 2)),
        lambda nn: nn.Linear(3, 2, bias=False),
        lambda nn: nn.MaxPool2d(2),
        lambda nn: nn.MaxPool2d((3, 2), 1, padding=1, dilation=2, ceil_mode=True),
        lambda nn: nn.AvgPool2d(3, 2, 1),
        lambda nn: nn.AdaptiveAvgPool2d((1, None)),
        lambda nn: nn.Dropout(0.25),
        lambda nn: nn.Flatten(0, 2),
        lambda nn: nn.Softmax(dim=1),
        lambda nn: nn.CrossEntropyLoss(),
    ],
)
def test_repr_of_a_layer_reads_like_pytorchs(make):
    theirs = repr(make(torch.nn)).replace("Dropout(p=0.25, inplace=False)", "Dropout(p=0.25)")
    assert repr(make(nn)) == theirs


LAYERS = [
    name
    for name in vars(nn)
    if isinstance(getattr(nn, name), type) and name not in ("Module", "Parameter", "Sequential")
]


@pytest.mark.parametrize("name", LAYERS)
def test_arguments_and_their_defaults_are_pytorchs(name):
    def arguments(layer):
        parameters = inspect.signature(layer).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}

    theirs = arguments(getattr(torch.nn, name))
    assert list(arguments(getattr(nn, name)).items()) == list(theirs.items())


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_dropout_that_cannot_be_is_refused_when_made(p):
    with pytest.raises(ValueError, match="Dropout: p must be a number at least 0 and at most 1"):
        nn.Dropout(p)


@pytest.mark.parametrize("argument", ["stride", "dilation", "kernel_size", "padding"])
def test_a_convolution_that_cannot_be_is_refused_when_made(argument):
    low = {"padding": -1}.get(argument, 0)
    settings = {"kernel_size": 3, argument: low}
    with pytest.raises(ValueError, match=f"(?i)conv2d: {argument}"):
        nn.Conv2d(1, 1, **settings)


SET_LATER = [  # a layer, and what is set once it is made: name, value and what that becomes
    (lambda: nn.Conv2d(2, 3, 3), "stride", 2, (2, 2)),
    (lambda: nn.Conv2d(2, 3, 3), "stride", [np.int64(2), 1], (2, 1)),
    (lambda: nn.Conv2d(2, 3, 3), "padding", 1, (1, 1)),
    (lambda: nn.Conv2d(2, 3, 3), "padding", "same", "same"),
    (lambda: nn.Conv2d(2, 3, 3), "dilation", (1, 2), (1, 2)),
    (lambda: nn.MaxPool2d(2), "kernel_size", 3, 3),
    (lambda: nn.MaxPool2d(2), "stride", np.int64(1), 1),
    (lambda: nn.MaxPool2d(2), "stride", None, None),
    (lambda: nn.MaxPool2d(2), "padding", [1, 0], (1, 0)),
    (lambda: nn.MaxPool2d(2), "dilation", 2, 2),
    (lambda: nn.MaxPool2d(2), "ceil_mode", True, True),
    (lambda: nn.AvgPool2d(2), "kernel_size", (3, 2), (3, 2)),
    (lambda: nn.AvgPool2d(2), "stride", 1, 1),
    (lambda: nn.AvgPool2d(2), "padding", 1, 1),
    (lambda: nn.AvgPool2d(2), "divisor_override", 3, 3),
    (lambda: nn.AvgPool2d(2), "count_include_pad", False, False),
    (lambda: nn.AdaptiveAvgPool2d(1), "output_size", [2, None], (2, None)),
    (lambda: nn.Dropout(), "p", 0, 0.0),
    (lambda: nn.Flatten(), "start_dim", np.int64(2), 2),
    (lambda: nn.Flatten(), "end_dim", 2, 2),
    (lambda: nn.Softmax(1), "dim", -1, -1),
]


@pytest.mark.parametrize(("make", "name", "value", "becomes"), SET_LATER)
def test_an_argument_that_is_set_later_counts_as_if_given(make, name, value, becomes):
    layer = make()
    setattr(layer, name, value)
    assert getattr(layer, name) == becomes
    assert type(getattr(layer, name)) is type(becomes)
    x = minicnn.randn(2, 2, 7, 8)
    given = {"Conv2d": (2, 3, 3), "MaxPool2d": (2,), "AvgPool2d": (2,)}.get(type(layer).__name__)
    if given and name != "kernel_size":
        other = type(layer)(*given, **{name: value})
        other.load_state_dict(layer.state_dict())
        assert repr(other) == repr(layer) or value is None
    elif given:
        other = type(layer)(value, stride=2)
    else:
        other = type(layer)(**{name: value})
    layer.eval()
    other.eval()
    assert np.array_equal(array(layer(x)), array(other(x)))


REFUSED_LATER = [
    (lambda: nn.Conv2d(2, 3, 3), {"stride": 0, "kernel_size": "3", "dilation": 1.5, "padding": -1}),
    (lambda: nn.Conv2d(2, 3, 3), {"in_channels": 0, "out_channels": None, "padding": "some"}),
    (lambda: nn.Conv2d(2, 3, 3), {"groups": 0, "padding_mode": "zigzag"}),
    (lambda: nn.Linear(2, 3), {"in_features": -1, "out_features": 1.5}),
    (lambda: nn.MaxPool2d(2), {"kernel_size": 0, "stride": -1, "padding": -1, "dilation": 0}),
    (lambda: nn.MaxPool2d(2), {"kernel_size": None, "stride": (1, 2, 3), "padding": True}),
    (lambda: nn.AvgPool2d(2), {"kernel_size": 0, "stride": 1.5, "padding": None}),
    (lambda: nn.AvgPool2d(2), {"divisor_override": 0}),
    (lambda: nn.AdaptiveAvgPool2d(1), {"output_size": (1, 2, 3)}),
    (lambda: nn.Dropout(), {"p": 2}),
    (lambda: nn.Dropout(), {"p": None}),
    (lambda: nn.Flatten(), {"start_dim": 1.5, "end_dim": None}),
    (lambda: nn.Softmax(1), {"dim": "a"}),
    (lambda: nn.CrossEntropyLoss(), {"ignore_index": 0.5, "label_smoothing": "a"}),
]


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [(make, name, value) for make, settings in REFUSED_LATER for name, value in settings.items()],
)
def test_an_argument_that_cannot_be_is_refused_later_too_and_changes_nothing(make, name, value):
    layer = make()
    before = getattr(layer, name)
    with pytest.raises(ValueError, match=f"{type(layer).__name__}: {name} must"):
        setattr(layer, name, value)
    assert getattr(layer, name) == before


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (nn.MaxPool2d(2), "return_indices", True),
        (nn.Conv2d(2, 4, 3), "groups", 2),
        (nn.Conv2d(2, 4, 3), "padding_mode", "reflect"),
    ],
)
def test_what_pytorch_alone_has_is_refused_later_too(layer, name, value):
    before = getattr(layer, name, None)
    with pytest.raises(NotImplementedError, match=f"{type(layer).__name__}: {name} "):
        setattr(layer, name, value)
    assert getattr(layer, name, None) == before


@pytest.mark.cpu
def test_a_convolution_takes_at_most_60_python_calls():
    """They hold Python's lock, for which other threads wait meanwhile."""
    layer, calls = nn.Conv2d(16, 32, 3, padding=1), []
    x = minicnn.randn(2, 16, 8, 8, requires_grad=True)
    layer(x)
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code) if event == "call" else None)
    try:
        layer(x)
    finally:
        sys.setprofile(None)
    assert 0 < len(calls) <= 60


def test_same_beside_a_stride_is_refused_when_used():
    """Either may be set first."""
    layer = nn.Conv2d(2, 3, 3, padding="same")
    layer.stride = 2
    with pytest.raises(ValueError, match="padding='same' needs stride 1"):
        layer(minicnn.zeros(1, 2, 5, 5))


def test_a_layer_that_is_derived_names_itself():
    class Blur(nn.AvgPool2d):
        pass

    with pytest.raises(ValueError, match="Blur: kernel_size must be an int ≥ 1 or two, got 0"):
        Blur(0)


@dataclass(eq=False, repr=False)
class Block(nn.Module):
    kind: ClassVar[str] = "block"
    features: InitVar[int]
    scale: float = 2.0
    inner: nn.Module = field(init=False)
    weight: nn.Parameter = field(init=False)
    later: int = field(init=False)

    def __post_init__(self, features):
        super().__post_init__()
        self.inner, self.weight = nn.Linear(features, 1), nn.Parameter(minicnn.ones(1))


def test_repr_shows_the_arguments_that_a_module_keeps():
    text = "Block(\n  scale=2.0\n  (inner): Linear(in_features=3, out_features=1, bias=True)\n)"
    assert repr(Block(3)) == text


def test_repr_reads_like_pytorchs():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Linear(2, 3))
    assert repr(model) == repr(twin(model)).replace("ReLU(inplace=True)", "ReLU()")


# --- errors that name the layer ------------------------------------------------------------------


def test_shapes_that_do_not_fit_are_named_with_the_layers_path():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(
        ValueError, match=r"in layer 1\.0 Conv2d\(3, 4.*\(2, 5, 8, 8\).*\(4, 3, 3, 3\)"
    ):
        model(minicnn.zeros(2, 5, 8, 8))


def test_a_layer_on_its_own_is_named_too():
    with pytest.raises(ValueError, match=r"in layer Linear\(in_features=3.*\(2, 4\).*\(1, 3\)"):
        nn.Linear(3, 1)(minicnn.zeros(2, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(4, 4, 3, groups=2), "groups must be 1, got 2"),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), "groups must be 1, got 0"),
        (lambda: nn.Conv2d(4, 4, 3, padding_mode="zigzag"), "padding_mode.*'zigzag'"),
        (lambda: nn.Conv2d(4, 4, 3, padding_mode="reflect"), "padding_mode.*'reflect'"),
        (lambda: nn.Conv2d(0, 4, 3), "in_channels"),
        (lambda: nn.Conv2d(4, 4, (1, 2, 3)), "kernel_size"),
        (lambda: nn.Conv2d(4, 4, 3, stride=2, padding="same"), "padding='same'"),
        (lambda: nn.Linear(2, -1), "out_features"),
        (lambda: nn.MaxPool2d(2, return_indices=True), "return_indices"),
        (lambda: nn.Dropout(-0.1), "p must be a number"),
    ],
)
def test_arguments_that_are_not_supported_are_refused_by_name(make, message):
    with pytest.raises((ValueError, NotImplementedError), match=message):
        make()


# --- initial values ------------------------------------------------------------------------------


def test_default_weights_reach_their_bound():
    weight = array(nn.Linear(100, 1000).weight)
    assert 0.099 < abs(weight).max() <= 0.1


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(16, 64, 5), nn.Linear(400, 500)], ids=["conv", "linear"]
)
def test_default_values_are_uniform_within_one_over_root_fan_in(layer):
    bound = 1 / math.sqrt(math.prod(layer.weight.shape[1:]))
    for parameter in layer.parameters():
        values = array(parameter)
        assert abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.2)
        assert abs(values.mean()) <= 0.2 * bound


SHAPE = (64, 32, 3, 5)
FAN_IN, FAN_OUT = 32 * 15, 64 * 15
INITIALISERS = {  # name: (fill, standard deviation, bound)
    "xavier_uniform_": (init.xavier_uniform_, math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(3)),
    "xavier_normal_": (init.xavier_normal_, math.sqrt(2 / (FAN_IN + FAN_OUT)), None),
    "kaiming_uniform_": (
        lambda t: init.kaiming_uniform_(t, nonlinearity="relu"),
        math.sqrt(2 / FAN_IN),
        math.sqrt(3),
    ),
    "kaiming_normal_": (
        lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
        math.sqrt(2 / FAN_OUT),
        None,
    ),
    "normal_": (lambda t: init.normal_(t, std=0.3), 0.3, None),
    "uniform_": (lambda t: init.uniform_(t, -2, 2), 2 / math.sqrt(3), math.sqrt(3)),
}


@pytest.mark.parametrize("name", INITIALISERS)
def test_moments_and_bounds(name):
    fill, std, bound = INITIALISERS[name]
    minicnn.manual_seed(0)
    values = array(fill(minicnn.zeros(*SHAPE)))
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) <= 0.02 * std
    if bound is not None:
        assert 0.99 * bound * std <= abs(values).max() <= bound * std * (1 + 1e-6)
    else:
        assert (abs(values) < std).mean() == pytest.approx(0.6827, abs=0.01)


@pytest.mark.parametrize("name", ["xavier_uniform_", "kaiming_normal_", "uniform_"])
def test_initialisers_take_pytorchs_arguments(name):
    for library, tensor in ((nn.init, minicnn.zeros(4, 3)), (torch.nn.init, torch.zeros(4, 3))):
        assert getattr(library, name)(tensor) is tensor


@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu"])
def test_gains_are_pytorchs(nonlinearity):
    assert init.calculate_gain(nonlinearity) == torch.nn.init.calculate_gain(nonlinearity)


@pytest.mark.parametrize("slope", [None, 0.0, 0.2])
def test_the_gain_of_a_leaky_relu_is_pytorchs(slope):
    assert init.calculate_gain("leaky_relu", slope) == torch.nn.init.calculate_gain(
        "leaky_relu", slope
    )


def test_constants():
    assert (init.constant_(minicnn.zeros(3), 2.5) == 2.5).all()
    assert (init.ones_(minicnn.zeros(3)) == 1).all()
    assert (init.zeros_(minicnn.ones(3)) == 0).all()


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda: init.xavier_uniform_(minicnn.zeros(3)), r"at least 2 axes, got shape \(3,\)"),
        (lambda: init.kaiming_normal_(minicnn.zeros(3, 3), mode="fan"), "mode"),
        (lambda: init.kaiming_normal_(minicnn.zeros(3, 3), nonlinearity="gelu"), "nonlinearity"),
    ],
)
def test_initialisers_refuse_by_name(fill, message):
    with pytest.raises(ValueError, match=message):
        fill()


INITIALISE = [
    "uniform_",
    "normal_",
    "xavier_uniform_",
    "xavier_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
]


@pytest.mark.parametrize("name", INITIALISE)
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 0, 3, 3)])
def test_where_there_is_nothing_to_fill_nothing_is_divided_by_it(name, shape):
    assert getattr(init, name)(minicnn.zeros(*shape)).shape == shape


@pytest.mark.parametrize("name", INITIALISE)
def test_a_draw_that_is_refused_does_not_change_the_next(name):
    fill = getattr(init, name)
    minicnn.manual_seed(0)
    first = array(fill(minicnn.zeros(3, 3))).copy()
    minicnn.manual_seed(0)
    for bad in (
        lambda: fill(minicnn.zeros(3, 3).long()),
        lambda: fill(minicnn.zeros(3, 3), float("nan")),
        lambda: fill(np.zeros((3, 3))),
        lambda: fill(minicnn.zeros(3, 3), generator=3),
    ):
        with pytest.raises((TypeError, RuntimeError, AttributeError)):
            bad()
    assert np.array_equal(array(fill(minicnn.zeros(3, 3))), first)


@pytest.mark.parametrize("name", [*INITIALISE, "ones_", "zeros_"])
def test_filling_between_forward_and_backward_is_noticed(name):
    x, w = minicnn.ones(2, 2).requires_grad_(), minicnn.ones(2, 2)
    y = (x * w).sum()
    getattr(init, name)(w)
    with pytest.raises(RuntimeError, match="in place"):
        y.backward()


def test_a_part_is_filled_through_a_view():
    w = minicnn.zeros(2, 3).requires_grad_()
    init.normal_(w.detach()[:, 1])
    assert w[:, 1].detach().any() and not w[:, ::2].detach().any()


def test_the_same_seed_gives_the_same_weights():
    minicnn.manual_seed(5)
    first = array(nn.Conv2d(3, 4, 3).weight)
    minicnn.manual_seed(5)
    assert np.array_equal(array(nn.Conv2d(3, 4, 3).weight), first)


def test_skip_init_leaves_the_parameters_of_a_whole_network_at_zero():
    model = nn.utils.skip_init(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 5)))
    assert not any(p.any() for p in model.parameters())


def test_skip_init_ends_with_the_module_even_if_that_cannot_be_made():
    with pytest.raises(ValueError, match="in_features"):
        nn.utils.skip_init(nn.Linear, -1, 1)
    assert nn.Linear(3, 4).weight.any()
