"""The network in memory in a period long enough for rounds of proofs, and ways to have time pass in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from committee.ledger.proofs import MemberProof, Round, RoundStep, round_step
from storage.client import retrying
from storage.node.rounds import auditing, looking
from tests.memory_chain import MemoryChain
from tests.storage.network import PARAMETERS, SHARDS, Network, begun
from tests.storage.node.handovers import BLOBS, MOVED, Shards, change

LIMIT_S = 120.0
"""A round takes seconds on a quiet machine."""
FOR_EVER = 1 << 62
PERIOD_S = 18_000
"""Windows have 1000 seconds."""


class Rounds:
    """A network whose nodes are in a round, and its chain's clock."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.chain: MemoryChain = network.chain

    @property
    def epoch(self) -> int:
        return self.chain.state.epoch

    @property
    def round(self) -> Round | None:
        return self.chain.contracts.rounds.get(self.epoch)

    @property
    def step(self) -> RoundStep:
        return round_step(self.round, self.chain.time_s)[0]

    def proof(self, node_id: int, epoch: int | None = None) -> MemberProof:
        """A member's part, as the chain has it."""
        part = self.chain.contracts.part(self.epoch if epoch is None else epoch, node_id)
        return MemberProof(
            part.commitment[:24], part.answered, part.is_proven, part.is_missed, part.is_punished
        )

    async def until(
        self, condition: Callable[[], object], before: Callable[[Round], int] = lambda round_: FOR_EVER
    ) -> None:
        """Wait for what the nodes bring about; between two looks a second passes on the chain, in a new block.

        The clock stands still `before` a deadline of the round, however slow the machine is.
        """
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                is_last = self.round is not None and self.chain.time_s >= before(self.round) - 1
                self.tick(0 if is_last else 1)
                await asyncio.sleep(0.01)

    def tick(self, seconds: int) -> None:
        """Have time pass on the chain."""
        self.chain.time_s += seconds
        self.chain.mine()

    async def committed(self, *node_ids: int) -> None:
        """The round has begun, and these have committed."""
        await self.until(
            lambda: self.round and all(any(self.proof(one).commitment) for one in node_ids),
            before=lambda round_: round_.commit_by_s,
        )

    async def drawn(self) -> bytes:
        """Commitments are over, and the positions are drawn; return the draw."""
        await self.until(lambda: self.round)
        assert self.round is not None
        self.tick(max(0, self.round.commit_by_s - self.chain.time_s))
        await self.until(lambda: self.round and self.round.draw)
        assert self.round.draw is not None
        return self.round.draw

    async def proven(
        self, *node_ids: int, before: Callable[[Round], int] = lambda round_: round_.answer_by_s
    ) -> None:
        """These have proven."""
        await self.until(lambda: all(self.proof(one).is_proven for one in node_ids), before=before)

    async def judged(self, *node_ids: int) -> None:
        """The time for answers is over, and these have missed the round."""
        assert self.round is not None
        self.tick(max(0, self.round.answer_by_s + 1 - self.chain.time_s))
        await self.until(lambda: all(self.proof(one).is_missed for one in node_ids))

    async def next_epoch(self, shards: Shards) -> None:
        """The next period, with its handover done."""
        await change(self.network, shards)


@pytest.fixture
def committees() -> tuple[Shards, Shards]:
    """Those of the first two epochs."""
    return SHARDS, MOVED


@pytest.fixture
async def rounds(
    tmp_path: Path,
    committees: tuple[Shards, Shards],
    soon_tried_again: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[Rounds]:
    """Nodes with blobs, in epoch 2; no duty of theirs fails, whatever happens.

    There are four, of which one has just gained a shard, unless a file has other `committees`.
    """
    first, second = committees
    monkeypatch.setattr(looking, "FIRST_REST_S", 0.01)
    monkeypatch.setattr(looking, "LONGEST_DEVELOPMENT_REST_S", 0.05)
    monkeypatch.setattr(auditing, "FAILURE_KEPT_S", 0.1)
    monkeypatch.setattr(retrying, "MOST_TRIES", 2)  # the next look asks again
    parameters = replace(PARAMETERS, period_duration_s=PERIOD_S)
    async with begun(tmp_path, first, parameters, keeper=True) as network:
        await network.upload(*BLOBS)
        await change(network, second)
        yield Rounds(network)
    assert "a duty failed" not in caplog.text
