"""Store and read blobs: the whole path of a blob from a program to the committee and back.

Storing: encode → reserve and register on chain → upload to every member → gather confirmations → certify on chain.
Reading: metadata from any node, checked against the blob id → `p` primary slivers, each checked against its root →
decode, checked against the id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import aiohttp

from committee import bls, messages
from committee.certificate import Certificate, Confirmation, build
from committee.errors import InvalidMessage, LedgerRefused
from committee.ledger import EpochState, Ledger
from committee.membership import Committee, Member
from storage.client.errors import NoCommittee, NodeError, NodeLied, NotEnoughConfirmations, WrongBlob
from storage.client.node_client import NodeClient
from storage.client.reading import Reading
from storage.redstuff import Axis, EncodedBlob, RedStuff, blob_id_text

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); stages: encode, register, upload, certify; metadata, download, decode."""

UPLOADS_AT_ONCE = 8
"""Requests under way at once to one node while storing."""

CONFIRMATION_TRIES = 20
"""How often a member is asked that still confirms for the epoch before."""
BEHIND_S = 0.25
"""Between two of these."""
TOO_LATE = "WrongEpoch"
"""The contract's error for a certificate of an epoch that is over, its handover done."""


@dataclass(frozen=True)
class StoredBlob:
    """A blob the chain has certified."""

    blob_id: bytes
    object_id: int
    size_bytes: int
    certified_epoch: int
    register_gas: int
    """0 when it had been registered before."""
    certify_gas: int


def _is_of_earlier_epoch(signed: bytes, epoch: int) -> bool:
    """Whether this is a message that was right before the epoch started; bytes that are none never were."""
    try:
        return messages.decode(signed).epoch < epoch
    except InvalidMessage:
        return False


def _no_progress(stage: str, done: int, total: int) -> None:
    pass


