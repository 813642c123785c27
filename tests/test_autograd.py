"""The tape: what is recorded, in which order it runs, what it frees, and what it refuses."""

from __future__ import annotations

import threading
import types
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import autograd, backends, nn
from minicnn.autograd import listening, operation, watching

from .arrays import array


def leaf(*values):
    return minicnn.tensor(list(values), requires_grad=True)


@pytest.fixture
def counted():
    """x·y as an operation that counts the calls of each VJP."""
    calls = {"x": 0, "y": 0}

    @operation
    def product(x, y):
        def vjp(name, value):
            def call(g):
                calls[name] += 1
                return g * value

            return call

        return x * y, vjp("x", y), vjp("y", x)

    return product, calls


# --- what is computed ----------------------------------------------------------------------------


def test_a_tensor_used_twice_adds_its_gradients():
    x = leaf(3.0)
    (x * x + x).backward()
    assert x.grad.item() == 7


def test_a_diamond_is_walked_once():
    x = leaf(2.0)
    y = x * x
    (y * 3 + y * y).backward()
    assert x.grad.item() == 3 * 2 * 2 + 2 * 4 * 2 * 2


def test_gradients_of_two_calls_add_up():
    x = leaf(2.0)
    (x * x).backward()
    (x * x).backward()
    assert x.grad.item() == 8


def test_an_input_that_needs_no_gradient_is_never_asked_for_one(counted):
    product, calls = counted
    x, y = leaf(2.0), minicnn.tensor([3.0])
    product(x, y).backward()
    assert calls == {"x": 1, "y": 0}
    assert y.grad is None


def test_images_are_never_differentiated():
    layer, x = nn.Conv2d(1, 2, 3), minicnn.zeros(1, 1, 5, 5)
    assert len(layer(x).node.edges) == 2  # weight and bias


def test_each_vjp_runs_once_however_often_its_output_is_used(counted):
    product, calls = counted
    x = leaf(2.0)
    y = product(x, leaf(3.0))
    (y + y + y * y).backward()
    assert calls == {"x": 1, "y": 1}


def test_the_upstream_gradient_is_the_argument():
    x = leaf(1.0, 2.0)
    (x * x).backward(minicnn.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 40]


def test_a_leaf_gets_its_own_gradient():
    x = leaf(2.0)
    x.backward()
    assert x.grad.item() == 1


def test_two_leaves_fed_by_one_gradient_do_not_share_its_memory():
    x, y = leaf(1.0), leaf(2.0)
    (x + y).backward()
    x.grad[0] = 5
    assert y.grad.item() == 1


def test_the_gradient_has_the_inputs_type():
    x = leaf(1.0)
    (x * minicnn.tensor([2.0], dtype=minicnn.float64)).backward()
    assert x.grad.dtype == minicnn.float32


# --- depth and memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [10_000, pytest.param(100_000, marks=pytest.mark.cpu)])
def test_long_chains_do_not_meet_the_recursion_limit(depth):
    x = leaf(0.0)
    y = x
    for _ in range(depth):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1


@pytest.mark.cpu
def test_a_long_record_that_is_never_walked_is_freed():
    y = leaf(0.0)
    for _ in range(100_000):
        y = y + 1
    del y


def test_what_a_vjp_held_is_freed_before_earlier_ones_run():
    held, alive = [], []

    class Held:
        pass

    @operation
    def late(x):
        thing = Held()
        held.append(weakref.ref(thing))
        return x * 1, lambda g: (thing, g)[1]

    @operation
    def early(x):
        return x * 1, lambda g: (alive.append(held[0]() is not None), g)[1]

    late(early(leaf(1.0))).backward()
    assert alive == [False]


def test_arrays_that_no_derivative_needs_are_not_kept():
    x = leaf(1.0)
    middle = x + 1
    array = weakref.ref(middle.array)
    y = middle + 1
    del middle
    assert array() is None
    y.backward()


# --- twice ---------------------------------------------------------------------------------------


def test_a_second_walk_of_a_freed_record_says_so():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match=r"second time through <multiply>.*retain_graph=True"):
        y.backward()


