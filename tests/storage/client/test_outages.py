"""The client's own link is away for a while: no member answers, and stores and reads go on where they were."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from storage.client import outages
from storage.client.client import Client
from storage.client.errors import BlobUnavailable, NodeStalled, NodeUnreachable, NotCertified
from storage.client.outages import MOST_IN_VAIN, Outages
from storage.client.purchase import StoredBlob
from storage.client.reading import QUESTIONS_AT_ONCE
from storage.client.transport import NodeTransport
from storage.redstuff import RedStuff
from tests.storage.client.conftest import UserLedger
from tests.storage.network import SHARDS

if TYPE_CHECKING:
    from tests.storage.network import Network

CODE = RedStuff(10)  # p = 4, s = 7
DATA = random.Random(11).randbytes(3000)
LARGE = random.Random(11).randbytes(40_000)
"""Of slivers that are sent one by one."""
BLOB = CODE.encode(DATA)
SLIVERS = 20


class Cable:
    """What carries one session's requests: after some of them it is out, until nodes were asked for their health."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, session: aiohttp.ClientSession) -> None:
        self.out_after: dict[str, int] = {}
        """Part of a request's path → requests granted before the cable is out."""
        self.out_for: float = 0
        """Questions for health that are lost before the cable is back."""
        self.is_lost: Callable[[str, str], bool] = lambda name, path: self.is_out(path)
        """Whether a request to the node of this name, with this path, or its answer is lost."""
        self.granted: list[tuple[str, str]] = []
        """(method, path) of what was granted."""
        self.stages: list[str] = []
        """Of the progress told."""
        real = NodeTransport.once

        async def once(node: NodeTransport, method: str, path: str, *arguments: Any) -> Any:
            if node._session is not session:
                return await real(node, method, path, *arguments)
            self.lose(node, path)
            answer = await real(node, method, path, *arguments)
            self.lose(node, path)
            self.granted.append((method, path))
            return answer

        monkeypatch.setattr(NodeTransport, "once", once)

    def lose(self, node: NodeTransport, path: str) -> None:
        """Raise `NodeUnreachable` if the cable is out: for a request, and for an answer whose connection dies."""
        if self.is_lost(node.name, path):
            self.out_for -= path == "/v1/health"
            raise NodeUnreachable(node.name, node.address, "the cable is out")

    def is_out(self, path: str) -> bool:
        """Whether it is out, or goes out with this request."""
        for part, most in self.out_after.items():
            # Then it carries nothing at all: while a node grants a request, one that does not is itself at fault.
            if sum(part in granted for _, granted in self.granted) >= most:
                return self.out_for > 0
        return False

    def count(self, method: str, part: str) -> int:
        return sum(method == one and part in path for one, path in self.granted)

    def progress(self, stage: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.stages.append(stage)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "LINK_PATIENCE_S", 60.0)


@pytest.fixture
def cable(monkeypatch: pytest.MonkeyPatch, user: Client, patient: None) -> Cable:
    return Cable(monkeypatch, user._session)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Outages]:
    """The looks at all members, each of which is a look of its own."""
    made: list[Outages] = []
    look = Outages._look

    async def count(one: Outages) -> set[int]:
        made.append(one)
        return await look(one)

    monkeypatch.setattr(Outages, "_look", count)
    monkeypatch.setattr(outages, "LOOK_S", 0.0)
    return made


@pytest.mark.parametrize(("part", "most"), [("/metadata", 0), ("/slivers/", 0), ("/slivers/", 2)])
async def test_a_read_goes_on_after_an_outage(
    network: Network, user: Client, cable: Cable, part: str, most: int
) -> None:
    await network.upload(BLOB)
    cable.granted.clear()
    cable.out_after, cable.out_for = {part: most}, 9
    assert await user.read(BLOB.blob_id, cable.progress) == DATA
    assert 1 <= cable.count("GET", "/metadata") <= QUESTIONS_AT_ONCE
    assert cable.count("GET", "/slivers/") == CODE.p
    assert "link" in cable.stages


@pytest.mark.parametrize(("part", "most"), [("/metadata", 0), ("/slivers/", 7), ("/confirmation", 1)])
async def test_a_store_goes_on_after_an_outage(user: Client, cable: Cable, part: str, most: int) -> None:
    """Which is longer than a node is waited for that does not answer alone."""
    cable.out_after, cable.out_for = {part: most}, 9
    assert (await user.store(LARGE, 3, progress=cable.progress)).certified_epoch == 1
    assert cable.count("PUT", "/slivers/") == SLIVERS
    assert "link" in cable.stages


@pytest.mark.parametrize(("part", "most"), [("/uploads", 0), ("/uploads", 2), ("/confirmations", 1)])
async def test_a_store_of_many_goes_on_after_an_outage(
    user: Client, cable: Cable, part: str, most: int
) -> None:
    cable.out_after, cable.out_for = {part: most}, 9
    stored = [one async for one in user.store_many([DATA, DATA[:-1]], 3, progress=cable.progress)]
    assert all(isinstance(one, StoredBlob) for one in stored), stored
    assert cable.count("POST", "/uploads") == cable.count("POST", "/confirmations") == len(SHARDS)
    assert "link" in cable.stages


