"""`minicnn.nn.functional` beside PyTorch's: positions, errors, losses of nothing, and infinity."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn.nn import functional as F

from .arrays import array, tensor

TF = torch.nn.functional


def functions():
    return [
        name
        for name, value in vars(F).items()
        if inspect.isfunction(value) and value.__module__ == F.__name__ and name[0] != "_"
    ]


# --- positions -----------------------------------------------------------------------------------

BUILT_IN = {  # as PyTorch's documentation has them, where inspect can't look
    "conv2d": "input weight bias stride padding dilation groups",
    "linear": "input weight bias",
    "avg_pool2d": "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode return_indices",
    "flatten": "input start_dim end_dim",
    "one_hot": "tensor num_classes",
    "tanh": "input",
}


@pytest.mark.cpu
@pytest.mark.parametrize("name", sorted(functions()))
def test_a_position_means_what_it_means_in_pytorch(name):
    if name in BUILT_IN:
        theirs = BUILT_IN[name].split()
    else:
        theirs = [p.lstrip("_") for p in inspect.signature(getattr(TF, name)).parameters]
    ours = inspect.signature(getattr(F, name)).parameters.values()
    positional = [p.name for p in ours if p.kind is not p.KEYWORD_ONLY]
    assert positional == theirs[: len(positional)]


WEIGHTED = [
    ("binary_cross_entropy", "weight"),
    ("binary_cross_entropy_with_logits", "weight"),
    ("binary_cross_entropy_with_logits", "pos_weight"),
]


@pytest.mark.parametrize(("name", "argument"), WEIGHTED)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (2, 3), (1, 2, 3), (2,), (4, 1, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_repeated_over_the_numbers_or_refused_as_in_pytorch(
    name, argument, shape, dtype
):
    weights = np.random.default_rng(0).random(shape)

    def loss(L, functional):
        x = L.tensor([[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]])
        given = {argument: L.tensor(weights).to(getattr(L, dtype)), "reduction": "none"}
        return getattr(functional, name)(x, 1 - x, **given)

    try:
        want = loss(torch, TF)
    except RuntimeError:
        with pytest.raises(F.ShapeError, match=f"{name}: {argument} "):
            loss(minicnn, F)
        return
    got = loss(minicnn, F)
    assert got.dtype == minicnn.float32
    np.testing.assert_allclose(array(got), array(want), rtol=1e-5)


@pytest.mark.cpu
def test_a_positive_weight_that_requires_grad_is_refused_as_in_pytorch():
    for L, functional in ((minicnn, F), (torch, TF)):
        weight = L.ones(3, requires_grad=True)
        with pytest.raises(RuntimeError, match="pos_weight"):
            functional.binary_cross_entropy_with_logits(L.ones(3), L.ones(3), pos_weight=weight)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_deprecated_arguments_are_refused_by_name(name):
    x, y = minicnn.zeros(2, 3), minicnn.tensor([0, 1])
    for argument in ("size_average", "reduce"):
        with pytest.raises(NotImplementedError, match=f"{name}: {argument} is not supported"):
            getattr(F, name)(x, y, **{argument: False})
    assert getattr(F, name)(x, y, None, None, -100, None, "sum").shape == ()


# --- errors --------------------------------------------------------------------------------------


def image(L):
    return L.ones(2, 3, 5, 5)


def weight(L, *shape):
    return L.ones(*(shape or (4, 3, 3, 3)))


BAD = {
    "channels": lambda L, F: F.conv2d(image(L), weight(L, 4, 2, 3, 3)),
    "kernel too large": lambda L, F: F.conv2d(image(L), weight(L, 4, 3, 7, 7)),
    "two axes": lambda L, F: F.conv2d(L.ones(5, 5), weight(L)),
    "bias of another size": lambda L, F: F.conv2d(image(L), weight(L), L.ones(3)),
    "stride 0": lambda L, F: F.conv2d(image(L), weight(L), stride=0),
    "negative padding": lambda L, F: F.conv2d(image(L), weight(L), padding=-1),
    "a fraction as stride": lambda L, F: F.conv2d(image(L), weight(L), stride=1.5),
    "three strides": lambda L, F: F.conv2d(image(L), weight(L), stride=(1, 1, 1)),
    "padding by an unknown name": lambda L, F: F.conv2d(image(L), weight(L), padding="some"),
    "same with a stride": lambda L, F: F.conv2d(image(L), weight(L), stride=2, padding="same"),
    "two types": lambda L, F: F.conv2d(image(L), weight(L).double()),
    "whole numbers": lambda L, F: F.conv2d(image(L).long(), weight(L)),
    "an array as input": lambda L, F: F.conv2d(np.ones((2, 3, 5, 5)), weight(L)),
    "an array as bias": lambda L, F: F.conv2d(image(L), weight(L), np.ones(4)),
    "linear that does not fit": lambda L, F: F.linear(L.ones(2, 3), L.ones(4, 5)),
    "linear with an array": lambda L, F: F.linear(L.ones(2, 3), np.ones((4, 3))),
    "pool of 0": lambda L, F: F.max_pool2d(image(L), 0),
    "pool too large": lambda L, F: F.max_pool2d(image(L), 7),
    "pool with too much padding": lambda L, F: F.max_pool2d(image(L), 2, padding=2),
    "average of windows of 0": lambda L, F: F.avg_pool2d(image(L), 0),
    "a divisor of 0": lambda L, F: F.avg_pool2d(image(L), 2, divisor_override=0),
    "adaptive to a fraction": lambda L, F: F.adaptive_avg_pool2d(image(L), 1.5),
    "adaptive to -1": lambda L, F: F.adaptive_avg_pool2d(image(L), -1),
    "p above 1": lambda L, F: F.dropout(image(L), 1.5),
    "p as NaN": lambda L, F: F.dropout(image(L), float("nan")),
    "a class beyond": lambda L, F: F.cross_entropy(L.zeros(2, 3), L.tensor([0, 3])),
    "a negative class": lambda L, F: F.nll_loss(L.zeros(2, 3), L.tensor([0, -1])),
    "fewer targets": lambda L, F: F.cross_entropy(L.zeros(2, 3), L.tensor([0])),
    "weights of another size": lambda L, F: F.cross_entropy(
        L.zeros(2, 3), L.tensor([0, 1]), L.ones(2)
    ),
    "an unknown reduction": lambda L, F: F.cross_entropy(
        L.zeros(2, 3), L.tensor([0, 1]), reduction="some"
    ),
    "smoothing above 1": lambda L, F: F.cross_entropy(
        L.zeros(2, 3), L.tensor([0, 1]), label_smoothing=2.0
    ),
    "probabilities of another shape": lambda L, F: F.cross_entropy(L.zeros(2, 3), L.zeros(2, 2)),
    "a target that is no tensor": lambda L, F: F.cross_entropy(L.zeros(2, 3), [0, 1]),
    "softmax over an axis beyond": lambda L, F: F.softmax(L.zeros(2, 3), 2),
    "log_softmax over a fraction": lambda L, F: F.log_softmax(L.zeros(2, 3), 0.5),
    "flatten beyond": lambda L, F: minicnn.flatten(L.zeros(2, 3), 5) if L is minicnn
    else torch.flatten(L.zeros(2, 3), 5),
    "relu of an array": lambda L, F: F.relu(np.zeros(3)),
}  # fmt: skip


ON_A_CPU = {"a class beyond", "a negative class"}  # on a GPU the loss is NaN: see the next test


@pytest.mark.parametrize(
    "mistake", [pytest.param(m, marks=[pytest.mark.cpu] * (m in ON_A_CPU)) for m in BAD]
)
def test_errors_are_of_a_kind_that_programs_for_pytorch_catch(mistake):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        BAD[mistake](torch, TF)
    with pytest.raises(theirs.type) as ours:
        BAD[mistake](minicnn, F)
    assert len(str(ours.value).splitlines()) == 1


@pytest.mark.cuda
@pytest.mark.parametrize("mistake", sorted(ON_A_CPU))
def test_labels_out_of_range_on_a_gpu_make_the_loss_nan(mistake):
    assert np.isnan(BAD[mistake](minicnn, F).item())


# --- the mean of no losses -----------------------------------------------------------------------

IGNORED = -100
LOSSES = {
    "indices": lambda L, F, x, **o: F.cross_entropy(x, L.tensor([[IGNORED] * 2] * 3), **o),
    "weights": lambda L, F, x, **o: F.cross_entropy(
        x, L.tensor([[IGNORED] * 2] * 3), L.tensor([1.0, 2.0, 3.0, 4.0]).double(), **o
    ),
    "nll": lambda L, F, x, **o: F.nll_loss(x, L.tensor([[IGNORED] * 2] * 3), **o),
    "smoothing": lambda L, F, x, **o: F.cross_entropy(
        x, L.tensor([[IGNORED] * 2] * 3), label_smoothing=0.1, **o
    ),
    "another index": lambda L, F, x, **o: F.cross_entropy(
        x, L.tensor([[1] * 2] * 3), ignore_index=1, **o
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_in_which_no_target_counts_changes_nothing(loss, reduction):
    start = np.random.default_rng(0).standard_normal((3, 4, 2))
    results = []
    for L, functional in ((minicnn, F), (torch, TF)):
        x = L.tensor(start, requires_grad=True)
        value = LOSSES[loss](L, functional, x, reduction=reduction)
        value.sum().backward()
        results.append((array(value), array(x.grad)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert not results[0][1].any()


def test_classes_without_weight_change_nothing():
    x = minicnn.zeros(2, 3, requires_grad=True)
    loss = F.cross_entropy(x, minicnn.tensor([0, 1]), minicnn.tensor([0.0, 0.0, 1.0]))
    loss.backward()
    assert np.isnan(loss.item())
    assert not array(x.grad).any()


def test_one_step_on_such_a_batch_leaves_the_weights():
    layer = minicnn.nn.Linear(3, 4)
    before = array(layer.weight).copy()
    optimizer = minicnn.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9)
    F.cross_entropy(layer(minicnn.ones(2, 3)), minicnn.tensor([IGNORED] * 2)).backward()
    optimizer.step()
    np.testing.assert_array_equal(array(layer.weight), before)


@pytest.mark.parametrize("loss", ["cross_entropy", "nll_loss"])
def test_the_weight_of_a_class_that_does_not_occur_may_be_infinite(loss):
    """Inverse frequencies are, and 0 · ∞ would be NaN."""
    results = []
    for L, functional in ((minicnn, F), (torch, TF)):
        x = L.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
        counts = L.tensor([3.0, 1.0, 0.0])
        value = getattr(functional, loss)(x, L.tensor([0, 1]), 4 / counts)
        value.backward()
        results.append((array(value), array(x.grad)))
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_class_weights_that_are_learnt_get_a_gradient_or_are_refused():
    gradients = []
    for L, functional in ((minicnn, F), (torch, TF)):
        w = L.tensor([1.0, 2.0], requires_grad=True)
        functional.cross_entropy(L.tensor([[1.0, 3.0]]), L.tensor([[0.3, 0.7]]), w).backward()
        gradients.append(array(w.grad))
        with pytest.raises(RuntimeError):
            functional.cross_entropy(L.tensor([[1.0, 3.0]]), L.tensor([1]), w).backward()
    np.testing.assert_allclose(*gradients, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_no_classes(reduction):
    values = [
        functional.cross_entropy(L.zeros(2, 0), L.tensor([-100, -100]), reduction=reduction)
        for L, functional in ((minicnn, F), (torch, TF))
    ]
    np.testing.assert_array_equal(*map(array, values))


# --- infinity stays where it is ------------------------------------------------------------------

SPREADING = {
    "adaptive_avg_pool2d": lambda L, F, x: F.adaptive_avg_pool2d(x, (2, 3)),
    "adaptive to more": lambda L, F, x: F.adaptive_avg_pool2d(x, (7, 5)),
    "global average": lambda L, F, x: F.adaptive_avg_pool2d(x, 1),
    "avg_pool2d": lambda L, F, x: F.avg_pool2d(x, 3, 2, 1),
    "max_pool2d": lambda L, F, x: F.max_pool2d(x, 3, 2, 1),
    "relu": lambda L, F, x: F.relu(x),
    "conv2d": lambda L, F, x: F.conv2d(x, L.ones(1, 2, 3, 3).double()),
    "softmax": lambda L, F, x: F.softmax(x, 1),
    "mean": lambda L, F, x: x.mean((2, 3)),
    "a slice": lambda L, F, x: x[:, :, 1:] * 2,
}


@pytest.mark.parametrize("name", SPREADING)
@given(
    place=st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 6), st.integers(0, 5)),
    value=st.sampled_from([np.inf, -np.inf, np.nan]),
)
def test_what_is_not_finite_spreads_no_further_than_in_pytorch(name, place, value):
    start = np.random.default_rng(0).standard_normal((2, 2, 7, 6))
    start[place] = value
    ours, theirs = tensor(start), torch.tensor(start)
    call = SPREADING[name]
    got, want = call(minicnn, F, ours), call(torch, TF, theirs)
    np.testing.assert_allclose(array(got), array(want), rtol=1e-10)


@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive to more", "avg_pool2d"])
def test_an_infinite_gradient_goes_where_it_goes_in_pytorch(name):
    start = np.random.default_rng(0).standard_normal((1, 1, 7, 6))
    gradients = []
    for L, functional in ((minicnn, F), (torch, TF)):
        x = L.tensor(start, requires_grad=True)
        y = SPREADING[name](L, functional, x)
        g = np.ones(tuple(y.shape))
        g[0, 0, 0, 1] = np.inf
        y.backward(L.tensor(g))
        gradients.append(array(x.grad))
    np.testing.assert_allclose(*gradients, rtol=1e-10)
