"""A story of random steps told to the contracts and to the chain in memory."""

from __future__ import annotations

import random

import pytest

from committee.ledger.evm import EvmLedger
from tests.committee.ledger.conftest import DEADLINE_S, EPOCH_S, Node
from tests.localnet.twins import Telling, Twins

ROOTS = [bytes([number]) * 32 for number in range(1, 9)]


class Story:
    """Steps at random, each of which may be refused."""

    def __init__(self, twins: Twins, writer: EvmLedger, seed: int) -> None:
        self.twins = twins
        self.writer = writer
        self.dice = random.Random(seed)
        self.states = [twins.state]
        """As they were after every start."""
        self.refusals: set[str | None] = set()

    async def step(self) -> None:
        often = [self.epoch, self.attest, self.register, self.certify]
        rarely = [self.close, self.member, self.eject, self.replace, self.extend, self.delete]
        rarely += [self.invalidate, self.reserve, self.trade, self.transfer]
        await self.dice.choice(2 * often + rarely)()

    @property
    def node(self) -> Node:
        return self.dice.choice(self.twins.network.nodes)

    @property
    def object_id(self) -> int:
        return self.dice.randint(1, len(self.twins.chain.records) + 1)

    async def epoch(self) -> None:
        await self.twins.network.chain.increase_time(self.dice.choice([0, EPOCH_S, EPOCH_S]))
        self.refusals.add(await self.twins.anyone(lambda told: told.select()))
        await self.twins.network.chain.increase_time(self.dice.choice([0, EPOCH_S]))
        self.refusals.add(await self.twins.anyone(lambda told: told.start()))
        self.states.append(self.twins.state)

    async def attest(self) -> None:
        self.refusals.add(await self.twins.attest(self.node, *self.dice.sample(range(10), 2)))
        for node in self.dice.sample(self.twins.network.nodes, 3):
            self.refusals.add(await self.twins.attest(node, *self.twins.owed(node)))

    async def close(self) -> None:
        await self.twins.network.chain.increase_time(self.dice.choice([0, DEADLINE_S]))
        self.refusals.add(await self.twins.anyone(lambda told: told.close_handover()))

    async def member(self) -> None:
        node = self.node
        self.refusals.add(await self.twins.tell(node.ledger, lambda told: told.leave()))
        if self.dice.random() < 0.8:
            self.refusals.add(await self.twins.tell(node.ledger, lambda told: told.become_candidate()))
        await self.twins.stake(node, self.dice.randint(1, 3))

    async def eject(self) -> None:
        self.refusals.add(await self.twins.eject(self.node.node_id))

    async def replace(self) -> None:
        self.refusals.add(await self.twins.anyone(lambda told: told.replace()))
        await self.twins.network.chain.increase_time(self.dice.choice([0, EPOCH_S // 2]))
        self.refusals.add(await self.twins.anyone(lambda told: told.start()))
        self.states.append(self.twins.state)

    async def register(self) -> None:
        sent = self.writer, self.dice.choice(ROOTS), self.dice.randint(1, 3)
        self.refusals.add(await self.twins.register(*sent, deletable=self.dice.random() < 0.5))

    async def certify(self) -> None:
        object_id = self.object_id
        if object_id in self.twins.chain.records:
            certificate = self.twins.certificate(object_id, state=self.dice.choice(self.states[-2:]))
            self.refusals.add(await self.twins.certify(object_id, certificate))

    async def extend(self) -> None:
        sent = self.object_id, self.dice.randint(1, 3)
        self.refusals.add(await self.twins.tell(self.writer, lambda told: told.extend_blob(*sent)))

    async def delete(self) -> None:
        object_id = self.object_id
        self.refusals.add(await self.twins.tell(self.writer, lambda told: told.delete_blob(object_id)))

    async def transfer(self) -> None:
        sent = self.object_id, str(self.writer.account)
        self.refusals.add(await self.twins.tell(self.writer, lambda told: told.transfer_blob(*sent)))

    async def reserve(self) -> None:
        sent = self.dice.choice([0, 1, 1, 3 << 20]), self.dice.randint(1, 4)
        self.refusals.add(await self.twins.tell(self.writer, lambda told: told.reserve_space(*sent)))

    async def trade(self) -> None:
        """Anything with a reservation, which there may not be."""
        count = self.twins.chain.contracts.reservation_count
        one, other = self.dice.randint(1, count + 1), self.dice.randint(1, count + 1)
        size, period = self.dice.randint(0, 2) << 20, self.twins.state.period + self.dice.randint(0, 3)
        root, object_id = self.dice.choice(ROOTS), self.object_id
        self.twins.knows(root, 1000)
        telling: Telling = self.dice.choice(
            [
                lambda told: told.split_reservation_by_size(one, size),
                lambda told: told.split_reservation_by_period(one, period),
                lambda told: told.merge_reservations(one, other),
                lambda told: told.extend_blob_with(object_id, one),
                lambda told: told.register_blob_in(one, root, 1000, deletable=True),
            ]
        )
        self.refusals.add(await self.twins.tell(self.writer, telling))

    async def invalidate(self) -> None:
        if self.dice.random() < 0.3:
            self.refusals.add(await self.twins.invalidate(self.dice.choice(ROOTS), [1, 2, 3, 4]))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
async def test_a_story_at_random(twins: Twins, seed: int) -> None:
    writer = await twins.writer()
    await twins.next_epoch()
    story = Story(twins, writer, seed)
    for _ in range(10):
        for _ in range(4):
            await story.step()
        await story.close()
        await story.epoch()
    assert twins.state.epoch > 2
    assert len(story.refusals) > 8, "refusals of many kinds"
