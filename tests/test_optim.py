"""SGD against PyTorch, option by option."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
import minicnn.optim
from minicnn import nn
from minicnn.optim import SGD

from .arrays import array

OPTIONS = [
    {"lr": 0.1, "momentum": m, "dampening": d, "weight_decay": w, "nesterov": n}
    for m, d, w, n in itertools.product([0, 0.9], [0, 0.3], [0, 0.05], [False, True])
    if not n or (m and not d)
]


def parameters(dtype="float64"):
    """A matrix and a vector, in minicnn and in PyTorch."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((3, 2)), rng.standard_normal(2)]
    ours = [nn.Parameter(minicnn.tensor(a)) for a in arrays]
    return ours, [torch.nn.Parameter(torch.tensor(a)) for a in arrays]


def loss(w, b):
    return ((w @ w.T).sum(0) * 0.3 + b.sum() * b[0]).exp().sum().log()


def step(optimizer, w, b):
    optimizer.zero_grad()
    loss(w, b).backward()
    optimizer.step()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_twenty_steps_are_pytorchs(options):
    ours, theirs = parameters()
    mine, its = SGD(ours, **options), torch.optim.SGD(theirs, **options)
    for _ in range(20):
        step(mine, *ours)
        step(its, *theirs)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_groups_have_options_of_their_own():
    ours, theirs = parameters()

    def groups(w, b):
        return [{"params": [w], "weight_decay": 0.1}, {"params": [b], "lr": 0.5}]

    mine = SGD(groups(*ours), lr=0.01, momentum=0.9)
    its = torch.optim.SGD(groups(*theirs), lr=0.01, momentum=0.9)
    for _ in range(5):
        step(mine, *ours)
        step(its, *theirs)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_a_rate_changed_in_its_group_is_the_one_used():
    p = nn.Parameter(minicnn.tensor([1.0]))
    optimizer = SGD([p], lr=1.0)
    optimizer.param_groups[0]["lr"] = 0.25
    p.grad = minicnn.tensor([2.0])
    optimizer.step()
    assert p.item() == 0.5


def test_a_parameter_without_a_gradient_stays():
    p = nn.Parameter(minicnn.tensor([1.0]))
    SGD([p], lr=1.0, weight_decay=1.0).step()
    assert p.item() == 1


def test_a_step_changes_parameters_in_their_own_memory():
    p = nn.Parameter(minicnn.tensor([1.0]))
    optimizer = SGD([p], lr=1.0)  # which may give it new memory once, on a GPU
    memory = p.array
    p.grad = minicnn.tensor([1.0])
    optimizer.step()
    assert p.array is memory and p.item() == 0


