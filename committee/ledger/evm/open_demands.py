"""Which demands of a member are open: found by their events, and checked by what the contract holds in one block."""

from __future__ import annotations

from dataclasses import dataclass

from committee.ledger.evm import answers
from committee.ledger.evm.many_calls import call_many
from committee.ledger.evm.reader import Reader
from committee.ledger.evm.rpc import Rpc
from committee.ledger.proofs import Demand
from committee.ledger.records import BlockMark

REREAD_BLOCKS = 128
"""Blocks before the newest one whose events are read again the next time: the chain may replace them."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found of one member in one epoch."""

    epoch: int
    read_to: int
    """The last block whose events were read."""
    askers: frozenset[str]
    """The accounts whose demands were open there."""


class OpenDemands:
    """The open demands of members, found by one reader; of each member only new blocks are searched."""

    def __init__(self, rpc: Rpc, reader: Reader) -> None:
        self._rpc = rpc
        self._reader = reader
        self._found: dict[int, _Found] = {}
        """Node id → what was found last."""

    async def of(self, node_id: int, has_block: int) -> tuple[Demand, ...]:
        """Return the open demands of a member, by deadline, in the newest block, which must be `has_block` or later."""
        return await self._rpc.agreeing(lambda: self._of(node_id, has_block))

    async def _of(self, node_id: int, has_block: int) -> tuple[Demand, ...]:
        at = await self._reader.newest(has_block)
        state = await self._reader.call(self._reader.committee, "state", at=at)
        epoch, first = state["epoch"], state["startedAtBlock"]
        if epoch == 0:
            return ()
        found = self._found.get(node_id)
        if found is not None and found.epoch == epoch:
            first, known = max(first, found.read_to + 1 - REREAD_BLOCKS), found.askers
        else:
            known = frozenset()
        askers = known | await self._askers(epoch, node_id, first, at)
        self._found.pop(node_id, None)  # if the check fails, the next search begins anew
        demands = await self._checked(epoch, node_id, askers, at)
        self._found[node_id] = _Found(epoch, at.number, frozenset(one.asker for one in demands))
        return demands

    async def _askers(self, epoch: int, node_id: int, first: int, at: BlockMark) -> frozenset[str]:
        """Return the accounts that have demanded something of a member, by the events from a block on."""
        asked = self._reader.newest_first(
            self._reader.proofs, ["Demanded"], [[epoch], [node_id]], first, at.number
        )
        return frozenset([log.arguments["asker"] async for log, _ in asked])

    async def _checked(
        self, epoch: int, node_id: int, askers: frozenset[str], at: BlockMark
    ) -> tuple[Demand, ...]:
        """Return those demands of the accounts that are open at a block.

        Raises `Unreadable` unless they are as many as the contract counts, beside those in places of fellows;
        `ProvidersDisagree` when other endpoints tell another number.
        """
        proofs, ordered = self._reader.proofs, sorted(askers)
        calls = [("demandOf", (epoch, node_id, asker)) for asker in ordered]
        told = await call_many(self._rpc, self._reader, proofs, calls, at)
        demands = [
            (Demand(node_id, asker, one["position"], one["answerBy"]), one["fellow"])
            for asker, one in zip(ordered, told, strict=True)
            if one["answerBy"]
        ]
        part = await self._reader.call(proofs, "proofOf", epoch, node_id, at=at, is_compared=True)
        counted = part["openDemands"]
        if sum(fellow == 0 for _, fellow in demands) != counted:
            raise answers.Unreadable(
                f"{counted} demands of node {node_id} are open, and events tell of others"
            )
        return tuple(sorted((one for one, _ in demands), key=lambda one: (one.answer_by_s, one.asker)))
