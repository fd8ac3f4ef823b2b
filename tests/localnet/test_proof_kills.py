"""SIGKILL at every step of a round of storage proofs: the same is committed to, it is proven, and nobody misses it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from committee.membership import Committee
from committee.opening import COMMITMENT_BYTES
from committee.rota import draw_order
from localnet.network import LocalNetwork
from storage.node import fail_points
from tests.localnet.proof_rounds import ProvingNetwork

N_SHARDS = 10
STAKES = {"alfa": 300, "bravo": 300, "charlie": 200, "delta": 200}
"""3, 3, 2 and 2 shards; 7 are a quorum."""
END_LIMIT_S = 120.0
TWO_SHARDS, TWO_STAKES = 4, {"alfa": 200, "bravo": 200}
"""3 of 4 shards are a quorum: each node needs the other's signature."""
KILLS = {"alfa": ["proofs.commitment-sent"], "bravo": ["proofs.tree-made", "proofs.page-made:3"]}
"""Node → the fail points at which it is killed, one after another."""
BEGINS, DRAWS, ANOTHER, YET_ANOTHER = "begins", "draws", "another", "yet another"
"""The members whose turn it is first with these tasks, and two more."""
MORE_KILLS = {
    BEGINS: [
        "proofs.inventory-certified",
        "proofs.round-begun",
        "proofs.commitment-wanted",
        "proofs.demand-answer-wanted",
        "proofs.demand-answered",
        "proofs.pages-made",
    ],
    ANOTHER: ["proofs.tree-made", "proofs.trees-made", "proofs.commitment-kept", "proofs.proof-signed"],
    YET_ANOTHER: ["proofs.inventory-made", "proofs.pairs-read", "proofs.page-judged:5"],
    DRAWS: ["proofs.draw-sent", "proofs.page-made", "proofs.proof-certified", "proofs.proof-sent"],
}
"""Role → fail points; only with --slow, as those at answers on chain and judgements."""
STEPS = (
    *("inventory-made", "pairs-read", "tree-made", "inventory-certified", "round-begun", "trees-made"),
    *("commitment-kept", "commitment-wanted", "commitment-sent", "demand-answer-wanted", "demand-answered"),
    *("draw-sent", "page-made", "pages-made", "proof-certified", "proof-sent", "page-judged", "proof-signed"),
)
"""In the order in which a node comes to them."""
CHEATS = {"bravo": "lie-about=alfa", "charlie": "lie-about=alfa", "delta": "answer-late"}
"""So that alfa has to answer on chain, and delta is to be judged."""
LAST_KILLS = ("proofs.answer-wanted", "proofs.answer-sent", "proofs.judgement-sent")

Kills = Mapping[str, Sequence[str]]


def first_turn(committee: Committee, epoch: int, task: str) -> str:
    """The member whose turn it is first with a task of a round."""
    weights = {one.node_id: one.weight for one in committee.members}
    return committee.by_id[draw_order(weights, epoch, task)[0]].name


def step_of(point: str) -> int:
    return STEPS.index(point.removeprefix("proofs.").partition(":")[0])


def assigned(committee: Committee) -> Kills:
    """Node → what `MORE_KILLS` has for its roles in the round of epoch 2."""
    begins, draws = (first_turn(committee, 2, task) for task in ("begin 2", "draw 0 in 2"))
    others = [name for name in STAKES if name not in (begins, draws)]
    roles = {BEGINS: begins, DRAWS: draws, ANOTHER: others[0], YET_ANOTHER: others[1]}
    found: dict[str, list[str]] = {}
    for role, points in MORE_KILLS.items():
        found[roles[role]] = sorted([*found.get(roles[role], []), *points], key=step_of)
    return found


async def killed(network: LocalNetwork, name: str, points: Sequence[str]) -> None:
    """A node that runs, armed with the first point, is killed at each; in the end it runs unarmed."""
    node = network.nodes[name]
    for then in [*points[1:], ""]:
        assert await node.ended(END_LIMIT_S) == -signal.SIGKILL
        await node.start(then)


