"""Openings in the Move package: what the rules in Python take is taken, all else is refused by the same rule's name."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from functools import cache
from itertools import islice
from typing import Any

import pytest

from committee.opening import Opening
from localnet.sui_double.move.natives.registry import SUI
from storage.proofs import Position, draw, judge, salt_of, symbols_in_pair
from storage.proofs import opening as rules
from storage.proofs.opening import blob_id_of
from storage.redstuff import Parameters
from storage.redstuff.merkle import depth_of
from tests.contracts.sui.committees import secret
from tests.contracts.sui.double import Refused, Transaction
from tests.contracts.sui.openings import Judge, largest
from tests.localnet.sui_double.packages import needs_framework
from tests.storage.proofs.members import DRAW, NODE_ID, HonestMember, member
from tests.storage.proofs.mutations import MUTATIONS

pytestmark = needs_framework

MOST_STEPS_OF_A_SMALL_SYMBOL = 6_000
MOST_STEPS_OF_A_SYMBOL_BYTE = 75


@cache
def small() -> HonestMember:
    return member(7, [0, 1, 40, 333, 1000], [5, 0, 3])


def judged_in_python(one: HonestMember, opening: Opening, position: Position) -> str | None:
    """Return the package's name of the rule that an opening breaks; None for none."""
    try:
        judge(one.code, one.inventory, one.commitment, opening, position)
    except rules.WrongOpening as wrong:
        too_long = opening.blob_length > one.code.max_blob_bytes
        return "EBlobTooLong" if too_long else f"E{type(wrong).__name__}"
    return None


def judged_in_move(one: HonestMember, opening: Opening, position: Position) -> str | None:
    try:
        Judge.of(one).judge(opening, position)
    except Refused as refused:
        return str(refused)
    return None


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name != "a negative index"])
def test_changed_opening_is_refused_by_the_rule_that_it_breaks(name: str) -> None:
    change, _ = MUTATIONS[name]
    position = Position(0, 2, small().entries[3].offset)
    changed = change(small().opening(position))
    found = judged_in_move(small(), changed, position)
    assert found is not None
    assert found == judged_in_python(small(), changed, position)


def test_random_openings_are_judged_as_in_python() -> None:
    pick = random.Random(17)
    verdicts = set()
    for one in (small(), member(4, [17], [1]), member(31, [2, 5000], [30, 2])):
        drawn = draw.positions(one.code, DRAW, NODE_ID, len(one.shards), one.inventory.weight)
        for position in islice(drawn, 8):
            opening = one.opening(position)
            assert judged_in_move(one, opening, position) is judged_in_python(one, opening, position) is None
            changed = with_one_bit_changed(pick, opening)
            verdict = judged_in_python(one, changed, position)
            assert judged_in_move(one, changed, position) == verdict
            verdicts.add(verdict)
    assert len(verdicts) > 3


def with_one_bit_changed(pick: random.Random, opening: Opening) -> Opening:
    """Change a bit in a field that is not empty; of a number one of the lower ones."""
    name = pick.choice(
        [field.name for field in fields(Opening) if getattr(opening, field.name) not in (b"", ())]
    )
    value: Any = getattr(opening, name)
    if isinstance(value, int):
        value ^= 1 << pick.randrange(5)
    elif isinstance(value, bytes):
        value = flipped_at(pick, value)
    else:
        place = pick.randrange(len(value))
        value = (*value[:place], flipped_at(pick, value[place]), *value[place + 1 :])
    changes: dict[str, Any] = {name: value}
    return replace(opening, **changes)


def flipped_at(pick: random.Random, data: bytes) -> bytes:
    number = int.from_bytes(data, "big") ^ 1 << pick.randrange(8 * len(data))
    return number.to_bytes(len(data), "big")


def test_opening_of_one_position_is_refused_at_another() -> None:
    size = draw.position_count(small().code, len(small().shards), small().inventory.weight)
    pick = random.Random(3)
    for _ in range(6):
        shown, asked = (
            draw.position_at(small().code, small().inventory.weight, pick.randrange(size)) for _ in range(2)
        )
        opening = small().opening(shown)
        verdict = judged_in_python(small(), opening, asked)
        assert verdict is not None
        assert judged_in_move(small(), opening, asked) == verdict


