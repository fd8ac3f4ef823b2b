"""A chain that is followed by its checkpoints, through gaps, streams that end, outages and pruned history."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from committee.errors import LedgerHistoryGone, LedgerReorganised, LedgerUnavailable
from committee.ledger import events as told
from committee.ledger.events import Event, NetworkAddressChanged
from committee.ledger.records import BlockMark
from committee.ledger.sui.checkpoints import Checkpoints
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.happenings import Happenings
from committee.ledger.sui.package import Package
from committee.ledger.sui.types import type_text
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.rpc import messages
from localnet.sui_double.rpc.server import METHODS, SuiDouble
from tests.committee.ledger.sui.registered import Node, marks, newest
from tests.contracts.sui.network import Network
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

MARK = BlockMark(7, bytes([7]) * 32)
OBJECT, ACCOUNT = bytes([1]) * 32, bytes([2]) * 32
BLOB_ID = bytes(range(32))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("health.FIRST_REST_S", 0.001), ("health.LONGEST_REST_S", 0.01)):
        monkeypatch.setattr(f"committee.ledger.{name}", value)
    for name, value in (("FIRST_PAUSE_S", 0.001), ("LONGEST_PAUSE_S", 0.01)):
        monkeypatch.setattr(f"committee.ledger.sui.checkpoints.{name}", value)


@pytest.fixture(scope="module")
def node(network: Network) -> Node:
    return Node(network, 0)


@pytest.fixture
def happenings(package: Package) -> Happenings:
    return Happenings(package)


@pytest.fixture
def checkpoints(rpc: SuiRpc, happenings: Happenings) -> Checkpoints:
    return Checkpoints(rpc, happenings)


@pytest.fixture
async def second(network: Network) -> AsyncIterator[SuiDouble]:
    async with SuiDouble(network.chain) as double:
        yield double


@pytest.fixture
async def both(
    double: SuiDouble, second: SuiDouble, deployment: SuiDeployment, happenings: Happenings
) -> AsyncIterator[Checkpoints]:
    """The chain as two endpoints tell it."""
    rpc = SuiRpc([double.url, second.url], deployment.chain)
    yield Checkpoints(rpc, happenings)
    await rpc.close()


def happened(network: Network, behind: int = -1) -> list[BlockMark]:
    """Return the checkpoint of each event about nodes that is behind a checkpoint, out of the chain itself."""
    return [
        BlockMark(checkpoint.sequence, checkpoint.digest)
        for checkpoint in network.chain.ledger.checkpoints[behind + 1 :]
        for executed in checkpoint.transactions
        for event in executed.effects.events
        if event.type.name == "NetworkAddressChanged"
    ]


class Following:
    """A task that follows, and begins again from its last mark after each outage."""

    def __init__(self, checkpoints: Checkpoints, after: BlockMark) -> None:
        self.marks = [after]
        self.events: list[Event] = []
        self.outages = 0
        self._checkpoints = checkpoints
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                async for stretch in self._checkpoints.follow(self.marks[-1]):
                    async with self._changed:
                        self.marks += stretch.marks
                        self.events += stretch.events
                        self._changed.notify_all()
            except LedgerUnavailable:
                self.outages += 1
                await asyncio.sleep(0.01)

    async def until(self, mark: BlockMark) -> None:
        """Return when the chain is followed up to a checkpoint."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.marks[-1] == mark)

    async def __aenter__(self) -> Following:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_stretch_has_all_that_happened(network: Network, node: Node, checkpoints: Checkpoints) -> None:
    after = newest(network)
    node.move("http://one.example:1", "http://two.example:2")
    node.owner.succeed(node.owner.draft())
    node.move("http://three.example:3")
    stretch = await checkpoints.stretch(after, newest(network))
    assert stretch.marks == tuple(marks(network)[-3:])
    assert stretch.events == [NetworkAddressChanged(mark, 1) for mark in happened(network, after.number)]
    assert len(stretch.events) == 3


