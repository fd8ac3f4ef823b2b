"""Store one encoded blob: upload its sliver pairs to the committee, gather confirmations, certify on chain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from committee import bls, messages
from committee.certificate import Certificate, Confirmation, build
from committee.errors import InvalidMessage, LedgerNotSettled, LedgerRefused
from committee.ledger import EpochState, Ledger
from committee.membership import Committee, Member
from storage.client.errors import (
    NoCommittee,
    NodeError,
    NodeFailure,
    NodeLied,
    NodeRefused,
    NotEnoughConfirmations,
)
from storage.client.link import SMALL_BYTES
from storage.client.node_client import NodeClient
from storage.client.outages import Outages
from storage.client.settling import Settling, until_chain_settles
from storage.client.waiting import Progress, no_progress
from storage.redstuff import Axis, EncodedBlob, LargeBlob, RedStuff

UPLOADS_AT_ONCE = 8
"""Concurrent requests to each node while a blob is stored."""

LATE_S = 30.0
"""How long nodes are waited for that take in a block later than others: two blocks of a slow chain."""
TOO_LATE = "WrongEpoch"
"""The contract's error for a certificate of an epoch that is over, its handover done."""
ALREADY_CERTIFIED = "AlreadyCertified"
"""The contract's error for a certificate of an object that has one."""


async def current_committee(ledger: Ledger, progress: Progress = no_progress) -> tuple[EpochState, Committee]:
    """Return the settled state of the epoch and its committee. Raises `NoCommittee` before the first epoch.

    A first epoch that has started in a block which is not settled yet is waited for.
    """
    try:
        state = await ledger.epoch_state()
        if state.current is not None:
            return state, state.current
    except LedgerNotSettled:
        pass
    newest = await ledger.newest()
    state = await ledger.epoch_state(newest)
    if state.current is None:
        raise NoCommittee("epoch 0: no committee has been started yet; select and start an epoch first")
    await until_chain_settles(ledger, newest.number, progress)
    return state, state.current


