"""The sending half of the EVM adapter: every transaction that Haulout's contracts take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from committee import bls
from committee.certificate import Certificate
from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger import machine_lock
from committee.ledger.events import BlobRegistered
from committee.ledger.evm import decode
from committee.ledger.evm.calls import Caller
from committee.ledger.evm.sender import Receipt
from committee.ledger.interface import DryRun
from committee.ledger.records import Attestation, BlobRecord, SentTransaction, Transaction

ENCODING_TYPE = 1
"""RedStuff, Walrus' RS2."""
PAYER_LIMIT_S = 300.0
"""Longest wait for another process that pays for the same blob: it may wait for other transactions first."""
ANEW = (1 << 256) - 1
"""Number of objects that an account is said to know of when no newer object is to keep it from paying."""
CERTIFY_GAS = 300_000
"""A little more than a certificate of any committee takes (`make bench-gas`: at most 270 000)."""
CERTIFY_ONE_MORE_GAS = 90_000
"""A little more than one more blob takes in a certificate of many."""
REGISTERING = "Blobs.reserveAndRegister"
"""The name by which transactions that register blobs are told."""


class Writer(Caller):
    """What is sent of tokens, nodes, epochs and blobs. With `dry_run`, it raises `DryRun` instead."""

    # tokens

    async def mint(self, account: str, amount: int) -> Transaction:
        """Create stake tokens for an account; only the token's owner may."""
        return (await self._send(self._reader.token, "mint", account, amount)).transaction

    async def approve(self, amount: int) -> Transaction:
        """Let the network take `amount` of the account's tokens for storage; else payments permit what they need."""
        return (
            await self._send(self._reader.token, "approve", self._reader.blobs.address, amount)
        ).transaction

    async def ether_wei(self, account: str) -> int:
        """Return what an account has to pay for transactions with, in wei."""
        return await self._sending().newest_balance_wei(account)

    async def fund(self, account: str, amount_wei: int) -> Transaction:
        """Send an account what it pays for transactions with, in the chain's smallest unit (wei)."""
        if self._dry_run:
            raise DryRun([await self._sending().plan("transfer of ether", account, b"", amount_wei)])
        return (await self._sending().send("transfer of ether", account, b"", amount_wei)).transaction

    async def cancel_waiting(self) -> list[Transaction]:
        """Replace the account's transactions that were sent and are not mined by such that do nothing."""
        if self._dry_run:
            raise DryRun([await self._sending().plan("cancelling", self._sending().account, b"")])
        return await self._sending().cancel_waiting()

    # nodes

    async def register_node(
        self,
        name: str,
        address: str,
        public_key: bytes,
        proof_of_possession: bytes,
        *,
        commission: int = 0,
        operator: str | None = None,
        receiver: str | None = None,
        tls_key: bytes = bytes(32),
    ) -> tuple[int, Transaction]:
        """Register a node of the sending account: (node id, transaction)."""
        account = self._sending().account
        registration = (
            name,
            address,
            tls_key,
            bls.g1_to_eip2537(public_key),
            bls.g2_to_eip2537(proof_of_possession),
            commission,
            operator or account,
            receiver or account,
        )
        registry = self._reader.registry
        receipt = await self._send(registry, "registerNode", registration)
        return int(self._told(receipt, registry, "NodeRegistered", "nodeId")), receipt.transaction

    async def update_address(self, node_id: int, address: str, tls_key: bytes = bytes(32)) -> Transaction:
        """Change where a node is reached, at once."""
        return await self._registry_call("updateNetworkAddress", node_id, address, tls_key)

    async def change_public_key(
        self, node_id: int, public_key: bytes, proof_of_possession: bytes
    ) -> Transaction:
        """Give a node another BLS key, from the next period on whose committee is not elected yet."""
        key, proof = bls.g1_to_eip2537(public_key), bls.g2_to_eip2537(proof_of_possession)
        return await self._registry_call("changePublicKey", node_id, key, proof)

    async def change_commission(self, node_id: int, commission: int) -> Transaction:
        """Change a node's commission, from the next period on whose committee is not elected yet."""
        return await self._registry_call("changeCommission", node_id, commission)

    async def change_operator(self, node_id: int, operator: str) -> Transaction:
        """Let another account operate a node."""
        return await self._registry_call("changeOperator", node_id, operator)

    async def resign(self) -> tuple[int, Transaction]:
        """Operate no node any more: (id of the one that the account operated, transaction); its owner still does."""
        registry = self._reader.registry
        receipt = await self._send(registry, "resignOperator")
        return int(self._told(receipt, registry, "OperatorChanged", "nodeId")), receipt.transaction

    async def offer_node(self, node_id: int, account: str | None) -> Transaction:
        """Offer a node of the sending account to another account; None withdraws the offer."""
        return await self._registry_call("offerNode", node_id, account or decode.NO_ACCOUNT)

    async def accept_node(self, node_id: int) -> Transaction:
        """Make the sending account the owner of a node that is offered to it; all else of the node stays as it is."""
        return await self._registry_call("acceptNode", node_id)

    async def change_receiver(self, node_id: int, receiver: str) -> Transaction:
        """Send a node's commission to another account."""
        return await self._registry_call("changeReceiver", node_id, receiver)

    async def leave(self, node_id: int | None = None) -> Transaction:
        """Stand for no further selection; the node that the account operates when None."""
        return await self._registry_call("leaveCandidates", node_id or await self._operated())

    async def become_candidate(self, node_id: int | None = None) -> Transaction:
        """Stand again, after leaving or an ejection; the node that the account operates when None."""
        return await self._registry_call("becomeCandidate", node_id or await self._operated())

    # epochs

    async def select(self) -> Transaction:
        """Elect the next committee; anyone may."""
        return (await self._send(self._reader.committee, "select")).transaction

    async def replace(self) -> Transaction:
        """Select the committee in office without its ejected members, for the rest of the period; anyone may."""
        return (await self._send(self._reader.committee, "replace")).transaction

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

    async def eject(
        self, node_id: int, reason: int, deadline_s: int, certificate: Certificate
    ) -> Transaction:
        """Post an ejection that a quorum of the current committee signed, before its deadline."""
        signature = bls.g2_to_eip2537(certificate.signature)
        receipt = await self._send(
            self._reader.committee, "eject", node_id, reason, deadline_s, certificate.bitmap, signature
        )
        return receipt.transaction

    # blobs

    @property
    def sent(self) -> tuple[SentTransaction, ...]:
        """The newest transactions that were handed over through this ledger, in order."""
        return self._sender.sent if self._sender else ()

    async def drain(self) -> None:
        """Wait until every earlier transaction of the account is mined or gone, but for those that a task awaits."""
        if not self._dry_run:
            await self._sending().drain()

    @asynccontextmanager
    async def only_payer(self, root: bytes) -> AsyncIterator[None]:
        """Keep the account's other processes on this machine from paying for a blob of this root, while inside."""
        account = self._sending().account
        name = f"{self._reader.chain_id}-{account.lower()}-{root.hex()}.lock"
        try:
            async with machine_lock.held(name, PAYER_LIMIT_S):
                yield
        except machine_lock.HeldTooLong as held:
            raise LedgerUnavailable(
                f"nothing was paid: another process pays for the same blob, and has held {held}; try again, or end it "
                "if it hangs"
            ) from None

    async def register_blob(
        self,
        root: bytes,
        length: int,
        periods: int,
        deletable: bool = False,
        *,
        known_up_to: int | None = None,
        max_cost: int | None = None,
    ) -> tuple[int, Transaction]:
        """Reserve space for `periods` periods and register a blob: (object id, transaction)."""
        blobs = self._reader.blobs
        most = max_cost if max_cost is not None else await self._cost("quote", length, periods)
        known = ANEW if known_up_to is None else known_up_to
        call = (root, length, ENCODING_TYPE, periods, deletable, known, most)
        receipt = await self._pay("reserveAndRegister", *call, cost=most, spare_gas=CERTIFY_GAS)
        return int(self._told(receipt, blobs, "BlobRegistered", "objectId")), receipt.transaction

    async def register_blobs(
        self,
        new: Sequence[tuple[bytes, int]],
        periods: int,
        deletable: bool = False,
        *,
        known_up_to: int | None = None,
    ) -> tuple[list[BlobRecord], Transaction]:
        """Register several blobs, each given by root and length, in one transaction: all or none."""
        blobs = self._reader.blobs
        known = ANEW if known_up_to is None else known_up_to
        costs = await self._quotes([length for _, length in new], periods)
        calls = [
            blobs.abi.encode_call(
                "reserveAndRegister", root, length, ENCODING_TYPE, periods, deletable, known, costs[length]
            )
            for root, length in new
        ]
        receipt = await self._spend(
            *(blobs, calls, REGISTERING, sum(costs[length] for _, length in new)),
            spare_gas=CERTIFY_GAS + (len(new) - 1) * CERTIFY_ONE_MORE_GAS,
            payments=1,
        )
        logs = self._logs(receipt, blobs, "BlobRegistered")
        events = [decode.event(log, receipt.transaction.block) for log in logs]
        records = [one.record for one in events if isinstance(one, BlobRegistered)]
        if [(one.length, one.deletable) for one in records] != [(length, deletable) for _, length in new]:
            told = "0x" + receipt.transaction.hash.hex()
            raise LedgerUnavailable(f"transaction {told} does not tell of the {len(new)} blobs it registers")
        return records, receipt.transaction

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        """Post the certificate of availability."""
        signature = bls.g2_to_eip2537(certificate.signature)
        receipt = await self._send(
            self._reader.blobs, "certify", object_id, certificate.epoch, certificate.bitmap, signature
        )
        return receipt.transaction

    async def certify_blobs(self, certificates: Mapping[int, Certificate]) -> list[Transaction]:
        """Post the certificates of several blob objects, in one transaction for all that have the same signers."""
        by_signers: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        for object_id, certificate in certificates.items():
            by_signers[certificate.epoch, certificate.bitmap].append(object_id)
        sent = []
        for (epoch, bitmap), object_ids in by_signers.items():
            signature = bls.aggregate([certificates[object_id].signature for object_id in object_ids])
            call = (object_ids, epoch, bitmap, bls.g2_to_eip2537(signature))
            sent.append((await self._send(self._reader.blobs, "certifyMany", *call)).transaction)
        return sent

    async def refund_blob(self, object_id: int) -> Transaction:
        """Get back, when epochs stand still for good, what was paid for a blob's periods behind the current one."""
        return (await self._send(self._reader.blobs, "refundBlob", object_id)).transaction

    async def delete_blob(self, object_id: int) -> Transaction:
        """Delete a deletable blob object of the account's; its space comes back as a reservation."""
        return (await self._send(self._reader.blobs, "remove", object_id)).transaction

    async def invalidate_blob(self, blob_id: bytes, certificate: Certificate) -> Transaction:
        """Post that a blob was encoded inconsistently, signed by members of whom one is correct; anyone may."""
        signature = bls.g2_to_eip2537(certificate.signature)
        number = decode.blob_number(blob_id)
        receipt = await self._send(
            self._reader.blobs, "invalidate", number, certificate.epoch, certificate.bitmap, signature
        )
        return receipt.transaction

    # how

    async def _operated(self) -> int:
        """Return the node that the account operates."""
        account = self._sending().account
        node_id = int(await self._reader.call(self._reader.registry, "nodeOf", account))
        if node_id == 0:
            raise LedgerError(f"account {account} operates no node: name one that it owns, or register one")
        return node_id

    async def _cost(self, view: str, *arguments: int) -> int:
        """Return what a payment costs now; 0 for one that the contract will refuse with an error of its own."""
        try:
            told = await self._reader.call(self._reader.blobs, view, *arguments)
        except LedgerRefused:
            return 0
        return int(told[1] if view == "quote" else told)

    async def _quotes(self, lengths: Sequence[int], periods: int) -> dict[int, int]:
        """Return what blobs of these lengths cost now; 0 for what the contract will refuse."""
        distinct = sorted(set(lengths))
        try:
            calls = [("quote", (length, periods)) for length in distinct]
            told = await self._reader.calls(self._reader.blobs, calls)
        except LedgerRefused:
            return {length: await self._cost("quote", length, periods) for length in distinct}
        return {length: int(cost) for length, (_, cost) in zip(distinct, told, strict=True)}

    async def _pay(self, function: str, *arguments: Any, cost: int, spare_gas: int = 0) -> Receipt:
        """Call the contract of blobs, which takes `cost` tokens at most for it."""
        blobs = self._reader.blobs
        call, action = blobs.abi.encode_call(function, *arguments), f"{blobs.abi.name}.{function}"
        return await self._spend(blobs, [call], action, cost, spare_gas=spare_gas)

    async def _registry_call(self, function: str, *arguments: Any) -> Transaction:
        return (await self._send(self._reader.registry, function, *arguments)).transaction

    async def _stake_call(self, function: str, *arguments: Any) -> Transaction:
        return (await self._send(self._reader.staking, function, *arguments)).transaction
