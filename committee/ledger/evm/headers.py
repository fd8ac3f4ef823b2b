"""Headers of consecutive numbers: which were told, and whether each block is the child of the one before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from committee.errors import LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.answers import Block
from committee.ledger.evm.refusals import Behind, Lacking
from committee.ledger.records import BlockMark


def linked(
    numbers: range,
    results: Sequence[Any],
    before: BlockMark | None,
    until: BlockMark | None,
    after: BlockMark | None,
) -> list[Block]:
    """Return the headers of the blocks `numbers`, up to the last one that was told, which is one at least.

    `results` are the answers to `eth_getBlockByNumber`, None where the endpoint told no block. Each header must be the
    child of the one before it, the first one of `before`, if named; that of `until`'s number must be `until`.

    Some chains leave out numbers, as Filecoin its null rounds. Such a number is passed over if the next header that was
    told is the child of the last one before the gap, which is `before`, else `after`. Else the endpoint lacks a block:
    it is behind, or on another branch, and another endpoint may be on the same one. Raises `Lacking` then, and
    `Unreadable` for other blocks than those that were asked for.
    """
    told: list[Block] = []
    gap_at: int | None = None
    for number, result in zip(numbers, results, strict=True):
        if result is None:
            gap_at = number if gap_at is None else gap_at
            continue
        block = answers.block(result)
        if block.mark.number != number:
            raise answers.Unreadable(f"block {block.mark.number} instead of {number}")
        parent = before if gap_at is None or before is not None else after
        if gap_at is not None and (parent is None or block.parent != parent.hash):
            raise Lacking(_unknown(gap_at))
        if parent is not None and block.parent != parent.hash:
            raise Lacking(_changed(f"block {number} is no child of the one before"))
        if until is not None and number == until.number and block.mark != until:
            raise Lacking(_changed(f"block {number} is not what it was"))
        told.append(block)
        before, gap_at = block.mark, None
    if not told:
        raise Lacking(_unknown(numbers[0]))
    return told


def _unknown(number: int) -> Behind:
    return Behind(f"the chain's endpoint does not know block {number}")


def _changed(why: str) -> LedgerUnavailable:
    return LedgerUnavailable(f"the chain changed while it was read: {why}")
