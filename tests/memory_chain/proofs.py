"""The rules of storage proofs: `contracts/evm/src/Proofs.sol` and `ProofRounds.sol`. Bonds are free here.

Whether an opening shows what it should, `storage.proofs` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from committee import messages
from committee.certificate import Certificate
from committee.ledger.proofs import Demand, Held, Round
from committee.membership import Member
from committee.messages import Intent
from committee.opening import COMMITMENT_BYTES, PLACES_ON_CHAIN, Opening
from storage.proofs import (
    Commitment,
    Inventory,
    Position,
    WrongOpening,
    judge,
    judge_demanded,
    salt_of,
)
from storage.proofs.draw import drawn_position, position_at, position_count
from storage.redstuff import Parameters as Grid
from tests.memory_chain import epochs, registry
from tests.memory_chain.contracts import Contracts, OpenDemand, Outcome, Part, Revert

DRAW_AHEAD = 4
"""The draw is by the hash of this many blocks ahead."""
MAX_OPEN_DEMANDS = 16
FINE_PERCENT = 1
MISSED, UNANSWERED = 2, 3
"""Reasons of an ejection."""

HashOf = Callable[[int], bytes | None]
"""Block → its hash; None for one that is not there."""


@dataclass(frozen=True, slots=True)
class _Questioned:
    """A member in the current round, and what its openings are judged by."""

    grid: Grid
    member: Member
    round_: Round
    commitment: Commitment

    @property
    def position_count(self) -> int:
        """How many positions the member has."""
        return position_count(self.grid, len(self.member.shards), self.round_.weight)

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.round_.inventory_root, self.round_.count, self.round_.weight)

    def position(self, number: int) -> Position:
        """The member's position of a number."""
        return position_at(self.grid, self.round_.weight, number)


def begin(now: Contracts, root: bytes, count: int, weight: int, certificate: Certificate) -> Outcome:
    """Begin the round of the current epoch."""
    epoch, salt_seed = now.state.epoch, now.state.salt_seed
    if epoch in now.rounds:
        raise Revert("AlreadyBegun", epoch=epoch)
    if count == 0 or weight == 0:
        raise Revert("EmptyInventory")
    now.verify(epoch, Intent.INVENTORY, messages.inventory_body(root, count, weight), certificate)
    assert salt_seed is not None
    begun = Round(
        inventory_root=root,
        count=count,
        weight=weight,
        salt_seed=salt_seed,
        commit_by_s=now.time_s + now.proof_terms.commit_window_s,
        draw_block=0,
        draw=None,
        prove_by_s=0,
        answer_by_s=0,
    )
    return _with_round(now, begun), ()


def commit(now: Contracts, account: str, epoch: int, root: bytes) -> Outcome:
    """Commit the account's node to what it stores."""
    if epoch not in now.rounds:
        raise Revert("RoundNotBegun", epoch=epoch)
    deadline_s = now.rounds[epoch].commit_by_s
    if now.time_s >= deadline_s:
        raise Revert("TooLate", deadline=deadline_s)
    node_id = now.node_of(account)
    if node_id == 0:
        raise Revert("NotAnOperator", account=account)
    return _with_part(now, epoch, node_id, commitment=root), ()


def draw(now: Contracts, hash_of: HashOf) -> Outcome:
    """Fix the block that draws, or draw by its hash."""
    epoch, round_ = _current(now)
    if round_.answer_by_s:
        raise Revert("AlreadyDrawn", epoch=epoch)
    if now.time_s < round_.commit_by_s:
        raise Revert("TooEarly", availableAt=round_.commit_by_s)
    if round_.draw_block and now.state.block.number <= round_.draw_block:
        raise Revert("DrawPending", drawBlock=round_.draw_block)
    drawn = hash_of(round_.draw_block) if round_.draw_block else None
    if drawn is None:
        return _with_round(now, replace(round_, draw_block=now.state.block.number + DRAW_AHEAD)), ()
    prove_by_s = now.time_s + now.proof_terms.prove_window_s
    answer_by_s = prove_by_s + now.proof_terms.answer_window_s
    return _with_round(now, replace(round_, draw=drawn, prove_by_s=prove_by_s, answer_by_s=answer_by_s)), ()


def prove(now: Contracts, node_id: int, certificate: Certificate) -> Outcome:
    """End the round for a member by its fellows' certificate."""
    epoch, round_ = _drawn(now)
    if now.part(epoch, node_id).is_proven:
        raise Revert("AlreadyProven", nodeId=node_id, epoch=epoch)
    assert round_.draw is not None
    now.verify(epoch, Intent.PROOF, messages.proof_body(node_id, round_.draw), certificate)
    return _forgiven(_with_part(now, epoch, node_id, is_proven=True), node_id), ()


