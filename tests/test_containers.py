"""ModuleList, ModuleDict, ParameterList, ParameterDict and `_modules` beside PyTorch's."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

import minicnn
from minicnn import nn

pytestmark = pytest.mark.cpu


def parameter(L, n=2):
    return L.nn.Parameter(L.zeros(n))


MADE = {
    "ModuleList": lambda L: L.nn.ModuleList([L.nn.Linear(1, 2), L.nn.ReLU()]),
    "ModuleList, grown": lambda L: (
        L.nn.ModuleList().append(L.nn.Linear(1, 2)).extend([L.nn.ReLU()])
    ),
    "ModuleList, inserted": lambda L: inserted(L.nn.ModuleList([L.nn.ReLU()]), L.nn.Linear(1, 2)),
    "ModuleList, a slice": lambda L: L.nn.ModuleList([L.nn.Linear(1, i + 1) for i in range(4)])[
        1:3
    ],
    "ModuleList, nested": lambda L: L.nn.ModuleList([L.nn.Sequential(L.nn.Linear(1, 2))]),
    "ModuleDict": lambda L: L.nn.ModuleDict({"a": L.nn.Linear(1, 2), "b": L.nn.ReLU()}),
    "ModuleDict of pairs": lambda L: L.nn.ModuleDict([("a", L.nn.Linear(1, 2))]),
    "ModuleDict, changed": lambda L: changed(
        L.nn.ModuleDict({"a": L.nn.ReLU()}), L.nn.Linear(2, 1)
    ),
    "ParameterList": lambda L: L.nn.ParameterList([parameter(L), parameter(L, 3)]),
    "ParameterList, grown": lambda L: L.nn.ParameterList().append(parameter(L)),
    "ParameterDict": lambda L: L.nn.ParameterDict({"w": parameter(L), "b": parameter(L, 1)}),
}


def inserted(modules, module):
    modules.insert(0, module)
    return modules


def changed(modules, module):
    modules["b"] = module
    del modules["a"]
    return modules


@pytest.mark.parametrize("name", MADE)
def test_a_container_has_pytorchs_parameters_under_their_names(name):
    ours, theirs = MADE[name](minicnn), MADE[name](torch)
    shapes = [{n: tuple(p.shape) for n, p in m.named_parameters()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert len(ours) == len(theirs)
    assert [*ours.state_dict()] == [*theirs.state_dict()]


@pytest.mark.parametrize("name", [n for n in MADE if n.startswith("Module")])
def test_a_container_of_modules_prints_as_pytorchs(name):
    def flat(module):  # PyTorch writes layers that are alike as one line
        return [(n, type(m).__name__) for n, m in module.named_modules()]

    assert flat(MADE[name](minicnn)) == flat(MADE[name](torch))


def test_what_is_asked_of_them():
    modules = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
    assert [*modules] == [*modules.keys()] == ["a", "b"]
    assert "a" in modules and "c" not in modules
    assert dict(modules.items())["b"] is modules["b"] is [*modules.values()][1]
    parameters = nn.ParameterList([parameter(minicnn), parameter(minicnn, 3)])
    assert parameters[-1] is [*parameters][1]
    with pytest.raises(IndexError):
        parameters[2]
    with pytest.raises(KeyError):
        modules["c"]


@pytest.mark.parametrize(
    "make",
    [
        lambda L: L.nn.ModuleList([3]),
        lambda L: L.nn.ModuleDict({"a": "b"}),
        lambda L: L.nn.ModuleList([L.nn.ReLU()])(L.ones(1)),
    ],
)
def test_what_pytorch_refuses_is_refused(make):
    with pytest.raises((TypeError, NotImplementedError)) as theirs:
        make(torch)
    with pytest.raises(theirs.type):
        make(minicnn)


class MySequential:
    """The textbook's, which reaches into `_modules`."""

    @staticmethod
    def make(L):
        class Net(L.nn.Module):
            def __init__(self, *args):
                super().__init__()
                for i, module in enumerate(args):
                    self._modules[str(i)] = module

            def forward(self, X):
                for block in self._modules.values():
                    X = block(X)
                return X

        return Net(L.nn.Linear(2, 3), L.nn.ReLU(), L.nn.Linear(3, 1))


def test_modules_are_set_and_taken_out_through_the_dict_of_pytorchs():
    net = MySequential.make(minicnn)
    assert [*net.state_dict()] == [*MySequential.make(torch).state_dict()]
    assert net(minicnn.ones(4, 2)).shape == (4, 1)
    del net._modules["2"]
    assert net(minicnn.ones(4, 2)).shape == (4, 3)
    assert isinstance(net._modules, dict) and not isinstance(net._modules, OrderedDict)
