"""Steps of vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localnet.sui_double.move.code import Instruction, Op
from localnet.sui_double.move.data_steps import at
from localnet.sui_double.move.errors import VectorFailure
from localnet.sui_double.move.operands import IllTyped, Maker, Operands
from localnet.sui_double.move.types import Reference, Scalar, Type, Vector, substitute
from localnet.sui_double.move.values import Ref, Value

if TYPE_CHECKING:
    from localnet.sui_double.move.frame import Frame, Step


def make_vector(element: Type, values: list[Value]) -> Value:
    """Return a vector of these elements, whose type has no parameters."""
    return bytearray(values) if element is Scalar.U8 else values


def check_index(index: int, length: int) -> None:
    """Raise `VectorFailure` unless there is an element of this index."""
    if index >= length:
        raise VectorFailure(f"index {index} in a vector of {length}", VectorFailure.INDEX_OUT_OF_BOUNDS)


def _element(operands: Operands, instruction: Instruction) -> Type:
    signature = at(operands.module.signatures, instruction.operand)
    if len(signature) != 1 or isinstance(signature[0], Reference):
        raise IllTyped("a vector has one type of elements, which is no reference")
    return signature[0]


def _pack(operands: Operands, instruction: Instruction) -> Step:
    element, length = _element(operands, instruction), instruction.length
    if length > len(operands.stack):
        raise IllTyped(f"a vector of {length} elements, and {len(operands.stack)} operands")
    operands.expect_all((element,) * length)
    operands.push(Vector(element))

    def step(frame: Frame) -> None:
        stack = frame.stack
        start = len(stack) - length
        stack[start:] = [make_vector(substitute(element, frame.types), stack[start:])]

    return step


def _unpack(operands: Operands, instruction: Instruction) -> Step:
    element, length = _element(operands, instruction), instruction.length
    operands.expect(Vector(element))
    if length > 0xFFFF:
        raise IllTyped(f"a vector unpacked into {length} operands")
    operands.push(*(element,) * length)

    def step(frame: Frame) -> None:
        values = frame.stack.pop()
        if len(values) != length:
            raise VectorFailure(
                f"a vector of {len(values)} unpacked into {length}", VectorFailure.UNPACK_LENGTH
            )
        frame.stack.extend(values)

    return step


def _length(operands: Operands, instruction: Instruction) -> Step:
    operands.expect_reference(Vector(_element(operands, instruction)))
    operands.push(Scalar.U64)

    def step(frame: Frame) -> None:
        frame.stack[-1] = len(frame.stack[-1].get())

    return step


def _borrow(operands: Operands, instruction: Instruction) -> Step:
    element, is_mutable = _element(operands, instruction), instruction.op is Op.VEC_MUT_BORROW
    operands.expect(Scalar.U64)
    operands.expect_reference(Vector(element), is_mutable)
    operands.push(Reference(is_mutable, element))

    def step(frame: Frame) -> None:
        index = frame.stack.pop()
        values = frame.stack[-1].get()
        check_index(index, len(values))
        frame.stack[-1] = Ref(values, index)

    return step


def _push_back(operands: Operands, instruction: Instruction) -> Step:
    element = _element(operands, instruction)
    operands.expect(element)
    operands.expect_reference(Vector(element), is_mutable=True)

    def step(frame: Frame) -> None:
        value = frame.stack.pop()
        frame.stack.pop().get().append(value)

    return step


def _pop_back(operands: Operands, instruction: Instruction) -> Step:
    element = _element(operands, instruction)
    operands.expect_reference(Vector(element), is_mutable=True)
    operands.push(element)

    def step(frame: Frame) -> None:
        values = frame.stack[-1].get()
        if not values:
            raise VectorFailure("an empty vector popped", VectorFailure.POP_FROM_EMPTY)
        frame.stack[-1] = values.pop()

    return step


def _swap(operands: Operands, instruction: Instruction) -> Step:
    element = _element(operands, instruction)
    operands.expect_all((Scalar.U64, Scalar.U64))
    operands.expect_reference(Vector(element), is_mutable=True)

    def step(frame: Frame) -> None:
        stack = frame.stack
        second, first, values = stack.pop(), stack.pop(), stack.pop().get()
        check_index(first, len(values))
        check_index(second, len(values))
        values[first], values[second] = values[second], values[first]

    return step


MAKERS: dict[Op, Maker] = {
    Op.VEC_PACK: _pack,
    Op.VEC_UNPACK: _unpack,
    Op.VEC_LEN: _length,
    Op.VEC_IMM_BORROW: _borrow,
    Op.VEC_MUT_BORROW: _borrow,
    Op.VEC_PUSH_BACK: _push_back,
    Op.VEC_POP_BACK: _pop_back,
    Op.VEC_SWAP: _swap,
}
