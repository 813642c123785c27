"""The table of all operations and layers: how to draw examples of each.

A row is `@row(name, …)` over a function that draws an `Example`: input arrays, and a call that does
the same in minicnn and in PyTorch. Adding an operation is adding a row: `test_operations.py` makes
its tests from the rows, and fails if a public operation has none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st

import minicnn


class Library(NamedTuple):
    """Where a library keeps its things: minicnn's or PyTorch's."""

    top: Any
    F: Any
    nn: Any


MINI = Library(minicnn, minicnn.nn.functional, minicnn.nn)
TORCH = Library(torch, torch.nn.functional, torch.nn)


class Example(NamedTuple):
    """Float64 arrays, and call(library, *tensors) → tensor."""

    arrays: list[np.ndarray]
    call: Callable[..., Any]


class Row(NamedTuple):
    names: tuple[str, ...]  # the public names that this row stands for
    examples: st.SearchStrategy[Example]


ROWS: list[Row] = []
DRAWN: set[str] = set()  # what tells the examples drawn so far apart, in any process


def row(*names: str):
    """Enter a function draw → Example into the table."""

    def enter(function):
        number = len(ROWS)

        def noted(example):
            values = [(a.shape, a.strides, a.tobytes()) for a in example.arrays]
            cells = [cell.cell_contents for cell in example.call.__closure__ or ()]
            text = re.sub(" at 0x[0-9a-f]+", "", repr((number, cells, values)))
            DRAWN.add(hashlib.md5(text.encode()).hexdigest())
            return example

        ROWS.append(Row(names, st.composite(function)().map(noted)))
        return function

    return enter


# --- what examples are drawn from ----------------------------------------------------------------


def array(draw, shape, low=None):
    """Normal numbers, or numbers in [low, low + 2), in one of several memory layouts.

    Random numbers are distinct, so that maxima are unique; ties have tests of their own.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal(shape) if low is None else low + 2 * rng.random(shape)
    layout = draw(st.sampled_from(["contiguous", "channels-last", "strided", "reversed"]))
    if layout == "channels-last" and x.ndim == 4:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if layout == "strided" and x.ndim:
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]))
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "reversed" and x.ndim > 1:
        return np.ascontiguousarray(x.T).T
    return x


sizes = st.integers(1, 4)


@st.composite
def shapes(draw, least=0, most=4):
    return tuple(draw(st.lists(sizes, min_size=least, max_size=most)))


@st.composite
def broadcastable(draw):
    """Two shapes that broadcast together."""
    shape = draw(shapes())
    pair = []
    for _ in range(2):
        own = [1 if draw(st.booleans()) and draw(st.booleans()) else n for n in shape]
        pair.append(tuple(own[draw(st.integers(0, len(own))) if draw(st.booleans()) else 0 :]))
    return pair


def axes(draw, ndim):
    """None, one axis or several, counted from either end."""
    if not ndim or draw(st.booleans()):
        return None
    several = draw(st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True))
    chosen = [a - ndim if draw(st.booleans()) else a for a in several]
    return chosen[0] if len(chosen) == 1 else tuple(chosen)


def images(draw, channels=None, least=1):
    """The shape of an input: (N, C, H, W), N from 0 on, or without N."""
    c = draw(st.integers(1, 3)) if channels is None else channels
    h, w = draw(st.integers(least, 8)), draw(st.integers(least, 8))
    return (c, h, w) if draw(st.integers(0, 3)) == 0 else (draw(st.integers(0, 3)), c, h, w)


def one_or_two(draw, low, high):
    """An int, or a pair of them."""
    number = st.integers(low, high)
    return draw(st.one_of(number, st.tuples(number, number)))


def both(value):
    return (value, value) if isinstance(value, int) else value


# --- arithmetic ----------------------------------------------------------------------------------

BINARY = {
    "__add__": (lambda L, x, y: x + y, None),
    "__sub__": (lambda L, x, y: x - y, None),
    "__mul__": (lambda L, x, y: x * y, None),
    "__truediv__": (lambda L, x, y: x / y, 0.5),
    "__pow__": (lambda L, x, y: x**y, 0.5),
}
for _name, (_call, _low) in BINARY.items():

    @row(_name)
    def _binary(draw, call=_call, low=_low):
        return Example([array(draw, s, low) for s in draw(broadcastable())], call)


