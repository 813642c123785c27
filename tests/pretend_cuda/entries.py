"""Puts the pretend device in the place of CUDA, between CuPy and what it calls.

CuPy's Cython modules call CUDA through two of them, `cupy_backends.cuda.api.runtime` and `driver`,
which offer their C functions to the others as capsules in `__pyx_capi__`. As soon as one of the two
is imported, and before another looks, each capsule whose function device.cpp has is replaced by one
with that function, and so is the function of the same name that Python sees.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from . import build, modules

_python = ctypes.pythonapi
_python.PyCapsule_GetName.restype = ctypes.c_char_p
_python.PyCapsule_GetName.argtypes = [ctypes.py_object]
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_C_TYPES = {
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "intptr_t": ctypes.c_ssize_t,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "PyObject *": ctypes.py_object,
}
# Slices of a GPU that NVIDIA's MIG has cut, as CUDA shows them: each is a device by itself.
MIG = {
    "1g.10gb": {
        "name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "multiprocessors": "16",
        "memory": "10200547328",
    },
    "3g.40gb": {
        "name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        "multiprocessors": "60",
        "memory": "42144366592",
    },
}
_kept: list[Any] = []  # what C holds pointers to
replaced: dict[str, str] = {}  # the functions of CuPy's that were, and their C types


def library() -> Any:
    """The device, as C functions."""
    return _kept[0]


def cublas() -> Any:
    """cuBLAS, as C functions. Raises StopIteration as long as CuPy has not used it."""
    return next(kept for kept in _kept if "libcublas" in getattr(kept, "_name", ""))


def signature(capsule: Any) -> tuple[str, list[str]]:
    """The C types of a capsule's function: of its result, and of its arguments."""
    text = _python.PyCapsule_GetName(capsule).decode()
    result, arguments = re.fullmatch(r"(.*?)\s*\((.*)\)", text).groups()
    if text.startswith("PyObject *("):
        result = "PyObject *"
    return result, [] if arguments == "void" else arguments.split(", ")


def _callable(address: int, result: str, arguments: list[str]) -> Callable[..., Any]:
    """The function for Python, which leaves out what Cython adds at the end of the arguments."""
    given = [a for a in arguments if "__pyx_" not in a]
    added = len(arguments) - len(given)
    optional = [a for a in arguments if "__pyx_opt_args" in a]
    types = [_C_TYPES[a] for a in given]
    types += [ctypes.c_void_p if a in optional else ctypes.c_int for a in arguments[len(given) :]]
    result_type = ctypes.py_object if "*" in result else _C_TYPES[result]
    function = ctypes.PYFUNCTYPE(result_type, *types)(address)

    def call(*args: Any, **named: Any) -> Any:
        args = (*args, *named.values())
        rest: list[Any] = [None if "__pyx_opt_args" in a else 0 for a in arguments[-added:]]
        if optional and len(args) > len(given):  # the one optional argument, as Cython passes it
            pair = (ctypes.c_int * 2)(1, args[len(given)])
            rest[-1] = ctypes.addressof(pair)
        return function(*args[: len(given)], *(rest if added else ()))

    return call


def _replace(module: ModuleType) -> None:
    for name, capsule in list(module.__pyx_capi__.items()):
        mine = getattr(library(), f"pretend_{name}", None)
        if mine is None:
            continue
        address = ctypes.cast(mine, ctypes.c_void_p).value
        types = _python.PyCapsule_GetName(capsule)
        _kept.append((capsule, types))
        replaced[f"{module.__name__}.{name}"] = types.decode()
        module.__pyx_capi__[name] = _python.PyCapsule_New(address, types, None)
        if hasattr(module, name):
            setattr(module, name, _callable(address, *signature(capsule)))


