"""Answers on chain in a member's place: what the member shows, judged by the rules before gas is paid for it."""

from __future__ import annotations

from dataclasses import replace

from committee.errors import HauloutError
from committee.ledger import NodeLedger
from committee.ledger.proofs import Demand, MemberProof, Round
from committee.membership import Member
from committee.opening import NOTHING_OPENED, PLACES_ON_CHAIN, Opening
from storage.client.errors import NodeError
from storage.client.member_client import MemberClient
from storage.proofs import (
    Commitment,
    Inventory,
    WrongOpening,
    judge,
    judge_demanded,
    position_at,
    positions,
    salt_of,
)
from storage.redstuff import Parameters


class CannotAnswer(HauloutError):
    """Nothing can be sent in the member's place; the message says why, and what can be done."""


async def commitment_of(
    ledger: NodeLedger, member: Member, epoch: int, round_: Round
) -> tuple[MemberProof, Commitment]:
    """Return a member's part in a round, and the commitment that its openings are judged by. Raises `LedgerError`."""
    proof = await ledger.member_proof(epoch, member.node_id)
    held = await ledger.held_since(member.shards)
    return proof, Commitment(
        root=proof.commitment,
        salt=salt_of(epoch, member.node_id, member.public_key, round_.salt_seed),
        shards=member.shards,
        attested={shard: one.attested for shard, one in held.items() if one.attested is not None},
        lacking={shard for shard in member.shards if not held[shard].was_in_time(round_.commit_by_s)},
    )


async def drawn_openings(
    ledger: NodeLedger, client: MemberClient, grid: Parameters, member: Member, epoch: int, round_: Round
) -> dict[int, Opening]:
    """Return the openings of the places that the member has not answered on chain yet, by the places' numbers.

    Raises `LedgerError`, and `CannotAnswer` where the chain would refuse them, or the member does not show them.
    """
    proof, commitment = await commitment_of(ledger, member, epoch, round_)
    if proof.is_proven:
        raise CannotAnswer(f"{member.name} has proven already in epoch {epoch}: there is nothing to answer")
    if round_.draw is None:
        raise CannotAnswer(
            f"the positions of epoch {epoch} are not drawn yet: see haulout proofs status, and haulout proofs draw"
        )
    if await ledger.chain_time_s() > round_.answer_by_s:
        raise CannotAnswer(f"too late: answers counted until {round_.answer_by_s} (chain time)")
    if commitment.is_over_nothing:
        return dict.fromkeys(set(range(PLACES_ON_CHAIN)) - proof.answered, NOTHING_OPENED)
    if not any(proof.commitment):
        raise CannotAnswer(f"{member.name} has committed to nothing in epoch {epoch}, so it cannot prove")
    try:
        shown = await client.openings(round_.draw, 0)
    except NodeError as error:
        raise CannotAnswer(
            f"{member.name} does not show what was drawn: {error} (it is shown once the node has made all of it; see "
            "its log)"
        ) from error
    drawn = positions(grid, round_.draw, member.node_id, len(member.shards), round_.weight)
    inventory = Inventory(round_.inventory_root, round_.count, round_.weight)
    openings = {}
    for place, position, opening in zip(range(PLACES_ON_CHAIN), drawn, shown, strict=False):
        if place in proof.answered:
            continue
        try:
            judge(grid, inventory, commitment, opening, position, _maybe_invalid)
        except WrongOpening as error:
            raise CannotAnswer(_wrong(member, f"place {place}", error)) from error
        openings[place] = opening
    return openings


async def demanded_opening(
    ledger: NodeLedger,
    client: MemberClient,
    grid: Parameters,
    member: Member,
    epoch: int,
    round_: Round,
    asker: str,
) -> tuple[Demand, Opening]:
    """Return an account's open demand of a member, and the opening that answers it. Raises as `drawn_openings`."""
    asked = [demand for demand in await ledger.demands(member.node_id) if demand.asker == asker]
    if not asked:
        raise CannotAnswer(f"{asker} has no open demand of {member.name}: see haulout proofs demands")
    demand = asked[0]
    if await ledger.chain_time_s() > demand.answer_by_s:
        raise CannotAnswer(f"too late: an answer counted until {demand.answer_by_s} (chain time)")
    position = position_at(grid, round_.weight, demand.position)
    shard = member.shards[position.shard_number]
    _, commitment = await commitment_of(ledger, member, epoch, round_)
    if commitment.is_excused_of(shard):
        return demand, NOTHING_OPENED
    try:
        opening = await client.opening_at(demand.position)
    except NodeError as error:
        raise CannotAnswer(f"{member.name} does not show position {demand.position}: {error}") from error
    if shard not in commitment.lacking:
        opening = replace(opening, commitment_path=())
    inventory = Inventory(round_.inventory_root, round_.count, round_.weight)
    try:
        judge_demanded(grid, inventory, commitment, opening, position, _maybe_invalid)
    except WrongOpening as error:
        raise CannotAnswer(_wrong(member, f"position {demand.position}", error)) from error
    return demand, opening


def _maybe_invalid(blob_id: bytes) -> bool:
    """Whether a blob that is opened without a symbol is invalid, the chain judges, before it takes gas."""
    return True


def _wrong(member: Member, what: str, error: WrongOpening) -> str:
    return (
        f"what {member.name} shows of {what} is wrong, so nothing was sent: {type(error).__name__}: {error}"
    )
