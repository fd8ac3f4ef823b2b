"""Store and read blobs: the whole path of a blob from a program to the committee and back.

Storing: encode → look for what is paid for already → reserve and register on chain → upload to every member → gather
confirmations → certify on chain.
Reading: metadata from any node, checked against the blob id → `p` primary slivers, each checked against its root →
decode, checked against the roots of its source rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import cast
from weakref import WeakValueDictionary

from committee.connections import open_session
from committee.errors import LedgerError
from committee.ledger import ClientLedger, Ledger
from committee.membership import Member
from storage.client.batching import Blobs, Data, in_batches
from storage.client.errors import NoCommittee, WrongBlob
from storage.client.link import Link
from storage.client.node_client import NodeClient
from storage.client.outages import Outages
from storage.client.purchase import Purchase, StoredBlob, found_again
from storage.client.purchases import Purchases
from storage.client.reading import Reading
from storage.client.storing import Storing, current_committee
from storage.client.waiting import Progress, no_progress
from storage.redstuff import BlobId, EncodedBlob, LargeBlob, RedStuff, RedStuffError, blob_id_text

KEPT_GRID_BYTES = 2**25
"""Slivers of a blob that have no more bytes together are all made at once, and kept until they are sent."""


class Client:
    """Stores and reads blobs through a ledger and the nodes it names.

    Use it as an async context manager, or `close` it. The ledger stays the caller's to close. A client that is closed
    raises `RuntimeError`.
    """

    def __init__(self, ledger: ClientLedger, *, allow_private: bool | None = None) -> None:
        """Nodes at IP addresses that are not public are connected to only if `allow_private`.

        When it is None, they are on a development chain, and on no other.
        """
        self._ledger = ledger
        # How many connect is the link's affair.
        self._session = open_session(
            allow_private=ledger.is_development_chain if allow_private is None else allow_private, limit=0
        )
        # Of many links one direction is much slower than the other: neither is judged by what the other carries.
        self._uplink, self._downlink = Link(), Link()
        self._nodes: dict[tuple[int, str, Link], NodeClient] = {}
        """(node id, address, link) → the client."""
        self._stores: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._session.close()

    @property
    def ledger(self) -> Ledger:
        """The chain as the client sees it, and what pays for its blobs: the ledger that the client was made with.

        A program has it from `haulout.connect`, and so a whole one; the client itself needs a `ClientLedger` alone.
        """
        return cast(Ledger, self._ledger)

    def _require_open(self) -> None:
        """Raise `RuntimeError`, as aiohttp does of a session: nothing could be sent for what would be paid."""
        if self._session.closed:
            raise RuntimeError("this client is closed; make another one")

    def _receiver(self, member: Member) -> NodeClient:
        return self._node(member, self._uplink)

    def _source(self, member: Member) -> NodeClient:
        return self._node(member, self._downlink)

    def _node(self, member: Member, link: Link) -> NodeClient:
        key = (member.node_id, member.address, link)
        if key not in self._nodes:
            self._nodes[key] = NodeClient(self._session, member.name, member.address, link=link)
        return self._nodes[key]

    # storing

    async def store(
        self,
        data: Data,
        periods: int,
        deletable: bool = False,
        progress: Progress = no_progress,
        *,
        force: bool = False,
    ) -> StoredBlob:
        """Have a blob stored and certified for `periods` periods, the current one included; pay only what is lacking.

        An object of the account's that names the same blob is used: certified if it is only registered, extended if it
        ends too early. Another account's object serves if it is permanent, certified and lasts (`owner` names the
        account). With `force` a new object is registered and paid for.

        Raises `RedStuffError` when the blob is too large for the committee's shards and `LedgerError` when the chain
        refuses or is silent, before anything is paid for the blob; `TransactionUnknown` when it is not known whether
        the registration is on chain; afterwards `NotCertified` or `NotExtended`, which name the object and the cause.
        In each case a store of the same bytes pays nothing twice. A cancellation carries the same text as a note.
        """
        self._require_open()
        code, blob = await self._encoded(data, progress)
        async with self._only_store_of(blob.blob_id):
            return await self._purchase(code, blob, progress).store(periods, deletable, force)

    async def store_many(
        self,
        blobs: Blobs,
        periods: int,
        deletable: bool = False,
        progress: Progress = no_progress,
        *,
        force: bool = False,
    ) -> AsyncGenerator[StoredBlob | Exception, None]:
        """Store blobs, any number of them, much faster than one by one; yield what came of each, in their order.

        As `store` does, but together: up to 64 blobs in a registration, in a request to a node and in a certificate.
        What `store` raises for a blob is yielded in its place, and holds up no other one. Blobs are taken from the
        iterable, which may be an asynchronous one, as those before them are done: some 200 small ones, or some 100 MiB
        of them encoded, are in memory. The stages of `progress` are those of whichever batch moves.

        When the iteration is given up, or cancelled, what is under way is cancelled too: to store the same bytes again
        pays nothing twice.
        """
        self._require_open()
        code = RedStuff((await self._ledger.parameters()).n_shards)

        async def store(batch: Sequence[Data]) -> Sequence[StoredBlob | Exception]:
            return await self._store_batch(code, batch, periods, deletable, progress, force)

        async for stored in in_batches(blobs, lambda length: _kept_bytes(code, length), store):
            yield stored

    async def _store_batch(
        self,
        code: RedStuff,
        batch: Sequence[Data],
        periods: int,
        deletable: bool,
        progress: Progress,
        force: bool,
    ) -> list[StoredBlob | Exception]:
        """Store blobs together; of equal ones the first is stored, and the others find it."""
        encoded = await asyncio.to_thread(lambda: [_encoded_or_error(code, data) for data in batch])
        distinct = {one.blob_id: one for one in encoded if not isinstance(one, Exception)}
        results: Mapping[bytes, StoredBlob | Exception] = {}
        async with AsyncExitStack() as only_store:
            for blob_id in sorted(distinct):  # in one order: none waits for ever
                await only_store.enter_async_context(self._only_store_of(blob_id))
            storing = Storing(self._ledger, self._receiver, code, progress)
            purchases = Purchases(self._ledger, storing, list(distinct.values()), progress)
            try:
                results = await purchases.store(periods, deletable, force) if distinct else {}
            except (LedgerError, NoCommittee) as error:
                results = dict.fromkeys(distinct, error)
        told: list[StoredBlob | Exception] = []
        seen: set[bytes] = set()
        for one in encoded:
            if isinstance(one, Exception):
                told.append(one)
                continue
            stored = results[one.blob_id]
            is_again = one.blob_id in seen
            told.append(found_again(stored) if is_again and isinstance(stored, StoredBlob) else stored)
            seen.add(one.blob_id)
        return told

    async def certify(self, object_id: int, data: Data, progress: Progress = no_progress) -> StoredBlob:
        """Upload a blob that is registered already, and certify it; nothing is sent when it is certified already.

        Raises `WrongBlob` when `data` is not what was registered, or the object does not live any more, `NotCertified`
        when anything else fails.
        """
        self._require_open()
        record = await self._ledger.blob_object(object_id)
        code, blob = await self._encoded(data, progress)
        if record.deleted:
            raise WrongBlob(f"object {object_id} was deleted: register the blob anew")
        state, _ = await current_committee(self._ledger)
        if not record.is_registered(state.period):
            raise WrongBlob(
                f"object {object_id} lived until period {record.end_period} began: store the blob anew"
            )
        if blob.blob_id != record.blob_id:
            raise WrongBlob(
                f"object {object_id} was registered for blob {blob_id_text(record.blob_id)}; "
                f"this is {blob_id_text(blob.blob_id)}"
            )
        return await self._purchase(code, blob, progress).certify(record)

    def _purchase(self, code: RedStuff, blob: EncodedBlob | LargeBlob, progress: Progress) -> Purchase:
        storing = Storing(self._ledger, self._receiver, code, progress)
        return Purchase(self._ledger, storing, blob, progress)

    def _only_store_of(self, blob_id: bytes) -> asyncio.Lock:
        """The lock that stores of one blob take, so that the second finds what the first has paid for."""
        return self._stores.setdefault(blob_id, asyncio.Lock())

    async def _encoded(self, data: Data, progress: Progress) -> tuple[RedStuff, EncodedBlob | LargeBlob]:
        _, committee = await current_committee(self._ledger, progress)
        code = RedStuff(committee.n_shards)
        progress("encode", 0, 1)
        blob = await asyncio.to_thread(_encode, code, data)
        progress("encode", 1, 1)
        return code, blob

    # reading

    async def read(self, blob_id: bytes | str | int, progress: Progress = no_progress) -> bytearray:
        """The bytes of the blob with an id, which is given in any of its forms (`BlobId`).

        They are checked by the roots under the id (`storage.redstuff.decoding`). The caller may change them.

        While no member answers it waits for the machine's link, up to a minute, and goes on with what it has.
        Raises `InvalidEncoding` when it is no id; `UnknownBlob` when too many members do not know the id for it to be
        certified, `BlobUnavailable` naming the members that did not answer when none has the metadata or fewer than
        `p` of the `n` shards can be reached, `InconsistentBlob` when the writer encoded it wrongly, `InvalidBlob` when
        that has been proven on chain.
        """
        self._require_open()
        blob_id = BlobId(blob_id)
        state, committee = await current_committee(self._ledger, progress)
        code = RedStuff(committee.n_shards)
        sources = {node_id: self._source(member) for node_id, member in state.members().items()}
        reading = Reading(self._ledger, self._source, state, committee, blob_id, Outages(sources, progress))
        metadata = await reading.metadata()
        progress("metadata", 1, 1)
        decoding = code.decoding(metadata)
        await reading.slivers(code, metadata, decoding, lambda done: progress("download", done, code.p))
        data = await asyncio.to_thread(decoding.blob)
        progress("decode", 1, 1)
        return data


def _encode(code: RedStuff, data: Data) -> EncodedBlob | LargeBlob:
    """Encode a blob; the slivers of a large one are made while they are sent. Raises `TooLarge`."""
    is_large = code.grid_size(memoryview(data).nbytes) > KEPT_GRID_BYTES
    return code.encode_large(data) if is_large else code.encode(data)


def _encoded_or_error(code: RedStuff, data: Data) -> EncodedBlob | LargeBlob | Exception:
    """Return an encoded blob, or why there is none: it is too large, or no bytes."""
    try:
        return _encode(code, data)
    except Exception as error:
        return error


def _kept_bytes(code: RedStuff, length: int) -> int:
    """Return what a blob takes in memory beside its own bytes; 0 for one that is too large, which is not encoded."""
    try:
        grid_bytes = code.grid_size(length)
    except RedStuffError:
        return 0
    return grid_bytes if grid_bytes <= KEPT_GRID_BYTES else length + code.groups_size(length)
