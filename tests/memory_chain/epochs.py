"""The rules of epochs: `contracts/evm/src/Committee.sol`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from committee import messages
from committee.certificate import Certificate
from committee.ledger import (
    Absence,
    Attestation,
    CommitteeSelected,
    EpochStarted,
    EpochState,
    Event,
    HandoverDone,
    MemberEjected,
    ShardsAttested,
)
from committee.ledger.steps import replacements_resume_s, selectable_at_s, start_waits_s
from committee.membership import Committee, Member
from committee.messages import Intent
from committee.shards import assign, replaced, worth_a_shard
from storage.redstuff.merkle import blake2b_256
from tests.memory_chain import registry
from tests.memory_chain.contracts import Contracts, Outcome, Revert

MAX_REPLACEMENTS = 16
"""Replacements in one period."""
Shards = Mapping[int, Collection[int]]
"""Node id → its shards."""


def select(now: Contracts, shards: Shards | None = None) -> Outcome:
    """Select the next committee: elected from the candidates as they are now, or with the shards that are given."""
    state, parameters = now.state, now.parameters
    if state.next is not None:
        raise Revert("AlreadySelected", epoch=state.next.epoch)
    if not state.handover_done:
        raise Revert("HandoverNotDone", epoch=state.epoch)
    _require_time(now, selectable_at_s(state, parameters))
    stake = 0
    if shards is None:
        candidates = [(node_id, now.nodes[node_id].stake) for node_id in now.candidates]
        if not any(stake for _, stake in candidates):
            raise Revert("NoStake")
        held = None if state.current is None else state.current.holdings
        shards = assign(held, candidates, parameters.n_shards, parameters.band_millis)
        stake = sum(stake for _, stake in worth_a_shard(candidates, parameters.n_shards))
        if stake < (needed := stake_needed(now)):
            raise Revert("NotEnoughStake", stake=stake, needed=needed)
    members = (
        Member(
            node_id,
            now.nodes[node_id].name,
            now.nodes[node_id].address,
            now.nodes[node_id].public_key,
            tuple(own),
        )
        for node_id, own in sorted(shards.items())
    )
    selected = Committee(state.epoch + 1, parameters.n_shards, tuple(members))
    then = replace(now.changed(next=selected, selected_at_s=now.time_s), selected_stake=stake)
    # What came since a selection that was dropped counts for the epoch behind.
    then = registry.more_stake(then, now.late_stakes)
    return then, (CommitteeSelected(state.block, selected.epoch),)


def replace_ejected(now: Contracts) -> Outcome:
    """Select the committee in office without its ejected members, for the next epoch of this period."""
    state, parameters = now.state, now.parameters
    if state.next is not None:
        raise Revert("AlreadySelected", epoch=state.next.epoch)
    if not state.handover_done:
        raise Revert("HandoverNotDone", epoch=state.epoch)
    if state.current is None or not ejected_members(now):
        raise Revert("NothingToReplace", epoch=state.epoch)
    if state.epoch - state.first_epoch >= MAX_REPLACEMENTS:
        raise Revert("TooManyReplacements", most=MAX_REPLACEMENTS)
    _require_time(now, replacements_resume_s(state, parameters, now.time_s))
    if (left := regular_weight_left(now)) < (least := least_left(parameters.n_shards)):
        raise Revert("TooFewLeft", shards=left, needed=least)
    shards = replaced(state.current.holdings, ejected_members(now), now.regular_weights)
    members = (replace(state.current.by_id[node_id], shards=own) for node_id, own in shards.items())
    selected = Committee(state.epoch + 1, parameters.n_shards, tuple(members))
    then = now.changed(next=selected, selected_at_s=now.time_s, next_is_replacement=True)
    return replace(then, selected_stake=now.elected_stake), (CommitteeSelected(state.block, selected.epoch),)


def ejected_members(now: Contracts) -> list[int]:
    """Return the ids of the members of the committee in office that are ejected."""
    return (
        [] if now.state.current is None else sorted(now.ejected_at_s.keys() & now.state.current.by_id.keys())
    )


def regular_weight_left(now: Contracts) -> int:
    """Return the shards that the members left, the ejected apart, had when the period began."""
    if now.state.current is None:
        return 0
    left = now.state.current.by_id.keys() - now.ejected_at_s.keys()
    return sum(now.regular_weights[node_id] for node_id in left)


def least_left(n_shards: int) -> int:
    """Return the least shards that the members left must have had when the period began: two thirds."""
    return -(-2 * n_shards // 3)


def replaceable_at_s(now: Contracts) -> int | None:
    """Return since when members can be replaced, as `EpochState.replaceable_at_s`."""
    state, gone = now.state, ejected_members(now)
    is_possible = (
        state.handover_done
        and state.next is None
        and state.epoch - state.first_epoch < MAX_REPLACEMENTS
        and regular_weight_left(now) >= least_left(now.parameters.n_shards)
    )
    if not gone or not is_possible:
        return None
    return max(state.last_handover_done_s, min(now.ejected_at_s[node_id] for node_id in gone))


def stake_needed(now: Contracts) -> int:
    """Return how much stake has to be elected in a selection made now, after the handover."""
    longest_s = now.parameters.shrink_s
    since_s = now.state.regular_handover_done_s + now.parameters.period_duration_s // 2
    waited_s = min(max(0, now.time_s - since_s), longest_s)
    return 2 * now.elected_stake * (longest_s - waited_s) // (3 * longest_s)


def salt_seed(start_hash: bytes) -> bytes:
    """Return an epoch's salt seed: not the start's hash, so that code that takes the one for the other fails."""
    return blake2b_256(b"salt seed" + start_hash)


def start(now: Contracts) -> Outcome:
    """Start the selected epoch."""
    state = now.state
    if state.next is None:
        raise Revert("NotSelected", epoch=state.epoch + 1)
    for available_at_s in start_waits_s(state, now.parameters):
        _require_time(now, available_at_s)
    is_regular = not state.next_is_replacement
    missing = now.missing_shards(state.epoch)
    started = now.changed(
        epoch=state.next.epoch,
        period=state.next_period,
        first_epoch=state.next.epoch if is_regular else state.first_epoch,
        started_at_s=now.time_s,
        started_block=state.block,
        salt_seed=salt_seed(state.block.hash),
        handover_done=False,
        previous=state.current,
        current=state.next,
        next=None,
        next_is_replacement=False,
        selected_at_s=0,
        unattested=_last_held(state, missing),
    )
    started = replace(
        started,
        held=kept_shards(started.state),
        attestations={},
        attested_at_s={},
        missing={**now.missing, state.epoch: missing},
        ejected_at_s={},
        weights_of={**now.weights_of, state.next_period: _weights(state.next)}
        if is_regular
        else now.weights_of,
        elected_stake=now.selected_stake,
        late_stakes={} if is_regular else now.late_stakes,
    )
    return _finished_at_quorum(started, EpochStarted(state.block, state.next.epoch, state.next_period))


def _last_held(state: EpochState, missing: Collection[int]) -> dict[int, Member]:
    """Return the shards missing at the end of an epoch, each with the member that kept or attested it last."""
    before = {**(state.previous.owner_of if state.previous else {}), **state.unattested}
    return {shard: before[shard] for shard in missing}


def kept_shards(state: EpochState) -> frozenset[int]:
    """Return the shards whose owner is the one before and attested them then; in the first epoch, all shards."""
    if state.current is None:
        return frozenset()
    if state.previous is None:
        return frozenset(state.current.owner_of)
    before = state.previous.owner_of
    kept = {
        shard for shard, owner in state.current.owner_of.items() if before[shard].node_id == owner.node_id
    }
    return frozenset(kept) - state.unattested.keys()


def attest(now: Contracts, account: str, epoch: int, attestations: Sequence[Attestation]) -> Outcome:
    """Attest shards that the account's node gained in this epoch, or gained in the one before and did not attest."""
    state, node_id = now.state, now.node_of(account)
    if epoch != state.epoch or state.current is None:
        raise Revert("WrongEpoch", given=epoch, current=state.epoch)
    own, kept = state.current.shards_of(node_id), kept_shards(state)
    if not own:
        raise Revert("NotAMember", nodeId=node_id, epoch=epoch)
    attested = dict(now.attestations)
    for one in attestations:
        if one.shard not in own:
            raise Revert("NotYourShard", shard=one.shard)
        if one.shard in kept:
            raise Revert("ShardIsKept", shard=one.shard)
        if one.shard in attested:
            raise Revert("AlreadyAttested", shard=one.shard)
        attested[one.shard] = one
    shards = tuple(one.shard for one in attestations)
    times_s = {**now.attested_at_s, **dict.fromkeys(shards, now.time_s)}
    then = replace(now, attestations=attested, attested_at_s=times_s, held=now.held.union(shards))
    return _finished_at_quorum(then, ShardsAttested(state.block, epoch, node_id, shards))


