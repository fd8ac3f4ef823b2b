"""Members that cheat, as processes of a real network: each ends in its verdict, and the others prove all the same.

(A member that deletes half of its slivers is in the demo.)
"""

from __future__ import annotations

from pathlib import Path

import pytest

from localnet.network import TOKEN, LocalNetwork
from tests.localnet.proof_rounds import ProvingNetwork

N_SHARDS = 16
HONEST = {"alfa": 400, "bravo": 400, "charlie": 300}
"""11 shards, which are just a quorum."""
CHEATS = {
    "delete-one-of=2": "delta",
    "keep-hashes": "echo",
    "commit-garbage": "foxtrot",
    "answer-late": "golf",
    "lie-about=alfa": "hotel",
}
"""How each cheats; a shard each."""
LIAR = "hotel"
FINED = sorted(set(CHEATS.values()) - {LIAR})


@pytest.mark.slow
async def test_who_cheats_is_fined_and_replaced_and_all_others_prove(tmp_path: Path) -> None:
    parameters = ProvingNetwork.parameters(N_SHARDS)
    async with LocalNetwork(tmp_path, parameters, keeper=True) as network, network.mining():
        proving = ProvingNetwork(network, N_SHARDS)
        await proving.begin(HONEST | dict.fromkeys(CHEATS.values(), 100), 30_000, 100_000)
        for cheat, name in CHEATS.items():
            await network.nodes[name].stop()
            await network.nodes[name].start(cheat=cheat)
        await network.serving()
        stakes = {one.name: one.stake for one in await network.operator.nodes()}
        for punished in ([], FINED):
            await proving.period_passes()
            seen = await proving.round()
            proves = [*HONEST, LIAR]
            await seen.committed(proves)
            await seen.drawn()
            await seen.proven(proves)
            await seen.judged()
            parts, fines = await seen.parts(), await seen.fines()
            assert sorted(name for name, part in parts.items() if part.is_missed) == FINED
            assert sorted(fines) == punished
        assert {fines[name] for name in FINED} == {stakes[name] // 100 for name in FINED}
        assert stakes[FINED[0]] == 100 * TOKEN
        committee = await proving.replaced(await proving.epoch())
        assert sorted(member.name for member in committee.members) == sorted(proves)
        for name in FINED:
            await network.nodes[name].kill()
        await proving.check_readable()


@pytest.mark.slow
@pytest.mark.parametrize("cheat", ["withhold-from", "lie-about"])
async def test_fellows_that_sign_for_no_quorum_only_have_a_member_answer_on_chain(
    tmp_path: Path, cheat: str
) -> None:
    """Three of its fellows at once, so that no quorum is left: 3 of 10 shards may be at fault, these have 7."""
    parameters = ProvingNetwork.parameters(10)
    async with LocalNetwork(tmp_path, parameters, keeper=True) as network, network.mining():
        proving = ProvingNetwork(network, 10)
        await proving.begin({"alfa": 300, "bravo": 300, "charlie": 200, "delta": 200}, 30_000)
        unjust = ("bravo", "charlie", "delta")
        for name in unjust:
            await network.nodes[name].stop()
            await network.nodes[name].start(cheat=f"{cheat}=alfa")
        await network.serving()
        await proving.period_passes()
        seen = await proving.round()
        await seen.committed(seen.names)
        await seen.drawn()
        await seen.proven(unjust)
        assert not (await seen.parts())["alfa"].is_proven
        await seen.answers_begin()
        await seen.proven(seen.names)
        parts = await seen.parts()
        assert [len(parts[name].answered) for name in seen.names] == [
            16 * (name == "alfa") for name in seen.names
        ]
        await seen.judged()
        assert not any(part.is_missed for part in (await seen.parts()).values())
