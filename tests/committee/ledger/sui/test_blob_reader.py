"""Blob objects and terms, read over gRPC: as the transactions before have left them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from committee import bls, messages
from committee.errors import LedgerRefused
from committee.ledger.records import BlobRecord
from committee.ledger.sui.blob_reader import BlobReader
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.objects import Objects, address_text
from committee.ledger.sui.package import Package
from committee.ledger.sui.state import State
from committee.messages import Intent
from committee.terms import Terms
from localnet.sui_double.chain import CLOCK_ID
from tests.committee.ledger.sui.registered import newest
from tests.contracts.sui.committees import secret
from tests.contracts.sui.epoch_network import EpochNetwork, read, u32
from tests.contracts.sui.network import written
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import text, u64

pytestmark = needs_framework

N_NODES = 4
LENGTH = 100
OTHER = bytes([0xAB]) * 32
ANEW = u64(2**64 - 1)
"""Register also what is registered already."""


class Market(EpochNetwork):
    """A network in its first epoch, whose deployer stores blobs."""

    def __init__(self) -> None:
        super().__init__(10, N_NODES)
        self.blobs_id = written(self.creation, "Blobs").id
        self.select()
        self.start()

    def store(self, root: bytes, periods: int = 2, *, deletable: bool = False) -> BlobRecord:
        """Register a blob; return its record."""
        draft = self.deployer.draft()
        blobs, (system, clock) = draft.object(self.blobs_id), read(draft, self.system.id, CLOCK_ID)
        purse = draft.object(self.purse)
        space = draft.call(self.package, "blobs::reserve", blobs, system, u64(8), u32(periods), purse, clock)
        known = (root, u64(LENGTH), bytes([deletable]), ANEW, purse, clock)
        draft.call(self.package, "blobs::register", blobs, system, space, *known)
        effects = self.deployer.succeed(draft)
        (told,) = (event for event in effects.events if event.type.name == "BlobRegistered")
        fields = self.chain.codec.decode(told.type, told.contents)
        return BlobRecord(
            object_id=int.from_bytes(written(effects, "Blob").id, "big"),
            blob_id=fields[2].to_bytes(32, "little"),
            length=LENGTH,
            owner=address_text(self.deployer.address),
            registered_epoch=1,
            certified_epoch=None,
            end_period=1 + periods,
            deletable=deletable,
        )

    def certificate(self, intent: Intent, body: bytes) -> tuple[bytes, bytes, bytes]:
        """Return epoch, bitmap and signature of a certificate by all members, as arguments."""
        message = messages.encode(intent, 1, body, self.domain)
        signature = bls.aggregate([secret(place).sign(message) for place in range(N_NODES)])
        return u32(1), text(bytes([2**N_NODES - 1])), text(signature)

    def certify(self, record: BlobRecord) -> None:
        draft = self.deployer.draft()
        blob = draft.object(record.object_id.to_bytes(32, "big"))
        body = messages.blob_body(record.blob_id, record.object_id if record.deletable else None)
        system, clock = read(draft, self.system.id, CLOCK_ID)
        signed = self.certificate(Intent.BLOB, body)
        draft.call(self.package, "blob::certify", blob, system, *signed, clock)
        self.deployer.succeed(draft)

    def invalidate(self, record: BlobRecord) -> None:
        draft = self.deployer.draft()
        signed = self.certificate(Intent.INVALID_BLOB, record.blob_id)
        system, (clock,) = draft.object(self.system.id), read(draft, CLOCK_ID)
        draft.call(self.package, "blob::invalidate", system, record.blob_id, *signed, clock)
        self.deployer.succeed(draft)

    def give(self, record: BlobRecord, account: bytes) -> None:
        draft = self.deployer.draft()
        blobs, (system,) = draft.object(self.blobs_id), read(draft, self.system.id)
        blob = draft.object(record.object_id.to_bytes(32, "big"))
        draft.call(self.package, "blobs::transfer", blobs, system, blob, account)
        self.deployer.succeed(draft)

    def delete(self, record: BlobRecord) -> None:
        draft = self.deployer.draft()
        blobs, (system,) = draft.object(self.blobs_id), read(draft, self.system.id)
        blob = draft.object(record.object_id.to_bytes(32, "big"))
        space = draft.call(self.package, "blobs::delete", blobs, system, blob)
        draft.transfer(self.deployer.address, space)
        self.deployer.succeed(draft)


@pytest.fixture(scope="module")
def network() -> Market:
    return Market()


@pytest.fixture
async def reader(
    network: Market, rpc: SuiRpc, deployment: SuiDeployment, package: Package
) -> AsyncIterator[BlobReader]:
    objects = Objects(rpc)
    yield BlobReader(objects, State(objects, deployment, package), deployment, package)


async def test_terms_are_those_of_the_creation(network: Market, reader: BlobReader) -> None:
    assert await reader.terms() == (Terms(5, 2, 100 << 20), newest(network))


async def test_objects_are_as_their_owners_and_nodes_left_them(
    network: Market, reader: BlobReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.sui.blob_reader.PAGE", 2)
    records = [network.store(bytes([number]) * 31 + b"\0", deletable=number % 2 == 1) for number in range(5)]
    for certified in (records[0], records[1], records[4]):
        network.certify(certified)
    network.give(records[2], OTHER)
    network.invalidate(records[4])
    network.delete(records[3])
    expected = [
        replace(records[0], certified_epoch=1),
        replace(records[1], certified_epoch=1),
        replace(records[2], owner=address_text(OTHER)),
        replace(records[4], certified_epoch=1, invalid=True),
    ]
    told: list[BlobRecord] = []
    cursor, pages, at = 0, 0, newest(network)
    while pages == 0 or cursor:
        page, cursor, mark = await reader.live_page(cursor, at)
        assert mark == at
        told, pages = told + page, pages + 1
    assert told == expected
    assert pages == 3
    assert [await reader.blob_object(record.object_id) for record in expected] == expected
    for unknown in (records[3].object_id, 7, int.from_bytes(network.system.id, "big")):
        with pytest.raises(LedgerRefused, match="UnknownObject"):
            await reader.blob_object(unknown)


async def test_object_that_has_ended_is_on_no_page(network: Market, reader: BlobReader) -> None:
    ending = network.store(bytes([99]) * 31 + b"\0", periods=1)
    page, cursor, _ = await reader.live_page(0)
    assert ending in page
    assert cursor == 0
    network.now_s += 1000
    network.select()
    network.now_s += 50
    network.start()
    page, _, _ = await reader.live_page(0)
    assert page
    assert ending not in page
    assert await reader.blob_object(ending.object_id) == ending
