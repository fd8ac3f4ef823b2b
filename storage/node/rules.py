"""What a node may confirm, give away and sign: pure rules, which the handlers call with what they have looked up.

    rule                                      asked before
    `is_registered_as`, `require_durable`     a confirmation of a blob is signed
    `require_shard`                           a request is told that a sliver is not here
    `require_new_owner`                       a page of a shard is given away
    `require_fellow`, `require_silent`,       an ejection is signed
    `require_near`

The other rules are elsewhere: how shards are filled and which are dropped (`committee.transition`), for which objects a
blob is kept (`storage.node.chain.conditions`), what an attestation holds (`storage.proofs.commitment`). Each
`require_…` raises a `Refusal` with the protocol's reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from committee.ledger import BlobRecord, EpochState
from committee.membership import Committee, Member
from committee.messages import LONGEST_EJECTION_S, ShardTransferRequest
from storage.client.failures import Reason
from storage.node.face import Refusal
from storage.redstuff import Axis


def is_registered_as(
    object_id: int | None, permanent_until: int, deletable: BlobRecord | None, period: int
) -> bool:
    """Return whether a blob is registered, and valid, as what is to be certified.

    For `object_id` None that is a permanent object: `permanent_until` is the end of the valid one that ends last. Else
    it is the blob's deletable object of that id, which is `deletable` if the blob has an object of that id.
    """
    if object_id is None:
        return period < permanent_until
    return (
        deletable is not None
        and deletable.deletable
        and deletable.object_id == object_id
        and deletable.is_registered(period)
        and not deletable.invalid
    )


def require_durable(
    shards: Collection[int], stored: Mapping[Axis, Collection[int]], *, has_metadata: bool
) -> None:
    """Refuse to confirm a blob unless its metadata and both slivers of all the node's `shards` are stored.

    `stored` are the shards with a sliver of the blob, by axis.
    """
    if not has_metadata:
        raise Refusal(400, Reason.MISSING_SLIVERS, "the blob's metadata and slivers are missing")
    for axis in Axis:
        missing = sorted(set(shards).difference(stored[axis]))
        if missing:
            raise Refusal(
                *(400, Reason.MISSING_SLIVERS),
                f"{len(missing)} {axis.label} slivers are missing, of shards {missing[:10]}",
            )


def require_shard(state: EpochState, node_id: int, shard: int, pair: int, stored: Collection[int]) -> None:
    """Refuse a pair of a shard that neither is, was last nor becomes the node's own, and that is not `stored` either.

    What a former owner still stores is served; this tells why another sliver is not here.
    """
    if not state.concerns(node_id, shard) and shard not in stored:
        raise Refusal(
            *(400, Reason.SHARD_NOT_ASSIGNED),
            f"pair {pair} belongs to shard {shard}, which is not this node's in epoch {state.epoch}",
        )


def require_new_owner(state: EpochState, node_id: int, epoch: int, wanted: ShardTransferRequest) -> Member:
    """Return the owner of the wanted shard in `epoch`, the current or the selected one, whose request this is.

    Refuses one that does not name the owner's key, or a shard that `node_id` did not own in the epoch before.
    """
    owners = state.committee(epoch)
    if owners is None or owners is state.previous:
        raise Refusal(
            *(400, Reason.INVALID_EPOCH, f"a request of epoch {epoch}; now is {state.epoch}"),
            request_epoch=epoch,
            server_epoch=state.epoch,
        )
    owner = owners.owner_of.get(wanted.shard)
    if owner is None or owner.public_key != wanted.public_key:
        told = f"shard {wanted.shard} is not the requester's in epoch {epoch}"
        raise Refusal(403, Reason.REQUEST_UNAUTHORIZED, told)
    before = state.committee(epoch - 1)
    if before is None or wanted.shard not in before.shards_of(node_id):
        raise Refusal(400, Reason.SHARD_NOT_ASSIGNED, f"shard {wanted.shard} was not this node's before")
    return owner


def require_fellow(current: Committee | None, own_id: int, node_id: int, *, was_ejected: bool) -> Member:
    """Return the member `node_id` if it and this node, `own_id`, are two members of the current committee.

    Refuses one that was ejected in this epoch.
    """
    if current is None or own_id == node_id or own_id not in current.by_id or node_id not in current.by_id:
        raise Refusal(
            404, Reason.INVALID_REQUEST, f"node {node_id} is no fellow member of the current committee"
        )
    if was_ejected:
        raise Refusal(404, Reason.INVALID_REQUEST, f"node {node_id} was ejected in epoch {current.epoch}")
    return current.by_id[node_id]


def require_silent(member: Member, silent_s: float, patience_s: float) -> None:
    """Refuse to eject a member that has not been silent to this node for the deployment's patience."""
    if silent_s < patience_s:
        raise Refusal(400, Reason.MEMBER_ANSWERS, f"{member.name} answered within the last {patience_s} s")


def require_near(deadline_s: int, chain_times_s: Iterable[int]) -> None:
    """Refuse an ejection's deadline that is over, or LONGEST_EJECTION_S or more ahead in the chain's time.

    `chain_times_s` is that time as each endpoint tells it: one that lies may have nothing signed, but not for later.
    """
    for chain_time_s in chain_times_s:
        ahead_s = deadline_s - chain_time_s
        if not 0 <= ahead_s < LONGEST_EJECTION_S:
            raise Refusal(
                *(400, Reason.INVALID_REQUEST),
                f"the deadline is {ahead_s} s ahead of the chain: 0..{LONGEST_EJECTION_S - 1} are signed",
            )