def answer(now: Contracts, node_id: int, openings: Mapping[int, Opening]) -> Outcome:
    """Answer places of a member; when all are, it has proven."""
    epoch, round_ = _drawn(now)
    part = now.part(epoch, node_id)
    if part.is_proven:
        raise Revert("AlreadyProven", nodeId=node_id, epoch=epoch)
    questioned = _questioned(now, epoch, node_id, round_)
    assert round_.draw is not None
    for place, opening in openings.items():
        if not 0 <= place < PLACES_ON_CHAIN:
            raise Revert("NoSuchPlace", place=place)
        if place in part.answered:
            continue
        position = questioned.position(drawn_position(round_.draw, node_id, place, questioned.position_count))
        is_shown = _judged(judge, now, questioned, opening, position)
        part = replace(part, answered=part.answered | {place}, has_shown=part.has_shown or bool(is_shown))
    is_proven = len(part.answered) == PLACES_ON_CHAIN
    then = replace(now, parts={**now.parts, (epoch, node_id): replace(part, is_proven=is_proven)})
    return (_forgiven(then, node_id) if is_proven and part.has_shown else then), ()


def judge_member(now: Contracts, node_id: int) -> Outcome:
    """Have a member miss the round; punish it for the second miss in a row."""
    epoch, round_ = _current(now)
    if round_.answer_by_s == 0:
        raise Revert("DrawNotMade", epoch=epoch)
    if now.time_s <= round_.answer_by_s:
        raise Revert("TooEarly", availableAt=round_.answer_by_s + 1)
    part = now.part(epoch, node_id)
    if part.is_proven:
        raise Revert("AlreadyProven", nodeId=node_id, epoch=epoch)
    if part.is_missed:
        raise Revert("AlreadyJudged", nodeId=node_id, epoch=epoch)
    _member(now, epoch, node_id)
    missed = _with_part(now, epoch, node_id, is_missed=True)
    missed = replace(missed, misses={**now.misses, node_id: now.misses.get(node_id, 0) + 1})
    return _punished(missed, epoch, node_id, MISSED) if missed.misses[node_id] > 1 else (missed, ())


def demand(now: Contracts, account: str, node_id: int, position: int) -> Outcome:
    """Demand that a member shows the symbol at a position."""
    epoch, round_ = _current(now)
    member = _member(now, epoch, node_id)
    end = position_count(Grid(now.parameters.n_shards), len(member.shards), round_.weight)
    if position >= end:
        raise Revert("NoSuchPosition", position=position, end=end)
    if (epoch, node_id, account) in now.demands:
        raise Revert("AlreadyDemanded", nodeId=node_id, asker=account)
    answer_by_s = now.time_s + now.proof_terms.demand_window_s
    then, fellow = _place_taken(now, epoch, node_id, account)
    asked = OpenDemand(Demand(node_id, account, position, answer_by_s), fellow)
    return replace(then, demands={**now.demands, (epoch, node_id, account): asked}), ()


def answer_demand(now: Contracts, node_id: int, asker: str, opening: Opening) -> Outcome:
    """Answer a demand in time."""
    epoch, round_ = _current(now)
    asked = _open(now, epoch, node_id, asker).demand
    if now.time_s > asked.answer_by_s:
        raise Revert("TooLate", deadline=asked.answer_by_s)
    questioned = _questioned(now, epoch, node_id, round_)
    _judged(judge_demanded, now, questioned, opening, questioned.position(asked.position))
    return _closed(now, epoch, node_id, asker), ()


def judge_demand(now: Contracts, node_id: int, asker: str) -> Outcome:
    """Punish a member that has not answered a demand."""
    epoch, _ = _current(now)
    asked = _open(now, epoch, node_id, asker).demand
    if now.time_s <= asked.answer_by_s:
        raise Revert("TooEarly", availableAt=asked.answer_by_s + 1)
    return _punished(_closed(now, epoch, node_id, asker), epoch, node_id, UNANSWERED)


def reclaim(now: Contracts, epoch: int, node_id: int, asker: str) -> Outcome:
    """Close a demand of an epoch that is over."""
    if epoch == now.state.epoch:
        raise Revert("EpochNotOver", epoch=epoch)
    _open(now, epoch, node_id, asker)
    return _closed(now, epoch, node_id, asker), ()


def _current(now: Contracts) -> tuple[int, Round]:
    epoch = now.state.epoch
    if epoch not in now.rounds:
        raise Revert("RoundNotBegun", epoch=epoch)
    return epoch, now.rounds[epoch]