async def test_long_way_is_gone_in_stretches(
    network: Network, node: Node, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.sui.checkpoints.STRETCH_CHECKPOINTS", 2)
    after = newest(network)
    for port in range(3):
        node.move(f"http://one.example:{port + 1}")
    first = await checkpoints.stretch(after, newest(network))
    assert first.marks == tuple(marks(network)[-3:-1])
    rest = await checkpoints.stretch(first.marks[-1], newest(network))
    assert rest.marks == (newest(network),)


async def test_checkpoint_of_another_chain_is_no_beginning(
    network: Network, node: Node, checkpoints: Checkpoints
) -> None:
    after = newest(network)
    node.move("http://one.example:1")
    with pytest.raises(LedgerReorganised, match="does not follow on"):
        await checkpoints.stretch(replace(after, hash=bytes(32)), newest(network))
    with pytest.raises(LedgerUnavailable, match="different checkpoints of the number"):
        await checkpoints.stretch(after, replace(newest(network), hash=bytes(32)))


async def test_history_that_every_endpoint_has_pruned_is_gone(
    network: Network, node: Node, double: SuiDouble, second: SuiDouble, both: Checkpoints
) -> None:
    after = newest(network)
    for port in range(3):
        node.move(f"http://one.example:{port + 1}")
    double.faults.first_checkpoint = newest(network).number
    assert len((await both.stretch(after, newest(network))).events) == 3, "the other endpoint keeps it"
    second.faults.is_down = True
    with pytest.raises(LedgerUnavailable) as unknown:
        await both.stretch(after, newest(network))
    assert not isinstance(unknown.value, LedgerHistoryGone), "the other endpoint may keep it"
    second.faults.is_down = False
    second.faults.first_checkpoint = newest(network).number
    with pytest.raises(LedgerHistoryGone, match="keeps checkpoint"):
        await both.stretch(after, newest(network))


async def test_endpoint_that_is_behind_has_not_lost_history(
    network: Network, node: Node, double: SuiDouble, checkpoints: Checkpoints
) -> None:
    after = newest(network)
    node.move("http://one.example:1")
    double.faults.checkpoint_lag = 1
    with pytest.raises(LedgerUnavailable, match="NOT_FOUND") as behind:
        await checkpoints.stretch(after, newest(network))
    assert not isinstance(behind.value, LedgerHistoryGone)


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.transactions.clear(),
        lambda message: setattr(message.transactions[0], "events", None),
        lambda message: message.transactions[0].events.events.clear(),
        lambda message: setattr(message.transactions[0], "effects", None),
        lambda message: setattr(message.transactions[0].events.events[0].contents, "value", b"\1"),
        lambda message: setattr(message, "contents", None),
        lambda message: setattr(message.summary, "previous_digest", None),
        lambda message: setattr(message, "sequence_number", 0),
        lambda message: setattr(message, "digest", "l0"),
    ],
)
async def test_checkpoint_that_is_not_whole_is_the_endpoints_fault(
    network: Network,
    node: Node,
    checkpoints: Checkpoints,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], None],
) -> None:
    after = newest(network)
    node.move("http://one.example:1")
    whole = messages.checkpoint_message

    def spoilt(checkpoint: Any) -> Any:
        message = whole(checkpoint)
        change(message)
        return message

    monkeypatch.setattr("localnet.sui_double.rpc.service.messages.checkpoint_message", spoilt)
    with pytest.raises(LedgerUnavailable, match="GetCheckpoint with something that cannot be read"):
        await checkpoints.stretch(after, newest(network))


