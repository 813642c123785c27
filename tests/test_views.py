"""What is written into a view reaches what it reaches in PyTorch, or is refused: never lost.

Images and filters are channels-last in memory, which a program doesn't see: so where PyTorch has a
view there may be a copy, and the other way round.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import nn, versions

from .arrays import array, placed

pytestmark = pytest.mark.cpu  # where memory is shared is the same on any device
SHAPE = (2, 3, 4, 2)
START = np.arange(np.prod(SHAPE), dtype="float32").reshape(SHAPE)


def source(L, layout):
    """The same numbers, row by row, or in minicnn as a convolution's filters lie."""
    if L is torch:
        return torch.tensor(START)
    if layout == "rows":
        return minicnn.tensor(START)
    x = nn.Conv2d(SHAPE[1], SHAPE[0], SHAPE[2:]).weight.detach()
    return x.copy_(minicnn.tensor(START))


@st.composite
def ways(draw):
    """Up to four steps from a tensor to another, each with what it is called."""
    shape, steps = SHAPE, []
    for _ in range(draw(st.integers(1, 4))):
        kinds = ["view", "reshape", "flatten", "permute", "index", "slice", "unsqueeze", "detach"]
        kind = draw(st.sampled_from(kinds if shape else ["unsqueeze", "detach", "view"]))
        n = int(np.prod(shape))
        if kind in ("view", "reshape"):
            new = draw(
                st.sampled_from([(n,), (-1, 1), (1, n), (2, -1) if n % 2 == 0 else (n,), shape])
            )
            steps.append((kind, new))
            shape = tuple(
                n // max(1, abs(int(np.prod([m for m in new if m != -1])))) if m == -1 else m
                for m in new
            )
        elif kind == "flatten":
            start = draw(st.integers(0, len(shape) - 1))
            steps.append((kind, start))
            shape = (*shape[:start], int(np.prod(shape[start:])))
        elif kind == "permute":
            order = tuple(draw(st.permutations(range(len(shape)))))
            steps.append((kind, order))
            shape = tuple(shape[a] for a in order)
        elif kind == "index":
            axis = draw(st.integers(0, len(shape) - 1))
            steps.append((kind, (axis, draw(st.integers(0, shape[axis] - 1)))))
            shape = (*shape[:axis], *shape[axis + 1 :])
        elif kind == "slice":
            axis = draw(st.integers(0, len(shape) - 1))
            start, step = draw(st.integers(0, shape[axis] - 1)), draw(st.integers(1, 2))
            steps.append((kind, (axis, start, step)))
            shape = (*shape[:axis], len(range(start, shape[axis], step)), *shape[axis + 1 :])
        elif kind == "unsqueeze":
            axis = draw(st.integers(0, len(shape)))
            steps.append((kind, axis))
            shape = (*shape[:axis], 1, *shape[axis:])
        else:
            steps.append((kind, None))
    return steps


def along(x, steps):
    for kind, how in steps:
        if kind == "view":
            x = x.view(how)
        elif kind == "reshape":
            x = x.reshape(how)
        elif kind == "flatten":
            x = x.flatten(how)
        elif kind == "permute":
            x = x.permute(how)
        elif kind == "index":
            x = x[(slice(None),) * how[0] + (how[1],)]
        elif kind == "slice":
            x = x[(slice(None),) * how[0] + (slice(how[1], None, how[2]),)]
        elif kind == "unsqueeze":
            x = x.unsqueeze(how)
        else:
            x = x.detach()
    return x


WRITES = {
    "fill_": lambda x: x.fill_(-1),
    "+=": lambda x: x.__iadd__(1),
    "[…] =": lambda x: x.__setitem__(..., -1),
    "normal_ of 0": lambda x: x.normal_(0, 0),
    "copy_": lambda x: x.copy_(x.detach().clone() * 2),
}


@pytest.mark.parametrize("layout", ["rows", "channels last"])
@settings(max_examples=400)
@given(steps=ways(), write=st.sampled_from(sorted(WRITES)))
def test_a_write_reaches_what_it_reaches_in_pytorch_or_is_refused(layout, steps, write):
    theirs = source(torch, layout)
    try:
        seen = along(theirs, steps)
    except RuntimeError:
        return  # a view that PyTorch can't make
    WRITES[write](seen)
    ours = source(minicnn, layout)
    mine = along(ours, steps)
    assert mine.shape == tuple(seen.shape)
    try:
        WRITES[write](mine)
    except RuntimeError as error:
        assert layout == "channels last" and "channels-last" in str(error)  # noqa: PT017
        np.testing.assert_array_equal(array(ours), START)
        return
    np.testing.assert_array_equal(array(ours), array(theirs))
    np.testing.assert_array_equal(array(mine), array(seen))


