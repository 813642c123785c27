"""Count what a training step asks of a GPU, without a GPU.

    python -m benchmarks.gpu_counts [--preset article] [--batch 64]

The step of `nin.train` is captured as a graph by the real CuPy on the pretend
device of `tests/pretend_cuda`, but not run. This is printed, and kept in
`benchmarks/results`:

1. The nodes of the graph: kernels, products (cuBLAS), copies and fills. The
   bytes of a node are those of its arrays, each counted once, even if it is
   both read and written.
2. The cost of each kernel, from its machine code for an H100 (see
   `benchmarks.machine_code`): how many instructions a thread issues for each
   element of the largest array that the kernel writes, or for a sum, of the
   array that is added up. This includes what a thread does before its loop,
   and lanes of a warp that wait for others. The columns are:
   "int": integer arithmetic, comparisons and moves;
   "conv": conversions and reciprocals, at a quarter of the rate, most of them
   part of an integer division;
   "mem": loads and stores, and "bytes": how many bytes each of them moves;
   "issued": millions of instructions of a warp, of which an H100 issues at
   most 528 in a cycle.
   The letters after a name stand for its arrays: "c" is contiguous, and a
   number is the number of axes of an array that is not.

The second part needs nvdisasm, which the extra `counts` installs; without it,
this part is left out. The exit status is 0, or 1 if not all was counted.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import re
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from nin.presets import PRESETS

from . import machine_code
from .machine_code import ARCHITECTURE, WARP, Array, Kernel, Launch, MissingError
from .sass import Instruction, NotFollowedError

RESULTS = Path(__file__).parent / "results"
COMMAND = "python -m benchmarks.gpu_counts"
DEVICE_BYTES = 80 * 2**30  # an H100's
SUM = 16  # times smaller is the result of what counts as a sum than what is added up
FLOAT_BYTES = 4  # the presets' networks are of float32
KINDS = {"kernel": "kernels", "cublas": "products", "memcpy": "copies", "memset": "fills"}


class Source(NamedTuple):
    """What a kernel is compiled from."""

    name: str
    text: str
    options: tuple[str, ...]

    def parameters(self) -> list[str]:
        """`const CArray<float, 1, 1, 1> x` and the others."""
        (inside,) = re.findall(rf"void {self.name}\((.*?)\)\s*{{", self.text, re.DOTALL)
        return re.split(r",\s+(?![^<]*>)", inside.strip())

    def layouts(self) -> str:
        """Of each array, in turn: "c" where it is contiguous, or its number of axes."""
        arrays = [re.search(r"CArray<.+, (\d+), (\d), \d>|\*", each) for each in self.parameters()]
        return "".join("c" if a[0] == "*" or a[2] == "1" else a[1] for a in arrays if a)


class Call(NamedTuple):
    """A launch of a kernel, as CuPy made it."""

    source: Source
    launch: Launch
    nbytes: int
    elements: int  # of the largest array that is written, or read by a sum


class Node(NamedTuple):
    """A node of a graph; with its launch, if it is one of CuPy's kernels."""

    kind: str
    name: str
    blocks: int
    nbytes: int
    call: Call | None = None


def pretend_cuda() -> Any:
    """The pretend device, which is the tests'."""
    return import_module("tests.pretend_cuda")


# --- the captured step ---------------------------------------------------------------------------


def is_array(argument: Any) -> bool:
    import cupy

    return isinstance(argument, cupy.ndarray)


def span(a: Any) -> Array:
    """The stretch of memory that an array is in, gaps included."""
    ways = [(n - 1) * s for n, s in zip(a.shape, a.strides, strict=True)]
    before, after = (sum(w for w in ways if (w < 0) == back) for back in (True, False))
    nbytes = after - before + a.itemsize if a.size else 0
    return Array(a.data.ptr + before, nbytes, str(a.dtype))


def moved(arrays: list[Any]) -> int:
    """The bytes of arrays, once each; an axis along which one is repeated has a length of one."""
    found = {}
    for a in arrays:
        shape = [n for n, s in zip(a.shape, a.strides, strict=True) if s or not n]
        found[a.data.ptr, a.shape, a.strides] = a.itemsize * math.prod(shape)
    return sum(found.values())


