"""gradcheck finds wrong derivatives, passes right ones, and is honest about kinks."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minicnn
from minicnn import gradcheck
from minicnn.autograd import operation
from minicnn.gradcheck import ELEMENTWISE, GradcheckError
from minicnn.gradcheck.__main__ import main
from minicnn.gradcheck.cases import CASES
from minicnn.nn import functional as F

from .arrays import array


def leaf(*values, shape=None):
    x = minicnn.tensor(list(values), dtype=minicnn.float64, requires_grad=True)
    return x if shape is None else x.detach().reshape(*shape).requires_grad_()


def random(*shape, seed=0):
    minicnn.manual_seed(seed)
    return minicnn.randn(*shape, dtype=minicnn.float64, requires_grad=True)


@operation
def wrong_scale(x):
    return x * x, lambda g: g * x


@operation
def wrong_at_one_place(x):
    def vjp(g):
        dx = g * 2 * x
        dx[-1] = 0
        return dx

    return x * x, vjp


# --- the verdict ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["central", "complex"])
def test_a_right_derivative_passes(method):
    report = gradcheck(lambda x: x.exp() * x, random(5), method=method)
    assert report.error < 1e-8
    assert len(report.comparisons) == 5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: minicnn.cat([x, 2 * x]),
        lambda x: minicnn.stack([x, 2 * x], dim=1),
        lambda x: x.to(x) * x.sum(dtype=x.dtype),
        lambda x: x * minicnn.ones(5).double(),
    ],
    ids=["cat", "stack", "own type", "constant"],
)
def test_tensors_are_brought_to_the_type_of_a_complex_step(function):
    gradcheck(function, random(5), method="complex")


@pytest.mark.parametrize("method", ["central", "complex"])
def test_a_wrong_derivative_fails(method):
    with pytest.raises(GradcheckError):
        gradcheck(wrong_scale, random(5), method=method)


def test_the_error_names_the_worst_element():
    with pytest.raises(GradcheckError, match=r"1 of 6 derivatives.*input 0 at \[5\]: analytic 0"):
        gradcheck(wrong_at_one_place, random(6))


def test_the_report_of_a_failure_has_all_comparisons():
    with pytest.raises(GradcheckError) as caught:
        gradcheck(wrong_at_one_place, random(6))
    assert len(caught.value.report.comparisons) == 6


def test_a_large_input_is_checked_along_random_directions():
    report = gradcheck(lambda x: x.exp(), random(ELEMENTWISE + 1))
    assert {c.index for c in report.comparisons} == {None}


def test_a_wrong_derivative_of_a_large_input_fails():
    with pytest.raises(GradcheckError, match="along a random direction"):
        gradcheck(wrong_scale, random(ELEMENTWISE + 1))


def test_every_input_is_checked():
    report = gradcheck(lambda x, y: x @ y, [random(2, 3), random(3, 2)])
    assert [c.input for c in report.comparisons] == [0] * 6 + [1] * 6


def test_an_input_that_is_not_used_has_gradient_zero():
    report = gradcheck(lambda x, y: x * 1, [random(2), random(2)])
    assert [c.analytic for c in report.comparisons if c.input == 1] == [0, 0]


def test_a_missing_gradient_fails():
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: x.detach() * x, random(3))


def test_nan_never_passes():
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: x.log(), leaf(-1.0))


def test_gradients_that_were_there_are_not_mixed_in():
    x = random(3)
    (x * x).sum().backward()
    gradcheck(lambda x: x * x, x)
    np.testing.assert_array_equal(array(x.grad), 2 * array(x))


# --- kinks ---------------------------------------------------------------------------------------


def test_relu_at_zero_is_reported_as_a_kink():
    report = gradcheck(F.relu, leaf(-1.0, 0.0, 1.0))
    assert [c.kink for c in report.comparisons] == [False, True, False]


def test_relu_within_eps_of_zero_is_a_kink_too():
    assert gradcheck(F.relu, leaf(1e-7)).kinks == 1
    assert gradcheck(F.relu, leaf(1e-6)).kinks == 0  # a smaller step stays on its side


def test_a_tie_of_max_pooling_is_reported_as_a_kink():
    report = gradcheck(lambda x: F.max_pool2d(x, 2), leaf(3, 3, 1, 2, shape=(1, 1, 2, 2)))
    assert [c.kink for c in report.comparisons] == [True, True, False, False]


def test_a_derivative_beyond_both_sides_of_a_kink_fails():
    @operation
    def relu_with_slope_two_at_zero(x):
        return x * (x > 0), lambda g: g * (x > 0) + 2 * g * (x == 0)

    with pytest.raises(GradcheckError, match="at a kink"):
        gradcheck(relu_with_slope_two_at_zero, leaf(-1.0, 0.0))


def test_two_kinks_that_cancel_in_the_sum_are_still_seen():
    # relu(x) - relu(-x) is x, but each output has its own corner at 0.
    both = lambda x: minicnn.cat([F.relu(x), F.relu(-x)])  # noqa: E731
    assert gradcheck(both, leaf(0.0)).kinks == 1


# --- what it refuses -----------------------------------------------------------------------------


def test_float32_is_refused():
    with pytest.raises(TypeError, match="input 1 is float32"):
        gradcheck(lambda x, y: x + y, [random(2), minicnn.randn(2, requires_grad=True)])


def test_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="input 0 is int64"):
        gradcheck(lambda x: x, minicnn.tensor([1, 2]))


def test_an_input_without_requires_grad_is_refused():
    with pytest.raises(ValueError, match="input 0 must be a leaf that requires grad"):
        gradcheck(lambda x: x, minicnn.zeros(2, dtype=minicnn.float64))


def test_an_input_that_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="input 0 must be a Tensor, got float"):
        gradcheck(lambda x: x, [1.0])


def test_a_function_that_returns_no_tensor_is_refused():
    with pytest.raises(TypeError, match="must return a Tensor, got float"):
        gradcheck(lambda x: 1.0, random(2))


def test_a_function_that_returns_whole_numbers_is_refused():
    with pytest.raises(TypeError, match="must return floating point, got int64"):
        gradcheck(lambda x: x.argmax(), random(2))


def test_a_function_that_changes_its_mind_is_refused():
    with pytest.raises(ValueError, match="two different results"):
        gradcheck(lambda x: F.dropout(x, 0.5), random(20))


def test_an_operation_that_takes_no_complex_step_is_refused():
    with pytest.raises(TypeError, match="no complex step"):
        gradcheck(lambda x: x.abs(), random(3), method="complex")


@pytest.mark.parametrize("settings", [{"eps": 0}, {"method": "forward"}])
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        gradcheck(lambda x: x, random(2), **settings)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_passes_every_operation(capsys, backend_name):
    assert main(["--backend", backend_name]) == 0
    rows = capsys.readouterr().out.splitlines()[1:-1]
    assert len(rows) == len({case.name for case in CASES} | {"dropout"})
    assert all(row.endswith("pass") for row in rows)
    assert max(map(len, rows)) <= 80


def test_inputs_drawn_with_the_same_seed_hide_no_transposed_gradient():
    @operation
    def transposed(x, w):
        return x @ w.T, lambda g: g @ w, lambda g: x.T @ g

    x = random(3, 3)
    w = minicnn.randn(3, 3, dtype=minicnn.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match="input 1"):
        gradcheck(transposed, [x, w])


def test_the_command_fails_on_a_wrong_derivative(capsys, monkeypatch, backend_name):
    monkeypatch.setattr("minicnn.operations.arithmetic.relu", wrong_scale)
    assert main(["relu", "--backend", backend_name]) == 1
    assert re.search(r"^relu .*FAIL$", capsys.readouterr().out, re.MULTILINE)


def test_the_command_says_which_rule_can_not_be_computed_and_checks_the_rest(
    capsys, monkeypatch, backend_name
):
    @operation
    def relu(x):
        return x, lambda g: g @ g  # of 3×5 by 3×5

    monkeypatch.setattr("minicnn.operations.arithmetic.relu", relu)
    assert main(["relu", "exp", "--backend", backend_name]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^relu +FAIL: relu: the VJP of argument 0: ", out, re.MULTILINE)
    assert re.search(r"^exp .*pass$", out, re.MULTILINE)


def test_the_command_refuses_an_unknown_operation(capsys):
    assert main(["no_such"]) == 2
    assert "no_such" in capsys.readouterr().err


@pytest.mark.usefixtures("without_cupy")
def test_the_command_says_when_a_backend_is_missing(capsys):
    assert main(["--backend", "cupy"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_steep_curve_is_no_kink():
    @operation
    def steep(x):
        return 1e6 * x * x, lambda g: 2e6 * g * x + 3

    with pytest.raises(GradcheckError):
        gradcheck(steep, leaf(0.0))
    assert gradcheck(lambda x: 1e6 * x * x, leaf(0.0)).kinks == 0


def test_one_input_in_two_places_moves_in_both():
    x = random(3)
    gradcheck(lambda a, b: a * b, [x, x])


def test_it_records_even_where_nothing_is_recorded():
    with minicnn.no_grad():
        gradcheck(lambda x: x * x, random(3))


def test_a_step_that_is_no_number_is_refused_by_name():
    for wrong in ("a", 0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="gradcheck: eps must be a number above 0"):
            gradcheck(lambda x: x * x, random(3), eps=wrong)
