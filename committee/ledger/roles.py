"""What Haulout asks of a chain, by role: read state at a block, follow events, send.

    role             asked by
    `ChainLedger`    all: blocks, epochs and their events
    `BlobLedger`     clients and nodes
    `EpochLedger`    nodes: what moves the epochs on
    `TermsLedger`    nodes: prices and capacity
    `RegistryLedger` nodes: themselves and each other
    `ProofsLedger`   nodes: the rounds of storage proofs (`proofs`)
    `ClientLedger`   a client: the first two
    `NodeLedger`     a node: all of these

`interface.Ledger` is all that an adapter offers. Amounts are integers in the token's smallest unit, blob ids are the 32
bytes of PROTOCOL section 1, times are seconds. Every method raises `LedgerUnavailable` when the chain gives no answer
within the adapter's limit; sending methods raise `LedgerRefused` with the contract's own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from committee.certificate import Certificate
from committee.ledger.events import Event, Stretch
from committee.ledger.proofs import ProofsLedger
from committee.ledger.records import (
    Absence,
    Attestation,
    BlobObjects,
    BlobRecord,
    BlockMark,
    Candidate,
    EpochState,
    Parameters,
    RegisteredNode,
    Transaction,
)
from committee.terms import Terms


class ChainLedger(Protocol):
    """Blocks, epochs and events of a chain with Haulout's contracts, seen from one account or from none."""

    @property
    def account(self) -> str | None:
        """The address that sends; None for a reader."""

    @property
    def is_development_chain(self) -> bool:
        """Whether the chain is one for development on one machine, whose nodes have private addresses."""

    @property
    def domain(self) -> bytes:
        """The 32 bytes that bind signatures to this deployment; known without asking the chain."""

    @property
    def is_confirmed(self) -> bool:
        """Whether irreversible acts may rest on what was told: another endpoint of the chain, if any, told the same."""

    def reading_anew(self) -> AbstractContextManager[None]:
        """Return a context in which all state is read anew; if it ends well, nothing that was told before matters."""

    async def close(self) -> None:
        """Give back connections. Idempotent."""

    async def parameters(self) -> Parameters:
        """Return what the deployment goes by now: the governor may change all but shards and domain."""

    async def head(self) -> BlockMark:
        """Return the newest block that can no longer be reorganised for the adapter's setting.

        Raises `LedgerNotSettled` while the contracts themselves are in a newer one; `FinalityUnknown`, one of these,
        while no endpoint tells a settled block.
        """

    async def newest(self) -> BlockMark:
        """Return the newest block, which may be reorganised still."""

    async def chain_time_s(self) -> int:
        """Return the timestamp of the newest block."""

    async def chain_times_s(self) -> tuple[int, ...]:
        """Return the timestamp of the newest block, as every endpoint tells it that answers in time; one at least."""

    async def block_time_s(self, number: int, *, is_followed: bool = False) -> int:
        """Return the timestamp of a block, by its number.

        `is_followed` here and below: the answer goes into a view that is acted on, so it counts for
        `is_confirmed`. Raises `ProvidersDisagree` when endpoints tell different things.
        """

    async def epoch_state(self, at: BlockMark | None = None, *, is_followed: bool = False) -> EpochState:
        """Return the committees and the phase at a block (the head when None)."""

    async def attested_shards(self) -> frozenset[int]:
        """Return the shards attested in the current epoch."""

    async def missing_shards(
        self, epoch: int, at: BlockMark | None = None, *, is_followed: bool = False
    ) -> frozenset[int]:
        """Return the shards neither kept nor attested at the end of an epoch, or up to now (or to the block `at`).

        The nodes that had them before go on serving them.
        """

    async def members_of(self, period: int) -> frozenset[int]:
        """Return the nodes with which a period began that has begun; the members of its other epochs are among them."""

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        """Return the events of the blocks first..last (inclusive), in chain order; empty when last < first."""

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        """Return the blocks behind `after`, up to `until` or, where that is far, some way towards it.

        Raises `LedgerReorganised` when `after` is not on the chain that leads to `until`, `LedgerUnavailable` also
        when it is not certain that no event is lacking but those that the stretch says.
        """