class Client:
    """Stores and reads blobs through a ledger and the nodes it names.

    Use it as an async context manager, or `close` it. The ledger stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._session = aiohttp.ClientSession()
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
        stored = await self._certify(code, blob, object_id, deletable, progress)
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
        return await self._certify(code, blob, object_id, record.deletable, progress)

    async def _encoded(self, data: bytes, progress: Progress) -> tuple[RedStuff, EncodedBlob]:
        _, committee = await self._current()
        code = RedStuff(committee.n_shards)
        progress("encode", 0, 1)
        blob = await asyncio.to_thread(code.encode, data)
        progress("encode", 1, 1)
        return code, blob

    async def _certify(
        self, code: RedStuff, blob: EncodedBlob, object_id: int, deletable: bool, progress: Progress
    ) -> StoredBlob:
        """Also when the certificate comes too late: the epoch changed, and its handover is done already."""
        while True:
            certificate = await self._certificate(code, blob, object_id if deletable else None, progress)
            try:
                certified = await self._ledger.certify_blob(object_id, certificate)
                break
            except LedgerRefused as refused:
                if refused.reason != TOO_LATE:
                    raise
                _, now = await self._current()
                if now.epoch <= certificate.epoch:
                    raise
        progress("certify", 1, 1)
        return StoredBlob(
            blob_id=blob.blob_id,
            object_id=object_id,
            size_bytes=blob.length,
            certified_epoch=certificate.epoch,
            register_gas=0,
            certify_gas=certified.gas_used,
        )

    async def _certificate(
        self, code: RedStuff, blob: EncodedBlob, object_id: int | None, progress: Progress
    ) -> Certificate:
        """Upload to the current committee and gather its certificate; once more if the epoch changed meanwhile."""
        body = messages.blob_body(blob.blob_id, object_id)
        domain = (await self._ledger.parameters()).domain
        _, committee = await self._current()
        while True:
            message = messages.encode(messages.Intent.BLOB, committee.epoch, body, domain)
            try:
                confirmations = await self._upload(committee, code, blob, message, object_id, progress)
                return await asyncio.to_thread(build, committee, message, confirmations)
            except NotEnoughConfirmations:
                _, now = await self._current()
                if now.epoch == committee.epoch:
                    raise
                committee = now

    async def _upload(
        self,
        committee: Committee,
        code: RedStuff,
        blob: EncodedBlob,
        message: bytes,
        object_id: int | None,
        progress: Progress,
    ) -> list[Confirmation]:
        """Give every member its pairs; return the confirmations, at least a quorum of them, all of which hold.

        Once a quorum has confirmed, the others get as long again as the quorum took, and are then left to repair
        their slivers themselves.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks = {
            asyncio.create_task(self._upload_to(member, code, blob, message, object_id)): member
            for member in committee.members
        }
        confirmations: list[Confirmation] = []
        failures: dict[str, str] = {}
        weight = 0
        deadline: float | None = None
        pending = set(tasks)
        try:
            while pending:
                left = None if deadline is None else max(0.0, deadline - loop.time())
                done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                for task in done:
                    member = tasks[task]
                    try:
                        confirmations.append(task.result())
                        weight += member.weight
                        progress("upload", weight, committee.n_shards)
                    except NodeError as error:
                        failures[member.name] = error.why
                if deadline is None and committee.is_quorum(weight):
                    deadline = loop.time() + max(1.0, loop.time() - began)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if not committee.is_quorum(weight):
            raise NotEnoughConfirmations(committee.quorum, committee.n_shards, weight, failures)
        return confirmations

    async def _upload_to(
        self, member: Member, code: RedStuff, blob: EncodedBlob, message: bytes, object_id: int | None
    ) -> Confirmation:
        """Upload a member's pairs and return its confirmation, whose message and signature hold. Raises `NodeError`."""
        node = self._node(member)
        await node.put_metadata(blob.metadata)
        at_once = asyncio.Semaphore(UPLOADS_AT_ONCE)

        async def put(pair: int, axis: Axis) -> None:
            async with at_once:
                await node.put_sliver(
                    blob.metadata, pair, axis, blob.sliver(axis, code.sliver_of_pair(pair, axis))
                )

        pairs = [code.pair_of_shard(blob.blob_id, shard) for shard in member.shards]
        try:
            async with asyncio.TaskGroup() as group:
                for pair in pairs:
                    for axis in Axis:
                        group.create_task(put(pair, axis))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        epoch = messages.decode(message).epoch
        for _ in range(CONFIRMATION_TRIES):
            signed, signature = await node.confirmation(blob.blob_id, object_id)
            if signed == message:
                if not await asyncio.to_thread(bls.verify, member.public_key, message, signature):
                    raise NodeLied(member.name, member.address, "its signature does not hold")
                return Confirmation(member.node_id, signature)
            if not _is_of_earlier_epoch(signed, epoch):
                raise NodeLied(
                    member.name,
                    member.address,
                    f"confirmed another message than this blob's of epoch {epoch}",
                )
            await asyncio.sleep(BEHIND_S)  # it has not seen yet that the epoch started
        raise NodeLied(
            member.name,
            member.address,
            f"still confirms for epoch {messages.decode(signed).epoch}; it is behind epoch {epoch} of the chain",
        )

    # reading

    async def read(self, blob_id: bytes, progress: Progress = _no_progress) -> bytes:
        """The blob's bytes, checked against its id.

        Raises `UnknownBlob` when so many do not know the id that it cannot be certified, `BlobUnavailable` naming who
        did not answer when nobody has the metadata or fewer than `p` of the `n` shards can be reached,
        `InconsistentBlob` when the writer encoded it wrongly, `InvalidBlob` when that has been proven on chain.
        """
        state, committee = await self._current()
        code = RedStuff(committee.n_shards)
        reading = Reading(self._ledger, self._node, state, committee, blob_id)
        metadata = await reading.metadata()
        progress("metadata", 1, 1)
        slivers = await reading.slivers(code, metadata, lambda done: progress("download", done, code.p))
        data = await asyncio.to_thread(code.decode, metadata, Axis.PRIMARY, slivers)
        progress("decode", 1, 1)
        return data

    async def _current(self) -> tuple[EpochState, Committee]:
        state = await self._ledger.epoch_state()
        if state.current is None:
            raise NoCommittee("epoch 0: no committee has been started yet; select and start an epoch first")
        return state, state.current
