"""A member whose endpoint is down across the deadlines of a round of storage proofs, as processes on a real chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from localnet.network import LocalNetwork
from tests.localnet.lagging import cut_endpoint
from tests.localnet.proof_rounds import ProvingNetwork

OTHERS = {"bravo": 300, "charlie": 200, "delta": 200}
"""With the 3 shards of alfa 10, of which these 7 are a quorum."""
LEAST_S = 40
"""What is left of a window when the endpoint answers again: less than half of any."""


@pytest.mark.slow
async def test_a_member_acts_in_what_is_left_of_each_window(tmp_path: Path) -> None:
    async with LocalNetwork(tmp_path, ProvingNetwork.parameters(10), keeper=True) as network:
        proving, ledger, chain = ProvingNetwork(network, 10), network.operator, network.chain
        async with network.mining(), cut_endpoint(chain.rpc_url) as (url, cut):
            await network.add_node("alfa", 300, rpc_url=url)
            await proving.begin(OTHERS, 30_000, 100_000)
            (alfa,) = [one.node_id for one in await ledger.nodes() if one.name == "alfa"]
            cut.is_cut = True
            await proving.period_passes()
            seen = await proving.round()

            async def answered() -> int:
                return int(not await ledger.demands(alfa))

            async def pass_until(deadline_s: int) -> None:
                await chain.increase_time(max(0, deadline_s - await ledger.chain_time_s()))

            await seen.committed(list(OTHERS))
            await pass_until((await seen.round()).commit_by_s - LEAST_S)
            cut.is_cut = False
            await seen.committed(["alfa"])
            cut.is_cut = True
            await seen.drawn()
            await seen.proven(list(OTHERS))
            await pass_until((await seen.round()).answer_by_s - LEAST_S)
            cut.is_cut = False
            await seen.proven(["alfa"])
            cut.is_cut = True
            await ledger.demand(alfa, 0)
            (demand,) = await ledger.demands(alfa)
            await pass_until(demand.answer_by_s - LEAST_S)
            cut.is_cut = False
            await network.until("the demand is answered", answered, 1)
            assert await ledger.misses(alfa) == 0
            assert not any(part.is_punished for part in (await seen.parts()).values())