async def see_through(proving: ProvingNetwork, kills: Kills, demands_of: str | None = None) -> None:
    """The round of epoch 2, with nodes that are armed; a symbol is demanded of one, if named."""
    network = proving.network
    await proving.period_passes()
    dying = [asyncio.create_task(killed(network, name, points)) for name, points in kills.items()]
    seen, committee = await proving.round(), await proving.committee()
    await seen.committed(seen.names)
    commitments = {name: part.commitment for name, part in (await seen.parts()).items()}
    if demands_of is not None:
        (node_id,) = [one.node_id for one in committee.members if one.name == demands_of]
        await network.operator.demand(node_id, 0)

        async def answered() -> int:
            return int(not await network.operator.demands(node_id))

        await network.until("the member answers what is demanded", answered, 1)
    async with network.mining():  # and not before: no turn passes while a node is started again
        await seen.drawn()
    await seen.proven(seen.names)
    await asyncio.gather(*dying)
    await network.serving()
    salt_seed = (await seen.round()).salt_seed
    for member in committee.members:
        whole = await proving.commitment(member, 2, salt_seed)
        assert commitments[member.name] == whole[:COMMITMENT_BYTES]
    sent = await proving.sent(0)
    assert [sent[name, "commit"] for name in seen.names] == [1] * len(seen.names)
    assert sum(count for (_, function), count in sent.items() if function == "answerDemand") == bool(
        demands_of
    )
    await seen.judged()
    parts = await seen.parts()
    assert {name: part.commitment for name, part in parts.items()} == commitments
    assert not any(part.is_missed for part in parts.values())
    await proving.check_readable()


async def test_a_kill_amid_trees_commitment_and_openings_costs_no_member_its_proof(tmp_path: Path) -> None:
    parameters = replace(ProvingNetwork.parameters(TWO_SHARDS), opening_members=2)
    async with LocalNetwork(tmp_path, parameters, keeper=True) as network:
        proving = ProvingNetwork(network, TWO_SHARDS)
        fail_points = {name: points[0] for name, points in KILLS.items()}
        await proving.begin(TWO_STAKES, 30_000, 100_000, fail_points=fail_points)
        await see_through(proving, KILLS)


@pytest.mark.slow
async def test_a_kill_at_any_step_of_a_round_costs_no_member_its_proof(tmp_path: Path) -> None:
    parameters = ProvingNetwork.parameters(N_SHARDS)
    async with LocalNetwork(tmp_path, parameters, keeper=True) as network:
        proving = ProvingNetwork(network, N_SHARDS)
        await proving.begin(STAKES, 30_000, 100_000)
        kills = assigned(await proving.committee())
        for name, points in kills.items():
            await network.nodes[name].stop()
            await network.nodes[name].start(points[0])
        await network.serving()
        await see_through(proving, kills, first_turn(await proving.committee(), 2, "begin 2"))


@pytest.mark.slow
async def test_a_kill_amid_answers_on_chain_and_judgements_costs_nothing(tmp_path: Path) -> None:
    parameters = ProvingNetwork.parameters(N_SHARDS)
    async with LocalNetwork(tmp_path, parameters, keeper=True) as network:
        proving = ProvingNetwork(network, N_SHARDS)
        await proving.begin(STAKES, 30_000, 100_000)
        committee = await proving.committee()
        for name in STAKES:
            await network.nodes[name].stop()
            fail_point = "" if name in CHEATS else LAST_KILLS[0]
            await network.nodes[name].start(fail_point, cheat=CHEATS.get(name, ""))
        await network.serving()
        await proving.period_passes()
        dying = asyncio.create_task(killed(network, "alfa", LAST_KILLS[:2]))
        seen = await proving.round()
        await seen.committed(seen.names)
        async with network.mining():
            await seen.drawn()
        await seen.proven(["bravo", "charlie"])
        await seen.answers_begin()
        await seen.proven(["alfa"])
        await dying
        judge = first_turn(committee, 2, "judge 2")
        await network.nodes[judge].stop()
        await network.nodes[judge].start(LAST_KILLS[2], cheat=CHEATS.get(judge, ""))
        await network.serving()
        await seen.judged()
        assert await network.nodes[judge].ended(END_LIMIT_S) == -signal.SIGKILL
        await network.nodes[judge].start()
        await network.serving()
        parts = await seen.parts()
        assert [name for name, part in parts.items() if part.is_missed] == ["delta"]
        sent = await proving.sent(0)
        assert sent["alfa", "answer"] == 1
        assert sum(count for (_, function), count in sent.items() if function == "judge") == 1
        await proving.check_readable()


def test_every_fail_point_of_a_round_has_its_kill() -> None:
    kills = [point for some in (KILLS, MORE_KILLS) for points in some.values() for point in points]
    named = {point.partition(":")[0] for point in (*kills, *LAST_KILLS)}
    assert named == {*fail_points.PROVER, *fail_points.AUDITOR}