def close(now: Contracts) -> Outcome:
    """End the handover, whose deadline has passed."""
    state = now.state
    if state.handover_done or state.current is None:
        raise Revert("HandoverIsDone", epoch=state.epoch)
    _require_time(now, state.started_at_s + now.parameters.handover_deadline_s)
    closed, done = _finished(now)
    return closed, (done,)


def eject(
    now: Contracts, node_id: int, reason: int, deadline_s: int, certificate: Certificate | None
) -> Outcome:
    """Eject a member: it is no candidate until the next period; a committee selected with it is dropped.

    `certificate` is None when this is done by hand.
    """
    state = now.state
    if now.time_s > deadline_s:
        raise Revert("EjectionTooLate", deadline=deadline_s)
    removed = remove(now, node_id, reason)
    if certificate is not None:
        body = messages.eject_body(node_id, deadline_s, reason)
        now.verify(state.epoch, Intent.EJECT, body, certificate)
    return removed


def remove(now: Contracts, node_id: int, reason: int) -> Outcome:
    """End a member's candidacy until the next period, let it be replaced, and drop a selection with it."""
    state = now.state
    if state.current is None:
        raise Revert("WrongEpoch", given=0, current=0)
    is_selected = state.next is not None and node_id in state.next.by_id
    if not is_selected and node_id not in state.current.by_id:
        raise Revert("NotAMember", nodeId=node_id, epoch=state.epoch)
    if node_id in now.ejected_at_s:
        raise Revert("AlreadyEjected", nodeId=node_id, epoch=state.epoch)
    then = replace(now, ejected_at_s={**now.ejected_at_s, node_id: now.time_s})
    if is_selected:
        less = {late: -amount for late, amount in now.late_stakes.items() if not state.next_is_replacement}
        dropped = then.changed(next=None, next_is_replacement=False, selected_at_s=0)
        then = registry.more_stake(dropped, less)
    then = registry.removed(then, node_id, Absence.REMOVED, barred_until_period=state.period + 1)
    return then, (MemberEjected(state.block, state.epoch, node_id, reason),)


def _weights(committee: Committee) -> dict[int, int]:
    return {member.node_id: member.weight for member in committee.members}


def _require_time(now: Contracts, available_at_s: int) -> None:
    if now.time_s < available_at_s:
        raise Revert("TooEarly", availableAt=available_at_s)


def _finished_at_quorum(now: Contracts, told: Event) -> Outcome:
    current = now.state.current
    if now.state.handover_done or current is None or not current.is_quorum(len(now.held)):
        return now, (told,)
    then, done = _finished(now)
    return then, (told, done)


def _finished(now: Contracts) -> tuple[Contracts, HandoverDone]:
    then = now.changed(handover_done=True, last_handover_done_s=now.time_s)
    if now.state.epoch == now.state.first_epoch:
        then = then.changed(regular_handover_done_s=now.time_s)
    return then, HandoverDone(now.state.block, now.state.epoch)