class BlobLedger(Protocol):
    """Blob objects, and what their owners and nodes send about them."""

    async def live_page(
        self, cursor: int, at: BlockMark, *, is_followed: bool = False
    ) -> tuple[list[BlobRecord], int]:
        """Return some of the blob objects that are neither deleted nor expired at a block, and the next page's cursor.

        The cursor is 0 for the first page and behind the last one. Pages may be read at different blocks that ascend:
        each object that lives all the while is on one of them. Raises `LedgerStateGone` when the
        state of the block is not kept any more.
        """

    async def lost_objects(self, object_ids: Sequence[int], at: BlockMark) -> list[BlobRecord]:
        """Return the objects as they were at a block, of those that existed then and have been deleted since.

        They are marked as invalid if their blob is invalid by now.
        """

    async def blob_object(self, object_id: int) -> BlobRecord:
        """Return one blob object. Raises `LedgerRefused` when there is none."""

    async def blob_objects(self, root: bytes, length: int) -> BlobObjects:
        """Return the blob's objects that are neither deleted nor expired in the newest block that the endpoint tells.

        An adapter may leave out objects behind a great number of newer ones.
        """

    async def objects_of_blobs(self, blobs: Sequence[tuple[bytes, int]]) -> list[BlobObjects]:
        """Return what `blob_objects` does of each of several blobs, given by root and length, in one block."""

    async def drain(self) -> None:
        """Wait until every earlier transaction of the account is mined or gone, but for those that a task awaits.

        A caller that looks on chain for what an earlier try has done calls this first. Raises `LedgerUnavailable` when
        transactions are still under way after the adapter's limit.
        """

    def only_payer(self, root: bytes) -> AbstractAsyncContextManager[None]:
        """Keep the account's other processes on this machine from paying for a blob of this root, while inside.

        For the time from looking for what is paid already until it is paid. Raises `LedgerUnavailable` when another
        process has been inside for the adapter's limit.
        """

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
        """Reserve space for `periods` periods and register a blob: (object id, transaction). Pays from the account.

        Refused with `RegisteredMeanwhile` when an object of the account's that lives, of this blob and as deletable, is
        newer than a search knew (`BlobObjects.known_up_to`); when None, the blob is paid for whatever there is.
        Refused when it costs more than `max_cost`; when None, more than the newest block's prices make it.
        An account that could not pay the gas of about one certificate more is refused with `InsufficientFunds`, before
        it pays anything.
        """

    async def register_blobs(
        self,
        new: Sequence[tuple[bytes, int]],
        periods: int,
        deletable: bool = False,
        *,
        known_up_to: int | None = None,
    ) -> tuple[list[BlobRecord], Transaction]:
        """Register several blobs, each given by root and length, in one transaction: all or none.

        The records are in the order of the blobs, as they are registered. Of several refusals the first one is raised,
        which does not tell the blob; `TooMuchGas` is one, of blobs that are too many for a transaction.
        """

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        """Post the certificate of availability."""

    async def certify_blobs(self, certificates: Mapping[int, Certificate]) -> list[Transaction]:
        """Post the certificates of several blob objects, in one transaction for all that have the same signers."""

    async def transfer_blob(self, object_id: int, to: str) -> Transaction:
        """Give a blob object of the account's, while it lives, to another account."""

    async def extend_blob(
        self, object_id: int, periods: int, *, known_end: int | None = None, max_cost: int | None = None
    ) -> Transaction:
        """Reserve and pay `periods` more periods for a certified blob, anybody's; `max_cost` as above.

        Refused with `EndMoved` when the object's end is not `known_end` any more; when None, that in the newest block.
        """

    async def extend_blob_with(self, object_id: int, resource_id: int) -> Transaction:
        """Extend a certified blob, anybody's, to the end of a reservation of the account's of the same size.

        The reservation must have all periods from the blob's end on; what it has before that end stays.
        """

    async def delete_blob(self, object_id: int) -> Transaction:
        """Delete a deletable blob object of the account's; its space comes back as a reservation."""

    async def invalidate_blob(self, blob_id: bytes, certificate: Certificate) -> Transaction:
        """Post that a blob was encoded inconsistently, signed by members of whom one is correct; anyone may."""


