"""`Ledger` over Haulout's Solidity contracts (`contracts/evm`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from committee.errors import (
    LedgerError,
    LedgerRefused,
    LedgerReorganised,
)
from committee.ledger.events import Event, Stretch
from committee.ledger.evm import answers, blob_search, decode, past
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.deployment import Deployment
from committee.ledger.evm.many_calls import call_many
from committee.ledger.evm.open_demands import OpenDemands
from committee.ledger.evm.proofs import ProofsWriter
from committee.ledger.evm.reader import Reader
from committee.ledger.evm.refusals import Lacking
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.sender import Sender
from committee.ledger.evm.settled import SettledHead
from committee.ledger.evm.space import SpaceWriter
from committee.ledger.evm.stake_search import stakes_of
from committee.ledger.evm.together import both
from committee.ledger.evm.voting import VotingWriter
from committee.ledger.proofs import Demand, Held
from committee.ledger.providers import Providers
from committee.ledger.records import (
    Absence,
    BlobObjects,
    BlobRecord,
    BlockMark,
    Candidate,
    EpochState,
    Parameters,
    Quote,
    RegisteredNode,
    StakePosition,
)
from committee.membership import Committee, Member


class EvmLedger(SpaceWriter, VotingWriter, ProofsWriter):
    """One deployment seen from one account. Made by `connect`; an async context manager."""

    def __init__(
        self,
        rpc: Rpc,
        deployment: Deployment,
        key: AccountKey | None,
        confirmations: int | None,
        dry_run: bool,
    ) -> None:
        self.deployment = deployment
        self._rpc = rpc
        reader = Reader(rpc, deployment)
        self._settled = SettledHead(rpc, reader, deployment, confirmations)
        sender = Sender(rpc, key, deployment.chain_id, reader.errors) if key else None
        super().__init__(reader, sender, dry_run)
        self._demands = OpenDemands(rpc, reader)

    @classmethod
    def open(
        cls,
        providers: Providers,
        manifest: Deployment,
        key: AccountKey | None = None,
        confirmations: int | None = None,
        *,
        dry_run: bool = False,
    ) -> EvmLedger:
        """Return the ledger of a deployment, without asking the chain anything yet; without a key, for reading only.

        `providers` are endpoints in order of preference, a list or URLs separated by commas. A block is settled when
        `confirmations` blocks follow it; when None, by the deployment's tag (`finalized`, but on a local chain).
        With `dry_run` every sending method raises `DryRun` with what it would have sent.
        """
        return cls(Rpc(providers, manifest.chain_id), manifest, key, confirmations, dry_run)

    @classmethod
    async def connect(
        cls,
        providers: Providers,
        manifest: Deployment,
        key: AccountKey | None = None,
        confirmations: int | None = None,
        *,
        dry_run: bool = False,
    ) -> EvmLedger:
        """Return a ledger of the deployment, as `open` does, once it has checked that the contracts are there.

        Raises `LedgerError` when every endpoint serves another chain or the contracts are not there.
        """
        ledger = cls.open(providers, manifest, key, confirmations, dry_run=dry_run)
        try:
            await ledger.parameters()
        except BaseException:
            await ledger.close()
            raise
        return ledger

    @property
    def domain(self) -> bytes:
        """The 32 bytes that bind signatures to this deployment; known without asking the chain."""
        return self.deployment.domain

    @property
    def account(self) -> str | None:
        """The address that sends; None for a reader."""
        return self._sender.account if self._sender else None

    @property
    def is_development_chain(self) -> bool:
        """Whether the chain has the id of development chains (31337)."""
        return self.deployment.is_development_chain

    @property
    def is_confirmed(self) -> bool:
        """Whether irreversible acts may rest on what was told: another endpoint of the chain, if any, told the same."""
        return self._reader.witnesses.is_confirmed

    def reading_anew(self) -> AbstractContextManager[None]:
        """Return a context in which all state is read anew; if it ends well, nothing that was told before matters."""
        return self._reader.witnesses.reading_anew()

    async def close(self) -> None:
        """Give back connections. Idempotent."""
        if self._sender is not None:
            self._sender.close()
        await self._rpc.close()

    async def __aenter__(self) -> EvmLedger:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # reading

    async def parameters(self) -> Parameters:
        """Return what the deployment goes by now. Raises `LedgerError` when it is not the manifest's."""
        committee = self._reader.committee

        def read_domain(domain: bytes) -> bytes:
            if domain != self.domain:
                raise Lacking(
                    LedgerError(f"the contract at {committee.address} has another domain than the manifest")
                )
            return domain

        n_shards, domain, changeable = await asyncio.gather(
            self._reader.call(committee, "nShards", read=decode.n_shards),
            self._reader.call(committee, "domain", read=read_domain),
            self._reader.call(committee, "parameters"),
        )
        duration_s, deadline_s, patience_s, grace_s, notice_s, shrink_s, band_millis = changeable
        return Parameters(
            n_shards,
            duration_s,
            deadline_s,
            patience_s,
            band_millis,
            domain,
            certificate_grace_s=grace_s,
            notice_s=notice_s,
            shrink_s=shrink_s,
        )

    async def head(self) -> BlockMark:
        """Return the newest block that can no longer be reorganised for the adapter's setting.

        Where several endpoints are given, it is compared with a second one's (`settled`).
        """
        return await self._settled.head()

    async def newest(self) -> BlockMark:
        """Return the newest block, which may be reorganised still."""
        return (await self._reader.block("latest")).mark

    async def chain_time_s(self) -> int:
        """Return the timestamp of the newest block."""
        return (await self._reader.block("latest")).timestamp_s

    async def chain_times_s(self) -> tuple[int, ...]:
        """Return the timestamp of the newest block, as every endpoint tells it that answers in time; one at least."""
        if len(self._rpc.endpoints) > 1:
            told = await self._rpc.opinions("eth_getBlockByNumber", "latest", False, read=answers.block)
            if told:
                return tuple(block.timestamp_s for _, block in told)
        return (await self.chain_time_s(),)

    async def block_time_s(self, number: int, *, is_followed: bool = False) -> int:
        """Return the timestamp of a block, by its number."""
        block = await self._reader.block(number)
        if is_followed:
            asked = "eth_getBlockByNumber", (hex(number), False), answers.block
            await self._reader.witnesses.confirm_state(f"the header of block {number}", *asked, block)
        return block.timestamp_s

    async def epoch_state(self, at: BlockMark | None = None, *, is_followed: bool = False) -> EpochState:
        """Return the committees and the phase at a block (the head when None)."""
        block = at or await self.head()
        return await self._rpc.agreeing(lambda: self._epoch_state(block, is_followed))

    async def _epoch_state(self, block: BlockMark, is_followed: bool) -> EpochState:
        committee = self._reader.committee
        state, committees = await both(
            self._reader.call(committee, "state", at=block, is_confirmed=is_followed),
            self._reader.call(committee, "committees", at=block, is_confirmed=is_followed),
        )
        n_shards = decode.n_shards(state["nShards"])
        started_block: BlockMark | None = None
        unattested: dict[int, Member] = {}
        if state["epoch"] > 0:
            started_block = (await self._reader.block(state["startedAtBlock"])).mark
            unattested = await past.unattested(self._reader, state["epoch"] - 1, n_shards, block, is_followed)
            if (await self._reader.block(block.number)).mark != block:
                raise LedgerReorganised(f"block {block.number} was replaced while it was read")
        return decode.epoch_state(block, state, committees, n_shards, started_block, unattested)

    async def nodes(self) -> list[RegisteredNode]:
        """Return all registered nodes, by node id."""
        block = (await self._reader.block("latest")).mark
        return await self._reader.pages(self._reader.registry, "nodes", block, decode.registered_node)

    async def node(self, node_id: int) -> RegisteredNode:
        """Return one node, in the newest block."""
        return await self._node(node_id, (await self._reader.block("latest")).mark)

    async def node_of(self, account: str) -> RegisteredNode | None:
        """Return the node that an account operates, in the newest block; None when it operates none.

        Both that and what the node is are compared with what other endpoints tell.
        """
        block = (await self._reader.block("latest")).mark
        registry = self._reader.registry
        node_id = int(await self._reader.call(registry, "nodeOf", account, at=block, is_compared=True))
        return None if node_id == 0 else await self._node(node_id, block, account)

    async def _node(self, node_id: int, at: BlockMark, operator: str | None = None) -> RegisteredNode:
        """Return a node at a block; one with another id, or another operator than is told, is an endpoint's fault."""

        def read(view: dict[str, Any]) -> RegisteredNode:
            shown = decode.registered_node(view)
            if shown.node_id != node_id or (operator and operator.lower() != shown.operator.lower()):
                raise answers.Unreadable(
                    f"node {shown.node_id} of {shown.operator} instead of node {node_id}"
                )
            return shown

        registered: RegisteredNode = await self._reader.call(
            self._reader.registry, "node", node_id, at=at, read=read, is_compared=operator is not None
        )
        return registered

    async def absence(self, node_id: int) -> Absence:
        """Return why a node that does not stand for election does not: what ended its newest candidacy.

        Searches the logs back from the newest block to where the node stood last.
        """
        first_block = self.deployment.block
        return await self._rpc.agreeing(lambda: past.absence(self._rpc, self._reader, node_id, first_block))

    async def candidates(self) -> list[Candidate]:
        """Return the nodes that stand for the next selection, in candidate order."""
        return list(await self._reader.call(self._reader.registry, "candidates", read=decode.candidates))

    async def live_page(
        self, cursor: int, at: BlockMark, *, is_followed: bool = False
    ) -> tuple[list[BlobRecord], int]:
        """Return a page of the blob objects neither deleted nor expired at a block, and the next page's cursor."""
        return await self._reader.live_page(cursor, at, is_confirmed=is_followed)

    async def lost_objects(self, object_ids: Sequence[int], at: BlockMark) -> list[BlobRecord]:
        """Return the objects as they were at a block, of those that existed then and have been deleted since."""
        first_block = self.deployment.block
        return await self._rpc.agreeing(lambda: past.lost_objects(self._reader, object_ids, at, first_block))

    async def blob_object(self, object_id: int) -> BlobRecord:
        """Return one blob object. Raises `LedgerRefused`, which tells the newest block and its age, for none."""
        try:
            record: BlobRecord = await self._reader.call(
                self._reader.blobs, "blob", object_id, read=decode.blob_record
            )
        except LedgerRefused as refused:
            raise await self._told_as_of(refused) from None
        return record

    async def _told_as_of(self, refused: LedgerRefused) -> LedgerRefused:
        """Return the refusal with the endpoint's newest block: an object may have been registered in a later one."""
        if refused.reason != "UnknownObject":
            return refused
        newest = await self._reader.block("latest")
        age_s = max(0, round(time.time() - newest.timestamp_s))
        as_of = f"block {newest.mark.number}, the endpoint's newest, which is {age_s} s old"
        return LedgerRefused(refused.action, refused.reason, refused.arguments, as_of)

    async def blob_objects(self, root: bytes, length: int) -> BlobObjects:
        """Return the blob's objects neither deleted nor expired in the newest block that the endpoint tells."""
        return (await self.objects_of_blobs([(root, length)]))[0]

    async def objects_of_blobs(self, blobs: Sequence[tuple[bytes, int]]) -> list[BlobObjects]:
        """Return what `blob_objects` does of each of several blobs, given by root and length, in one block."""
        # An endpoint behind the account's own newest transaction would not know the object that it registered.
        has_block = self._sender.mined_block if self._sender else -1
        return await blob_search.objects_of(self._reader, blobs, has_block)

    async def attested_shards(self) -> frozenset[int]:
        """Return the shards attested in the current epoch."""
        return frozenset(await self._reader.call(self._reader.committee, "attestedShards"))

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        """Return the events of the blocks first..last (inclusive), in chain order; empty when last < first."""
        return await self._reader.events(first_block, last_block)

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        """Return the blocks behind `after`, up to `until` or some way towards it; as `Ledger.stretch`."""
        return await self._reader.stretch(after, until)

    async def balance(self, account: str) -> int:
        """Stake tokens of an account."""
        return int(await self._reader.call(self._reader.token, "balanceOf", account))

    async def missing_shards(
        self, epoch: int, at: BlockMark | None = None, *, is_followed: bool = False
    ) -> frozenset[int]:
        """Return the shards neither kept nor attested at the end of an epoch, or up to now (or to the block `at`)."""
        return await past.missing_shards(self._reader, epoch, at, is_followed)

    async def stakes(self, account: str) -> list[StakePosition]:
        """Return what an account has staked and is unstaking, by node id; nodes where it has nothing are left out."""
        return await stakes_of(self._rpc, self._reader, account)

    async def members_of(self, period: int) -> frozenset[int]:
        """Return the nodes with which a period began that has begun; the members of its other epochs are among them."""
        committee = self._reader.committee
        epoch = await self._reader.call(committee, "firstEpochOf", period)
        told = await self._reader.call(committee, "committeeOf", epoch)
        return frozenset(member["nodeId"] for member in told["members"])

    async def committee_of(self, epoch: int) -> Committee | None:
        """Return the committee of an epoch that has begun, however long ago; None for another."""
        n_shards = (await self.parameters()).n_shards
        view = await self._reader.call(self._reader.committee, "committeeOf", epoch)
        return decode.committee(view, n_shards)

    async def owner_of(self, epoch: int, shard: int) -> int:
        """Return the node that has a shard in an epoch that has begun or whose committee is selected."""
        return int(await self._reader.call(self._reader.committee, "ownerOf", epoch, shard))

    async def unpaid(self, period: int, node_ids: Sequence[int]) -> tuple[int, ...]:
        """Return those of the nodes that are not paid for a period that is over, in the newest block."""
        told = await self._reader.call(self._reader.blobs, "unpaid", period, list(node_ids))
        return tuple(node_id for node_id in node_ids if node_id in told)

    async def owed(self, period: int, node_id: int) -> int:
        """Return what a node earned in a period that is over and is still to be paid."""
        return int(await self._reader.call(self._reader.blobs, "owed", period, node_id))

    async def earnings(self, account: str) -> int:
        """Return the commissions that an account has not withdrawn yet."""
        return int(await self._reader.call(self._reader.staking, "earningsOf", account))

    async def held_since(self, shards: Sequence[int]) -> dict[int, Held]:
        """Return since when their owners have had shards of the current epoch, in the newest block."""
        block = (await self._reader.block("latest")).mark
        calls = [("heldSince", (shard,)) for shard in shards]
        told = await call_many(self._rpc, self._reader, self._reader.committee, calls, block)
        return {
            shard: Held(since_s, root if is_attested else None)
            for shard, (since_s, is_attested, root) in zip(shards, told, strict=True)
        }

    async def demands(self, node_id: int) -> tuple[Demand, ...]:
        """Return the open demands of a member in the current epoch, in the newest block, by their deadlines."""
        return await self._demands.of(node_id, self._sender.mined_block if self._sender else -1)

    async def quote(self, length: int, periods: int) -> Quote:
        """Return what a blob of `length` bytes takes and costs for `periods` periods."""
        return Quote(*await self._reader.call(self._reader.blobs, "quote", length, periods))
