"""Instructions of a GPU (SASS, as `nvdisasm` lists it for an H100), and what they do, in Python.

Registers become variables that hold 32 bits, as an integer ≥ 0; predicates are variables too. RZ
and URZ are 0, PT and UPT are true. Two registers, (R5, R4), are a number of 64 bits.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

CLASSES = {  # opcodes, with the U of the uniform datapath taken off
    "integer": "IMAD IADD3 VIADD LEA LOP3 SHF ISETP SEL MOV PRMT IABS IMNMX VIMNMX POPC FLO BREV"
    " PLOP3 VIADDMNMX R2UR R2P P2R",
    "conversion": "I2F I2FP F2I F2F F2FP I2I MUFU",  # at a quarter of the rate, or less
    "float": "FADD FMUL FFMA FMNMX FSETP FSEL FCHK HFMA2 HADD2 HMUL2 DADD DMUL DFMA DSETP DMNMX",
    "memory": "LDG STG LDS STS LDL STL LD ST ATOM ATOMG ATOMS RED",
    "control": "BRA EXIT BSSY BSYNC BREAK CALL RET NOP BAR WARPSYNC YIELD MEMBAR DEPBAR ERRBAR"
    " CCTL CGAERRBAR",
    "constant": "LDC S2R S2UR CS2R",
}
CLASS = {opcode: name for name, opcodes in CLASSES.items() for opcode in opcodes.split()}


class NotFollowedError(Exception):
    """A kernel that can't be followed: no machine code, an instruction that is not translated here,
    or an address outside all arrays, which means that one is translated wrongly.
    """


Operands = tuple[str, ...]
Modifiers = frozenset[str]


class Instruction(NamedTuple):
    """`@!P0 IADD3.X R1, R2, R3, RZ, P1, !PT`, taken apart."""

    address: int
    guard: str  # "!P0", or "" if it is always done
    opcode: str  # "IADD3", without the U of the uniform datapath
    modifiers: Modifiers  # {"X"}
    operands: Operands
    text: str

    @property
    def kind(self) -> str:
        """Its class."""
        return CLASS.get(self.opcode, "other")

    @property
    def nbytes(self) -> int:
        """What a thread moves, if it moves anything."""
        return width(self.modifiers)


def width(modifiers: Modifiers) -> int:
    """The bytes of `LDG.E.128` and its like."""
    widths = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
    return next((n for name, n in widths.items() if name in modifiers), 4)


def instructions(lines: str) -> list[Instruction]:
    """The instructions of a listing, without those that pad its end."""
    pattern = re.compile(r"/\*([0-9a-f]{4,})\*/\s+((?:@(!?U?P\w)\s+)?([\w.]+)\s*(.*?))\s*;")
    found = []
    for address, text, guard, name, rest in pattern.findall(lines):
        opcode, *modifiers = name.split(".")
        opcode = opcode.removeprefix("U")
        operands = tuple(o.strip().replace(".reuse", "") for o in rest.split(",")) if rest else ()
        each = Instruction(int(address, 16), guard, opcode, frozenset(modifiers), operands, text)
        if each.opcode == "BRA" and operands == (hex(each.address),):
            break  # the loop after the end, which nothing comes to
        found.append(each)
    return found


# --- arithmetic ----------------------------------------------------------------------------------

M = 0xFFFFFFFF
COMPARE = {"LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "EQ": "==", "NE": "!="}


def signed(x: int) -> int:
    return x - (1 << 32) if x >> 31 else x


def real(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def bits(x: float) -> int:
    try:
        return int(struct.unpack("<I", struct.pack("<f", x))[0])
    except OverflowError:
        return 0x7F800000 | (x < 0) << 31


def upwards(x: int) -> float:
    """x as a float32, rounded up, as the reciprocals of integer divisions need it."""
    near = struct.unpack("<I", struct.pack("<f", float(x)))[0]
    return real(near) if real(near) >= x else real(near + 1)


def permuted(a: int, choice: int, c: int) -> int:
    """PRMT: four bytes of (c, a), or their signs, as the four digits of `choice` say."""
    source, result = c << 32 | a, 0
    for k in range(4):
        digit = choice >> 4 * k & 15
        byte = source >> 8 * (digit & 7) & 255
        result |= (255 * (byte >> 7) if digit & 8 else byte) << 8 * k
    return result


def special(function: str, x: float) -> float:
    """MUFU."""
    try:
        table: dict[str, Callable[[float], float]] = {
            "RCP": lambda v: 1 / v,
            "RSQ": lambda v: 1 / math.sqrt(v),
            "SQRT": math.sqrt,
            "EX2": lambda v: 2.0**v,
            "LG2": math.log2,
            "SIN": math.sin,
            "COS": math.cos,
            "TANH": math.tanh,
        }
        return table[function](x)
    except (ZeroDivisionError, ValueError, OverflowError):
        return math.inf


def truncated(x: float, unsigned: bool, width: int) -> int:
    if x != x:
        return 0
    low, high = (0, 2**width - 1) if unsigned else (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
    limited = min(max(x, float(low)), float(high))
    return min(int(limited), high) & (2**width - 1)


ARITHMETIC = {
    each.__name__: each for each in (signed, real, bits, upwards, permuted, special, truncated)
}


# --- from an instruction to a line of Python -----------------------------------------------------


def _register(name: str, ahead: int = 0) -> str:
    """R4 and 1 → R5; the zero register stays."""
    if name in ("RZ", "URZ", "SRZ"):
        return "0"
    letters, number = re.fullmatch(r"(U?R)(\d+)", name).groups()  # type: ignore[union-attr]
    return f"{letters}{int(number) + ahead}"


class Translator:
    """Makes Python of instructions, for one launch: constants are put in as they are there."""

    def __init__(self, banks: dict[int, bytes]) -> None:
        self.banks = banks

    def constant(self, operand: str, nbytes: int = 4, ahead: int = 0) -> str:
        """c[0x0][0x210], or c[0x0][R3+0x10]."""
        bank, place = re.fullmatch(r"c\[(0x\w+)\]\[(.+)\]", operand).groups()  # type: ignore[union-attr]
        if place.startswith("0x"):
            at = int(place, 16) + ahead
            return str(self.read_constant(int(bank, 16), at, nbytes))
        return f"constant({int(bank, 16)}, {self.address(place)} + {ahead}, {nbytes})"

    def read_constant(self, bank: int, at: int, nbytes: int = 4) -> int:
        held = self.banks.get(bank, b"")[at : at + nbytes]
        return int.from_bytes(held, "little")

    def integer(self, operand: str, ahead: int = 0) -> str:
        """An operand's value, 0 ≤ value ≤ 2³²: a negative is its complement and one."""
        if operand.startswith("-") and not operand.startswith("-0x"):
            return f"(({self.integer(operand[1:])} ^ {M}) + 1)"
        if operand.startswith("~"):
            return f"({self.integer(operand[1:])} ^ {M})"
        if operand.startswith("|"):
            return f"abs(signed({self.integer(operand.strip('|'))}))"
        if re.fullmatch(r"-?0x[0-9a-f]+", operand):
            return str(int(operand, 16) & M)
        if operand.startswith("c["):
            return self.constant(operand, 4, 4 * ahead)
        if re.fullmatch(r"U?R(Z|\d+)", operand):
            return _register(operand, ahead)
        raise ValueError(operand)

    def pair(self, operand: str) -> str:
        """64 bits, from two registers."""
        if operand.startswith("0x"):
            return str(int(operand, 16))
        return f"({self.integer(operand, 1)} << 32 | {self.integer(operand)})"

    def floating(self, operand: str) -> str:
        if operand.startswith("-") and not re.match(r"-[\d.I]", operand):
            return f"-{self.floating(operand[1:])}"
        if operand.startswith("|"):
            return f"abs({self.floating(operand.strip('|'))})"
        if re.match(r"[-+]?(\d|\.|INF|QNAN|SNAN)", operand) and not operand.startswith("0x"):
            number = float(operand.replace("QNAN", "nan").replace("SNAN", "nan"))
            return f"real({bits(number)})"
        return f"real({self.integer(operand)})"

    def predicate(self, operand: str) -> str:
        if operand.startswith("!"):
            return f"(not {self.predicate(operand[1:])})"
        return "True" if operand in ("PT", "UPT") else operand

    def address(self, operand: str) -> str:
        """desc[UR8][R2.64+0x10], [R8], [R8+UR4+0x40]."""
        inside = re.sub(r"^desc\[\w+\]", "", operand).strip("[]")
        terms = []
        for term in re.findall(r"[-\w.]+", inside):
            if term.endswith(".64"):
                terms.append(self.pair(term[:-3]))
            elif term.endswith((".X4", ".X8", ".X16")):
                terms.append(f"{self.integer(term.split('.')[0])} * {term.split('X')[1]}")
            elif term.startswith("-0x"):
                terms.append(term)
            else:
                terms.append(self.integer(re.sub(r"\.U32$", "", term)))
        return "(" + " + ".join(terms or ["0"]) + ")"

    def line(self, i: Instruction) -> str:
        """What the instruction does, as Python. Raises NotFollowedError."""
        method = getattr(self, "_" + i.opcode, None)
        try:
            if i.opcode == "BSSY":
                return f"{i.operands[0]} = {i.operands[1]}"  # where its BSYNC goes on
            if i.kind == "control":
                return "pass"
            if method is None:
                raise ValueError(i.opcode)
            text: str = method(i.operands, i.modifiers)
        except (ValueError, IndexError, AttributeError):
            raise NotFollowedError(f"no translation of {i.text}") from None
        return f"if {self.predicate(i.guard)}: {text}" if i.guard else text

    # What is assigned to.

    def put(self, target: str, value: str) -> str:
        return "pass" if target in ("RZ", "URZ") else f"{target} = ({value}) & {M}"

    def put_pair(self, target: str, value: str) -> str:
        if target in ("RZ", "URZ"):
            return "pass"
        return f"_ = {value}; {target} = _ & {M}; {_register(target, 1)} = _ >> 32 & {M}"

    def put_predicates(self, targets: tuple[str, str], value: str, combined: str) -> str:
        first, second = targets
        lines = [f"_ = {value}"]
        if first not in ("PT", "UPT"):
            lines.append(f"{first}_ = " + combined.format("_"))
        if second not in ("PT", "UPT"):
            lines.append(f"{second} = " + combined.format("(not _)"))
        if first not in ("PT", "UPT"):
            lines.append(f"{first} = {first}_")
        return "; ".join(lines)

    def carried(self, operands: Operands) -> tuple[str, list[str], list[str]]:
        """The target, the predicates that take its carry, and the other operands."""
        target, *rest = operands
        carries = []
        while rest and re.fullmatch(r"U?P[T\d]", rest[0]):
            carries.append(rest.pop(0))
        return target, carries, rest

    def add(self, target: str, carries: list[str], value: str) -> str:
        lines = [f"_ = {value}", self.put(target, "_")]
        for least, carry in enumerate(carries, 1):
            if carry not in ("PT", "UPT"):
                lines.append(f"{carry} = _ >> 32 >= {least}")
        return "; ".join(lines)

    # Integers. `o` are the operands, `m` the modifiers.

    def _IADD3(self, o: Operands, m: Modifiers) -> str:
        target, carries, rest = self.carried(o)
        terms = [self.integer(each) for each in rest[:3]]
        terms += [self.predicate(each) for each in rest[3:]]
        return self.add(target, carries, " + ".join(terms))

    _VIADD = _IADD3

    def _IMAD(self, o: Operands, m: Modifiers) -> str:
        target, carries, (a, b, c, *carry) = self.carried(o)
        number = self.integer if m & {"U32", "MOV", "IADD", "SHL", "X"} else self.signed_integer
        product = f"{number(a)} * {number(b)}"
        plus = "".join(f" + {self.predicate(each)}" for each in carry)
        if "WIDE" in m:
            whole = f"{product} + {self.pair(c)}{plus}"
            return "; ".join(
                [self.put_pair(target, f"({whole})")]
                + [f"{each} = _ >> 64 & 1" for each in carries if each not in ("PT", "UPT")]
            )
        if "HI" in m:
            return self.put(target, f"({product} + {self.pair(c)}{plus}) >> 32")
        if carries:
            product = f"({product} & {M})"
        return self.add(target, carries, f"{product} + {self.integer(c)}{plus}")

    def signed_integer(self, operand: str) -> str:
        return f"signed({self.integer(operand)} & {M})"

    def _LEA(self, o: Operands, m: Modifiers) -> str:
        target, carries, rest = self.carried(o)
        if "HI" not in m:
            a, b, shift = rest
            moved = f"(({self.integer(a)} << {self.integer(shift)}) & {M})"
            return self.add(target, carries, f"{moved} + {self.integer(b)}")
        if "SX32" in m:
            a, b, shift, *carry = rest
            whole = self.signed_integer(a)
        else:
            a, b, high, shift, *carry = rest
            whole = f"({self.integer(high)} << 32 | {self.integer(a)})"
        plus = "".join(f" + {self.predicate(each)}" for each in carry)
        moved = f"({whole} << {self.integer(shift)} >> 32 & {M})"
        return self.add(target, carries, f"{moved} + {self.integer(b)}{plus}")

    def _LOP3(self, o: Operands, m: Modifiers) -> str:
        tested = o[0] if re.fullmatch(r"U?P[T\d]", o[0]) else ""
        target, a, b, c, table = o[1:6] if tested else o[:5]
        value = self.logic([self.integer(each) for each in (a, b, c)], int(table, 16), str(M))
        lines = [f"_ = {value}", self.put(target, "_")]
        return "; ".join(lines + ([f"{tested} = _ != 0"] if tested else []))

    def _PLOP3(self, o: Operands, m: Modifiers) -> str:
        first, second, a, b, c, *tables = o
        inputs = [f"int({self.predicate(each)})" for each in (a, b, c)]
        values = [self.logic(inputs, int(table, 16), "1") for table in tables]
        targets = [t if t not in ("PT", "UPT") else "_" for t in (first, second)]
        return f"{', '.join(targets)} = {', '.join(values)}"

    def logic(self, inputs: list[str], table: int, ones: str) -> str:
        """The function of three bits whose values are the bits of `table`."""
        products = []
        for row in range(8):
            if table >> row & 1:
                bits_of_row = (row >> 2 & 1, row >> 1 & 1, row & 1)
                factors = [
                    x if bit else f"({x} ^ {ones})"
                    for x, bit in zip(inputs, bits_of_row, strict=True)
                ]
                products.append("(" + " & ".join(factors) + ")")
        return "(" + (" | ".join(products) or "0") + ")"

    def _SHF(self, o: Operands, m: Modifiers) -> str:
        target, low, shift, high = o
        by = self.integer(shift)
        if "W" in m:
            by = f"({by} & {63 if m & {'U64', 'S64'} else 31})"
        top = self.signed_integer(high) if m & {"S32", "S64"} else self.integer(high)
        whole = f"({top} << 32 | {self.integer(low)})"
        moved = f"({whole} {'<<' if 'L' in m else '>>'} min({by}, 64))"
        return self.put(target, f"{moved} >> 32" if "HI" in m else moved)

    def _ISETP(self, o: Operands, m: Modifiers) -> str:
        first, second, a, b, *others = o
        number = self.unsigned_integer if "U32" in m else self.signed_integer
        name = next(c for c in COMPARE if c in m)
        value = f"{number(a)} {COMPARE[name]} {number(b)}"
        if "EX" in m:  # the high halves; the last operand is how the low ones compared
            low = self.predicate(others.pop())
            differ = f"{number(a)} != {number(b)}"
            value = f"({value} if {differ} else {low})"
        with_ = self.predicate(others[0]) if others else "True"
        how = {"AND": "and", "OR": "or", "XOR": "!="}[next(iter(m & {"AND", "OR", "XOR"}))]
        return self.put_predicates((first, second), value, f"({{}}) {how} {with_}")

    def unsigned_integer(self, operand: str) -> str:
        return f"({self.integer(operand)} & {M})"

    def _SEL(self, o: Operands, m: Modifiers) -> str:
        target, a, b, p = o
        choice = f"{self.integer(a)} if {self.predicate(p)} else {self.integer(b)}"
        return self.put(target, choice)

    def _MOV(self, o: Operands, m: Modifiers) -> str:
        return self.put(o[0], self.integer(o[1]))

    _R2UR = _MOV

    def _PRMT(self, o: Operands, m: Modifiers) -> str:
        return self.put(o[0], f"permuted({', '.join(map(self.integer, o[1:4]))})")

    def _IABS(self, o: Operands, m: Modifiers) -> str:
        return self.put(o[0], f"abs({self.signed_integer(o[1])})")

    def _IMNMX(self, o: Operands, m: Modifiers) -> str:
        number = self.unsigned_integer if "U32" in m else self.signed_integer
        a, b, p = number(o[1]), number(o[2]), self.predicate(o[3])
        return self.put(o[0], f"min({a}, {b}) if {p} else max({a}, {b})")

    _VIMNMX = _IMNMX

    def _VIADDMNMX(self, o: Operands, m: Modifiers) -> str:
        number = self.unsigned_integer if "U32" in m else self.signed_integer
        total = f"{self.integer(o[1])} + {self.integer(o[2])} & {M}"
        a, b = total if "U32" in m else f"signed({total})", number(o[3])
        return self.put(o[0], f"min({a}, {b}) if {self.predicate(o[4])} else max({a}, {b})")

    def _P2R(self, o: Operands, m: Modifiers) -> str:
        mask, shift = int(o[3], 16), next((8 * int(each[1]) for each in m if each[0] == "B"), 0)
        held = " | ".join(f"bool(P{k}) << {shift + k}" for k in range(7) if mask >> k & 1)
        return self.put(o[0], f"{self.integer(o[2])} & ~{mask << shift} | {held}")

    def _R2P(self, o: Operands, m: Modifiers) -> str:
        register, _, byte = o[1].partition(".B")
        mask, shift = int(o[2], 16), 8 * int(byte or 0)
        value = self.integer(register)
        return "; ".join(
            f"P{k} = bool({value} >> {shift + k} & 1)" for k in range(7) if mask >> k & 1
        )

    def _POPC(self, o: Operands, m: Modifiers) -> str:
        return self.put(o[0], f"bin({self.unsigned_integer(o[1])}).count('1')")

    def _FLO(self, o: Operands, m: Modifiers) -> str:
        value = f"{self.unsigned_integer(o[1])}.bit_length() - 1"
        return self.put(o[0], f"31 - ({value})" if "SH" in m else value)

    def _BREV(self, o: Operands, m: Modifiers) -> str:
        return self.put(o[0], f"int(format({self.unsigned_integer(o[1])}, '032b')[::-1], 2)")

    # Floats, of 32 bits.

    def _FADD(self, o: Operands, m: Modifiers) -> str:
        return self.put_float(o[0], f"{self.floating(o[1])} + {self.floating(o[2])}", m)

    def _FMUL(self, o: Operands, m: Modifiers) -> str:
        return self.put_float(o[0], f"{self.floating(o[1])} * {self.floating(o[2])}", m)

    def _FFMA(self, o: Operands, m: Modifiers) -> str:
        a, b, c = map(self.floating, o[1:4])
        return self.put_float(o[0], f"{a} * {b} + {c}", m)

    def put_float(self, target: str, value: str, m: Modifiers) -> str:
        return self.put(target, f"bits(min(max({value}, 0.0), 1.0) if {'SAT' in m} else {value})")

    def _FMNMX(self, o: Operands, m: Modifiers) -> str:
        a, b, p = self.floating(o[1]), self.floating(o[2]), self.predicate(o[3])
        return self.put(o[0], f"bits(min({a}, {b}) if {p} else max({a}, {b}))")

    def _FSEL(self, o: Operands, m: Modifiers) -> str:
        a, b, p = self.floating(o[1]), self.floating(o[2]), self.predicate(o[3])
        return self.put(o[0], f"bits({a} if {p} else {b})")

    def _FSETP(self, o: Operands, m: Modifiers) -> str:
        first, second, a, b, with_ = o
        x, y = self.floating(a), self.floating(b)
        nan = f"({x} != {x} or {y} != {y})"
        if "NAN" in m:
            value = nan
        elif "NUM" in m:
            value = f"not {nan}"
        else:
            name = next(c for c in m if c.removesuffix("U") in COMPARE)
            value = f"({x} {COMPARE[name.removesuffix('U')]} {y}"
            value += f" or {nan})" if name.endswith("U") else f" and not {nan})"
        how = {"AND": "and", "OR": "or", "XOR": "!="}[next(iter(m & {"AND", "OR", "XOR"}))]
        combined = f"({{}}) {how} {self.predicate(with_)}"
        return self.put_predicates((first, second), value, combined)

    def _FCHK(self, o: Operands, m: Modifiers) -> str:
        return f"{o[0]} = False"  # whether a division needs the slow way: ones don't

    def _HFMA2(self, o: Operands, m: Modifiers) -> str:
        if o[1:3] != ("-RZ", "RZ"):
            raise ValueError(o)  # only its use as a MOV is known
        halves = [struct.unpack("<H", struct.pack("<e", float(each)))[0] for each in o[3:5]]
        return self.put(o[0], str(halves[0] << 16 | halves[1]))

    def _MUFU(self, o: Operands, m: Modifiers) -> str:
        (function,) = m - {"FTZ"}
        return self.put(o[0], f"bits(special({function!r}, {self.floating(o[1])}))")

    def _I2F(self, o: Operands, m: Modifiers) -> str:
        if "F64" in m:
            raise ValueError(o)
        if m & {"U64", "S64"}:
            value = self.pair(o[1])
        else:
            value = (self.unsigned_integer if "U32" in m else self.signed_integer)(o[1])
        return self.put(o[0], f"bits({'upwards' if 'RP' in m else 'float'}({value}))")

    _I2FP = _I2F

    def _F2I(self, o: Operands, m: Modifiers) -> str:
        if "F64" in m or "TRUNC" not in m:
            raise ValueError(o)
        wide = bool(m & {"U64", "S64"})
        value = (
            f"truncated({self.floating(o[1])}, {bool(m & {'U32', 'U64'})}, {64 if wide else 32})"
        )
        return (self.put_pair if wide else self.put)(o[0], value)

    # Memory.

    def _LDC(self, o: Operands, m: Modifiers) -> str:
        nbytes = min(width(m), 4)
        words = range(-(-width(m) // 4))
        values = [self.constant(o[1], nbytes, 4 * k) for k in words]
        return "; ".join(self.put(_register(o[0], k), values[k]) for k in words)

    def _S2R(self, o: Operands, m: Modifiers) -> str:
        return self.put(o[0], _register(o[1]) if o[1] == "SRZ" else o[1].replace(".", "_"))

    _S2UR = _S2R

    def _CS2R(self, o: Operands, m: Modifiers) -> str:
        if o[1] != "SRZ":
            raise ValueError(o)
        return self.put(o[0], "0") if "32" in m else self.put_pair(o[0], "0")

    def _LDG(self, o: Operands, m: Modifiers) -> str:
        loads = [
            self.put(_register(o[0], k), f"load(_a + {4 * k})") for k in range(-(-width(m) // 4))
        ]
        return "; ".join([f"_a = {self.address(o[1])}", *loads])

    def _STG(self, o: Operands, m: Modifiers) -> str:
        return f"touched({self.address(o[0])})"

    def _ATOMG(self, o: Operands, m: Modifiers) -> str:
        return self.put(o[1], f"load({self.address(o[2])})")

    def _RED(self, o: Operands, m: Modifiers) -> str:
        return f"touched({self.address(o[0])})"

    def _LDS(self, o: Operands, m: Modifiers) -> str:
        place = self.address(o[1])
        return "; ".join(
            self.put(_register(o[0], k), f"shared.get({place} + {4 * k}, 0)")
            for k in range(-(-width(m) // 4))
        )

    def _STS(self, o: Operands, m: Modifiers) -> str:
        place = self.address(o[0])
        return "; ".join(
            f"shared[{place} + {4 * k}] = {self.integer(o[1], k)}" for k in range(-(-width(m) // 4))
        )

    def _LDL(self, o: Operands, m: Modifiers) -> str:
        return self._LDS(o, m).replace("shared", "local")

    def _STL(self, o: Operands, m: Modifiers) -> str:
        return self._STS(o, m).replace("shared", "local")
