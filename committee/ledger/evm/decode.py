"""What the contracts answer, as the types of `committee`. Pure.

Names and addresses of nodes are their owners' text. A name is made printable here; an address is kept as it is, and
`committee.addresses` says whether it is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from committee.ledger.events import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRegistered,
    BlobTransferred,
    CommitteeSelected,
    EpochStarted,
    Event,
    HandoverDone,
    MemberEjected,
    NetworkAddressChanged,
    ShardsAttested,
)
from committee.ledger.evm.abi import Log
from committee.ledger.records import (
    Absence,
    BlobRecord,
    BlockMark,
    Candidate,
    EpochState,
    Joining,
    RegisteredNode,
    Reservation,
    StakePosition,
    Unbonding,
)
from committee.membership import Committee, Member
from committee.messages import BLOB_ID_BYTES
from committee.untrusted import printable

EVENTS = (
    "BlobRegistered",
    "BlobCertified",
    "BlobTransferred",
    "BlobDeleted",
    "BlobInvalidated",
    "CommitteeSelected",
    "EpochStarted",
    "ShardsAttested",
    "HandoverDone",
    "MemberEjected",
    "NetworkAddressChanged",
)
"""The contracts' events that `event` knows."""
PLENTIFUL_EVENTS = ("NetworkAddressChanged",)
"""The events that any account can emit in any number in one block, for gas alone."""


REGISTERED = "NodeRegistered"
"""The event with which a node's history begins."""
STOOD = "CandidateJoined"
"""The one with which a candidacy begins."""
ABSENCES = {
    "NodeLeft": Absence.LEFT,
    "CandidateRemoved": Absence.REMOVED,
    "CandidateEvicted": Absence.EVICTED,
}
"""The events of which one ends it. (`CandidateRemoved` may follow when it has ended: it then tells of a bar.)"""

NO_ACCOUNT = "0x" + 40 * "0"
"""The address by which the contracts say that there is no account."""
MIN_SHARDS, MAX_SHARDS = 4, 1000
"""The numbers of shards that the committee contract takes."""


class BlobStatus(IntEnum):
    """`Blobs.Status`."""

    DELETED = 0
    REGISTERED = 1
    CERTIFIED = 2
    EXPIRED = 3
    INVALID = 4


OVER = frozenset({BlobStatus.DELETED, BlobStatus.EXPIRED})
"""What an object is that no longer holds anything."""


def blob_id(value: int) -> bytes:
    """Return a blob id's 32 bytes, whose little-endian value is the chain's u256 (PROTOCOL section 1)."""
    return value.to_bytes(BLOB_ID_BYTES, "little")


def blob_number(blob_id: bytes) -> int:
    """Return the chain's u256 for a blob id: the inverse of `blob_id`."""
    return int.from_bytes(blob_id, "little")


def committee(view: Mapping[str, Any], n_shards: int) -> Committee | None:
    """Return a committee view; None for the empty one, which stands for none."""
    if not view["members"]:
        return None
    members = tuple(
        Member(
            node_id=member["nodeId"],
            name=printable(member["name"]),
            address=member["networkAddress"],
            public_key=member["publicKey"],
            shards=tuple(member["shards"]),
        )
        for member in view["members"]
    )
    return Committee(view["epoch"], n_shards, members)


def epoch_state(
    block: BlockMark,
    state: Mapping[str, Any],
    committees: Sequence[Mapping[str, Any]],
    n_shards: int,
    started_block: BlockMark | None,
    unattested: Mapping[int, Member],
) -> EpochState:
    """Return the state view with the previous, current and next committee, all of one block."""
    previous, current, following = (committee(view, n_shards) for view in committees)
    return EpochState(
        block=block,
        epoch=state["epoch"],
        period=state["period"],
        first_epoch=state["firstEpoch"],
        started_at_s=state["startedAt"],
        started_block=started_block,
        salt_seed=None if started_block is None else started_block.hash,
        handover_done=state["handoverDone"],
        last_handover_done_s=state["lastHandoverDone"],
        regular_handover_done_s=state["regularHandoverDone"],
        selected_at_s=state["selectedAt"],
        next_is_replacement=state["isReplacement"],
        replaceable_at_s=state["replaceableAt"] or None,
        previous=previous,
        current=current,
        next=following,
        unattested=unattested,
    )


