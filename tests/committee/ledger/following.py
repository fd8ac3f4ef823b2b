"""What tests of following a real chain have in common: blobs on it, readers of it, and what a view says."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

from committee import messages
from committee.errors import LedgerError
from committee.ledger.evm import EvmLedger
from committee.messages import Intent
from storage.node.chain import ChainView
from storage.node.chain.store import ChainStore
from tests.storage.node.chain.kept import live_at_start, objects_in

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Network

STAKES = (40, 30, 20, 10)
LENGTH = 5000
CONFIRMATIONS = 3


def blob_id_of(root: bytes) -> bytes:
    return hashlib.blake2b(b"\x01" + LENGTH.to_bytes(8, "little") + root, digest_size=32).digest()


async def register(network: Network, seed: int) -> tuple[bytes, int]:
    root = seed.to_bytes(32, "big")
    object_id, _ = await network.operator.register_blob(root, LENGTH, 20)
    return blob_id_of(root), object_id


async def certify(network: Network, blob_id: bytes, object_id: int) -> None:
    state = await network.operator.epoch_state()
    certificate = network.sign(state, Intent.BLOB, messages.blob_body(blob_id))
    await network.operator.certify_blob(object_id, certificate)


async def settled_ledger(
    network: Network, urls: str | None = None, confirmations: int = CONFIRMATIONS
) -> EvmLedger:
    """A reader for whom a block is settled when so many follow it."""
    connecting = EvmLedger.connect(
        urls or network.chain.rpc_url, network.deployment, confirmations=confirmations
    )
    return await network.connections.enter_async_context(await connecting)


async def fresh(ledger: EvmLedger, store: ChainStore | None = None) -> ChainView:
    view = ChainView(ledger, 1, store)
    await view.load()
    return view


def content(view: ChainView) -> tuple[Any, ...]:
    """What a view says. (Of a deleted object the chain knows no more.)"""
    state = view.state
    records = {one.record.object_id: one.record for one in objects_in(view._store)}
    at_start = live_at_start(view)
    ejected = {node_id for node_id in view._ejected if view.was_ejected(node_id, state.epoch)}
    return (
        {number: one for number, one in records.items() if one.is_registered(state.period)},
        {number for number, one in records.items() if one.deleted and one.blob_id in at_start},
        *(state.epoch, state.started_block, state.handover_done, state.previous, state.current, state.next),
        *(at_start, view.block, ejected),
    )


async def assert_as_fresh(view: ChainView, ledger: EvmLedger) -> None:
    assert content(view) == content(await fresh(ledger))


async def until_followed(view: ChainView) -> None:
    """Refresh until the endpoints have had their rest."""
    async with asyncio.timeout(20):
        while True:
            try:
                await view.refresh()
            except LedgerError:
                await asyncio.sleep(0.05)
            else:
                return
