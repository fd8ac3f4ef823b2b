"""What is no Move module is refused, whatever is wrong with it, and never executed."""

from __future__ import annotations

import random

import pytest

from localnet.sui_double.framework import framework
from localnet.sui_double.move.binary import read_module
from localnet.sui_double.move.errors import BadBytecode, LinkError, MoveError
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.natives import all_natives
from localnet.sui_double.move.types import Abilities
from tests.localnet.sui_double.packages import harness_modules, needs_framework

ADDRESS = (7).to_bytes(32, "big")
NUMBERS, RECORDS, VECTORS = harness_modules()


def test_module_is_read_as_it_was_written() -> None:
    module = read_module(RECORDS, ADDRESS)
    assert (module.id.name, module.id.address, module.version) == ("records", ADDRESS, 7)
    assert [enum.handle.name for enum in module.enums] == ["Shape", "Maybe"]
    (shape,) = (enum for enum in module.enums if enum.handle.name == "Shape")
    assert [variant.name for variant in shape.variants] == ["Empty", "Point", "Named", "Many"]
    assert shape.handle.abilities == Abilities.COPY | Abilities.DROP | Abilities.STORE
    (tag,) = (struct for struct in module.structs if struct.handle.name == "Tag")
    assert [parameter.is_phantom for parameter in tag.handle.type_parameters] == [True]
    assert {function.handle.name for function in module.functions if function.visibility} == {
        "run",
        "recurse",
        "spin",
    }


@pytest.mark.parametrize("module", harness_modules(), ids=["numbers", "records", "vectors"])
def test_module_cut_short_is_refused(module: bytes) -> None:
    for length in range(0, len(module), 7):
        with pytest.raises(BadBytecode):
            read_module(module[:length])


@pytest.mark.parametrize(
    ("start", "replaced", "refusal"),
    [
        (0, b"\xa1\x1c\xeb\x0c", "do not begin as a module"),
        (0, b"\xde\xad\xc0\xde", "do not begin as a module"),
        (4, (5).to_bytes(4, "little"), "version 5 of the format"),
        (4, (0x05000008).to_bytes(4, "little"), "version 8 of the format"),
        (4, (7).to_bytes(4, "little"), "flavor 0"),
        (4, (0x05000006).to_bytes(4, "little"), "flavor 5"),
        (4, (6).to_bytes(4, "little"), "enums in version 6"),
        (9, b"\x77", "unknown table 0x77"),
    ],
)
def test_other_formats_are_refused(start: int, replaced: bytes, refusal: str) -> None:
    data = RECORDS[:start] + replaced + RECORDS[start + len(replaced) :]
    with pytest.raises(BadBytecode, match=refusal):
        read_module(data)


def test_module_that_has_an_address_is_not_published_at_another() -> None:
    assert RECORDS.count(bytes(32)) == 1
    published = RECORDS.replace(bytes(32), ADDRESS)
    assert read_module(published).id.address == ADDRESS
    with pytest.raises(BadBytecode, match="published already"):
        read_module(published, ADDRESS)


@needs_framework
def test_changed_byte_gives_a_refusal_or_a_module_that_passes_its_checks() -> None:
    """No other error comes out: a Python exception would be an instruction that nothing had checked."""
    draw = random.Random(1)
    linked = Modules(all_natives(), framework())
    changes, refused = 200, 0
    for _ in range(changes):
        data = bytearray(draw.choice(harness_modules()))
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            module = read_module(bytes(data), ADDRESS)
            linked.add([module])
        except MoveError:
            refused += 1
            continue
        try:
            linked.check(module.id)
        except MoveError:
            refused += 1
        finally:
            linked.remove([module.id])
    assert changes / 2 < refused < changes


def test_name_declared_twice_is_refused() -> None:
    module = read_module(NUMBERS, ADDRESS)
    module.functions.append(module.functions[0])
    with pytest.raises(BadBytecode, match="declares a name twice"):
        Modules({}).add([module])


def test_module_is_added_once() -> None:
    modules = Modules({})
    modules.add([read_module(NUMBERS, ADDRESS)])
    with pytest.raises(LinkError, match="0x7::numbers is published already"):
        modules.add([read_module(NUMBERS, ADDRESS)])


def test_missing_dependency_is_named() -> None:
    modules = Modules({})
    vectors = read_module(VECTORS, ADDRESS)
    modules.add([vectors])
    with pytest.raises(BadBytecode, match=r"vectors::run, .*there is no module 0x1::"):
        modules.check(vectors.id)
