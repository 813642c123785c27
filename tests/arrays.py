"""Between NumPy's arrays and tensors on the device under test (`pytest --backend`)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from minicnn import get_default_device
from minicnn.tensor import Tensor


def placed(a: np.ndarray) -> Any:
    """`a` as an array of the backend under test, in the same layout; NumPy's is `a` itself.

    CuPy keeps C order only on the way to the device, so there the layout is made anew.
    """
    backend = get_default_device().backend
    if backend.device_type == "cpu":
        return a
    order = sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis]))
    inner, back = a.transpose(order), sorted(range(a.ndim), key=order.__getitem__)
    if a.size and a.ndim and inner.strides[-1] > a.itemsize:
        wide = np.repeat(inner, 2, axis=-1)
        return backend.from_host(wide)[..., ::2].transpose(back)
    return backend.from_host(np.ascontiguousarray(inner)).reshape(inner.shape).transpose(back)


def tensor(a: np.ndarray, requires_grad: bool = False) -> Tensor:
    """`a` as a tensor under test, of its dtype and in its layout; on the CPU in its memory."""
    return Tensor(placed(a), requires_grad=requires_grad)


def array(t: Any) -> np.ndarray:
    """The values of a tensor, minicnn's on any device or PyTorch's, as a NumPy array."""
    return t.detach().cpu().numpy()


def named(value):
    """A name for a test of this value, the same in every process: without addresses."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))
