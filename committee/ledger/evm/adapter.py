"""`Ledger` over Haulout's Solidity contracts (`contracts/evm`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from eth_typing import BlockNumber

from committee import bls
from committee.certificate import Certificate
from committee.errors import LedgerError, LedgerRefused, LedgerReorganised, LedgerUnavailable
from committee.ledger.evm import decode
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.deploy import Deployment
from committee.ledger.evm.reader import Contract, Reader
from committee.ledger.evm.rpc import Rpc, both
from committee.ledger.evm.sender import Receipt, Sender
from committee.ledger.interface import (
    Attestation,
    BlobRecord,
    BlockMark,
    Candidate,
    EpochState,
    Event,
    Parameters,
    RegisteredNode,
    Stretch,
    Transaction,
)

ENCODING_TYPE = 1
"""RedStuff, Walrus' RS2."""
WRITES_PER_APPROVAL = 64
"""When a write finds its allowance used up, so many writes of its price are approved at once."""


class EvmLedger:
    """One deployment seen from one account. Made by `connect`; an async context manager."""

    def __init__(
        self, rpc: Rpc, deployment: Deployment, key: AccountKey | None, confirmations: int | None = None
    ) -> None:
        self.deployment = deployment
        self._confirmations = confirmations
        self._rpc = rpc
        self._reader = Reader(rpc, deployment)
        self._sender = Sender(rpc, key, deployment.chain_id, self._reader.errors) if key else None
        self._parameters: Parameters | None = None
        self._spending = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        urls: str | Sequence[str],
        manifest: Deployment,
        key: AccountKey | None = None,
        confirmations: int | None = None,
    ) -> EvmLedger:
        """Connect to a deployment and check that it is there; without a key, for reading only.

        `urls` are endpoints in order of preference, a list or separated by commas. A block is settled when
        `confirmations` blocks follow it; when None, by the deployment's tag (`finalized`, but on a local chain).

        Raises `LedgerError` when every endpoint serves another chain or the contracts are not there.
        """
        rpc = Rpc(urls, manifest.chain_id)
        try:
            ledger = cls(rpc, manifest, key, confirmations)
            if (await ledger.parameters()).domain != manifest.domain:
                raise LedgerError(
                    f"the contract at {manifest.committee} has another domain than the manifest"
                )
        except BaseException:
            await rpc.close()
            raise
        return ledger

    @property
    def account(self) -> str | None:
        """The address that sends; None for a reader."""
        return self._sender.account if self._sender else None

    async def close(self) -> None:
        """Give back connections. Idempotent."""
        await self._rpc.close()

    async def __aenter__(self) -> EvmLedger:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # reading

    async def parameters(self) -> Parameters:
        """What the contracts were deployed with; read once."""
        if self._parameters is None:
            names = ("nShards", "epochDuration", "handoverDeadline", "patience", "bandMillis", "domain")
            values = [await self._reader.call(self._reader.committee, name) for name in names]
            self._parameters = Parameters(*values)
        return self._parameters

    async def head(self) -> BlockMark:
        """The newest block that the deployment's setting takes for settled."""
        if self._confirmations is None:
            mark, _ = await self._reader.block(self.deployment.finality)
            return mark
        mark, _ = await self._reader.block("latest")
        if self._confirmations:
            mark, _ = await self._reader.block(BlockNumber(max(mark.number - self._confirmations, 0)))
        return mark

    async def chain_time_s(self) -> int:
        """Timestamp of the newest block."""
        _, timestamp = await self._reader.block("latest")
        return timestamp

    async def epoch_state(self, at: BlockMark | None = None) -> EpochState:
        """Committees and phase at a block (the head when None)."""
        parameters, block = await self.parameters(), at or await self.head()
        committee = self._reader.committee
        state, committees = await both(
            self._reader.call(committee, "state", at=block),
            self._reader.call(committee, "committees", at=block),
        )
        started_block = None
        if state["epoch"] > 0:
            started_block, _ = await self._reader.block(state["startedAtBlock"])
            if (await self._reader.block(BlockNumber(block.number)))[0] != block:
                raise LedgerReorganised(f"block {block.number} was replaced while it was read")
        return decode.epoch_state(block, state, committees, parameters.n_shards, started_block)

    async def nodes(self) -> list[RegisteredNode]:
        """All registered nodes, by node id."""
        block, _ = await self._reader.block("latest")
        views = await self._reader.pages(self._reader.staking, "nodes", block)
        return [decode.registered_node(view) for view in views]

    async def candidates(self) -> list[Candidate]:
        """Who stands for the next selection, in candidate order."""
        return decode.candidates(*await self._reader.call(self._reader.staking, "candidates"))

    async def blobs(self, at: BlockMark | None = None) -> list[BlobRecord]:
        """All blob objects at a block (the head when None), by object id."""
        views = await self._reader.pages(self._reader.blobs, "blobs", at or await self.head())
        return [decode.blob_record(view) for view in views]

    async def blob_object(self, object_id: int) -> BlobRecord:
        """One blob object. Raises `LedgerRefused` when there is none."""
        return decode.blob_record(await self._reader.call(self._reader.blobs, "blob", object_id))

    async def attested_shards(self) -> frozenset[int]:
        """Shards attested in the current epoch."""
        return frozenset(await self._reader.call(self._reader.committee, "attestedShards"))

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        """Events of the blocks first..last (inclusive), in chain order; empty when last < first."""
        return await self._reader.events(first_block, last_block)

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        """The blocks behind `after`, up to `until` or some way towards it; as `Ledger.stretch`."""
        return await self._reader.stretch(after, until)

    async def balance(self, account: str) -> int:
        """Stake tokens of an account."""
        return int(await self._reader.call(self._reader.token, "balanceOf", account))

    # sending: tokens, nodes and stake

    async def mint(self, account: str, amount: int) -> Transaction:
        """Create stake tokens; only the account that deployed may."""
        return (await self._send(self._reader.token, "mint", account, amount)).transaction

    async def register_node(
        self, name: str, address: str, public_key: bytes, proof_of_possession: bytes
    ) -> tuple[int, Transaction]:
        """Register the sending account's node: (node id, transaction). Key (48) and proof (96) compressed."""
        receipt = await self._send(
            self._reader.staking,
            "registerNode",
            name,
            address,
            bls.g1_to_eip2537(public_key),
            bls.g2_to_eip2537(proof_of_possession),
        )
        return int(self._told(receipt, self._reader.staking, "NodeRegistered", "nodeId")), receipt.transaction

    async def stake(self, node_id: int, amount: int) -> Transaction:
        """Stake on a node; approves the token first where the allowance is too small."""
        token, staking = self._reader.token, self._reader.staking
        async with self._spending:
            allowance = await self._reader.call(token, "allowance", self._sending().account, staking.address)
            if allowance < amount:
                await self._send(token, "approve", staking.address, amount)
            return (await self._send(staking, "stake", node_id, amount)).transaction

    async def leave(self) -> Transaction:
        """Stand for no further selection."""
        return (await self._send(self._reader.staking, "leaveCandidates")).transaction

    async def become_candidate(self) -> Transaction:
        """Stand again, after leaving or an ejection."""
        return (await self._send(self._reader.staking, "becomeCandidate")).transaction

    # sending: epochs

    async def select(self) -> Transaction:
        """Elect the next committee; anyone may."""
        return (await self._send(self._reader.committee, "select")).transaction

    async def start(self) -> Transaction:
        """Start the selected epoch; anyone may."""
        return (await self._send(self._reader.committee, "start")).transaction

    async def attest(self, epoch: int, attestations: Sequence[Attestation]) -> Transaction:
        """Attest shards gained in `epoch`."""
        receipt = await self._send(
            self._reader.committee,
            "attest",
            epoch,
            [one.shard for one in attestations],
            [one.digest for one in attestations],
            [one.count for one in attestations],
        )
        return receipt.transaction

    async def close_handover(self) -> Transaction:
        """End a handover whose deadline has passed; anyone may."""
        return (await self._send(self._reader.committee, "close")).transaction

    async def eject(self, node_id: int, reason: int, certificate: Certificate) -> Transaction:
        """Post an ejection that a quorum of the current committee signed."""
        signature = bls.g2_to_eip2537(certificate.signature)
        receipt = await self._send(
            self._reader.committee, "eject", node_id, reason, certificate.bitmap, signature
        )
        return receipt.transaction

    # sending: blobs

    async def register_blob(
        self, root: bytes, length: int, epochs: int, deletable: bool = False
    ) -> tuple[int, Transaction]:
        """Reserve space for `epochs` epochs and register a blob: (object id, transaction).

        Pays from the account; approves the token when the allowance is used up, for several writes at once.
        """
        blobs = self._reader.blobs
        arguments = (root, length, ENCODING_TYPE, epochs, deletable)
        try:
            receipt = await self._send(blobs, "reserveAndRegister", *arguments)
        except LedgerRefused as refusal:
            if refusal.reason != "ERC20InsufficientAllowance":
                raise
            needed = int(str(refusal.arguments["needed"]))
            async with self._spending:
                await self._send(self._reader.token, "approve", blobs.address, needed * WRITES_PER_APPROVAL)
                receipt = await self._send(blobs, "reserveAndRegister", *arguments)
        return int(self._told(receipt, blobs, "BlobRegistered", "objectId")), receipt.transaction

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        """Post the certificate of availability."""
        signature = bls.g2_to_eip2537(certificate.signature)
        receipt = await self._send(
            self._reader.blobs, "certify", object_id, certificate.epoch, certificate.bitmap, signature
        )
        return receipt.transaction

    async def invalidate_blob(self, blob_id: bytes, certificate: Certificate) -> Transaction:
        """Post that the blob is encoded inconsistently, as members of whom one is correct signed."""
        number = int.from_bytes(blob_id, "little")
        signature = bls.g2_to_eip2537(certificate.signature)
        receipt = await self._send(
            self._reader.blobs, "invalidate", number, certificate.epoch, certificate.bitmap, signature
        )
        return receipt.transaction

    def _sending(self) -> Sender:
        if self._sender is None:
            raise LedgerError("this ledger has no account key: it can only read")
        return self._sender

    async def _send(self, contract: Contract, function: str, *arguments: Any) -> Receipt:
        data = contract.abi.encode_call(function, *arguments)
        return await self._sending().send(f"{contract.abi.name}.{function}", contract.address, data)

    def _told(self, receipt: Receipt, contract: Contract, event: str, argument: str) -> Any:
        """An argument of the event that a contract emitted in a transaction."""
        for raw in receipt.logs:
            if raw["address"].lower() == contract.address.lower():
                topics = [bytes.fromhex(topic[2:]) for topic in raw["topics"]]
                log = contract.abi.decode_log(topics, bytes.fromhex(raw["data"][2:]))
                if log is not None and log.name == event:
                    return log.arguments[argument]
        raise LedgerUnavailable(f"transaction 0x{receipt.transaction.hash.hex()} tells no {event}")