def as_bytes(argument: Any) -> bytes:
    """An argument as CuPy hands it to a kernel (CArray and CIndexer of its carray.cuh)."""
    if isinstance(argument, np.generic):
        return argument.tobytes()
    if is_array(argument):  # its address comes first: all that a pointer is
        numbers = (argument.data.ptr, argument.size, *argument.shape, *argument.strides)
        return struct.pack(f"<{len(numbers)}q", *numbers)
    if hasattr(argument, "shape"):
        numbers = (argument.size, *argument.shape, *(0 for _ in argument.shape))
        return struct.pack(f"<{len(numbers)}q", *numbers)
    return ctypes.string_at(argument.ptr, argument.dtype.itemsize)


def call(source: Source, grid: tuple[int, ...], block: tuple[int, ...], arguments: Any) -> Call:
    """What is noted down of a launch."""
    arrays = [a for a in arguments if is_array(a)]
    pairs = zip(arguments, source.parameters(), strict=True)
    written = [a for a, p in pairs if is_array(a) and not p.startswith("const ")]
    most, most_written = (max(a.size for a in some) for some in (arrays, written))
    gx, gy, gz, bx, by, bz = (*grid, 1, 1)[:3] + (*block, 1, 1)[:3]
    memory = tuple(map(span, arrays))
    launch = Launch((gx, gy, gz), (bx, by, bz), tuple(map(as_bytes, arguments)), memory)
    few = SUM * most_written < most
    return Call(source, launch, moved(arrays), most if few else most_written)