def test_a_step_leaves_gradients_as_they_are():
    p = nn.Parameter(minicnn.tensor([1.0]))
    p.grad = minicnn.tensor([2.0])
    optimizer = SGD([p], lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(3):
        optimizer.step()
    assert p.grad.item() == 2


def test_zero_grad_forgets_all_gradients():
    ours, _ = parameters()
    loss(*ours).backward()
    SGD(ours).zero_grad()
    assert [p.grad for p in ours] == [None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must be a number at least 0, got -1"),
        ({"lr": float("nan")}, "lr must be a number at least 0, got nan"),
        ({"momentum": -0.5}, "momentum must be a number at least 0"),
        ({"weight_decay": -1}, "weight_decay must be a number at least 0"),
        ({"nesterov": True}, "nesterov needs momentum"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening 0"),
        ({"nesterov": True, "momentum": 0.9, "dampening": -0.1}, "dampening 0"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        SGD(parameters()[0], **options)


def test_defaults_are_pytorchs():
    ours, theirs = parameters()
    own = {k: v for k, v in SGD(ours).param_groups[0].items() if k != "params"}
    other = torch.optim.SGD(theirs).param_groups[0]
    assert own == {name: other[name] for name in own}


def test_parameters_and_groups_do_not_mix():
    ours, _ = parameters()
    with pytest.raises(TypeError, match="expected Parameters, got dict"):
        SGD([ours[0], {"params": [ours[1]]}])


def test_no_parameters_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        SGD([])


def test_what_is_no_parameter_is_refused():
    with pytest.raises(TypeError, match="expected Parameters, got a Tensor that requires no"):
        SGD([minicnn.zeros(2)])


# --- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "max_norm", [0, 0.01, 1.0, np.float64(1), np.float32(1), 100, float("inf")]
)
def test_clipping_is_pytorchs(max_norm):
    ours, theirs = parameters()
    loss(*ours).backward()
    loss(*theirs).backward()
    norm = nn.utils.clip_grad_norm_(ours, max_norm)
    other = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert norm.item() == pytest.approx(other.item(), rel=1e-6)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p.grad), array(q.grad), rtol=1e-9)


# --- state ---------------------------------------------------------------------------------------


def test_a_state_goes_on_in_another_optimizer_bit_for_bit():
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
    ours, _ = parameters()
    first = SGD(ours, **options)
    step(first, *ours)
    copies = [nn.Parameter(minicnn.tensor(p.detach())) for p in ours]
    second = SGD(copies, lr=1.0)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        step(first, *ours)
        step(second, *copies)
    for p, q in zip(ours, copies, strict=True):
        np.testing.assert_array_equal(array(p), array(q))


def test_a_loaded_state_is_a_copy():
    ours, _ = parameters()
    first, second = SGD(ours, momentum=0.9), SGD(ours, momentum=0.9)
    step(first, *ours)
    second.load_state_dict(first.state_dict())
    before = array(second.state_dict()["state"][0]["momentum_buffer"]).copy()
    step(first, *ours)
    after = array(second.state_dict()["state"][0]["momentum_buffer"])
    np.testing.assert_array_equal(after, before)


def test_a_state_has_pytorchs_form():
    ours, theirs = parameters()
    mine, its = SGD(ours, momentum=0.9), torch.optim.SGD(theirs, momentum=0.9)
    step(mine, *ours)
    step(its, *theirs)
    state, other = mine.state_dict(), its.state_dict()
    assert state["param_groups"][0].items() <= other["param_groups"][0].items()
    for i in other["state"]:
        np.testing.assert_allclose(
            array(state["state"][i]["momentum_buffer"]), other["state"][i]["momentum_buffer"]
        )


def test_a_state_of_other_parameters_is_refused_and_changes_nothing():
    ours, _ = parameters()
    mine, other = SGD(ours, lr=0.5), SGD(ours[:1], lr=0.1)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters for groups of \[2\]"):
        mine.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters for groups of \[1\]"):
        other.load_state_dict(mine.state_dict())
    reversed_ = SGD(ours[::-1], lr=0.1, momentum=0.9)
    step(reversed_, *ours)
    state = reversed_.state_dict()
    with pytest.raises(
        ValueError, match=r"momentum_buffer 0 has shape \(2,\), the model's is \(3, 2\)"
    ):
        mine.load_state_dict(state)
    del state["state"][0]
    with pytest.raises(
        ValueError, match=r"momentum_buffer 1 has shape \(3, 2\), the model's is \(2,\)"
    ):
        mine.load_state_dict(state)
    assert mine.param_groups[0]["lr"] == 0.5


# --- parameters that come late, and memory laid flat ----------------------------------------------


@pytest.fixture(params=[False, True], ids=["one by one", "flat"])
def flat(request, monkeypatch):
    """Whether all parameters of a group are updated as one array, as on a GPU."""
    monkeypatch.setattr(minicnn.get_default_device().backend, "costly_launches", request.param)
    return request.param


LATE = {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}  # the first gradient is not dampened


def steps(optimizer, params, *gradients):
    """A step for each pair of gradients: numbers, or None for a parameter that gets none."""
    for pair in gradients:
        for p, g in zip(params, pair, strict=True):
            p.grad = None if g is None else (p * 0 + g).detach()
        optimizer.step()


def test_a_parameter_whose_first_gradient_comes_late_is_updated_as_in_pytorch(flat):
    ours, theirs = parameters()
    given = [(1.0, None), (1.0, 2.0), (None, 1.0), (3.0, 1.0), (1.0, 1.0)]
    steps(SGD(ours, **LATE), ours, *given)
    steps(torch.optim.SGD(theirs, **LATE), theirs, *given)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_a_group_without_gradients_does_not_keep_the_next_from_its_step(flat):
    ours, theirs = parameters()
    for params, optimizer in ((ours, SGD), (theirs, torch.optim.SGD)):
        steps(optimizer([{"params": [p]} for p in params], lr=0.1), params, (None, 1.0))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


@pytest.mark.parametrize("first", [(None, None), (1.0, None), (1.0, 2.0)], ids=str)
def test_a_state_of_some_parameters_goes_on_as_in_pytorch(flat, first):
    ours, theirs = parameters()
    for params, optimizer in ((ours, SGD), (theirs, torch.optim.SGD)):
        one, other = optimizer(params, **LATE), optimizer(params, **LATE)
        steps(one, params, first)
        steps(other, params, (5.0, 7.0))
        other.load_state_dict(one.state_dict())
        steps(other, params, (1.0, 1.0), (2.0, 1.0), (1.0, 3.0))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_parameters_of_one_type_are_laid_flat_where_that_is_faster(flat):
    ours, _ = parameters()
    assert bool(SGD(ours)._flat) == flat
    mixed = [ours[0], nn.Parameter(minicnn.ones(2, dtype=minicnn.float32))]
    assert not SGD(mixed)._flat


def test_parameters_stay_flat_from_step_to_step(flat):
    ours, _ = parameters()
    optimizer = SGD(ours, **LATE)
    steps(optimizer, ours, (1.0, 1.0), (1.0, 1.0))
    assert bool(optimizer._flat) == flat


def test_a_group_may_be_empty():
    ours, _ = parameters()
    steps(SGD([{"params": []}, {"params": ours}], lr=0.1), ours, (1.0, 2.0))


# --- what a program may do to parameters and groups ----------------------------------------------


def test_a_parameter_given_twice_is_refused():
    p, _ = parameters()[0]
    with pytest.raises(ValueError, match=r"a parameter of shape \(3, 2\) is given twice"):
        SGD([p, p])
    with pytest.raises(ValueError, match="given twice"):
        SGD([{"params": [p]}, {"params": [p], "lr": 1}])
    optimizer = SGD([p])
    with pytest.raises(ValueError, match="given twice"):
        optimizer.add_param_group({"params": p})
    assert len(optimizer.param_groups) == 1


def test_a_layer_in_two_places_is_stepped_once():
    layer = nn.Linear(2, 2)
    optimizer = SGD(nn.Sequential(layer, layer).parameters(), lr=1.0)
    before = array(layer.bias).copy()
    layer.bias.grad = minicnn.ones(2)
    optimizer.step()
    np.testing.assert_allclose(array(layer.bias), before - 1, rtol=1e-6)


@pytest.mark.parametrize("option", ["weigth_decay", "name", "betas", 3])
def test_an_option_that_there_is_not_is_refused_by_name(option):
    with pytest.raises(ValueError, match=f"there is no option {option!r}"):
        SGD([{"params": parameters()[0], option: 0.1}])


@pytest.mark.parametrize("option", ["maximize", "foreach", "differentiable", "fused"])
def test_what_pytorchs_can_do_and_this_cannot_is_refused_by_name(option):
    ours, _ = parameters()
    with pytest.raises(NotImplementedError, match=f"{option} is not supported, got True"):
        SGD(ours, **{option: True})
    with pytest.raises(NotImplementedError, match=f"{option} is not supported, got True"):
        SGD([{"params": ours, option: True}])
    optimizer = SGD(ours)
    optimizer.param_groups[0][option] = True
    ours[0].grad = ours[0].detach()
    with pytest.raises(NotImplementedError, match=f"{option} is not supported, got True"):
        optimizer.step()


@pytest.mark.parametrize("number", [np.float64, np.float32, np.float16, np.longdouble])
@pytest.mark.parametrize("where", ["construction", "group"])
def test_numpys_numbers_step_as_pythons(flat, number, where):
    results = []
    for kind in (number, float):
        p = nn.Parameter(minicnn.tensor([1.0, 3.0]))
        options = {"lr": 0.125, "momentum": 0.5, "dampening": 0.25, "weight_decay": 0.5}
        converted = {k: kind(v) for k, v in options.items()}
        optimizer = SGD([p], **(converted if where == "construction" else {}))
        optimizer.param_groups[0].update(converted)
        for _ in range(3):
            p.grad = minicnn.tensor([0.1, 0.2])
            optimizer.step()
        assert p.dtype == minicnn.float32
        results.append(array(p).copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("option", ["lr", "momentum", "dampening", "weight_decay", "nesterov"])
@pytest.mark.parametrize("value", [float("nan"), -1, "0.1", None, "gone"])
def test_an_option_that_went_wrong_is_refused_before_anything_moves(option, value):
    if (option, value) == ("dampening", -1):
        value = [0.1]  # PyTorch's may be negative
    ours, _ = parameters()
    before = [array(p).copy() for p in ours]
    optimizer = SGD([{"params": [p]} for p in ours], lr=0.1, momentum=0.9)
    for p in ours:
        p.grad = p.detach()
    optimizer.param_groups[1][option] = value
    if value == "gone":
        del optimizer.param_groups[1][option]
    with pytest.raises(ValueError, match=f"SGD: .*{option}"):
        optimizer.step()
    assert all(map(np.array_equal, before, map(array, ours)))


def test_a_parameter_frozen_later_stays_and_goes_on_as_in_pytorch(flat):
    ours, theirs = parameters()
    mine, its = SGD(ours, **LATE), torch.optim.SGD(theirs, **LATE)
    for frozen in (False, True, False):
        for params, optimizer in ((ours, mine), (theirs, its)):
            params[0].requires_grad_(not frozen)
            step(optimizer, *params)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_a_group_added_later_is_stepped_as_in_pytorch(flat):
    ours, theirs = parameters()
    for params, optimizer in ((ours, SGD), (theirs, torch.optim.SGD)):
        one = optimizer(params[:1], **LATE)
        step(one, *params)
        one.add_param_group({"params": params[1], "lr": 0.5})
        step(one, *params)
        step(one, *params)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_network_that_changes_its_type_goes_on_in_it(flat, momentum):
    results = []
    for kind in ("float32", "float64"):
        p = nn.Parameter(minicnn.tensor([1.0, 3.0]).to(getattr(minicnn, kind)))
        layer = nn.Module()
        layer.p = p
        optimizer = SGD([p], lr=0.125, momentum=momentum)
        for _ in range(2):
            layer.double() if kind == "float32" and optimizer.state_dict()["state"] else None
            p.grad = None
            (p * p).sum().backward()
            optimizer.step()
            layer.double()
        assert p.dtype == p.grad.dtype == minicnn.float64
        results.append(array(p).copy())
    np.testing.assert_array_equal(*results)


def test_values_that_were_replaced_are_stepped_with_the_momentum_there_is(flat):
    ours, theirs = parameters()
    for top, params, optimizer in ((minicnn, ours, SGD), (torch, theirs, torch.optim.SGD)):
        one = optimizer(params, **LATE)
        step(one, *params)
        params[0].data = top.ones(3, 2, dtype=top.float64)
        step(one, *params)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)


def test_parameters_in_the_same_memory_stay_there_as_in_pytorch(flat):
    ours, theirs = parameters()
    for top, params, optimizer in ((minicnn, ours, SGD), (torch, theirs, torch.optim.SGD)):
        one = optimizer([params[0], top.nn.Parameter(params[0].detach()[0])], **LATE)
        for _ in range(3):
            for p in one.param_groups[0]["params"]:
                p.grad = p.detach() * 0 + 1
            one.step()
    np.testing.assert_allclose(array(ours[0]), array(theirs[0]), rtol=1e-12)


GROUPS = [[[0, 1]], [[0], [1]]]


@pytest.mark.parametrize("groups", GROUPS, ids=["one group", "two groups"])
@pytest.mark.parametrize("change", ["exchanged", "shared"])
def test_gradients_that_change_places_are_stepped_as_in_pytorch(flat, groups, change):
    results = []
    for top, optimizer in ((minicnn, SGD), (torch, torch.optim.SGD)):
        params = [top.nn.Parameter(top.zeros(2)) for _ in range(2)]
        one = optimizer([{"params": [params[i] for i in group]} for group in groups], lr=1.0)
        (params[0].sum() + 2 * params[1].sum()).backward()
        a, b = params
        a.grad, b.grad = b.grad, (a if change == "exchanged" else b).grad
        one.step()
        results.append([p.tolist() for p in params])
    assert results[0] == results[1]


def test_a_gradient_is_not_copied_where_it_is_in_its_place(flat):
    ours, _ = parameters()
    optimizer = SGD(ours, lr=0.1)
    loss(*ours).backward()
    before = [p.grad_array for p in ours]
    optimizer.step()
    assert all(p.grad_array is g for p, g in zip(ours, before, strict=True))


@pytest.mark.parametrize("tied", ["at first", "before the group is added", "at last"])
def test_parameters_in_the_same_memory_may_be_of_two_groups_as_in_pytorch(flat, tied):
    results = []
    for top, optimizer in ((minicnn, SGD), (torch, torch.optim.SGD)):
        a, b, c = (top.nn.Parameter(top.zeros(2)) for _ in range(3))
        if tied == "at first":
            b.data = a.data
            one = optimizer([{"params": [a, c]}, {"params": b}], lr=1.0)
        elif tied == "before the group is added":
            one = optimizer([a, c], lr=1.0)
            b.data = a.data
            one.add_param_group({"params": b})
        else:
            one = optimizer([{"params": [a, c]}, {"params": b}], lr=1.0)
            b.data = a.data
        for _ in range(2):
            one.zero_grad()
            (a.sum() + 2 * b.sum() + 3 * c.sum()).backward()
            one.step()
        results.append([p.tolist() for p in (a, b, c)])
    assert results[0] == results[1]


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_goes_on_bit_for_bit_and_shares_nothing(flat, twin_of):
    ours, _ = parameters()
    optimizer = SGD(ours, **LATE)
    step(optimizer, *ours)
    other = twin_of(optimizer)
    theirs = other.param_groups[0]["params"]
    for each, params in ((optimizer, ours), (other, theirs)):
        step(each, *params)
        step(each, *params)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(array(p), array(q))


@pytest.mark.parametrize("new", [minicnn.ones(3, 2), minicnn.ones(2, dtype=minicnn.float64)])
def test_a_gradient_from_before_a_change_is_refused(new):
    ours, _ = parameters()
    optimizer = SGD(ours)
    loss(*ours).backward()
    ours[0].data = new
    before = array(ours[1]).copy()
    with pytest.raises(RuntimeError, match=r"a gradient of shape \(3, 2\) and float64 for a"):
        optimizer.step()
    assert np.array_equal(array(ours[1]), before)


def test_momentum_of_another_shape_is_refused():
    p, _ = parameters()[0]
    optimizer = SGD([p], lr=0.1, momentum=0.9)
    for shape in ((3, 2), (2, 2)):
        p.data, p.grad = minicnn.ones(shape, dtype=p.dtype), None
        p.grad = minicnn.ones(shape, dtype=p.dtype)
        if shape == (3, 2):
            optimizer.step()
    with pytest.raises(RuntimeError, match=r"of shape \(2, 2\) had \(3, 2\) before"):
        optimizer.step()


def test_a_step_between_forward_and_backward_is_noticed(flat):
    ours, _ = parameters()
    optimizer = SGD(ours, lr=0.1)
    again = loss(*ours)
    step(optimizer, *ours)
    with pytest.raises(RuntimeError, match=r"SGD\.step"):
        again.backward()


def test_gradients_can_be_kept_at_zero():
    ours, _ = parameters()
    optimizer = SGD(ours)
    loss(*ours).backward()
    memory = ours[0].grad_array
    optimizer.zero_grad(set_to_none=False)
    assert ours[0].grad_array is memory and not ours[0].grad.any()


PARAMETERS = 3
NUMBERS = st.sampled_from([0, 0.1, 0.5, np.float64(0.3), np.float32(0.25)])
EVENTS = st.one_of(
    st.tuples(st.just("step"), st.sets(st.integers(0, PARAMETERS - 1)), NUMBERS),
    st.tuples(st.just("set"), st.sampled_from(["lr", "weight_decay", "momentum"]), NUMBERS),
    st.tuples(st.just("freeze"), st.integers(0, PARAMETERS - 1), st.booleans()),
    st.tuples(st.just("replace"), st.integers(0, PARAMETERS - 1), NUMBERS),
    st.tuples(st.just("zero"), st.booleans(), st.none()),
    st.tuples(st.just("add"), NUMBERS, st.none()),
    st.tuples(st.just("copy"), st.none(), st.none()),
    st.tuples(st.just("state"), st.none(), st.none()),
)


def life(top, events):
    """What an optimiser makes of parameters through these events: their values, and its state."""
    values = [np.arange(6.0).reshape(3, 2) / 8, np.ones(2), np.full((1, 3), -0.5)]
    given = [top.nn.Parameter(top.tensor(v)) for v in values]
    optimizer = top.optim.SGD(given[:2], lr=0.1, momentum=0.9, dampening=0.5)
    for what, a, b in events:
        groups = optimizer.param_groups
        if what == "step":
            for i in a:
                if given[i].requires_grad:
                    (given[i] * given[i] * float(b)).sum().backward()
            optimizer.step()
        elif what == "set":
            groups[0][a] = b
        elif what == "freeze":
            given[a].requires_grad_(b)
        elif what == "replace":
            given[a].data = given[a].detach() * 0 + float(b)
        elif what == "zero":
            optimizer.zero_grad(a)
        elif what == "add" and len(groups) == 1:
            optimizer.add_param_group({"params": given[2:], "lr": float(a)})
        elif what == "copy":
            given, optimizer = copy.deepcopy((given, optimizer))
        elif what == "state":
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = top.optim.SGD([{"params": g["params"]} for g in groups], lr=7.0)
            optimizer.load_state_dict(state)
    buffers = {
        i: array(each["momentum_buffer"]).tolist()
        for i, each in optimizer.state_dict()["state"].items()
        if each.get("momentum_buffer") is not None
    }
    return [array(p).tolist() for p in given], buffers


@given(events=st.lists(EVENTS, max_size=12), flat=st.booleans())
@settings(max_examples=60)
def test_any_life_of_an_optimiser_is_as_in_pytorch(events, flat):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minicnn.get_default_device().backend, "costly_launches", flat)
        values, buffers = life(minicnn, events)
    their_values, their_buffers = life(torch, events)
    for mine, its in zip(values, their_values, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-12)
    assert buffers.keys() == their_buffers.keys()
    for i, mine in buffers.items():
        np.testing.assert_allclose(mine, their_buffers[i], rtol=1e-9, atol=1e-12)


