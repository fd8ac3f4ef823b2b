"""Storing on a chain that settles late, through nodes whose endpoints lag, and while nodes are restarted."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from committee import cli as committee_cli
from committee import epoch_cli
from committee.errors import FinalityUnknown, LedgerUnavailable
from storage.client import cli, settling
from storage.client.errors import NodeLied, NodeRefused, NodeUnreachable, NotCertified
from storage.client.failures import Reason
from storage.client.settling import NotSettled, Settling, block_of
from tests.live_objects import live_objects
from tests.memory_chain import MemoryLedger
from tests.storage.client.conftest import Tap, UserLedger

if TYPE_CHECKING:
    from storage.client.client import Client
    from tests.memory_chain import MemoryChain
    from tests.storage.network import Network

DATA = random.Random(7).randbytes(3000)
LARGE = random.Random(7).randbytes(40_000)
"""Of slivers that are sent one by one."""
BLOCK_S = 0.005


class Told:
    """What a store tells of its progress; from its first wait on the chain goes on."""

    def __init__(self, chain: MemoryChain) -> None:
        self.stages: list[str] = []
        self.totals: list[int] = []
        self._chain = chain
        self._mining: asyncio.Task[None] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.stages.append(stage)
        if stage == "settle":
            self.totals.append(total)
            if self._mining is None:
                self._mining = asyncio.create_task(mine(self._chain))

    async def stop(self) -> None:
        if self._mining is not None:
            self._mining.cancel()
            await asyncio.gather(self._mining, return_exceptions=True)


async def mine(chain: MemoryChain) -> None:
    """Blocks come."""
    while True:
        chain.mine()
        await asyncio.sleep(BLOCK_S)


@pytest.mark.parametrize("confirmations", [2, 64])
async def test_a_store_waits_until_the_registration_is_settled(
    network: Network, user: Client, confirmations: int
) -> None:
    network.chain.confirmations = confirmations
    for _ in range(confirmations):
        network.chain.mine()
    await network.seen()
    for data, deletable in ((DATA, False), (DATA[:-1], True)):
        told = Told(network.chain)
        stored = await user.store(data, 3, deletable, told)
        await told.stop()
        assert stored.certified_epoch == 1
        assert list(dict.fromkeys(told.stages)) == ["encode", "register", "settle", "upload", "certify"]
        assert max(told.totals) <= confirmations
        assert await user.read(stored.blob_id) == data


async def test_a_first_epoch_whose_start_is_not_settled_yet_is_waited_for(
    network: Network, user: Client
) -> None:
    network.chain.confirmations = len(network.chain.blocks)
    mining = asyncio.create_task(mine(network.chain))
    told = Told(network.chain)
    assert (await user.store(DATA, 3, progress=told)).certified_epoch == 1
    assert list(dict.fromkeys(told.stages))[:2] == ["start", "encode"]
    await told.stop()
    mining.cancel()
    await asyncio.gather(mining, return_exceptions=True)


@pytest.mark.parametrize("is_for_ever", [False, True])
async def test_an_endpoint_that_tells_no_finality_after_its_restart_is_waited_for(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch, *, is_for_ever: bool
) -> None:
    """paradigmxyz/reth#9105: an endpoint knows it again once its consensus client has spoken to it."""
    monkeypatch.setattr(settling, "FINALITY_PATIENCE_S", 0.1)
    told: list[str] = []
    left = 3

    async def epoch_state(asked: UserLedger, at: Any = None) -> Any:
        nonlocal left
        if at is None and left:
            left -= not is_for_ever
            raise FinalityUnknown("the chain's endpoint tells no finalized block")
        return await MemoryLedger.epoch_state(asked, at)

    monkeypatch.setattr(UserLedger, "epoch_state", epoch_state)
    storing = user.store(DATA, 3, progress=lambda *progress: told.append(progress[0]))
    if is_for_ever:
        with pytest.raises(FinalityUnknown):
            await storing
        assert not await live_objects(network.ledgers[1])
        return
    assert (await storing).certified_epoch == 1
    assert told[:4] == ["finality"] * 3 + ["encode"]