NAMED = {
    "add": lambda L, call, x, y: call(x, y, alpha=3),
    "sub": lambda L, call, x, y: call(x, y, alpha=-0.5),
    "mul": None,
    "div": None,
    "pow": None,
    "maximum": None,
    "minimum": None,
}
for _name, _spelled in NAMED.items():

    @row(_name, f"minicnn.{_name}")
    def _named_binary(draw, name=_name, spelled=_spelled):
        low = 0.5 if name in ("div", "pow") else None
        arrays = [array(draw, s, low) for s in draw(broadcastable())]
        how = spelled or (lambda L, call, x, y: call(x, y))
        calls = [
            lambda L, x, y: how(L, lambda x, *a, **o: getattr(x, name)(*a, **o), x, y),
            lambda L, x, y: how(L, getattr(L.top, name), x, y),
        ]
        return Example(arrays, draw(st.sampled_from(calls)))


REFLECTED = {
    "__radd__": lambda number: lambda L, x: number + x,
    "__rsub__": lambda number: lambda L, x: number - x,
    "__rmul__": lambda number: lambda L, x: number * x,
    "__rtruediv__": lambda number: lambda L, x: number / x,
    "__rpow__": lambda number: lambda L, x: (number + 3) ** x,
}
for _name, _make in REFLECTED.items():

    @row(_name)
    def _reflected(draw, make=_make):
        call = make(draw(st.sampled_from([2, -1.5, 0.25])))
        return Example([array(draw, draw(shapes()), 0.5)], call)


def spelled(name):
    """The call of a function of one tensor by any of its names."""
    return {
        f"__{name}__": lambda L, x: abs(x),
        name: lambda L, x: getattr(x, name)(),
        f"minicnn.{name}": lambda L, x: getattr(L.top, name)(x),
        f"functional.{name}": lambda L, x: getattr(L.F, name)(x),
    }


for _names, _low in {
    ("__abs__", "abs", "minicnn.abs"): None,
    ("exp", "minicnn.exp"): None,
    ("log", "minicnn.log"): 0.5,
    ("log1p", "minicnn.log1p"): -0.5,
    ("expm1", "minicnn.expm1"): None,
    ("sqrt", "minicnn.sqrt"): 0.5,
    ("relu", "functional.relu", "minicnn.relu"): None,
    ("sigmoid", "functional.sigmoid", "minicnn.sigmoid"): None,
    ("tanh", "functional.tanh", "minicnn.tanh"): None,
    ("sin", "minicnn.sin"): None,
    ("cos", "minicnn.cos"): None,
    ("sinh", "minicnn.sinh"): None,
    ("cosh", "minicnn.cosh"): None,
    ("square", "minicnn.square"): None,
    ("neg", "minicnn.neg"): None,
    ("round", "minicnn.round"): None,
    ("sign", "minicnn.sign"): None,
}.items():

    @row(*_names)
    def _function(draw, names=_names, low=_low):
        name = draw(st.sampled_from(names))
        call = spelled(name.strip("_").rpartition(".")[2])[name]
        return Example([array(draw, draw(shapes()), low)], call)


def replaced(x):
    """x, once it has become its own ReLU, beside what that returned."""
    return x.relu_() + x * x


