"""Element types, and the type of a result: PyTorch's rules.

Types fall into three kinds: bool, whole numbers, floating point. A tensor with axes decides the
type; one without axes, or a Python number, changes it only if it is of a higher kind. So float32
stays float32 whatever Python number it meets, and int64 · float32 is float32.
"""

from __future__ import annotations

from functools import reduce
from math import isfinite
from numbers import Integral
from typing import Any

import numpy as np

bool_ = np.dtype("bool")
uint8 = np.dtype("uint8")
int32 = np.dtype("int32")
int64 = np.dtype("int64")
float32 = np.dtype("float32")
float64 = np.dtype("float64")

TYPE_NAMES = {  # PyTorch's older names for them
    bool_: "BoolTensor",
    uint8: "ByteTensor",
    int32: "IntTensor",
    int64: "LongTensor",
    float32: "FloatTensor",
    float64: "DoubleTensor",
}

DType = Any  # a numpy.dtype, which CuPy's arrays have too


def kind(dtype: DType) -> int:
    """0 for bool, 1 for whole numbers, 2 for floating point, 3 for complex numbers.

    Complex tensors can't be made by `minicnn.tensor`; gradcheck's complex step runs on them.
    """
    return {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}[dtype.kind]


def is_floating(dtype: DType) -> bool:
    return dtype.kind in "fc"


def as_dtype(name: str, dtype: Any) -> DType:
    """An element type, also by NumPy's or Python's name for it.

    Raises TypeError for what is none.
    """
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.kind not in "biuf":
        raise TypeError(f"{name}: expected a dtype such as minicnn.float32, got {dtype!r}")
    return found


def get_default_dtype() -> DType:
    """The type of new tensors of numbers with a fraction: float32, always."""
    return float32


def set_default_dtype(d: Any) -> None:
    """Nothing for float32. Raises NotImplementedError for another type: give it as `dtype`."""
    if as_dtype("set_default_dtype", d) != float32:
        raise NotImplementedError(
            f"set_default_dtype: {d} can't be the default; float32 is: give dtype=… where you need"
            " another type"
        )


def wrapped(name: str, value: bool | int | float, dtype: DType) -> bool | int | float:
    """A number to go with elements of this type: a whole one modulo the range, as in PyTorch.

    Raises RuntimeError for a whole number that 64 bits do not hold.
    """
    if dtype.kind not in "iu" or not isinstance(value, Integral):
        return value
    if not -(2**63) <= value < 2**63:
        raise RuntimeError(f"{name}: {value} does not fit into 64 bits")
    info = np.iinfo(dtype)
    return (int(value) - info.min) % (info.max - info.min + 1) + info.min


def fitting(name: str, value: bool | int | float, dtype: DType) -> bool | int | float:
    """A number to be written as an element of this type, as PyTorch writes it.

    What has a fraction is cut to a whole number, and -1 is the largest of an unsigned type. Raises
    RuntimeError for one that is too large for the type, and for a NaN that is to be whole.
    """
    if dtype.kind == "f":
        most = float(np.finfo(dtype).max)
        fits = not isfinite(value) or -most <= value <= most
    elif dtype.kind in "iu":
        info = np.iinfo(dtype)
        least = info.min if isinstance(value, float) else min(info.min, -info.max)
        fits = isfinite(value) and least <= value <= info.max
    else:
        return bool(value)
    if not fits:
        raise RuntimeError(f"{name}: {value} does not fit into {dtype}")
    return wrapped(name, int(value) if dtype.kind in "iu" else value, dtype)


def dtype_of_number(value: bool | int | float) -> DType:
    return bool_ if isinstance(value, bool) else int64 if isinstance(value, int) else float32


def _promote(a: DType, b: DType) -> DType:
    if kind(a) != kind(b):
        return a if kind(a) > kind(b) else b
    return np.promote_types(a, b)


def result_type(*operands: Any) -> DType:
    """The element type of an operation's result, for operands that are arrays or numbers."""
    with_axes: list[DType] = []
    without: list[DType] = []
    numbers: list[DType] = []
    for x in operands:
        if not hasattr(x, "dtype"):
            numbers.append(dtype_of_number(x))
        else:
            (with_axes if x.ndim else without).append(x.dtype)
    result: DType = None
    for group in (with_axes, without, numbers):
        if group:
            best = reduce(_promote, group)
            if result is None or kind(best) > kind(result):
                result = best
    return result