# --- states of something else --------------------------------------------------------------------


def _damaged(state, path, value):
    """A copy of a state with the value at a path replaced, or left out for "gone"."""
    copy = {
        "state": {k: dict(v) for k, v in state["state"].items()},
        "param_groups": [{**g, "params": list(g["params"])} for g in state["param_groups"]],
    }
    *way, last = path
    place = copy
    for key in way:
        place = place[key]
    if isinstance(value, str) and value == "gone":
        del place[last]
    else:
        place[last] = value
    return copy


ANYTHING = [None, 3, -1, 2.5, float("nan"), "a", [], {}, [1], {"a": 1}, [[0, 1]], (0, 1), "gone"]
PLACES = [
    ("state",),
    ("param_groups",),
    ("param_groups", 0),
    ("param_groups", 0, "params"),
    ("param_groups", 0, "params", 1),
    ("param_groups", 0, "lr"),
    ("param_groups", 0, "momentum"),
    ("param_groups", 0, "dampening"),
    ("param_groups", 0, "weight_decay"),
    ("param_groups", 0, "nesterov"),
    ("param_groups", 0, "initial_lr"),
    ("param_groups", 0, "maximize"),
    ("param_groups", 0, "unknown"),
    ("state", 0),
    ("state", 0, "momentum_buffer"),
    ("state", 0, "unknown"),
    ("state", 7),
    ("state", "0"),
]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("value", ANYTHING, ids=repr)
def test_a_state_is_taken_whole_or_refused_and_changes_nothing(flat, path, value):
    ours, _ = parameters()
    optimizer = SGD(ours, lr=0.5, momentum=0.9)
    step(optimizer, *ours)
    good = optimizer.state_dict()
    before = repr(good)
    try:
        state = _damaged(good, path, value)
    except KeyError:
        return  # there is nothing to leave out
    message = None
    try:
        optimizer.load_state_dict(state)
    except (ValueError, NotImplementedError) as error:
        message = str(error)
    if message is not None:
        assert message.startswith("SGD: ") and "\n" not in message
        assert repr(optimizer.state_dict()) == before
    step(optimizer, *ours)
    assert all(np.isfinite(array(p)).all() for p in ours)


