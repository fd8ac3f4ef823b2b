"""All that an adapter offers of a chain: the roles of `roles`, and what operators do by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from committee.errors import HauloutError
from committee.ledger.records import PlannedTransaction, Quote, Transaction
from committee.ledger.reservations import SpaceLedger
from committee.ledger.roles import NodeLedger
from committee.ledger.staking import StakeLedger
from committee.membership import Committee


class DryRun(HauloutError):
    """What a ledger that is to send nothing raises instead: `planned` is what it would have sent, in order."""

    def __init__(self, planned: Sequence[PlannedTransaction]) -> None:
        self.planned = tuple(planned)
        super().__init__(f"{len(self.planned)} transactions planned, none sent")


class Ledger(NodeLedger, SpaceLedger, StakeLedger, Protocol):
    """A chain with Haulout's contracts, seen from one account (or from none: then only reading works)."""

    async def ether_wei(self, account: str) -> int:
        """Return the ether of an account, in wei, in the newest block that any endpoint tells of.

        Only for a ledger that sends from an account itself.
        """

    async def balance(self, account: str) -> int:
        """Return the stake tokens of an account, in the smallest unit."""

    async def owner_of(self, epoch: int, shard: int) -> int:
        """Return the node that has a shard in an epoch that has begun or whose committee is selected.

        Raises `LedgerRefused` for any other epoch, and for a shard that is none.
        """

    async def committee_of(self, epoch: int) -> Committee | None:
        """Return the committee of an epoch that has begun, however long ago; None for another."""

    async def fines(self, node_id: int, epochs: Collection[int]) -> dict[int, int]:
        """Return epoch → the node's fine for storage proofs, for those of the epochs in which it was punished."""

    async def quote(self, length: int, periods: int) -> Quote:
        """Return what a blob of `length` bytes takes and costs for `periods` periods."""

    async def mint(self, account: str, amount: int) -> Transaction:
        """Create stake tokens for an account; only the token's owner may."""

    async def approve(self, amount: int) -> Transaction:
        """Let the network take `amount` of the account's tokens for storage; else payments permit what they need."""

    async def fund(self, account: str, amount_wei: int) -> Transaction:
        """Send an account what it pays for transactions with, in the chain's smallest unit (wei)."""

    async def cancel_waiting(self) -> list[Transaction]:
        """Replace the account's transactions that wait to be mined by transactions that do nothing.

        Return the replacements that were mined; a transaction that was mined before its replacement has had its effect.
        """

    async def change_public_key(
        self, node_id: int, public_key: bytes, proof_of_possession: bytes
    ) -> Transaction:
        """Give a node another BLS key, from the next period on whose committee is not elected yet."""

    async def change_commission(self, node_id: int, commission: int) -> Transaction:
        """Change a node's commission, from the next period on whose committee is not elected yet."""

    async def change_operator(self, node_id: int, operator: str) -> Transaction:
        """Let another account operate a node."""

    async def resign(self) -> tuple[int, Transaction]:
        """Operate no node any more: (id of the one that the account operated, transaction); its owner still does."""

    async def change_receiver(self, node_id: int, receiver: str) -> Transaction:
        """Send a node's commission to another account."""

    async def refund_blob(self, object_id: int) -> Transaction:
        """Get back, when epochs stand still for good, what was paid for a blob's periods behind the current one."""

    async def refund_reservation(self, resource_id: int) -> Transaction:
        """Get back, when epochs stand still for good, what was paid for a reservation behind the current period."""
