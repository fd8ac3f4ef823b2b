"""`haulout proofs …` and `haulout node proofs`: how members prove that they store, and demands that anyone may make."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Annotated, Any

import typer

from committee.cli import NodeArgument, node_app
from committee.connections import open_session
from committee.console import AllowPrivateOption, account_address, chain_command, sending_account
from committee.errors import LedgerError
from committee.ledger import EpochState, Ledger
from committee.ledger.proofs import MemberProof, Round, round_step
from committee.membership import Committee, Member
from committee.printing import Result, sent
from storage.client.cli import blob_id_of
from storage.client.inventories import entry_of
from storage.client.member_client import MemberClient
from storage.client.proof_answers import demanded_opening, drawn_openings
from storage.proofs import Inventory, Position, symbols_in_pair
from storage.proofs.draw import number_of, position_at, position_count
from storage.redstuff import Parameters

app = typer.Typer(no_args_is_help=True, help="Look at storage proofs, and demand single symbols; anyone may.")

EPOCHS_SHOWN = 5
ANSWER_PATIENCE_S = 10.0
"""For so long a member is asked for what it shows."""
OVER = "over"
"""What the round of an epoch that has ended waits for."""

AskerArgument = Annotated[
    str | None,
    typer.Argument(
        parser=account_address,
        metavar="ACCOUNT",
        help="Whose demand; the key's account's when none is named.",
    ),
]


@chain_command(app, "status", sends=False)
async def status(
    ledger: Ledger,
    epoch: Annotated[int | None, typer.Option(help="The current one by default.", min=1)] = None,
) -> Result:
    """The round of an epoch: what it waits for and by when, and each member's part in it, as of the newest block."""
    state = await ledger.epoch_state(await ledger.newest())
    epoch = epoch or state.epoch
    committee = await _committee(ledger, state, epoch)
    node_ids = sorted(committee.by_id)
    found, now_s, parts, misses = await asyncio.gather(
        ledger.proof_round(epoch),
        ledger.chain_time_s(),
        asyncio.gather(*(ledger.member_proof(epoch, node_id) for node_id in node_ids)),
        asyncio.gather(*(ledger.misses(node_id) for node_id in node_ids)),
    )
    return {
        "epoch": epoch,
        **_clock(found, state.epoch == epoch, now_s),
        "members": [
            {
                "node_id": node_id,
                "name": committee.by_id[node_id].name,
                "shards": committee.by_id[node_id].weight,
                **_part(part),
                "misses_in_a_row": missed,
            }
            for node_id, part, missed in zip(node_ids, parts, misses, strict=True)
        ],
    }


@chain_command(node_app, "proofs", sends=False)
async def node_proofs(
    ledger: Ledger,
    node: NodeArgument,
    epochs: Annotated[
        int, typer.Option(help="How many, the current one included.", min=1, max=100)
    ] = EPOCHS_SHOWN,
) -> Result:
    """One node's storage proofs in the last epochs, what it was fined, and what comes next and by when."""
    state = await ledger.epoch_state(await ledger.newest())
    chosen = range(state.epoch, max(0, state.epoch - epochs), -1)
    rounds, parts, committees, now_s, misses, fines = await asyncio.gather(
        asyncio.gather(*(ledger.proof_round(epoch) for epoch in chosen)),
        asyncio.gather(*(ledger.member_proof(epoch, node) for epoch in chosen)),
        asyncio.gather(*(ledger.committee_of(epoch) for epoch in chosen)),
        ledger.chain_time_s(),
        ledger.misses(node),
        ledger.fines(node, chosen),
    )
    name = (await ledger.node(node)).name
    return {
        "node_id": node,
        "name": name,
        "misses_in_a_row": misses,
        **_clock(rounds[0] if rounds else None, state.epoch > 0, now_s),
        "epochs": [
            {
                "epoch": epoch,
                "shards": len(committee.shards_of(node)) if committee else 0,
                "begun": found is not None,
                "drawn": found is not None and found.draw is not None,
                **_part(part),
                "fined": fines.get(epoch, 0),
            }
            for epoch, found, part, committee in zip(chosen, rounds, parts, committees, strict=True)
        ],
    }


@chain_command(app, "draw")
async def draw(ledger: Ledger) -> Result:
    """Once commitments have ended: fix the block that draws positions; behind that block: draw them."""
    transaction = await ledger.draw()
    state = await ledger.epoch_state(await ledger.newest())
    found = await ledger.proof_round(state.epoch)
    drawn = found is not None and found.draw is not None
    return sent(transaction, epoch=state.epoch, drawn=drawn, draw_block=found.draw_block if found else 0)


