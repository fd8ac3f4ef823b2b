"""Sends transactions of one account: each at most once, one after another, each to a known end.

An account's objects, its coins too, are used in one transaction after another. What is signed is on the disk before it
is sent (`signed`), and a transaction whose answer is lost is looked up by its digest before anything else is sent; then
it is sent again as it is, which Sui answers with the first effects. It is given up only when another transaction is
seen to have used a version of its objects, or when its last epoch is over and every endpoint says that it is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from committee.backoff import next_pause_s
from committee.errors import LedgerRefused, LedgerUnavailable, TransactionUnknown
from committee.ledger import machine_lock
from committee.ledger.records import Transaction
from committee.ledger.sui.connections import CallRefused
from committee.ledger.sui.digests import digest_text
from committee.ledger.sui.gas import Gassing, coins_for
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.keys import SuiKey
from committee.ledger.sui.methods import EXECUTE_TRANSACTION, GET_TRANSACTION, mask
from committee.ledger.sui.objects import Objects, address_text, read_address
from committee.ledger.sui.outcomes import OUTCOME_FIELDS, Outcome, outcome_of, refusal_of
from committee.ledger.sui.package import Package
from committee.ledger.sui.signed import End, Signed, SignedTransactions, VersionUsed
from committee.ledger.sui.transactions import Draft, Gas, Version
from committee.ledger.sui.wire import v2

RESULT_LIMIT_S = 60.0
"""A transaction whose end is not known within this time is reported as unknown."""
REFUSALS = 3
"""Times that a signed transaction is refused, and not seen to be dead, until it is reported as unknown."""
BEHIND_LIMIT_S = 10.0
"""Time for an endpoint to tell of what the account's last transaction wrote."""
LOCK_LIMIT_S = 60.0
"""Longest wait for other processes of the account on this machine."""
FIRST_POLL_S, LONGEST_POLL_S = 0.02, 1.0
TRIES = 5
"""Times that a transaction is put together anew, when another one has used a version of its objects."""
LOOKS_BACK = 16
"""Transactions of an object that are read to find the one that used a version."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that succeeded, and what it did."""

    transaction: Transaction
    outcome: Outcome


