"""The instructions of Move's bytecode and their encoding."""

from __future__ import annotations

import enum
from typing import NamedTuple

from localnet.sui_double.move.errors import BadBytes
from localnet.sui_double.move.reader import Reader

INDEX_LIMIT = 65_535
CODE_LIMIT = 65_535
"""Instructions in a function."""
LOCAL_LIMIT = 255
VARIANT_LIMIT = 127
ENUM_VERSION = 7
"""The first version of the binary format that has enums."""


class Op(enum.IntEnum):
    """An instruction's opcode. Global storage, which Sui's Move does not have, has none here."""

    POP = 0x01
    RET = 0x02
    BR_TRUE = 0x03
    BR_FALSE = 0x04
    BRANCH = 0x05
    LD_U64 = 0x06
    LD_CONST = 0x07
    LD_TRUE = 0x08
    LD_FALSE = 0x09
    COPY_LOC = 0x0A
    MOVE_LOC = 0x0B
    ST_LOC = 0x0C
    MUT_BORROW_LOC = 0x0D
    IMM_BORROW_LOC = 0x0E
    MUT_BORROW_FIELD = 0x0F
    IMM_BORROW_FIELD = 0x10
    CALL = 0x11
    PACK = 0x12
    UNPACK = 0x13
    READ_REF = 0x14
    WRITE_REF = 0x15
    ADD = 0x16
    SUB = 0x17
    MUL = 0x18
    MOD = 0x19
    DIV = 0x1A
    BIT_OR = 0x1B
    BIT_AND = 0x1C
    XOR = 0x1D
    OR = 0x1E
    AND = 0x1F
    NOT = 0x20
    EQ = 0x21
    NEQ = 0x22
    LT = 0x23
    GT = 0x24
    LE = 0x25
    GE = 0x26
    ABORT = 0x27
    NOP = 0x28
    FREEZE_REF = 0x2E
    SHL = 0x2F
    SHR = 0x30
    LD_U8 = 0x31
    LD_U128 = 0x32
    CAST_U8 = 0x33
    CAST_U64 = 0x34
    CAST_U128 = 0x35
    MUT_BORROW_FIELD_GENERIC = 0x36
    IMM_BORROW_FIELD_GENERIC = 0x37
    CALL_GENERIC = 0x38
    PACK_GENERIC = 0x39
    UNPACK_GENERIC = 0x3A
    VEC_PACK = 0x40
    VEC_LEN = 0x41
    VEC_IMM_BORROW = 0x42
    VEC_MUT_BORROW = 0x43
    VEC_PUSH_BACK = 0x44
    VEC_POP_BACK = 0x45
    VEC_UNPACK = 0x46
    VEC_SWAP = 0x47
    LD_U16 = 0x48
    LD_U32 = 0x49
    LD_U256 = 0x4A
    CAST_U16 = 0x4B
    CAST_U32 = 0x4C
    CAST_U256 = 0x4D
    PACK_VARIANT = 0x4E
    PACK_VARIANT_GENERIC = 0x4F
    UNPACK_VARIANT = 0x50
    UNPACK_VARIANT_IMM_REF = 0x51
    UNPACK_VARIANT_MUT_REF = 0x52
    UNPACK_VARIANT_GENERIC = 0x53
    UNPACK_VARIANT_GENERIC_IMM_REF = 0x54
    UNPACK_VARIANT_GENERIC_MUT_REF = 0x55
    VARIANT_SWITCH = 0x56


class Instruction(NamedTuple):
    """An opcode with its operand: an index, a local, a target or a literal, and 0 without.

    `length` is the number of elements of VEC_PACK and VEC_UNPACK.
    """

    op: Op
    operand: int = 0
    length: int = 0


BRANCHES = frozenset({Op.BR_TRUE, Op.BR_FALSE, Op.BRANCH})

_LITERAL_BYTES = {Op.LD_U8: 1, Op.LD_U16: 2, Op.LD_U32: 4, Op.LD_U64: 8, Op.LD_U128: 16, Op.LD_U256: 32}
_LOCALS = frozenset({Op.COPY_LOC, Op.MOVE_LOC, Op.ST_LOC, Op.MUT_BORROW_LOC, Op.IMM_BORROW_LOC})
_VARIANTS = frozenset(op for op in Op if Op.PACK_VARIANT <= op <= Op.VARIANT_SWITCH)
_COUNTED = frozenset({Op.VEC_PACK, Op.VEC_UNPACK})
_INDEXED = (
    BRANCHES
    | _COUNTED
    | _VARIANTS
    | {
        *(Op.LD_CONST, Op.CALL, Op.CALL_GENERIC, Op.PACK, Op.PACK_GENERIC, Op.UNPACK, Op.UNPACK_GENERIC),
        *(Op.MUT_BORROW_FIELD, Op.IMM_BORROW_FIELD, Op.MUT_BORROW_FIELD_GENERIC),
        *(Op.IMM_BORROW_FIELD_GENERIC, Op.VEC_LEN, Op.VEC_IMM_BORROW, Op.VEC_MUT_BORROW),
        *(Op.VEC_PUSH_BACK, Op.VEC_POP_BACK, Op.VEC_SWAP),
    }
)


def read_code(reader: Reader, version: int) -> tuple[Instruction, ...]:
    """Read a function's instructions. Raises `BadBytes` for an unknown opcode."""
    return tuple(_read_instruction(reader, version) for _ in range(reader.uleb(CODE_LIMIT)))


def _read_instruction(reader: Reader, version: int) -> Instruction:
    number = reader.byte()
    try:
        op = Op(number)
    except ValueError:
        raise BadBytes(f"unknown opcode {number:#04x}") from None
    if op in _VARIANTS and version < ENUM_VERSION:
        raise BadBytes(f"{op.name} in version {version} of the format, which has no enums")
    if op in _LITERAL_BYTES:
        return Instruction(op, reader.integer(_LITERAL_BYTES[op]))
    if op in _LOCALS:
        return Instruction(op, reader.uleb(LOCAL_LIMIT))
    if op in _COUNTED:
        return Instruction(op, reader.uleb(INDEX_LIMIT), reader.integer(8))
    if op in _INDEXED:
        return Instruction(op, reader.uleb(INDEX_LIMIT))
    return Instruction(op)
