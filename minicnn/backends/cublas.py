"""Matrix products while a graph is captured: cuBLAS, called directly.

CuPy refuses every call of cuBLAS on a stream that is being captured (as of CuPy 14.2; cupy/cupy
issue 6290), although cuBLAS itself allows it. So here are the same products by the same library,
through CuPy's own handle, without CuPy in between.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache
from typing import Any

import cupy as xp
import numpy as np
from cupy._core import get_compute_type
from cupy._core._routines_linalg import COMPUTE_TYPE_TF32
from cupy.cuda.device import get_cublas_handle

Array = Any

# From cublas_api.h and library_types.h.
_REAL = {"float32": 0, "float64": 1}  # CUDA_R_32F, CUDA_R_64F
_COMPUTE = {"float32": 68, "float64": 70}  # CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F
_COMPUTE_TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32
_C_TYPE = {"float32": ctypes.c_float, "float64": ctypes.c_double}
_DEFAULT_ALGORITHM = -1

WORKSPACE_BYTES = 32 * 2**20  # what cuBLAS recommends for Hopper; others need less


@cache
def library() -> Any:
    """cuBLAS, found among what CuPy's own binding of it was linked with.

    Raises ImportError where there is none.
    """
    from cupy.cuda import cublas  # not before there is a driver: without one it may be missing

    return ctypes.CDLL(cublas.__file__)


def _call(name: str, *args: Any) -> None:
    if status := getattr(library(), name)(ctypes.c_void_p(get_cublas_handle()), *args):
        raise RuntimeError(f"{name}: cuBLAS status {status}")


def use(stream: Any, workspace: Array) -> None:
    """Have products made on `stream`, with scratch memory that is there when a graph runs.

    CuPy sets its own stream again, and with it the workspace, whenever it calls cuBLAS.
    """
    _call("cublasSetStream_v2", ctypes.c_void_p(stream.ptr))
    memory = ctypes.c_void_p(workspace.data.ptr)
    _call("cublasSetWorkspace_v2", memory, ctypes.c_size_t(workspace.nbytes))


def _stacked(x: Array, shape: tuple[int, ...]) -> tuple[Array, int]:
    """x as a stack of matrices, one for each of `shape`, and the elements from one to the next."""
    if math.prod(x.shape[:-2]) == 1:
        return x.reshape(x.shape[-2:]), 0
    stack = xp.broadcast_to(x, (*shape, *x.shape[-2:])).reshape(-1, *x.shape[-2:])
    return stack, stack.strides[0] // x.itemsize


def _rows(x: Array) -> tuple[Array, bool, int]:
    """x, whether its matrices are stored by columns, and the elements from a row to the next."""
    (m, n), (row, column), size = x.shape[-2:], x.strides[-2:], x.itemsize
    if column == size and row >= n * size:
        return x, False, row // size
    if row == size and column >= m * size:
        return x, True, column // size
    return xp.ascontiguousarray(x), False, max(n, 1)


def matmul(x: Array, y: Array, out: Array | None = None) -> Array:
    """x @ y as NumPy defines it, for arrays of one floating-point type, into `out` if given.

    cuBLAS stores matrices by columns. A matrix stored by rows is to it the transpose, so z = x y is
    asked for as zᵀ = yᵀ xᵀ.
    """
    if x.ndim == 1:
        z = matmul(x[None, :], y)
        return z.reshape(*z.shape[:-2], z.shape[-1])
    if y.ndim == 1:
        z = matmul(x, y[:, None])
        return z.reshape(z.shape[:-1])
    m, k, n = x.shape[-2], x.shape[-1], y.shape[-1]
    if y.shape[-2] != k:
        raise ValueError(f"matmul: {x.shape} @ {y.shape}: {k} columns do not meet {y.shape[-2]}")
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    z = xp.empty((*batch, m, n), x.dtype) if out is None else out
    if not z.size:
        return z
    (x, x_next), (y, y_next) = _stacked(x, batch), _stacked(y, batch)
    (x, x_columns, x_ld), (y, y_columns, y_ld) = _rows(x), _rows(y)
    name = str(x.dtype)
    one, zero = _C_TYPE[name](1), _C_TYPE[name](0)
    tf32 = name == "float32" and get_compute_type(x.dtype) == COMPUTE_TYPE_TF32
    compute = _COMPUTE_TF32 if tf32 else _COMPUTE[name]
    _call(
        "cublasGemmStridedBatchedEx",
        ctypes.c_int(y_columns),  # CUBLAS_OP_N or CUBLAS_OP_T
        ctypes.c_int(x_columns),
        *map(ctypes.c_int, (n, m, k)),
        ctypes.byref(one),
        *_matrix(y, y_ld, y_next),
        *_matrix(x, x_ld, x_next),
        ctypes.byref(zero),
        *_matrix(z, n, m * n),
        ctypes.c_int(math.prod(batch)),
        ctypes.c_int(compute),
        ctypes.c_int(_DEFAULT_ALGORITHM),
    )
    return z


def _matrix(x: Array, leading: int, following: int) -> tuple[Any, ...]:
    """A matrix as cuBLAS takes it: address, type, leading dimension, distance to the next one."""
    return (
        ctypes.c_void_p(x.data.ptr),
        ctypes.c_int(_REAL[str(x.dtype)]),
        ctypes.c_int(leading),
        ctypes.c_longlong(following),
    )