@pytest.mark.parametrize("lagging", [[4], [3, 4], [1, 2, 3, 4]], ids=len)
async def test_nodes_with_endpoints_that_lag_are_waited_for(
    network: Network, user: Client, lagging: list[int]
) -> None:
    """On a chain that settles at once, with as many blocks behind as a node's endpoint has not heard of."""

    async def let_go() -> None:
        await asyncio.sleep(0.1)
        for node_id in lagging:
            network.let_go(node_id)

    for node_id in lagging:
        network.hold(node_id)
    going = asyncio.create_task(let_go())
    if lagging == [4]:
        await network.stop(3)  # without node 4 there is no quorum
    assert (await user.store(DATA, 3)).certified_epoch == 1
    await going


@pytest.mark.usefixtures("hasty")
async def test_a_registration_that_nodes_never_see_is_a_failure_at_last(
    network: Network, user: Client
) -> None:
    for node_id in (1, 2):
        network.hold(node_id)
    with pytest.raises(NotCertified, match=r"stands at block \d+ of the chain for 0.3 s"):
        await user.store(DATA, 3)


async def test_a_blob_that_is_not_registered_any_more_fails_at_once(
    network: Network, user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner deletes the object meanwhile: however long the client waits, no node will know it."""
    metadata = Tap(monkeypatch, "put_blobs")

    async def delete(name: str) -> None:
        if len(metadata.asked) == 1:
            await ledger.delete_blob(max(network.chain.records))
        await network.seen()

    metadata.before = delete
    with pytest.raises(NotCertified, match="it was deleted before it was certified"):
        await user.store(DATA, 3, deletable=True)


async def test_nodes_that_are_restarted_during_a_store_are_waited_for(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four at once, when each has some of its slivers."""
    monkeypatch.setattr(settling, "RESTART_PATIENCE_S", 10.0)
    slivers = Tap(monkeypatch, "put_sliver")
    restarted: list[asyncio.Task[None]] = []

    async def restart() -> None:
        await network.stop(3, 4)
        await asyncio.sleep(0.2)
        await network.start(3, 4)

    async def restart_once(name: str) -> None:
        if not restarted and slivers.asked.count("node-3") == 2:
            restarted.append(asyncio.create_task(restart()))
            await asyncio.sleep(0.05)

    slivers.before = restart_once
    stored = await user.store(LARGE, 3)
    await restarted[0]
    assert stored.certified_epoch == 1
    await network.seen()
    assert await user.read(stored.blob_id) == LARGE


async def test_a_status_tells_of_what_is_not_settled_yet(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    """Also of the node and of the epoch: who asks after a transaction wants to see what it did."""
    stored = await user.store(DATA, 3)
    network.chain.confirmations = len(network.chain.blocks)
    assert (await ledger.head()).number == 0
    told = await cli.status(ledger, stored.blob_id)
    assert [one["object_id"] for one in told["objects"]] == [stored.object_id]
    assert (await epoch_cli.epoch_status(ledger))["epoch"] == 1
    assert (await committee_cli.node_status(ledger, 1))["shards_by_epoch"] == {"1": [0, 1, 2]}


TOLD = {
    "link": "waiting until a member answers, as none does; is this machine's network away? 64 of 64 s to go\n",
    "start": "waiting until the chain has settled the start of the first epoch: 64 of 64 blocks to go\n",
    "settle": "waiting until the nodes have taken in the registration: 64 of 64 blocks to go\n",
}


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("stage", sorted(TOLD))
def test_people_at_a_terminal_are_told_of_the_wait(
    stage: str, is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    waiting = cli.Waiting()
    for done in range(3):
        waiting(stage, done, 64)
    waiting("upload", 1, 10)
    out, err = capsys.readouterr()
    assert (out, err) == ("", TOLD[stage] if is_terminal else "")


# the rule, without a network


class Node:
    """A node's client whose health follows a script; the last entry stays."""

    name, address = "node", "http://node:1"

    def __init__(self, *script: int | Exception | None) -> None:
        self.script = list(script)
        self.asked = 0

    async def health(self) -> dict[str, Any]:
        self.asked += 1
        told = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(told, Exception):
            raise told
        return {} if told is None else {"chain": {"block": told}}


class Chain:
    """The client's own endpoint."""

    def __init__(self, *blocks: int | None) -> None:
        self.blocks = list(blocks)

    async def head(self) -> Any:
        block = self.blocks.pop(0) if len(self.blocks) > 1 else self.blocks[0]
        if block is None:
            raise LedgerUnavailable("silent")
        return type("Mark", (), {"number": block})


GONE = NodeUnreachable("node", "http://node:1", "refused")


def refused(reason: Reason, status: int = 400) -> NodeRefused:
    return NodeRefused("node", "http://node:1", status, reason, "no")


def settling_at(block: int, chain: Chain) -> Settling:
    return Settling(block, chain, lambda *_: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", sorted(settling.NOT_YET))
async def test_a_request_is_repeated_once_the_node_stands_at_the_block(reason: Reason) -> None:
    node = Node(1, GONE, 5, 9, 10)
    answers: list[NodeRefused | str] = [refused(reason), "granted"]

    async def request() -> str:
        answer = answers.pop(0)
        if isinstance(answer, NodeRefused):
            raise answer
        return answer

    one = settling_at(10, Chain(10))
    assert await one.patiently(node, request) == "granted"  # type: ignore[arg-type]
    assert node.asked == 5


async def test_a_node_at_the_block_is_asked_once_more_and_then_believed() -> None:
    node, asked = Node(10), 0

    async def request() -> None:
        nonlocal asked
        asked += 1
        raise refused(Reason.NOT_REGISTERED)

    one = settling_at(10, Chain(10))
    for expected in (2, 3):
        with pytest.raises(NodeRefused):
            await one.patiently(node, request)  # type: ignore[arg-type]
        assert asked == expected
    assert node.asked == 1


@pytest.mark.parametrize(
    "error", [refused(Reason.INVALID_SLIVER), refused(Reason.UNAVAILABLE, 503), NodeLied("node", "", "lied")]
)
async def test_other_failures_are_not_waited_for(error: Exception) -> None:
    node = Node(1)

    async def request() -> None:
        raise error

    with pytest.raises(type(error)):
        await settling_at(10, Chain(10)).patiently(node, request)  # type: ignore[arg-type]
    assert node.asked == 0


@pytest.mark.parametrize(
    ("script", "expected"),
    [([1, 2, 2], NotSettled), ([GONE], NodeUnreachable), ([None], NodeRefused), ([1, None], NodeRefused)],
    ids=["stands still", "gone", "tells no block", "tells none any more"],
)
@pytest.mark.usefixtures("hasty")
async def test_a_wait_ends(script: list[Any], expected: type[Exception]) -> None:
    with pytest.raises(expected):
        await settling_at(10, Chain(10)).until_settled(Node(*script), refused(Reason.NOT_REGISTERED))  # type: ignore[arg-type]


@pytest.mark.parametrize("own", [[9], [None], [1, 2, 3, 4, 5, 6, 7, 8, 9]], ids=["behind", "silent", "moves"])
async def test_a_chain_that_settles_nothing_gets_the_longer_patience(
    own: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "BEHIND_PATIENCE_S", 0.0)
    node = Node(*[1] * 8, 10)
    one = settling_at(10, Chain(*own))
    await one.until_settled(node, refused(Reason.NOT_REGISTERED))  # type: ignore[arg-type]
    assert node.asked == 9


@pytest.mark.parametrize(
    ("health", "block"),
    [
        ({"chain": {"block": 7}}, 7),
        ({"chain": {"block": -7}}, None),
        ({"chain": {"block": True}}, None),
        ({"chain": {"block": "7"}}, None),
        ({"chain": {}}, None),
        ({"chain": 7}, None),
        ({}, None),
    ],
)
def test_the_block_in_a_health(health: dict[str, Any], block: int | None) -> None:
    assert block_of(health) == block


def test_progress_never_goes_past_its_total() -> None:
    choose = random.Random(3)
    told: list[tuple[int, int]] = []
    progress: Callable[[str, int, int], None] = lambda _, done, total: told.append((done, total))  # noqa: E731
    one = Settling(1000, Chain(1), progress)  # type: ignore[arg-type]
    for _ in range(300):
        one._tell(f"node-{choose.randrange(5)}", choose.randrange(1000))
    assert all(0 <= done <= total for done, total in told)


async def test_a_node_stands_still_while_only_the_chain_moves_on_or_its_block_goes_back_and_forth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standstill, now = settling._Standstill(), 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    for seen in ((5, 9), (4, 9), (5, 8), (3, 9)):
        standstill.since_s(*seen)
        now += 10.0
    assert standstill.since_s(5, 9) == 40.0
    assert standstill.since_s(6, 9) == 0.0
