"""Networks of real processes for the scenarios."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from committee.ledger.evm import DeploymentParameters
from localnet.network import LocalNetwork
from tests.committee.ledger.conftest import Launch
from tests.committee.ledger.conftest import chain as chain
from tests.committee.ledger.conftest import launch as launch
from tests.committee.ledger.conftest import launched as launched
from tests.localnet.twins import Twins

N_SHARDS = 13
NAMES = ("alfa", "bravo", "charlie", "delta", "echo")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Have Ctrl-C do what it did before, which the end of a command in this process changes."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


class Scenario:
    """A network of five nodes in epoch 1, and what its scenarios have in common."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self.blobs: dict[bytes, bytes] = {}
        """blob id → content."""

    async def begin(self) -> None:
        for number, name in enumerate(NAMES):
            await self.network.add_node(name, 100 + 10 * number)
        await self.network.serving()
        await self.network.next_epoch()

    async def store(self, *sizes: int) -> None:
        for size in sizes:
            data = random.Random(size).randbytes(size)
            self.blobs[(await self.network.client.store(data, periods=5)).blob_id] = data

    async def lose(self, name: str) -> None:
        """SIGKILL a member, delete its folder, and wait until the others have ejected it."""
        node = self.network.nodes[name]
        await node.kill()
        node.delete_folder()
        known = {one.name: one.node_id for one in await self.network.operator.nodes()}

        async def ejected() -> int:
            candidates = {one.node_id for one in await self.network.operator.candidates()}
            return int(known[name] not in candidates)

        await self.network.until(f"ejection of {name}", ejected, 1)

    async def check(self) -> None:
        """What every fault ends in: all healed, all readable, every shard whole at its owner."""
        await self._healed()
        await self.check_all_readable()
        await self._check_pairs_complete()

    async def _healed(self) -> None:
        """No member of the current committee has a blob to look after any more."""
        state = await self.network.operator.epoch_state()
        assert state.current is not None
        clients = [self.network.node_client(member.name) for member in state.current.members]

        async def whole() -> int:
            return sum([int((await client.health())["upkeep"]["blobs_to_heal"] == 0) for client in clients])

        await self.network.until("healing", whole, len(clients))

    async def check_all_readable(self) -> None:
        for blob_id, data in list(self.blobs.items()):
            assert await self.network.client.read(blob_id) == data

    async def _check_pairs_complete(self) -> None:
        """Every member of the current committee holds both slivers of every shard of its own, of every blob."""
        state = await self.network.operator.epoch_state()
        assert state.current is not None
        for member in state.current.members:
            for blob_id in self.blobs:
                message, _ = await self.network.node_client(member.name).confirmation(blob_id, None)
                assert blob_id in message


PARAMETERS = DeploymentParameters(
    n_shards=N_SHARDS,
    period_duration_s=60,
    handover_deadline_s=300,
    patience_s=3,
    band_millis=500,
    price_per_mib_period=1,
    write_price_per_mib=1,
)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with LocalNetwork(tmp_path, PARAMETERS) as network:
        scenario = Scenario(network)
        await scenario.begin()
        yield scenario


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def five_nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    """Five nodes in epoch 1, for all tests of a file."""
    async with LocalNetwork(tmp_path_factory.mktemp("five"), PARAMETERS) as network:
        await Scenario(network).begin()
        yield network


@pytest.fixture
def five(five_nodes: LocalNetwork) -> Scenario:
    """The network of `five_nodes`, without blobs of the test's own so far.

    The test leaves every node a member that serves. It runs in the loop of its file: `asyncio(loop_scope="module")`.
    """
    return Scenario(five_nodes)


@pytest.fixture
async def twins(launch: Launch) -> Twins:
    """Four nodes with stakes of 4, 3, 2 and 1, before the first epoch."""
    twins = await Twins.deployed(await launch())
    for stake in (4, 3, 2, 1):
        await twins.join(stake)
    return twins
