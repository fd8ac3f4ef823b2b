"""The stake on nodes, as the package counts it, and the nodes that stand for election."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from committee import bcs
from committee.ledger.records import BlockMark, Candidate
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.objects import Objects, ObjectVersion
from committee.ledger.sui.package import Keyed, Package
from committee.ledger.sui.state import State
from committee.ledger.sui.types import Scalar


class StakeReader:
    """Reads the stake on nodes."""

    def __init__(self, objects: Objects, state: State, deployment: SuiDeployment, package: Package) -> None:
        self._objects = objects
        self._state = state
        self._deployment = deployment
        self._package = package

    async def candidates(self, at: BlockMark | None = None) -> tuple[list[Candidate], BlockMark]:
        """Return the nodes that stand for the next selection at a checkpoint, in candidate order; and that checkpoint.

        Their stake is what stands for the first period whose committee is not elected yet. At a standstill a selection
        leaves out what has come lately.
        """
        shared = [self._deployment.system, self._deployment.registry, self._deployment.staking]
        return await self._objects.together(shared, self._candidates, at)

    async def _candidates(self, objects: Objects, shared: list[ObjectVersion]) -> list[Candidate]:
        system = await self._state.state_of(objects, shared[0], "system", "System")
        registry = await self._state.state_of(objects, shared[1], "registry", "Registry")
        staking = await self._state.state_of(objects, shared[2], "staking", "Staking")
        node_ids: list[int] = registry["candidates"]
        period = electable_period(system["timeline"])
        stakes = await self.standing(objects, staking["stakes"], node_ids, period)
        return [Candidate(node_id, stakes[node_id]) for node_id in node_ids]

    async def standing(
        self, objects: Objects, stakes: Keyed, node_ids: Sequence[int], period: int
    ) -> dict[int, int]:
        """Return node → the stake on it that stands for a period; 0 for a node that no account ever staked on."""
        type_ = self._package.type("node_stake", "NodeStake")
        keys = [bcs.u32(node_id) for node_id in node_ids]
        found = await self._state.fields_there(objects, stakes.id, Scalar.U32, keys, type_)
        standing = {}
        for node_id, stake in zip(node_ids, found, strict=True):
            if stake is None:
                standing[node_id] = 0
                continue
            joining = await self._amount(objects, stake["joinings"], period + 1) if stake["joining"] else 0
            leaving = await self._amount(objects, stake["leavings"], period + 1) if stake["leaving"] else 0
            standing[node_id] = standing_for(stake, joining, leaving)
        return standing

    async def _amount(self, objects: Objects, pools: Keyed, period: int) -> int:
        type_ = self._package.type("pool", "Pool")
        (found,) = await self._state.fields_there(objects, pools.id, Scalar.U32, [bcs.u32(period)], type_)
        return 0 if found is None else int(found["amount"])


def electable_period(timeline: Mapping[str, Any]) -> int:
    """Return the first period whose committee is not elected yet."""
    selection = timeline["selection"]
    period: int = timeline["period"]
    return period + (1 if selection is None or selection["is_replacement"] else 2)


def standing_for(stake: Mapping[str, Any], joins_later: int, leaves_later: int) -> int:
    """Return what stands for a period; of what joins and leaves, the parts that do so with the next one are given."""
    pool = stake["pool"]
    shares = pool["shares"] - (stake["leaving"] - leaves_later)
    worth = shares * pool["amount"] // pool["shares"] if shares else 0
    return int(worth + stake["joining"] - joins_later)
