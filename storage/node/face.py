"""What the HTTP routes see of a node, and how a node refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from committee.bls import SecretKey
from committee.errors import HauloutError
from storage.client.failures import Reason, failure
from storage.node.block_list import BlockList
from storage.node.chain import ChainView
from storage.node.duties import Due
from storage.node.store import SliverStore
from storage.redstuff import RedStuff

NO_OBJECT_STORE = "the node's object store does not answer, or lags behind; try again later"
"""What a node tells of `StoreUnavailable`; its log says more."""


class Refusal(HauloutError):
    """A request that the node does not grant; becomes an error answer with this status, reason and message."""

    def __init__(self, status: int, reason: Reason, message: str, **metadata: int) -> None:
        """`metadata` are numbers that the message tells, for programs."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.metadata = metadata

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of the error answer."""
        return failure(self.status, self.reason, str(self), self.metadata)


class RoundsFace(Protocol):
    """What a node signs and shows in the rounds of storage proofs (`storage.node.rounds.Rounds`)."""

    def health(self) -> dict[str, Any]:
        """Return what `/v1/health` and the metrics say of the node's part in the current round, at once."""

    async def sign_inventory(self) -> tuple[bytes, bytes]:
        """Return (message, signature) for the inventory of the current epoch. Raises `Refusal` until it is made."""

    async def sign_proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature) for a fellow that has shown what was drawn. Raises `Refusal`."""

    def entry_of(self, blob_id: bytes) -> bytes:
        """Return a blob's place in the current inventory. Blocks. Raises `Refusal` and `StoreError`."""

    def openings(self, draw: bytes, page: int) -> bytes | None:
        """Return a page of what the node shows of a draw; None while it is not made. Blocks; raises `StoreError`."""

    def symbol_at(self, position: int) -> SymbolAt:
        """Return what is at a position of the node's line. Blocks. Raises `Refusal` and `StoreError`."""

    def opening_at(self, position: int) -> bytes:
        """Return the opening of a position of the node's line. Blocks. Raises `Refusal` and `StoreError`."""

    def openings_size(self, draw: bytes, page: int) -> int:
        """Return the bytes of a page of openings; 0 while it is not made. Blocks."""


@dataclass(frozen=True, slots=True)
class SymbolAt:
    """The symbol at one of the positions from which a storage proof's places are drawn."""

    position: int
    blob_id: bytes
    symbol_bytes: int
    pair_bytes: int
    """Bytes of the sliver pair, which is read to open it."""


class NodeFace(Protocol):
    """What the HTTP routes use of a node."""

    store: SliverStore
    view: ChainView
    code: RedStuff
    secret: SecretKey
    block_list: BlockList

    @property
    def rounds(self) -> RoundsFace:
        """The node in the rounds of storage proofs."""

    def health(self) -> dict[str, Any]:
        """Return what `/v1/health` answers, at once: a node under load must not look dead."""

    def upkeep(self) -> dict[str, int]:
        """What the node has done since its start to keep its store whole; in health and metrics."""

    def clock_ahead_s(self) -> int:
        """By how many seconds this machine's clock is ahead of most members', negative if behind; in metrics."""

    def due(self) -> tuple[Due, ...]:
        """The steps that are due for the epochs to go on; in metrics."""

    def handover_report(self) -> dict[str, Any]:
        """Return what `/v1/handover` answers."""

    async def sign_ejection(self, node_id: int, deadline_s: int) -> tuple[bytes, bytes]:
        """Return (message, signature) for the member's ejection. Raises `Refusal` when the member is not silent."""

    def sign_of_life(self, nonce: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature): this node's sign of life for a nonce."""

    async def fetch_sign_of_life(self, node_id: int, nonce: bytes) -> tuple[bytes, bytes]:
        """Return a fellow member's sign of life for a nonce, whose signature is not verified. Raises `Refusal`."""
