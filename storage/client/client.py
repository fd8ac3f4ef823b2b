"""Store and read blobs: the whole path of a blob from a program to the committee and back.

Storing: encode → reserve and register on chain → upload to every member → gather confirmations → certify on chain.
Reading: metadata from any node, checked against the blob id → `p` primary slivers, each checked against its root →
decode, checked against the id.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from committee.ledger import Ledger
from committee.membership import Member
from storage.client.connections import open_session
from storage.client.errors import WrongBlob
from storage.client.node_client import NodeClient
from storage.client.reading import Reading
from storage.client.settling import Progress
from storage.client.storing import StoredBlob, Storing, current_committee
from storage.redstuff import Axis, EncodedBlob, RedStuff, blob_id_text


def _no_progress(stage: str, done: int, total: int) -> None:
    pass


class Client:
    """Stores and reads blobs through a ledger and the nodes it names.

    Use it as an async context manager, or `close` it. The ledger stays the caller's to close.
    """

    def __init__(self, ledger: Ledger, *, allow_private: bool | None = None) -> None:
        """Nodes at IP addresses that are not public are connected to only if `allow_private`.

        When it is None, they are on a development chain, and on no other.
        """
        self._ledger = ledger
        self._session = open_session(
            allow_private=ledger.is_development_chain if allow_private is None else allow_private
        )
        self._nodes: dict[tuple[str, str], NodeClient] = {}

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._session.close()

    def _node(self, member: Member) -> NodeClient:
        key = (member.name, member.address)
        if key not in self._nodes:
            self._nodes[key] = NodeClient(self._session, member.name, member.address)
        return self._nodes[key]

    # storing

    async def store(
        self, data: bytes, epochs: int, deletable: bool = False, progress: Progress = _no_progress
    ) -> StoredBlob:
        """Store a blob for `epochs` epochs, the current one included, and certify it.

        Raises `RedStuffError` when the blob is too large for the committee's shards, `LedgerError` when the chain
        refuses, `NotEnoughConfirmations` naming the members that failed. A blob that was registered and not certified
        can be stored again.
        """
        code, blob = await self._encoded(data, progress)
        object_id, registered = await self._ledger.register_blob(
            blob.metadata.root, len(data), epochs, deletable
        )
        progress("register", 1, 1)
        storing = Storing(self._ledger, self._node, code, blob, progress)
        stored = await storing.certify(object_id, deletable, registered.block.number)
        return replace(stored, register_gas=registered.gas_used)

    async def certify(self, object_id: int, data: bytes, progress: Progress = _no_progress) -> StoredBlob:
        """Upload a blob that is registered already, and certify it.

        Raises as `store` does, and `WrongBlob` when `data` is not what was registered.
        """
        record = await self._ledger.blob_object(object_id)
        code, blob = await self._encoded(data, progress)
        if blob.blob_id != record.blob_id:
            raise WrongBlob(
                f"object {object_id} was registered for blob {blob_id_text(record.blob_id)}; "
                f"this is {blob_id_text(blob.blob_id)}"
            )
        storing = Storing(self._ledger, self._node, code, blob, progress)
        return await storing.certify(object_id, record.deletable)

    async def _encoded(self, data: bytes, progress: Progress) -> tuple[RedStuff, EncodedBlob]:
        _, committee = await current_committee(self._ledger)
        code = RedStuff(committee.n_shards)
        progress("encode", 0, 1)
        blob = await asyncio.to_thread(code.encode, data)
        progress("encode", 1, 1)
        return code, blob

    # reading

    async def read(self, blob_id: bytes, progress: Progress = _no_progress) -> bytes:
        """The blob's bytes, checked against its id.

        Raises `UnknownBlob` when so many do not know the id that it cannot be certified, `BlobUnavailable` naming who
        did not answer when nobody has the metadata or fewer than `p` of the `n` shards can be reached,
        `InconsistentBlob` when the writer encoded it wrongly, `InvalidBlob` when that has been proven on chain.
        """
        state, committee = await current_committee(self._ledger)
        code = RedStuff(committee.n_shards)
        reading = Reading(self._ledger, self._node, state, committee, blob_id)
        metadata = await reading.metadata()
        progress("metadata", 1, 1)
        slivers = await reading.slivers(code, metadata, lambda done: progress("download", done, code.p))
        data = await asyncio.to_thread(code.decode, metadata, Axis.PRIMARY, slivers)
        progress("decode", 1, 1)
        return data
