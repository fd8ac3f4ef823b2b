"""Live blob objects in pages, as the contracts give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from committee.ledger import BlobRecord
from committee.ledger.evm import reader
from tests.committee.ledger.following import LENGTH, STAKES

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch


async def test_pages_have_all_that_lives(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PAGE_ITEMS", 2)
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = network.operator
    numbers = [
        (await ledger.register_blob(number.to_bytes(32, "big"), LENGTH, periods, deletable=True))[0]
        for number, periods in enumerate((3, 3, 1, 3, 3, 1, 3, 9))
    ]
    await ledger.delete_blob(numbers[1])
    head, cursor, found = await ledger.newest(), 0, list[BlobRecord]()
    for _ in range(20):
        page, cursor = await ledger.live_page(cursor, head)
        assert len(page) <= reader.PAGE_ITEMS
        found += page
        if cursor == 0:
            break
    live = [await ledger.blob_object(number) for number in numbers if number != numbers[1]]
    assert sorted(found, key=lambda one: one.object_id) == live