UNARY = {
    ("__neg__",): (lambda L, x: -x, None),
    ("nn.ReLU",): (lambda L, x: L.nn.ReLU(inplace=False)(x), None),
    ("relu_",): (lambda L, x: replaced(x * 2), None),
    ("nn.Sigmoid",): (lambda L, x: L.nn.Sigmoid()(x), None),
    ("nn.Tanh",): (lambda L, x: L.nn.Tanh()(x), None),
    ("nn.LeakyReLU",): (lambda L, x: L.nn.LeakyReLU(0.2)(x), None),
    ("functional.leaky_relu",): (lambda L, x: L.F.leaky_relu(x, -0.5), None),
    ("nn.Identity",): (lambda L, x: L.nn.Identity(3, b=4)(x) * 2, None),
    ("type",): (lambda L, x: x.type(L.top.FloatTensor) * 0 + x.type(x.dtype) * x, None),
    ("clone", "contiguous"): (lambda L, x: x.clone() * x.contiguous(), None),
    ("to", "double", "cpu"): (lambda L, x: x.double().cpu().to(x) * x, None),
    ("float",): (lambda L, x: x.float() * 0 + x, None),
    ("minicnn.softmax",): (lambda L, x: L.top.softmax(x.flatten(), 0), None),
}
for _names, (_call, _low) in UNARY.items():

    @row(*_names)
    def _unary(draw, call=_call, low=_low):
        return Example([array(draw, draw(shapes()), low)], call)


@row("__pow__")
def _power_of_a_number(draw):
    exponent = draw(st.sampled_from([0, 1, 2, 3, -1, 0.5, 2.5]))
    return Example([array(draw, draw(shapes()), 0.5)], lambda L, x: x**exponent)


@row("__mul__")
def _used_twice(draw):
    return Example([array(draw, draw(shapes()))], lambda L, x: x * x + x.exp() * x)


@row("__matmul__", "matmul", "minicnn.matmul")
def _matmul(draw):
    n, k, m = draw(st.integers(0, 4)), draw(sizes), draw(sizes)
    stack = draw(st.sampled_from([(), (2,), (3, 2)]))
    left, right = draw(
        st.sampled_from(
            [
                ((n, k), (k, m)),
                ((k,), (k,)),
                ((n, k), (k,)),
                ((k,), (k, m)),
                ((*stack, n, k), (k, m)),
                ((*stack, n, k), (*stack, k, m)),
                ((n, k), (*stack, k, m)),
                ((*stack, n, k), (k,)),
                ((k,), (*stack, k, m)),
            ]
        )
    )
    calls = [lambda L, x, y: x @ y, lambda L, x, y: x.matmul(y), lambda L, x, y: L.top.matmul(x, y)]
    return Example([array(draw, left), array(draw, right)], draw(st.sampled_from(calls)))


PRODUCTS = {"mm": ("nk", "km"), "bmm": ("bnk", "bkm"), "mv": ("nk", "k"), "dot": ("k", "k")}
for _name, _shapes in PRODUCTS.items():

    @row(_name, f"minicnn.{_name}")
    def _product(draw, name=_name, letters=_shapes):
        length = {
            "n": draw(st.integers(0, 3)),
            "k": draw(sizes),
            "m": draw(sizes),
            "b": draw(sizes),
        }
        arrays = [array(draw, tuple(length[letter] for letter in shape)) for shape in letters]
        calls = [
            lambda L, x, y: getattr(x, name)(y),
            lambda L, x, y: getattr(L.top, name)(x, y),
        ]
        return Example(arrays, draw(st.sampled_from(calls)))


@row("clamp", "minicnn.clamp")
def _clamp(draw):
    least, most = draw(st.sampled_from([(-0.5, 1), (None, 0.25), (0, None), (1, -1)]))
    calls = [lambda L, x: x.clamp(least, most), lambda L, x: L.top.clamp(x, min=least, max=most)]
    return Example([array(draw, draw(shapes()))], draw(st.sampled_from(calls)))


@row("minicnn.where")
def _where(draw):
    left, right = draw(broadcastable())
    number = draw(st.booleans())

    def call(L, x, y):
        condition = (x.detach() + y.detach()) > 0
        return L.top.where(condition, x, 2.5) + y if number else L.top.where(condition, x, y)

    return Example([array(draw, left), array(draw, right)], call)


# --- reductions and shapes -----------------------------------------------------------------------


@row("sum", "minicnn.sum")
def _sum(draw):
    shape = draw(shapes())
    dim, keep = axes(draw, len(shape)), draw(st.booleans())
    if dim is None:
        calls = [lambda L, x: x.sum(), lambda L, x: L.top.sum(x)]
    else:
        calls = [
            lambda L, x: x.sum(dim, keepdim=keep),
            lambda L, x: L.top.sum(x, dim, keepdim=keep),
        ]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("mean", "minicnn.mean")
