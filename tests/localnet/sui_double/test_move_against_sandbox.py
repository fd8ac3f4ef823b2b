"""The interpreter gives what Sui's own Move VM gives: the same results, failures, codes, and failing instructions."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.reader import uleb_bytes
from localnet.sui_double.move.types import BYTES, INTEGER_BYTES, Scalar, Type, Vector
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.sandbox import PACKAGE, call_double, call_sandbox, function

pytestmark = needs_framework

INTEGERS = list(INTEGER_BYTES)


def compare(
    package: bytes, module: str, name: str, inputs: list[bytes], types: tuple[Type, ...] = ()
) -> None:
    called = function(package, module, name)
    ours, theirs = call_double(called, types, inputs), call_sandbox(called, types, inputs)
    assert ours == theirs, (module, name, types, [data.hex() for data in inputs])


def integer(draw: random.Random, width: int) -> bytes:
    """Return an integer of this many bytes: small, large, a power of two, or any."""
    bits = 8 * width
    number = draw.choice(
        [
            draw.randrange(8),
            (1 << bits) - 1 - draw.randrange(3),
            1 << draw.randrange(bits),
            draw.getrandbits(bits),
        ]
    )
    return number.to_bytes(width, "little")


def value(draw: random.Random, type_: Type) -> bytes:
    """Return a random value of a type without datatypes, in BCS."""
    if isinstance(type_, Vector):
        count = draw.randrange(7)
        return uleb_bytes(count) + b"".join(value(draw, type_.element) for _ in range(count))
    assert isinstance(type_, Scalar)
    if type_ is Scalar.BOOL:
        return bytes([draw.randrange(2)])
    return draw.randbytes(32) if type_ is Scalar.ADDRESS else integer(draw, INTEGER_BYTES[type_])


def program(draw: random.Random, commands: int) -> bytes:
    code = draw.randbytes(2 * draw.randrange(1, commands))
    return uleb_bytes(len(code)) + code


def a_calculation(draw: random.Random) -> None:
    type_ = draw.choice(INTEGERS)
    operation, distance = draw.randrange(11), draw.randrange(256)
    left, right = value(draw, type_), value(draw, type_)
    inputs = [bytes([operation]), left, right, bytes([distance])]
    compare(PACKAGE, "numbers", f"calculate_{type_.value}", inputs)


def a_comparison(draw: random.Random) -> None:
    type_ = draw.choice([Scalar.U8, Scalar.U64, Scalar.U256])
    left = value(draw, type_)
    right = draw.choice([left, value(draw, type_)])
    compare(PACKAGE, "numbers", f"compare_{type_.value}", [left, right])


def a_cast(draw: random.Random) -> None:
    type_ = draw.choice(INTEGERS[:-1])
    width = draw.choice([INTEGER_BYTES[type_], 32])
    compare(PACKAGE, "numbers", f"to_{type_.value}", [integer(draw, width).ljust(32, b"\0")])


def a_decision(draw: random.Random) -> None:
    compare(
        PACKAGE,
        "numbers",
        "decide",
        [bytes([draw.randrange(2)]), bytes([draw.randrange(2)]), bytes([draw.randrange(12)])],
    )


def a_program_on_a_vector(draw: random.Random) -> None:
    elements: list[tuple[str, Type]] = [
        ("u8", Scalar.U8),
        ("u64", Scalar.U64),
        ("bool", Scalar.BOOL),
        ("address", Scalar.ADDRESS),
        ("bytes", BYTES),
    ]
    name, element = draw.choice(elements)
    inputs = [value(draw, Vector(element)), value(draw, element), program(draw, 9)]
    compare(PACKAGE, "vectors", f"run_{name}", inputs)


def a_change_in_nested_vectors(draw: random.Random) -> None:
    row, place = (bytes([draw.randrange(4)]) + bytes(7) for _ in range(2))
    compare(PACKAGE, "vectors", "nested", [value(draw, Vector(BYTES)), row, place, draw.randbytes(1)])


def a_program_on_a_record(draw: random.Random) -> None:
    seed = bytes([draw.randrange(12)]) + bytes(7)
    compare(PACKAGE, "records", "run", [seed, program(draw, 20)])


def a_function_of_the_standard_library(draw: random.Random) -> None:
    u8, u64, u128, text, numbers = Scalar.U8, Scalar.U64, Scalar.U128, BYTES, Vector(Scalar.U64)
    named: list[Type] = [u8, numbers, Scalar.ADDRESS]
    calls: list[tuple[bytes, str, str, tuple[Type, ...], tuple[Type, ...]]] = [
        (STANDARD, "u64", "pow", (), (u64, u8)),
        (STANDARD, "u128", "sqrt", (), (u128,)),
        (STANDARD, "u64", "divide_and_round_up", (), (u64, u64)),
        (STANDARD, "u64", "to_string", (), (u64,)),
        (STANDARD, "u64", "try_as_u8", (), (u64,)),
        (STANDARD, "string", "utf8", (), (text,)),
        (STANDARD, "string", "try_utf8", (), (text,)),
        (STANDARD, "ascii", "string", (), (text,)),
        (STANDARD, "fixed_point32", "create_from_rational", (), (u64, u64)),
        (STANDARD, "uq32_32", "from_quotient", (), (u64, u64)),
        (STANDARD, "bit_vector", "new", (), (u64,)),
        (STANDARD, "hash", "sha2_256", (), (text,)),
        (STANDARD, "hash", "sha3_256", (), (text,)),
        (STANDARD, "vector", "flatten", (draw.choice([u8, u64]),), ()),
        (STANDARD, "vector", "singleton", (draw.choice([u8, u64]),), ()),
        (STANDARD, "type_name", "with_defining_ids", (draw.choice(named),), ()),
        (SUI, "hex", "encode", (), (text,)),
        (SUI, "hex", "decode", (), (text,)),
        (SUI, "address", "to_string", (), (Scalar.ADDRESS,)),
        (SUI, "bcs", "new", (), (text,)),
        (SUI, "vec_set", "from_keys", (u64,), (numbers,)),
        (SUI, "vec_map", "from_keys_values", (u64, u8), (numbers, text)),
    ]
    package, module, name, types, inputs = draw.choice(calls)
    if module == "vector":
        inputs = (Vector(Vector(types[0])),) if name == "flatten" else (types[0],)
    compare(package, module, name, [value(draw, type_) for type_ in inputs], types)


CASES: list[tuple[Callable[[random.Random], None], int]] = [
    (a_calculation, 20),
    (a_comparison, 4),
    (a_cast, 6),
    (a_decision, 2),
    (a_program_on_a_vector, 20),
    (a_change_in_nested_vectors, 4),
    (a_program_on_a_record, 24),
    (a_function_of_the_standard_library, 20),
]
"""Kinds of calls, and how many of each the quick run makes."""


@pytest.mark.parametrize(("case", "calls"), CASES, ids=[case.__name__ for case, _ in CASES])
def test_the_double_and_suis_own_vm_agree_on(case: Callable[[random.Random], None], calls: int) -> None:
    draw = random.Random(case.__name__)
    for _ in range(calls):
        case(draw)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "calls"), CASES, ids=[case.__name__ for case, _ in CASES])
def test_they_agree_on_many_more(case: Callable[[random.Random], None], calls: int) -> None:
    draw = random.Random(f"more of {case.__name__}")
    for _ in range(20 * calls):
        case(draw)


def test_calls_nest_as_deep_in_both() -> None:
    called = function(PACKAGE, "records", "recurse")
    deepest = (1022).to_bytes(8, "little")
    assert (
        call_double(called, (), [deepest]).results
        == call_sandbox(called, (), [deepest]).results
        == (deepest,)
    )
    assert call_double(called, (), [(1023).to_bytes(8, "little")]).failure == "LIMIT"
    assert call_sandbox(called, (), [(1023).to_bytes(8, "little")]).failure == "EXECUTION_STACK_OVERFLOW"
