"""Steps of constants, local variables, references, structs and enums."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.code import Instruction, Op
from localnet.sui_double.move.errors import BadBytecode, BadBytes, VariantFailure
from localnet.sui_double.move.frame import MOVED
from localnet.sui_double.move.module import EnumDefinition, StructDefinition
from localnet.sui_double.move.operands import IllTyped, Maker, Operands
from localnet.sui_double.move.types import Abilities, Datatype, Reference, Scalar, Type, substitute
from localnet.sui_double.move.values import Ref, copy_value

if TYPE_CHECKING:
    from localnet.sui_double.move.frame import Frame, Step

_T = TypeVar("_T")


def at(table: list[_T] | tuple[_T, ...], index: int) -> _T:
    """Return an entry of a table. Raises `IllTyped` when there is none."""
    if index >= len(table):
        raise IllTyped(f"index {index} into a table of {len(table)}")
    return table[index]


def _constant(operands: Operands, instruction: Instruction) -> Step:
    constant = at(operands.module.constants, instruction.operand)
    try:
        value = Codec(operands.modules).decode(constant.type, constant.data)
    except (BadBytes, TypeError) as error:
        raise IllTyped(f"constant {instruction.operand} is malformed: {error}") from None
    operands.push(constant.type)

    def step(frame: Frame) -> None:
        frame.stack.append(copy_value(value))

    return step


def _unassigned(frame: Frame, local: int) -> BadBytecode:
    """Return the error for code that no verifier would let pass."""
    return BadBytecode(f"{frame.function} uses local {local}, which holds no value")


def _copy_local(operands: Operands, instruction: Instruction) -> Step:
    local = instruction.operand
    type_ = at(operands.locals, local)
    operands.require(type_, Abilities.COPY)
    operands.push(type_)

    def step_on_immutable(frame: Frame) -> None:
        value = frame.locals[local]
        if value is MOVED:
            raise _unassigned(frame, local)
        frame.stack.append(value)

    def step(frame: Frame) -> None:
        value = frame.locals[local]
        if value is MOVED:
            raise _unassigned(frame, local)
        frame.stack.append(copy_value(value))

    return step_on_immutable if isinstance(type_, Scalar | Reference) else step


def _move_local(operands: Operands, instruction: Instruction) -> Step:
    local = instruction.operand
    operands.push(at(operands.locals, local))

    def step(frame: Frame) -> None:
        value = frame.locals[local]
        if value is MOVED:
            raise _unassigned(frame, local)
        frame.locals[local] = MOVED
        frame.stack.append(value)

    return step


def _store_local(operands: Operands, instruction: Instruction) -> Step:
    local = instruction.operand
    operands.expect(at(operands.locals, local))

    def step(frame: Frame) -> None:
        frame.locals[local] = frame.stack.pop()

    return step


def _borrow_local(operands: Operands, instruction: Instruction) -> Step:
    local = instruction.operand
    type_ = at(operands.locals, local)
    if isinstance(type_, Reference):
        raise IllTyped("a reference to a reference")
    operands.push(Reference(instruction.op is Op.MUT_BORROW_LOC, type_))

    def step(frame: Frame) -> None:
        if frame.locals[local] is MOVED:
            raise _unassigned(frame, local)
        frame.stack.append(Ref(frame.locals, local))

    return step


def _read_reference(operands: Operands, _: Instruction) -> Step:
    target = operands.pop_reference().target
    operands.require(target, Abilities.COPY)
    operands.push(target)

    def step(frame: Frame) -> None:
        frame.stack[-1] = copy_value(frame.stack[-1].get())

    return step


def _write_reference(operands: Operands, _: Instruction) -> Step:
    target = operands.pop_reference(is_mutable=True).target
    operands.expect(target)
    operands.require(target, Abilities.DROP)

    def step(frame: Frame) -> None:
        reference = frame.stack.pop()
        reference.set(frame.stack.pop())

    return step


def _freeze_reference(operands: Operands, _: Instruction) -> Step:
    operands.push(Reference(is_mutable=False, target=operands.pop_reference(is_mutable=True).target))
    return _do_nothing


def _do_nothing(_: Frame) -> None:
    pass


def _pop(operands: Operands, _: Instruction) -> Step:
    operands.require(operands.pop(), Abilities.DROP)

    def step(frame: Frame) -> None:
        frame.stack.pop()

    return step


def _no_operation(_operands: Operands, _: Instruction) -> Step:
    return _do_nothing


def _borrow_field(operands: Operands, instruction: Instruction) -> Step:
    arguments: tuple[Type, ...]
    if instruction.op in (Op.MUT_BORROW_FIELD, Op.IMM_BORROW_FIELD):
        definition, place = at(operands.module.field_handles, instruction.operand)
        arguments = ()
    else:
        definition, place, arguments = at(operands.module.field_instances, instruction.operand)
    is_mutable = instruction.op in (Op.MUT_BORROW_FIELD, Op.MUT_BORROW_FIELD_GENERIC)
    operands.expect_reference(_datatype(operands, definition, arguments), is_mutable)
    operands.push(Reference(is_mutable, substitute(definition.fields[place].type, arguments)))

    def step(frame: Frame) -> None:
        frame.stack[-1] = Ref(frame.stack[-1].get(), place)

    return step


def _datatype(
    operands: Operands, definition: StructDefinition | EnumDefinition, arguments: tuple[Type, ...]
) -> Datatype:
    """Return a datatype of the module. Raises `LinkError` unless the arguments are what it takes."""
    constraints = [parameter.constraints for parameter in definition.handle.type_parameters]
    type_ = operands.module.datatype(definition, arguments)
    operands.check_arguments(arguments, constraints, definition.handle.name)
    return type_


def _struct(operands: Operands, instruction: Instruction) -> tuple[Datatype, tuple[Type, ...]]:
    """Return the struct of PACK or UNPACK and the types of its fields."""
    arguments: tuple[Type, ...]
    if instruction.op in (Op.PACK, Op.UNPACK):
        definition, arguments = at(operands.module.structs, instruction.operand), ()
    else:
        definition, arguments = at(operands.module.struct_instances, instruction.operand)
    type_ = _datatype(operands, definition, arguments)
    return type_, tuple(substitute(field.type, arguments) for field in definition.fields)


def _pack(operands: Operands, instruction: Instruction) -> Step:
    type_, fields = _struct(operands, instruction)
    operands.expect_all(fields)
    operands.push(type_)
    count = len(fields)

    def step(frame: Frame) -> None:
        stack = frame.stack
        start = len(stack) - count
        stack[start:] = [stack[start:]]

    return step


def _unpack(operands: Operands, instruction: Instruction) -> Step:
    type_, fields = _struct(operands, instruction)
    operands.expect(type_)
    operands.push(*fields)

    def step(frame: Frame) -> None:
        frame.stack.extend(frame.stack.pop())

    return step


def _variant(operands: Operands, instruction: Instruction) -> tuple[Datatype, int, tuple[Type, ...]]:
    """Return the enum of an instruction, the tag, and the types of the variant's fields."""
    arguments: tuple[Type, ...]
    if instruction.op in _VARIANT_GENERIC:
        definition, tag, arguments = at(operands.module.variant_instances, instruction.operand)
    else:
        definition, tag = at(operands.module.variant_handles, instruction.operand)
        arguments = ()
    type_ = _datatype(operands, definition, arguments)
    return type_, tag, tuple(substitute(field.type, arguments) for field in definition.variants[tag].fields)