@settings(max_examples=200)
@given(steps=ways())
def test_numpys_view_of_a_copy_can_not_be_written_into(steps):
    theirs = source(torch, "")
    try:
        seen = along(theirs, steps).numpy()
    except RuntimeError:
        return
    seen[...] = -1
    ours = source(minicnn, "channels last")
    mine = along(ours, steps).numpy()
    if mine.flags.writeable:
        mine[...] = -1
        np.testing.assert_array_equal(array(ours), array(theirs))


FLAT = {
    "view": lambda w: w.data.view(-1),
    "flatten": lambda w: w.data.flatten(),
    "a row of a view": lambda w: w.data.view(3, -1)[0],
    "data of a view": lambda w: w.data.view(-1).data,
    "a view of a view": lambda w: w.data.view(-1).view(2, -1),
    "a filter's view": lambda w: w.data[0].view(-1),
    "a filter flattened": lambda w: w.data[0].reshape(-1),
    "a view_as": lambda w: w.data.view_as(minicnn.zeros(6, 9)),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_write_into_filters_in_another_shape_is_refused(name):
    weight = nn.Conv2d(2, 3, 3).weight
    before = array(weight).copy()
    flat = FLAT[name](weight)
    for write in WRITES.values():
        with pytest.raises(RuntimeError, match="this tensor is a copy"):
            write(flat)
    np.testing.assert_array_equal(array(weight), before)


@pytest.mark.parametrize("name", FLAT)
def test_what_was_made_of_filters_that_are_gone_can_be_written_into(name):
    flat = FLAT[name](nn.Conv2d(2, 3, 3).weight)
    assert not flat.zero_().any()


OPTIMISERS = ["SGD", "Adam", "AdamW", "Adadelta", "Adagrad", "RMSprop"]


def _flat_filters():
    """Filters, and a parameter that in PyTorch would be a view of them; here it is a copy."""
    filters = source(minicnn, "filters")
    return filters, nn.Parameter(filters.view(-1))


def _stepped(name, flat):
    flat.grad = minicnn.ones_like(flat)
    getattr(minicnn.optim, name)([flat], lr=0.1).step()


def _loaded(flat):
    net = nn.ParameterList([flat])
    net.load_state_dict({"0": minicnn.zeros(flat.shape)})


@pytest.mark.parametrize(
    "write",
    [
        *[pytest.param(lambda flat, n=n: _stepped(n, flat), id=n) for n in OPTIMISERS],
        pytest.param(_loaded, id="load_state_dict"),
    ],
)
def test_a_parameter_that_is_a_copy_of_filters_is_not_changed_apart_from_them(write):
    filters, flat = _flat_filters()
    with pytest.raises(RuntimeError, match="this tensor is a copy"):
        write(flat)
    np.testing.assert_array_equal(array(flat), START.ravel())
    del filters
    write(flat)
    assert (array(flat) != START.ravel()).any()


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda p: (p * 2).sum().backward(), id="backward"),
        pytest.param(lambda p: nn.utils.clip_grad_norm_([p], 0.1), id="clip_grad_norm_"),
        pytest.param(lambda p: minicnn.optim.SGD([p]).zero_grad(False), id="zero_grad"),
        pytest.param(lambda p: p.grad.mul_(2), id="mul_"),
    ],
)
def test_a_gradient_that_is_a_copy_of_filters_is_not_changed_apart_from_them(write):
    filters, flat = _flat_filters()
    leaf = nn.Parameter(minicnn.ones(flat.shape))
    leaf.grad = filters.view(-1)
    with pytest.raises(RuntimeError, match="this tensor is a copy"):
        write(leaf)
    np.testing.assert_array_equal(array(leaf.grad), START.ravel())
    del filters, flat
    write(leaf)
    assert (array(leaf.grad) != START.ravel()).any()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_was_made_of_an_optimisers_state_is_not_read_after_its_next_step(name):
    net = nn.Conv2d(2, 3, 3)
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(minicnn.optim, name)(net.parameters(), lr=0.1, **options)
    net.weight.grad = minicnn.ones_like(net.weight)
    optimizer.step()
    kept = [t for t in optimizer.state_dict()["state"][0].values() if isinstance(t, minicnn.Tensor)]
    flat = [t.view(-1) for t in kept]
    assert flat
    optimizer.step()
    for each in flat:
        with pytest.raises(RuntimeError, match=f"in place since, by {name}.step"):
            each.sum()


def test_what_numpy_shows_of_a_copy_is_not_read_after_its_source_was_changed():
    filters = source(minicnn, "filters")
    again = minicnn.from_numpy(filters.view(-1).numpy())
    np.testing.assert_array_equal(array(again), START.ravel())
    filters.zero_()
    with pytest.raises(RuntimeError, match="in place since, by fill_"):
        again.sum()