def test_opening_is_of_the_bytes_of_its_blob_and_not_of_those_beside_them() -> None:
    entry = small().entries[3]
    opening = small().opening(Position(0, 2, entry.offset))
    behind = entry.offset + entry.symbol_size
    verdicts = {
        offset: judged_in_move(small(), opening, Position(0, 2, offset))
        for offset in (entry.offset - 1, entry.offset, behind - 1, behind)
    }
    assert list(verdicts.values()) == ["ENotDrawn", None, None, "ENotDrawn"]


def test_opening_is_refused_with_another_salt_or_attestation() -> None:
    position = Position(1, 0, 0)  # of a shard that was not attested
    opening, held = small().opening(position), Judge.of(small())
    held.judge(opening, position)
    with pytest.raises(Refused, match=r"^ENotCommitted$"):
        replace(held, salt=bytes(32)).judge(opening, position)
    with pytest.raises(Refused, match=r"^ENotCommitted$"):
        replace(held, root=bytes(32)).judge(opening, position)
    with pytest.raises(Refused, match=r"^ENotAttested$"):
        replace(held, attested={small().shards[1]: bytes(32)}).judge(opening, position)


def test_late_shard_is_shown_by_a_path_that_ends_at_its_attested_root() -> None:
    position = Position(0, 0, 0)
    opening, held = small().opening(position), Judge.of(small())
    depth = sum(map(depth_of, (symbols_in_pair(small().code), small().inventory.count)))
    late = replace(opening, commitment_path=opening.commitment_path[:depth])
    held.judge_late(late, position)
    for path in ((), late.commitment_path[:-1], opening.commitment_path):
        with pytest.raises(Refused, match=r"^EWrongPath$"):
            held.judge_late(replace(opening, commitment_path=path), position)
    with pytest.raises(Refused, match=r"^ENotAttested$"):
        replace(held, attested={small().shards[0]: bytes(32)}).judge_late(late, position)


def test_opening_without_a_symbol_names_the_blob_by_its_id() -> None:
    position = Position(0, 2, small().entries[3].offset)
    opening = small().opening(position)
    named = replace(opening, symbol=b"", blob_root=blob_id_of(opening))
    assert judged_in_move(small(), named, position) == "EWrongSymbolSize"  # the blob itself was found
    other = replace(named, blob_root=bytes(32))
    assert judged_in_move(small(), other, position) == "ENotInInventory"


def test_positions_are_drawn_as_in_python() -> None:
    pick = random.Random(8)
    call = Transaction().call
    for _ in range(30):
        grid = Parameters(pick.choice((4, 7, 31, 100, 1000)))
        weight, shards = pick.randint(1, pick.choice((9, 2**40, 2**64 - 1))), pick.randint(1, grid.n_shards)
        node_id, place, hashed = pick.randrange(2**32), pick.randrange(640), pick.randbytes(32)
        count = draw.position_count(grid, shards, weight)
        assert call("positions", "count", grid.n_shards, shards, weight) == count
        drawn = draw.drawn_position(hashed, node_id, place, count)
        assert call("positions", "drawn", hashed, node_id, place, count) == drawn
        for number in (drawn, 0, count - 1):
            position = draw.position_at(grid, weight, number)
            expected = [position.shard_number, position.symbol, position.offset]
            assert call("positions", "at", grid.n_shards, weight, number) == expected


def test_salt_is_that_of_python() -> None:
    call = Transaction().call
    key = secret(3).public_key
    element = call("bls12381", "g1_from_bytes", key, package=SUI)
    assert call("opening", "salt", 2**32 - 2, 258, element, bytes(range(32))) == salt_of(
        2**32 - 2, 258, key, bytes(range(32))
    )


@pytest.mark.parametrize("size", [6, 65534])
def test_opening_of_the_main_network_takes_few_instructions(size: int) -> None:
    opening, position, held = largest(size)
    transaction = Transaction()
    held.judge(opening, position, transaction)
    assert transaction.machine.steps < MOST_STEPS_OF_A_SMALL_SYMBOL + MOST_STEPS_OF_A_SYMBOL_BYTE * size
