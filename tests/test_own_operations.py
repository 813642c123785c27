"""Operations of one's own: what an `@operation` gets wrong is said, by its name, and at once."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import gradcheck
from minicnn.autograd import operation
from minicnn.backends import backend_of
from minicnn.gradcheck import GradcheckError

from .arrays import array


def leaf(*values, dtype=minicnn.float64):
    return minicnn.tensor(list(values), dtype=dtype, requires_grad=True)


def made(function):
    """An operation called `mine`."""
    function.__name__ = "mine"
    return operation(function)


# --- what it returns -----------------------------------------------------------------------------

AT_ONCE = {
    "the output alone": (lambda x: x * 2, "returns (output, vjp, …)"),
    "rows that would pass for VJPs": (lambda x: x.reshape(1, -1), "returns (output, vjp, …)"),
    "a list": (lambda x: [x * 2, lambda g: 2 * g], "returns (output, vjp, …)"),
    "nothing": (lambda x: None, "returns (output, vjp, …)"),
    "the gradient in place of a VJP": (lambda x: (x * 2, x), "VJP of argument 0 must be a func"),
    "a number in place of a VJP": (lambda x: (x * 2, 2.0), "VJP of argument 0 must be a func"),
    "no array": (lambda x: ("text", lambda g: g), "output of an operation"),
    "several outputs": (lambda x: ((x, x), lambda g: g), "output of an operation"),
    "too many VJPs": (lambda x: (x * 2, lambda g: g, lambda g: g), "2 VJPs for 1 arg"),
    "no VJP": (lambda x: (x * 2,), "argument 0 requires grad, and the operation returns 0 VJPs"),
    "whole numbers": (lambda x: (x.astype("int64"), lambda g: g), "a int64 output"),
}


@pytest.mark.parametrize("mistake", AT_ONCE)
def test_a_mistake_in_what_is_returned_is_seen_at_the_call(mistake):
    function, message = AT_ONCE[mistake]
    with pytest.raises(TypeError) as caught:
        made(function)(leaf(1.0, 2.0, 3.0))
    assert str(caught.value).startswith("mine: ")
    assert message in str(caught.value)


GOING_BACK = {
    "a number": lambda g: 1.0,
    "nothing": lambda g: None,
    "a list": lambda g: [1.0, 1.0, 1.0],
    "fewer elements": lambda g: g[:2],
    "more axes": lambda g: g[None],
    "a column": lambda g: g[:, None],
    "the sum": lambda g: g.sum(),
    "another precision": lambda g: g.astype("float32"),
    "whole numbers": lambda g: g.astype("int64"),
}


@pytest.mark.parametrize("mistake", GOING_BACK)
def test_a_vjp_that_returns_another_thing_than_the_gradient_is_named(mistake):
    x = leaf(1.0, 2.0, 3.0)
    y = made(lambda x: (x * 2, GOING_BACK[mistake]))(x)
    with pytest.raises((TypeError, RuntimeError), match="mine: the VJP of argument 0"):
        y.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("mistake", GOING_BACK)
def test_gradcheck_passes_none_of_these(mistake):
    wrong = made(lambda x: (x * 2, GOING_BACK[mistake]))
    with pytest.raises((TypeError, RuntimeError, GradcheckError)):
        gradcheck(wrong, leaf(1.0, 2.0, 3.0))


def test_the_second_input_is_checked_as_the_first():
    y = made(lambda x, y: (x * y, lambda g: g * y, lambda g: g[:1]))(leaf(1.0, 2.0), leaf(3.0, 4.0))
    with pytest.raises(RuntimeError, match=r"argument 1 returned shape \(1,\), .* has \(2,\)"):
        y.sum().backward()


def test_fewer_vjps_than_inputs_that_need_one():
    with pytest.raises(TypeError, match="mine: argument 1 requires grad"):
        made(lambda x, y: (x * y, lambda g: g * y))(leaf(1.0), leaf(2.0))


def test_fewer_vjps_will_do_where_the_others_need_none():
    x = leaf(1.0)
    made(lambda x, y: (x * y, lambda g: g * y))(x, minicnn.tensor([2.0]).double()).backward()
    assert x.grad.item() == 2


def test_none_says_that_there_is_no_derivative():
    x, y = leaf(3.0), leaf(2.0)
    made(lambda x, y: (x * y, lambda g: g * y, None))(x, y).backward()
    assert x.grad.item() == 2
    assert y.grad is None


# --- how it is called ----------------------------------------------------------------------------


def test_tensors_the_tape_would_not_see_are_refused():
    product = made(lambda x, y=1.0: (x * y, lambda g: g * y))
    with pytest.raises(TypeError, match="mine: argument y is a Tensor"):
        product(leaf(1.0), y=leaf(2.0))
    total = made(lambda x, others: (x, lambda g: g))
    for others in ([leaf(2.0)], (leaf(2.0),), {"y": leaf(2.0)}):
        with pytest.raises(TypeError, match="mine: argument 1 holds a Tensor"):
            total(leaf(1.0), others)


def test_without_a_tensor_it_says_what_it_got():
    with pytest.raises(TypeError, match=r"mine: expected a Tensor, got \(list\)"):
        made(lambda x: (x, lambda g: g))([1.0])


def test_an_argument_that_may_be_left_out_has_a_vjp_all_the_same():
    shifted = made(lambda x, b=0.0: (x + b, lambda g: g, lambda g: g))
    x = leaf(1.0)
    shifted(x).backward()
    assert x.grad.item() == 1


def test_a_vjp_that_raises_is_named():
    for error in (ValueError, TypeError):

        def vjp(g, error=error):
            raise error("what it says")

        with pytest.raises(error, match="mine: the VJP of argument 0: what it says"):
            made(lambda x, vjp=vjp: (x * 2, vjp))(leaf(1.0)).backward()


# --- broadcasting --------------------------------------------------------------------------------


@pytest.mark.parametrize(("mine", "other"), [((3,), (2, 3)), ((2, 1), (2, 3)), ((), (4,))])
def test_the_tape_adds_up_what_was_broadcast(mine, other):
    product = made(lambda x, y: (x * y, lambda g: g * y, lambda g: g * x))
    rng = np.random.default_rng(0)
    x, y = (
        minicnn.tensor(np.asarray(rng.standard_normal(s)), requires_grad=True)
        for s in (mine, other)
    )
    gradcheck(product, [x, y])
    product(x, y).sum().backward()
    assert x.grad.shape == mine
    assert y.grad.shape == other


def test_a_scalar_of_numpys_is_an_array_without_axes():
    x = leaf(1.0, 2.0)
    y = made(lambda x: (x.sum(), lambda g: backend_of(x).xp.broadcast_to(g, x.shape)))(x)
    assert y.shape == ()
    y.backward()
    assert array(x.grad).tolist() == [1, 1]


def test_a_function_that_changes_its_input_does_not_pass_gradcheck():
    def careless(x):
        x *= 2
        return x + 0, lambda g: 2 * g

    with pytest.raises(ValueError, match="changed its input 0"):
        gradcheck(made(careless), leaf(1.0, 2.0))


@pytest.mark.parametrize(("own", "other"), [("float32", "float64"), ("float64", "float32")])
def test_a_gradient_of_another_precision_is_refused_by_name(own, other):
    @operation
    def twice(x):
        return 2 * x, lambda g: (2 * g).astype(other)

    x = minicnn.ones(3, dtype=getattr(minicnn, own), requires_grad=True)
    with pytest.raises(TypeError, match=f"twice: .* returned {other}, its argument is {own}"):
        twice(x).sum().backward()
