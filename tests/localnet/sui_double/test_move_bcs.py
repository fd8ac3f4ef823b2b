"""A value has one form in BCS, and bytes in any other are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.binary import read_module
from localnet.sui_double.move.errors import BadBytes
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.types import (
    BYTES,
    INTEGER_BYTES,
    Datatype,
    ModuleId,
    Reference,
    Scalar,
    Type,
    Vector,
    address_from_text,
    canonical_name,
    type_name,
    type_tag_bytes,
)
from localnet.sui_double.move.values import Value
from tests.localnet.sui_double.packages import harness_modules

ADDRESS = (7).to_bytes(32, "big")
RECORDS = ModuleId(ADDRESS, "records")
LEAF = Datatype(RECORDS, "Leaf")
SHAPE = Datatype(RECORDS, "Shape")
PAIR = Datatype(RECORDS, "Pair", (Scalar.U8, Vector(SHAPE)))


def _codec() -> Codec:
    modules = Modules({})
    modules.add([read_module(module, ADDRESS) for module in harness_modules()])
    return Codec(modules)


CODEC = _codec()
leaves = st.builds(
    lambda number, text: [number, bytearray(text)], st.integers(0, 2**64 - 1), st.binary(max_size=200)
)
shapes = st.one_of(
    st.just([0]),
    st.builds(lambda x, y: [1, x, y], *[st.integers(0, 2**64 - 1)] * 2),
    st.builds(lambda text, leaf: [2, bytearray(text), leaf], st.binary(max_size=3), leaves),
    st.builds(lambda many: [3, many], st.lists(leaves, max_size=3)),
)


@given(
    value=st.builds(lambda first, second: [first, second], st.integers(0, 255), st.lists(shapes, max_size=4))
)
def test_value_comes_back_from_its_bytes(value: Value) -> None:
    assert CODEC.decode(PAIR, CODEC.encode(PAIR, value)) == value


@given(data=st.binary(max_size=60))
def test_bytes_are_a_value_only_in_its_one_form(data: bytes) -> None:
    try:
        value = CODEC.decode(PAIR, data)
    except BadBytes:
        return
    assert CODEC.encode(PAIR, value) == data


@pytest.mark.parametrize("type_", INTEGER_BYTES)
def test_integer_is_little_endian_and_as_wide_as_its_type(type_: Scalar) -> None:
    width = INTEGER_BYTES[type_]
    assert CODEC.encode(type_, 5) == b"\x05" + bytes(width - 1)
    assert CODEC.decode(type_, b"\xff" * width) == 2 ** (8 * width) - 1


def test_bytes_are_bytes_and_other_vectors_lists() -> None:
    assert CODEC.encode(LEAF, [1, bytearray(b"ab")]) == bytes([1]) + bytes(7) + b"\x02ab"
    assert CODEC.encode(SHAPE, [0]) == b"\x00"
    assert type(CODEC.decode(BYTES, b"\x02ab")) is bytearray
    assert CODEC.decode(Vector(Scalar.BOOL), b"\x02\x00\x01") == [False, True]


@pytest.mark.parametrize(
    ("type_", "data", "refusal"),
    [
        (Scalar.BOOL, b"\x02", "2 where a bool is expected"),
        (Scalar.U64, bytes(7), "8 bytes wanted, 7 left"),
        (Scalar.U8, b"\x01\x00", "1 bytes follow a u8"),
        (BYTES, b"\x80\x00", "not in its shortest form"),
        (BYTES, b"\xff\xff\xff\xff\x7f", "a number above"),
        (Vector(Scalar.U64), b"\xff\xff\xff\xff\x0f", "8 bytes wanted"),
        (SHAPE, b"\x04", "variant 4 of an enum that has 4"),
        (LEAF, b"", "8 bytes wanted"),
    ],
)
def test_other_bytes_are_refused(type_: Type, data: bytes, refusal: str) -> None:
    with pytest.raises(BadBytes, match=refusal):
        CODEC.decode(type_, data)


def test_reference_has_no_bytes() -> None:
    with pytest.raises(TypeError, match="&u8 has no bytes"):
        CODEC.encode(Reference(False, Scalar.U8), 1)


def test_type_is_named_as_sui_names_it() -> None:
    coin = Datatype(ModuleId(address_from_text("0x2"), "coin"), "Coin", (Vector(LEAF), Scalar.U8))
    assert type_name(coin) == "0x2::coin::Coin<vector<0x7::records::Leaf>, u8>"
    assert canonical_name(coin) == (f"{'0' * 63}2::coin::Coin<vector<{'0' * 63}7::records::Leaf>,u8>")
    assert type_tag_bytes(coin).hex() == (
        "07" + "00" * 31 + "02" + "04" + b"coin".hex() + "04" + b"Coin".hex() + "02"
        + "06" + "07" + "00" * 31 + "07" + "07" + b"records".hex() + "04" + b"Leaf".hex() + "00" + "01"
    )  # fmt: skip