def _mean(draw):
    shape = draw(shapes())
    dim, keep = axes(draw, len(shape)), draw(st.booleans())
    if dim is None:
        return Example([array(draw, shape)], lambda L, x: x.mean())
    return Example([array(draw, shape)], lambda L, x: L.top.mean(x, dim, keepdim=keep))


@row("max", "minicnn.max")
def _max(draw):
    shape = draw(shapes(least=1))
    dim, keep = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.booleans())
    if draw(st.booleans()):
        return Example([array(draw, shape)], lambda L, x: x.max())
    return Example([array(draw, shape)], lambda L, x: L.top.max(x, dim, keepdim=keep)[0])


@row("min", "minicnn.min")
def _min(draw):
    shape = draw(shapes(least=1))
    dim, keep = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.booleans())
    calls = [
        lambda L, x: x.min(),
        lambda L, x: L.top.min(x, axis=dim, keepdims=keep)[0],
        lambda L, x: L.top.min(x, x * 0) + x.max(other=x + 1),
    ]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("var", "std", "norm", "minicnn.var", "minicnn.std", "minicnn.norm")
def _spread(draw):
    shape = (draw(st.integers(2, 4)), draw(st.integers(2, 4)), *draw(shapes(most=1)))
    name, top = draw(st.sampled_from(["var", "std", "norm"])), draw(st.booleans())
    options = {"dim": axes(draw, len(shape)), "keepdim": draw(st.booleans())}
    if name == "norm":
        options["p"] = draw(st.sampled_from([1, 2, "fro"]))
        if options["p"] == 1 and options["dim"] is None:
            options["keepdim"] = False
    else:
        options["correction"] = draw(st.sampled_from([0, 1]))

    def call(L, x):
        return getattr(L.top, name)(x, **options) if top else getattr(x, name)(**options)

    return Example([array(draw, shape)], call)


@row("cumsum", "minicnn.cumsum")
def _cumsum(draw):
    shape = draw(shapes())
    dim = draw(st.integers(-len(shape), max(len(shape) - 1, 0))) if shape else 0
    calls = [lambda L, x: x.cumsum(dim), lambda L, x: L.top.cumsum(x, axis=dim)]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("sort", "topk", "minicnn.sort", "minicnn.topk")
def _sorted(draw):
    shape = draw(shapes(least=1))
    dim, down = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.booleans())
    k = draw(st.integers(1, shape[dim]))
    calls = [
        lambda L, x: x.sort(dim, descending=down)[0],
        lambda L, x: L.top.sort(x, dim).values,
        lambda L, x: L.top.topk(x, k, dim, largest=down)[0],
        lambda L, x: x.topk(k, dim=dim).values,
    ]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("split", "chunk", "minicnn.split", "minicnn.chunk")
def _in_parts(draw):
    shape = draw(shapes(least=1))
    dim, size = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.integers(1, 4))
    rest = shape[dim] - min(size, shape[dim])
    calls = [
        lambda L, x: x.split(size, dim)[-1] * 2,
        lambda L, x: L.top.split(x, [rest, shape[dim] - rest], dim)[1] * 2,
        lambda L, x: x.chunk(size, dim=dim)[0] * 2,
        lambda L, x: L.top.chunk(x, size, dim)[-1] * 2,
    ]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("repeat")
def _repeated(draw):
    shape = draw(shapes(least=1, most=3))
    counts = draw(st.lists(st.integers(1, 3), min_size=len(shape), max_size=4))
    return Example([array(draw, shape)], lambda L, x: x.repeat(*counts) * 2)


@row("swapaxes", "minicnn.swapaxes")
def _swapaxes(draw):
    shape = draw(shapes(least=2, most=3))
    calls = [lambda L, x: x.swapaxes(0, -1) * 2, lambda L, x: L.top.swapaxes(x, 0, 1) * 2]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("minicnn.meshgrid")
def _meshgrid(draw):
    x, y, number = array(draw, (draw(sizes),)), array(draw, (draw(sizes),)), draw(st.integers(0, 1))
    how = draw(st.sampled_from(["ij", "xy"]))
    return Example([x, y], lambda L, x, y: L.top.meshgrid(x, y, indexing=how)[number] * 2)


