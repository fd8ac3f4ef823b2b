"""Ill-typed code is refused before it runs, and what a verifier would refuse gives no wrong result."""

from __future__ import annotations

import dataclasses

import pytest

from localnet.sui_double.host import TransactionContext, TransactionHost
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.code import Op
from localnet.sui_double.move.errors import (
    BadBytecode,
    LimitFailure,
    LinkError,
    UnsupportedNative,
    VariantFailure,
    VectorFailure,
)
from localnet.sui_double.move.machine import Limits, Machine
from localnet.sui_double.move.module import CompiledModule, FunctionDefinition, Visibility
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.translate import MAKERS
from localnet.sui_double.move.types import BYTES, Abilities, Parameter, Reference, Scalar, Type, Vector
from localnet.sui_double.move.values import Value
from tests.localnet.sui_double.assembler import BOX, CHOICE, MODULE, PAIR, Code, made, other
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.sandbox import PACKAGE, NoObjects, function, machine

U8, U64, BOOL = Scalar.U8, Scalar.U64, Scalar.BOOL


def checked(module: CompiledModule, *others: CompiledModule) -> Modules:
    modules = Modules({})
    modules.add([module, *others])
    modules.check(module.id)
    return modules


def run(module: CompiledModule, *arguments: Value, limits: Limits | None = None) -> list[Value]:
    modules = Modules({})
    modules.add([module])
    codec = Codec(modules)
    host = TransactionHost(NoObjects(), codec, TransactionContext(bytes(32), bytes(32)))
    running = Machine(modules, codec, host, limits)
    return running.call(modules.function(MODULE, "run"), (), list(arguments))


def test_every_opcode_has_a_step() -> None:
    assert set(MAKERS) == set(Op)


