"""A round of storage proofs in a local network: waits for its steps, and moves the clock on to its deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from committee.ledger.proofs import MemberProof, Round
from committee.membership import Committee
from localnet.network import LocalNetwork
from localnet.node_process import NetworkError

Wait = Callable[[Callable[[], Awaitable[int]], str, int], Awaitable[None]]
"""Takes a function that counts, what it counts in words, and a number; waits until the count reaches the number."""


class ProofRound:
    """The round of one epoch. Nodes begin, draw and judge by themselves, while blocks are mined."""

    def __init__(self, network: LocalNetwork, committee: Committee, wait: Wait | None = None) -> None:
        """`wait` takes the place of `LocalNetwork.until`."""
        self._network = network
        self._committee = committee
        self._wait = wait or self._until
        self.names = [member.name for member in committee.members]

    async def _until(self, count: Callable[[], Awaitable[int]], what: str, total: int) -> None:
        await self._network.until(what, count, total)

    async def round(self) -> Round:
        """Return the round as the contract has it. Raises `NetworkError` before it has begun."""
        found = await self._network.operator.proof_round(self._committee.epoch)
        if found is None:
            raise NetworkError(f"the contract tells of no round in epoch {self._committee.epoch}")
        return found

    async def parts(self) -> dict[str, MemberProof]:
        """Return each member's part, by name."""
        ledger, epoch = self._network.operator, self._committee.epoch
        asked = [ledger.member_proof(epoch, one.node_id) for one in self._committee.members]
        return dict(zip(self.names, await asyncio.gather(*asked), strict=True))

    async def fines(self) -> dict[str, int]:
        """Return what was slashed of members' stake in this round, in the token's smallest unit; by name."""
        ledger, epoch = self._network.operator, self._committee.epoch
        fines = {
            one.name: (await ledger.fines(one.node_id, [epoch])).get(epoch, 0)
            for one in self._committee.members
        }
        return {name: amount for name, amount in fines.items() if amount}

    async def committed(self, names: Collection[str]) -> None:
        """Wait until the named members have committed."""

        async def count() -> int:
            parts = await self.parts()
            return sum(any(parts[name].commitment) for name in names)

        await self._wait(count, "members commit to what they store", len(names))

    async def drawn(self) -> None:
        """Have commitments end, and wait for the draw."""
        await self._move_on((await self.round()).commit_by_s)

        async def count() -> int:
            return int((await self.round()).draw is not None)

        await self._wait(count, "a member has positions drawn", 1)

    async def proven(self, names: Collection[str]) -> None:
        """Wait until the named members have proven."""

        async def count() -> int:
            parts = await self.parts()
            return sum(parts[name].is_proven for name in names)

        await self._wait(count, "members prove what was drawn", len(names))

    async def answers_begin(self) -> None:
        """Have the time pass in which fellows alone are shown what was drawn."""
        await self._move_on((await self.round()).prove_by_s)

    async def answered(self, names: Collection[str]) -> None:
        """Wait until the named members have proven, or answered on chain what they can."""

        async def count() -> int:
            parts = await self.parts()
            return sum(parts[name].is_proven or bool(parts[name].answered) for name in names)

        await self._wait(count, "members answer on chain what was drawn", len(names))

    async def judged(self) -> None:
        """Have answers end, and wait until each member has proven or missed the round."""
        await self._move_on((await self.round()).answer_by_s + 1)

        async def count() -> int:
            return sum(one.is_proven or one.is_missed for one in (await self.parts()).values())

        await self._wait(count, "a member has those judged that did not prove", len(self.names))

    async def _move_on(self, to_s: int) -> None:
        left_s = to_s - await self._network.operator.chain_time_s()
        if left_s > 0:
            await self._network.chain.increase_time(left_s)
