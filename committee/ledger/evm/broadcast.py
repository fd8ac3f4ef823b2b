"""Hands signed transactions over to an endpoint, and reads out of its refusals whether it has them.

An answer can be lost behind a transaction that arrived, and the look-up that follows can go to a machine that has not
heard of it yet: behind one URL of a provider there are many. So a nonce counts as another's only when nothing else
explains the refusal; else the same call would be sent again with the next nonce, and paid twice.
"""

from __future__ import annotations

import asyncio

from eth_account.datastructures import SignedTransaction

from committee.errors import (
    INSUFFICIENT_FUNDS,
    HauloutError,
    LedgerRefused,
    LedgerUnavailable,
    TransactionUnknown,
)
from committee.ledger.evm import answers
from committee.ledger.evm.outbox import hash_text, known_of
from committee.ledger.evm.refusals import EndpointError, Verdict, verdict
from committee.ledger.evm.rpc import Rpc

SEND_TRIES = 3
"""Broadcasts of one transaction while the endpoint does not answer."""
BEHIND_PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses between broadcasts while the endpoint lacks an earlier transaction of the account, or wants it mined first:
together longer than Ethereum takes for a block."""
LOOKS = 4
"""How often a transaction with a refused nonce is looked up, LOOK_PAUSE_S apart: the machines of one provider hear of
it one after the other."""
LOOK_PAUSE_S = 0.5


class NonceTaken(HauloutError):
    """Another transaction of the account has the nonce `taken`."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        super().__init__(f"nonce {taken} is taken")


class BidTooLow(LedgerUnavailable):
    """Every endpoint refuses the transaction as its fees are too low; `words` are those of one refusal."""

    def __init__(self, action: str, words: str) -> None:
        self.words = words
        super().__init__(f"{action} was not sent: the chain's endpoint finds its fees too low: {words}")


async def broadcast(rpc: Rpc, action: str, account: str, signed: SignedTransaction, nonce: int) -> None:
    """Hand a transaction over. Returns when an endpoint has it, or may have it though it does not say so.

    Raises `TransactionUnknown` when no endpoint answers. Whatever else is raised, no endpoint has it: `NonceTaken`,
    `BidTooLow`, `LedgerRefused` when the account cannot pay, `EndpointError`.
    """
    raw = "0x" + bytes(signed.raw_transaction).hex()
    trouble: LedgerUnavailable | None = None
    pauses = iter(BEHIND_PAUSES_S)
    tries = 0
    while tries < SEND_TRIES:
        try:
            # The answer is not read: whether the chain has the transaction shows by its own hash.
            await rpc.request("eth_sendRawTransaction", raw, read=answers.anything)
            return
        except EndpointError as error:
            meaning = verdict(error.reason)
            if meaning is Verdict.NONCE_TOO_HIGH and (pause_s := next(pauses, None)) is not None:
                await asyncio.sleep(pause_s)
                continue
            may_have_arrived = trouble is not None or error.has_fault_beside
            if meaning is Verdict.HAS_IT or await _has_it(rpc, signed, meaning, may_have_arrived):
                return
            raise _refusal(action, account, nonce, meaning, error) from None
        except LedgerUnavailable as error:
            tries, trouble = tries + 1, error
            if await _look_up(rpc, signed):
                return
    raise TransactionUnknown(
        f"{action} could not be sent: {trouble}; transaction {hash_text(signed)} may have arrived all the same",
        bytes(signed.hash),
    ) from None


async def is_known(rpc: Rpc, signed: SignedTransaction) -> bool:
    """Return whether the endpoint has the transaction, mined or waiting. Raises `LedgerUnavailable`."""
    return await rpc.request("eth_getTransactionByHash", hash_text(signed), read=known_of(signed))


async def _has_it(rpc: Rpc, signed: SignedTransaction, meaning: Verdict, may_have_arrived: bool) -> bool:
    """Return whether an endpoint that refused a transaction may have it all the same."""
    if meaning is not Verdict.NONCE_TAKEN:
        return bool(await _look_up(rpc, signed))
    for _ in range(1 if may_have_arrived else LOOKS):
        told = await _look_up(rpc, signed)
        if told is not False or may_have_arrived:
            return True  # its receipt will tell
        await asyncio.sleep(LOOK_PAUSE_S)
    return False


async def _look_up(rpc: Rpc, signed: SignedTransaction) -> bool | None:
    """Return whether an endpoint has the transaction; None when none answers."""
    try:
        return await is_known(rpc, signed)
    except LedgerUnavailable:
        return None


def _refusal(action: str, account: str, nonce: int, meaning: Verdict, error: EndpointError) -> Exception:
    match meaning:
        case Verdict.TOO_POOR:
            return LedgerRefused(action, INSUFFICIENT_FUNDS, {"account": account})
        case Verdict.NONCE_TAKEN:
            return NonceTaken(nonce)
        case Verdict.BID_TOO_LOW:
            return BidTooLow(action, error.reason)
        case _:
            return error
