"""The sending half of the EVM adapter: every transaction that Haulout's contracts take."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from committee import bls
from committee.certificate import Certificate
from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm import decode, machine_lock
from committee.ledger.evm.permits import Permit
from committee.ledger.evm.reader import Contract, Reader
from committee.ledger.evm.sender import Receipt, Sender
from committee.ledger.interface import DryRun
from committee.ledger.records import Attestation, PlannedTransaction, SentTransaction, Transaction

ENCODING_TYPE = 1
"""RedStuff, Walrus' RS2."""
PAYMENTS_PER_PERMIT = 64
"""A payment that finds its allowance used up permits this many of its amount."""
PERMIT_LIFE_S = 3600
"""Chain time for which a permit counts; longer than any transaction is waited for."""
PERMITS = 3
"""The most permits for one payment: another process of the account may use up the nonce, or the allowance, first."""
PAYER_LIMIT_S = 300.0
"""For another process to pay for the same blob: it may wait for earlier transactions, and for its own."""
ANEW = (1 << 256) - 1
"""In place of the objects that an account knows of: no newer one keeps it from paying."""
CERTIFY_GAS = 300_000
"""A little more than a certificate of any committee takes (`make bench-gas`: at most 270 000)."""


class Writer:
    """Encodes calls and sends them. With `dry_run`, every method raises `DryRun` instead of sending."""

    def __init__(self, reader: Reader, sender: Sender | None, dry_run: bool) -> None:
        self._reader = reader
        self._sender = sender
        self._dry_run = dry_run
        self._planned: list[PlannedTransaction] = []
        self._spending = asyncio.Lock()

    # tokens

    async def mint(self, account: str, amount: int) -> Transaction:
        """As `Ledger.mint`."""
        return (await self._send(self._reader.token, "mint", account, amount)).transaction

    async def approve(self, amount: int) -> Transaction:
        """As `Ledger.approve`."""
        return (
            await self._send(self._reader.token, "approve", self._reader.blobs.address, amount)
        ).transaction

    async def fund(self, account: str, amount_wei: int) -> Transaction:
        """As `Ledger.fund`."""
        if self._dry_run:
            raise DryRun([await self._sending().plan("transfer of ether", account, b"", amount_wei)])
        return (await self._sending().send("transfer of ether", account, b"", amount_wei)).transaction

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
        """As `Ledger.register_node`."""
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
        """As `Ledger.update_address`."""
        return await self._registry_call("updateNetworkAddress", node_id, address, tls_key)

    async def change_public_key(
        self, node_id: int, public_key: bytes, proof_of_possession: bytes
    ) -> Transaction:
        """As `Ledger.change_public_key`."""
        key, proof = bls.g1_to_eip2537(public_key), bls.g2_to_eip2537(proof_of_possession)
        return await self._registry_call("changePublicKey", node_id, key, proof)

    async def change_commission(self, node_id: int, commission: int) -> Transaction:
        """As `Ledger.change_commission`."""
        return await self._registry_call("changeCommission", node_id, commission)

    async def change_operator(self, node_id: int, operator: str) -> Transaction:
        """As `Ledger.change_operator`."""
        return await self._registry_call("changeOperator", node_id, operator)

    async def resign(self) -> tuple[int, Transaction]:
        """As `Ledger.resign`."""
        registry = self._reader.registry
        receipt = await self._send(registry, "resignOperator")
        return int(self._told(receipt, registry, "OperatorChanged", "nodeId")), receipt.transaction

    async def offer_node(self, node_id: int, account: str | None) -> Transaction:
        """As `Ledger.offer_node`."""
        return await self._registry_call("offerNode", node_id, account or decode.NO_ACCOUNT)

    async def accept_node(self, node_id: int) -> Transaction:
        """As `Ledger.accept_node`."""
        return await self._registry_call("acceptNode", node_id)

    async def change_receiver(self, node_id: int, receiver: str) -> Transaction:
        """As `Ledger.change_receiver`."""
        return await self._registry_call("changeReceiver", node_id, receiver)

    async def leave(self, node_id: int | None = None) -> Transaction:
        """As `Ledger.leave`."""
        return await self._registry_call("leaveCandidates", node_id or await self._operated())

    async def become_candidate(self, node_id: int | None = None) -> Transaction:
        """As `Ledger.become_candidate`."""
        return await self._registry_call("becomeCandidate", node_id or await self._operated())

    # epochs

    async def select(self) -> Transaction:
        """As `Ledger.select`."""
        return (await self._send(self._reader.committee, "select")).transaction

    async def replace(self) -> Transaction:
        """As `Ledger.replace`."""
        return (await self._send(self._reader.committee, "replace")).transaction

    async def start(self) -> Transaction:
        """As `Ledger.start`."""
        return (await self._send(self._reader.committee, "start")).transaction

    async def attest(self, epoch: int, attestations: Sequence[Attestation]) -> Transaction:
        """As `Ledger.attest`."""
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
        """As `Ledger.close_handover`."""
        return (await self._send(self._reader.committee, "close")).transaction

    async def eject(
        self, node_id: int, reason: int, deadline_s: int, certificate: Certificate
    ) -> Transaction:
        """As `Ledger.eject`."""
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

    async def settle(self) -> None:
        """As `Ledger.settle`."""
        if not self._dry_run:
            await self._sending().settle()

    @asynccontextmanager
    async def only_payer(self, root: bytes) -> AsyncIterator[None]:
        """As `Ledger.only_payer`."""
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
        """As `Ledger.register_blob`."""
        blobs = self._reader.blobs
        most = max_cost if max_cost is not None else await self._cost("quote", length, periods)
        known = ANEW if known_up_to is None else known_up_to
        call = (root, length, ENCODING_TYPE, periods, deletable, known, most)
        receipt = await self._spend(blobs, "reserveAndRegister", *call, spare_gas=CERTIFY_GAS)
        return int(self._told(receipt, blobs, "BlobRegistered", "objectId")), receipt.transaction

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        """As `Ledger.certify_blob`."""
        signature = bls.g2_to_eip2537(certificate.signature)
        receipt = await self._send(
            self._reader.blobs, "certify", object_id, certificate.epoch, certificate.bitmap, signature
        )
        return receipt.transaction

    async def certify_blobs(self, certificates: Mapping[int, Certificate]) -> list[Transaction]:
        """As `Ledger.certify_blobs`."""
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
        """As `Ledger.refund_blob`."""
        return (await self._send(self._reader.blobs, "refundBlob", object_id)).transaction

    async def delete_blob(self, object_id: int) -> Transaction:
        """As `Ledger.delete_blob`."""
        return (await self._send(self._reader.blobs, "remove", object_id)).transaction

    async def invalidate_blob(self, blob_id: bytes, certificate: Certificate) -> Transaction:
        """As `Ledger.invalidate_blob`."""
        signature = bls.g2_to_eip2537(certificate.signature)
        number = decode.blob_number(blob_id)
        receipt = await self._send(
            self._reader.blobs, "invalidate", number, certificate.epoch, certificate.bitmap, signature
        )
        return receipt.transaction

    # how

    def _sending(self) -> Sender:
        if self._sender is None:
            raise LedgerError("this ledger has no account key: it can only read")
        return self._sender

    async def _operated(self) -> int:
        """The node that the account operates."""
        account = self._sending().account
        node_id = int(await self._reader.call(self._reader.registry, "nodeOf", account))
        if node_id == 0:
            raise LedgerError(f"account {account} operates no node: name one that it owns, or register one")
        return node_id

    async def _cost(self, view: str, *arguments: int) -> int:
        """What a payment costs now; 0 for one that the contract will refuse with an error of its own."""
        try:
            told = await self._reader.call(self._reader.blobs, view, *arguments)
        except LedgerRefused:
            return 0
        return int(told[1] if view == "quote" else told)

    async def _registry_call(self, function: str, *arguments: Any) -> Transaction:
        return (await self._send(self._reader.registry, function, *arguments)).transaction

    async def _stake_call(self, function: str, *arguments: Any) -> Transaction:
        return (await self._send(self._reader.staking, function, *arguments)).transaction

    async def _spend(
        self,
        contract: Contract,
        function: str,
        *arguments: Any,
        spare_gas: int = 0,
        payments: int = PAYMENTS_PER_PERMIT,
    ) -> Receipt:
        """Call a contract that takes tokens for it; if it must, with a permit for `payments` in the same transaction.

        With `spare_gas` nothing is sent unless the account can pay that much gas afterwards.
        """
        try:
            return await self._send(contract, function, *arguments, spare_gas=spare_gas)
        except LedgerRefused as refused:
            refusal = refused
        call, action = contract.abi.encode_call(function, *arguments), f"{contract.abi.name}.{function}"
        async with self._spending:
            for _ in range(PERMITS):
                calls = [await self._permit(contract, payments, refusal), call]
                try:
                    return await self._send(contract, "multicall", calls, spare_gas=spare_gas, action=action)
                except LedgerRefused as refused:
                    refusal = refused
        raise refusal

    async def _permit(self, spender: Contract, payments: int, refusal: LedgerRefused) -> bytes:
        """A call of the spender that permits it some payments like the one refused for want of an allowance.

        Raises the refusal where it was for anything else or the token has no permits, and one for want of tokens.
        """
        needed = await self._needed(refusal)
        token, sender = self._reader.token, self._sending()
        try:
            nonce = int(await self._reader.call(token, "nonces", sender.account))
        except LedgerRefused:
            raise refusal from None
        permit = Permit(
            chain_id=self._reader.chain_id,
            token=token.address,
            spender=spender.address,
            value=needed * payments,
            nonce=nonce,
            deadline_s=(await self._reader.block("latest")).timestamp_s + PERMIT_LIFE_S,
        )
        signature = sender.sign_permit(permit)
        return spender.abi.encode_call("permit", permit.value, permit.deadline_s, *signature)

    async def _approve(self, spender: Contract, refusal: LedgerRefused) -> None:
        """Approve a payment like the one that was refused for want of an allowance.

        Raises the refusal where it was for anything else, and one for want of tokens: nothing that is going to be
        refused all the same leaves an allowance.
        """
        needed = await self._needed(refusal)
        token, action = self._reader.token, "HauloutToken.approve"
        data = token.abi.encode_call("approve", spender.address, needed)
        if self._dry_run:
            self._planned.append(await self._sending().plan(action, token.address, data))
        else:
            await self._sending().send(action, token.address, data)

    async def _needed(self, refusal: LedgerRefused) -> int:
        """The amount of a payment that was refused for want of an allowance; as `_permit` says."""
        if refusal.reason != "ERC20InsufficientAllowance":
            raise refusal
        needed, account = int(str(refusal.arguments["needed"])), self._sending().account
        balance = int(await self._reader.call(self._reader.token, "balanceOf", account))
        if balance < needed:
            lacking = {"sender": account, "balance": balance, "needed": needed}
            raise LedgerRefused(refusal.action, "ERC20InsufficientBalance", lacking)
        return needed

    async def _send(
        self,
        contract: Contract,
        function: str,
        *arguments: Any,
        spare_gas: int = 0,
        action: str | None = None,
    ) -> Receipt:
        """Send a call; `action` names it where it is another's cover."""
        data, action = (
            contract.abi.encode_call(function, *arguments),
            action or f"{contract.abi.name}.{function}",
        )
        if not self._dry_run:
            return await self._sending().send(action, contract.address, data, spare_gas=spare_gas)
        before, self._planned = self._planned, []
        planned = await self._sending().plan(action, contract.address, data, after_others=bool(before))
        raise DryRun([*before, planned])

    def _told(self, receipt: Receipt, contract: Contract, event: str, argument: str) -> Any:
        """An argument of the event that a contract emitted in a transaction."""
        address = bytes.fromhex(contract.address[2:])
        for raw in receipt.logs:
            if raw.address == address:
                log = contract.abi.decode_log(raw.topics, raw.data)
                if log is not None and log.name == event:
                    return log.arguments[argument]
        raise LedgerUnavailable(f"transaction 0x{receipt.transaction.hash.hex()} tells no {event}")
