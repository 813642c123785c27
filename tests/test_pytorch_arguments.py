"""Layers, initialisers, optimiser and schedules take PyTorch's arguments, or refuse as it does.

Tables of good and bad calls are made in both libraries: what PyTorch takes is taken, what it
refuses is refused with an exception that a program written for it catches.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.optim.lr_scheduler

import minicnn
import minicnn.optim.lr_scheduler

from .arrays import named

pytestmark = pytest.mark.cpu  # what is looked at here is the same on any device

nan = float("nan")

# --- positions -----------------------------------------------------------------------------------


def functions():
    """(name, ours, PyTorch's) of every public function, constructor and method of nn and optim."""
    places = [
        ("nn", minicnn.nn, torch.nn),
        ("nn.init", minicnn.nn.init, torch.nn.init),
        ("nn.utils", minicnn.nn.utils, torch.nn.utils),
        ("optim", minicnn.optim, torch.optim),
        ("lr_scheduler", minicnn.optim.lr_scheduler, torch.optim.lr_scheduler),
    ]
    for place, mine, its in places:
        for name, ours in vars(mine).items():
            theirs = getattr(its, name, None)
            if name.startswith("_") or not callable(ours) or not callable(theirs):
                continue
            if not ours.__module__.startswith(("minicnn.nn", "minicnn.optim")):
                continue  # what a module imports for itself
            yield f"{place}.{name}", ours, theirs
            if isinstance(ours, type) and name != "Parameter":
                for method in dir(ours):
                    both = getattr(ours, method), getattr(theirs, method, None)
                    if not method.startswith("_") and all(map(inspect.isfunction, both)):
                        yield f"{place}.{name}.{method}", *both


FUNCTIONS = list(functions())
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@pytest.mark.parametrize(("name", "ours", "theirs"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_an_argument_stands_where_it_stands_in_pytorch(name, ours, theirs):
    mine, its = ([*inspect.signature(f).parameters.values()] for f in (ours, theirs))
    positions = [p for p in its if p.kind in POSITIONAL]
    if any(p.kind is p.VAR_POSITIONAL for p in its):
        positions = [p for p in mine if p.kind in POSITIONAL]
    names = {p.name: p for p in its}
    for i, p in enumerate(mine):
        if p.kind in POSITIONAL:
            assert p.name == positions[i].name
        if p.kind is p.KEYWORD_ONLY:
            assert p.name in names
        if p.default is not p.empty and p.name in names:
            assert p.default == names[p.name].default


def test_the_walk_meets_all_that_there_is():
    names = {f[0] for f in FUNCTIONS}
    assert {"nn.Conv2d", "nn.Module.load_state_dict", "nn.init.uniform_", "optim.SGD.step"} <= names
    assert {"nn.utils.clip_grad_norm_", "lr_scheduler.OneCycleLR", "nn.Sequential.insert"} <= names
    assert len(names) > 200


# --- calls ---------------------------------------------------------------------------------------


def parameter(top, values=(1.0, 2.0)):
    p = top.nn.Parameter(top.tensor(values))
    p.grad = top.ones(len(values))
    return p


def sgd(top, **options):
    return top.optim.SGD([parameter(top)], **options)


def labels(top):
    return top.zeros(2).long()


GOOD = {
    "Linear of NumPy sizes": lambda t: t.nn.Linear(np.prod((4, 7)), np.int32(3)),
    "Linear of a tensor's size": lambda t: t.nn.Linear(t.tensor(4), 3),
    "Linear of nothing": lambda t: t.nn.Linear(3, 0),
    "Conv2d of NumPy sizes": lambda t: t.nn.Conv2d(
        np.int64(1), np.uint8(2), np.int16(3), np.int64(1), (np.int8(0), 1), np.int64(1)
    ),
    "Conv2d of tensors": lambda t: t.nn.Conv2d(t.tensor(1), 2, (t.tensor(3), 2)),
    "MaxPool2d of NumPy sizes": lambda t: t.nn.MaxPool2d(np.int64(2), np.int64(1), np.int64(1)),
    "MaxPool2d, stride None": lambda t: t.nn.MaxPool2d((2, 1), None),
    "AvgPool2d": lambda t: t.nn.AvgPool2d(np.int64(2), (np.int64(1), 2), divisor_override=-3),
    "AdaptiveAvgPool2d": lambda t: t.nn.AdaptiveAvgPool2d((np.int64(2), None)),
    "AdaptiveAvgPool2d to nothing": lambda t: t.nn.AdaptiveAvgPool2d(0),
    "Dropout of NumPy": lambda t: t.nn.Dropout(np.float64(0.5)).p,
    "Dropout of int": lambda t: t.nn.Dropout(1).p,
    "Flatten of NumPy": lambda t: t.nn.Flatten(np.int64(0), np.int64(-1)),
    "Softmax of NumPy": lambda t: t.nn.Softmax(np.int64(1)),
    "CrossEntropyLoss by position": lambda t: t.nn.CrossEntropyLoss(
        None, None, 0, None, "sum", 0.1
    )(t.ones(2, 2), labels(t)).item(),
    "to(float)": lambda t: str(t.nn.Linear(2, 2).to(float).weight.dtype).rpartition(".")[2],
    "to()": lambda t: t.nn.Linear(2, 2).to(),
    "to(None)": lambda t: t.nn.Linear(2, 2).to(None),
    "uniform_ of one value": lambda t: t.nn.init.uniform_(t.zeros(2), 3, 3).tolist(),
    "uniform_ of NumPy": lambda t: t.nn.init.uniform_(
        t.zeros(2), np.float64(3), np.int64(3)
    ).tolist(),
    "normal_ of one value": lambda t: t.nn.init.normal_(t.zeros(2), np.float32(3), 0).tolist(),
    "constant_ of NumPy": lambda t: t.nn.init.constant_(t.zeros(2), np.float64(3)).tolist(),
    "constant_ of a leaf": lambda t: t.nn.init.constant_(parameter(t), 2).tolist(),
    "ones_ of a view": lambda t: [x := t.zeros(2, 2), t.nn.init.ones_(x[1])][0].tolist(),
    "kaiming_uniform_, slope of NumPy": lambda t: t.nn.init.kaiming_uniform_(
        t.zeros(2, 2), a=np.float64(1)
    ).shape[0],
    "gain of NumPy": lambda t: t.nn.init.calculate_gain("leaky_relu", np.float64(0.2)),
    "SGD of a tensor": lambda t: len(t.optim.SGD([t.ones(2).requires_grad_()]).param_groups),
    "SGD of an iterator": lambda t: len(t.optim.SGD(iter([parameter(t)])).param_groups),
    "SGD of a frozen parameter": lambda t: len(
        t.optim.SGD([parameter(t).requires_grad_(False)]).param_groups
    ),
    "SGD of a group of one": lambda t: len(t.optim.SGD([{"params": parameter(t)}]).param_groups),
    "SGD of an empty group": lambda t: len(t.optim.SGD([{"params": []}]).param_groups),
    "SGD of NumPy": lambda t: sgd(
        t, lr=np.float64(0.1), momentum=np.float32(0.5), weight_decay=np.int64(0)
    ).param_groups[0]["lr"],
    "SGD, nesterov of NumPy": lambda t: sgd(t, lr=1, momentum=0.5, nesterov=np.True_).param_groups[
        0
    ]["nesterov"],
    "SGD, lr 0": lambda t: sgd(t, lr=0).param_groups[0]["lr"],
    "SGD, all off": lambda t: len(
        sgd(t, maximize=False, foreach=None, differentiable=False, fused=None).param_groups
    ),
    "SGD, foreach off": lambda t: len(sgd(t, foreach=False, fused=False).param_groups),
    "clip one tensor": lambda t: [p := parameter(t), t.nn.utils.clip_grad_norm_(p, 0.5)][
        0
    ].grad.tolist(),
    "clip, by position": lambda t: t.nn.utils.clip_grad_norm_(
        [parameter(t)], 1, 2.0, False, None
    ).item(),
    "clip to 0": lambda t: [p := parameter(t), t.nn.utils.clip_grad_norm_([p], 0)][0].grad.tolist(),
    "clip to a tensor": lambda t: [
        p := parameter(t),
        t.nn.utils.clip_grad_norm_([p], t.tensor(0.5)),
    ][0].grad.tolist(),
    "clip nothing": lambda t: t.nn.utils.clip_grad_norm_([], 1.0).item(),
    "clip no gradient": lambda t: t.nn.utils.clip_grad_norm_([t.nn.Parameter(t.ones(2))], 1).item(),
}


@pytest.mark.parametrize("call", GOOD.values(), ids=GOOD)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_what_pytorch_takes_is_taken(call):
    ours, theirs = call(minicnn), call(torch)
    if isinstance(theirs, torch.nn.Module):
        assert not any(word in repr(ours) for word in ("np.", "tensor", "in_features=True"))
        ours, theirs = ([tuple(p.shape) for p in m.parameters()] for m in (ours, theirs))
    assert ours == theirs or ours == pytest.approx(theirs, rel=1e-6)


BAD = {
    # sizes and settings of layers
    "Linear(-1, 3)": lambda t: t.nn.Linear(-1, 3),
    "Linear(3, -1)": lambda t: t.nn.Linear(3, np.int64(-1)),
    "Linear, int64": lambda t: t.nn.Linear(2, 2, dtype=t.int64),
    "Linear, device": lambda t: t.nn.Linear(2, 2, device="tpu:7"),
    "Conv2d, -1 channels": lambda t: t.nn.Conv2d(-1, 4, 3),
    "Conv2d, kernel -1": lambda t: t.nn.Conv2d(1, 1, -1),
    "Conv2d, padding word": lambda t: t.nn.Conv2d(1, 1, 3, padding="some"),
    "Conv2d, same and stride": lambda t: t.nn.Conv2d(1, 1, 3, padding="same", stride=2),
    "Conv2d, groups 0": lambda t: t.nn.Conv2d(4, 4, 3, groups=0),
    "Conv2d, groups -1": lambda t: t.nn.Conv2d(4, 4, 3, groups=-1),
    "Conv2d, groups 3 of 4": lambda t: t.nn.Conv2d(4, 4, 3, groups=3),
    "Conv2d, padding_mode": lambda t: t.nn.Conv2d(4, 4, 3, padding_mode="zigzag"),
    "Conv2d, int64": lambda t: t.nn.Conv2d(4, 4, 3, dtype=t.int64),
    "Conv2d, channels": lambda t: t.nn.Conv2d(3, 4, 3)(t.ones(1, 2, 5, 5)),
    "Conv2d, small input": lambda t: t.nn.Conv2d(3, 4, 3)(t.ones(1, 3, 2, 2)),
    "Conv2d, axes": lambda t: t.nn.Conv2d(3, 4, 3)(t.ones(3, 2)),
    "Linear, features": lambda t: t.nn.Linear(3, 4)(t.ones(2, 2)),
    "Linear, no axes": lambda t: t.nn.Linear(3, 4)(t.tensor(1.0)),
    "Linear, types": lambda t: t.nn.Linear(3, 4)(t.ones(2, 3).long()),
    "Linear, nothing": lambda t: t.nn.Linear(3, 4)(),
    "Linear, too much": lambda t: t.nn.Linear(3, 4)(t.ones(1, 3), t.ones(1, 3)),
    "Linear, a list": lambda t: t.nn.Linear(3, 4)([1.0, 2.0, 3.0]),
    "MaxPool2d(0)": lambda t: t.nn.MaxPool2d(0)(t.ones(1, 1, 4, 4)),
    "MaxPool2d, stride 0": lambda t: t.nn.MaxPool2d(2, 0)(t.ones(1, 1, 4, 4)),
    "MaxPool2d, padding": lambda t: t.nn.MaxPool2d(2, padding=2)(t.ones(1, 1, 4, 4)),
    "MaxPool2d, dilation 0": lambda t: t.nn.MaxPool2d(2, dilation=0)(t.ones(1, 1, 4, 4)),
    "MaxPool2d of three": lambda t: t.nn.MaxPool2d((1, 2, 3))(t.ones(1, 1, 4, 4)),
    "AvgPool2d(0)": lambda t: t.nn.AvgPool2d(0)(t.ones(1, 1, 4, 4)),
    "AvgPool2d, padding": lambda t: t.nn.AvgPool2d(2, padding=-1)(t.ones(1, 1, 4, 4)),
    "AvgPool2d, divisor 0": lambda t: t.nn.AvgPool2d(2, divisor_override=0)(t.ones(1, 1, 4, 4)),
    "AdaptiveAvgPool2d(-1)": lambda t: t.nn.AdaptiveAvgPool2d(-1)(t.ones(1, 1, 4, 4)),
    "AdaptiveAvgPool2d of three": lambda t: t.nn.AdaptiveAvgPool2d((1, 2, 3))(t.ones(1, 1, 4, 4)),
    "Dropout(-1)": lambda t: t.nn.Dropout(-1),
    "Dropout(1.5)": lambda t: t.nn.Dropout(np.float64(1.5)),
    "Flatten(5)": lambda t: t.nn.Flatten(5)(t.ones(2, 2)),
    "Softmax(3)": lambda t: t.nn.Softmax(3)(t.ones(2, 2)),
    "a class too high": lambda t: t.nn.CrossEntropyLoss()(t.ones(2, 2), labels(t) + 2),
    "reduction": lambda t: t.nn.CrossEntropyLoss(reduction="total")(t.ones(2, 2), labels(t)),
    "label_smoothing": lambda t: t.nn.CrossEntropyLoss(label_smoothing=2)(t.ones(2, 2), labels(t)),
    "class weights, a list": lambda t: t.nn.CrossEntropyLoss([1.0, 2.0]),
    "class weights, size": lambda t: t.nn.CrossEntropyLoss(t.ones(3))(t.ones(2, 2), labels(t)),
    # of another kind
    "Linear(2.0, 3)": lambda t: t.nn.Linear(2.0, 3),
    "Linear(3, '2')": lambda t: t.nn.Linear(3, "2"),
    "Linear(None, 3)": lambda t: t.nn.Linear(None, 3),
    "Conv2d, kernel 2.5": lambda t: t.nn.Conv2d(1, 1, 2.5),
    "Conv2d, kernel '3'": lambda t: t.nn.Conv2d(1, 1, "3"),
    "Conv2d, stride 1.5": lambda t: t.nn.Conv2d(1, 1, 3, 1.5)(t.ones(1, 1, 5, 5)),
    "Conv2d, padding 1.5": lambda t: t.nn.Conv2d(1, 1, 3, padding=1.5)(t.ones(1, 1, 5, 5)),
    "MaxPool2d(2.5)": lambda t: t.nn.MaxPool2d(2.5)(t.ones(1, 1, 4, 4)),
    "MaxPool2d(None)": lambda t: t.nn.MaxPool2d(None)(t.ones(1, 1, 4, 4)),
    "MaxPool2d((2, 2.5))": lambda t: t.nn.MaxPool2d((2, 2.5))(t.ones(1, 1, 4, 4)),
    "AvgPool2d('2')": lambda t: t.nn.AvgPool2d("2")(t.ones(1, 1, 4, 4)),
    "AvgPool2d, divisor 1.5": lambda t: t.nn.AvgPool2d(2, divisor_override=1.5)(t.ones(1, 1, 4, 4)),
    "AdaptiveAvgPool2d(1.5)": lambda t: t.nn.AdaptiveAvgPool2d(1.5)(t.ones(1, 1, 4, 4)),
    "Dropout('a')": lambda t: t.nn.Dropout("a"),
    "Dropout(None)": lambda t: t.nn.Dropout(None),
    "Flatten(1.5)": lambda t: t.nn.Flatten(1.5)(t.ones(2, 2)),
    "Softmax('a')": lambda t: t.nn.Softmax("a")(t.ones(2, 2)),
    "ignore_index": lambda t: t.nn.CrossEntropyLoss(ignore_index="a")(t.ones(2, 2), labels(t)),
    "uniform_, a word": lambda t: t.nn.init.uniform_(t.zeros(2), "a"),
    "normal_, None": lambda t: t.nn.init.normal_(t.zeros(2), None),
    "xavier_normal_, a word": lambda t: t.nn.init.xavier_normal_(t.zeros(2, 2), "a"),
    "lr, a word": lambda t: sgd(t, lr="0.1"),
    "lr None": lambda t: sgd(t, lr=None),
    "momentum, a list": lambda t: sgd(t, momentum=[0.9]),
    # modules
    "Module.forward": lambda t: t.nn.Module()(t.ones(1)),
    "Sequential of a function": lambda t: t.nn.Sequential(abs),
    "Sequential of a list": lambda t: t.nn.Sequential([t.nn.ReLU()]),
    "Sequential, a dot": lambda t: t.nn.Sequential(OrderedDict({"a.b": t.nn.ReLU()})),
    "Sequential, index": lambda t: t.nn.Sequential(t.nn.ReLU())[1],
    "Sequential, a layer that is None": lambda t: [
        s := t.nn.Sequential(t.nn.ReLU()),
        setattr(s, "0", None),
        s(t.ones(1)),
    ],
    "unknown attribute": lambda t: t.nn.ReLU().weight,
    "delete unknown": lambda t: delattr(t.nn.ReLU(), "weight"),
    "delete twice": lambda t: [m := t.nn.Linear(1, 1), delattr(m, "bias"), delattr(m, "bias")],
    "weight, a tensor": lambda t: setattr(t.nn.Linear(1, 1), "weight", t.ones(1, 1)),
    "weight, a module": lambda t: setattr(t.nn.Linear(1, 1), "weight", t.nn.ReLU()),
    "Parameter of whole numbers": lambda t: t.nn.Parameter(t.tensor([1])),
    "train(None)": lambda t: t.nn.ReLU().train(None),
    "to(int)": lambda t: t.nn.Linear(1, 1).to(int),
    "to a word": lambda t: t.nn.Linear(1, 1).to("tpu:7"),
    "load nothing": lambda t: t.nn.Linear(1, 1).load_state_dict({}),
    "load None": lambda t: t.nn.Linear(1, 1).load_state_dict(None),
    "load a list": lambda t: t.nn.Linear(1, 1).load_state_dict({"bias": [0.0]}, strict=False),
    # initialisers
    "uniform_, a above b": lambda t: t.nn.init.uniform_(t.zeros(2), 1, 0),
    "uniform_, NaN": lambda t: t.nn.init.uniform_(t.zeros(2), nan, 0),
    "uniform_, infinite": lambda t: t.nn.init.uniform_(t.zeros(2), float("-inf"), 0),
    "uniform_, too wide": lambda t: t.nn.init.uniform_(t.zeros(2), -3e38, 3e38),
    "uniform_, int64": lambda t: t.nn.init.uniform_(t.zeros(2).long()),
    "uniform_, generator": lambda t: t.nn.init.uniform_(t.zeros(2), generator=3),
    "normal_, std -1": lambda t: t.nn.init.normal_(t.zeros(2), 0, -1),
    "normal_, std NaN": lambda t: t.nn.init.normal_(t.zeros(2), 0, nan),
    "normal_, int64": lambda t: t.nn.init.normal_(t.zeros(2).long()),
    "constant_, a word": lambda t: t.nn.init.constant_(t.zeros(2), "1"),
    "constant_, None": lambda t: t.nn.init.constant_(t.zeros(2), None),
    "xavier_uniform_, one axis": lambda t: t.nn.init.xavier_uniform_(t.zeros(2)),
    "xavier_uniform_, gain -1": lambda t: t.nn.init.xavier_uniform_(t.zeros(2, 2), -1),
    "xavier_normal_, gain -1": lambda t: t.nn.init.xavier_normal_(t.zeros(2, 2), -1),
    "xavier_normal_, gain NaN": lambda t: t.nn.init.xavier_normal_(t.zeros(2, 2), nan),
    "kaiming_uniform_, a word": lambda t: t.nn.init.kaiming_uniform_(t.zeros(2, 2), "a"),
    "kaiming_uniform_, mode": lambda t: t.nn.init.kaiming_uniform_(t.zeros(2, 2), mode="fan"),
    "kaiming_normal_, nonlinearity": lambda t: t.nn.init.kaiming_normal_(
        t.zeros(2, 2), nonlinearity="gelu"
    ),
    "kaiming_normal_, int64": lambda t: t.nn.init.kaiming_normal_(t.zeros(2, 2).long()),
    "calculate_gain": lambda t: t.nn.init.calculate_gain("gelu"),
    "calculate_gain, a word": lambda t: t.nn.init.calculate_gain("leaky_relu", "0.1"),
    # optimiser
    "SGD of nothing": lambda t: t.optim.SGD([]),
    "SGD of an empty iterator": lambda t: t.optim.SGD(iter([])),
    "SGD of one tensor": lambda t: t.optim.SGD(parameter(t)),
    "SGD of a module": lambda t: t.optim.SGD(t.nn.Linear(1, 1)),
    "SGD of modules": lambda t: t.optim.SGD(t.nn.Sequential(t.nn.Linear(1, 1))),
    "SGD of None": lambda t: t.optim.SGD(None),
    "SGD of numbers": lambda t: t.optim.SGD([1.0]),
    "SGD of a mixture": lambda t: t.optim.SGD([{"params": [parameter(t)]}, parameter(t)]),
    "SGD of a set": lambda t: t.optim.SGD([{"params": {parameter(t)}}]),
    "SGD of a group without": lambda t: t.optim.SGD([{"lr": 1}]),
    "SGD of a result": lambda t: t.optim.SGD([parameter(t) * 2]),
    "SGD, a parameter in two groups": lambda t: [
        p := parameter(t),
        t.optim.SGD([{"params": [p]}, {"params": [p]}]),
    ],
    "SGD, added again": lambda t: [
        p := parameter(t),
        t.optim.SGD([p]).add_param_group({"params": [p]}),
    ],
    "SGD, add a list": lambda t: sgd(t).add_param_group([parameter(t)]),
    "lr": lambda t: sgd(t, lr=-0.1),
    "momentum": lambda t: sgd(t, momentum=-0.1),
    "weight_decay": lambda t: sgd(t, weight_decay=-0.1),
    "nesterov": lambda t: sgd(t, nesterov=True),
    "nesterov, dampening": lambda t: sgd(t, momentum=0.9, dampening=0.1, nesterov=True),
    "positions": lambda t: t.optim.SGD([parameter(t)], 0.1, 0.9, 0.0, 0.0, False, False),
    "an unknown option": lambda t: sgd(t, momentun=0.9),
    "groups": lambda t: sgd(t).load_state_dict(
        t.optim.SGD([{"params": [parameter(t)]}, {"params": []}]).state_dict()
    ),
    "sizes": lambda t: sgd(t).load_state_dict(
        t.optim.SGD([parameter(t), parameter(t)]).state_dict()
    ),
    "clip a number": lambda t: t.nn.utils.clip_grad_norm_(3, 1.0),
    "clip a module": lambda t: t.nn.utils.clip_grad_norm_(t.nn.Linear(1, 1), 1.0),
    "clip to a word": lambda t: t.nn.utils.clip_grad_norm_([parameter(t)], "a"),
    "clip NaN, if asked": lambda t: t.nn.utils.clip_grad_norm_(
        [p := parameter(t), setattr(p, "grad", p.grad * nan)][:1], 1.0, 2.0, True
    ),
    # schedules
    "schedule of a number": lambda t: t.optim.lr_scheduler.MultiStepLR(3, [1]),
    "schedule of a number too": lambda t: t.optim.lr_scheduler.OneCycleLR(3, 1.0, 10),
    "milestones": lambda t: t.optim.lr_scheduler.MultiStepLR(sgd(t), 3),
    "no total": lambda t: t.optim.lr_scheduler.OneCycleLR(sgd(t, momentum=0.9), 1.0),
    "total_steps": lambda t: t.optim.lr_scheduler.OneCycleLR(sgd(t, momentum=0.9), 1.0, 0),
    "total_steps, a float": lambda t: t.optim.lr_scheduler.OneCycleLR(
        sgd(t, momentum=0.9), 1.0, 2.5
    ),
    "pct_start": lambda t: t.optim.lr_scheduler.OneCycleLR(
        sgd(t, momentum=0.9), 1.0, 5, pct_start=1.5
    ),
    "anneal_strategy": lambda t: t.optim.lr_scheduler.OneCycleLR(
        sgd(t, momentum=0.9), 1.0, 5, anneal_strategy="exp"
    ),
    "max_lr, several": lambda t: t.optim.lr_scheduler.OneCycleLR(
        sgd(t, momentum=0.9), [1.0, 2.0], 5
    ),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
def test_what_pytorch_refuses_is_refused_so_that_its_programs_catch_it(call):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(torch)
    with pytest.raises(theirs.type) as ours:
        call(minicnn)
    assert str(ours.value).strip() and "\n" not in str(ours.value)


WORDS = [2.5, "2", None, np.float64(2), [2], (1.5, 2), nan, 1j]  # TypeErrors in PyTorch, mostly


@pytest.mark.parametrize("value", WORDS, ids=named)
@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("in_features", lambda nn, v: nn.Linear(v, 3)),
        ("out_features", lambda nn, v: nn.Linear(3, v)),
        ("in_channels", lambda nn, v: nn.Conv2d(v, 3, 3)),
        ("out_channels", lambda nn, v: nn.Conv2d(3, v, 3)),
        ("kernel_size", lambda nn, v: nn.Conv2d(3, 3, v)),
        ("kernel_size", lambda nn, v: nn.MaxPool2d(v)),
        ("kernel_size", lambda nn, v: nn.AvgPool2d(v)),
        ("dilation", lambda nn, v: nn.MaxPool2d(2, dilation=v)),
        ("groups", lambda nn, v: nn.Conv2d(3, 3, 3, groups=v)),
        ("start_dim", lambda nn, v: nn.Flatten(v)),
        ("ignore_index", lambda nn, v: nn.CrossEntropyLoss(ignore_index=v)),
    ],
)
def test_a_size_that_is_no_whole_number_is_refused_by_name(argument, call, value):
    with pytest.raises(RuntimeError, match=argument):
        call(minicnn.nn, value)


@pytest.mark.parametrize("value", ["1", None, [0.1], nan, 1j, object()], ids=named)
@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("p", lambda v: minicnn.nn.Dropout(v)),
        ("label_smoothing", lambda v: minicnn.nn.CrossEntropyLoss(label_smoothing=v)),
        ("a", lambda v: minicnn.nn.init.uniform_(minicnn.zeros(2), v, 1)),
        ("b", lambda v: minicnn.nn.init.uniform_(minicnn.zeros(2), 0, v)),
        ("mean", lambda v: minicnn.nn.init.normal_(minicnn.zeros(2), v)),
        ("std", lambda v: minicnn.nn.init.normal_(minicnn.zeros(2), 0, v)),
        ("gain", lambda v: minicnn.nn.init.xavier_normal_(minicnn.zeros(2, 2), v)),
        ("lr", lambda v: sgd(minicnn, lr=v)),
        ("momentum", lambda v: sgd(minicnn, momentum=v)),
        ("dampening", lambda v: sgd(minicnn, dampening=v)),
        ("weight_decay", lambda v: sgd(minicnn, weight_decay=v)),
        ("max_norm", lambda v: minicnn.nn.utils.clip_grad_norm_([parameter(minicnn)], v)),
    ],
)
def test_what_is_no_number_is_refused_by_name(argument, call, value):
    with pytest.raises(ValueError, match=f"{argument} must be a number"):
        call(value)
