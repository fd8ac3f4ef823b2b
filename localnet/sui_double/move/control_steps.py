"""Steps of branches, calls, returns and aborts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localnet.sui_double.move.code import Instruction, Op
from localnet.sui_double.move.data_steps import at
from localnet.sui_double.move.errors import MoveAbort
from localnet.sui_double.move.frame import RETURNED, Frame
from localnet.sui_double.move.operands import IllTyped, Maker, Operands
from localnet.sui_double.move.types import (
    Datatype,
    Scalar,
    Type,
    has_parameter,
    substitute_all,
    type_name,
)

if TYPE_CHECKING:
    from localnet.sui_double.move.frame import Returned, Step
    from localnet.sui_double.move.module import FunctionHandle


def _branch(_: Operands, instruction: Instruction) -> Step:
    target = instruction.operand

    def step(frame: Frame) -> None:
        frame.next = target

    return step


def _branch_if(operands: Operands, instruction: Instruction) -> Step:
    operands.expect(Scalar.BOOL)
    target, condition = instruction.operand, instruction.op is Op.BR_TRUE

    def step(frame: Frame) -> None:
        if frame.stack.pop() is condition:
            frame.next = target

    return step


def _switch(operands: Operands, instruction: Instruction) -> Step:
    table = at(operands.definition.jump_tables, instruction.operand)
    found = operands.pop_reference().target
    handle = table.enum.handle
    if not isinstance(found, Datatype) or (found.module, found.name) != (handle.module, handle.name):
        raise IllTyped(f"a switch on {handle.name}, and this is {type_name(found)}")
    targets = table.targets

    def step(frame: Frame) -> None:
        frame.next = targets[frame.stack.pop().get()[0]]

    return step


def _return(operands: Operands, _: Instruction) -> Step:
    operands.expect_all(operands.handle.returns)

    def step(_: Frame) -> Returned:
        return RETURNED

    return step


def _abort(operands: Operands, _: Instruction) -> Step:
    operands.expect(Scalar.U64)

    def step(frame: Frame) -> None:
        raise MoveAbort(frame.stack.pop())

    return step


def _call(operands: Operands, instruction: Instruction) -> Step:
    handle = at(operands.module.function_handles, instruction.operand)
    return _call_step(operands, handle, ())


def _call_generic(operands: Operands, instruction: Instruction) -> Step:
    return _call_step(operands, *at(operands.module.function_instances, instruction.operand))


def _call_step(operands: Operands, handle: FunctionHandle, types: tuple[Type, ...]) -> Step:
    """Link a call and return its step. The types may hold the caller's own type parameters."""
    function = operands.modules.link(operands.module.id, handle)
    operands.check_arguments(types, handle.type_parameters, str(handle))
    operands.expect_all(substitute_all(handle.parameters, types))
    operands.push(*substitute_all(handle.returns, types))
    count, is_native = len(handle.parameters), function.is_native
    is_open = any(map(has_parameter, types))
    known: dict[tuple[Type, ...], tuple[Type, ...]] = {}

    def step(frame: Frame) -> Frame | None:
        stack = frame.stack
        start = len(stack) - count
        arguments = stack[start:]
        del stack[start:]
        callee_types = types
        if is_open:
            found = known.get(frame.types)
            if found is None:
                found = known[frame.types] = substitute_all(types, frame.types)
            callee_types = found
        if is_native:
            stack.extend(frame.machine.call_native(function, callee_types, arguments))
            return None
        return Frame(frame.machine, function, callee_types, arguments)

    return step


MAKERS: dict[Op, Maker] = {
    Op.BRANCH: _branch,
    Op.BR_TRUE: _branch_if,
    Op.BR_FALSE: _branch_if,
    Op.VARIANT_SWITCH: _switch,
    Op.RET: _return,
    Op.ABORT: _abort,
    Op.CALL: _call,
    Op.CALL_GENERIC: _call_generic,
}
