"""Storing pays once over an endpoint that tells an old block, as a second machine of the account may have."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from committee.errors import LedgerRefused
from committee.ledger import BlobObjects, BlobRecord, Quote
from storage.client import cli, purchase
from storage.client.client import Client
from storage.client.purchase import Outcome
from tests.memory_chain import MemoryChain
from tests.memory_chain.ledger import MemoryLedger
from tests.storage.client.conftest import UserLedger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storage.network import Network

DATA = random.Random(2).randbytes(2000)


class OldBlockLedger(UserLedger):
    """The account's chain as another machine has it, whose endpoint answers `answers` times of an old block.

    What it sends arrives in the newest block.
    """

    def __init__(self, chain: MemoryChain, answers: int) -> None:
        super().__init__(chain)
        self.answers = answers
        self.old = MemoryChain(chain.parameters)
        self.old.blocks = list(chain.blocks)

    def _endpoint(self) -> MemoryLedger:
        self.answers -= 1
        return MemoryLedger(self.old if self.answers >= 0 else self.chain, self.account)

    async def blob_objects(self, root: bytes, length: int) -> BlobObjects:
        return await self._endpoint().blob_objects(root, length)

    async def quote(self, length: int, periods: int) -> Quote:
        return Quote(length, periods)

    async def blob_object(self, object_id: int) -> BlobRecord:
        return await self._endpoint().blob_object(object_id)


@pytest.mark.parametrize("answers", [1, 4])
async def test_a_blob_registered_since_the_old_block_is_gone_on_with(
    network: Network, user: Client, answers: int
) -> None:
    behind = OldBlockLedger(network.chain, answers)
    paid = await user.store(DATA, 3)
    async with Client(behind) as another:
        stored = await another.store(DATA, 3)
    assert len(network.chain.records) == 1
    assert (stored.object_id, stored.outcome, stored.end_period) == (1, Outcome.FOUND, paid.end_period)
    assert behind.answers < 0, "the old block was asked, until the object was told"


async def test_force_pays_anew_whatever_block_the_endpoint_tells(network: Network, user: Client) -> None:
    behind = OldBlockLedger(network.chain, 0)
    await user.store(DATA, 3)
    async with Client(behind) as another:
        assert (await another.store(DATA, 3, force=True)).outcome is Outcome.REGISTERED
    assert len(network.chain.records) == 2


async def test_an_object_that_the_endpoint_never_tells_of_is_not_paid_for_again(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purchase, "BEHIND_PATIENCE_S", 0.0)
    behind = OldBlockLedger(network.chain, 100)
    await user.store(DATA, 3)
    async with Client(behind) as another:
        with pytest.raises(LedgerRefused, match=r"RegisteredMeanwhile \(objectId=1\)"):
            await another.store(DATA, 3)
    assert len(network.chain.records) == 1


@pytest.mark.parametrize("until", [3, 5, 8])
async def test_what_was_extended_since_the_old_block_is_extended_by_what_is_lacking(
    network: Network, user: Client, until: int
) -> None:
    await user.store(DATA, 1)
    behind = OldBlockLedger(network.chain, 2)
    await user.store(DATA, 4)
    async with Client(behind) as another:
        stored = await another.store(DATA, until - 1)
    assert network.chain.records[1].end_period == stored.end_period == max(5, until)
    assert stored.outcome is (Outcome.EXTENDED if until > 5 else Outcome.FOUND)


async def test_the_commands_pay_once_over_an_old_block(
    network: Network, user: Client, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    behind = OldBlockLedger(network.chain, 3)
    await user.store(DATA, 1)
    registered = await cli.register(behind, tmp_path / "file", 1)
    assert (registered["object_id"], registered["end_period"]) == (1, 2)
    assert registered["outcome"] == "was registered before; nothing was paid"
    extending = OldBlockLedger(network.chain, 2)
    await user.store(DATA, 4)
    assert "nothing was paid" in (await cli.extend(extending, 1, until=5))["outcome"]
    assert (len(network.chain.records), network.chain.records[1].end_period) == (1, 5)