REFUSED: list[tuple[str, Code, tuple[Type, ...], tuple[Type, ...], str]] = [
    ("an operand is missing", [Op.ADD, Op.RET], (), (), "operand is missing"),
    ("two widths", [(Op.LD_U8, 1), (Op.LD_U64, 1), Op.ADD, Op.RET], (), (), "u64 expected, and this is u8"),
    ("arithmetic on bools", [Op.LD_TRUE, Op.LD_TRUE, Op.ADD, Op.RET], (), (), "an integer expected"),
    ("a shift by a u64", [(Op.LD_U64, 1), (Op.LD_U64, 1), Op.SHL, Op.RET], (), (), "u8 expected"),
    ("another result", [(Op.LD_U8, 1), Op.RET], (), (U64,), "u64 expected"),
    ("no result", [Op.RET], (), (U64,), "operand is missing"),
    ("a result too many", [(Op.LD_U64, 1), (Op.LD_U64, 1), Op.RET], (), (U64,), "operands are left"),
    ("an operand at a branch", [(Op.LD_U64, 1), (Op.BRANCH, 2), Op.RET], (), (U64,), "operands are left"),
    ("no end", [Op.NOP], (), (), "runs past its end"),
    ("no code", [], (), (), "runs past its end"),
    ("an end that may be passed", [Op.LD_TRUE, (Op.BR_TRUE, 0)], (), (), "runs past its end"),
    ("a jump out", [(Op.BRANCH, 9)], (), (), "jumps out of its code"),
    ("a branch on a number", [(Op.LD_U8, 1), (Op.BR_TRUE, 0), Op.RET], (), (), "bool expected"),
    ("a local that is not declared", [(Op.MOVE_LOC, 3), Op.RET], (), (), "index 3 into a table of 0"),
    ("a copy without copy", [(Op.COPY_LOC, 0), Op.RET], (BOX,), (BOX,), "Box has no ability COPY"),
    ("a drop without drop", [(Op.MOVE_LOC, 0), Op.POP, Op.RET], (BOX,), (), "Box has no ability DROP"),
    (
        "a write to a constant reference",
        [(Op.LD_U64, 1), (Op.MOVE_LOC, 0), Op.WRITE_REF, Op.RET],
        (Reference(False, U64),),
        (),
        "a mutable reference expected",
    ),
    (
        "a write over what must not drop",
        [(Op.MOVE_LOC, 1), (Op.MOVE_LOC, 0), Op.WRITE_REF, Op.RET],
        (Reference(True, BOX), BOX),
        (),
        "Box has no ability DROP",
    ),
    (
        "a write of another type",
        [Op.LD_TRUE, (Op.MOVE_LOC, 0), Op.WRITE_REF, Op.RET],
        (Reference(True, U64),),
        (),
        "u64 expected",
    ),
    (
        "a field of another struct",
        [(Op.MOVE_LOC, 0), (Op.IMM_BORROW_FIELD, 0), Op.POP, Op.RET],
        (Reference(False, PAIR),),
        (),
        "a reference to 0x9::made::Box",
    ),
    ("a struct of wrong fields", [Op.LD_TRUE, (Op.PACK, 0), Op.RET], (), (BOX,), "u64 expected"),
    (
        "a generic struct without its type",
        [(Op.LD_U64, 1), (Op.LD_U64, 1), (Op.PACK, 1), Op.RET],
        (),
        (PAIR,),
        "takes 1 type arguments, not 0",
    ),
    (
        "a type without the ability",
        [(Op.MOVE_LOC, 0), (Op.MOVE_LOC, 1), (Op.PACK_GENERIC, 1), Op.RET],
        (BOX, BOX),
        (),
        "lacks an ability",
    ),
    (
        "a vector of another type",
        [Op.LD_TRUE, (Op.VEC_PACK, 0, 1), Op.RET],
        (),
        (Vector(U64),),
        "u64 expected",
    ),
    ("more elements than operands", [(Op.VEC_PACK, 0, 1 << 40), Op.RET], (), (), "0 operands"),
    (
        "a push of another type",
        [(Op.MOVE_LOC, 0), (Op.LD_U8, 1), (Op.VEC_PUSH_BACK, 0), Op.RET],
        (Reference(True, Vector(U64)),),
        (),
        "u64 expected",
    ),
    (
        "a push through a constant reference",
        [(Op.MOVE_LOC, 0), (Op.LD_U64, 1), (Op.VEC_PUSH_BACK, 0), Op.RET],
        (Reference(False, Vector(U64)),),
        (),
        "a mutable reference",
    ),
    (
        "bytes as a vector of numbers",
        [(Op.MOVE_LOC, 0), (Op.VEC_LEN, 0), Op.RET],
        (Reference(False, BYTES),),
        (U64,),
        "reference to vector<u64> expected",
    ),
    (
        "a switch on a struct",
        [(Op.MOVE_LOC, 0), (Op.VARIANT_SWITCH, 0)],
        (Reference(False, BOX),),
        (),
        "a switch on Choice",
    ),
    ("a constant that is none", [(Op.LD_CONST, 1), Op.RET], (), (BOOL,), "constant 1 is malformed"),
    ("an abort with a u8", [(Op.LD_U8, 1), Op.ABORT], (), (), "u64 expected"),
    ("a function that is missing", [(Op.CALL, 1), Op.RET], (), (), "there is no module 0x9::other"),
    ("a function without number", [(Op.CALL, 7), Op.RET], (), (), "index 7 into a table of 2"),
]


