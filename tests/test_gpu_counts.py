"""Counts of a GPU's work: instructions that are followed, and the nodes of a captured step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import machine_code, sass
from benchmarks.machine_code import Array, Kernel, Launch

ROOT = Path(__file__).parents[1]
START = 0x210  # of the arguments in a kernel's constants

# Thread t writes to element t; its loop goes round as often as the kernel's second argument says.
LOOP = """
    /*0000*/  S2R R0, SR_TID.X ;
    /*0010*/  LDC.64 R2, c[0x0][0x210] ;
    /*0020*/  LDC R4, c[0x0][0x218] ;
    /*0030*/  IMAD.WIDE.U32 R2, R0, 0x4, R2 ;
    /*0040*/  IADD3 R4, R4, -0x1, RZ ;
    /*0050*/  ISETP.NE.AND P0, PT, R4, RZ, PT ;
    /*0060*/  @P0 BRA 0x40 ;
    /*0070*/  STG.E desc[UR4][R2.64], R4 ;
    /*0080*/  EXIT ;
    /*0090*/  BRA 0x90;
    /*00a0*/  NOP;
"""


def issued(
    listing: str, passes: int = 1, threads: int = 64, elements: int = 64
) -> dict[str, float]:
    """How often the warps of two blocks issue each instruction, by its opcode."""
    kernel = Kernel(sass.instructions(listing), START, [(0, 8), (8, 4)], {})
    address = 0x7F0000000000
    arguments = address.to_bytes(8, "little"), passes.to_bytes(4, "little")
    array = Array(address, 4 * elements, "float32")
    launch = Launch((2, 1, 1), (threads, 1, 1), arguments, (array,))
    return {i.opcode: n for i, n in machine_code.issued(kernel, launch).items()}


@pytest.mark.cpu
class TestKernel:
    def test_a_loop_counts_by_its_passes(self):
        counts = issued(LOOP, passes=7)
        assert counts["ISETP"] == 7 * counts["STG"]

    def test_every_warp_of_every_block_counts(self):
        assert issued(LOOP, threads=64)["STG"] == 4

    def test_a_warp_issues_what_any_of_its_threads_needs(self):
        own = LOOP.replace("LDC R4, c[0x0][0x218]", "IADD3 R4, R0, 0x1, RZ")
        assert issued(own, threads=32)["ISETP"] == 2 * 32

    def test_what_no_thread_comes_by_does_not_count(self):
        assert "STG" not in issued(LOOP.replace("@P0 BRA 0x40", "BRA 0x80"))

    def test_what_pads_the_end_is_left_out(self):
        assert [i.opcode for i in sass.instructions(LOOP)][-1] == "EXIT"

    def test_an_address_outside_all_arrays_is_an_error(self):
        with pytest.raises(sass.NotFollowedError, match="is in no array of the launch"):
            issued(LOOP, elements=32)

    def test_an_instruction_that_is_not_translated_is_named(self):
        with pytest.raises(sass.NotFollowedError, match=r"no translation of FOO\.BAR R1"):
            issued(LOOP.replace("S2R R0, SR_TID.X", "FOO.BAR R1"))

    def test_a_loop_without_an_end_is_an_error(self, monkeypatch):
        monkeypatch.setattr(machine_code, "STEPS", 100)
        with pytest.raises(sass.NotFollowedError, match="without an end"):
            issued(LOOP, passes=1000)


REGISTERS = {"R2": 7, "R3": 0xFFFFFFFE, "R4": 0x80000000, "R5": 3, "R6": 0x3FC00000, "P1": True}


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IADD3 R0, R2, -R5, RZ", {"R0": 4}),
        ("IADD3 R0, P0, R3, R5, RZ", {"R0": 1, "P0": True}),
        ("IADD3 R0, P0, R2, -R2, RZ", {"R0": 0, "P0": True}),
        ("IADD3.X R0, R2, ~R5, RZ, P1, !PT", {"R0": 4}),
        ("IMAD R0, R3, R5, R2", {"R0": 1}),
        ("IMAD.WIDE R0, R3, R5, RZ", {"R0": 0xFFFFFFFA, "R1": 0xFFFFFFFF}),
        ("IMAD.WIDE.U32 R0, R3, R5, RZ", {"R0": 0xFFFFFFFA, "R1": 2}),
        ("IMAD.HI.U32 R0, R3, R5, R2", {"R0": 1}),  # 64 bits are added: (R3, R2)
        ("LEA R0, P0, R4, R2, 0x1", {"R0": 7, "P0": False}),
        ("LEA.HI.X.SX32 R0, R3, R2, 0x1, P1", {"R0": 7}),
        ("LOP3.LUT R0, R2, R5, RZ, 0x3c, !PT", {"R0": 4}),
        ("LOP3.LUT P0, RZ, R2, 0x8, RZ, 0xc0, !PT", {"P0": False}),
        ("PLOP3.LUT P0, PT, P1, PT, PT, 0x80, 0x0", {"P0": 1}),
        ("SHF.R.U32.HI R0, RZ, 0x4, R4", {"R0": 0x08000000}),
        ("SHF.R.S32.HI R0, RZ, 0x1f, R4", {"R0": 0xFFFFFFFF}),
        ("SHF.L.U64.HI R0, R4, 0x2, R5", {"R0": 14}),
        ("SHF.L.W.U32.HI R0, R4, 0x1, R4", {"R0": 1}),
        ("ISETP.LT.AND P0, PT, R3, R5, PT", {"P0": True}),
        ("ISETP.LT.U32.AND P0, PT, R3, R5, PT", {"P0": False}),
        ("ISETP.GE.AND.EX P0, PT, R5, R5, PT, P1", {"P0": True}),
        ("SEL R0, R2, R5, !P1", {"R0": 3}),
        ("PRMT R0, R2, 0x1054, R5", {"R0": 0x00070003}),
        ("VIMNMX.U32 R0, R3, R5, PT", {"R0": 3}),
        ("VIADDMNMX R0, R3, 0x1, R5, PT", {"R0": 0xFFFFFFFF}),
        ("P2R R0, PR, RZ, 0x2", {"R0": 2}),
        ("R2P PR, R5, 0x5", {"P0": True, "P1": True, "P2": False}),
        ("FFMA.FTZ R0, R6, 2, -R6", {"R0": 0x3FC00000}),
        ("FSETP.GEU.FTZ.AND P0, PT, R6, 2, PT", {"P0": False}),
        ("HFMA2.MMA R0, -RZ, RZ, 1.875, 0", {"R0": 0x3F800000}),
        ("MUFU.RCP R0, R6", {"R0": 0x3F2AAAAB}),
        ("I2F.U32.RP R0, R3", {"R0": 0x4F800000}),
        ("F2I.FTZ.U32.TRUNC.NTZ R0, R6", {"R0": 1}),
        ("UIADD3 UR4, URZ, 0x5, URZ", {"UR4": 5}),
        ("@!P1 MOV R0, R2", {"R0": 0}),
    ],
)
def test_does_what_the_instruction_does(text, expected):
    (instruction,) = sass.instructions(f"/*0000*/ {text} ;")
    state = sass.ARITHMETIC | {"R0": 0, "R1": 0, "P0": False, "P2": True} | REGISTERS
    exec(sass.Translator({}).line(instruction), state)
    assert {name: state[name] for name in expected} == expected


@pytest.mark.cuda
class TestBytes:
    def test_an_array_counts_once(self, backend):
        from benchmarks.gpu_counts import moved

        x = backend.xp.zeros((3, 4), "float32")
        assert moved([x, x]) == 48

    def test_an_axis_along_which_an_array_is_repeated_does_not_count(self, backend):
        from benchmarks.gpu_counts import moved

        x = backend.xp.zeros((3, 1), "float32")
        assert moved([backend.xp.broadcast_to(x, (3, 4))]) == 12

    def test_the_stretch_of_an_array_has_its_gaps(self, backend):
        from benchmarks.gpu_counts import span

        x = backend.xp.zeros((4, 4), "float32")
        assert span(x[::-1, ::2]) == Array(x.data.ptr, 60, "float32")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The command without a disassembler, and what it kept."""
    out = tmp_path_factory.mktemp("results")
    program = (
        "import sys; from benchmarks import gpu_counts, machine_code\n"
        "def disassembler(): raise machine_code.MissingError(machine_code.MISSING)\n"
        "machine_code.disassembler = disassembler\n"
        "sys.exit(gpu_counts.main(sys.argv[1:]))"
    )
    flags = ["--preset", "quick", "--batch", "2", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PRETEND_CUDA": ""},
        check=False,
    )
    return done, json.loads((out / "gpu-counts-quick-2.json").read_text())


@pytest.mark.pretend
class TestCommand:
    def test_without_a_disassembler_it_is_one_line_and_status_1(self, run):
        assert run[0].stderr == f"python -m benchmarks.gpu_counts: {machine_code.MISSING}\n"
        assert run[0].returncode == 1

    def test_every_node_is_counted(self, run):
        total, rows = run[1]["total"], run[1]["nodes"]
        assert total["nodes"] == sum(row["nodes"] for row in rows) > 0
        assert total["bytes"] == sum(row["bytes"] for row in rows)

    def test_the_kernels_of_a_step_are_those_of_the_network(self, run):
        counts = {row["name"]: row["nodes"] for row in run[1]["nodes"]}
        assert counts["minicnn_relu"] == counts["minicnn_relu_vjp"] == 6
        assert counts["minicnn_max_pool"] == counts["minicnn_max_unpool"] == 1
        assert counts["minicnn_cross_entropy"] == counts["minicnn_sgd_momentum"] == 1

    def test_fits_80_columns(self, run):
        assert max(map(len, run[0].stdout.splitlines()[:-1])) <= 80
