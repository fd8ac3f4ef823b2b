"""The checkpoints of a chain and the transactions in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from localnet.sui_double.effects import Effects
from localnet.sui_double.move.natives.objects import blake2b

NO_CHECKPOINT = bytes(32)
"""Digest that the first checkpoint has of the one before it."""


@dataclass(frozen=True, slots=True)
class Executed:
    """A transaction in its checkpoint; `data` and `signatures` are as they came."""

    effects: Effects
    data: bytes
    signatures: tuple[bytes, ...]
    checkpoint: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: its digest covers its transactions and, by the digest before it, all earlier checkpoints."""

    sequence: int
    epoch: int
    timestamp_ms: int
    previous: bytes
    transactions: tuple[Executed, ...]
    transactions_total: int
    """Transactions of the chain up to here."""
    ends_epoch: bool = False

    @property
    def content_digest(self) -> bytes:
        """Return a hash of the checkpoint's transactions and their effects."""
        digests = [
            executed.effects.transaction.digest + executed.effects.digest for executed in self.transactions
        ]
        return blake2b(b"CheckpointContents::" + b"".join(digests))

    @property
    def digest(self) -> bytes:
        """Return the hash that names the checkpoint: the double's own, for Sui's covers other bytes."""
        numbers = (self.sequence, self.epoch, self.timestamp_ms, self.transactions_total)
        parts = [b"CheckpointSummary::", *(number.to_bytes(8, "little") for number in numbers)]
        return blake2b(b"".join([*parts, self.previous, self.content_digest, bytes([self.ends_epoch])]))


@dataclass(slots=True)
class Ledger:
    """All checkpoints, and all transactions by their digest."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    transactions: dict[bytes, Executed] = field(default_factory=dict)

    def append_transaction(
        self, effects: Effects, data: bytes, signatures: tuple[bytes, ...], epoch: int, timestamp_ms: int
    ) -> Executed:
        """Put a transaction into a checkpoint of its own, and return it."""
        executed = Executed(effects, data, signatures, len(self.checkpoints), timestamp_ms)
        self.transactions[effects.transaction.digest] = executed
        self.append((executed,), epoch, timestamp_ms)
        return executed

    def append(
        self, transactions: tuple[Executed, ...], epoch: int, timestamp_ms: int, ends_epoch: bool = False
    ) -> Checkpoint:
        """Add a checkpoint, and return it."""
        previous = self.checkpoints[-1].digest if self.checkpoints else NO_CHECKPOINT
        checkpoint = Checkpoint(
            len(self.checkpoints),
            epoch,
            timestamp_ms,
            previous,
            transactions,
            len(self.transactions),
            ends_epoch,
        )
        self.checkpoints.append(checkpoint)
        return checkpoint
