"""The state of epochs, read over gRPC: as the chain in memory has it after the same history."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from committee import bls, certificate, messages
from committee.certificate import Certificate
from committee.errors import LedgerHistoryGone, LedgerRefused, LedgerStateGone
from committee.ledger import (
    Attestation,
    BlockMark,
    Candidate,
    EpochState,
    MemberEjected,
    Parameters,
    RegisteredNode,
    ShardsAttested,
)
from committee.ledger.events import EpochStarted, Event
from committee.ledger.sui.checkpoints import Checkpoints
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.epoch_state import EpochReader
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.happenings import Happenings
from committee.ledger.sui.nodes import NodeReader
from committee.ledger.sui.objects import Objects, address_text
from committee.ledger.sui.package import Package
from committee.ledger.sui.stakes import StakeReader
from committee.ledger.sui.state import State
from committee.messages import Intent
from localnet.sui_double.randomness import RANDOM_ID
from localnet.sui_double.rpc.server import SuiDouble
from tests.committee.ledger.sui.registered import deployed, newest
from tests.contracts.sui.committees import secret
from tests.contracts.sui.epoch_network import STAKE, EpochNetwork, read
from tests.localnet.sui_double.packages import needs_framework
from tests.memory_chain import epochs, registry
from tests.memory_chain.contracts import Contracts, Outcome, Revert, usual_proof_terms

pytestmark = needs_framework

N_SHARDS, N_NODES = 10, 5


class Both:
    """A network on the chain of the double and the chain in memory, on which the same is done at the same times."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.network = EpochNetwork(N_SHARDS, N_NODES)
        parameters = Parameters(
            N_SHARDS,
            1000,
            100,
            30,
            500,
            self.network.domain,
            certificate_grace_s=20,
            notice_s=50,
            shrink_s=4000,
        )
        began_s = self.network.chain.ledger.checkpoints[2].timestamp_ms // 1000
        terms = usual_proof_terms(parameters.period_duration_s)
        self.memory = Contracts.deployed(parameters, BlockMark(0, bytes(32)), began_s, terms)
        self.starts: dict[int, BlockMark] = {}
        """Epoch → the checkpoint that started it."""
        self.salt_seeds: dict[int, bytes] = {}
        """Epoch → what its start drew, as its event tells it."""
        for place in range(N_NODES):
            key = secret(place).public_key
            named = (f"n{place}", "baffin", "https://node.example", key, None)
            self.memory = registry.register_node(self.memory, *named)[0]
            self.memory = registry.stake(self.memory, place + 1, STAKE)[0]

    def both(self, rule: Callable[[Contracts], Outcome], act: Callable[[], object]) -> bool:
        """Do the same on both if the chain in memory takes it; return whether it does."""
        try:
            self.memory = rule(replace(self.memory, time_s=self.network.now_s))[0]
        except Revert:
            return False
        act()
        return True

    def step(self) -> None:
        """Do what comes next, as soon as it can be done."""
        state, network = self.memory.state, self.network
        if not state.handover_done:
            network.now_s += self.draw.choice((1, 100))
            self.both(epochs.close, lambda: network.move_on("close", network.wallet.draft()))
        elif state.next is not None:
            network.now_s += 50
            if not state.next_is_replacement:
                network.now_s = max(network.now_s, state.regular_handover_done_s + 1000)
            if self.both(epochs.start, self.start):
                self.starts[self.memory.state.epoch] = newest(network)
        elif self.memory.ejected_at_s and self.both(epochs.replace_ejected, network.replace):
            pass
        else:
            network.now_s = max(network.now_s, state.regular_handover_done_s + 500)
            self.both(epochs.select, network.select)

    def start(self) -> None:
        """Start the selected epoch on the chain of the double."""
        draft = self.network.wallet.draft()
        told = self.network.move_on("start", draft, *read(draft, RANDOM_ID))
        ((epoch, _, salt, _),) = (fields for name, fields in told if name == "EpochStarted")
        self.salt_seeds[epoch] = bytes(salt)

    def attest(self) -> None:
        """Attest some of the shards that a member has to."""
        current, epoch = self.memory.state.current, self.memory.state.epoch
        node_id = self.draw.randint(1, N_NODES)
        missing = [] if current is None else sorted(set(current.shards_of(node_id)) - self.memory.held)
        shards = missing[: self.draw.randint(0, len(missing))]
        if shards:
            told = [Attestation(shard, bytes(32), 7) for shard in shards]
            self.both(
                lambda now: epochs.attest(now, f"n{node_id - 1}", epoch, told),
                lambda: self.network.attest(node_id, epoch, shards),
            )

    def eject(self) -> None:
        """Eject a member with a certificate by the others."""
        current, epoch = self.memory.state.current, self.memory.state.epoch
        if current is None or len(current.members) < 4:
            return
        node_id, deadline_s = self.draw.choice(current.members).node_id, self.network.now_s
        signers = [one.node_id for one in current.members if one.node_id != node_id]
        message = messages.encode(
            Intent.EJECT, epoch, messages.eject_body(node_id, deadline_s), self.network.domain
        )
        bitmap = certificate.bitmap_of(frozenset(signers), current)
        signature = bls.aggregate([secret(one - 1).sign(message) for one in signers])
        given = Certificate(epoch, message, bitmap, signature)
        self.both(
            lambda now: epochs.eject(now, node_id, 1, deadline_s, given),
            lambda: self.network.post_ejection(node_id, bitmap, signature),
        )

    def stand_again(self) -> None:
        """Have stake move, so that the next election moves shards."""
        node_id = self.draw.randint(1, N_NODES)
        amount = self.draw.randint(1, 2 * STAKE)
        self.both(
            lambda now: registry.stake(now, node_id, amount), lambda: self.network.stake({node_id: amount})
        )

    def expected(self) -> EpochState:
        """Return the state that the chain in memory has, in the newest checkpoint of the other."""
        state = self.memory.state
        return replace(
            state,
            block=newest(self.network),
            started_block=self.starts.get(state.epoch),
            salt_seed=self.salt_seeds.get(state.epoch),
            replaceable_at_s=epochs.replaceable_at_s(self.memory),
        )

    def expected_nodes(self) -> list[RegisteredNode]:
        """Return the nodes that the chain in memory has, with the one account and the commission of the other chain."""
        account = address_text(self.network.wallet.address)
        same: dict[str, Any] = dict.fromkeys(("owner", "operator", "receiver"), account)
        same |= {"commission": 300, "pending_commission": 300}
        return [replace(node, **same) for _, node in sorted(self.memory.nodes.items())]


