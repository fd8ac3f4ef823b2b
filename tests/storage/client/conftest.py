"""A client of the network in memory, its account on the chain, and taps on what the nodes answer it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
import stamina

from committee import certificate as certificates
from committee import messages
from committee.certificate import Certificate
from committee.errors import LedgerRefused
from committee.ledger import BlobRecord, EpochState, Ledger, Parameters, Transaction
from storage.client import client as client_module
from storage.client import node_client, overtaking
from storage.client.client import Client
from storage.client.node_client import NodeClient
from storage.redstuff import BlobMetadata
from tests.storage.chain import DOMAIN, BlobName, Chain, ChainLedger

if TYPE_CHECKING:
    from tests.storage.network import Network


class UserLedger:
    """The chain as a user's account sees it."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.posted: list[int] = []
        """The epochs of the certificates, accepted or not."""
        self.before_certify: Callable[[], Awaitable[None]] | None = None
        """Called once, when a certificate has been sent and has not arrived."""

    async def parameters(self) -> Parameters:
        return await ChainLedger(self.chain, 0).parameters()

    async def epoch_state(self) -> EpochState:
        return self.chain.state

    async def missing_shards(self, epoch: int) -> frozenset[int]:
        return await ChainLedger(self.chain, 0).missing_shards(epoch)

    async def blob_object(self, object_id: int) -> BlobRecord:
        return self.chain.records[object_id]

    async def register_blob(
        self, root: bytes, length: int, epochs: int, deletable: bool
    ) -> tuple[int, Transaction]:
        blob = BlobName(BlobMetadata.id_of(length, root), length)
        end_epoch = self.chain.state.epoch + epochs
        number = self.chain.register(blob, end_epoch=end_epoch, deletable=deletable)
        return number, Transaction(bytes(32), self.chain.state.block, 0)

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        """As the contract: of this epoch, or of the one before while the handover is not done."""
        self.posted.append(certificate.epoch)
        if self.before_certify is not None:
            meanwhile, self.before_certify = self.before_certify, None
            await meanwhile()
        state = self.chain.state
        assert state.current is not None
        committee = state.current
        if certificate.epoch != state.epoch:
            if certificate.epoch != state.epoch - 1 or state.handover_done:
                raise LedgerRefused("certify", "WrongEpoch", {"given": certificate.epoch})
            assert state.previous is not None
            committee = state.previous
        certificates.verify(certificate, committee, DOMAIN)
        record = self.chain.records[object_id]
        body = messages.blob_body(record.blob_id, object_id if record.deletable else None)
        assert messages.decode(certificate.message).body == body
        self.chain.certify(object_id)
        return Transaction(bytes(32), state.block, 0)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Retries follow at once."""
    monkeypatch.setattr(client_module, "BEHIND_S", 0.0)
    with stamina.set_testing(True, attempts=node_client.TRIES, cap=True):
        yield


@pytest.fixture
def ledger(network: Network) -> UserLedger:
    return UserLedger(network.chain)


@pytest.fixture
async def user(ledger: UserLedger) -> AsyncIterator[Client]:
    async with Client(cast(Ledger, ledger)) as opened:
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

        async def ask(node: NodeClient, *arguments: Any) -> Any:
            self.asked.append(node.name)
            if self.before is not None:
                await self.before(node.name)
            return self.change(node.name, await real(node, *arguments))

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
    """Who hangs is overtaken as soon as the others had time to answer."""
    monkeypatch.setattr(overtaking, "OVERTAKEN_AFTER_S", 0.1)


@pytest.fixture
def confirmations(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "confirmation")


@pytest.fixture
def slivers(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "sliver")


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "metadata")