@row("view_as", "reshape_as", "expand", "expand_as")
def _to_another_shape(draw):
    shape = draw(shapes(least=1))
    wide = (draw(sizes), *(n if n > 1 else draw(sizes) for n in shape))
    target = draw(st.permutations(shape))
    calls = [
        lambda L, x: x.reshape_as(L.top.ones(*target)) * 2,
        lambda L, x: (x * 1).view_as(x.detach()) * 2,
        lambda L, x: x.expand(*wide) * 2,
        lambda L, x: x.expand(-1, *[-1] * (len(shape) - 1)) * 2,
        lambda L, x: x.expand_as(L.top.ones(wide)) * 2,
    ]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("index_select", "gather", "minicnn.index_select", "minicnn.gather")
def _at_places(draw):
    shape = draw(shapes(least=1))
    dim, seed = draw(st.integers(0, len(shape) - 1)), draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    one = rng.integers(0, shape[dim], draw(sizes))
    longer = [draw(st.integers(1, n)) for n in shape]
    longer[dim] = draw(sizes)
    many = rng.integers(0, shape[dim], longer)
    calls = [
        lambda L, x: x.index_select(dim - len(shape), L.top.tensor(one)),
        lambda L, x: L.top.index_select(x, dim, L.top.tensor(one)),
        lambda L, x: x.gather(dim - len(shape), L.top.tensor(many)),
        lambda L, x: L.top.gather(x, dim, L.top.tensor(many)),
    ]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("reshape", "view", "minicnn.reshape")
def _reshape(draw):
    shape = draw(shapes(least=1))
    target = draw(st.permutations([*shape, 1]))
    if draw(st.booleans()):
        target = [-1]
    calls = [lambda L, x: x.reshape(*target), lambda L, x: L.top.reshape(x, target)]
    x = array(draw, shape)
    if x.flags.c_contiguous:
        calls.append(lambda L, x: x.view(*target))
    return Example([x], draw(st.sampled_from(calls)))


@row("flatten", "functional.flatten", "minicnn.flatten", "nn.Flatten")
def _flatten(draw):
    shape = draw(shapes(least=1))
    start = draw(st.integers(0, len(shape) - 1))
    end = draw(st.integers(start, len(shape) - 1))
    how = draw(st.sampled_from(["method", "function", "layer"]))
    calls = {
        "method": lambda L, x: x.flatten(start, end),
        "function": lambda L, x: L.top.flatten(x, start, end - len(shape)),
        "layer": lambda L, x: L.nn.Flatten(start, end)(x),
    }
    return Example([array(draw, shape)], calls[how])


@row("squeeze", "unsqueeze", "minicnn.squeeze", "minicnn.unsqueeze")
def _squeeze(draw):
    shape = draw(shapes(least=1))
    dim, new = draw(st.integers(0, len(shape) - 1)), draw(st.integers(-len(shape), len(shape)))
    if draw(st.booleans()):
        return Example([array(draw, shape)], lambda L, x: x.squeeze() * 2)
    if draw(st.booleans()):
        return Example(
            [array(draw, shape)],
            lambda L, x: L.top.unsqueeze(L.top.squeeze(x), 0) * 2,
        )
    return Example(
        [array(draw, shape)],
        lambda L, x: (x.squeeze(dim) * 2).reshape(-1) + x.unsqueeze(new).reshape(-1),
    )


@row("permute", "transpose", "t", "T", "minicnn.permute", "minicnn.transpose", "minicnn.t")
def _permute(draw):
    shape = draw(shapes(least=2))
    order = draw(st.permutations(range(len(shape))))
    a, b = draw(st.integers(0, len(shape) - 1)), draw(st.integers(-len(shape), -1))
    if len(shape) == 2 and draw(st.booleans()):
        return Example([array(draw, shape)], lambda L, x: x.t() * x.T * L.top.t(x))
    if draw(st.booleans()):
        return Example(
            [array(draw, shape)],
            lambda L, x: L.top.transpose(L.top.permute(x, order), a, b),
        )
    return Example([array(draw, shape)], lambda L, x: x.permute(*order).transpose(a, b))


