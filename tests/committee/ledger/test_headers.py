"""Headers that are told of consecutive numbers, of which the chain may leave some out."""

from __future__ import annotations

from typing import Any

import pytest

from committee.errors import LedgerUnavailable
from committee.ledger.evm.answers import Unreadable
from committee.ledger.evm.headers import linked
from committee.ledger.evm.refusals import Behind, Lacking
from committee.ledger.records import BlockMark

NUMBERS = range(11, 16)


def mark(number: int) -> BlockMark:
    return BlockMark(number, number.to_bytes(32, "big"))


def told(number: int, parent: int | None = None) -> dict[str, Any]:
    """What endpoints tell of a block whose parent is the number before, or another."""
    above = mark(number - 1 if parent is None else parent)
    hashes = {"hash": "0x" + mark(number).hash.hex(), "parentHash": "0x" + above.hash.hex()}
    return {"number": hex(number), "logsBloom": "0x", "timestamp": hex(number), **hashes}


@pytest.mark.parametrize(
    ("results", "numbers"),
    [
        ([told(11), told(12), told(13), told(14), told(15)], [11, 12, 13, 14, 15]),
        ([told(11), None, told(13, 11), told(14), told(15)], [11, 13, 14, 15]),
        ([None, None, told(13, 10), None, told(15, 13)], [13, 15]),
        ([told(11), told(12), told(13), None, None], [11, 12, 13]),
    ],
    ids=["all", "one left out", "some left out, the first ones too", "the last ones perhaps"],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_number_that_no_block_has_is_passed_over(
    results: list[Any], numbers: list[int], is_first: bool
) -> None:
    """filecoin-project/lotus#12633, indexsupply/shovel#293: null rounds."""
    before, after = (None, mark(10)) if is_first else (mark(10), None)
    assert [one.mark.number for one in linked(NUMBERS, results, before, mark(15), after)] == numbers


@pytest.mark.parametrize(
    "results",
    [
        [told(11), None, told(13), told(14), told(15)],
        [None, told(12), told(13), told(14), told(15)],
        [None] * 5,
    ],
    ids=["in the middle", "the first one", "all"],
)
def test_a_block_that_an_endpoint_lacks_is_not_passed_over(results: list[Any]) -> None:
    for before, after in ((None, mark(10)), (mark(10), None)):
        with pytest.raises(Lacking) as lacking:
            linked(NUMBERS, results, before, None, after)
        assert isinstance(lacking.value.told, Behind)


def test_a_gap_before_the_first_header_is_not_passed_over_on_no_known_block() -> None:
    with pytest.raises(Lacking):
        linked(NUMBERS, [None, told(12, 10), told(13), told(14), told(15)], None, None, None)


def test_headers_that_do_not_link_are_of_a_chain_that_changed() -> None:
    results = [told(11), told(12), told(13, 11), told(14), told(15)]
    with pytest.raises(Lacking) as lacking:
        linked(NUMBERS, results, None, None, None)
    assert not isinstance(lacking.value.told, Behind)
    with pytest.raises(Lacking) as lacking:
        linked(range(15, 16), [told(15)], None, BlockMark(15, bytes(32)), None)
    assert isinstance(lacking.value.told, LedgerUnavailable)


def test_a_reorganised_block_before_the_first_header_is_for_the_caller_to_see() -> None:
    assert linked(range(11, 12), [told(11, 9)], None, None, mark(10))[0].parent == mark(9).hash


def test_another_block_than_the_one_asked_for_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="block 13 instead of 12"):
        linked(NUMBERS, [told(11), told(13), told(13), told(14), told(15)], None, None, None)