async def test_an_outage_without_an_end_is_a_failure(
    network: Network, user: Client, cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "LINK_PATIENCE_S", 0.05)
    await network.upload(BLOB)
    cable.out_after, cable.out_for = {"/v1/": 0}, math.inf
    with pytest.raises(BlobUnavailable, match="no answer from node-1, node-2, node-3, node-4"):
        await user.read(BLOB.blob_id)
    with pytest.raises(NotCertified, match="no answer from node-1, node-2, node-3, node-4"):
        await user.store(DATA[:-1], 3)


async def test_a_member_that_does_not_answer_alone_is_no_outage(
    network: Network, user: Client, cable: Cable
) -> None:
    await network.stop(3)
    stored = await user.store(DATA, 3, progress=cable.progress)
    await network.stop(4)
    assert await user.read(stored.blob_id, cable.progress) == DATA
    await network.stop(2)
    with pytest.raises(BlobUnavailable, match="reachable 3: no answer from node-2, node-3, node-4"):
        await user.read(stored.blob_id, cable.progress)
    assert "link" not in cable.stages


async def test_members_that_answer_again_when_no_other_is_left_are_asked_again(
    network: Network, user: Client, cable: Cable, looks: list[Outages]
) -> None:
    """The link was away for too short a time to be seen so: three members count as silent, and the fourth is there."""
    await network.upload(BLOB)
    cable.is_lost = lambda name, path: "/slivers/" in path and name != "node-4" and not looks
    assert await user.read(BLOB.blob_id, cable.progress) == DATA
    assert len(looks) == 1
    assert "link" not in cable.stages


async def test_members_that_answer_for_their_health_alone_are_given_up(
    network: Network, user: Client, cable: Cable, looks: list[Outages]
) -> None:
    await network.upload(BLOB)
    cable.is_lost = lambda name, path: "/slivers/" in path
    with pytest.raises(BlobUnavailable, match="reachable 0: no answer from node-1, node-2, node-3, node-4"):
        await user.read(BLOB.blob_id, cable.progress)
    assert len(looks) == MOST_IN_VAIN


async def test_members_at_addresses_that_may_not_be_used_are_no_outage(
    network: Network, ledger: UserLedger, cable: Cable
) -> None:
    why = r"node-1, node-2, node-3, node-4: .* \(not a public IP address; --allow-private allows it\)"
    async with Client(ledger, allow_private=False) as client:
        with pytest.raises(BlobUnavailable, match=why):
            await client.read(BLOB.blob_id, cable.progress)
        with pytest.raises(NotCertified, match=why):
            await client.store(DATA, 3, progress=cable.progress)
    assert "link" not in cable.stages


# the rule, without a network


class Node:
    """A node's client that answers from its n-th question on."""

    def __init__(self, answers_from: float) -> None:
        self.answers_from = answers_from
        self.asked = 0

    async def health(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked < self.answers_from:
            raise GONE
        return {}


GONE = NodeUnreachable("node", "", "gone")
STALLED = NodeStalled("node", "", "stopped")


def outages_of(*answers_from: float) -> Outages:
    return Outages({number: Node(one) for number, one in enumerate(answers_from)})  # type: ignore[misc]


@pytest.mark.usefixtures("patient")
async def test_a_node_that_stalled_is_at_fault_unless_there_is_an_outage() -> None:
    assert await outages_of(1, 1).returned({0: GONE, 1: STALLED}) == {0}
    assert await outages_of(3, 3).returned({0: GONE, 1: STALLED}) == {0, 1}
    assert await outages_of(3, math.inf).returned({0: GONE, 1: STALLED}) == {0}
    assert await outages_of(3, 4).returned({0: GONE, 1: GONE}) == {0, 1}, "which comes back a moment later"


@pytest.mark.usefixtures("patient")
async def test_a_request_is_made_again_if_there_was_an_outage_since_it_began() -> None:
    clock = asyncio.get_running_loop().time
    rule = outages_of(3, math.inf)
    assert await rule.has_ended(STALLED, clock())
    assert not await rule.has_ended(STALLED, clock())


async def test_a_node_is_at_fault_where_another_one_granted_a_request_just_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outages, "LOOK_S", 60.0)
    node = Node(1)
    rule = Outages({0: node})  # type: ignore[dict-item]
    rule.note_grant()
    assert not await rule.has_ended(GONE, asyncio.get_running_loop().time())
    assert node.asked == 0


async def test_the_patience_is_one_for_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "LINK_PATIENCE_S", 0.05)
    node = Node(math.inf)
    rule = Outages({0: node})  # type: ignore[dict-item]
    waiting = [rule.has_ended(GONE, 0.0) for _ in range(50)]
    assert await asyncio.gather(*waiting, return_exceptions=True) == [GONE] * 50
    asked = node.asked
    monkeypatch.setattr(outages, "LOOK_S", 0.0)
    with pytest.raises(NodeUnreachable):
        await rule.has_ended(GONE, 0.0)
    assert node.asked == asked + 1, "after its end it is not waited for anew"
