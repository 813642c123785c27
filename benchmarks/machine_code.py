"""How many instructions a kernel costs, from its machine code, without a GPU.

CUDA's compiler makes the machine code, `nvdisasm` lists it, and here it is run: each basic block is
translated into Python, and 32 threads of a warp go through it one after another, with the arguments
of the launch. A warp issues an instruction if any of its threads needs it, whether or not its
predicate holds; so what a warp issues is counted, for each instruction, as the most times that any
of its threads comes by. Loops count by the passes that they take, and a branch that no thread of
the warp takes doesn't count.

Numbers in memory decide little about a kernel's path. The threads find ones in arrays of floats and
zeros in all others; what they write to device memory is forgotten, and shared memory is each
thread's own. So what only the last block does, which finds by counting that it is, isn't counted.
"""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.installing import how

from . import sass
from .sass import Instruction, NotFollowedError

ARCHITECTURE = "90"  # H100, H200
WARP = 32
SAMPLED = 32  # warps of a launch that stand for all
SPREAD = (math.sqrt(5) - 1) / 2  # its multiples are even, but never in step with rows or images
MISSING = (
    f"nvdisasm, CUDA's disassembler, is missing: {how('counts')} brings it, and so does CUDA's"
    " toolkit"
)


class MissingError(Exception):
    """There is no disassembler."""


class Array(NamedTuple):
    """A stretch of device memory that a launch was given, and the type of what is in it."""

    address: int
    nbytes: int
    dtype: str


class Launch(NamedTuple):
    """How a kernel was launched: blocks, threads of a block, arguments as bytes, and arrays."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[bytes, ...]
    arrays: tuple[Array, ...]


# --- from a cubin to a list of instructions ------------------------------------------------------


def disassembler() -> str:
    """The path of nvdisasm: from the extra, or from CUDA's toolkit. Raises MissingError."""
    for site in map(Path, sys.path):
        for found in site.glob("nvidia/*/bin/nvdisasm"):
            return str(found)
    if found_elsewhere := shutil.which("nvdisasm"):
        return found_elsewhere
    raise MissingError(MISSING)