class Storing:
    """The members of the current committee as the receivers of one encoded blob."""

    def __init__(
        self,
        ledger: Ledger,
        node: Callable[[Member], NodeClient],
        code: RedStuff,
        blob: EncodedBlob | LargeBlob,
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._node = node
        self._code = code
        self._blob = blob
        self._progress = progress
        self._is_resumed = False
        """Whether nodes may have some of the slivers from an earlier upload."""

    async def certify(
        self, object_id: int, deletable: bool, registered_block: int | None = None
    ) -> tuple[int, int]:
        """Upload the blob and certify the object: (the certificate's epoch, gas used).

        Nodes that have not taken in the block of its registration are waited for: `registered_block`. Without it the
        object was registered by an earlier try: nodes are waited for up to the newest block, and are sent only slivers
        that they do not have from that try. Gathers a new certificate if the epoch ended meanwhile. No gas is used when
        the object turns out to be certified already, by another process or an earlier try.

        Raises `NotEnoughConfirmations` naming the members that failed, `LedgerError` when the chain refuses.
        """
        self._is_resumed = registered_block is None
        block = (await self._ledger.newest()).number if registered_block is None else registered_block
        while True:
            certificate = await self._certificate(object_id if deletable else None, block)
            try:
                certified = await self._ledger.certify_blob(object_id, certificate)
                return certificate.epoch, certified.gas_used
            except LedgerRefused as refused:
                if refused.reason == ALREADY_CERTIFIED:
                    return int(str(refused.arguments["epoch"])), 0
                if refused.reason != TOO_LATE:
                    raise
                _, now = await current_committee(self._ledger)
                if now.epoch <= certificate.epoch:
                    raise
                self._is_resumed = True

    async def _certificate(self, object_id: int | None, block: int) -> Certificate:
        """Upload to the current committee and gather its certificate; try again if the epoch changed meanwhile."""
        body = messages.blob_body(self._blob.blob_id, object_id)
        domain = (await self._ledger.parameters()).domain
        state, committee = await current_committee(self._ledger)
        while True:
            message = messages.encode(messages.Intent.BLOB, committee.epoch, body, domain)
            outages = Outages({one.node_id: self._node(one) for one in committee.members}, self._progress)
            settling = Settling(max(block, state.block.number), self._ledger, self._progress, outages)
            try:
                confirmations = await self._upload(committee, message, object_id, settling)
                return await asyncio.to_thread(build, committee, message, confirmations)
            except NotEnoughConfirmations:
                state, now = await current_committee(self._ledger)
                if now.epoch == committee.epoch:
                    raise
                committee, self._is_resumed = now, True

    async def _upload(
        self, committee: Committee, message: bytes, object_id: int | None, settling: Settling
    ) -> list[Confirmation]:
        """Give every member its pairs; return the confirmations, at least a quorum of them, all of which hold.

        Once a quorum has confirmed, the others get as long again as the quorum took, though no more than LATE_S beyond
        the time for the upload itself, and are then left to repair their slivers themselves.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks = {
            asyncio.create_task(self._upload_to(member, message, object_id, settling)): member
            for member in committee.members
        }
        confirmations: list[Confirmation] = []
        failures: dict[int, NodeFailure] = {}
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
                        self._progress("upload", weight, committee.n_shards)
                    except NodeError as error:
                        failures[member.node_id] = NodeFailure(member.name, error.why)
                if deadline is None and committee.is_quorum(weight):
                    now = loop.time()
                    uploading_s = now - settling.ready_at if settling.ready_at is not None else 0.0
                    deadline = now + max(1.0, min(now - began, uploading_s + LATE_S))
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if not committee.is_quorum(weight):
            raise NotEnoughConfirmations(committee.quorum, committee.n_shards, weight, failures)
        return confirmations

    async def _upload_to(
        self, member: Member, message: bytes, object_id: int | None, settling: Settling
    ) -> Confirmation:
        """Upload a member's pairs and return its confirmation, whose message and signature hold. Raises `NodeError`."""
        node, code, blob = self._node(member), self._code, self._blob

        async def has(ask: Callable[[], Awaitable[bool]]) -> bool:
            """Return what the node answers; what it does not tell it may lack."""
            try:
                return await settling.patiently(node, ask)
            except (NodeRefused, NodeLied):
                return False

        may_have = self._is_resumed and await has(lambda: node.has_metadata(blob.blob_id))
        await settling.patiently(node, lambda: node.put_metadata(blob.metadata, settling.block))
        settling.note_ready()
        at_once = asyncio.Semaphore(UPLOADS_AT_ONCE)

        async def put(pair: int, axis: Axis) -> None:
            async with at_once:
                sliver = blob.sliver(axis, code.sliver_of_pair(pair, axis))
                is_large = len(sliver) > SMALL_BYTES  # to ask for a small one costs as much as to send it
                if may_have and is_large and await has(lambda: node.has_sliver(blob.blob_id, pair, axis)):
                    return
                tries = count(may_have)
                await settling.patiently(
                    node,
                    lambda: node.put_sliver(blob.metadata, pair, axis, sliver, is_begun=next(tries) > 0),
                )

        pairs = [code.pair_of_shard(blob.blob_id, shard) for shard in member.shards]
        try:
            async with asyncio.TaskGroup() as group:
                for pair in pairs:
                    for axis in Axis:
                        group.create_task(put(pair, axis))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        signed, signature = await self._confirmation(node, member, message, object_id, settling)
        if signed != message:
            epoch = messages.decode(message).epoch
            raise NodeLied(
                *(member.name, member.address), f"confirmed another message than this blob's of epoch {epoch}"
            )
        if not await asyncio.to_thread(bls.verify, member.public_key, message, signature):
            raise NodeLied(member.name, member.address, "its signature does not hold")
        return Confirmation(member.node_id, signature)

    async def _confirmation(
        self, node: NodeClient, member: Member, message: bytes, object_id: int | None, settling: Settling
    ) -> tuple[bytes, bytes]:
        """Return the member's confirmation; one that has not seen yet that the epoch started is waited for."""
        epoch = messages.decode(message).epoch

        async def confirmed() -> tuple[bytes, bytes]:
            return await settling.patiently(
                node, lambda: node.confirmation(self._blob.blob_id, object_id, settling.block)
            )

        signed, signature = await confirmed()
        if _is_of_earlier_epoch(signed, epoch):
            behind = NodeLied(
                *(member.name, member.address),
                f"still confirms for epoch {messages.decode(signed).epoch}; it is behind epoch {epoch} of the chain",
            )
            await settling.until_settled(node, behind)
            signed, signature = await confirmed()
            if _is_of_earlier_epoch(signed, epoch):
                raise behind
        return signed, signature


def _is_of_earlier_epoch(signed: bytes, epoch: int) -> bool:
    """Whether the bytes are a message of an epoch before `epoch`; False for bytes that are no message."""
    try:
        return messages.decode(signed).epoch < epoch
    except InvalidMessage:
        return False