def _drawn(now: Contracts) -> tuple[int, Round]:
    """Return the current epoch and its round, in which certificates and answers are taken."""
    epoch, round_ = _current(now)
    if round_.answer_by_s == 0:
        raise Revert("DrawNotMade", epoch=epoch)
    if now.time_s > round_.answer_by_s:
        raise Revert("TooLate", deadline=round_.answer_by_s)
    return epoch, round_


def held_since(now: Contracts, shard: int) -> Held:
    """Since when the owner of a shard has had it."""
    attested = now.attestations.get(shard)
    since_s = now.attested_at_s.get(shard, now.state.started_at_s) if shard in now.held else 0
    return Held(since_s, None if attested is None else attested.digest)


def _member(now: Contracts, epoch: int, node_id: int) -> Member:
    committee = now.state.current
    if committee is None or node_id not in committee.by_id:
        raise Revert("NotAMember", nodeId=node_id, epoch=epoch)
    return committee.by_id[node_id]


def _questioned(now: Contracts, epoch: int, node_id: int, round_: Round) -> _Questioned:
    member = _member(now, epoch, node_id)
    salt = salt_of(epoch, node_id, member.public_key, round_.salt_seed)
    attested = {shard: one.digest for shard, one in now.attestations.items()}
    lacking = {shard for shard in member.shards if not held_since(now, shard).was_in_time(round_.commit_by_s)}
    root = now.part(epoch, node_id).commitment[:COMMITMENT_BYTES]
    commitment = Commitment(root, salt, member.shards, attested, lacking)
    return _Questioned(Grid(now.parameters.n_shards), member, round_, commitment)


def _judged(
    rule: Callable[..., bool | None],
    now: Contracts,
    questioned: _Questioned,
    opening: Opening,
    position: Position,
) -> bool | None:
    """Return what a rule says of an opening. Raises `Revert` with the name of what the opening breaks of it."""
    held_to = questioned.grid, questioned.inventory, questioned.commitment
    try:
        return rule(*held_to, opening, position, now.invalid.__contains__)
    except WrongOpening as wrong:
        raise Revert(type(wrong).__name__) from None


def _punished(now: Contracts, epoch: int, node_id: int, reason: int) -> Outcome:
    """Slash and eject a member, once an epoch, and as long as the punished of the period began it with few shards."""
    period = now.state.period
    punished = now.punished_shards.get(period, 0) + now.regular_weights[node_id]
    if now.part(epoch, node_id).is_punished or punished > (now.parameters.n_shards - 1) // 3:
        return now, ()
    then = _with_part(now, epoch, node_id, is_punished=True)
    then = replace(then, punished_shards={**now.punished_shards, period: punished})
    slashable = now.nodes[node_id].stake - now.late_stakes.get(node_id, 0)
    then = registry.more_stake(then, {node_id: -(slashable * FINE_PERCENT // 100)})
    return (then, ()) if node_id in now.ejected_at_s else epochs.remove(then, node_id, reason)


def _forgiven(now: Contracts, node_id: int) -> Contracts:
    return replace(now, misses={other: count for other, count in now.misses.items() if other != node_id})


def _open(now: Contracts, epoch: int, node_id: int, asker: str) -> OpenDemand:
    if (epoch, node_id, asker) not in now.demands:
        raise Revert("NotDemanded", nodeId=node_id, asker=asker)
    return now.demands[epoch, node_id, asker]


def _place_taken(now: Contracts, epoch: int, node_id: int, account: str) -> tuple[Contracts, int]:
    """Return the contracts with one place less for demands, and the fellow whose own place it is; 0 for anybody's."""
    count = now.part(epoch, node_id).open_demands
    if count < MAX_OPEN_DEMANDS:
        return _with_part(now, epoch, node_id, open_demands=count + 1), 0
    fellow, current = now.node_of(account), now.state.current
    asking = {one.fellow for (*of, _), one in now.demands.items() if of == [epoch, node_id]}
    if current is None or fellow not in current.by_id or fellow in asking:
        raise Revert("TooManyDemands", nodeId=node_id)
    return now, fellow


def _closed(now: Contracts, epoch: int, node_id: int, asker: str) -> Contracts:
    left = dict(now.demands)
    closed = left.pop((epoch, node_id, asker))
    then = replace(now, demands=left)
    if closed.fellow:
        return then
    return _with_part(then, epoch, node_id, open_demands=now.part(epoch, node_id).open_demands - 1)


def _with_round(now: Contracts, round_: Round) -> Contracts:
    return replace(now, rounds={**now.rounds, now.state.epoch: round_})


def _with_part(now: Contracts, epoch: int, node_id: int, **changes: Any) -> Contracts:
    part: Part = replace(now.part(epoch, node_id), **changes)
    return replace(now, parts={**now.parts, (epoch, node_id): part})
