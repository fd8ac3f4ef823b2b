"""Steps of literals, arithmetic, comparison, casts and logic."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from localnet.sui_double.move.code import Instruction, Op
from localnet.sui_double.move.errors import ArithmeticFailure
from localnet.sui_double.move.operands import IllTyped, Maker, Operands
from localnet.sui_double.move.types import INTEGER_BYTES, Abilities, Reference, Scalar, type_name

if TYPE_CHECKING:
    from localnet.sui_double.move.frame import Frame, Step

_LITERALS = {
    Op.LD_U8: Scalar.U8,
    Op.LD_U16: Scalar.U16,
    Op.LD_U32: Scalar.U32,
    Op.LD_U64: Scalar.U64,
    Op.LD_U128: Scalar.U128,
    Op.LD_U256: Scalar.U256,
}
_CASTS = {
    Op.CAST_U8: Scalar.U8,
    Op.CAST_U16: Scalar.U16,
    Op.CAST_U32: Scalar.U32,
    Op.CAST_U64: Scalar.U64,
    Op.CAST_U128: Scalar.U128,
    Op.CAST_U256: Scalar.U256,
}
_COMPARISONS: dict[Op, Callable[[Any, Any], bool]] = {
    Op.LT: operator.lt,
    Op.GT: operator.gt,
    Op.LE: operator.le,
    Op.GE: operator.ge,
}
_BITWISE: dict[Op, Callable[[Any, Any], int]] = {
    Op.BIT_OR: operator.or_,
    Op.BIT_AND: operator.and_,
    Op.XOR: operator.xor,
}
_DIVISIONS: dict[Op, Callable[[Any, Any], int]] = {Op.DIV: operator.floordiv, Op.MOD: operator.mod}


def _maximum(type_: Scalar) -> int:
    return (1 << (8 * INTEGER_BYTES[type_])) - 1


def _pop_integer(operands: Operands) -> Scalar:
    found = operands.pop()
    if not isinstance(found, Scalar) or found not in INTEGER_BYTES:
        raise IllTyped(f"an integer expected, and this is {type_name(found)}")
    return found


def _pop_two_integers(operands: Operands) -> Scalar:
    found = _pop_integer(operands)
    operands.expect(found)
    return found


def push_value(value: int | bool) -> Step:
    """Return a step that puts an immutable value onto the stack."""

    def step(frame: Frame) -> None:
        frame.stack.append(value)

    return step


def _literal(operands: Operands, instruction: Instruction) -> Step:
    operands.push(_LITERALS[instruction.op])
    return push_value(instruction.operand)


def _bool_literal(operands: Operands, instruction: Instruction) -> Step:
    operands.push(Scalar.BOOL)
    return push_value(instruction.op is Op.LD_TRUE)


def _add(operands: Operands, _: Instruction) -> Step:
    type_ = _pop_two_integers(operands)
    operands.push(type_)
    maximum = _maximum(type_)

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        total = stack[-1] + right
        if total > maximum:
            raise ArithmeticFailure(f"{stack[-1]} + {right} overflows {type_.value}")
        stack[-1] = total

    return step


def _subtract(operands: Operands, _: Instruction) -> Step:
    type_ = _pop_two_integers(operands)
    operands.push(type_)

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        difference = stack[-1] - right
        if difference < 0:
            raise ArithmeticFailure(f"{stack[-1]} - {right} underflows {type_.value}")
        stack[-1] = difference

    return step


def _multiply(operands: Operands, _: Instruction) -> Step:
    type_ = _pop_two_integers(operands)
    operands.push(type_)
    maximum = _maximum(type_)

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        product = stack[-1] * right
        if product > maximum:
            raise ArithmeticFailure(f"{stack[-1]} * {right} overflows {type_.value}")
        stack[-1] = product

    return step


def _divide(operands: Operands, instruction: Instruction) -> Step:
    operands.push(_pop_two_integers(operands))
    divide = _DIVISIONS[instruction.op]

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        if right == 0:
            raise ArithmeticFailure(f"{stack[-1]} divided by zero")
        stack[-1] = divide(stack[-1], right)

    return step


def _combine_bits(operands: Operands, instruction: Instruction) -> Step:
    operands.push(_pop_two_integers(operands))
    combine = _BITWISE[instruction.op]

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        stack[-1] = combine(stack[-1], right)

    return step


def _shift(operands: Operands, instruction: Instruction) -> Step:
    operands.expect(Scalar.U8)
    type_ = _pop_integer(operands)
    operands.push(type_)
    bits, maximum, is_left = 8 * INTEGER_BYTES[type_], _maximum(type_), instruction.op is Op.SHL

    def step(frame: Frame) -> None:
        stack = frame.stack
        distance = stack.pop()
        if distance >= bits:
            raise ArithmeticFailure(f"a {type_.value} shifted by {distance}")
        stack[-1] = (stack[-1] << distance) & maximum if is_left else stack[-1] >> distance

    return step


def _cast(operands: Operands, instruction: Instruction) -> Step:
    _pop_integer(operands)
    type_ = _CASTS[instruction.op]
    operands.push(type_)
    maximum = _maximum(type_)

    def step(frame: Frame) -> None:
        if frame.stack[-1] > maximum:
            raise ArithmeticFailure(f"{frame.stack[-1]} does not fit {type_.value}")

    return step


def _compare(operands: Operands, instruction: Instruction) -> Step:
    _pop_two_integers(operands)
    operands.push(Scalar.BOOL)
    compare = _COMPARISONS[instruction.op]

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        stack[-1] = compare(stack[-1], right)

    return step


def _equal(operands: Operands, instruction: Instruction) -> Step:
    """Equality of values of one type; of two references, equality of what they refer to."""
    type_ = operands.pop()
    operands.expect(type_)
    operands.require(type_, Abilities.DROP)
    operands.push(Scalar.BOOL)
    is_equal = instruction.op is Op.EQ

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        stack[-1] = (stack[-1] == right) is is_equal

    def step_on_references(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop().get()
        stack[-1] = (stack[-1].get() == right) is is_equal

    return step_on_references if isinstance(type_, Reference) else step


def _and_or(operands: Operands, instruction: Instruction) -> Step:
    operands.expect_all((Scalar.BOOL, Scalar.BOOL))
    operands.push(Scalar.BOOL)
    is_and = instruction.op is Op.AND

    def step(frame: Frame) -> None:
        stack = frame.stack
        right = stack.pop()
        stack[-1] = (stack[-1] and right) if is_and else (stack[-1] or right)

    return step


def _not(operands: Operands, _: Instruction) -> Step:
    operands.expect(Scalar.BOOL)
    operands.push(Scalar.BOOL)

    def step(frame: Frame) -> None:
        frame.stack[-1] = not frame.stack[-1]

    return step


MAKERS: dict[Op, Maker] = {
    **dict.fromkeys(_LITERALS, _literal),
    Op.LD_TRUE: _bool_literal,
    Op.LD_FALSE: _bool_literal,
    Op.ADD: _add,
    Op.SUB: _subtract,
    Op.MUL: _multiply,
    **dict.fromkeys(_DIVISIONS, _divide),
    **dict.fromkeys(_BITWISE, _combine_bits),
    Op.SHL: _shift,
    Op.SHR: _shift,
    **dict.fromkeys(_CASTS, _cast),
    **dict.fromkeys(_COMPARISONS, _compare),
    Op.EQ: _equal,
    Op.NEQ: _equal,
    Op.AND: _and_or,
    Op.OR: _and_or,
    Op.NOT: _not,
}