@pytest.mark.parametrize(
    "buffer",
    [[[1.0] * 2] * 3, minicnn.ones(2, 3), minicnn.ones(6), minicnn.ones(1, 2), 1.0, np.ones(1)],
    ids=repr,
)
def test_momentum_that_does_not_fit_is_refused(buffer):
    ours, _ = parameters()
    optimizer = SGD(ours, momentum=0.9)
    step(optimizer, *ours)
    state = _damaged(optimizer.state_dict(), ("state", 0, "momentum_buffer"), buffer)
    with pytest.raises(ValueError, match="SGD: momentum_buffer 0 "):
        optimizer.load_state_dict(state)


def test_what_a_program_keeps_in_a_group_is_saved_and_loaded():
    one, other = SGD(parameters()[0]), SGD(parameters()[0])
    one.param_groups[0]["note"], other.param_groups[0]["note"] = "head", "body"
    other.load_state_dict(one.state_dict())
    assert other.param_groups[0]["note"] == "head"


def test_pytorchs_own_groups_are_taken():
    ours, theirs = parameters()
    state = torch.optim.SGD(theirs, lr=0.25, momentum=0.5).state_dict()
    state["param_groups"][0]["params"] = [5, 3]  # numbers are names, in the parameters' order
    optimizer = SGD(ours)
    optimizer.load_state_dict(
        {**state, "state": {5: {"momentum_buffer": minicnn.ones(3, 2)}, 3: {}}}
    )
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert list(optimizer.state_dict()["state"]) == [0]