INDICES = [
    lambda L: 1,
    lambda L: -1,
    lambda L: slice(1, None),
    lambda L: (slice(None), 0),
    lambda L: (Ellipsis, slice(None, None, 2)),
    lambda L: (None, slice(0, 2)),
    lambda L: [0, 2, 0, 0],
    lambda L: (L.top.tensor([0, 2, 0]), L.top.tensor([1, 1, 1])),
    lambda L: (slice(None), L.top.tensor([0, 0])),
    lambda L: L.top.tensor([True, False, True]),
]


@row("__getitem__", "__iter__")
def _getitem(draw):
    index = draw(st.sampled_from(INDICES))
    shape = (3, draw(st.integers(2, 4)), *draw(shapes(most=1)))
    calls = [lambda L, x: x[index(L)] * 1, lambda L, x: next(iter(x)) * 2]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


@row("minicnn.cat")
def _cat(draw):
    shape = draw(shapes(least=1))
    dim = draw(st.integers(0, len(shape) - 1))
    arrays = []
    for _ in range(draw(st.integers(1, 3))):
        own = list(shape)
        own[dim] = draw(sizes)
        arrays.append(array(draw, tuple(own)))
    return Example(arrays, lambda L, *xs: L.top.cat(xs, dim))


@row("minicnn.stack")
def _stack(draw):
    shape = draw(shapes())
    dim = draw(st.integers(-len(shape) - 1, len(shape)))
    arrays = [array(draw, shape) for _ in range(draw(st.integers(1, 3)))]
    return Example(arrays, lambda L, *xs: L.top.stack(xs, dim))


# --- layers --------------------------------------------------------------------------------------


def layer(make):
    """call(L, x, *parameters) of a layer whose parameters are the further inputs."""

    def call(L, x, *parameters):
        module = make(L)
        names = [name for name, _ in module.named_parameters()]
        if L is TORCH:
            values = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(module, values, (x,))
        for name, value in zip(names, parameters, strict=True):
            path, _, own = name.rpartition(".")
            owner = dict(module.named_modules())[path]
            delattr(owner, own)
            setattr(owner, own, value)
        return module(x)

    return call


@row("functional.linear", "nn.Linear")
def _linear(draw):
    k, m, bias = draw(sizes), draw(sizes), draw(st.booleans())
    shape = (*draw(st.sampled_from([(), (0,), (3,), (2, 3)])), k)
    arrays = [array(draw, shape), array(draw, (m, k))] + [array(draw, (m,))] * bias
    if draw(st.booleans()):
        return Example(arrays, layer(lambda L: L.nn.Linear(k, m, bias=bias)))
    return Example(arrays, lambda L, x, w, b=None: L.F.linear(x, w, b))


@row("functional.conv2d", "nn.Conv2d")
def _conv2d(draw):
    shape = images(draw)
    c, h, w = shape[-3:]
    o, bias = draw(st.integers(1, 3)), draw(st.booleans())
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride, dilation = one_or_two(draw, 1, 3), one_or_two(draw, 1, 2)
    padding = draw(st.sampled_from(["same", "valid", "numbers"]))
    if padding == "same":
        stride = 1
    elif padding == "numbers":
        padding = one_or_two(draw, 0, 3)
    around = both(padding) if not isinstance(padding, str) else (0, 0)
    if padding != "same":  # the kernel must fit
        kernel = tuple(
            max(1, min(k, (n + 2 * p - 1) // d + 1))
            for k, n, p, d in zip(kernel, (h, w), around, both(dilation), strict=True)
        )
    arrays = [array(draw, shape), array(draw, (o, c, *kernel))] + [array(draw, (o,))] * bias
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    if draw(st.booleans()):
        return Example(arrays, layer(lambda L: L.nn.Conv2d(c, o, kernel, bias=bias, **options)))
    return Example(arrays, lambda L, x, w, b=None: L.F.conv2d(x, w, b, **options))


@row("nn.Sequential")
def _sequential(draw):
    size = (draw(st.integers(1, 2)), 2, 7, draw(st.integers(5, 9)))
    o, k = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3]))
    arrays = [array(draw, size), array(draw, (o, 2, k, k))]

    def build(L):
        return L.nn.Sequential(L.nn.Conv2d(2, o, k, bias=False), L.nn.ReLU())

    return Example(arrays, layer(build))


