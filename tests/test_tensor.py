"""Tensors as objects: views and copies, places in memory, degenerate shapes, copying, errors."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import methods, nn, versions
from minicnn.nn import functional as F

from .arrays import array

# --- what is a view in PyTorch is one here, or can't be written into -----------------------------

VIEWS = {
    "x[1]": lambda L, x: x[1],
    "x[tensor(1)]": lambda L, x: x[L.tensor(1)],
    "x[np.int64(1)]": lambda L, x: x[np.int64(1)],
    "x[-1, 1:]": lambda L, x: x[-1, 1:],
    "x[tensor(0), :, 1]": lambda L, x: x[L.tensor(0), :, 1],
    "x[..., None]": lambda L, x: x[..., None],
    "view": lambda L, x: x.view(-1),
    "reshape": lambda L, x: x.reshape(3, -1),
    "flatten": lambda L, x: x.flatten(1),
    "squeeze": lambda L, x: x[:, :1].squeeze(1),
    "unsqueeze": lambda L, x: x.unsqueeze(0),
    "transpose": lambda L, x: x.transpose(0, 1),
    "permute": lambda L, x: x.permute(2, 0, 1, 3),
    "detach": lambda L, x: x.detach(),
    "data": lambda L, x: x.data,
    "contiguous": lambda L, x: x.contiguous(),
    "float": lambda L, x: x.float(),
    "cpu": lambda L, x: x.cpu(),
    "data.view": lambda L, x: x.data.view(-1),
    "view.data": lambda L, x: x.view(-1).data,
}
COPIES = {
    "clone": lambda L, x: x.clone(),
    "x[[1]]": lambda L, x: x[[1]],
    "x[mask]": lambda L, x: x[x > 0],
    "x[tensor([1])]": lambda L, x: x[L.tensor([1])],
    "t().contiguous()": lambda L, x: x.transpose(0, 1).contiguous(),
    "permute, contiguous": lambda L, x: x.permute(0, 3, 1, 2).contiguous(),
    "from_numpy, contiguous": lambda L, x: L.from_numpy(
        x.numpy().transpose(0, 3, 1, 2)
    ).contiguous(),
    "transpose, reshape": lambda L, x: x.transpose(0, 1).reshape(-1),
    "tensor": lambda L, x: L.tensor(x.tolist()),
    "double": lambda L, x: x.double(),
    "cat": lambda L, x: L.cat([x]),
    "stack": lambda L, x: L.stack([x]),
    "x + 0": lambda L, x: x + 0,
}
START = np.random.default_rng(0).standard_normal((3, 2, 4, 2)).astype("float32")


def written_through(L, make, start):
    """What is left of x after its view, or copy, was filled with 7."""
    with L.no_grad():
        make(L, start).fill_(7)
    return array(start)


def starts(layout):
    ours = minicnn.tensor(START)
    if layout == "channels last":
        ours = nn.Parameter(nn.Conv2d(2, 3, (4, 2)).weight.detach()).detach()
        ours.copy_(minicnn.tensor(START))
    return ours, torch.tensor(START)


@pytest.mark.cpu
@pytest.mark.parametrize("layout", ["row by row", "channels last"])
@pytest.mark.parametrize("name", [*VIEWS, *COPIES])
def test_writing_into_a_result_reaches_what_it_reaches_in_pytorch(name, layout):
    make = {**VIEWS, **COPIES}[name]
    ours, theirs = starts(layout)
    want = written_through(torch, make, theirs)
    try:
        got = written_through(minicnn, make, ours)
    except RuntimeError as error:
        assert layout == "channels last" and "this tensor is a copy" in str(error)  # noqa: PT017
        np.testing.assert_array_equal(array(ours), START)
        return
    np.testing.assert_array_equal(got, want)


def test_a_weight_flattened_can_be_read_and_not_written_into():
    weight = nn.Conv2d(2, 3, 3).weight
    flat = weight.data.view(-1)
    np.testing.assert_array_equal(array(flat), array(weight).reshape(-1))
    for write in (lambda: flat.zero_(), lambda: flat.__setitem__(0, 1), lambda: flat.copy_(flat)):
        with pytest.raises(RuntimeError, match="this tensor is a copy"):
            write()


# --- changes in place ----------------------------------------------------------------------------


def leaf(*values):
    return minicnn.tensor(list(values), requires_grad=True)


def test_a_step_written_by_hand_changes_the_parameter_itself():
    p = leaf(1.0, 2.0)
    memory = p.array
    (p * p).sum().backward()
    with minicnn.no_grad():
        p -= 0.5 * p.grad
    assert p.array is memory
    assert p.tolist() == [0, 0]


IN_PLACE = {
    "+=": lambda x: x.__iadd__(1),
    "-=": lambda x: x.__isub__(1),
    "*=": lambda x: x.__imul__(2),
    "/=": lambda x: x.__itruediv__(2),
    "[…] =": lambda x: x.__setitem__(0, 1),
    "fill_": lambda x: x.fill_(1),
    "copy_": lambda x: x.copy_(minicnn.zeros(2)),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_changes_of_a_leaf_that_requires_grad_are_refused(name):
    with pytest.raises(RuntimeError, match="can't be changed in place"):
        IN_PLACE[name](leaf(1.0, 2.0))


@pytest.mark.parametrize("name", ["fill_", "copy_"])
def test_a_result_is_not_filled(name):
    with pytest.raises(RuntimeError, match="can't be changed in place"):
        IN_PLACE[name](leaf(1.0, 2.0) * 2)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_changes_equal_pytorchs(name):
    x, t = minicnn.tensor([3.0, 5.0]), torch.tensor([3.0, 5.0])
    IN_PLACE[name](x)
    if name == "copy_":
        t.copy_(torch.zeros(2))
    else:
        IN_PLACE[name](t)
    assert x.tolist() == t.tolist()


def test_a_result_that_does_not_fit_in_place_is_refused():
    x = minicnn.tensor([1, 2])
    with pytest.raises(RuntimeError, match="float32 result does not fit into int64"):
        x += 0.5
    with pytest.raises(RuntimeError, match=r"\(3, 2\) does not fit into \(2,\)"):
        x += minicnn.zeros(3, 2).long()


# --- shapes without elements, tensors without axes -----------------------------------------------

DEGENERATE = {
    "argmax(0) of a number": lambda L, F: L.tensor(3.0).argmax(0),
    "argmax(-1) of a number": lambda L, F: L.tensor(3.0).argmax(-1),
    "max(0) of a number": lambda L, F: L.tensor(3.0).max(0)[0],
    "sum(0) of a number": lambda L, F: L.tensor(3.0).sum(0),
    "sum(()) of a matrix": lambda L, F: L.ones(2, 3).sum(()),
    "mean of nothing": lambda L, F: L.zeros(0).mean(),
    "sum over nothing": lambda L, F: L.zeros(2, 0).sum(1),
    "softmax over no classes": lambda L, F: F.softmax(L.zeros(2, 0), 1),
    "log_softmax over no classes": lambda L, F: F.log_softmax(L.zeros(2, 0), 1),
    "softmax of no images": lambda L, F: F.softmax(L.zeros(0, 3), 1),
    "softmax of a number": lambda L, F: F.softmax(L.tensor(3.0), 0),
    "log_softmax of a number": lambda L, F: F.log_softmax(L.tensor(3.0), -1),
    "max of nothing": lambda L, F: L.zeros(0).max(),
    "argmax of nothing": lambda L, F: L.zeros(2, 0).argmax(1),
    "argmax of no rows": lambda L, F: L.zeros(0, 2).argmax(1),
    "max along nothing": lambda L, F: L.zeros(2, 0).max(1)[0],
    "a product with no columns": lambda L, F: L.ones(2, 0) @ L.ones(0, 3),
    "cross-entropy of no images": lambda L, F: F.cross_entropy(L.zeros(0, 3), L.zeros(0).long()),
    "flatten of a number": lambda L, F: L.tensor(3.0).flatten(),
    "a slice of nothing": lambda L, F: L.zeros(0, 3)[:, 1:],
    "a dim that is named twice": lambda L, F: L.ones(2, 3).sum((0, 0)),
    "a dim beyond": lambda L, F: L.ones(2, 3).sum(2),
    "t() of three axes": lambda L, F: L.ones(2, 3, 4).t(),
    "minus of bools": lambda L, F: -(L.ones(2) > 0),
    "bools minus bools": lambda L, F: (L.ones(2) > 0) - (L.ones(2) > 0),
    "a mean of whole numbers": lambda L, F: L.tensor([1, 2]).mean(),
    "copy_ of another shape": lambda L, F: L.zeros(2).copy_(L.zeros(3)),
    "fill_ with a vector": lambda L, F: L.zeros(2).fill_(L.zeros(2)),
    "fill_ with a tensor's number": lambda L, F: L.zeros(2).fill_(L.tensor(3.0)),
    "fill_ beyond the type": lambda L, F: L.zeros(2, dtype=L.uint8).fill_(256),
    "view that does not fit": lambda L, F: L.zeros(2).view(3),
    "item of two": lambda L, F: L.zeros(2).item(),
    "a truth value of two": lambda L, F: L.tensor(float(bool(L.zeros(2)))),
    "gather of a number": lambda L, F: L.tensor(3.0).gather(0, L.tensor(0)),
    "gather by bytes": lambda L, F: L.ones(3).gather(0, L.tensor([1, 0, 1], dtype=L.uint8)),
    "index_select by a number": lambda L, F: L.arange(3).index_select(0, L.tensor(1)),
    "index_select by a mask": lambda L, F: L.ones(2).index_select(0, L.tensor([True, False])),
    "index_select by a matrix": lambda L, F: L.ones(3).index_select(0, L.tensor([[1]])),
    "scatter_ of more": lambda L, F: L.ones(3).scatter_(0, L.tensor([1]), L.tensor([7.0, 8.0])),
    "scatter_ of fewer": lambda L, F: L.ones(3).scatter_(0, L.tensor([1, 2]), L.tensor([7.0])),
    "scatter_ of nothing": lambda L, F: L.ones(3).scatter_(0, L.tensor([1, 2])),
    "sum in int32": lambda L, F: L.tensor([1.7, 1.7]).sum(dtype=L.int32),
    "cumsum in uint8": lambda L, F: L.tensor([200, 100]).cumsum(0, dtype=L.uint8),
    "where with -1 and bytes": lambda L, F: L.where(
        L.tensor([True, False]), L.tensor([1, 2], dtype=L.uint8), -1
    ),
    "allclose of shapes": lambda L, F: L.tensor(L.allclose(L.ones(2), L.ones(3))),
    "None in ==": lambda L, F: L.tensor(1 if L.zeros(2) == None else 0),  # noqa: E711
    "a text in ==": lambda L, F: L.tensor(1 if L.zeros(2) == "same" else 0),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_cases_are_pytorchs(name):
    def outcome(L, functional):
        try:
            t = DEGENERATE[name](L, functional)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            return error
        return tuple(t.shape), str(t.dtype).removeprefix("torch."), array(t)

    ours, theirs = outcome(minicnn, F), outcome(torch, torch.nn.functional)
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), (ours, theirs)
        assert len(str(ours).splitlines()) == 1
    else:
        assert not isinstance(ours, Exception), ours
        assert ours[:2] == theirs[:2]
        np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-6)


@pytest.mark.cpu
@pytest.mark.parametrize("place", [0, slice(1, 3), [0, 1]], ids=str)
def test_axes_of_length_1_in_front_of_what_is_assigned_get_their_gradient(place):
    def sent(L):
        x, w = L.ones(4, 3, requires_grad=True) * 2, L.ones(1, 1, 3, requires_grad=True)
        x[place] = w * 3
        (x * x).sum().backward()
        return array(w.grad)

    np.testing.assert_array_equal(sent(minicnn), sent(torch))


@pytest.mark.cpu
@pytest.mark.parametrize("place", [-1, 3])
@pytest.mark.parametrize("name", ["gather", "index_select", "scatter_"])
def test_a_place_that_there_is_not_is_refused_as_in_pytorch(name, place):
    for L in (minicnn, torch):
        more = [7.0] if name == "scatter_" else []
        with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
            getattr(L.ones(3), name)(0, L.tensor([place]), *more)


def test_bools_are_not_rounded():
    with pytest.raises(RuntimeError, match="round: of bools is not supported"):
        minicnn.tensor([True]).round()


# --- what indexing sends back --------------------------------------------------------------------

index = st.one_of(
    st.integers(-3, 2),
    st.integers(-3, 2).map(np.int64),
    st.just(None),
    st.just(...),
    st.builds(slice, st.integers(-4, 4), st.integers(-4, 4), st.sampled_from([None, 1, 2])),
    st.lists(st.integers(-3, 2), min_size=1, max_size=4),
    st.lists(st.integers(-3, 2), min_size=2, max_size=2).map(lambda i: ("tensor", i)),
    st.lists(st.booleans(), min_size=3, max_size=3).map(lambda i: ("tensor", i)),
    st.integers(-3, 2).map(lambda i: ("tensor", i)),
)
CUBE = np.arange(27.0).reshape(3, 3, 3)


def of(L, index):
    """The index in a library; ("tensor", …) stands for one of its tensors."""
    parts = (L.tensor(part[1]) if isinstance(part, tuple) else part for part in index)
    return tuple(parts)


@given(st.lists(index, min_size=1, max_size=4).map(tuple))
def test_an_index_takes_what_it_takes_in_pytorch_and_sends_it_back(index):
    def outcome(L):
        x = L.tensor(CUBE, requires_grad=True)
        try:
            y = x[of(L, index)]
        except (IndexError, RuntimeError):
            return None
        (y * y).sum().backward()
        return array(y), array(x.grad)

    ours, theirs = outcome(minicnn), outcome(torch)
    if theirs is None or index.count(...) > 1:
        assert ours is None
        return
    assert ours is not None
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(got, want)


@given(st.lists(index, min_size=1, max_size=3).map(tuple), st.booleans())
def test_an_index_is_written_where_it_is_written_in_pytorch(index, number):
    def outcome(L):
        x = L.tensor(CUBE)
        try:
            shape = tuple(x[of(L, index)].shape)
            new = np.arange(100.0, 100 + np.prod(shape)).reshape(shape)
            x[of(L, index)] = 7.0 if number else L.tensor(new)
        except (IndexError, RuntimeError):
            return None
        return array(x)

    ours, theirs = outcome(minicnn), outcome(torch)
    if theirs is None or index.count(...) > 1:
        assert ours is None
    elif any(isinstance(i, (list, tuple)) for i in index) and not number:
        assert ours.shape == theirs.shape  # a place that is named twice takes either value
    else:
        np.testing.assert_array_equal(ours, theirs)


def test_dots_that_stand_for_no_axis_separate_nothing():
    x = minicnn.arange(8).reshape(2, 2, 2)
    assert x[:, minicnn.tensor([0, 1, 1]), ..., [0]].shape == (2, 3)


def test_numbers_beside_an_index_array_are_taken_first():
    x = minicnn.arange(9).reshape(1, 3, 3)
    assert x[0, :, minicnn.tensor([0, 1, 2])].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    x = minicnn.zeros(2, 3, 4)
    assert x[0, :, [0, 1]].shape == (3, 2)
    assert x[0, None, [0, 1]].shape == (1, 2, 4)


ELEMENTS = {
    "x[1]": lambda x: x[1].fill_(5),
    "x[-2]": lambda x: x[-2].copy_(x[0] + 5),
    "unpacked": lambda x: list(x)[1].fill_(5),
    "x.data[1]": lambda x: x.data[1].fill_(5),
    "in place": lambda x: x[1].__iadd__(3),
}


@pytest.mark.parametrize("way", ELEMENTS)
def test_a_single_element_is_a_view_too(way):
    ours, theirs = minicnn.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])
    ELEMENTS[way](ours)
    ELEMENTS[way](theirs)
    assert ours.tolist() == theirs.tolist() != [0, 1, 2]


ASSIGNED = {
    "nothing": lambda L, x: x.__setitem__(0, None),
    "a text": lambda L, x: x.__setitem__(0, "7"),
    "a list": lambda L, x: x.__setitem__(0, [7.0]),
    "a vector into a place": lambda L, x: x.__setitem__(0, L.tensor([7.0, 8.0])),
    "one in brackets": lambda L, x: x.__setitem__(0, L.tensor([7.0])),
    "one in two brackets": lambda L, x: x.__setitem__(slice(1, 2), L.tensor([[7.0]])),
    "too large": lambda L, x: x.__setitem__(0, 1e40),
    "infinity": lambda L, x: x.__setitem__(0, float("inf")),
    "fill_ too large": lambda L, x: x.fill_(1e40),
    "below 0 in uint8": lambda L, x: x.copy_(x).to(L.uint8).__setitem__(0, -1),
    "a nested list as index": lambda L, x: x.__getitem__([[0, 1], [0]]),
    "a keepdim without dim": lambda L, x: x.max(keepdim=True),
    "a negative size": lambda L, x: x.reshape(-2, 3),
    "requires_grad_ of nothing": lambda L, x: x.requires_grad_(None),
    "another type in a product": lambda L, x: x @ x.double(),
    "in a list": lambda L, x: ["a", "b"][x],
    "a float of three": lambda L, x: float(x),
    "sum over True": lambda L, x: x.sum(True),
    "flatten from True": lambda L, x: x.flatten(True),
}


@pytest.mark.parametrize("way", ASSIGNED)
def test_what_can_be_assigned_or_asked_is_what_pytorch_takes(way):
    def outcome(L):
        x = L.tensor([1.0, 2.0, 3.0])
        try:
            ASSIGNED[way](L, x)
        except Exception as error:
            return error
        return x.tolist()

    ours, theirs = outcome(minicnn), outcome(torch)
    if isinstance(theirs, Exception):
        assert isinstance(ours, (type(theirs), TypeError)), (ours, theirs)
        assert len(str(ours).splitlines()) == 1
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", ["__ior__", "__iand__", "__ixor__"])
def test_bits_in_place_are_in_place(name):
    for L in (minicnn, torch):
        mask = L.tensor([True, False, False])
        same = mask
        getattr(same, name)(L.tensor([True, True, False]))
        assert same is mask
        want = {"__ior__": [True, True, False], "__iand__": [True, False, False]}
        assert mask.tolist() == want.get(name, [False, True, False])
    with pytest.raises(RuntimeError, match="does not fit"):
        minicnn.tensor([True]).__ior__(minicnn.tensor([True, False]))


def test_powers_in_place_are_in_place():
    w = minicnn.tensor([2.0, 3.0])
    same = w
    same **= 2
    assert w.tolist() == [4, 9]


def test_in_and_reversed():
    t = minicnn.tensor([[1, 2], [3, 4]])
    assert 4 in t
    assert 5 not in t
    assert reversed(t).tolist() == [[3, 4], [1, 2]]


def test_the_largest_of_numbers_with_nan_is_nan_and_takes_the_gradient():
    gradients = []
    for L in (minicnn, torch):
        x = L.tensor([float("nan"), 1.0], requires_grad=True)
        x.max().backward()
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1] == [1, 0]


def test_a_mask_sends_its_gradient_back():
    x = minicnn.tensor([1.0, -2.0, 3.0], requires_grad=True)
    (x[x > 0] * minicnn.tensor([5.0, 6.0])).sum().backward()
    assert x.grad.tolist() == [5, 0, 6]


# --- copies of tensors ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copied_leaf_has_values_and_gradient_of_its_own(way):
    if way is not copy.deepcopy and minicnn.get_default_device().type != "cpu":
        return  # what CuPy pickles is CuPy's
    for x in (minicnn.ones(2, requires_grad=True), nn.Parameter(minicnn.ones(2))):
        (x * x).sum().backward()
        twin = way(x)
        assert type(twin) is type(x)
        assert twin.requires_grad
        if twin.grad is not None:  # a copied parameter's is left behind, as in PyTorch
            twin.grad.fill_(9)
        twin.detach().fill_(9)
        assert (x.tolist(), x.grad.tolist()) == ([1, 1], [2, 2])


@pytest.mark.parametrize("way", [copy.deepcopy, pickle.dumps], ids=["deepcopy", "pickle"])
def test_a_tensor_with_a_history_is_not_copied_apart_from_it(way):
    x = minicnn.ones(2, requires_grad=True)
    for thing in (x * 2, [x, x * 2], {"y": x.exp()}):
        with pytest.raises(RuntimeError, match=r"history.*detach"):
            way(thing)
    copied = way(nn.Conv2d(2, 3, 3).weight.detach().view(-1))  # that it is a copy is left behind
    if way is copy.deepcopy:
        copied.zero_()
    with pytest.raises(RuntimeError):
        copy.deepcopy(torch.ones(2, requires_grad=True) * 2)


def test_a_second_way_back_takes_the_gradient_that_it_is_given():
    g = minicnn.ones(1, 2, 3, 3)
    x = minicnn.ones(1, 1, 5, 5, requires_grad=True)
    y = F.conv2d(x, minicnn.ones(2, 1, 3, 3))
    y.backward(g, retain_graph=True)
    first, x.grad = array(x.grad).copy(), None
    g.fill_(2)
    y.backward(g)
    np.testing.assert_array_equal(array(x.grad), 2 * first)


# --- attributes ----------------------------------------------------------------------------------

ATTRIBUTES = {
    "requires_grad of whole numbers": lambda L: setattr(L.tensor([1]), "requires_grad", True),
    "requires_grad of a result": lambda L: setattr(
        L.ones(2, requires_grad=True) * 2, "requires_grad", False
    ),
    "a grad of another shape": lambda L: setattr(L.ones(2, requires_grad=True), "grad", L.ones(3)),
    "an array as grad": lambda L: setattr(L.ones(2, requires_grad=True), "grad", np.ones(2)),
    "an array as data": lambda L: setattr(L.ones(2), "data", np.ones(2)),
    "whole numbers as data of a leaf": lambda L: setattr(
        L.ones(2, requires_grad=True), "data", L.tensor([1, 2])
    ),
    "an array as gradient": lambda L: L.ones(2, requires_grad=True).exp().backward(np.ones(2)),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_take_what_they_take_in_pytorch(name):
    with pytest.raises((RuntimeError, TypeError)) as theirs:
        ATTRIBUTES[name](torch)
    with pytest.raises(theirs.type) as ours:
        ATTRIBUTES[name](minicnn)
    assert len(str(ours.value).splitlines()) == 1


def test_what_nobody_else_holds_can_be_written_into():
    layer, x = nn.Conv2d(2, 3, 3), minicnn.ones(2, 2, 6, 6)
    with minicnn.no_grad():
        features = layer(x).flatten(1)
        features /= 2
        maps = layer(x)
        flat = maps.view(2, -1)
        with pytest.raises(RuntimeError, match="this tensor is a copy"):
            flat.zero_()
        del maps
        flat.zero_()


# --- methods, operators and functions -----------------------------------------------------------

OWN = ["allclose", "equal", "pow", "reshape", "where"]  # whose arguments are others than a method's
NAMES = [name for name in methods.__all__ if name not in OWN]


@pytest.mark.cpu
@pytest.mark.parametrize("name", methods.__all__)
def test_a_method_as_a_function_has_its_text_and_can_be_pickled(name):
    function = getattr(minicnn, name)
    assert function.__doc__
    assert "input" in inspect.signature(function).parameters
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.cpu
@pytest.mark.parametrize("name", NAMES)
def test_a_method_as_a_function_has_its_arguments(name):
    function, method = (
        [*inspect.signature(getattr(place, name)).parameters.values()]
        for place in (minicnn, minicnn.Tensor)
    )
    assert function[1:] == method[1:]


def test_a_function_takes_its_tensor_by_name_and_asks_the_tensor():
    class Loud(minicnn.Tensor):
        def exp(self):
            return "exp!"

    x = minicnn.tensor([[1.0, 2.0]])
    assert minicnn.sum(input=x, dim=1).tolist() == [3]
    assert minicnn.exp(Loud(x.array)) == "exp!"


@pytest.mark.cpu
@pytest.mark.parametrize("name", ["add", "radd", "iadd", "rsub", "ipow", "and", "eq", "lt"])
def test_operators_say_what_they_are(name):
    assert "elementwise" in getattr(minicnn.Tensor, f"__{name}__").__doc__


@pytest.mark.cpu
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_softmax_along_nothing_misses_an_argument(name):
    for L in (minicnn, torch):
        with pytest.raises(TypeError, match=r"dim|arguments"):
            getattr(L, name)(L.ones(2))


# --- relu_ ---------------------------------------------------------------------------------------


def grown(values):
    return minicnn.tensor(values, requires_grad=True)


def test_relu_in_place_takes_no_memory_where_nobody_else_needs_it():
    x = grown([1.0, -2.0]) * 2
    memory = x.array.ctypes.data if x.device.type == "cpu" else x.array.data.ptr
    y = F.relu(x, inplace=True)
    now = y.array.ctypes.data if x.device.type == "cpu" else y.array.data.ptr
    assert y is x
    assert now == memory
    assert array(x).tolist() == [2, 0]


def test_relu_in_place_leaves_what_a_derivative_needs():
    x = grown([1.0, -1.0])
    y = x.exp() - 0  # exp's derivative is its result
    z = x.exp()
    z.relu_()
    (y * z).sum().backward()
    np.testing.assert_allclose(array(x.grad), 2 * np.exp([2.0, -2.0]), rtol=1e-6)


def test_relu_in_place_is_refused_where_another_tensor_shows_a_value_with_a_history():
    x = grown([[1.0, -2.0], [-3.0, 4.0]]) * 1
    with pytest.raises(RuntimeError, match="relu_: another tensor shows"):
        x[0].relu_()
    assert array(x.detach()).tolist() == [[1, -2], [-3, 4]]


@pytest.mark.parametrize("view", [lambda x: x[0], lambda x: x.detach(), lambda x: x.data])
def test_relu_in_place_of_a_value_without_a_history_is_seen_by_all(view):
    x = minicnn.tensor([[-1.0, -2.0]])
    view(x).relu_()
    assert array(x).tolist() == [[0, 0]]


@pytest.mark.cpu
def test_a_view_of_a_view_that_somebody_holds_is_not_alone():
    held = np.lib.stride_tricks.as_strided(np.full(6, -1.0), (3, 2), (16, 8))
    part = held[:2]
    assert versions.owner(part) is not held  # NumPy keeps what is in between
    assert not versions.alone(part)
    assert held.min() == -1


@pytest.mark.cpu
def test_relu_in_place_refuses_memory_that_is_not_to_be_written():
    constant = minicnn.Tensor(np.frombuffer(b"\0\0\0\0\0\0\xf0\xbf", "float64"))
    with pytest.raises(RuntimeError, match="relu_"):
        constant.relu_()


def test_a_leaf_that_requires_grad_becomes_its_relu_without_a_history_only():
    x = grown([1.0, -2.0])
    with pytest.raises(RuntimeError, match="relu_"):
        x.relu_()
    with minicnn.no_grad():
        assert x.relu_() is x
    assert x.requires_grad
    assert array(x).tolist() == [1, 0]