class _Hooks(importlib.abc.MetaPathFinder):
    """Has functions called when a module is imported: before it is loaded, and after."""

    def __init__(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.before, self.after = before, after

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        before, after = self.before.get(name), self.after.get(name)
        if not (before or after):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        if before:
            before(spec.origin)
        if after:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                after(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _after_runtime(runtime: ModuleType, options: dict[str, str]) -> None:
    def error(status: int) -> None:
        raise runtime.CUDARuntimeError(status)

    def driver_error(status: int) -> None:
        # CuPy asks the driver for the text, and there is none.
        from cupy_backends.cuda.api.driver import CUDADriverError

        raised = CUDADriverError.__new__(CUDADriverError)
        RuntimeError.__init__(raised, str(runtime.CUDARuntimeError(status)))
        raised.status = status
        raise raised

    functions = error, driver_error, runtime.PointerAttributes
    _kept.append(functions)
    library().pretend_setup(*map(ctypes.py_object, functions))
    set_option("runtime", str(runtime.runtimeGetVersion()))
    for name, value in options.items():
        set_option(name, value)
    set_option("devices", str(_visible(int(get_option("devices")))))
    _replace(runtime)


def _visible(devices: int) -> int:
    """How many devices $CUDA_VISIBLE_DEVICES leaves: those before the first that there is not."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(devices))))
    there = [number.strip() in map(str, range(devices)) for number in named.split(",")]
    return [*there, False].index(False)


def get_option(name: str) -> str:
    """What the device is. Raises ValueError for what it does not know."""
    value = library().pretend_get(name.encode())
    if value is None:
        raise ValueError(f"the pretend CUDA device has no option {name!r}")
    return value


def set_option(name: str, value: str) -> None:
    """Tell the device what to be. Raises ValueError for what it does not know."""
    if name == "mig":
        for each, that in MIG[value].items():
            set_option(each, that)
    elif not library().pretend_set(name.encode(), value.encode()):
        raise ValueError(f"the pretend CUDA device has no option {name!r}")


def _after_compiler(compiler: ModuleType) -> None:
    modules.Program.of_nvrtc = compiler._NVRTCProgram
    compiler._NVRTCProgram = modules.Program


def _after_thrust(thrust: ModuleType) -> None:
    def submit(dtype: Any, data: int, order: int, rows: int, n: int, k: int = 0) -> None:
        from cupy.cuda import get_current_stream
        from cupy_backends.cuda.api.runtime import CUDARuntimeError

        text = dtype.str[1:].encode()
        status = library().pretend_sort(get_current_stream().ptr, text, data, order, rows, n, k)
        if status == -1:
            raise NotImplementedError(f"pretend CUDA: sorting of {dtype}")
        if status:
            raise CUDARuntimeError(status)

    def rows(shape: Any) -> tuple[int, int]:
        n = shape[-1]
        size = 1
        for length in shape:
            size *= length
        return size // n if n else 0, n

    def sort(dtype: Any, data_start: int, keys_start: int, shape: Any) -> None:
        submit(dtype, data_start, 0, *rows(shape))

    def argsort(dtype: Any, idx_start: int, data_start: int, keys_start: int, shape: Any) -> None:
        submit(dtype, data_start, idx_start, *rows(shape))

    def lexsort(dtype: Any, idx_start: int, keys_start: int, k: int, n: int) -> None:
        submit(dtype, keys_start, idx_start, 1, n, k)

    thrust.sort, thrust.argsort, thrust.lexsort = sort, argsort, lexsort


def _after_pathfinder(pathfinder: ModuleType, missing: set[str]) -> None:
    load, find = pathfinder.load_nvidia_dynamic_lib, pathfinder.find_nvidia_header_directory

    def load_nvidia_dynamic_lib(name: str) -> Any:
        if name in missing:
            raise pathfinder.DynamicLibNotFoundError(
                f'Failure finding "lib{name}.so": No such file: lib{name}.so*'
            )
        return None if name == "cublas" else load(name)

    def find_nvidia_header_directory(name: str) -> Any:
        return None if "headers" in missing else find(name)

    pathfinder.load_nvidia_dynamic_lib = load_nvidia_dynamic_lib
    pathfinder.find_nvidia_header_directory = find_nvidia_header_directory


def _load_cublas(binding: str) -> None:
    """cuBLAS, which CuPy's binding then finds among what is loaded."""
    _kept.append(ctypes.CDLL(str(build.cublas(Path(binding))), mode=ctypes.RTLD_GLOBAL))


def install(options: dict[str, str]) -> None:
    """Put it there. Raises RuntimeError if CuPy is imported already, or what is built can't be."""
    if _kept:
        return
    if "cupy_backends" in sys.modules:
        raise RuntimeError("the pretend CUDA device has to be installed before CuPy is imported")
    device = ctypes.PyDLL(str(build.device()), mode=ctypes.RTLD_GLOBAL)
    device.pretend_sort.argtypes = [ctypes.c_ssize_t, ctypes.c_char_p, *[ctypes.c_ssize_t] * 5]
    device.pretend_setup.argtypes = [ctypes.py_object] * 3
    device.pretend_nodes.argtypes = [ctypes.c_ssize_t]
    for name in ("pretend_get", "pretend_counts", "pretend_launched", "pretend_nodes"):
        getattr(device, name).restype = ctypes.py_object
    for name in ("pretend_used", "pretend_peak"):
        getattr(device, name).restype = ctypes.c_size_t
    _kept.append(device)
    os.environ["CUPY_CACHE_DIR"] = str(build.DIRECTORY / "kernels")
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB is machine code for a GPU
    missing = {name for name, value in options.items() if value == "missing"}
    of_device = {name: value for name, value in options.items() if value != "missing"}
    hooks = _Hooks(
        before={} if "cublas" in missing else {"cupy_backends.cuda.libs.cublas": _load_cublas},
        after={
            "cuda.pathfinder": lambda m: _after_pathfinder(m, missing),
            "cupy_backends.cuda.api.runtime": lambda m: _after_runtime(m, of_device),
            "cupy_backends.cuda.api.driver": _replace,
            "cupy.cuda.compiler": _after_compiler,
            "cupy.cuda.thrust": _after_thrust,
        },
    )
    sys.meta_path.insert(0, hooks)