class EpochLedger(Protocol):
    """What moves the epochs on: elections, handovers, ejections, payments; anyone may send most of it."""

    async def select(self) -> Transaction:
        """Elect the next committee; anyone may."""

    async def replace(self) -> Transaction:
        """Select the committee in office without its ejected members, for the rest of the period; anyone may."""

    async def start(self) -> Transaction:
        """Start the selected epoch; anyone may."""

    async def attest(self, epoch: int, attestations: Sequence[Attestation]) -> Transaction:
        """Attest shards gained in `epoch`."""

    async def close_handover(self) -> Transaction:
        """End a handover whose deadline has passed; anyone may."""

    async def eject(
        self, node_id: int, reason: int, deadline_s: int, certificate: Certificate
    ) -> Transaction:
        """Post an ejection that a quorum of the current committee signed, before its deadline."""

    async def unpaid(self, period: int, node_ids: Sequence[int]) -> tuple[int, ...]:
        """Return those of the nodes that are not paid for a period that is over, in the newest block."""

    async def pay_out(
        self, node_ids: Sequence[int] | None = None, until: int | None = None
    ) -> list[Transaction]:
        """Have nodes paid what they earned in periods that are over, before the period `until` if not None.

        All nodes when None. Anyone may; what is paid is skipped. As many transactions as it takes.
        """


class TermsLedger(Protocol):
    """The terms of storage, and the members' votes on them."""

    async def terms(self) -> Terms:
        """Return what space costs now, and how much of it there is."""

    async def vote_of(self, node_id: int, period: int) -> Terms | None:
        """Return the vote of a node that counts in a period which is not over; None when it has not voted.

        A vote counts from the period after the one in which it is sent.
        """

    async def decision(self) -> Terms | None:
        """Return what the votes of the current period make of the terms.

        None when they are counted already, or members with fewer shards than a quorum have voted.
        """

    async def vote(self, terms: Terms) -> Transaction:
        """Vote on the terms for the node that the account operates, from the next period on until it votes again."""

    async def decide_terms(self) -> Transaction:
        """Have the votes of the current period counted and the terms changed, once a period; anyone may."""


class RegistryLedger(Protocol):
    """The registered nodes, and what a node sends about itself."""

    async def nodes(self) -> list[RegisteredNode]:
        """Return all registered nodes, by node id. Anyone may register thousands: for one node, ask for that one."""

    async def node(self, node_id: int) -> RegisteredNode:
        """Return one node, in the newest block. Raises `LedgerRefused` when there is none."""

    async def node_of(self, account: str) -> RegisteredNode | None:
        """Return the node that an account operates, in the newest block; None when it operates none.

        Raises `ProvidersDisagree` when endpoints tell different things of that block.
        """

    async def absence(self, node_id: int) -> Absence:
        """Return why a node that does not stand for election does not: what ended its newest candidacy."""

    async def candidates(self) -> list[Candidate]:
        """Return the nodes that stand for the next selection, in candidate order."""

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
        """Register a node of the sending account: (node id, transaction). Compressed key (48) and signature (96).

        Operator and receiver are the sending account too unless named.
        """

    async def update_address(self, node_id: int, address: str, tls_key: bytes = bytes(32)) -> Transaction:
        """Change where a node is reached, at once."""

    async def offer_node(self, node_id: int, account: str | None) -> Transaction:
        """Offer a node of the sending account to another account; None withdraws the offer.

        Nothing else changes until that account accepts it.
        """

    async def accept_node(self, node_id: int) -> Transaction:
        """Make the sending account the owner of a node that is offered to it; all else of the node stays as it is."""

    async def leave(self, node_id: int | None = None) -> Transaction:
        """Stand for no further selection; the node that the account operates when None."""

    async def become_candidate(self, node_id: int | None = None) -> Transaction:
        """Stand again, after leaving or an ejection; the node that the account operates when None."""

    async def stake(self, node_id: int, amount: int) -> Transaction:
        """Stake on a node, from the first period on whose committee is not elected yet.

        Where nothing but the allowance is lacking, the same transaction permits it; a token without permits is approved
        first.
        """


class ClientLedger(ChainLedger, BlobLedger, Protocol):
    """All roles of the chain that a client uses."""


class NodeLedger(ClientLedger, EpochLedger, TermsLedger, RegistryLedger, ProofsLedger, Protocol):
    """All roles of the chain that a node uses."""
