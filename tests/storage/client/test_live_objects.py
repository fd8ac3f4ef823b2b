"""The objects of one blob among all that live, page by page, at blocks whose state is kept for a while only."""

from __future__ import annotations

from typing import Any, cast

import pytest

from committee.errors import LedgerStateGone
from committee.ledger import BlobRecord, BlockMark
from storage.client.live_objects import live_objects_of

MINE, OTHER = bytes(32), b"\x01" * 32


def record(object_id: int, blob_id: bytes) -> BlobRecord:
    return BlobRecord(object_id, blob_id, 100, "0x", 1, 1, 50, deletable=True)


def mark(number: int) -> BlockMark:
    return BlockMark(number, number.to_bytes(32, "big"))


class Chain:
    """A ledger of three pages that keeps the state of a block for `kept` pages; the blocks go on up to `last`."""

    def __init__(self, kept: int, last: int = 100) -> None:
        self.pages = [
            [record(7, MINE), record(8, OTHER)],
            [record(9, OTHER)],
            [record(3, MINE), record(7, MINE), record(2, OTHER)],
        ]
        self.kept, self.block, self.last = kept, 10, last
        self.asked: list[tuple[int, int]] = []

    async def newest(self) -> BlockMark:
        self.block = min(self.block + self.kept, self.last)
        return mark(self.block)

    async def live_page(self, cursor: int, at: BlockMark) -> tuple[list[BlobRecord], int]:
        if len(self.asked) >= self.kept and self.asked[-self.kept][1] == at.number:
            raise LedgerStateGone("gone")
        self.asked.append((cursor, at.number))
        return self.pages[cursor], (cursor + 1) % len(self.pages)


async def found(chain: Any, blob_id: bytes) -> list[int]:
    return [one.object_id for one in await live_objects_of(cast(Any, chain), blob_id, mark(10))]


@pytest.mark.parametrize("kept", [1, 2, 3])
async def test_the_objects_of_one_blob_are_found_at_whatever_blocks_are_kept(kept: int) -> None:
    chain = Chain(kept)
    assert await found(chain, MINE) == [3, 7], "each once, by object id"
    assert [cursor for cursor, _ in chain.asked] == [0, 1, 2], "no page is read twice"
    assert len({block for _, block in chain.asked}) == -(-3 // kept)


async def test_a_blob_without_objects_has_none() -> None:
    assert await found(Chain(3), b"\x02" * 32) == []


async def test_a_state_that_is_gone_while_the_chain_stands_still_is_an_error() -> None:
    chain = Chain(1, last=10)
    with pytest.raises(LedgerStateGone):
        await found(chain, MINE)