def window(draw, shape, dilation=(1, 1)):
    """kernel_size, stride and padding of a pooling that fits the shape."""
    kernel, padding = [], []
    for n, d in zip(shape[-2:], dilation, strict=True):
        k = draw(st.integers(1, max(1, min(4, (n - 1) // d + 1))))
        kernel.append(k)
        padding.append(draw(st.integers(0, k // 2)))
    stride = draw(st.one_of(st.none(), st.just(one_or_two(draw, 1, 4))))
    return tuple(kernel), stride, tuple(padding)


@row("functional.max_pool2d", "nn.MaxPool2d")
def _max_pool2d(draw):
    shape, dilation = images(draw), (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    args = (*window(draw, shape, dilation), dilation)
    ceil = draw(st.booleans())
    if draw(st.booleans()):
        call = lambda L, x: L.nn.MaxPool2d(*args, ceil_mode=ceil)(x)  # noqa: E731
    else:
        call = lambda L, x: L.F.max_pool2d(x, *args, ceil_mode=ceil)  # noqa: E731
    return Example([array(draw, shape)], call)


@row("functional.avg_pool2d", "nn.AvgPool2d")
def _avg_pool2d(draw):
    shape = images(draw)
    divisor = draw(st.sampled_from([None, None, 3, -2]))
    args = (*window(draw, shape), draw(st.booleans()), draw(st.booleans()), divisor)
    if draw(st.booleans()):
        return Example([array(draw, shape)], lambda L, x: L.nn.AvgPool2d(*args)(x))
    return Example([array(draw, shape)], lambda L, x: L.F.avg_pool2d(x, *args))


@row("functional.adaptive_avg_pool2d", "nn.AdaptiveAvgPool2d")
def _adaptive_avg_pool2d(draw):
    size = st.one_of(st.none(), st.integers(1, 9))
    target = draw(st.one_of(st.integers(1, 5), st.tuples(size, size)))
    if draw(st.booleans()):
        call = lambda L, x: L.nn.AdaptiveAvgPool2d(target)(x)  # noqa: E731
    else:
        call = lambda L, x: L.F.adaptive_avg_pool2d(x, target)  # noqa: E731
    return Example([array(draw, images(draw))], call)


@row("functional.dropout2d", "nn.Dropout2d")
def _dropout2d(draw):
    p, training = draw(st.sampled_from([(0.0, True), (1.0, True), (0.3, False)]))
    if draw(st.booleans()):
        call = lambda L, x: L.nn.Dropout2d(p).train(training)(x) * 2  # noqa: E731
    else:
        call = lambda L, x: L.F.dropout2d(x, p, training) * 2  # noqa: E731
    shape = images(draw)
    return Example([array(draw, shape if len(shape) == 4 else (2, *shape))], call)


@row("functional.dropout", "nn.Dropout")
def _dropout(draw):
    """Where nothing is random; masks have tests of their own."""
    p, training = draw(st.sampled_from([(0.0, True), (1.0, True), (0.3, False)]))
    if draw(st.booleans()):
        call = lambda L, x: L.nn.Dropout(p).train(training)(x) * 2  # noqa: E731
    else:
        call = lambda L, x: L.F.dropout(x, p, training) * 2  # noqa: E731
    return Example([array(draw, draw(shapes()))], call)


@row(
    "functional.softmax",
    "functional.log_softmax",
    "nn.Softmax",
    "nn.LogSoftmax",
    "minicnn.log_softmax",
)
def _softmax(draw):
    shape = draw(shapes(least=1))
    dim, scale = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.sampled_from([1, 50]))
    calls = [
        lambda L, x: L.F.softmax(x * scale, dim),
        lambda L, x: L.nn.Softmax(dim)(x * scale),
        lambda L, x: L.F.log_softmax(x * scale, dim),
        lambda L, x: L.top.log_softmax(x * scale, dim),
        lambda L, x: L.nn.LogSoftmax(dim)(x * scale),
    ]
    return Example([array(draw, shape)], draw(st.sampled_from(calls)))


def loss_options(draw, classes, probabilities=False):
    """Logits' shape, indices for them, and the options that all losses have."""
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    weights = draw(st.booleans())
    w = 0.5 + np.random.default_rng(draw(st.integers(0, 99))).random(classes)
    shape = draw(st.sampled_from([(), (1,), (4,), (3, 2), (2, 2, 3)]))
    logits = (classes,) if not shape else (shape[0], classes, *shape[1:])
    labels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, classes, shape)
    ignore = draw(st.sampled_from([-100, 1])) if shape and not probabilities else -100
    if ignore == 1 and labels.size:
        labels.flat[0] = 0  # at least one that counts

    def options(L, x):
        given = {"reduction": reduction}
        if weights:
            given["weight"] = L.top.tensor(w, dtype=x.dtype)
        if not probabilities:
            given["ignore_index"] = ignore
        return given

    return logits, labels, options


NUMBERS = {
    "mse_loss": "MSELoss",
    "l1_loss": "L1Loss",
    "smooth_l1_loss": "SmoothL1Loss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}
for _name, _layer in NUMBERS.items():

    @row(f"functional.{_name}", f"nn.{_layer}")
    def _loss_of_numbers(draw, name=_name, layer=_layer):
        shape, as_layer = draw(shapes()), draw(st.booleans())
        options = {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}
        weights = np.random.default_rng(0).random(shape)
        weighted = name.startswith("binary") and draw(st.booleans())
        if name == "smooth_l1_loss":
            options["beta"] = draw(st.sampled_from([0, 0.5, 1.0]))
        x, y = array(draw, shape), array(draw, shape)
        if name.startswith("binary"):
            y = 1 / (1 + np.exp(1 - y / 2))  # not x, where the gradient is 0

        def call(L, x, y):
            given = dict(options)
            if weighted:
                given["weight"] = L.top.tensor(weights, dtype=x.dtype)
                if name.endswith("logits"):
                    given["pos_weight"] = L.top.tensor(2.5, dtype=x.dtype)
            x = L.top.sigmoid(x) if name == "binary_cross_entropy" else x
            loss = getattr(L.nn, layer)(**given) if as_layer else getattr(L.F, name)
            return loss(x, y) if as_layer else loss(x, y, **given)

        return Example([x, y], call)


@row("functional.nll_loss", "nn.NLLLoss")
def _nll_loss(draw):
    logits, labels, options = loss_options(draw, draw(st.integers(2, 4)))
    as_layer = draw(st.booleans())

    def call(L, x):
        if as_layer:
            return L.nn.NLLLoss(**options(L, x))(x, L.top.tensor(labels))
        return L.F.nll_loss(x, L.top.tensor(labels), **options(L, x))

    return Example([array(draw, logits)], call)


@row("functional.cross_entropy", "nn.CrossEntropyLoss")
def _cross_entropy(draw):
    logits, labels, options = loss_options(draw, draw(st.integers(2, 4)))
    smoothing = draw(st.sampled_from([0.0, 0.1, 1.0]))
    as_layer = draw(st.booleans())

    def call(L, x):
        given = {**options(L, x), "label_smoothing": smoothing}
        if as_layer:
            return L.nn.CrossEntropyLoss(**given)(x, L.top.tensor(labels))
        return L.F.cross_entropy(x, L.top.tensor(labels), **given)

    return Example([array(draw, logits)], call)


@row("functional.cross_entropy")
def _cross_entropy_of_probabilities(draw):
    logits, _, options = loss_options(draw, draw(st.integers(2, 4)), probabilities=True)
    smoothing = draw(st.sampled_from([0.0, 0.1]))

    def call(L, x, q):
        return L.F.cross_entropy(x, q, label_smoothing=smoothing, **options(L, x))

    return Example([array(draw, logits), array(draw, logits, 0.1)], call)