def test_what_numpy_shows_can_not_be_written_into_where_a_copy_would_miss_it():
    filters = source(minicnn, "filters")
    assert filters.numpy().flags.writeable
    flat = filters.view(-1)
    assert not filters.numpy().flags.writeable
    del flat
    assert filters.numpy().flags.writeable


def test_what_is_known_of_copies_ends_with_them():
    before = len(versions.known_copies)
    maps = nn.functional.max_pool2d(minicnn.zeros(100, 2, 4, 4), 2)
    rows = [image.reshape(-1) for image in maps]
    assert len(versions.known_copies) == before + len(rows)
    del rows
    assert len(versions.known_copies) == before
    assert maps.numpy().flags.writeable


def _lines(images):
    """How many lines of versions.py run to take as many images apart as rows."""
    maps, count = nn.functional.max_pool2d(minicnn.zeros(images, 2, 4, 4), 2), 0

    def line(frame, event, _):
        nonlocal count
        count += event == "line"
        return line

    def call(frame, *_):
        return line if frame.f_code.co_filename == versions.__file__ else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        rows = [image.reshape(-1) for image in maps]
    finally:
        sys.settrace(before)
    assert len(rows) == images
    return count


def test_each_further_copy_of_a_tensor_is_noted_in_as_many_steps():
    few, more, most = (_lines(n) for n in (10, 20, 40))
    assert most - more == 2 * (more - few) > 0


def test_an_expanded_tensor_is_refused_and_its_clone_is_not():
    x = minicnn.zeros(1, 3)
    wide = x.expand(2, 3)
    with pytest.raises(RuntimeError, match="share their memory"):
        wide.fill_(1)
    assert wide.clone().fill_(1).sum().item() == 6 and not x.any()


# --- changes in place that are part of a history -------------------------------------------------

HISTORIES = {
    "x += y": lambda L, x, y: add_to(x * 2, y),
    "x -= y * y": lambda L, x, y: (x * 2).__isub__(y * y),
    "x *= 3": lambda L, x, y: (x + y).__imul__(3),
    "x /= y": lambda L, x, y: (x + 1).__itruediv__(y + 5),
    "zeros += x": lambda L, x, y: add_to(L.zeros(3, dtype=x.dtype), x),
    "[1] = y[0]": lambda L, x, y: put(x * 2, 1, y[0]),
    "[:2] = y": lambda L, x, y: put(x * 2, slice(None, 2), y[1:]),
    "[…] = 5": lambda L, x, y: put(x * 2 + y, ..., 5.0) * x,
    "[tensor] = y[0]": lambda L, x, y: put(x * y, L.tensor([0, 2]), y[0]),
    "one by one": lambda L, x, y: put(put(L.zeros(3, dtype=x.dtype), 0, x[0] * y[1]), 2, x.sum()),
}


def add_to(x, y):
    x += y
    return x


def put(x, index, value):
    x[index] = value
    return x


@pytest.mark.parametrize("name", HISTORIES)
def test_a_result_that_is_changed_in_place_has_pytorchs_gradients(name):
    results = []
    for L in (minicnn, torch):
        x = L.tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
        y = L.tensor(np.array([0.5, -1.0, 4.0]), requires_grad=True)
        z = HISTORIES[name](L, x, y)
        (z * z).sum().backward()
        results.append(
            [array(z), *(np.zeros(3) if t.grad is None else array(t.grad) for t in (x, y))]
        )
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


SEEN = {
    "a view": lambda y: y.view(3, 1),
    "a detached one": lambda y: y.detach(),
    "a row": lambda y: y[0:1],
}


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("write", ["+=", "[…] ="])
def test_what_somebody_else_sees_is_not_changed_with_a_history(name, write):
    y = minicnn.ones(3, requires_grad=True) * 2
    other = SEEN[name](y)
    with pytest.raises(RuntimeError, match="can't be changed in place"):
        WRITES[write](y)
    assert (other == 2).all()


def test_what_a_derivative_needs_is_not_changed():
    y = minicnn.ones(3, requires_grad=True).exp()
    with pytest.raises(RuntimeError, match="can't be changed in place"):
        y += 1


def test_a_leaf_that_requires_grad_gets_no_history():
    x = placed(np.ones(3))
    leaf = minicnn.Tensor(x, requires_grad=True)
    for write in (lambda: leaf.__iadd__(leaf * 2), lambda: leaf.__setitem__(0, leaf.sum())):
        with pytest.raises(RuntimeError, match="can't be changed in place"):
            write()
