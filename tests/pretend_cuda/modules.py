"""CuPy's kernels, compiled by the machine's C++ compiler in NVRTC's place.

CuPy writes their source, chooses the options and keeps what is made of them in its cache on disk
(build/pretend_cuda/kernels), as always. Here a "cubin" is a shared library. Kernels of minicnn's
own go to NVRTC, too, for several GPUs: what it does not take fails here as there.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from . import build

KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\('
)
DYNAMIC = re.compile(
    r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?([\w\s:<>]+?)\s*(\w+)\s*\[\s*\]\s*;"
)
OUR_OWN = "minicnn_"  # begins the names of minicnn's kernels
ARCHITECTURES = (70, 80, 90)  # V100, A100, H100 and H200; of those the ones that NVRTC knows
WAITS = re.compile(r"__sync(threads|warp)|_sync\s*\(")
INDEXED = re.compile(r"\b(threadIdx|blockIdx|blockDim|gridDim)\b")


def threads(source: str) -> int:
    """How a kernel's threads are run: 0, as one loop; 1, one after another; 2, taking turns.

    CuPy's own loops (CUPY_FOR) do all of their work whatever the number of threads is, so one does.
    """
    return 2 if WAITS.search(source) else 1 if INDEXED.search(source) else 0


def with_entries(source: str, name_expressions: Any) -> tuple[str, dict[str, str]]:
    """The source with what device.cpp looks for behind it, and the expressions' names there."""
    source = DYNAMIC.sub(r"\1 *\2 = (\1 *)pretend_dynamic_shared;", source)
    mapping = {text: f"expression{k}" for k, text in enumerate(name_expressions or ())}
    entries = {name: name for name in KERNEL.findall(source)}
    entries |= {name: text for text, name in mapping.items()}
    kind = threads(source)
    lines = [
        f"namespace {{ constexpr auto pretend_f{k} = {text}; }}\n"
        f"PRETEND_KERNEL(pretend_{name}, pretend_f{k}, {kind})"
        for k, (name, text) in enumerate(entries.items())
    ]
    return "\n".join([source, *lines, ""]), mapping


class Program:
    """What CuPy's compiler.py calls a program: one source, compiled."""

    of_nvrtc: Any = None  # CuPy's own class, in whose place this is
    compiled_for_all: ClassVar[set[frozenset[str]]] = set()  # names of kernels

    def __init__(
        self,
        src: str | bytes,
        name: str = "default_program",
        headers: Any = (),
        include_names: Any = (),
        name_expressions: Any = None,
        method: str = "ptx",
    ) -> None:
        self.src = src.decode() if isinstance(src, bytes) else src
        self.name, self.name_expressions = name, name_expressions

    def compile(self, options: Any = (), log_stream: Any = None) -> tuple[bytes, Any]:
        """The library, and the names of the expressions. Raises CuPy's CompileException."""
        if not self.src:  # CuPy asks in this way which compiler it is, for the names in its cache
            return f"// {build.kernels_made_from()}".encode(), None
        if OUR_OWN in self.src:
            self.compile_for_gpus(options)
        # CuPy's own headers, not CUDA's and Thrust's.
        includes = [o for o in options if re.fullmatch(r"-I.*/cupy/_core/include", o)]
        defines = [o for o in options if o.startswith("-D")]
        header = build.kernel_header(includes)
        source, mapping = with_entries(self.src, self.name_expressions)
        with tempfile.TemporaryDirectory() as directory:
            library, path = Path(directory, "kernel.so"), Path(directory, "kernel.cpp")
            path.write_text(source)
            flags = [*build.kernel_flags(header, includes), *defines, "-include", header]
            flags += build.KERNEL_LINK
            done = build.run([*flags, "-o", library, path])
            if log_stream is not None:
                log_stream.write(done.stderr)
            if done.returncode:
                from cupy.cuda.compiler import CompileException

                raise CompileException(done.stderr, self.src, self.name, options, "g++")
            return library.read_bytes(), mapping or None

    def compile_for_gpus(self, options: Any) -> None:
        """Have NVRTC compile it, as CuPy would on a GPU. Raises CuPy's CompileException.

        For all of them when a kernel is first compiled, for the oldest with other types.
        """
        from cupy_backends.cuda.libs import nvrtc

        architectures = sorted(set(ARCHITECTURES).intersection(nvrtc.getSupportedArchs()))
        names = frozenset(KERNEL.findall(self.src))
        if names in self.compiled_for_all:
            del architectures[1:]
        self.compiled_for_all.add(names)
        for architecture in architectures:
            others = [o for o in options if not o.startswith("-arch=")]
            program = self.of_nvrtc(self.src, self.name, (), (), self.name_expressions, "cubin")
            program.compile((*others, f"-arch=sm_{architecture}"))
