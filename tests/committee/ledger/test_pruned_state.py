"""Beginning to follow in the middle of an epoch, past endpoints that keep the state of the newest blocks only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from committee import messages
from committee.errors import LedgerUnavailable
from committee.ledger import BlockMark
from committee.messages import Intent
from tests.committee.ledger.following import (
    LENGTH,
    STAKES,
    blob_id_of,
    certify,
    content,
    fresh,
    register,
    settled_ledger,
)
from tests.live_objects import live_objects
from tests.storage.node.chain.kept import live_at_start

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, SpoiltConnection

STATES_KEPT = 4


def prune(spoilt: SpoiltConnection, network: Network) -> None:
    """As an ordinary node of the chain answers: without state that is older than the newest few blocks."""

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_call" or not isinstance(parameters[1], dict):
            return None
        asked = await network.chain.request("eth_getBlockByHash", parameters[1]["blockHash"], False)
        newest = await network.chain.request("eth_blockNumber")
        if int(newest, 16) - int(asked["number"], 16) < STATES_KEPT:
            return None
        message = f"missing trie node 00 (path ) state {asked['stateRoot']} is not available"
        return web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": message}})

    spoilt.rules.append(rule)


class Blobs:
    """Blob objects of the operator's, by what becomes of them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.made = 0

    async def registered(self, *, deletable: bool = False, periods: int = 20) -> tuple[bytes, int]:
        self.made += 1
        root = self.made.to_bytes(32, "big")
        object_id, _ = await self.network.operator.register_blob(root, LENGTH, periods, deletable)
        return blob_id_of(root), object_id

    async def certified(self, *, deletable: bool = False, periods: int = 20) -> tuple[bytes, int]:
        blob_id, object_id = await self.registered(deletable=deletable, periods=periods)
        await self.certify(blob_id, object_id, deletable=deletable)
        return blob_id, object_id

    async def certify(self, blob_id: bytes, object_id: int, *, deletable: bool = False) -> None:
        state = await self.network.operator.epoch_state()
        body = messages.blob_body(blob_id, object_id if deletable else None)
        certificate = self.network.sign(state, Intent.BLOB, body)
        await self.network.operator.certify_blob(object_id, certificate)

    async def invalidate(self, blob_id: bytes) -> None:
        state = await self.network.operator.epoch_state()
        certificate = self.network.sign(state, Intent.INVALID_BLOB, blob_id)
        await self.network.operator.invalidate_blob(blob_id, certificate)


async def busy_epoch(network: Network) -> set[bytes]:
    """Everything that can become of a blob object before and after an epoch's start; who was live at it."""
    blobs, operator = Blobs(network), network.operator
    await network.begin_epoch()
    (kept, _), (spoilt, _) = await blobs.certified(), await blobs.certified()
    (extended, number), (ended, _) = await blobs.certified(periods=2), await blobs.certified(periods=1)
    (gone, gone_number), (gone_extended, other_number) = [
        await blobs.certified(deletable=True, periods=periods) for periods in (20, 1)
    ]
    await operator.extend_blob(other_number, 3)
    _, deleted_before = await blobs.certified(deletable=True)
    await operator.delete_blob(deleted_before)
    invalid_before, invalid_number = await blobs.certified(deletable=True)
    await blobs.invalidate(invalid_before)
    late, uncertified = await blobs.registered(), await blobs.registered(deletable=True)

    await network.hand_over(await network.begin_epoch())
    await blobs.certify(*late)
    await blobs.certified()
    await operator.extend_blob(number, 5)
    await blobs.invalidate(spoilt)
    for one in (gone_number, other_number, invalid_number, uncertified[1]):
        await operator.delete_blob(one)
    for certified in (False, True):
        new = await (blobs.certified if certified else blobs.registered)(deletable=True)
        await operator.delete_blob(new[1])
    assert ended
    assert spoilt, "nobody attests to it: it was found invalid since"
    return {kept, extended, gone, gone_extended}


@pytest.mark.parametrize("at_once", [1, 50], ids=["object by object", "together"])
async def test_what_was_live_at_the_start_is_told_as_by_an_archive(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("committee.ledger.evm.past.KEYS_AT_ONCE", at_once)
    network = await launch(STAKES)
    live = await busy_epoch(network)
    prune(spoilt, network)
    archive = await fresh(await settled_ledger(network, confirmations=0))
    view = await fresh(await settled_ledger(network, spoilt.url, 0))
    assert set(live_at_start(view)) == live
    assert content(view) == content(archive)


async def test_a_block_that_was_replaced_is_no_state_that_was_pruned(launch: Launch) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, confirmations=0)
    await certify(network, *await register(network, 1))
    old = await ledger.head()
    with pytest.raises(LedgerUnavailable, match="was reorganised or whose state is pruned"):
        await live_objects(ledger, BlockMark(old.number - 1, bytes(32)))
    with pytest.raises(LedgerUnavailable, match="was reorganised or whose state is pruned"):
        await live_objects(ledger, BlockMark(old.number, bytes(32)))


async def test_an_object_whose_history_an_endpoint_forgets_is_an_outage(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch(STAKES)
    await busy_epoch(network)
    prune(spoilt, network)
    ledger = await settled_ledger(network, spoilt.url, 0)

    async def forget(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_getLogs" or "topics" not in parameters[0]:
            return None
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": []})

    spoilt.rules.append(forget)
    with pytest.raises(LedgerUnavailable, match="no logs tell of the registration"):
        await fresh(ledger)