def registered_node(view: Mapping[str, Any]) -> RegisteredNode:
    """Return one node of the registry."""
    return RegisteredNode(
        node_id=view["nodeId"],
        owner=view["owner"],
        next_owner=None if view["nextOwner"] == NO_ACCOUNT else view["nextOwner"],
        operator=view["operator"],
        receiver=view["receiver"],
        name=printable(view["name"]),
        address=view["networkAddress"],
        tls_key=view["tlsKey"],
        public_key=view["publicKey"],
        commission=view["commission"],
        stake=view["stake"],
        is_candidate=view["candidate"],
        barred_until_period=view["barredUntil"],
        pending_public_key=view["pendingPublicKey"],
        public_key_from=view["publicKeyFrom"],
        pending_commission=view["pendingCommission"],
        commission_from=view["commissionFrom"],
    )


def stake_position(
    node_id: int,
    shares: int,
    amount: int,
    joinings: Sequence[Mapping[str, int]],
    unbondings: Sequence[Mapping[str, int]],
) -> StakePosition:
    """Return what one account has on one node."""
    joining = tuple(Joining(one["period"], one["amount"]) for one in joinings)
    unbonding = tuple(
        Unbonding(one["unlockPeriod"], one["shares"], one["amount"], one["unlocksAt"]) for one in unbondings
    )
    return StakePosition(node_id, shares, amount, joining, unbonding)


def blob_record(view: Mapping[str, Any]) -> BlobRecord:
    """Return one blob object; of a deleted one the chain knows the id only."""
    status = BlobStatus(view["status"])
    check_length(view["length"])
    return BlobRecord(
        object_id=view["objectId"],
        blob_id=blob_id(view["blobId"]),
        length=view["length"],
        owner=view["owner"],
        registered_epoch=view["registeredEpoch"],
        certified_epoch=view["certifiedEpoch"] or None,
        end_period=view["endPeriod"],
        deletable=view["deletable"],
        deleted=status is BlobStatus.DELETED,
        invalid=status is BlobStatus.INVALID,
    )


def reservation(view: Mapping[str, Any]) -> Reservation:
    """Return one reservation that no blob uses."""
    return Reservation(
        resource_id=view["resourceId"],
        owner=view["owner"],
        size_bytes=view["size"],
        start_period=view["startPeriod"],
        end_period=view["endPeriod"],
    )


def check_length(length: int) -> None:
    """Raise `ValueError` for a blob's length that SQLite could not keep; no contract takes one."""
    if length >= 2**63:
        raise ValueError(f"a blob of {length} bytes")


def candidates(answer: tuple[Sequence[int], Sequence[int]]) -> list[Candidate]:
    """Return the candidates, in candidate order."""
    return [Candidate(node_id, stake) for node_id, stake in zip(*answer, strict=True)]


def n_shards(value: int) -> int:
    """Return the number of shards, which no deployment has outside of these limits. Raises `ValueError`."""
    if not MIN_SHARDS <= value <= MAX_SHARDS:
        raise ValueError(f"{value} shards")
    return value


def event(log: Log, block: BlockMark) -> Event:
    """Return the typed event; its name must be one of `EVENTS`."""
    values = log.arguments
    match log.name:
        case "BlobRegistered":
            check_length(values["length"])
            return BlobRegistered(
                block,
                object_id=values["objectId"],
                blob_id=blob_id(values["blobId"]),
                owner=values["owner"],
                epoch=values["epoch"],
                length=values["length"],
                end_period=values["endPeriod"],
                deletable=values["deletable"],
            )
        case "BlobCertified":
            return BlobCertified(
                block,
                object_id=values["objectId"],
                blob_id=blob_id(values["blobId"]),
                epoch=values["epoch"],
                end_period=values["endPeriod"],
                deletable=values["deletable"],
                is_extension=values["isExtension"],
            )
        case "BlobTransferred":
            return BlobTransferred(block, values["objectId"], values["to"])
        case "BlobDeleted":
            return BlobDeleted(block, values["objectId"], blob_id(values["blobId"]), values["epoch"])
        case "BlobInvalidated":
            return BlobInvalidated(block, blob_id(values["blobId"]), values["epoch"])
        case "CommitteeSelected":
            return CommitteeSelected(block, values["epoch"])
        case "EpochStarted":
            return EpochStarted(block, values["epoch"], values["period"])
        case "ShardsAttested":
            return ShardsAttested(block, values["epoch"], values["nodeId"], tuple(values["shards"]))
        case "HandoverDone":
            return HandoverDone(block, values["epoch"])
        case "MemberEjected":
            return MemberEjected(block, values["epoch"], values["nodeId"], values["reason"])
        case "NetworkAddressChanged":
            return NetworkAddressChanged(block, values["nodeId"])
        case name:
            raise ValueError(f"no event of the ledger is called {name}")
