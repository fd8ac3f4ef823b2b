"""The registered nodes, with the accounts that own and operate them, and their stake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from committee.errors import LedgerRefused
from committee.ledger.records import RegisteredNode
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.objects import Objects, ObjectVersion, address_text
from committee.ledger.sui.stakes import StakeReader, electable_period
from committee.ledger.sui.state import RegistryNode, State
from committee.ledger.sui.types import ADDRESS_BYTES
from committee.untrusted import printable

Value = TypeVar("Value")

NO_ACCOUNT = address_text(bytes(ADDRESS_BYTES))
"""Owner or operator of a node whose capability is gone, or is no account's: shared, immutable or within an object."""


class _Accounts(NamedTuple):
    """The accounts that have a node's two capabilities."""

    owner: str
    operator: str


class NodeReader:
    """Reads `RegisteredNode`.

    A node's owner is the account that has its `OwnerCap`, and can give it away as any object: no node is offered, so
    `next_owner` is always None. Capabilities change hands without a change of the registry, so owner and operator are
    those that the endpoint tells while it is asked.
    """

    def __init__(
        self, objects: Objects, state: State, stakes: StakeReader, deployment: SuiDeployment
    ) -> None:
        self._objects = objects
        self._state = state
        self._stakes = stakes
        self._shared = [deployment.system, deployment.registry, deployment.staking]

    async def nodes(self) -> list[RegisteredNode]:
        """Return all registered nodes, by node id."""
        return await self._read(lambda count: range(1, count + 1))

    async def node(self, node_id: int) -> RegisteredNode:
        """Return one node. Raises `LedgerRefused` when there is none."""
        found = await self._read(lambda count: [node_id] if 1 <= node_id <= count else [])
        if not found:
            raise LedgerRefused("registry.node", "UnknownNode", {"nodeId": node_id})
        return found[0]

    async def _read(self, wanted: Callable[[int], Sequence[int]]) -> list[RegisteredNode]:
        """Return nodes; `wanted` is told how many there are, and names the ids. They come in its order."""

        async def read(objects: Objects, shared: list[ObjectVersion]) -> list[RegisteredNode]:
            system = await self._state.state_of(objects, shared[0], "system", "System")
            registry = await self._state.state_of(objects, shared[1], "registry", "Registry")
            staking = await self._state.state_of(objects, shared[2], "staking", "Staking")
            timeline: dict[str, Any] = system["timeline"]
            node_ids = wanted(registry["node_count"])
            nodes = await self._state.nodes_of(objects, registry, node_ids)
            stakes = await self._stakes.standing(
                objects, staking["stakes"], node_ids, electable_period(timeline)
            )
            accounts = await _accounts(objects, nodes)
            return [
                _registered(node, owners, stakes[node.node_id], timeline["period"])
                for node, owners in zip(nodes, accounts, strict=True)
            ]

        return (await self._objects.together(self._shared, read))[0]


async def _accounts(objects: Objects, nodes: Sequence[RegistryNode]) -> list[_Accounts]:
    """Return the accounts of each node."""
    caps = chain.from_iterable((node.owner_cap, node.operator_cap) for node in nodes)
    ids = [cap for cap in caps if cap is not None]
    holders = {
        id_: NO_ACCOUNT if cap is None or cap.owner is None else address_text(cap.owner)
        for id_, cap in zip(ids, await objects.newest(ids), strict=True)
    }
    return [
        _Accounts(
            holders[node.owner_cap],
            NO_ACCOUNT if node.operator_cap is None else holders[node.operator_cap],
        )
        for node in nodes
    ]


def _registered(node: RegistryNode, accounts: _Accounts, stake: int, period: int) -> RegisteredNode:
    key_from, pending_key = node.public_keys[-1]
    commission_from, pending_commission = node.commissions[-1]
    return RegisteredNode(
        node_id=node.node_id,
        owner=accounts.owner,
        next_owner=None,
        operator=accounts.operator,
        receiver=node.receiver,
        name=printable(node.name),
        address=node.address,
        tls_key=node.tls_key,
        public_key=_in_period(node.public_keys, period),
        commission=_in_period(node.commissions, period),
        stake=stake,
        is_candidate=node.is_candidate,
        barred_until_period=node.barred_until_period,
        pending_public_key=pending_key,
        public_key_from=key_from,
        pending_commission=pending_commission,
        commission_from=commission_from,
    )


def _in_period(changes: Sequence[tuple[int, Value]], period: int) -> Value:
    """Return the value that counts in a period; the first one counts in all periods before the second."""
    later = [value for from_period, value in changes[1:] if from_period <= period]
    return later[-1] if later else changes[0][1]
