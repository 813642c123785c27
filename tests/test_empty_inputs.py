"""Tensors without axes and without elements are on a device what they are on the host."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn.nn import functional as F

from .arrays import array

pytestmark = pytest.mark.cuda
SHAPES = [(), (1,), (0,), (0, 3), (3, 0), (2, 0, 3), (0, 0)]


def assigned(x, index, value):
    y = x.detach().clone()
    y[index] = value
    return y


OPERATIONS = {
    "sum": lambda x: x.sum(),
    "sum of an axis": lambda x: x.sum(0),
    "sum of the last axis": lambda x: x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(),
    "mean of an axis": lambda x: x.mean(-1),
    "max": lambda x: x.max(),
    "max of an axis": lambda x: x.max(-1)[0],
    "argmax": lambda x: x.argmax(),
    "argmax of an axis": lambda x: x.argmax(-1, keepdim=True),
    "exp": lambda x: x.exp(),
    "log": lambda x: x.abs().log(),
    "sqrt": lambda x: x.abs().sqrt(),
    "relu": lambda x: x.relu(),
    "sigmoid": lambda x: x.sigmoid(),
    "a power": lambda x: x**2,
    "a power of a number": lambda x: 2**x,
    "a power of whole numbers": lambda x: x.detach().long() ** 2,
    "a quotient": lambda x: 1 / x,
    "clone": lambda x: x.clone(),
    "double": lambda x: x.double(),
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "dropout": lambda x: F.dropout(x, 0.5),
    "dropout of all": lambda x: F.dropout(x, 1.0),
    "flatten": lambda x: x.flatten(),
    "T": lambda x: x.T,
    "squeeze": lambda x: x.squeeze(),
    "[...]": lambda x: x[...],
    "[None]": lambda x: x[None],
    "[:0]": lambda x: x[:0],
    "[[]]": lambda x: x[[]],
    "[[0, 0]]": lambda x: x[[0, 0]],
    "[[-1], 0]": lambda x: x[[-1], 0],
    "[[9]]": lambda x: x[[9]],
    "[mask]": lambda x: x[x > 0],
    "[True]": lambda x: x[True],
    "[...] =": lambda x: assigned(x, ..., 1.0),
    "[[0, 0]] =": lambda x: assigned(x, [0, 0], 1.0),
    "[tensor] =": lambda x: assigned(x, minicnn.tensor([0, 0], device=x.device), 1.0),
    "cat": lambda x: minicnn.cat([x, x]),
    "stack": lambda x: minicnn.stack([x, x]),
    "==": lambda x: x == 1,
    "all": lambda x: (x > 0).all(),
    "any": lambda x: (x > 0).any(),
    "@": lambda x: x @ x.T,
    "linear": lambda x: F.linear(x, minicnn.ones(2, x.shape[-1] if x.ndim else 1, device=x.device)),
}


def outcome(operation, values, device):
    """The result and the gradient, or the kind of error."""
    minicnn.manual_seed(0)
    x = minicnn.tensor(values, device=device, requires_grad=True)
    try:
        y = operation(x)
    except (IndexError, RuntimeError, ValueError) as error:
        return type(error)
    if y.requires_grad:
        y.backward(minicnn.ones_like(y))
    return array(y.detach()), None if x.grad is None else array(x.grad)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_a_device_makes_of_little_or_nothing_what_the_host_does(operation, shape):
    values = np.random.default_rng(0).standard_normal(shape).astype("float32")
    expected, got = (outcome(operation, values, device) for device in ("cpu", "cuda"))
    if isinstance(expected, type) or isinstance(got, type):
        assert got == expected
        return
    for want, found in zip(expected, got, strict=True):
        assert (want is None) == (found is None)
        if want is not None:
            assert (found.dtype, found.shape) == (want.dtype, want.shape)
            np.testing.assert_allclose(found, want, rtol=1e-5)
