"""Turns a function's instructions into steps, and checks the types of their operands on the way.

The operand stack is empty at the beginning of each basic block, as Sui's bytecode verifier demands; so the type of
every operand is known, and a step can be made for the types it meets: the values themselves carry none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from localnet.sui_double.move import control_steps, data_steps, scalar_steps, vector_steps
from localnet.sui_double.move.code import BRANCHES, Op
from localnet.sui_double.move.errors import BadBytecode, LinkError
from localnet.sui_double.move.operands import IllTyped, Maker, Operands

if TYPE_CHECKING:
    from localnet.sui_double.move.frame import Step
    from localnet.sui_double.move.module import CompiledModule, FunctionDefinition
    from localnet.sui_double.move.modules import Modules

MAKERS: Final[dict[Op, Maker]] = {
    **scalar_steps.MAKERS,
    **data_steps.MAKERS,
    **vector_steps.MAKERS,
    **control_steps.MAKERS,
}
"""The maker of each opcode's step: all opcodes have one."""

_ENDS = frozenset({Op.RET, Op.ABORT, Op.BRANCH, Op.VARIANT_SWITCH})
"""Instructions after which the next one is not executed."""


def translate(modules: Modules, module: CompiledModule, definition: FunctionDefinition) -> list[Step]:
    """Return one step for each instruction of a function. Raises `BadBytecode`."""
    code = definition.code or ()
    if not code or code[-1].op not in _ENDS:
        raise BadBytecode(f"{definition.handle} runs past its end")
    leaders = _leaders(definition)
    operands = Operands(modules, module, definition)
    steps: list[Step] = []
    try:
        for place, instruction in enumerate(code):
            if place in leaders and operands.stack:
                raise IllTyped("operands are left at the end of a block")
            steps.append(MAKERS[instruction.op](operands, instruction))
        if operands.stack:
            raise IllTyped("operands are left at the end")
    except (IllTyped, LinkError, IndexError) as error:
        where = (
            f"{definition.handle}, instruction {len(steps)} ({code[min(len(steps), len(code) - 1)].op.name})"
        )
        raise BadBytecode(f"{where}: {error}") from None
    return steps


def _leaders(definition: FunctionDefinition) -> frozenset[int]:
    """Return where basic blocks begin. Raises `BadBytecode` for a target outside of the code."""
    code = definition.code or ()
    targets = {instruction.operand for instruction in code if instruction.op in BRANCHES}
    targets |= {target for table in definition.jump_tables for target in table.targets}
    if any(target >= len(code) for target in targets):
        raise BadBytecode(f"{definition.handle} jumps out of its code")
    after = {place + 1 for place, instruction in enumerate(code) if instruction.op in BRANCHES | _ENDS}
    return frozenset(targets | after)