class SuiSender:
    """Signs an account's transactions, sends them, and follows each until it is in a checkpoint.

    Several tasks of one event loop may use one sender, and several processes one account, if all have the same folder.
    """

    def __init__(self, rpc: SuiRpc, key: SuiKey, package: Package, folder: Path) -> None:
        """`folder` keeps what the account has signed. Raises `LedgerError`."""
        self.account = address_text(key.address)
        self._rpc = rpc
        self._objects = Objects(rpc)
        self._key = key
        self._package = package
        self._gassing = Gassing(rpc)
        self._signed = SignedTransactions(folder, rpc.chain, key.address)
        self._turn = asyncio.Lock()
        self._shared_since: dict[bytes, int] = {}

    def close(self) -> None:
        """Close the file of what is signed."""
        self._signed.close()

    async def drain(self) -> None:
        """Bring every earlier transaction of the account to an end. Raises `LedgerUnavailable`."""
        async with self._alone():
            await self._end_open()

    async def send(self, action: str, draft: Draft) -> Sent:
        """Send a transaction, and wait until it is in a checkpoint.

        Raises `LedgerRefused` when it fails or the account cannot pay for it, `LedgerUnavailable` when the chain does
        not answer, `TransactionUnknown` when it was handed over and may still be executed. One whose sending is
        cancelled may be, too: the next one waits for its end.
        """
        async with self._alone():
            await self._end_open()
            outcome = None
            for _ in range(TRIES):
                signed = await self._sign(action, draft)
                try:
                    outcome = await self._end(signed, was_sent=False)
                except asyncio.CancelledError as cancelled:
                    name = digest_text(signed.digest)
                    cancelled.add_note(f"transaction {name} ({action}) may still be executed")
                    raise
                if outcome is not None:
                    break
        if outcome is None:
            raise LedgerUnavailable(
                f"{action} was not done: {TRIES} times in a row another transaction used the account's objects; does "
                f"another machine send from {self.account}?"
            )
        if outcome.failure is not None:
            raise refusal_of(action, outcome.failure, self._package)
        return Sent(await self._in_checkpoint(action, outcome), outcome)

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        """Keep other tasks, and processes on this machine, from sending from the account while inside."""
        name = f"sui-{self._rpc.chain.hex()[:16]}-{self.account}"
        async with self._turn:
            try:
                async with machine_lock.held(name, LOCK_LIMIT_S):
                    yield
            except machine_lock.HeldTooLong as held:
                raise LedgerUnavailable(
                    f"another process of the account {self.account} is sending: it has the lock {held}"
                ) from None

    async def _sign(self, action: str, draft: Draft) -> Signed:
        """Return the transaction of a draft, signed and written down. Raises `LedgerRefused` if it would fail."""
        clock = asyncio.get_running_loop().time
        deadline, pause_s = clock() + BEHIND_LIMIT_S, 0.0
        while True:
            try:
                return await self._sign_once(action, draft)
            except VersionUsed as used:  # the endpoint does not tell of the newest versions yet
                if clock() >= deadline:
                    raise LedgerUnavailable(
                        f"{action} was not sent: {used}, by the transaction {digest_text(used.digest)} "
                        f"({used.end.name.lower()}), and the chain's endpoint has told no newer version within "
                        f"{BEHIND_LIMIT_S:g} s"
                    ) from None
            except CallRefused:
                if clock() >= deadline:
                    raise
            pause_s = next_pause_s(pause_s, FIRST_POLL_S, LONGEST_POLL_S)
            await asyncio.sleep(pause_s)

    async def _sign_once(self, action: str, draft: Draft) -> Signed:
        owned = await self._owned(action, draft)
        await self._find_shared(action, draft)
        market = await self._gassing.market()
        coins = await coins_for(self._objects, self._key.address, draft.owned)

        def data(gas: Gas) -> bytes:
            return draft.to_bytes(self._key.address, owned, self._shared_since, gas, market.epoch)

        gas = await self._gassing.gas(action, self._key.address, coins, market, data, self._package)
        uses = [*owned.values(), *gas.coins]
        return self._signed.add(action, data(gas), uses, market.epoch, self._key.sign)

    async def _owned(self, action: str, draft: Draft) -> dict[bytes, Version]:
        found = await self._objects.newest(draft.owned)
        owned = {}
        for id_, newest in zip(draft.owned, found, strict=True):
            if newest is None or newest.owner != self._key.address:
                raise LedgerRefused(
                    action, "NotOwner", {"object": address_text(id_), "account": self.account}
                )
            owned[id_] = Version(id_, newest.version, newest.digest)
        return owned

    async def _find_shared(self, action: str, draft: Draft) -> None:
        lacking = [id_ for id_ in draft.shared if id_ not in self._shared_since]
        for id_, newest in zip(lacking, await self._objects.newest(lacking), strict=True):
            if newest is None or newest.shared_since is None:
                raise LedgerRefused(action, "UnknownObject", {"object": address_text(id_)})
            self._shared_since[id_] = newest.shared_since

    async def _end_open(self) -> None:
        for signed in self._signed.open():
            await self._end(signed, was_sent=True)

    async def _end(self, signed: Signed, *, was_sent: bool) -> Outcome | None:
        """Return what a signed transaction has done; None when it can never be executed.

        Raises `TransactionUnknown` when neither is known within the limit.
        """
        clock = asyncio.get_running_loop().time
        deadline, pause_s, refusals = clock() + RESULT_LIMIT_S, 0.0, 0
        while True:
            try:
                outcome = await _executed(self._rpc, signed.digest) if was_sent else None
                if outcome is None:
                    was_sent = True
                    outcome = await self._hand_over(signed)
                self._signed.note(signed.digest, End.EXECUTED)
                return outcome
            except CallRefused as refused:
                refusals, trouble = refusals + 1, str(refused)
                if await self._is_dead(signed):
                    return None
            except LedgerUnavailable as error:
                trouble = str(error)
            if clock() >= deadline or refusals >= REFUSALS:
                raise TransactionUnknown(
                    f"{signed.action}: the end of transaction {digest_text(signed.digest)} is not known, and nothing "
                    f"else is sent from {self.account} before it is: {trouble}",
                    signed.digest,
                )
            pause_s = next_pause_s(pause_s, FIRST_POLL_S, LONGEST_POLL_S)
            await asyncio.sleep(pause_s)

    async def _hand_over(self, signed: Signed) -> Outcome:
        request = v2.ExecuteTransactionRequest(
            transaction=v2.Transaction(bcs=v2.Bcs(value=signed.data)),
            signatures=[v2.UserSignature(bcs=v2.Bcs(value=signed.signature))],
            read_mask=mask(*OUTCOME_FIELDS),
        )
        return await self._rpc.ask(
            EXECUTE_TRANSACTION,
            request,
            lambda answer: outcome_of(answer.transaction, signed.digest),
            is_repeatable=False,
        )

    async def _is_dead(self, signed: Signed) -> bool:
        """Return whether a transaction can never be executed, and take note of it. False when that is not known."""
        try:
            if await self._is_overtaken(signed):
                self._signed.note(signed.digest, End.OVERTAKEN)
                return True
            if await self._is_expired(signed):
                self._signed.note(signed.digest, End.EXPIRED)
                return True
        except LedgerUnavailable:
            pass
        return False

    async def _is_overtaken(self, signed: Signed) -> bool:
        """Return whether another transaction is seen to have used a version of the objects."""
        uses = self._signed.uses_of(signed.digest)
        newest = await self._objects.newest([id_ for id_, _ in uses])
        for (id_, version), found in zip(uses, newest, strict=True):
            looks = 0
            while found is not None and found.version > version and looks < LOOKS_BACK:
                if found.previous_transaction == signed.digest:
                    return False
                before = await self._version_before(found.previous_transaction, id_)
                if before == version:
                    return True
                found = await self._objects.at_version(id_, before)
                looks += 1
        return False

    async def _version_before(self, transaction: bytes, id_: bytes) -> int:
        """Return the version of an object that a transaction used; 0 for one that it made."""

        def read(answer: v2.GetTransactionResponse) -> int:
            effects = answer.transaction.effects if answer.transaction else None
            for change in effects.changed_objects if effects else []:
                if read_address(change.object_id) == id_:
                    return change.input_version or 0
            raise ValueError("a transaction that did not change an object which names it")

        request = v2.GetTransactionRequest(
            digest=digest_text(transaction), read_mask=mask("effects.changed_objects")
        )
        return await self._rpc.ask(GET_TRANSACTION, request, read)

    async def _is_expired(self, signed: Signed) -> bool:
        """Return whether every endpoint is in a later epoch than a transaction's last, and does not know it."""
        for single in self._rpc.each():
            market = await Gassing(single).market()
            if market.epoch <= signed.last_epoch or await _executed(single, signed.digest) is not None:
                return False
        return True

    async def _in_checkpoint(self, action: str, outcome: Outcome) -> Transaction:
        """Return an executed transaction with its checkpoint, once it is in one."""
        clock = asyncio.get_running_loop().time
        deadline, pause_s, number = clock() + RESULT_LIMIT_S, 0.0, outcome.checkpoint
        while clock() < deadline:
            try:
                if number is not None:
                    block = await self._objects.head(number)
                    return Transaction(outcome.digest, block, outcome.gas_mist)
                known = await _executed(self._rpc, outcome.digest)
                number = None if known is None else known.checkpoint
            except LedgerUnavailable:
                pass
            pause_s = next_pause_s(pause_s, FIRST_POLL_S, LONGEST_POLL_S)
            await asyncio.sleep(pause_s)
        raise TransactionUnknown(
            f"{action}: transaction {digest_text(outcome.digest)} was executed, and is in no checkpoint within "
            f"{RESULT_LIMIT_S:g} s",
            outcome.digest,
        )


async def _executed(rpc: SuiRpc, digest: bytes) -> Outcome | None:
    """Return what the chain knows of a transaction, None when it is unknown. Raises `LedgerUnavailable`."""
    request = v2.GetTransactionRequest(digest=digest_text(digest), read_mask=mask(*OUTCOME_FIELDS))
    try:
        return await rpc.ask(GET_TRANSACTION, request, lambda answer: outcome_of(answer.transaction, digest))
    except CallRefused as refused:
        if refused.is_not_found:
            return None
        raise LedgerUnavailable(str(refused)) from None
