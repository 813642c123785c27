"""Arrays that wrap NumPy's, and the recording of what is done to them."""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary as _WeakValues

import numpy as np


class Recording:
    """The work of a captured stream, to be done when its graph is launched."""

    def __init__(self) -> None:
        self.work: list[Any] = []
        self.before: list[tuple[np.ndarray, np.ndarray]] = []
        self.memory: list[np.ndarray] = []  # what was made meanwhile: the graph's pool keeps it

    def do(self, work: Any, *changed: np.ndarray) -> None:
        """Note down work(), which changes these arrays."""
        self.before += [(array, array.copy()) for array in changed]
        self.work.append(work)

    def undo(self) -> None:
        for array, content in reversed(self.before):
            array[...] = content
        self.before.clear()


recording: Recording | None = None


def _not_while_capturing(what: str) -> None:
    if recording is not None:
        raise RuntimeError(
            f"cudaErrorStreamCaptureUnsupported: {what} while a stream is being captured"
        )


def _do(work: Any, *changed: np.ndarray) -> None:
    if recording is not None:
        recording.do(work, *changed)
    work()


_owners: _WeakValues[int, ndarray] = _WeakValues()  # by the id of NumPy's array


class ndarray:
    """An array on a pretend device."""

    __array_ufunc__ = None  # so that NumPy leaves `array + this` to __radd__, which refuses it

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)
        # As in CuPy, all views of an array have one and the same base.
        owner = self._array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner is self._array:
            self.base: ndarray | None = None
            _owners[id(owner)] = self
        else:
            base = _owners.get(id(owner))
            self.base = ndarray(owner) if base is None else base
        if recording is not None:
            recording.memory.append(self._array)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> np.ndarray:
        _not_while_capturing("a copy to the host")
        if out is None:
            return self._array.copy(order)
        out[...] = self._array
        return out

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self._array.ctypes.data)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(self._array[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        array, index, value = self._array, _index(index), _bare(value)
        _do(lambda: array.__setitem__(index, value), array)

    def __repr__(self) -> str:
        return repr(self._array)

    @property
    def T(self) -> ndarray:
        return ndarray(self._array.T)

    @property
    def imag(self) -> ndarray:
        return ndarray(self._array.imag)


def _array(value: Any) -> Any:
    """NumPy's scalars as arrays without axes."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def _arrays(function: Any) -> Any:
    return lambda *args, **kwargs: _array(function(*args, **kwargs))


def _bare(value: Any) -> Any:
    """What NumPy is to work on; arrays of NumPy's own are refused."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(_bare(v) for v in value)
    return value


def _wrapped(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_wrapped(v) for v in value)
    return value


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_index(i) for i in index)
    return _bare(index)


def _lifted(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        out, bare = kwargs.get("out"), [_bare(a) for a in args]
        named = {k: _bare(v) for k, v in kwargs.items()}

        def work() -> Any:
            with np.errstate(all="ignore"):
                return function(*bare, **named)

        if recording is not None and out is not None:
            recording.do(work, out._array)
        result = work()
        if out is not None:
            return out
        if recording is not None:
            _record(work, result, [*bare, *named.values()])
        return _wrapped(result)

    return call


def _record(work: Any, result: Any, inputs: list[Any]) -> None:
    """Have the recording do the work again, into the arrays that it gave now."""
    results = result if isinstance(result, (list, tuple)) else [result]
    arrays = [r for r in results if isinstance(r, (np.ndarray, np.generic))]
    given = [a for a in inputs if isinstance(a, np.ndarray)]
    if all(any(np.shares_memory(r, a) for a in given) for r in arrays if np.size(r)):
        return  # views, which see what their arrays hold
    assert not isinstance(result, np.generic), "a result that can't be written again"

    def again() -> None:
        new = work()
        for array, value in zip(
            arrays, new if isinstance(new, (list, tuple)) else [new], strict=True
        ):
            array[...] = value

    assert recording is not None
    recording.do(again)


for _name in ("shape", "ndim", "dtype", "size", "strides", "nbytes", "itemsize", "flags"):
    setattr(ndarray, _name, property(lambda self, n=_name: getattr(self._array, n)))
for _name in [
    "reshape",
    "transpose",
    "astype",
    "copy",
    "sum",
    "max",
    "min",
    "mean",
    "argmax",
    "argmin",
    "any",
    "all",
    "ravel",
    "swapaxes",
    "clip",
    "squeeze",
    "round",
    "prod",
    "argsort",
    "fill",
    "nonzero",
]:

    def _method(self: ndarray, *args: Any, _name: str = _name, **kwargs: Any) -> Any:
        return _lifted(lambda a, *rest, **named: _array(getattr(a, _name)(*rest, **named)))(
            self, *args, **kwargs
        )

    setattr(ndarray, _name, _method)
for _name in [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "and",
    "or",
    "xor",
    "radd",
    "rsub",
    "rmul",
    "rtruediv",
    "rfloordiv",
    "rpow",
    "rand",
    "ror",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "neg",
    "abs",
    "invert",
]:

    def _operator(self: ndarray, *others: Any, _name: str = f"__{_name}__") -> Any:
        return _lifted(lambda a, *rest: _array(getattr(a, _name)(*rest)))(self, *others)

    setattr(ndarray, f"__{_name}__", _operator)
for _name in ("iadd", "isub", "imul", "itruediv", "iand", "ior"):

    def _in_place(self: ndarray, other: Any, _name: str = _name) -> ndarray:
        array, other = self._array, _bare(other)

        def work() -> None:
            with np.errstate(all="ignore"):
                getattr(operator, _name)(array, other)

        _do(work, array)
        return self

    setattr(ndarray, f"__{_name}__", _in_place)
for _name in ("item", "tolist", "__bool__", "__int__", "__float__", "__complex__"):

    def _to_host(self: ndarray, *args: Any, _name: str = _name) -> Any:
        _not_while_capturing("a number asked for")
        return getattr(self._array, _name)(*args)

    setattr(ndarray, _name, _to_host)
ndarray.__hash__ = None  # type: ignore[assignment]


# --- functions -----------------------------------------------------------------------------------

for _name in [
    "zeros",
    "ones",
    "full",
    "zeros_like",
    "ones_like",
    "full_like",
    "arange",
    "linspace",
    "eye",
    "where",
    "maximum",
    "minimum",
    "exp",
    "log",
    "sqrt",
    "abs",
    "sign",
    "concatenate",
    "stack",
    "broadcast_to",
    "take_along_axis",
    "indices",
    "meshgrid",
    "argsort",
    "searchsorted",
    "rint",
    "isnan",
    "isfinite",
    "isinf",
    "pad",
    "unravel_index",
    "shares_memory",
    "prod",
    "sum",
    "array_equal",
    "cos",
    "sin",
]:
    globals()[_name] = _lifted(_arrays(getattr(np, _name)))
# Unlike NumPy's, it adds no axis where there is none.
ascontiguousarray = _lifted(lambda a: np.asarray(a, order="C"))


def matmul(x: ndarray, y: ndarray, out: ndarray | None = None) -> ndarray:
    if recording is not None:
        raise NotImplementedError(
            "calling cuBLAS API during stream capture is currently unsupported"
        )
    with np.errstate(all="ignore"):
        result = np.asarray(np.matmul(_bare(x), _bare(y)))
    if out is None:
        return ndarray(result)
    out._array[...] = result
    return out


ndarray.__matmul__ = matmul
for _name in [
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "uint32",
    "uint64",
    "bool_",
    "dtype",
    "inf",
    "nan",
    "pi",
    "newaxis",
    "generic",
    "promote_types",
    "finfo",
    "iinfo",
]:
    globals()[_name] = getattr(np, _name)


def empty(shape: Any, dtype: Any = float) -> ndarray:
    flat = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, 0xCD, np.uint8)
    return ndarray(flat.view(dtype).reshape(shape))


def empty_like(array: ndarray) -> ndarray:
    result = np.empty_like(array._array)
    result[...] = empty((), result.dtype)._array
    return ndarray(result)


def array(value: Any, dtype: Any = None, copy: bool = True) -> ndarray:
    """From the host too: this and `asarray` are how data gets here."""
    if not isinstance(value, ndarray):
        _not_while_capturing("a copy from the host")
    elif recording is not None:
        return value.astype(dtype or value.dtype)
    return ndarray(np.array(getattr(value, "_array", value), dtype=dtype, copy=copy or None))


def asarray(value: Any, dtype: Any = None) -> ndarray:
    if isinstance(value, ndarray) and dtype in (None, value.dtype):
        return value
    return array(value, dtype)


def _in_c_order(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, order="C")  # without NumPy's new axis where there is none


ascontiguousarray = _lifted(_in_c_order)


class linalg:
    norm = staticmethod(_lifted(lambda *args, **kwargs: _array(np.linalg.norm(*args, **kwargs))))


def get_default_memory_pool() -> Any:
    from . import cuda

    return cuda._default_pool