def _pack_variant(operands: Operands, instruction: Instruction) -> Step:
    type_, tag, fields = _variant(operands, instruction)
    operands.expect_all(fields)
    operands.push(type_)
    count = len(fields)

    def step(frame: Frame) -> None:
        stack = frame.stack
        start = len(stack) - count
        stack[start:] = [[tag, *stack[start:]]]

    return step


def _unpack_variant(operands: Operands, instruction: Instruction) -> Step:
    type_, tag, fields = _variant(operands, instruction)
    operands.expect(type_)
    operands.push(*fields)

    def step(frame: Frame) -> None:
        found, *values = frame.stack.pop()
        if found != tag:
            raise VariantFailure(f"variant {found} of {type_.name}, unpacked as variant {tag}")
        frame.stack.extend(values)

    return step


def _unpack_variant_reference(operands: Operands, instruction: Instruction) -> Step:
    type_, tag, fields = _variant(operands, instruction)
    is_mutable = instruction.op in (Op.UNPACK_VARIANT_MUT_REF, Op.UNPACK_VARIANT_GENERIC_MUT_REF)
    operands.expect_reference(type_, is_mutable)
    operands.push(*(Reference(is_mutable, field) for field in fields))

    def step(frame: Frame) -> None:
        value = frame.stack.pop().get()
        if value[0] != tag:
            raise VariantFailure(f"variant {value[0]} of {type_.name}, unpacked as variant {tag}")
        frame.stack.extend(Ref(value, place) for place in range(1, len(value)))

    return step


_VARIANT_GENERIC = frozenset(
    {
        Op.PACK_VARIANT_GENERIC,
        Op.UNPACK_VARIANT_GENERIC,
        Op.UNPACK_VARIANT_GENERIC_IMM_REF,
        Op.UNPACK_VARIANT_GENERIC_MUT_REF,
    }
)

MAKERS: dict[Op, Maker] = {
    Op.LD_CONST: _constant,
    Op.COPY_LOC: _copy_local,
    Op.MOVE_LOC: _move_local,
    Op.ST_LOC: _store_local,
    Op.MUT_BORROW_LOC: _borrow_local,
    Op.IMM_BORROW_LOC: _borrow_local,
    Op.READ_REF: _read_reference,
    Op.WRITE_REF: _write_reference,
    Op.FREEZE_REF: _freeze_reference,
    Op.POP: _pop,
    Op.NOP: _no_operation,
    Op.MUT_BORROW_FIELD: _borrow_field,
    Op.IMM_BORROW_FIELD: _borrow_field,
    Op.MUT_BORROW_FIELD_GENERIC: _borrow_field,
    Op.IMM_BORROW_FIELD_GENERIC: _borrow_field,
    Op.PACK: _pack,
    Op.PACK_GENERIC: _pack,
    Op.UNPACK: _unpack,
    Op.UNPACK_GENERIC: _unpack,
    Op.PACK_VARIANT: _pack_variant,
    Op.PACK_VARIANT_GENERIC: _pack_variant,
    Op.UNPACK_VARIANT: _unpack_variant,
    Op.UNPACK_VARIANT_GENERIC: _unpack_variant,
    Op.UNPACK_VARIANT_IMM_REF: _unpack_variant_reference,
    Op.UNPACK_VARIANT_MUT_REF: _unpack_variant_reference,
    Op.UNPACK_VARIANT_GENERIC_IMM_REF: _unpack_variant_reference,
    Op.UNPACK_VARIANT_GENERIC_MUT_REF: _unpack_variant_reference,
}