@pytest.mark.parametrize(
    ("code", "parameters", "returns", "refusal"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_ill_typed_code_is_refused(
    code: Code, parameters: tuple[Type, ...], returns: tuple[Type, ...], refusal: str
) -> None:
    with pytest.raises(BadBytecode, match=refusal) as refused:
        checked(made(code, parameters, returns))
    assert "0x9::made::run" in str(refused.value)


def test_generic_value_has_only_the_abilities_of_its_parameter() -> None:
    code: Code = [(Op.COPY_LOC, 0), Op.RET]
    generic = (Parameter(0),)
    checked(
        made(code, generic, generic, type_parameters=(Abilities.COPY | Abilities.DROP,)),
        other(Visibility.PUBLIC),
    )
    with pytest.raises(BadBytecode, match="T0 has no ability COPY"):
        checked(made(code, generic, generic, type_parameters=(Abilities.DROP,)))
    with pytest.raises(BadBytecode, match="type parameter 0 of 0"):
        checked(made(code, generic, generic))


def test_call_needs_a_visible_function_of_the_same_signature() -> None:
    calling = made([(Op.CALL, 1), Op.RET])
    checked(calling, other(Visibility.PUBLIC))
    for visibility in (Visibility.PRIVATE, Visibility.FRIEND):
        with pytest.raises(BadBytecode, match="0x9::other::run is not visible to 0x9::made"):
            checked(calling, other(visibility))
    friendly = dataclasses.replace(other(Visibility.FRIEND), friends=frozenset({MODULE}))
    checked(calling, friendly)
    with pytest.raises(BadBytecode, match="not declared as 0x9::made calls it"):
        checked(calling, other(Visibility.PUBLIC, (U64,)))


def test_handle_that_no_instruction_calls_is_linked_too() -> None:
    with pytest.raises(LinkError, match="not visible"):
        checked(made([Op.RET]), other(Visibility.PRIVATE))


def test_use_of_a_local_without_value_ends_the_execution() -> None:
    for code in ([(Op.MOVE_LOC, 0), Op.RET], [(Op.COPY_LOC, 0), Op.RET]):
        with pytest.raises(BadBytecode, match="uses local 0, which holds no value"):
            run(made(code, (), (U64,), locals_=(U64,)))  # type: ignore[arg-type]
    with pytest.raises(BadBytecode, match="uses local 0, which holds no value"):
        run(made([(Op.MOVE_LOC, 0), Op.POP, (Op.MOVE_LOC, 0), Op.RET], (U64,), (U64,)), 1)
    with pytest.raises(BadBytecode, match="uses local 0, which holds no value"):
        run(made([(Op.IMM_BORROW_LOC, 0), Op.POP, Op.RET], (), (), locals_=(U64,)))


def test_constant_is_fresh_each_time_it_is_loaded() -> None:
    """A constant that code changes is not changed for the next load."""
    code: Code = [
        *((Op.LD_CONST, 0), (Op.ST_LOC, 0), (Op.MUT_BORROW_LOC, 0), (Op.LD_U8, 1), (Op.VEC_PUSH_BACK, 1)),
        *((Op.LD_CONST, 0), Op.RET),
    ]
    assert run(made(code, (), (BYTES,), locals_=(BYTES,))) == [bytearray(b"ab")]


def test_unpacking_another_variant_fails() -> None:
    code: Code = [(Op.MOVE_LOC, 0), (Op.UNPACK_VARIANT, 1), Op.RET]
    assert run(made(code, (CHOICE,), (U64,)), [1, 5]) == [5]
    with pytest.raises(VariantFailure, match="variant 0 of Choice, unpacked as variant 1"):
        run(made(code, (CHOICE,), (U64,)), [0])


def test_unpacking_a_vector_of_another_length_fails() -> None:
    code: Code = [(Op.MOVE_LOC, 0), (Op.VEC_UNPACK, 1, 2), Op.RET]
    assert run(made(code, (BYTES,), (U8, U8)), bytearray(b"ab")) == [97, 98]
    with pytest.raises(VectorFailure) as failed:
        run(made(code, (BYTES,), (U8, U8)), bytearray(b"abc"))
    assert failed.value.sub_status == VectorFailure.UNPACK_LENGTH


def test_code_that_never_ends_is_stopped() -> None:
    with pytest.raises(LimitFailure, match="more than 1000 instructions") as failed:
        run(made([(Op.BRANCH, 0)]), limits=Limits(steps=1000))
    assert failed.value.location is not None
    assert (failed.value.location.function, failed.value.location.instruction) == ("run", 0)


def test_call_with_another_number_of_arguments_is_refused() -> None:
    with pytest.raises(TypeError, match="takes 1 arguments, not 2"):
        run(made([Op.RET], (U64,)), 1, 2)


def test_native_that_the_double_does_not_have_is_named() -> None:
    native = made([Op.RET])
    definition = native.functions[0]
    native.functions[0] = FunctionDefinition(definition.handle, Visibility.PUBLIC, False)
    with pytest.raises(UnsupportedNative, match="no native function 0x9::made::run"):
        run(native)


@needs_framework
def test_the_step_limit_is_for_the_whole_transaction() -> None:
    running = machine(Limits(steps=10_000))
    called = function(PACKAGE, "records", "recurse")
    with pytest.raises(LimitFailure, match="more than 10000 instructions"):
        for _ in range(100):
            running.call(called, (), [100])
    assert running.steps == 10_001


def test_shift_to_the_left_drops_the_bits_that_do_not_fit() -> None:
    code: Code = [(Op.MOVE_LOC, 0), (Op.LD_U8, 1), Op.SHL, Op.RET]
    assert run(made(code, (U8,), (U8,)), 255) == [254]
    assert run(made(code, (U64,), (U64,)), 1 << 63) == [0]
