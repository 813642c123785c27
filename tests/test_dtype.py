"""Types: what an operation gives for operands of two types, as in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import minicnn

from .arrays import array

VALUES = {
    "bool": lambda L: L.tensor([True, False]),
    "int64": lambda L: L.tensor([1, 2]),
    "int32": lambda L: L.tensor([1, 2], dtype=L.int32),
    "uint8": lambda L: L.tensor([1, 2], dtype=L.uint8),
    "float32": lambda L: L.tensor([1.0, 2.0]),
    "float64": lambda L: L.tensor([1.0, 2.0], dtype=L.float64),
    "0-d int64": lambda L: L.tensor(2),
    "0-d float32": lambda L: L.tensor(2.0),
    "0-d float64": lambda L: L.tensor(2.0, dtype=L.float64),
    "int": lambda L: 2,
    "float": lambda L: 2.5,
}
OPERATORS = {
    "+": lambda x, y: x + y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "<": lambda x, y: x < y,
    "==": lambda x, y: x == y,
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("right", VALUES)
@pytest.mark.parametrize("left", VALUES)
def test_types_and_values_of_mixed_operands_are_pytorchs(left, right, operator):
    if left in ("int", "float") and right in ("int", "float"):
        return
    ours, theirs = (
        OPERATORS[operator](VALUES[left](L), VALUES[right](L)) for L in (minicnn, torch)
    )
    assert str(theirs.dtype) == f"torch.{ours.dtype}"
    np.testing.assert_allclose(array(ours), array(theirs), rtol=1e-6)
