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
from committee.membership import Committee, Member
from committee.messages import Intent
from committee.shards import assign, worth_a_shard
from localnet.memory_chain import registry
from localnet.memory_chain.contracts import Contracts, Outcome, Revert

Shards = Mapping[int, Collection[int]]
"""Node id → its shards."""


def select(now: Contracts, shards: Shards | None = None) -> Outcome:
    """The next committee: elected from the candidates as they are now, or with the shards that whoever asks names."""
    state, parameters = now.state, now.parameters
    if state.next is not None:
        raise Revert("AlreadySelected", epoch=state.next.epoch)
    if not state.handover_done:
        raise Revert("HandoverNotDone", epoch=state.epoch)
    _require_time(now, selectable_at_s(now))
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


def stake_needed(now: Contracts) -> int:
    """How much stake has to be elected in a selection made now, after the handover."""
    longest_s = now.parameters.shrink_s
    waited_s = min(max(0, now.time_s - selectable_at_s(now)), longest_s)
    return 2 * now.elected_stake * (longest_s - waited_s) // (3 * longest_s)


def start(now: Contracts) -> Outcome:
    """The selected epoch is the current one."""
    state = now.state
    if state.next is None:
        raise Revert("NotSelected", epoch=state.epoch + 1)
    if state.epoch:
        _require_time(now, _after_handover_s(now, now.parameters.period_duration_s))
        _require_time(now, state.selected_at_s + now.parameters.notice_s)
    missing = now.missing_shards(state.epoch)
    started = now.changed(
        epoch=state.next.epoch,
        period=state.period + 1,
        started_at_s=now.time_s,
        started_block=state.block,
        handover_done=False,
        previous=state.current,
        current=state.next,
        next=None,
        selected_at_s=0,
        unattested=_last_held(state, missing),
    )
    started = replace(
        started,
        held=kept_shards(started.state),
        attestations={},
        missing={**now.missing, state.epoch: missing},
        ejected=frozenset(),
        elected_stake=now.selected_stake,
        late_stakes={},
    )
    return _finished_at_quorum(started, EpochStarted(state.block, state.next.epoch, state.period + 1))


def _last_held(state: EpochState, missing: Collection[int]) -> dict[int, Member]:
    """Shards nobody has kept or attested in an epoch that ends, and who did last."""
    before = {**(state.previous.owner_of if state.previous else {}), **state.unattested}
    return {shard: before[shard] for shard in missing}


def kept_shards(state: EpochState) -> frozenset[int]:
    """All whose owner is the one it was before, but for those it did not attest there; in the first epoch, all."""
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
    """Shards that the account's node gained in this epoch, or gained in the one before and did not attest."""
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
    then = replace(now, attestations=attested, held=now.held.union(shards))
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
    """A member that does not answer is no candidate until the next period; a committee selected with it is dropped.

    None for a certificate that whoever runs the chain vouches for.
    """
    state = now.state
    if now.time_s > deadline_s:
        raise Revert("EjectionTooLate", deadline=deadline_s)
    if state.current is None:
        raise Revert("WrongEpoch", given=0, current=0)
    is_selected = state.next is not None and node_id in state.next.by_id
    if not is_selected and node_id not in state.current.by_id:
        raise Revert("NotAMember", nodeId=node_id, epoch=state.epoch)
    if node_id in now.ejected:
        raise Revert("AlreadyEjected", nodeId=node_id, epoch=state.epoch)
    if certificate is not None:
        body = messages.eject_body(node_id, deadline_s, reason)
        now.verify(state.epoch, Intent.EJECT, body, certificate)
    then = replace(now, ejected=now.ejected | {node_id})
    if is_selected:
        less = {late: -amount for late, amount in now.late_stakes.items()}
        then = registry.more_stake(then.changed(next=None, selected_at_s=0), less)
    then = registry.removed(then, node_id, Absence.REMOVED, barred_until_period=state.period + 1)
    return then, (MemberEjected(state.block, state.epoch, node_id, reason),)


def selectable_at_s(now: Contracts) -> int:
    """Return the time from which on a committee may be selected."""
    return _after_handover_s(now, now.parameters.period_duration_s // 2)


def startable_at_s(now: Contracts) -> int:
    """Return the time from which on the selected epoch may be started."""
    if now.state.epoch == 0:
        return 0
    after_handover_s = _after_handover_s(now, now.parameters.period_duration_s)
    return max(after_handover_s, now.state.selected_at_s + now.parameters.notice_s)


def _after_handover_s(now: Contracts, delay_s: int) -> int:
    return 0 if now.state.epoch == 0 else now.state.last_handover_done_s + delay_s


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
    return then, HandoverDone(now.state.block, now.state.epoch)
