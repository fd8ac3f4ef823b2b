"""Proofs of symbols that were given before: those that give none, or a wrong one, are left out of the rebuild.

(PROTOCOL section 1, "Repair of one sliver pair".)
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from committee.membership import Member
from storage.client.errors import NodeError
from storage.client.link import Transfer
from storage.client.overtaking import Requests
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.repair.gathering import Gathering
from storage.node.repair.reputation import Reputation
from storage.redstuff import MerkleProof, RedStuff, RedStuffError

Proven = dict[int, MerkleProof]
"""Helping sliver's index → the proof of its symbol."""


class Proofs:
    """The peers as provers of the symbols that they gave."""

    def __init__(self, code: RedStuff, peers: Peers, reputation: Reputation, budget: Budget) -> None:
        self._code = code
        self._peers = peers
        self._reputation = reputation
        self._budget = budget

    async def ask(
        self, gathering: Gathering, target: int, own: Mapping[int, MerkleProof], patience_s: float
    ) -> Proven:
        """Return the proof of just the symbol for `target` that each helping sliver gave before.

        Every member is asked once, for all that it gave; `own` are the proofs of this node's slivers. A symbol whose
        proof does not come is removed from the gathering, and all that a liar gave. A member that is overtaken gives
        none; while no member at all has answered, they are waited for up to `patience_s`, as the link may be slow.
        """
        proven = dict(own)
        clock = asyncio.get_running_loop().time
        until_s = clock() + patience_s
        by_member: dict[Member, list[int]] = defaultdict(list)
        for index, (member, _) in gathering.sources.items():
            by_member[member].append(index)
        async with Requests[Member, Proven]() as asked:
            for member, indices in by_member.items():
                transfer = Transfer()
                answer = self._proven_by(gathering, member, indices, target, transfer)
                asked.send(member, answer, transfer)
            late: list[Member] = []
            while asked.expected or (asked and len(proven) == len(own) and clock() < until_s):
                for _, proofs in await asked.answered(math.inf if asked.expected else until_s):
                    proven.update(proofs.result())
                if asked.expected and (len(proven) > len(own) or clock() >= until_s):
                    # Those overtaken must not have the turns that the others wait for.
                    late += asked.cancel_overtaken(lambda member: True, len(by_member))
            for member in (*late, *asked.overtaken):
                self._reputation.kept_waiting(member)
                self._leave_out(gathering, member, by_member[member], "kept the proof of its symbol back")
        for index, (member, shard) in list(gathering.sources.items()):
            if (member.node_id, shard) in gathering.refused:
                del gathering.sources[index], gathering.symbols[index]
                proven.pop(index, None)
                gathering.wasted += 1
        return {index: proven[index] for index in gathering.symbols if index in proven}

    async def _proven_by(
        self, gathering: Gathering, member: Member, indices: Sequence[int], target: int, transfer: Transfer
    ) -> Proven:
        """Return a member's proofs of the symbols of these slivers; why one is missing is noted in the gathering."""
        shards = [gathering.sources[index][1] for index in indices]
        try:
            async with self._budget.request():
                answer = await self._peers.client(member).recovery_symbols(
                    gathering.metadata.blob_id,
                    gathering.axis,
                    target,
                    shards,
                    gathering.symbol_bytes,
                    transfer,
                )
        except NodeError as error:
            self._reputation.failed(member, error)
            self._leave_out(gathering, member, indices, f"gave no proof of its symbol: {error.why}")
            return {}
        proven: Proven = {}
        for index in indices:
            if index not in answer:
                self._leave_out(gathering, member, [index], "gave no proof of its symbol")
                continue
            symbol, proof = answer[index]
            self._budget.charge(len(symbol) + len(proof.to_bcs()))
            if symbol == gathering.symbols[index][target] and self._holds(
                gathering, index, target, *answer[index]
            ):
                proven[index] = proof
                continue
            _, shard = gathering.sources[index]
            self._reputation.lied(member, f"{gathering.axis.other.label} symbol of shard {shard}")
            gathering.note_failure(member, "sent a wrong symbol")
            gathering.refused.update((member.node_id, one) for one in range(self._code.n_shards))
            return {}
        return proven

    def _holds(
        self, gathering: Gathering, index: int, target: int, symbol: bytes, proof: MerkleProof
    ) -> bool:
        """Return whether a proof shows the symbol for `target` in the tree of a helping sliver."""
        root = gathering.metadata.sliver_root(gathering.axis.other, index)
        try:
            proof.verify(root, symbol, target, self._code.n_shards)
        except RedStuffError:
            return False
        return True

    @staticmethod
    def _leave_out(gathering: Gathering, member: Member, indices: Sequence[int], why: str) -> None:
        gathering.note_failure(member, why)
        gathering.refused.update((member.node_id, gathering.sources[index][1]) for index in indices)