@contextmanager
def recording() -> Iterator[list[Call]]:
    """The launches of CuPy's kernels that are captured meanwhile.

    It has to begin before a kernel is compiled for the first time.
    """
    import cupy
    from cupy.cuda import compiler, function

    calls: list[Call] = []
    compile_ = compiler._compile_module_with_cache

    class Function(function.Function):  # type: ignore[misc]
        source: Source

        def linear_launch(
            self, size: int, arguments: Any, shared: int = 0, most: int = 128, *rest: Any
        ) -> None:
            if cupy.cuda.get_current_stream().is_capturing():
                grid, block = (-(-size // most),), (min(size, most),)
                calls.append(call(self.source, grid, block, arguments))
            super().linear_launch(size, arguments, shared, most, *rest)

        def __call__(
            self,
            grid: tuple[int, ...],
            block: tuple[int, ...],
            arguments: Any,
            *rest: Any,
            **named: Any,
        ) -> None:
            if cupy.cuda.get_current_stream().is_capturing():
                calls.append(call(self.source, grid, block, arguments))
            super().__call__(grid, block, arguments, *rest, **named)

    class Module(function.Module):  # type: ignore[misc]
        made_from: tuple[str, tuple[str, ...]]

        def get_function(self, name: str) -> Function:
            found = Function(self, name)
            found.source = Source(name, *self.made_from)
            return found

    def compile_noted(text: str, options: tuple[str, ...] = (), **others: Any) -> Any:
        module = compile_(text, options, **others)
        module.made_from = text, tuple(options)
        return module

    with (
        mock.patch.object(function, "Module", Module),
        mock.patch.object(compiler, "_compile_module_with_cache", compile_noted),
    ):
        yield calls


def captured(preset_name: str, batch: int, conv: str) -> list[Node]:
    """The nodes of a training step. One of one image is run before, which makes what lasts."""
    import minicnn
    from minicnn.backends import graph
    from minicnn.capture import Captured
    from minicnn.utils.data import TensorDataset
    from nin.fit import Training

    device, preset, rng = minicnn.device("cuda"), PRESETS[preset_name], np.random.default_rng(0)
    minicnn.context.set_default(conv_algorithm=conv)
    minicnn.manual_seed(0)
    size, _ = preset.input_size()
    images = rng.standard_normal((batch, 1, size, size), dtype=np.float32)
    graphs: list[Any] = []
    with (
        recording() as calls,
        mock.patch.object(graph.Graph, "launch", lambda graph: graphs.append(graph)),
    ):
        x, y = (minicnn.tensor(a).to(device) for a in (images, rng.integers(0, 10, batch)))
        model, data = preset.build().to(device), TensorDataset(x, y)
        training = Training(model, preset, data, data)
        model.train()
        step = Captured(training.step, model, training.optimizer)
        step(x[:1], y[:1])
        first = graph.GraphPool().capture(lambda: step(x, y))
        calls.clear()
        step(x, y)
        found = nodes(graphs[0]._graph, calls)
    del first  # with its pool, which may hold what that step has made
    return found


def nodes(graph: Any, calls: list[Call]) -> list[Node]:
    """The nodes of a graph, in which these launches were captured."""
    found, launches = [], iter(calls)
    for kind, name, grid, block, nbytes in pretend_cuda().nodes(graph):
        if kind == "kernel":
            each = next(launches)
            assert (each.source.name, each.launch.grid) == (name, grid)
            found.append(Node(kind, name, grid[0], each.nbytes, each))
        elif kind == "cublas":
            (m, n, k), (count, *_) = grid, block
            name = f"{name} {m}×{n}×{k}" + (f", {count} times" if count > 1 else "")
            found.append(Node(kind, name, 0, FLOAT_BYTES * count * (m * k + k * n + m * n)))
        else:
            both_ways = 2 if kind == "memcpy" else 1
            found.append(Node(kind, f"{kind} {name}".strip(), 0, both_ways * nbytes))
    return found


def summary(found: list[Node]) -> list[dict[str, Any]]:
    """The nodes by name, those with the most bytes first."""
    together: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in found:
        together[node.kind, node.name].append(node)
    rows = [
        {
            "kind": kind,
            "name": name,
            "nodes": len(same),
            "blocks": [min(n.blocks for n in same), max(n.blocks for n in same)],
            "bytes": sum(n.nbytes for n in same),
        }
        for (kind, name), same in together.items()
    ]
    return sorted(rows, key=lambda row: -row["bytes"])


# --- the machine code ----------------------------------------------------------------------------


def nvrtc() -> Any:
    """CuPy's binding of CUDA's compiler, which needs no device."""
    return import_module("cupy_backends.cuda.libs.nvrtc")


def compiled(source: Source) -> Kernel:
    """A kernel by NVRTC, CUDA's compiler, with the options that CuPy gives it on a GPU.

    Raises NotFollowedError if it does not compile.
    """
    compiler = nvrtc()
    options = (
        *source.options,
        "-ftz=true",
        "--device-as-default-execution-space",
        f"-arch=sm_{ARCHITECTURE}",
    )
    program = compiler.createProgram(source.text, "kernel.cu", (), ())
    try:
        compiler.compileProgram(program, options)
    except compiler.NVRTCError:
        lines = compiler.getProgramLog(program).splitlines()
        raise NotFollowedError(f"it does not compile: {lines[0]}") from None
    return machine_code.kernel(compiler.getCUBIN(program), source.name)


def cost(source: Source, calls: list[Call]) -> dict[str, Any]:
    """What the launches of one kernel cost, all together. Raises MissingError."""
    elements = sum(each.elements for each in calls)
    row: dict[str, Any] = {
        "name": source.name,
        "layouts": source.layouts(),
        "nodes": len(calls),
        "elements": elements,
    }
    issued: dict[Instruction, float] = defaultdict(float)
    try:
        kernel = compiled(source)
        for launch, times in Counter(each.launch for each in calls).items():
            for instruction, number in machine_code.issued(kernel, launch).items():
                issued[instruction] += times * number
    except NotFollowedError as error:
        return {**row, "error": str(error)}
    by_class: dict[str, float] = defaultdict(float)
    memory: dict[str, float] = defaultdict(float)
    for i, number in issued.items():
        share = number * WARP / elements
        by_class[i.kind] += share
        if i.kind == "memory":
            memory[f"{i.opcode} {8 * i.nbytes}"] += share
    return {
        **row,
        "instructions": len(kernel.instructions),  # in the machine code
        "issued": sum(issued.values()),
        "an_element": {"all": sum(by_class.values()), **by_class},
        "memory": memory,
    }


def costs(found: list[Node]) -> list[dict[str, Any]]:
    """What each kernel costs, those that issue most first. Raises MissingError."""
    together: dict[Source, list[Call]] = defaultdict(list)
    for node in found:
        if node.call:
            together[node.call.source].append(node.call)
    rows = [cost(source, calls) for source, calls in together.items()]
    return sorted(rows, key=lambda row: -row.get("issued", math.inf))


# --- what is shown -------------------------------------------------------------------------------


def show_nodes(result: dict[str, Any]) -> None:
    print(f"{'':<42}{'nodes':>7}{'blocks':>18}{'MB':>12}")
    for row in result["nodes"]:
        least, most = row["blocks"]
        blocks = "" if not most else f"{least:,}" if least == most else f"{least:,}–{most:,}"
        print(f"{row['name']:<42.42}{row['nodes']:>7}{blocks:>18}{row['bytes'] / 1e6:>12,.3f}")
    total = result["total"]
    print(f"{'all':<42}{total['nodes']:>7}{'':>18}{total['bytes'] / 1e6:>12,.3f}")
    print(", ".join(f"{total[name]} {name}" for name in KINDS.values()))


def bytes_moved(memory: dict[str, float], letter: str) -> str:
    """The bytes of a thread's loads, or stores, of device memory: "4", or "1–4"."""
    widths = [int(each.split()[1]) // 8 for each in memory if each.startswith(letter)]
    return "–".join(map(str, sorted({min(widths), max(widths)}))) if widths else ""


def show_costs(result: dict[str, Any]) -> None:
    print(f"\n{'instructions an element':<33}{'all':>7}{'int':>7}{'conv':>6}{'mem':>6}", end="")
    print(f"{'bytes':>10}{'issued':>11}")
    for row in result["kernels"]:
        name = f"{row['name'].removeprefix('minicnn_')} {row['layouts']}"
        if "error" in row:
            print(f"{name:<33.33} not followed: {row['error']}")
            continue
        each = row["an_element"]
        numbers = [each["all"], each.get("integer", 0)]
        few = [each.get("conversion", 0), each.get("memory", 0)]
        moved = f"{bytes_moved(row['memory'], 'LDG')}/{bytes_moved(row['memory'], 'STG')}"
        print(f"{name:<33.33}" + "".join(f"{n:>7.1f}" for n in numbers), end="")
        print("".join(f"{n:>6.1f}" for n in few) + f"{moved:>10}{row['issued'] / 1e6:>11.3f}")
    print(f"{'all':<33}{'':>36}{result['total']['issued'] / 1e6:>11.3f}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status: 0, 1 if not all was counted, 2 if nothing was."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_counts",
        usage="%(prog)s [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "the network and its settings (default: article)"
    parser.add_argument("--preset", choices=PRESETS, default="article", help=text)
    text = "images in the step (default: as in the preset)"
    parser.add_argument("--batch", type=int, metavar="N", help=text)
    text = "how to compute convolutions (default: auto)"
    parser.add_argument("--conv", choices=("auto", "im2col", "winograd"), default="auto", help=text)
    text = "write the results into this directory (default: benchmarks/results)"
    parser.add_argument("--out", type=Path, metavar="DIR", default=RESULTS, help=text)
    args = parser.parse_args(argv)

    try:
        pretend_cuda().install()  # before anything imports CuPy
    except RuntimeError as error:
        print(f"{COMMAND}: {error}", file=sys.stderr)
        return 2
    pretend_cuda().set_option("memory", str(DEVICE_BYTES))
    batch = args.batch or PRESETS[args.preset].batch_size
    found = captured(args.preset, batch, args.conv)
    total: dict[str, Any] = {"nodes": len(found), "bytes": sum(n.nbytes for n in found)}
    total |= {name: sum(n.kind == kind for n in found) for kind, name in KINDS.items()}
    result: dict[str, Any] = {
        "preset": args.preset,
        "batch": batch,
        "conv": args.conv,
        "architecture": f"sm_{ARCHITECTURE}",
        "nvrtc": ".".join(map(str, nvrtc().getVersion())),
        "total": total,
        "nodes": summary(found),
    }
    print(f"{args.preset}, batch {batch}, convolutions by {args.conv}: a training step")
    show_nodes(result)
    status = 0
    try:
        result["kernels"] = costs(found)
        total["issued"] = sum(row.get("issued", 0) for row in result["kernels"])
        show_costs(result)
        status = int(any("error" in row for row in result["kernels"]))
    except MissingError as error:
        print(f"{COMMAND}: {error}", file=sys.stderr)
        status = 1
    parts = ["gpu-counts", args.preset]
    parts += [str(batch)] if args.batch else []
    parts += [args.conv] if args.conv != "auto" else []
    path = args.out / ("-".join(parts) + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten: {path}")
    return status


if __name__ == "__main__":
    sys.exit(main())
