"""Kernels: compiled by the machine's C++ compiler into loops, and called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ._array import _bare, _do, empty, ndarray

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


def compiled(source: str) -> str:
    """The library that the C++ compiler makes of this source, made once."""
    name = hashlib.sha256(source.encode()).hexdigest()[:24]
    place = Path(tempfile.gettempdir()) / f"minicnn-emulator-{os.getuid()}"
    library = place / f"{name}.so"
    if not library.exists():
        place.mkdir(exist_ok=True)
        mine = place / f"{name}-{os.getpid()}"
        mine.with_suffix(".cpp").write_text(source)
        command = ["g++", "-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Wno-unused"]
        command += ["-shared", "-fPIC", "-o", f"{mine}.so", f"{mine}.cpp"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"a kernel does not compile:\n{done.stderr}\n{source}")
        os.replace(f"{mine}.so", library)
    return str(library)


@cache
def _compiled(source: str) -> Any:
    run = ctypes.CDLL(compiled(source)).run
    run.restype = ctypes.c_longlong
    return run


class _Parameter:
    def __init__(self, text: str) -> None:
        *qualifiers, self.type, self.name = text.split()
        self.raw = "raw" in qualifiers
        if self.name == "i" or self.name.startswith("_"):
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

        run = _compiled(self._source(parameters, given, types))

        def work() -> None:
            memory = [
                np.array(g, types[p.type]).reshape(1)
                if not isinstance(g, np.ndarray)
                else np.ascontiguousarray(g if p.raw else np.broadcast_to(g, shape)).reshape(-1)
                for p, g in zip(parameters, given, strict=True)
            ]
            pointers = (ctypes.c_void_p * len(memory))(*(m.ctypes.data for m in memory))
            sizes = (ctypes.c_longlong * len(memory))(*(m.size for m in memory))
            if wrong := run(ctypes.c_longlong(math.prod(shape)), pointers, sizes):
                raise IndexError(f"{self.name}: {wrong} accesses outside a raw array")
            for out, m in zip(outputs, memory[len(self.inputs) :], strict=True):
                if not np.shares_memory(out, m):
                    out[...] = m.reshape(out.shape)

        _do(work, *outputs)
        if len(args) == len(parameters):
            results = list(args[len(self.inputs) :])
        else:
            results = [ndarray(out) for out in outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def _source(self, parameters: list[_Parameter], given: list[Any], types: dict[str, Any]) -> str:
        raw, each = [], []
        for k, (p, g) in enumerate(zip(parameters, given, strict=True)):
            c = _C_TYPES.get(p.type, p.type)
            constant = "const " if k < len(self.inputs) else ""
            if not isinstance(g, np.ndarray):
                raw.append(f"const {c} {p.name} = *({c} *)arguments[{k}];")
            elif p.raw:
                raw.append(f"Raw<{constant}{c}> {p.name}{{({c} *)arguments[{k}], sizes[{k}]}};")
            else:
                each.append(f"{constant}{c} &{p.name} = (({c} *)arguments[{k}])[i];")
        return _SOURCE.format(
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

    def _types(self, parameters: list[_Parameter], args: tuple[Any, ...]) -> dict[str, Any]:
        """What each type name stands for: names of types themselves, T and the like by the arrays.

        Numbers, NumPy's too, say nothing: they are converted to what the arrays have decided.
        """
        types: dict[str, Any] = {name: np.dtype(name) for name in _C_TYPES}
        for p, a in zip(parameters, args, strict=False):
            if isinstance(a, ndarray):
                if types.setdefault(p.type, a.dtype) != a.dtype:
                    raise TypeError(
                        f"{self.name}: Type is mismatched. {p.name} {a.dtype} {types[p.type]}"
                    )
            elif p.raw or not isinstance(a, (bool, int, float, np.generic)):
                raise TypeError(f"{self.name}: Unsupported type {type(a)}")
        for p in parameters:
            if p.type not in types:
                raise KeyError(f"{self.name}: no array says what {p.type} is")
        return types