def test_a_walk_that_meets_a_freed_part_changes_nothing():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        (y + x).backward()
    assert x.grad.item() == 4


def test_a_retained_record_can_be_walked_again():
    x = leaf(2.0)
    y = x * x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 24


# --- recording on and off ------------------------------------------------------------------------


def test_nothing_is_recorded_under_no_grad():
    x = leaf(1.0)
    with minicnn.no_grad():
        y = x * 2
    assert not y.requires_grad
    assert (x * 2).requires_grad


def test_no_grad_as_a_decorator():
    @minicnn.no_grad()
    def double(x, depth=2):
        return double(x, depth - 1) if depth else x * 2

    assert not double(leaf(1.0)).requires_grad
    assert minicnn.is_grad_enabled()


def test_enable_grad_within_no_grad():
    with minicnn.no_grad(), minicnn.enable_grad():
        assert (leaf(1.0) * 2).requires_grad


def test_set_grad_enabled_in_a_block_and_for_good():
    with minicnn.set_grad_enabled(False):
        assert not minicnn.is_grad_enabled()
    assert minicnn.is_grad_enabled()
    minicnn.set_grad_enabled(False)
    assert not minicnn.is_grad_enabled()
    minicnn.set_grad_enabled(True)


def test_no_grad_holds_for_its_own_thread():
    seen = []
    with minicnn.no_grad():
        thread = threading.Thread(target=lambda: seen.append(minicnn.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_and_data_share_memory_and_forget_history():
    x = leaf(1.0)
    y = x * 2
    assert not y.detach().requires_grad
    assert not y.data.requires_grad
    assert y.data.array is y.array


# --- what is refused -----------------------------------------------------------------------------


def test_backward_without_anything_to_differentiate():
    with pytest.raises(RuntimeError, match="requires grad"):
        minicnn.tensor([1.0]).backward()


def test_backward_of_many_numbers_needs_a_gradient():
    with pytest.raises(RuntimeError, match=r"shape \(2,\) needs a gradient"):
        (leaf(1.0, 2.0) * 2).backward()


def test_backward_with_a_gradient_of_another_shape():
    with pytest.raises(RuntimeError, match=r"shape \(3,\) for a tensor of \(2,\)"):
        (leaf(1.0, 2.0) * 2).backward(minicnn.zeros(3))


def test_whole_numbers_have_no_gradient():
    with pytest.raises(RuntimeError, match="int64"):
        minicnn.tensor([1, 2], requires_grad=True)


@pytest.mark.parametrize("operand", [np.ones(2), [1.0, 2.0], "1", None])
def test_an_operand_that_is_no_tensor_is_refused_by_type(operand):
    with pytest.raises(TypeError, match=type(operand).__name__):
        leaf(1.0, 2.0) * operand
    with pytest.raises(TypeError, match=type(operand).__name__):
        operand * leaf(1.0, 2.0)


def test_an_operation_without_a_tensor_says_what_it_got():
    with pytest.raises(TypeError, match=r"exp: expected a Tensor, got \(ndarray\)"):
        minicnn.operations.arithmetic.exp(np.ones(2))


def test_shapes_that_do_not_broadcast_are_both_named():
    with pytest.raises(RuntimeError, match=r"add: shapes \(2,\) and \(3,\) do not fit"):
        minicnn.zeros(2) + minicnn.zeros(3)


def test_matrices_that_do_not_fit_are_both_named():
    with pytest.raises(RuntimeError, match=r"\(2, 3\) and \(2, 3\)"):
        minicnn.zeros(2, 3) @ minicnn.zeros(2, 3)


@pytest.mark.cpu
def test_tensors_on_different_devices_are_refused(monkeypatch):
    class Elsewhere(np.ndarray):
        pass

    there = types.SimpleNamespace(device_type="cuda")
    monkeypatch.setitem(backends._by_array_type, Elsewhere, there)
    here, far = minicnn.ones(2), minicnn.ones(2)
    far.array = far.array.view(Elsewhere)
    with pytest.raises(RuntimeError, match="different devices, cpu and cuda"):
        here + far


# --- gradients that nobody needs any more ---------------------------------------------------------


def spent_gradients(y, monkeypatch):
    """For each gradient that ReLU sends back on the way from y, whether it may write over it."""
    seen = []
    real = autograd._sent_back

    def watch(node, edge, g, home, spent):
        if node.name == "relu":
            seen.append(spent)
        return real(node, edge, g, home, spent)

    monkeypatch.setattr(autograd, "_sent_back", watch)
    y.sum().backward()
    return seen


def test_a_gradient_that_an_operation_has_made_is_spent(monkeypatch):
    assert spent_gradients((leaf([1.0, -2.0], [3.0, 4.0]) * 2).relu() * 3, monkeypatch) == [True]


def test_a_gradient_that_goes_on_to_two_is_not(monkeypatch):
    x = leaf([1.0, -2.0], [3.0, 4.0])
    y = (x * 2).relu() + x.relu()
    assert spent_gradients(y * 3, monkeypatch) == [False, True]
    np.testing.assert_array_equal(array(x.grad), [[9, 0], [9, 9]])


def test_a_gradient_that_somebody_keeps_is_not(monkeypatch):
    kept = []

    @operation
    def keeping(x):
        return x * 1, lambda g: kept.append(3 * g) or kept[-1]

    x = leaf([1.0, -2.0], [3.0, 4.0])
    assert spent_gradients(keeping(x.relu()), monkeypatch) == [False]
    np.testing.assert_array_equal(array(minicnn.Tensor(kept[0])), np.full((2, 2), 3))


def test_what_is_sent_in_stays_as_it_is():
    g = minicnn.ones(2, 2)
    (leaf([1.0, -2.0], [3.0, 4.0]) * 1).relu().backward(g)
    np.testing.assert_array_equal(array(g), np.ones((2, 2)))


# --- watching ------------------------------------------------------------------------------------


def test_a_watcher_sees_every_edge_in_order_and_takes_gradients_back():
    x = minicnn.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).exp().sum()
    seen = []

    def watcher(node, edge, g):
        seen.append((node.name, edge.number, tuple(g.shape)))
        return edge.vjp(g)

    with watching(watcher):
        loss.backward()
    assert seen == [("sum", 0, ()), ("exp", 0, (2,)), ("multiply", 1, (2,)), ("multiply", 0, (2,))]
    np.testing.assert_allclose(array(x.grad), 2 * array(x) * np.exp(array(x) ** 2), rtol=1e-6)


def test_what_a_watcher_returns_is_checked_like_a_vjps_result():
    x = minicnn.ones(3, requires_grad=True)
    with (
        pytest.raises(RuntimeError, match=r"exp: the VJP of argument 0 returned shape \(2,\)"),
        watching(lambda node, edge, g: edge.vjp(g)[:2]),
    ):
        x.exp().backward(minicnn.ones(3))


def test_a_watcher_is_of_its_block_and_thread_alone():
    seen = []

    def backward():
        minicnn.ones((), requires_grad=True).exp().backward()

    with watching(lambda node, edge, g: seen.append(node) or edge.vjp(g)):
        thread = threading.Thread(target=backward)
        thread.start()
        thread.join()
    backward()
    assert not seen


class Listener:
    """It writes down the names of the operations, and how values were read."""

    def __init__(self):
        self.heard = []

    def computed(self, operation, args, kwargs, output):
        self.heard.append(operation.__name__)

    def read(self, array, by):
        self.heard.append(by)


@pytest.mark.cpu  # from a GPU, values are read by way of the host
def test_a_listener_hears_operations_that_the_tape_does_not_record_and_values_that_are_read():
    with minicnn.no_grad(), listening(listener := Listener()):
        x = minicnn.tensor([3, -1])
        y = (x > 0).float()
        y += x
        y.argmax().item()
        y.cpu().numpy()
    expected = [
        "without_derivative",
        "cast",
        "cast",
        "add",
        "assign",
        "argmax",
        "item()",
        "numpy()",
    ]
    assert listener.heard == expected


def test_a_listener_is_of_its_block_and_thread_alone():
    listener = Listener()
    with listening(listener):
        thread = threading.Thread(target=minicnn.ones(2).exp)
        thread.start()
        thread.join()
    minicnn.ones(2).exp()
    assert not listener.heard
