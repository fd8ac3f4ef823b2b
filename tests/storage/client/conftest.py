"""A client of the network in memory, its account on the chain, and taps on what the nodes answer it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from committee.certificate import Certificate
from committee.ledger import Transaction
from storage.client import link, outages, overtaking, retrying, settling, waiting
from storage.client.client import Client
from storage.client.node_client import NodeClient
from storage.client.transport import NodeTransport
from tests.memory_chain import MemoryChain, MemoryLedger
from tests.storage import pacing

if TYPE_CHECKING:
    from tests.storage.network import Network


class UserLedger(MemoryLedger):
    """The chain as a user's account sees it."""

    def __init__(self, chain: MemoryChain) -> None:
        super().__init__(chain, "user")
        self.posted: list[int] = []
        """The epochs of the certificates, accepted or not."""
        self.before_certify: Callable[[], Awaitable[None]] | None = None
        """Called once, when a certificate has been sent and has not arrived."""

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        self.posted.append(certificate.epoch)
        if self.before_certify is not None:
            meanwhile, self.before_certify = self.before_certify, None
            await meanwhile()
        return await super().certify_blob(object_id, certificate)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Retries follow at once, and end soon."""
    monkeypatch.setattr(settling, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(waiting, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(outages, "LINK_PATIENCE_S", 0.05)
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(outages, "LOOK_S", 0.01)
    monkeypatch.setattr(settling, "RESTART_PATIENCE_S", 0.02)
    with pacing.tries(retrying.TRIES):
        yield


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose block does not move is given up soon."""
    monkeypatch.setattr(settling, "BEHIND_PATIENCE_S", 0.3)


@pytest.fixture
def ledger(network: Network) -> UserLedger:
    return UserLedger(network.chain)


@pytest.fixture
async def user(ledger: UserLedger) -> AsyncIterator[Client]:
    async with Client(ledger) as opened:
        yield opened


class Tap:
    """What the client is answered by one kind of request, and a test's chance to change it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.asked: list[str] = []
        """Names of the nodes, in order."""
        self.before: Callable[[str], Awaitable[None]] | None = None
        """Called with the node's name before a request goes out."""
        self.change: Callable[[str, Any], Any] = lambda name, answer: answer
        real = getattr(NodeClient, method)

        async def ask(node: NodeClient, *arguments: Any, **options: Any) -> Any:
            self.asked.append(node.name)
            if self.before is not None:
                await self.before(node.name)
            return self.change(node.name, await real(node, *arguments, **options))

        monkeypatch.setattr(NodeClient, method, ask)

    def hang(self, *names: str) -> asyncio.Event:
        """Keep nodes from answering until the event that is returned is set."""
        goes_on = asyncio.Event()

        async def wait(name: str) -> None:
            if name in names:
                await goes_on.wait()

        self.before = wait
        return goes_on


@pytest.fixture
def overtaken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overtake a node that hangs as soon as the others had time to answer."""
    monkeypatch.setattr(overtaking, "OVERTAKEN_AFTER_S", 1.5)
    monkeypatch.setattr(link, "GRACE_S", 1.5)


@pytest.fixture
def confirmations(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "confirmation")


class SliverTap(Tap):
    """Of a sliver that hangs, the request is under way: the client's link counts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, "sliver")
        self._hanging: dict[str, asyncio.Event] = {}
        real = NodeTransport.once

        async def once(node: NodeTransport, method: str, path: str, *arguments: Any) -> Any:
            if method == "GET" and "/slivers/" in path and node.name in self._hanging:
                await self._hanging[node.name].wait()
            return await real(node, method, path, *arguments)

        monkeypatch.setattr(NodeTransport, "once", once)

    def hang(self, *names: str) -> asyncio.Event:
        goes_on = asyncio.Event()
        self._hanging.update(dict.fromkeys(names, goes_on))
        return goes_on


@pytest.fixture
def slivers(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return SliverTap(monkeypatch)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "metadata")
