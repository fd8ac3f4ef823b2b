"""What an account has staked, looked for at every node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from committee.ledger.evm import decode
from committee.ledger.evm.many_calls import call_many
from committee.ledger.evm.reader import Reader
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.together import both
from committee.ledger.records import StakePosition


async def stakes_of(rpc: Rpc, reader: Reader, account: str) -> list[StakePosition]:
    """Return an account's stakes as of the newest block, in the order of the nodes' ids; none of a node without any.

    What joins a stake, or leaves it, counts as having one.
    """
    block = (await reader.block("latest")).mark
    # Not by the contract's count alone: a provider could name any, and each is asked about.
    nodes = await reader.pages(reader.registry, "nodes", block, decode.registered_node)
    node_ids = [node.node_id for node in nodes]

    async def of_each(some: Sequence[int], view: str, *more: int) -> list[Any]:
        calls = [(view, (node_id, account, *more)) for node_id in some]
        return await call_many(rpc, reader, reader.staking, calls, block)

    shares, (joinings, unbondings) = await both(
        of_each(node_ids, "sharesOf"),
        both(of_each(node_ids, "joiningsOf"), of_each(node_ids, "unbondingsOf", 0)),
    )
    looked = zip(node_ids, shares, joinings, unbondings, strict=True)
    found = {node_id: told for node_id, *told in looked if any(told)}
    amounts = await of_each(list(found), "stakeOf")
    return [
        decode.stake_position(node_id, told[0], amount, *told[1:])
        for (node_id, told), amount in zip(found.items(), amounts, strict=True)
    ]