async def test_large_checkpoint_is_read(
    network: Network, node: Node, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = newest(network)
    node.move("http://one.example:1")
    monkeypatch.setattr("committee.ledger.sui.grpc.SuiRpc.ask.__defaults__", (300,))
    assert len((await checkpoints.stretch(after, newest(network))).events) == 1


async def test_subscription_with_gaps_tells_all(
    network: Network, node: Node, double: SuiDouble, checkpoints: Checkpoints
) -> None:
    after = newest(network)
    async with Following(checkpoints, after) as following:
        await double.wait_for_streams(1)
        double.faults.missing_checkpoints |= {after.number + 1, after.number + 2, after.number + 4}
        for port in range(5):
            node.move(f"http://one.example:{port + 1}")
            await double.notify()
        await following.until(newest(network))
        assert following.marks == marks(network)[after.number :]
        assert [event.block for event in following.events] == happened(network, after.number)
        assert following.outages == 0
    await double.wait_for_streams(0)


async def test_subscription_that_ends_is_begun_anew(
    network: Network, node: Node, double: SuiDouble, checkpoints: Checkpoints
) -> None:
    after = newest(network)
    double.faults.stream_length = 1
    async with Following(checkpoints, after) as following:
        for port in range(4):
            node.move(f"http://one.example:{port + 1}")
            await double.notify()
            await following.until(newest(network))
        assert [event.block for event in following.events] == happened(network, after.number)


async def test_endpoint_that_does_not_have_subscriptions_is_followed(
    network: Network,
    node: Node,
    deployment: SuiDeployment,
    happenings: Happenings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METHODS, "SubscriptionService", ())
    after = newest(network)
    async with SuiDouble(network.chain) as double:
        rpc = SuiRpc(double.url, deployment.chain)
        async with Following(Checkpoints(rpc, happenings), after) as following:
            node.move("http://one.example:1")
            await following.until(newest(network))
            node.move("http://one.example:2")
            await following.until(newest(network))
            assert [event.block for event in following.events] == happened(network, after.number)
        assert rpc.endpoints[0].trouble is None, "it serves everything else"
        await rpc.close()


async def test_subscription_that_tells_nothing_is_left(
    network: Network,
    node: Node,
    double: SuiDouble,
    checkpoints: Checkpoints,
) -> None:
    after = newest(network)
    double.faults.missing_checkpoints = set(range(after.number + 100))
    async with Following(checkpoints, after) as following:
        for port in range(3):
            node.move(f"http://one.example:{port + 1}")
            await following.until(newest(network))
        assert [event.block for event in following.events] == happened(network, after.number)


@pytest.mark.parametrize(("steps", "at_once"), [(30, 5), pytest.param(250, 20, marks=pytest.mark.slow)])
async def test_no_event_is_lost_or_told_twice(
    network: Network,
    node: Node,
    double: SuiDouble,
    second: SuiDouble,
    both: Checkpoints,
    steps: int,
    at_once: int,
) -> None:
    """Two endpoints that lag, leave out checkpoints, end streams and go down, each at its own times."""
    after, draw = newest(network), random.Random(steps)
    async with Following(both, after) as following:
        for step in range(steps):
            node.move(*(f"http://one.example:{step * at_once + port + 1}" for port in range(at_once)))
            for endpoint, other in ((double, second), (second, double)):
                faults = endpoint.faults
                faults.checkpoint_lag = draw.choice((0, 0, 1, 3))
                faults.stream_length = draw.choice((None, None, 0, 1, 5))
                faults.missing_checkpoints = {newest(network).number + draw.randrange(3) for _ in range(2)}
                faults.is_down = draw.random() < 0.15 and not other.faults.is_down
                await endpoint.notify()
            await asyncio.sleep(draw.choice((0, 0, 0.002, 0.01)))
        for endpoint in (double, second):
            endpoint.faults.checkpoint_lag, endpoint.faults.is_down = 0, False
            await endpoint.notify()
        await following.until(newest(network))
    assert following.marks == marks(network)[after.number :]
    assert [event.block for event in following.events] == happened(network, after.number)
    assert len(following.events) == steps * at_once


REGISTERED: list[Any] = [
    [OBJECT],
    3,
    int.from_bytes(BLOB_ID, "little"),
    ACCOUNT,
    5,
    100,
    9,
    4,
    8,
    True,
    False,
]
CERTIFIED: list[Any] = [[OBJECT], int.from_bytes(BLOB_ID, "little"), 4, 8, False, True]
NUMBER = int.from_bytes(OBJECT, "big")


@pytest.mark.parametrize(
    ("type_", "value", "event"),
    [
        (
            "blob::BlobRegistered",
            REGISTERED,
            told.BlobRegistered(MARK, NUMBER, BLOB_ID, "0x" + "02" * 32, 4, 100, 8, True),
        ),
        (
            "blob::BlobCertified",
            CERTIFIED,
            told.BlobCertified(MARK, NUMBER, BLOB_ID, 4, 8, deletable=False, is_extension=True),
        ),
        ("blob::BlobTransferred", [[OBJECT], ACCOUNT], told.BlobTransferred(MARK, NUMBER, "0x" + "02" * 32)),
        (
            "blob::BlobDeleted",
            [[OBJECT], int.from_bytes(BLOB_ID, "little"), 4],
            told.BlobDeleted(MARK, NUMBER, BLOB_ID, 4),
        ),
        (
            "blob::BlobInvalidated",
            [int.from_bytes(BLOB_ID, "little"), 4],
            told.BlobInvalidated(MARK, BLOB_ID, 4),
        ),
        ("registry::ReceiverChanged", [1, ACCOUNT], None),
    ],
)
def test_events_are_as_the_ledger_tells_them(
    network: Network, package: Package, type_: str, value: list[Any], event: Event | None
) -> None:
    """In the bytes in which the package emits them, as the double writes them."""
    module, name = type_.split("::")
    data = network.chain.codec.encode(Datatype(ModuleId(network.package, module), name), value)
    happenings = Happenings(package)
    assert happenings.decode(MARK, type_text(package.type(module, name)), data) == event
    if event is not None:
        with pytest.raises(ValueError, match="bytes"):
            happenings.decode(MARK, type_text(package.type(module, name)), data[:-1])


def test_event_of_another_package_is_not_the_deployments(happenings: Happenings) -> None:
    stranger = f"0x{'11' * 32}::registry::NetworkAddressChanged"
    assert happenings.decode(MARK, stranger, b"whatever") is None