@chain_command(app, "answer")
async def answer(
    ledger: Ledger,
    node: NodeArgument,
    demand: Annotated[
        str | None,
        typer.Option(
            "--demand",
            parser=account_address,
            metavar="ACCOUNT",
            help="Answer this account's demand instead.",
        ),
    ] = None,
    allow_private: AllowPrivateOption = None,
) -> Result:
    """Answer on chain for a member that does not reach the chain, with what it shows, once that is found right."""
    state = await ledger.epoch_state(await ledger.newest())
    member, found = _member(state, node), _begun(state, await ledger.proof_round(state.epoch))
    grid = Parameters((await ledger.parameters()).n_shards)
    is_private = ledger.is_development_chain if allow_private is None else allow_private
    async with open_session(allow_private=is_private) as session:
        client = MemberClient(session, member.name, member.address, ANSWER_PATIENCE_S)
        asked = ledger, client, grid, member, state.epoch, found
        if demand is not None:
            asking, opening = await demanded_opening(*asked, demand)
            transaction = await ledger.answer_demand(node, demand, opening)
            return sent(
                transaction, node_id=node, asker=demand, **_named(grid, member, found, asking.position)
            )
        openings = await drawn_openings(*asked)
        transactions = await ledger.answer(node, openings)
    part = await ledger.member_proof(state.epoch, node)
    return {
        "node_id": node,
        "epoch": state.epoch,
        "answered": len(part.answered),
        "proven": part.is_proven,
        "transactions": [sent(one) for one in transactions],
    }


@chain_command(app, "judge")
async def judge(ledger: Ledger, node: NodeArgument) -> Result:
    """Have a member that has not proven in time miss the round; a second miss in a row is punished."""
    transaction = await ledger.judge(node)
    state = await ledger.epoch_state(await ledger.newest())
    part = await ledger.member_proof(state.epoch, node)
    return sent(
        transaction, node_id=node, epoch=state.epoch, missed=part.is_missed, punished=part.is_punished
    )


@chain_command(app, "demand")
async def demand(
    ledger: Ledger,
    node: NodeArgument,
    blob: Annotated[
        bytes | None, typer.Option(parser=blob_id_of, metavar="BLOB", help="Of which blob: its id.")
    ] = None,
    shard: Annotated[int | None, typer.Option(help="Of which shard of the member.", min=0)] = None,
    symbol: Annotated[
        int | None,
        typer.Option(
            help="Which symbol of the sliver pair: the primary's first, then the secondary's.", min=0
        ),
    ] = None,
    position: Annotated[
        int | None, typer.Option(help="In place of these three, the position's number.", min=0)
    ] = None,
    at_random: Annotated[bool, typer.Option("--random", help="Any of the member's symbols.")] = False,
    allow_private: AllowPrivateOption = None,
) -> Result:
    """Demand that a member shows a symbol on chain; the bond is the node's if it does, and yours again if not."""
    named = [one for one in (blob, shard, symbol) if one is not None]
    if [len(named) == 3, position is not None, at_random].count(True) != 1 or len(named) in (1, 2):
        raise typer.BadParameter("give --blob, --shard and --symbol, or --position, or --random")
    state = await ledger.epoch_state(await ledger.newest())
    member, found = _member(state, node), _begun(state, await ledger.proof_round(state.epoch))
    grid = Parameters((await ledger.parameters()).n_shards)
    count = position_count(grid, len(member.shards), found.weight)
    if blob is not None and shard is not None and symbol is not None:
        first = _first_position(grid, member, shard, symbol)
        committee = await _committee(ledger, state, state.epoch)
        offset = await _offset(ledger, committee, member, found, blob, allow_private)
        position = number_of(grid, found.weight, replace(first, offset=offset))
    elif position is None:
        position = secrets.randbelow(count)
    elif position >= count:
        raise LedgerError(f"node {node} has no position {position}: they are 0 to {count - 1}")
    terms = await ledger.proof_terms()
    transaction = await ledger.demand(node, position)
    made_s = await ledger.block_time_s(transaction.block.number)
    return sent(
        transaction,
        node_id=node,
        **_named(grid, member, found, position),
        bond=terms.bond,
        answer_by_s=made_s + terms.demand_window_s,
    )


@chain_command(app, "demands", sends=False)
async def demands(ledger: Ledger, node: NodeArgument) -> Result:
    """List the demands of a member that are open in the current epoch."""
    state = await ledger.epoch_state(await ledger.newest())
    member, found, asked = (
        _member(state, node),
        await ledger.proof_round(state.epoch),
        await ledger.demands(node),
    )
    if found is None:
        return {"node_id": node, "epoch": state.epoch, "demands": []}
    grid = Parameters((await ledger.parameters()).n_shards)
    return {
        "node_id": node,
        "epoch": state.epoch,
        "demands": [
            {"asker": one.asker, **_named(grid, member, found, one.position), "answer_by_s": one.answer_by_s}
            for one in asked
        ],
    }


