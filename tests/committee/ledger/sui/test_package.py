"""What the package's types look like, and values that are decoded by the names of their fields."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from committee.bcs import InvalidBcs, uleb128
from committee.ledger.sui.layouts import Struct, layouts_of
from committee.ledger.sui.package import Package
from committee.ledger.sui.types import (
    STANDARD,
    SUI,
    Datatype,
    Scalar,
    Type,
    Vector,
    normal_text,
    type_tag,
    type_text,
)
from localnet.sui_double.move import types as double_types
from localnet.sui_double.move.binary import read_module
from localnet.sui_double.rpc import texts
from tests.contracts.sui.double import PACKAGE, artifact

MODULES = [base64.b64decode(module) for module in artifact()["modules"].values()]
OPTION = Datatype(STANDARD, "option", "Option", (Scalar.U16,))
TYPES: list[Type] = [
    *Scalar,
    Vector(Vector(Scalar.U8)),
    Datatype(SUI, "coin", "Coin", (Datatype(SUI, "sui", "SUI"),)),
    Datatype(SUI, "dynamic_field", "Field", (Scalar.U32, Datatype(PACKAGE, "registry", "Node"))),
]


def of_double(type_: Type) -> Any:
    """Return a type as the double has it."""
    return texts.read_type(type_text(type_)) if not isinstance(type_, Scalar) else _SCALARS[type_]


_SCALARS = {scalar: double_types.Scalar[scalar.name] for scalar in Scalar}


@pytest.mark.parametrize("type_", TYPES, ids=type_text)
def test_type_is_written_as_the_double_writes_it(type_: Type) -> None:
    theirs = of_double(type_)
    assert type_text(type_) == normal_text(texts.type_text(theirs))
    assert type_tag(type_) == double_types.type_tag_bytes(theirs)


def test_type_is_the_same_however_an_endpoint_writes_it() -> None:
    written = ("0x2::coin::Coin<0x2::sui::SUI>", f"0x{'0' * 62}02::coin::Coin< 0x02::sui::SUI >")
    assert {normal_text(one) for one in written} == {type_text(TYPES[-2])}


def test_layouts_are_those_that_the_double_reads() -> None:
    """Both readers of the binary format find the same datatypes, fields and variants in the whole package."""
    count = 0
    for data in MODULES:
        ours, theirs = layouts_of(data, PACKAGE), read_module(data, PACKAGE)
        for struct in theirs.structs:
            layout = ours[struct.handle.module.address, struct.handle.module.name, struct.handle.name]
            assert isinstance(layout, Struct)
            assert [name for name, _ in layout.fields] == [field.name for field in struct.fields]
            for (_, type_), field in zip(layout.fields, struct.fields, strict=True):
                if "Parameter" not in repr(type_):
                    assert of_double(type_) == field.type
        for enum in theirs.enums:
            variants = ours[enum.handle.module.address, enum.handle.module.name, enum.handle.name]
            assert not isinstance(variants, Struct)
            assert [(name, [field for field, _ in one.fields]) for name, one in variants.variants] == [
                (one.name, [field.name for field in one.fields]) for one in enum.variants
            ]
        assert len(ours) == len(theirs.structs) + len(theirs.enums)
        count += len(ours)
    assert count > 20


def test_enum_is_its_variants_name_and_fields() -> None:
    package = Package(PACKAGE)
    phase = package.type("node_stake", "Phase")
    data = b"\x02" + (7).to_bytes(4, "little") + (9).to_bytes(16, "little")
    assert package.decode(phase, data) == ("Leaving", {"period": 7, "shares": 9})
    with pytest.raises(InvalidBcs, match="no variant 3"):
        package.decode(phase, b"\x03" + data[1:])


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (Scalar.BOOL, b"\x02"),
        (Scalar.U16, b"\x01"),
        (Scalar.U16, b"\x01\x02\x03"),
        (OPTION, b"\x02\x01\x00\x01\x00"),
        (Vector(Scalar.U16), b"\x02\x01\x00"),
        (Vector(OPTION), uleb128(2**30) + bytes(100)),
        (Vector(Scalar.U8), b"\x80\x00"),
        (Vector(Scalar.U8), b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    ],
)
def test_bytes_that_are_no_value_are_refused(type_: Type, data: bytes) -> None:
    with pytest.raises(InvalidBcs):
        Package(PACKAGE).decode(type_, data)


def test_text_that_is_not_utf_8_is_shown_as_such() -> None:
    assert Package(PACKAGE).decode(Datatype(STANDARD, "string", "String"), b"\x02a\xff") == "a\ufffd"


def test_errors_have_their_names() -> None:
    assert Package(PACKAGE).errors[13] == "KeyInUse"