def sections(cubin: bytes) -> dict[str, bytes]:
    """The sections of an ELF file of 64 bits."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", cubin, table + i * size) for i in range(count)]
    found = {}
    for name, kind, _, _, start, length in heads:
        begin = heads[names][4] + name
        label = cubin[begin : cubin.index(b"\0", begin)].decode()
        nothing = kind == 8  # SHT_NOBITS
        found[label] = b"" if nothing else cubin[start : start + length]
    return found


def listing(code: bytes) -> str:
    """The machine code of a kernel, one instruction a line. Raises MissingError."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(code)
        file.flush()
        # The bare code: an nvdisasm of CUDA 13 reads no ELF file of CUDA 12.
        command = [disassembler(), "--binary", f"SM{ARCHITECTURE}", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def parameters(information: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Of a `.nv.info` section: where the arguments begin in constant bank 0.

    And of each argument, in turn, where it is from there on, and its bytes.
    """
    start, found, at = 0, {}, 0
    while at < len(information):
        form, attribute, size = struct.unpack_from("<BBH", information, at)
        at += 4
        if attribute == 0x17:  # EIATTR_KPARAM_INFO
            _, ordinal, offset, word = struct.unpack_from("<IHHI", information, at)
            found[ordinal] = offset, word >> 18
        elif attribute == 0x0A:  # EIATTR_PARAM_CBANK
            _, start = struct.unpack_from("<IH", information, at)
        at += size if form == 4 else 0
    return start, [found[i] for i in range(len(found))]


# --- a kernel, and a warp that goes through it ---------------------------------------------------

STEPS = 2_000_000  # blocks that a thread goes through before it counts as lost


class Kernel(NamedTuple):
    """A compiled kernel."""

    instructions: list[Instruction]
    start: int  # of the arguments, in constant bank 0
    parameters: list[tuple[int, int]]  # from there on: where each is, and its bytes
    banks: dict[int, bytes]  # the other constant banks

    def blocks(self) -> dict[int, list[Instruction]]:
        """The basic blocks, by the address of their first instruction."""
        addresses = {i.address for i in self.instructions}
        first = {0}
        for i in self.instructions:
            if i.opcode in ("BRA", "EXIT", "CALL", "RET", "BREAK", "BSYNC"):
                first.add(i.address + 16)
                if i.opcode in ("BRA", "CALL"):
                    first.add(int(i.operands[-1], 16))
            # the address that a subroutine returns to
            if i.opcode == "MOV" and i.operands[1].startswith("0x"):
                first.add(int(i.operands[1], 16))
        found: dict[int, list[Instruction]] = {}
        current: list[Instruction] = []
        for i in self.instructions:
            if i.address in first & addresses:
                current = found[i.address] = []
            current.append(i)
        return found


def kernel(cubin: bytes, name: str) -> Kernel:
    """A kernel of a cubin. Raises MissingError."""
    parts = sections(cubin)
    banks = {
        bank: next((d for n, d in parts.items() if n.startswith(f".nv.constant{bank}")), b"")
        for bank in (2, 3, 4)
    }
    listed = sass.instructions(listing(parts[f".text.{name}"]))
    return Kernel(listed, *parameters(parts[f".nv.info.{name}"]), banks)


def issued(kernel: Kernel, launch: Launch) -> dict[Instruction, float]:
    """How often the warps of a launch issue each instruction, all warps taken together.

    Some warps are followed, and stand for all. Raises NotFollowedError.
    """
    blocks = kernel.blocks()
    threads = math.prod(launch.block)
    in_block = -(-threads // WARP)
    warps = math.prod(launch.grid) * in_block
    program = Program(kernel, blocks, launch)
    followed = sorted({int((k + 0.5) * SPREAD % 1 * warps) for k in range(SAMPLED)})
    total: Counter[Instruction] = Counter()
    for warp in followed:
        block, begin = warp // in_block, warp % in_block * WARP
        most: dict[int, int] = {}
        for thread in range(begin, min(begin + WARP, threads)):
            for address, times in program.run(block, thread).items():
                most[address] = max(times, most.get(address, 0))
        for address, times in most.items():
            for i in blocks[address]:
                total[i] += times
    return {i: times * warps / len(followed) for i, times in total.items()}


class Program:
    """A kernel as Python, for one launch."""

    def __init__(
        self, kernel: Kernel, blocks: dict[int, list[Instruction]], launch: Launch
    ) -> None:
        self.launch = launch
        end = max((offset + size for offset, size in kernel.parameters), default=0)
        bank = bytearray(kernel.start + end)
        struct.pack_into("<6I", bank, 0, *launch.block, *launch.grid)
        for (offset, size), argument in zip(kernel.parameters, launch.arguments, strict=True):
            at = kernel.start + offset
            bank[at : at + size] = argument[:size].ljust(size, b"\0")
        self.translator = sass.Translator({0: bytes(bank), **kernel.banks})
        self.code = {}
        for address, block in blocks.items():
            lines = [self.translator.line(i) for i in block]
            lines.append(f"pc = {self.after(block)}")
            self.code[address] = compile("\n".join(lines), f"block {address:#x}", "exec")
        self.registers: dict[str, Any] = {f"R{k}": 0 for k in range(256)}
        self.registers |= {f"UR{k}": 0 for k in range(64)}
        self.registers |= {f"{u}P{k}": False for k in range(8) for u in ("", "U")}
        self.registers |= sass.ARITHMETIC | {
            "load": self.load,
            "touched": self.touched,
            "constant": self.translator.read_constant,
        }

    def after(self, block: list[Instruction]) -> str:
        """Where a thread goes on after a block, as Python; None is the end."""
        last = block[-1]
        following = last.address + 16
        condition = self.translator.predicate(last.guard) if last.guard else "True"
        if last.opcode == "EXIT":
            target = "None"
        elif last.opcode in ("BRA", "CALL"):
            target = last.operands[-1]
            for each in last.operands[:-1]:
                condition += f" and {self.translator.predicate(each)}"
            if "DIV" in last.modifiers:  # taken by warps whose threads are apart
                condition = "False"
        elif last.opcode == "RET":
            target = last.operands[0].split()[0]
        elif last.opcode == "BSYNC":
            target = last.operands[0]
        else:
            return str(following)
        return f"{target} if {condition} else {following}"

    def touched(self, address: int) -> Array:
        """The array that an address is in: if it were in none, the translation would be wrong."""
        for array in self.launch.arrays:
            if array.address <= address < array.address + array.nbytes:
                return array
        raise NotFollowedError(f"address {address:#x} is in no array of the launch")

    def load(self, address: int) -> int:
        """What a thread finds in device memory."""
        dtype = self.touched(address).dtype
        if dtype == "float64":
            return 0x3FF00000 if address & 4 else 0
        return 0x3F800000 if dtype == "float32" else 0

    def run(self, block: int, thread: int) -> Counter[int]:
        """How often a thread comes through each block of instructions."""
        gx, gy, _ = self.launch.grid
        bx, by, _ = self.launch.block
        state = self.registers | {
            "SR_CTAID_X": block % gx,
            "SR_CTAID_Y": block // gx % gy,
            "SR_CTAID_Z": block // gx // gy,
            "SR_TID_X": thread % bx,
            "SR_TID_Y": thread // bx % by,
            "SR_TID_Z": thread // bx // by,
            "SR_LANEID": thread % WARP,
            "SR_CgaCtaId": 0,
            "shared": {},
            "local": {},
        }
        passed: Counter[int] = Counter()
        pc: int | None = 0
        for _ in range(STEPS):
            if pc is None:
                return passed
            passed[pc] += 1
            try:
                exec(self.code[pc], state)
            except NameError as error:  # a special register
                raise NotFollowedError(f"no value of {error.name}") from None
            pc = state["pc"]
        raise NotFollowedError(f"a loop without an end, at {pc:#x}")
