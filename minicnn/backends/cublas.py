"""Matrix products by cuBLASLt, called directly: the same calls whether or not a graph is captured.

CuPy refuses every call of cuBLAS on a stream that is being captured (as of CuPy 14.2; cupy/cupy
issue 6290), although cuBLAS allows it. And a product that goes through another call the second time
than the first may add up in another order. So all products of floating-point matrices go this way.
cuBLASLt suits that better than the older interface: it has no stream and no scratch memory of its
own, each call is given both, and it can add a bias on its way (`CUBLASLT_EPILOGUE_BIAS`), for which
the result would otherwise be read and written once more.

The names and numbers are those of cublasLt.h, cublas_api.h and library_types.h.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from functools import cache, lru_cache
from typing import Any, NamedTuple

import cupy as xp
import numpy as np

from .. import context
from .protocol import Array

_TYPES = {  # how cuBLAS calls a type of elements, and the type to compute in
    "float32": (0, 68),  # CUDA_R_32F, CUBLAS_COMPUTE_32F
    "float64": (1, 70),  # CUDA_R_64F, CUBLAS_COMPUTE_64F
    "complex64": (4, 68),  # CUDA_C_32F
    "complex128": (5, 70),  # CUDA_C_64F
}
_COMPUTE_TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32
_TRANS_A, _TRANS_B, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8  # CUBLASLT_MATMUL_DESC_…
_BATCH_COUNT, _BATCH_OFFSET = 5, 6  # CUBLASLT_MATRIX_LAYOUT_…
_MOST_WORKSPACE, _ALIGNMENT = 1, (5, 6, 7, 8)  # CUBLASLT_MATMUL_PREF_…; of A, B, C, D
_EPILOGUE_BIAS = 4
_RESULT_BYTES, _WORKSPACE_AT = 96, 64  # of a cublasLtMatmulHeuristicResult_t, and within it

WORKSPACE_BYTES = 32 * 2**20  # the most scratch memory: what cuBLAS recommends for Hopper


@cache
def library() -> Any:
    """cuBLAS and cuBLASLt, found among what CuPy's own binding of cuBLAS was linked with.

    Raises ImportError where there is none.
    """
    from cupy.cuda import cublas  # not before there is a driver: without one it may be missing

    return ctypes.CDLL(cublas.__file__)


def _call(name: str, *args: Any) -> None:
    if status := getattr(library(), name)(*args):
        raise RuntimeError(f"{name}: cuBLAS status {status}")


@cache
def _handle() -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    _call("cublasLtCreate", ctypes.byref(handle))
    return handle


class _Matrix(NamedTuple):
    """A matrix, or a stack of them, as cuBLAS is told of it: stored by columns."""

    rows: int
    columns: int
    leading: int  # the elements from one column to the next
    stack: int  # how many
    following: int  # the elements from one matrix of the stack to the next
    alignment: int  # in bytes, of the first element


class _Description:
    """One of cuBLASLt's descriptions, which goes when this object goes."""

    def __init__(self, kind: str, *args: Any) -> None:
        self.kind, self.handle = kind, ctypes.c_void_p()
        _call(f"cublasLt{kind}Create", ctypes.byref(self.handle), *args)
        destroy = getattr(library(), f"cublasLt{kind}Destroy")
        weakref.finalize(self, destroy, self.handle).atexit = False

    def set(self, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        name = f"cublasLt{self.kind}SetAttribute"
        _call(name, self.handle, ctypes.c_int(attribute), ctypes.byref(value), size)


class _Plan:
    """How a product of matrices that lie so is computed: made once, and used for all like it."""

    def __init__(
        self, dtype: str, tf32: bool, operations: tuple[int, int], a: _Matrix, b: _Matrix,
        c: _Matrix, bias: bool,
    ) -> None:  # fmt: skip
        data, compute = _TYPES[dtype]
        compute = _COMPUTE_TF32 if tf32 else compute
        self.lock = threading.Lock()
        self.one, self.zero = (np.full(1, n, dtype).tobytes() for n in (1, 0))
        self.work = _Description("MatmulDesc", ctypes.c_int(compute), ctypes.c_int(data))
        for attribute, operation in zip((_TRANS_A, _TRANS_B), operations, strict=True):
            self.work.set(attribute, ctypes.c_int32(operation))
        if bias:
            self.work.set(_EPILOGUE, ctypes.c_uint32(_EPILOGUE_BIAS))
        self.layouts = [self._layout(data, each) for each in (a, b, c)]
        preference = _Description("MatmulPreference")
        preference.set(_MOST_WORKSPACE, ctypes.c_uint64(WORKSPACE_BYTES))
        for attribute, each in zip(_ALIGNMENT, (a, b, c, c), strict=True):
            preference.set(attribute, ctypes.c_uint32(each.alignment))
        self.found = ctypes.create_string_buffer(_RESULT_BYTES)  # it begins with the algorithm
        count = ctypes.c_int()
        layouts = [each.handle for each in (*self.layouts, self.layouts[-1])]
        _call(
            "cublasLtMatmulAlgoGetHeuristic", _handle(), self.work.handle, *layouts,
            preference.handle, ctypes.c_int(1), self.found, ctypes.byref(count),
        )  # fmt: skip
        if not count.value:
            raise RuntimeError(f"cuBLAS knows no way to multiply {a} by {b} in {dtype}")
        self.workspace = ctypes.c_size_t.from_buffer(self.found, _WORKSPACE_AT).value

    @staticmethod
    def _layout(data: int, matrix: _Matrix) -> _Description:
        rows, columns = (ctypes.c_uint64(n) for n in matrix[:2])
        leading = ctypes.c_int64(matrix.leading)
        layout = _Description("MatrixLayout", ctypes.c_int(data), rows, columns, leading)
        if matrix.stack > 1:
            layout.set(_BATCH_COUNT, ctypes.c_int32(matrix.stack))
            layout.set(_BATCH_OFFSET, ctypes.c_int64(matrix.following))
        return layout

    def run(self, a: Array, b: Array, c: Array, bias: Array | None) -> None:
        """c = a b, and a bias added to each column, on the current stream."""
        workspace = xp.empty(self.workspace, "uint8") if self.workspace else None
        pa, pb, pc = (ctypes.c_void_p(each.data.ptr) for each in (a, b, c))
        la, lb, lc = (layout.handle for layout in self.layouts)
        with self.lock:
            if bias is not None:
                self.work.set(_BIAS_POINTER, ctypes.c_void_p(bias.data.ptr))
            _call(
                "cublasLtMatmul", _handle(), self.work.handle,
                self.one, pa, la, pb, lb, self.zero, pc, lc, pc, lc, self.found,
                ctypes.c_void_p(0 if workspace is None else workspace.data.ptr),
                ctypes.c_size_t(self.workspace),
                ctypes.c_void_p(xp.cuda.get_current_stream().ptr),
            )  # fmt: skip


_plan = lru_cache(maxsize=1024)(_Plan)


def _operand(x: Array, batch: tuple[int, ...]) -> tuple[Array, bool, _Matrix]:
    """x as cuBLAS takes it, whether it is stored by columns, and what cuBLAS is told of it.

    x is one matrix then, or a stack of them, one for each of `batch`.
    """
    (m, n), stack, size = x.shape[-2:], math.prod(batch), x.itemsize
    if math.prod(x.shape[:-2]) == 1:
        x = x.reshape(m, n)
    else:
        x = xp.broadcast_to(x, (*batch, m, n)).reshape(stack, m, n)
    row, column = x.strides[-2:]
    by_rows = column == size and row >= n * size and row % size == 0
    by_columns = not by_rows and row == size and column >= m * size and column % size == 0
    if by_columns:
        m, n, row = n, m, column
    elif not by_rows:
        x, row = xp.ascontiguousarray(x), max(n, 1) * size
    following = x.strides[0] // size if x.ndim > 2 else 0
    return x, by_columns, _Matrix(n, m, row // size, stack, following, _alignment(x))


def _alignment(x: Array) -> int:
    return min(256, x.data.ptr & -x.data.ptr)


def matmul(x: Array, y: Array, out: Array | None = None, bias: Array | None = None) -> Array:
    """x @ y, and a bias: see protocol.py.

    cuBLAS stores matrices by columns. A matrix stored by rows is to it the transpose, so z = x y is
    asked for as zᵀ = yᵀ xᵀ. Types that it does not know are CuPy's to multiply.
    """
    if bias is not None and x.dtype != np.float32:  # which alone cuBLAS adds one to
        z = matmul(x, y, out)
        z += bias
        return z
    if x.dtype != y.dtype or str(x.dtype) not in _TYPES:
        return xp.matmul(x, y, out=out)
    if y.ndim == 1:
        return matmul(x, y[:, None])[..., 0]
    if x.ndim == 1:
        return matmul(x[None, :], y)[..., 0, :]
    m, k, n = x.shape[-2], x.shape[-1], y.shape[-1]
    if y.shape[-2] != k:
        raise ValueError(f"matmul: {x.shape} @ {y.shape}: {k} columns do not meet {y.shape[-2]}")
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    z = xp.empty((*batch, m, n), x.dtype) if out is None else out
    if not z.size:
        return z
    if not k:
        z[...] = 0 if bias is None else bias
        return z
    (x, x_columns, a), (y, y_columns, b) = _operand(x, batch), _operand(y, batch)
    stack, name = math.prod(batch), str(x.dtype)
    plan = _plan(
        name,
        name == "float32" and context.current().tf32,
        (int(y_columns), int(x_columns)),  # CUBLAS_OP_N or CUBLAS_OP_T
        b,
        a,
        _Matrix(n, m, n, stack, m * n, _alignment(z)),
        bias is not None,
    )
    plan.run(y, x, z, None if bias is None else xp.ascontiguousarray(bias))
    return z