# --- clipping, further ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtypes", [*itertools.product(["float32", "float64"], repeat=2)])
def test_gradients_of_any_types_are_clipped_as_in_pytorch(dtypes):
    norms = []
    for top in (minicnn, torch):
        given = [top.nn.Parameter(top.ones(3, dtype=getattr(top, d))) for d in dtypes]
        for p in given:
            p.grad = p.detach() * 3
        norms.append(top.nn.utils.clip_grad_norm_((p for p in given), 1.0).item())
        norms += [p.grad.tolist() for p in given]
        assert [str(p.grad.dtype).rpartition(".")[2] for p in given] == list(dtypes)
    assert norms[0] == pytest.approx(norms[3], rel=1e-6)
    np.testing.assert_allclose(norms[1:3], norms[4:], rtol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_norm_that_is_not_finite_is_pytorchs(value):
    results = []
    for top in (minicnn, torch):
        p = top.nn.Parameter(top.ones(2))
        p.grad = top.tensor([value, 1.0])
        results.append([top.nn.utils.clip_grad_norm_(p, 1.0).item(), *p.grad.tolist()])
    np.testing.assert_array_equal(*results)


def test_a_norm_that_is_not_finite_is_refused_if_asked_and_changes_nothing():
    p = nn.Parameter(minicnn.ones(2))
    p.grad = minicnn.tensor([float("inf"), 1.0])
    with pytest.raises(RuntimeError, match="the norm of the gradients is inf"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.tolist() == [float("inf"), 1.0]


@pytest.mark.parametrize("norm_type", [1, 0, float("inf"), "inf", -1])
def test_other_norms_are_refused_by_name(norm_type):
    with pytest.raises(NotImplementedError, match="norm_type must be 2, got"):
        nn.utils.clip_grad_norm_([], 1.0, norm_type)


def test_an_iterator_that_was_used_up_is_warned_of():
    used = iter([])
    with pytest.warns(UserWarning, match="an iterator without parameters"):
        nn.utils.clip_grad_norm_(used, 1.0)


@pytest.mark.cuda
def test_gradients_on_different_devices_are_refused_by_name():
    given = [nn.Parameter(minicnn.ones(2, device=device)) for device in ("cpu", "cuda")]
    for p in given:
        p.grad = p.detach()
    with pytest.raises(RuntimeError, match="clip_grad_norm_: tensors on different devices"):
        nn.utils.clip_grad_norm_(given, 1.0)
    optimizer = SGD(given, lr=0.5, momentum=0.5)  # each of which is stepped where it is
    optimizer.step()
    assert [p.tolist() for p in given] == [[0.5, 0.5]] * 2


@pytest.mark.cuda
def test_a_network_that_moves_takes_its_momentum_with_it():
    results = []
    for moves in (True, False):
        layer = nn.Module()
        layer.p = nn.Parameter(minicnn.tensor([1.0, 3.0], device="cpu"))
        optimizer = SGD(layer.parameters(), lr=0.125, momentum=0.5)
        for device in ("cpu", "cuda", "cuda", "cpu"):
            if moves:
                layer.to(device)
            layer.p.grad = None
            (layer.p * layer.p).sum().backward()
            optimizer.step()
        results.append(layer.p.tolist())
    np.testing.assert_allclose(*results, rtol=1e-6)


SOME = {"all": lambda ps: ps, "one": lambda ps: ps[:1], "reversed": lambda ps: ps[::-1]}


@pytest.mark.parametrize("some", SOME)
def test_gradients_that_lie_together_are_clipped_as_in_pytorch(flat, some):
    ours, theirs = parameters()
    SGD(ours)
    for params in (ours, theirs):
        loss(*params).backward()
    norms = [
        top.nn.utils.clip_grad_norm_(SOME[some](params), 0.1).item()
        for top, params in ((minicnn, ours), (torch, theirs))
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p.grad), array(q.grad), rtol=1e-6)


def test_a_gradient_put_in_place_of_one_that_lies_with_others_is_clipped(flat):
    ours, _ = parameters()
    SGD(ours)
    loss(*ours).backward()
    ours[0].grad = ours[0].detach() * 0 + 1
    ours[1].grad.zero_()
    assert nn.utils.clip_grad_norm_(ours, 1.0).item() == pytest.approx(6**0.5)
    np.testing.assert_allclose(array(ours[0].grad), 6**-0.5, rtol=1e-5)


def test_a_batch_of_nan_that_is_left_out_leaves_no_trace_in_later_norms(flat):
    ours, _ = parameters()
    SGD(ours)
    norms = []
    for factor in (1.0, float("nan"), 1.0):
        for p in ours:
            p.grad = None
        (loss(*ours) * factor).backward()
        norms.append(nn.utils.clip_grad_norm_(ours, 0.1).item())
    assert np.isnan(norms[1])
    assert norms[0] == norms[2] > 0


def test_a_gradient_of_0_stays_so_whatever_the_norm():
    p = nn.Parameter(minicnn.ones(3))
    p.grad = minicnn.tensor([float("nan"), 0.0, 1.0])
    nn.utils.clip_grad_norm_(p, 1.0)
    np.testing.assert_array_equal(array(p.grad), [float("nan"), 0.0, float("nan")])


def test_the_norm_is_that_of_a_hundred_thousand_elements_in_any_order():
    p = nn.Parameter(minicnn.ones(40, 50, 7, 8).permute(0, 3, 1, 2))
    p.grad = p.detach() * 2
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == pytest.approx(2 * 112_000**0.5)
    np.testing.assert_allclose(array(p.grad), 112_000**-0.5, rtol=1e-5)


def test_clipping_one_parameter_twice_is_refused():
    p, _ = parameters()[0]
    with pytest.raises(ValueError, match="a parameter is given twice"):
        nn.utils.clip_grad_norm_([p, p], 1.0)


def test_clipping_between_two_backwards_is_noticed():
    p = nn.Parameter(minicnn.ones(2))
    p.grad = minicnn.tensor([3.0, 4.0])
    x = minicnn.ones(2).requires_grad_()
    y = (x * p.grad).sum()
    nn.utils.clip_grad_norm_(p, 1.0)
    with pytest.raises(RuntimeError, match="clip_grad_norm_"):
        y.backward()
