"""Stands in for CuPy on a machine without a GPU, for the tests.

Arrays wrap NumPy's, but as CuPy's do they refuse to become NumPy arrays by themselves and to be
mixed with them, and results without axes stay arrays. New memory holds rubbish. The body of an
`ElementwiseKernel` is compiled by the machine's C++ compiler into a loop over its index, under
CuPy's rules for types; unlike on a GPU, an index outside a raw array is an error.
"""

from __future__ import annotations

import ctypes
import hashlib
import operator
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__version__ = "emulator"


class ndarray:
    """An array on a pretend device."""

    __array_ufunc__ = None  # so that NumPy leaves `array + this` to __radd__, which refuses it

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def get(self) -> np.ndarray:
        return self._array.copy(order="K")

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(self._array[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[_index(index)] = _bare(value)

    def __repr__(self) -> str:
        return repr(self._array)

    @property
    def T(self) -> ndarray:
        return ndarray(self._array.T)

    @property
    def imag(self) -> ndarray:
        return ndarray(self._array.imag)


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
        with np.errstate(all="ignore"):
            out = kwargs.get("out")
            result = function(*(_bare(a) for a in args), **{k: _bare(v) for k, v in kwargs.items()})
            return out if out is not None else _wrapped(result)

    return call


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
        return _lifted(getattr(self._array, _name))(*args, **kwargs)

    setattr(ndarray, _name, _method)
for _name in [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "radd",
    "rsub",
    "rmul",
    "rtruediv",
    "rfloordiv",
    "rpow",
    "rmatmul",
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
        return _lifted(getattr(self._array, _name))(*others)

    setattr(ndarray, f"__{_name}__", _operator)
for _name in ("iadd", "isub", "imul", "itruediv", "iand", "ior"):

    def _in_place(self: ndarray, other: Any, _name: str = _name) -> ndarray:
        with np.errstate(all="ignore"):
            getattr(operator, _name)(self._array, _bare(other))
        return self

    setattr(ndarray, f"__{_name}__", _in_place)
for _name in ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__complex__"):

    def _to_host(self: ndarray, *args: Any, _name: str = _name) -> Any:
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
    "matmul",
    "concatenate",
    "stack",
    "broadcast_to",
    "take_along_axis",
    "indices",
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
    globals()[_name] = _lifted(getattr(np, _name))
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
    return ndarray(np.array(getattr(value, "_array", value), dtype=dtype, copy=copy or None))


def asarray(value: Any, dtype: Any = None) -> ndarray:
    if isinstance(value, ndarray) and dtype in (None, value.dtype):
        return value
    return array(value, dtype)


def ascontiguousarray(array: ndarray) -> ndarray:
    """In C order, without NumPy's new axis where there is none."""
    return ndarray(np.asarray(array._array, order="C"))


class cuda:
    """A device with all of its memory free."""

    class runtime:
        class CUDARuntimeError(RuntimeError):
            pass

        driverGetVersion = staticmethod(lambda: 13000)
        runtimeGetVersion = staticmethod(lambda: 13000)
        memGetInfo = staticmethod(lambda: (2**34, 2**34))


class linalg:
    norm = staticmethod(_lifted(np.linalg.norm))


# --- kernels -------------------------------------------------------------------------------------

_C_TYPES = {
    "bool": "bool",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
    "complex64": "std::complex<float>",
    "complex128": "std::complex<double>",
}
_SOURCE = """
#include <cmath>
#include <complex>
#include <cstddef>
#define __device__ static inline
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {{
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}}
static long long outside;
template <typename E> struct Raw {{
    E *data; long long size;
    E &operator[](ptrdiff_t k) const {{
        if (k >= 0 && k < size) return data[k];
        outside++;
        static E nothing{{}}; return nothing;
    }}
}};
{types}
{preamble}
extern "C" long long run(long long size, void **arguments, const long long *sizes) {{
    outside = 0;
    {raw}
    for (ptrdiff_t i = 0; i < size; i++) {{
        {each}
        {{ {body} }}
    }}
    return outside;
}}
"""


@cache
def _compiled(source: str) -> Any:
    name = hashlib.sha256(source.encode()).hexdigest()[:24]
    place = Path(tempfile.gettempdir()) / f"minicnn-emulator-{os.getuid()}"
    library = place / f"{name}.so"
    if not library.exists():
        place.mkdir(exist_ok=True)
        mine = place / f"{name}-{os.getpid()}"
        mine.with_suffix(".cpp").write_text(source)
        command = ["g++", "-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wno-unused"]
        command += ["-shared", "-fPIC", "-o", f"{mine}.so", f"{mine}.cpp"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"a kernel does not compile:\n{done.stderr}\n{source}")
        os.replace(f"{mine}.so", library)
    run = ctypes.CDLL(str(library)).run
    run.restype = ctypes.c_longlong
    return run


class _Parameter:
    def __init__(self, text: str) -> None:
        *qualifiers, self.type, self.name = text.split()
        self.raw = "raw" in qualifiers
        if self.name in ("i", "n") or self.name.startswith("_"):
            raise ValueError(f"a kernel's parameter can't be called {self.name}")


class ElementwiseKernel:
    """A loop over the elements of its outputs, as `cupy.ElementwiseKernel` is."""

    def __init__(
        self, in_params: str, out_params: str, operation: str, name: str, preamble: str = ""
    ) -> None:
        def parse(text: str) -> list[_Parameter]:
            return [_Parameter(part) for part in re.split(r",\s*", text.strip()) if part]

        self.inputs, self.outputs = parse(in_params), parse(out_params)
        self.operation, self.name, self.preamble = operation, name, preamble

    def __call__(self, *args: Any, size: int | None = None) -> Any:
        parameters = [*self.inputs, *self.outputs]
        if len(args) not in (len(self.inputs), len(parameters)):
            raise TypeError(f"{self.name}: Wrong number of arguments: {len(args)}")
        types = self._types(parameters, args)
        given = [_bare(a) for a in args]
        shaped = [
            g
            for p, g in zip(parameters, given, strict=False)
            if not p.raw and isinstance(g, np.ndarray)
        ]
        shape = np.broadcast_shapes(*(g.shape for g in shaped)) if shaped else (size,)
        if shape == (None,):
            raise ValueError(f"{self.name}: Loop size is undecided.")
        for p in self.outputs[len(args) - len(self.inputs) :]:
            given.append(empty(shape, types[p.type])._array)
        outputs = given[len(self.inputs) :]
        if any(
            out.shape != shape and not p.raw for p, out in zip(self.outputs, outputs, strict=True)
        ):
            raise ValueError(f"{self.name}: Out shape is mismatched")

        memory, raw, each = [], [], []
        for k, (p, g) in enumerate(zip(parameters, given, strict=True)):
            c = _C_TYPES.get(p.type, p.type)
            constant = "const " if k < len(self.inputs) else ""
            if not isinstance(g, np.ndarray):
                memory.append(np.array(g, types[p.type]).reshape(1))
                raw.append(f"const {c} {p.name} = *({c} *)arguments[{k}];")
                continue
            memory.append(
                np.ascontiguousarray(g if p.raw else np.broadcast_to(g, shape)).reshape(-1)
            )
            if p.raw:
                raw.append(f"Raw<{constant}{c}> {p.name}{{({c} *)arguments[{k}], sizes[{k}]}};")
            else:
                each.append(f"{constant}{c} &{p.name} = (({c} *)arguments[{k}])[i];")
        source = _SOURCE.format(
            types="\n".join(
                f"typedef {_C_TYPES[t.name]} {name};"
                for name, t in types.items()
                if name not in _C_TYPES
            ),
            preamble=self.preamble,
            raw="\n    ".join(raw),
            each="\n        ".join(each),
            body=self.operation,
        )
        pointers = (ctypes.c_void_p * len(memory))(*(m.ctypes.data for m in memory))
        sizes = (ctypes.c_longlong * len(memory))(*(m.size for m in memory))
        count = ctypes.c_longlong(int(np.prod(shape)))
        if wrong := _compiled(source)(count, pointers, sizes):
            raise IndexError(f"{self.name}: {wrong} accesses outside a raw array")
        for out, m in zip(outputs, memory[len(self.inputs) :], strict=True):
            if not np.shares_memory(out, m):
                out[...] = m.reshape(out.shape)
        if len(args) == len(parameters):
            results = list(args[len(self.inputs) :])
        else:
            results = [ndarray(out) for out in outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def _types(self, parameters: list[_Parameter], args: tuple[Any, ...]) -> dict[str, Any]:
        """What each type name stands for: names of types themselves, T and the like by the args."""
        types: dict[str, Any] = {name: np.dtype(name) for name in _C_TYPES}
        weak = []
        for p, a in zip(parameters, args, strict=False):
            if isinstance(a, (bool, int, float)):
                weak.append(p)
                continue
            if not isinstance(a, (ndarray, np.generic)):
                raise TypeError(f"{self.name}: Unsupported type {type(a)}")
            if types.setdefault(p.type, a.dtype) != a.dtype and (
                isinstance(a, ndarray) or p.type not in _C_TYPES
            ):
                raise TypeError(
                    f"{self.name}: Type is mismatched. {p.name} {a.dtype} {types[p.type]}"
                )
        for p in [*weak, *parameters]:
            if p.type not in types:
                raise TypeError(f"{self.name}: Wrong type: nothing says what {p.type} is")
        return types