@chain_command(app, "judge-demand")
async def judge_demand(ledger: Ledger, node: NodeArgument, asker: AskerArgument = None) -> Result:
    """Have a member punished that has not answered a demand in time. Its asker gets bond and bounty."""
    asker = asker or sending_account(ledger)
    transaction = await ledger.judge_demand(node, asker)
    state = await ledger.epoch_state(await ledger.newest())
    part = await ledger.member_proof(state.epoch, node)
    return sent(transaction, node_id=node, asker=asker, epoch=state.epoch, punished=part.is_punished)


@chain_command(app, "reclaim")
async def reclaim(
    ledger: Ledger,
    node: NodeArgument,
    asker: AskerArgument = None,
    epoch: Annotated[int | None, typer.Option(help="The last that is over by default.", min=1)] = None,
) -> Result:
    """Get the bond of a demand back whose epoch ended before it was answered or judged."""
    asker = asker or sending_account(ledger)
    if epoch is None:
        epoch = (await ledger.epoch_state(await ledger.newest())).epoch - 1
        if epoch < 1:
            raise LedgerError("no epoch is over yet: there is nothing to reclaim")
    return sent(await ledger.reclaim(epoch, node, asker), node_id=node, asker=asker, epoch=epoch)


def _clock(found: Round | None, is_current: bool, now_s: int) -> dict[str, Any]:
    """Return what a round waits for and its times, as commands print them."""
    step, by_s = round_step(found, now_s)
    told: dict[str, Any] = {
        "next_step": str(step) if is_current else OVER,
        "by_s": by_s if is_current else None,
    }
    if found is None:
        return told
    return {
        **told,
        "blobs": found.count,
        "weight": found.weight,
        "commit_by_s": found.commit_by_s,
        "draw_block": found.draw_block or None,
        "draw": found.draw,
        "prove_by_s": found.prove_by_s or None,
        "answer_by_s": found.answer_by_s or None,
    }


def _part(part: MemberProof) -> dict[str, Any]:
    """Return a member's part in a round, as commands print it."""
    return {
        "committed": any(part.commitment),
        "answered": len(part.answered),
        "proven": part.is_proven,
        "missed": part.is_missed,
        "punished": part.is_punished,
        "open_demands": part.open_demands,
    }


def _named(grid: Parameters, member: Member, found: Round, position: int) -> dict[str, Any]:
    """Return what the number of a position names."""
    at = position_at(grid, found.weight, position)
    shard = member.shards[at.shard_number] if at.shard_number < len(member.shards) else None
    return {"position": position, "shard": shard, "symbol": at.symbol, "offset": at.offset}


async def _committee(ledger: Ledger, state: EpochState, epoch: int) -> Committee:
    committee = state.committee(epoch) if epoch <= state.epoch else None
    committee = committee or (await ledger.committee_of(epoch) if epoch <= state.epoch else None)
    if committee is None:
        raise LedgerError(f"epoch {epoch} has not begun: see haulout epoch status")
    return committee


def _member(state: EpochState, node_id: int) -> Member:
    member = state.current.by_id.get(node_id) if state.current else None
    if member is None:
        raise LedgerError(f"node {node_id} is no member in epoch {state.epoch}: see haulout epoch status")
    return member


def _begun(state: EpochState, found: Round | None) -> Round:
    if found is None:
        raise LedgerError(
            f"the round of epoch {state.epoch} has not begun, so there is no inventory: see haulout proofs status"
        )
    return found


def _first_position(grid: Parameters, member: Member, shard: int, symbol: int) -> Position:
    """Return the position of a symbol of the first blob's pair. Raises `LedgerError` where the member has none such."""
    if shard not in member.shards:
        own = ", ".join(map(str, member.shards))
        raise LedgerError(f"shard {shard} is not node {member.node_id}'s, which has {own}")
    if symbol >= symbols_in_pair(grid):
        raise LedgerError(f"no symbol has the number {symbol}: they are 0 to {symbols_in_pair(grid) - 1}")
    return Position(member.shards.index(shard), symbol, 0)


async def _offset(
    ledger: Ledger,
    committee: Committee,
    member: Member,
    found: Round,
    blob_id: bytes,
    allow_private: bool | None,
) -> int:
    """Return a blob's offset in the round's inventory, which members tell: `member`, and then the largest first."""
    is_private = ledger.is_development_chain if allow_private is None else allow_private
    members = sorted(committee.members, key=lambda one: (one.node_id != member.node_id, -one.weight))
    async with open_session(allow_private=is_private) as session:
        clients = {
            one.node_id: MemberClient(session, one.name, one.address, ANSWER_PATIENCE_S) for one in members
        }
        inventory = Inventory(found.inventory_root, found.count, found.weight)
        return (await entry_of(clients, committee, inventory, blob_id)).offset
