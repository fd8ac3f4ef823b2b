"""Makes modules out of instructions, to see what becomes of code that no compiler writes."""

from __future__ import annotations

from localnet.sui_double.move.code import Instruction, Op
from localnet.sui_double.move.module import (
    CompiledModule,
    Constant,
    DatatypeHandle,
    EnumDefinition,
    Field,
    FunctionDefinition,
    FunctionHandle,
    JumpTable,
    StructDefinition,
    TypeParameter,
    Variant,
    Visibility,
)
from localnet.sui_double.move.types import Abilities, Datatype, ModuleId, Parameter, Scalar, Type, Vector

ADDRESS = (9).to_bytes(32, "big")
MODULE = ModuleId(ADDRESS, "made")
NONE = Abilities.NONE

BOX = Datatype(MODULE, "Box")
CHOICE = Datatype(MODULE, "Choice")
PAIR = Datatype(MODULE, "Pair", (Scalar.U64,))

_BOX = StructDefinition(DatatypeHandle(MODULE, "Box", NONE, ()), (Field("number", Scalar.U64),))
_PAIR = StructDefinition(
    DatatypeHandle(MODULE, "Pair", Abilities.DROP, (TypeParameter(Abilities.DROP),)),
    (Field("first", Parameter(0)), Field("second", Parameter(0))),
)
_CHOICE = EnumDefinition(
    DatatypeHandle(MODULE, "Choice", Abilities.DROP, ()),
    (Variant("None", ()), Variant("Some", (Field("number", Scalar.U64),))),
)

Code = list[Op | tuple[Op, int] | tuple[Op, int, int]]


def made(
    code: Code,
    parameters: tuple[Type, ...] = (),
    returns: tuple[Type, ...] = (),
    locals_: tuple[Type, ...] = (),
    type_parameters: tuple[Abilities, ...] = (),
) -> CompiledModule:
    """Return a module whose function `run` has this code.

    Struct 0 is `Box` without abilities, struct 1 `Pair<T: drop>`, enum 0 `Choice`, signatures 0 and 1 `u64` and `u8`,
    and function handle 1 the private function `run` of another module.
    """
    instructions = tuple(
        Instruction(*item) if isinstance(item, tuple) else Instruction(item) for item in code
    )
    handle = FunctionHandle(MODULE, "run", parameters, returns, type_parameters)
    other = FunctionHandle(ModuleId(ADDRESS, "other"), "run", (), (), ())
    table = JumpTable(_CHOICE, (0, 0))
    definition = FunctionDefinition(handle, Visibility.PRIVATE, False, locals_, instructions, (table,))
    return CompiledModule(
        id=MODULE,
        version=7,
        structs=[_BOX, _PAIR],
        enums=[_CHOICE],
        function_handles=[handle, other],
        functions=[definition],
        signatures=[(Scalar.U64,), (Scalar.U8,)],
        constants=[Constant(Vector(Scalar.U8), b"\x02ab"), Constant(Scalar.BOOL, b"\x02")],
        field_handles=[(_BOX, 0)],
        variant_handles=[(_CHOICE, 0), (_CHOICE, 1)],
        struct_instances=[(_PAIR, (Scalar.U64,)), (_PAIR, (BOX,))],
        field_instances=[(_PAIR, 1, (Scalar.U64,))],
    )


def other(visibility: Visibility, parameters: tuple[Type, ...] = ()) -> CompiledModule:
    """Return the module whose function handle 1 of `made` names."""
    id_ = ModuleId(ADDRESS, "other")
    handle = FunctionHandle(id_, "run", parameters, (), ())
    code = (Instruction(Op.RET),)
    definition = FunctionDefinition(handle, visibility, False, (), code)
    return CompiledModule(id_, 7, function_handles=[handle], functions=[definition])
