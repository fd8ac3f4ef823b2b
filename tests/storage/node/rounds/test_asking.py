"""What nodes answer to requests about rounds of storage proofs, at the right time and at the wrong one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from committee import bls
from storage.client.errors import NodeRefused
from storage.client.inventories import NotLocated, entry_of
from storage.client.node_client import NodeClient
from storage.proofs import Inventory, require_entry
from tests.storage.node.handovers import BLOBS, bend

if TYPE_CHECKING:
    from tests.storage.node.rounds.conftest import Rounds

DRAW = b"\xd4" * 32
ALL = (1, 2, 3, 4)


async def test_all_members_sign_one_inventory_and_show_where_its_blobs_are(rounds: Rounds) -> None:
    clients = [rounds.network.client(one) for one in ALL]
    await rounds.committed(*ALL)
    signed = [await client.inventory() for client in clients]
    assert len({message for message, _ in signed}) == 1
    for one, (message, signature) in zip(ALL, signed, strict=True):
        assert bls.verify(rounds.network.secret(one).public_key, message, signature)
    current, round_ = rounds.chain.state.current, rounds.round
    assert current is not None
    assert round_ is not None
    inventory = Inventory(round_.inventory_root, round_.count, round_.weight)
    for client in clients:
        for blob in BLOBS:
            shown = await client.entry_of(blob.blob_id)
            require_entry(inventory, shown)
            assert shown.entry.blob_id == blob.blob_id
    with pytest.raises(NotLocated, match="is not in the inventory"):
        await entry_of(dict(zip(ALL, clients, strict=True)), current, inventory, bytes(32))


async def test_nothing_is_signed_or_shown_of_a_draw_unknown_to_the_chain(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    client = rounds.network.client(1)
    client._transport._patience_s = 2.0
    for asked in (
        client.proof(2, DRAW),
        client.openings(DRAW, 0),
        client.proof(1, DRAW),
        client.proof(9, DRAW),
    ):
        with pytest.raises(NodeRefused):
            await asked


async def test_an_audit_is_made_once_for_all_requests(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    draw = await rounds.drawn()
    await rounds.proven(*ALL)
    auditing, asked = rounds.network.running[2].rounds.auditing, []
    await auditing.sign_proof(1, draw)  # whoever asked for it before

    class Counted:
        """The audited member as the fellow sees it."""

        def __init__(self, real: NodeClient) -> None:
            self._real = real

        async def openings(self, draw: bytes, page: int, *rest: Any) -> Any:
            asked.append(page)
            return await self._real.openings(draw, page, *rest)

    bend(rounds.network, 2, {1: Counted})
    auditing._audits.clear()
    signed = await asyncio.gather(*(auditing.sign_proof(1, draw) for _ in range(5)))
    assert len(set(signed)) == 1
    assert sorted(asked) == list(range(16))
    await auditing.sign_proof(1, draw)
    assert len(asked) == 16
