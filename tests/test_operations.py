"""Every operation of the table against PyTorch, against finite differences, and at its edges."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import minicnn
from minicnn import gradcheck, nn
from minicnn.nn import functional as F
from minicnn.tensor import Tensor

from .arrays import array, tensor
from .table import MINI, ROWS, TORCH

EPS32 = float(np.finfo("float32").eps)
ROUNDINGS = {"cpu": 8, "cuda": 16}
# Of what these add up little may be left: their roundings are those of the numbers that are added.
CANCELLING = {"sum", "mean", "functional.softmax", "functional.cross_entropy", "var", "cumsum"}
CANCELLING |= {name for row in ROWS for name in row.names if name.endswith("_loss")}
ROW_IDS = [f"{i}-{row.names[0]}" for i, row in enumerate(ROWS)]
every_row = pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even:UserWarning")


def differentiate(library, example, dtype):
    """The output and all gradients, as float64 arrays, for a fixed random upstream gradient."""
    if library is MINI:
        inputs = [tensor(a.astype(dtype, order="K"), requires_grad=True) for a in example.arrays]
    else:
        # Contiguous, as some of PyTorch's own derivatives refuse other layouts.
        inputs = [torch.tensor(a.astype(dtype, "C"), requires_grad=True) for a in example.arrays]
    y = example.call(library, *inputs)
    g = np.random.default_rng(0).standard_normal(tuple(y.shape)).astype(dtype)
    y.backward((minicnn if library is MINI else torch).tensor(g))
    results = [y, *[x.grad for x in inputs]]
    zero = [np.zeros(a.shape) for a in example.arrays]
    arrays = [
        zero[i - 1] if r is None else np.asarray(array(r), "float64") for i, r in enumerate(results)
    ]
    assert all(r is None or str(r.dtype).endswith(dtype) for r in results)
    return arrays


def distance(a, b):
    assert a.shape == b.shape
    both_nan = np.isnan(a) & np.isnan(b)
    a, b = np.where(both_nan, 0, a), np.where(both_nan, 0, b)
    return np.linalg.norm(a - b) / (np.linalg.norm(b) or 1)


@every_row
def test_float64_equals_pytorch(row):
    @given(row.examples)
    def check(example):
        ours = differentiate(MINI, example, "float64")
        theirs = differentiate(TORCH, example, "float64")
        assert max(map(distance, ours, theirs)) <= 1e-10

    check()


@every_row
def test_float32_is_as_near_to_the_truth_as_pytorch(row):
    device = minicnn.get_default_device().type

    @given(row.examples)
    def check(example):
        truth = differentiate(TORCH, example, "float64")
        ours = differentiate(MINI, example, "float32")
        theirs = differentiate(TORCH, example, "float32")
        for mine, its, true in zip(ours, theirs, truth, strict=True):
            # A few roundings are allowed in any case: on a handful of numbers PyTorch is exact by
            # luck now and then, and twice nothing is nothing.
            few = ROUNDINGS[device] * EPS32
            if row.names[0] in CANCELLING:
                few *= max(1, np.linalg.norm(example.arrays[0]) / (np.linalg.norm(true) or 1))
            assert distance(mine, true) <= max(2 * distance(its, true), few)

    check()


@pytest.mark.cpu  # on a device they equal PyTorch's, and gradcheck's command compares both
@every_row
def test_gradients_equal_finite_differences(row):
    @settings(max_examples=8)
    @given(row.examples)
    def check(example):
        inputs = [tensor(a.copy(), requires_grad=True) for a in example.arrays]
        gradcheck(lambda *xs: example.call(MINI, *xs), inputs, rtol=1e-5, atol=1e-6)

    check()


@every_row
def test_inputs_are_never_modified(row):
    @settings(max_examples=8)
    @given(row.examples)
    def check(example):
        inputs = [tensor(a.copy(order="K"), requires_grad=True) for a in example.arrays]
        y = example.call(MINI, *inputs)
        g = minicnn.ones(*y.shape, dtype=y.dtype)
        y.backward(g)
        assert all(map(np.array_equal, example.arrays, map(array, inputs)))
        assert (array(g) == 1).all()

    check()


@every_row
def test_a_second_call_leaves_the_first_result_alone(row):
    @settings(max_examples=8)
    @given(row.examples)
    def check(example):
        first = example.call(MINI, *map(tensor, example.arrays))
        before = array(first).copy()
        example.call(MINI, *[tensor(-a) for a in example.arrays])
        assert np.array_equal(array(first), before, equal_nan=True)

    with np.errstate(all="ignore"):
        check()


# --- nothing is left out -------------------------------------------------------------------------

NOT_DIFFERENTIABLE = set(
    """size dim numel nelement item tolist numpy cuda backward gradients detach requires_grad_
    is_floating_point new_zeros new_ones new_empty long int bool zero_ fill_ copy_ add_ sub_ mul_
    div_ pow_ clamp_ normal_ uniform_ scatter_ eq ne lt le gt ge all any argmax argmin argsort
    from_operation accumulate_grad""".split()  # noqa: SIM905
)
PROPERTIES = set(
    """array needs_grad node grad_array grad_home shape ndim dtype device is_leaf grad_fn grad data
    requires_grad""".split()  # noqa: SIM905
)
NOT_LAYERS = {
    "Module",
    "Parameter",
    "Sequential",
    "ModuleList",
    "ModuleDict",
    "ParameterDict",
    "ParameterList",
}
NOT_LAYERS |= {"LazyConv2d", "LazyLinear"}  # which become Conv2d and Linear
NOT_OPERATIONS = set(
    """tensor as_tensor from_numpy full zeros ones empty eye full_like zeros_like ones_like
    empty_like arange linspace rand randn randint randperm normal rand_like randn_like manual_seed
    is_grad_enabled save load all any argmax argmin argsort allclose equal eq ne lt le gt ge numel
    gradcheck set_default_device get_default_device set_default_dtype get_default_dtype
    set_default_tensor_type show_config""".split()  # noqa: SIM905
)


def find(name):
    """The object that has a public name of the table, and the attribute that it is there."""
    place, _, attribute = name.rpartition(".")
    if place == "nn":
        return getattr(nn, attribute), "forward"
    if not place:
        return next(kind for kind in Tensor.__mro__ if attribute in vars(kind)), attribute
    return {"functional": F, "minicnn": minicnn}[place], attribute


@pytest.mark.cpu
@every_row
def test_a_row_uses_what_it_names(row, monkeypatch):
    used = set()
    for name in row.names:
        owner, attribute = find(name)
        real = vars(owner)[attribute]

        def watch(*args, name=name, real=real, **kwargs):
            used.add(name)
            return (real.fget if isinstance(real, property) else real)(*args, **kwargs)

        monkeypatch.setattr(
            owner, attribute, property(watch) if isinstance(real, property) else watch
        )

    @given(row.examples)
    def check(example):
        example.call(MINI, *map(tensor, example.arrays))

    check()
    assert used == set(row.names)


def public_names():
    """Every public name that computes something with a derivative."""
    names = set()
    for kind in Tensor.__mro__:
        for name, value in vars(kind).items():
            if not name.startswith("_") and name not in NOT_DIFFERENTIABLE | PROPERTIES:
                assert callable(value) or isinstance(value, property), name
                names.add(name)
    for name, value in vars(F).items():
        own = inspect.isfunction(value) and value.__module__ == F.__name__
        if own and not name.startswith("_"):
            names.add(f"functional.{name}")
    for name, value in vars(nn).items():
        if inspect.isclass(value) and name not in NOT_LAYERS:
            names.add(f"nn.{name}")
    for name, value in vars(minicnn).items():
        if inspect.isfunction(value) and not name.startswith("_") and name not in NOT_OPERATIONS:
            names.add(f"minicnn.{name}")
    return names


def test_every_public_operation_has_a_row():
    covered = {name for row in ROWS for name in row.names}
    assert public_names() - {"functional.one_hot"} <= covered  # it has no derivative


# --- edges ---------------------------------------------------------------------------------------

INF, NAN = math.inf, math.nan


def value_and_gradient(function, x, torch_function=None):
    """(output, gradient of its sum) in minicnn and in PyTorch."""
    ours = minicnn.tensor(x, dtype=minicnn.float64, requires_grad=True)
    theirs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y, z = function(F, ours), (torch_function or function)(torch.nn.functional, theirs)
    y.sum().backward()
    z.sum().backward()
    return (array(y), array(ours.grad)), (array(z), array(theirs.grad))


EDGES = {
    "relu at 0, -0, NaN and inf": (lambda F, x: F.relu(x), [0.0, -0.0, NAN, INF, -INF, 1e-310]),
    "an infinite gradient at relu": (lambda F, x: F.relu(x).log(), [-1.0, 0.0, 2.0]),
    "exp and overflow": (lambda F, x: x.exp(), [1e4, -1e4, NAN, INF, -INF]),
    "log at and below 0": (lambda F, x: x.log(), [0.0, -0.0, -1.0, INF, NAN, 5e-324]),
    "sqrt at and below 0": (lambda F, x: x.sqrt(), [0.0, -1.0, INF, NAN, 1e-320]),
    "abs at 0": (lambda F, x: x.abs(), [0.0, -0.0, NAN, -INF]),
    "division by 0": (lambda F, x: 1 / x, [0.0, -0.0, INF, NAN]),
    "x**0 and x**1 at 0": (lambda F, x: x**0 + x**1, [0.0, -1.0, 2.0]),
    "x**2 at 0 and inf": (lambda F, x: x**2, [0.0, -INF, NAN]),
    "0**y": (lambda F, x: 0**x, [0.0, 1.0, 2.0]),
    "max of ties": (lambda F, x: x.max(), [1.0, 3.0, 3.0, 3.0]),
    "max along ties": (lambda F, x: x.max(1)[0], [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]),
    "max with NaN": (lambda F, x: x.max(0)[0], [1.0, NAN, 3.0]),
    "softmax of 1e4": (lambda F, x: F.softmax(x, 0), [1e4, -1e4, 1e4, 0.0]),
    "softmax of -inf": (lambda F, x: F.softmax(x, 0), [-INF, 0.0, 1.0]),
    "softmax of inf": (lambda F, x: F.softmax(x, 0), [INF, 0.0]),
    "log_softmax of 1e4": (lambda F, x: F.log_softmax(x, 0), [1e4, -1e4, 1e4, 0.0]),
    "log_softmax of equals": (lambda F, x: F.log_softmax(x, 0), [7.0] * 4),
    "max_pool of ties": (
        lambda F, x: F.max_pool2d(x, 3, 2, 1),
        [[[1.0, 1.0, 0.0, 2.0], [1.0, 0.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0]]],
    ),
    "max_pool of equals": (lambda F, x: F.max_pool2d(x, 2), [[[0.0] * 4] * 4]),
    "max_pool with NaN": (lambda F, x: F.max_pool2d(x, 2), [[[NAN, 1.0], [2.0, 3.0]]]),
    "max_pool with inf": (lambda F, x: F.max_pool2d(x, 2), [[[-INF, 1.0], [INF, INF]]]),
    "max_pool of -inf": (lambda F, x: F.max_pool2d(x, 2), [[[-INF, -INF], [-INF, -INF]]]),
    "an infinite gradient at max_pool": (
        lambda F, x: F.max_pool2d(x, 2).log(),
        [[[0.0, -1.0], [-2.0, -3.0]]],
    ),
    "avg_pool with NaN": (lambda F, x: F.avg_pool2d(x, 1, 2), [[[NAN, 1.0], [2.0, 3.0]]]),
}


@pytest.mark.parametrize("edge", EDGES)
def test_edges_come_out_as_in_pytorch(edge):
    ours, theirs = value_and_gradient(*EDGES[edge])
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_relu_of_integers_is_of_integers():
    y = F.relu(minicnn.tensor([-1, 0, 2]))
    assert y.dtype == minicnn.int64
    assert array(y).tolist() == [0, 0, 2]


LOGITS = {
    "large": [[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]],
    "equal": [[3.0, 3.0, 3.0], [0.0, 0.0, 0.0]],
    "minus infinity elsewhere": [[0.0, -INF, 1.0], [1.0, 2.0, -INF]],
    "minus infinity at the label": [[-INF, 1.0, 0.0], [1.0, -INF, 0.0]],
    "infinity": [[INF, 0.0, 0.0], [0.0, INF, 0.0]],
    "NaN": [[NAN, 0.0, 0.0], [0.0, 1.0, 2.0]],
    "subnormal": [[5e-324, 0.0, -5e-324], [1e-310, 0.0, 0.0]],
}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("logits", LOGITS)
def test_cross_entropy_at_the_edge_is_pytorchs(logits, reduction):
    ours, theirs = value_and_gradient(
        lambda F, x: F.cross_entropy(x, minicnn.tensor([0, 1]), reduction=reduction),
        LOGITS[logits],
        lambda F, x: F.cross_entropy(x, torch.tensor([0, 1]), reduction=reduction),
    )
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


wrong_labels = pytest.mark.parametrize("label", [3, -1, 100])
label_losses = pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])


@pytest.mark.cpu
@wrong_labels
@label_losses
def test_a_label_out_of_range_is_refused_by_value(loss, label):
    with pytest.raises(IndexError, match=f"target {label} is out of range for 3 classes"):
        loss(minicnn.zeros(2, 3), minicnn.tensor([0, label]))


@pytest.mark.cuda
@wrong_labels
@label_losses
@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"weight": (0.0, 1.0, 2.0)}])
def test_a_label_out_of_range_makes_loss_and_gradients_nan_on_a_gpu(loss, label, options):
    given = {k: minicnn.tensor(v) if k == "weight" else v for k, v in options.items()}
    x = minicnn.zeros(2, 3, requires_grad=True)
    value = loss(x, minicnn.tensor([0, label]), **given)
    value.backward()
    assert math.isnan(value.item())
    assert np.isnan(array(x.grad)[1]).all()


def test_the_mean_over_no_labels_is_nan():
    loss = F.cross_entropy(minicnn.zeros(2, 3), minicnn.tensor([-100, -100]))
    assert math.isnan(loss.item())


def test_the_mean_over_an_empty_batch_is_nan():
    empty = minicnn.zeros(0, 3), minicnn.tensor(np.zeros(0, "int64"))
    assert math.isnan(F.cross_entropy(*empty).item())


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_sums_over_nothing_are_zero(shape):
    x = minicnn.zeros(*shape, requires_grad=True)
    x.sum().backward()
    assert x.sum().item() == 0
    assert x.grad.shape == shape


def test_the_mean_of_nothing_is_nan():
    assert math.isnan(minicnn.zeros(0).mean().item())


def test_python_numbers_become_float64_without_a_detour():
    assert array(minicnn.tensor([0.1], dtype=minicnn.float64))[0] == 0.1


@pytest.mark.parametrize("function", [lambda x: x.max(), lambda x: x.max(0), lambda x: x.argmax()])
def test_the_maximum_of_nothing_is_refused(function):
    with pytest.raises((RuntimeError, IndexError), match="no elements"):
        function(minicnn.zeros(0))


@pytest.mark.parametrize("shape", [(10_000_000,), (1, 10, 1000, 1000)])
def test_long_float32_sums_are_pairwise_or_better(shape):
    x = np.random.default_rng(0).random(shape, dtype="float32")
    exact = x.sum(dtype="float64")
    assert abs(minicnn.tensor(x).sum().item() - exact) / exact <= 5 * EPS32


def test_the_gradient_of_a_bias_sums_many_pixels_exactly():
    g = np.random.default_rng(0).random((16, 4, 400, 400), dtype="float32")
    x, w = minicnn.zeros(16, 1, 400, 400), minicnn.zeros(4, 1, 1, 1)
    b = minicnn.zeros(4, requires_grad=True)
    F.conv2d(x, w, b).backward(minicnn.tensor(g))
    exact = g.sum((0, 2, 3), dtype="float64")
    assert (abs(array(b.grad) - exact) / exact).max() <= 1e-6


# --- dropout's masks -----------------------------------------------------------------------------


def test_dropout_zeroes_a_share_p_and_scales_the_rest():
    minicnn.manual_seed(0)
    y = array(F.dropout(minicnn.ones(100_000), 0.3))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.005


def test_dropouts_gradient_passes_where_elements_did():
    x = minicnn.ones(1000, requires_grad=True)
    y = F.dropout(x, 0.5)
    y.sum().backward()
    assert np.array_equal(array(x.grad), array(y))


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 2, 4), (3, 2, 4, 5)])
def test_dropouts_numbers_run_through_memory_with_channels_last(shape):
    key = minicnn.manual_seed(0).clone().next_key()
    dropped = array(F.dropout(minicnn.ones(*shape), 0.5)) == 0
    in_memory = np.moveaxis(dropped, 1, -1) if len(shape) > 2 else dropped
    numbers = minicnn.backends.host.uniform(key, (math.prod(shape),), "float32")
    assert in_memory.ravel().tolist() == (numbers < 0.5).tolist()


def test_powers_gradients_are_pytorchs_at_zero_and_below():
    x, y = (a.ravel() for a in np.meshgrid([-2.0, 0.0, 2.0], [-2.0, -1.0, -0.5, 0.0, 2.0]))
    results = []
    for library in (minicnn, torch):
        inputs = [library.tensor(a, requires_grad=True) for a in (x, y)]
        (inputs[0] ** inputs[1]).sum().backward()
        results.append([array(t.grad) for t in inputs])
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_dropout_is_repeated_after_manual_seed():
    x = minicnn.ones(50)
    minicnn.manual_seed(3)
    first, second = array(F.dropout(x)), array(F.dropout(x))
    minicnn.manual_seed(3)
    assert np.array_equal(array(F.dropout(x)), first)
    assert not np.array_equal(first, second)


def test_the_dropout_layer_drops_in_training_only():
    layer, x = nn.Dropout(0.5), minicnn.ones(1000)
    assert (layer(x) == 0).any()
    assert (layer.eval()(x) == 1).all()


@pytest.mark.parametrize("place", range(9))
def test_max_poolings_gradient_goes_to_nan_as_in_pytorch(place):
    image = np.arange(9.0)
    image[[place, 4]] = np.nan
    inputs = [
        library.tensor(image.reshape(1, 1, 3, 3), requires_grad=True)
        for library in (minicnn, torch)
    ]
    for library, x in zip((MINI, TORCH), inputs, strict=True):
        library.F.max_pool2d(x, 3).sum().backward()
    ours, theirs = (array(x.grad) for x in inputs)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("size", [256, 257])
def test_max_poolings_gradient_finds_the_last_place_of_a_large_window(size):
    x = minicnn.arange(size, dtype=minicnn.float32).reshape(1, 1, 1, size).requires_grad_()
    F.max_pool2d(x, (1, size)).backward()
    assert array(x.grad).ravel().nonzero()[0].tolist() == [size - 1]


def test_nll_takes_no_part_of_classes_that_are_impossible_and_not_true():
    logp = minicnn.tensor([[0.0, -math.inf]])
    assert F.nll_loss(logp, minicnn.tensor([0])).item() == 0
    assert F.nll_loss(logp, minicnn.tensor([1])).item() == math.inf


# --- what is refused -----------------------------------------------------------------------------

X, W = minicnn.zeros(2, 3, 8, 8), minicnn.zeros(4, 3, 3, 3)
REFUSED = [
    (lambda: F.conv2d(X, minicnn.zeros(4, 2, 3, 3)), r"\(2, 3, 8, 8\).*\(4, 2, 3, 3\)"),
    (lambda: F.conv2d(X, minicnn.zeros(4, 3, 9, 9)), r"\(4, 3, 9, 9\).*\(2, 3, 8, 8\)"),
    (lambda: F.conv2d(X, W, minicnn.zeros(3)), r"bias \(3,\).*\(4, 3, 3, 3\)"),
    (lambda: F.conv2d(X, W, groups=3), "groups"),
    (lambda: F.conv2d(X, W, stride=0), "stride"),
    (lambda: F.conv2d(X, W, stride=(1, 2, 3)), "stride"),
    (lambda: F.conv2d(X, W, dilation=0), "dilation"),
    (lambda: F.conv2d(X, W, padding=-1), "padding"),
    (lambda: F.conv2d(X, W, padding="full"), "padding"),
    (lambda: F.conv2d(X, W, padding="same", stride=2), "padding"),
    (lambda: F.conv2d(X, W.double()), "float32 and float64"),
    (lambda: F.conv2d(X[0, 0], W), "3 or 4 axes"),
    (lambda: F.conv2d(array(X), W), "input must be a Tensor, got numpy.ndarray"),
    (lambda: F.linear(minicnn.zeros(2, 3), minicnn.zeros(4, 5)), r"\(2, 3\).*\(4, 5\)"),
    (lambda: F.linear(minicnn.zeros(2, 3), minicnn.zeros(4, 3), X[0, 0, 0]), "bias"),
    (lambda: F.max_pool2d(X, 9), r"kernel_size \(9, 9\).*\(2, 3, 8, 8\)"),
    (lambda: F.max_pool2d(X, 2, padding=2), "padding"),
    (lambda: F.max_pool2d(X, 2, return_indices=True), "return_indices"),
    (lambda: F.max_pool2d(X, 0), "kernel_size"),
    (lambda: F.max_pool2d(X, 2, 0), "stride"),
    (lambda: F.avg_pool2d(X, 2, divisor_override=0), "divisor_override"),
    (lambda: F.avg_pool2d(X.long(), 2), "int64"),
    (lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)), "output_size"),
    (lambda: F.dropout(X, 1.5), "p must be a number at least 0"),
    (lambda: F.softmax(X), "dim must be given"),
    (lambda: F.softmax(X, 4), "dim 4"),
    (lambda: F.cross_entropy(X[0, 0], minicnn.tensor([1])), r"\(1,\).*\(8, 8\)"),
    (lambda: F.cross_entropy(X[0, 0], minicnn.zeros(2, 2)), r"\(2, 2\).*\(8, 8\)"),
    (lambda: F.cross_entropy(X[0, 0], minicnn.zeros(8).long(), reduction="avg"), "reduction"),
    (lambda: F.cross_entropy(X[0, 0], minicnn.zeros(8).long(), weight=X[0, 0]), "weight"),
    (
        lambda: F.cross_entropy(X[0, 0], minicnn.zeros(8).long(), label_smoothing=2),
        "label_smoothing",
    ),
    (lambda: F.nll_loss(X[0, 0], minicnn.zeros(8)), "class indices"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(call, message):
    with pytest.raises(
        (ValueError, TypeError, RuntimeError, IndexError, NotImplementedError), match=message
    ):
        call()