class Reading:
    """What is read of a network over gRPC."""

    def __init__(self, network: EpochNetwork, rpc: SuiRpc, deployment: SuiDeployment) -> None:
        package, objects = Package(deployment.package), Objects(rpc)
        self.checkpoints = Checkpoints(rpc, Happenings(package))
        state = State(objects, deployment, package)
        self.network = network
        self.epochs = EpochReader(objects, self.checkpoints, state, deployment, package)
        self.stakes = StakeReader(objects, state, deployment, package)
        self.nodes = NodeReader(objects, state, self.stakes, deployment)

    async def events(self) -> list[Event]:
        """Return all events from the beginning."""
        first = self.network.chain.ledger.checkpoints[0]
        after, found = BlockMark(0, first.digest), []
        while after != newest(self.network):
            stretch = await self.checkpoints.stretch(after, newest(self.network))
            after = stretch.marks[-1]
            found += stretch.events
        return found


@asynccontextmanager
async def read_over_grpc(network: EpochNetwork) -> AsyncIterator[tuple[SuiDouble, Reading]]:
    deployment = deployed(network)
    async with SuiDouble(network.chain) as double:
        rpc = SuiRpc(double.url, deployment.chain)
        yield double, Reading(network, rpc, deployment)
        await rpc.close()


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 3, 4))])
async def test_epochs_are_as_on_the_chain_in_memory(seed: int) -> None:
    both = Both(seed)
    actions = [both.step] * 8 + [both.attest] * 4 + [both.eject] + [both.stand_again] * 3
    seen: set[str] = set()
    async with read_over_grpc(both.network) as (_, reading):
        assert await reading.epochs.read() == both.expected()
        for _ in range(40):
            before = both.memory
            both.draw.choice(actions)()
            if both.memory is not before:
                told = await reading.epochs.read()
                assert told == both.expected()
                candidates = [Candidate(one, both.memory.nodes[one].stake) for one in both.memory.candidates]
                assert await reading.stakes.candidates() == (candidates, told.block)
                assert await reading.nodes.nodes() == both.expected_nodes()
                seen |= {name for name in ("unattested", "next", "replaceable_at_s") if getattr(told, name)}
                seen |= {"replacement"} if told.next_is_replacement else set()
        await compare_history(both.memory, reading)
        events = await reading.events()
    assert seen == {"unattested", "next", "replaceable_at_s", "replacement"}
    assert {type(event) for event in events} >= {EpochStarted, MemberEjected, ShardsAttested}
    assert [event.epoch for event in events if isinstance(event, EpochStarted)] == sorted(both.starts)
    assert {event.epoch: event.block for event in events if isinstance(event, EpochStarted)} == both.starts


async def compare_history(memory: Contracts, reading: Reading) -> None:
    """Compare what is told of all epochs and periods that have begun, and of one more."""
    state = memory.state
    for epoch in range(1, state.epoch + 1):
        assert await reading.epochs.missing_shards(epoch) == memory.missing_shards(epoch)
        committee = await reading.epochs.committee_of(epoch)
        assert committee is not None
        assert committee.epoch == epoch
    assert await reading.epochs.committee_of(state.epoch) == state.current
    assert await reading.epochs.committee_of(state.epoch + 1) is None
    assert await reading.epochs.missing_shards(0) == frozenset()
    with pytest.raises(LedgerRefused, match="WrongEpoch"):
        await reading.epochs.missing_shards(state.epoch + 1)
    for period in range(1, state.period + 1):
        assert await reading.epochs.members_of(period) == memory.weights_of[period].keys()
    for period in (0, state.period + 1):
        with pytest.raises(LedgerRefused, match="WrongPeriod"):
            await reading.epochs.members_of(period)


async def test_start_that_no_endpoint_keeps_is_gone() -> None:
    both = Both(0)
    both.step()
    both.step()
    before = newest(both.network)
    both.network.now_s += 10
    both.network.deployer.succeed(both.network.deployer.draft())
    async with read_over_grpc(both.network) as (double, reading):
        assert (await reading.epochs.read(before)).started_block == both.starts[1]
        double.faults.first_checkpoint = newest(both.network).number
        assert (await reading.epochs.read()).started_block == both.starts[1], "it is remembered"
    async with read_over_grpc(both.network) as (double, reading):
        double.faults.first_checkpoint = newest(both.network).number
        with pytest.raises(LedgerHistoryGone, match="keeps the checkpoint that started epoch 1"):
            await reading.epochs.read()


async def test_epochs_that_have_gone_on_are_gone() -> None:
    both = Both(0)
    before = newest(both.network)
    both.step()
    async with read_over_grpc(both.network) as (_, reading):
        with pytest.raises(LedgerStateGone):
            await reading.epochs.read(before)
