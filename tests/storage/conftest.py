"""One storage node in the test's own process: the real service, store, chain view and grid over a chain in memory."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from committee import messages
from committee.bls import SecretKey
from committee.errors import LedgerUnavailable
from committee.ledger import BlockMark
from storage.client.failures import Reason, domain_of
from storage.client.node_client import NodeClient
from storage.node.block_list import BlockList
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.duties import Due
from storage.node.face import Refusal, SymbolAt
from storage.node.http.metrics import UPKEEP
from storage.node.http.routes import create_app
from storage.node.http.server import HttpServer
from storage.node.store import SliverStore
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, RedStuff, SliverData, blob_id_text
from tests.memory_chain import MemoryChain, MemoryLedger
from tests.storage import network as networks

N_SHARDS = networks.N_SHARDS
SECRETS = {node_id: SecretKey(0xF00D + node_id) for node_id in (1, 2, 3)}
EPOCH = 5
# Shard 4 has moved from node 1 to node 2, shard 3 is about to.
SHARDS = {
    4: {1: (0, 1, 2, 3, 4), 2: (5, 6), 3: (7, 8, 9)},
    5: {1: (0, 1, 2, 3), 2: (4, 5, 6), 3: (7, 8, 9)},
    6: {1: (0, 1, 2), 2: (3, 4, 5, 6), 3: (7, 8, 9)},
}
DOMAIN = networks.DOMAIN


class WatchedLedger(MemoryLedger):
    """Counts how often the head is asked for, and can fall silent."""

    questions = 0
    silent = False

    async def head(self) -> BlockMark:
        self.questions += 1
        if self.silent:
            raise LedgerUnavailable("no answer within 5 s")
        return await super().head()


class NoRounds:
    """A node that has nothing to sign, or to show, of storage proofs."""

    def health(self) -> dict[str, Any]:
        return {"lackingShards": [3, 8], "committed": True, "proven": True, "missed": False, "warnings": []}

    async def sign_inventory(self) -> tuple[bytes, bytes]:
        raise Refusal(503, Reason.UNAVAILABLE, "no inventory")

    async def sign_proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        raise Refusal(503, Reason.UNAVAILABLE, "no draw")

    def openings(self, draw: bytes, page: int) -> bytes | None:
        return None

    def symbol_at(self, position: int) -> SymbolAt:
        raise Refusal(503, Reason.UNAVAILABLE, "no inventory")

    def opening_at(self, position: int) -> bytes:
        raise Refusal(503, Reason.UNAVAILABLE, "no inventory")

    def entry_of(self, blob_id: bytes) -> bytes:
        raise Refusal(503, Reason.UNAVAILABLE, "no inventory")

    def openings_size(self, draw: bytes, page: int) -> int:
        return 0


class OneNode:
    """Node 1 of the committee, and the test's ways to move it."""

    def __init__(self, store: SliverStore) -> None:
        self.store = store
        self.code = RedStuff(N_SHARDS)
        self.secret = SECRETS[1]
        self.chain = MemoryChain(networks.PARAMETERS)
        for node_id, secret in SECRETS.items():
            self.chain.add_node(f"node-{node_id}", f"http://node-{node_id}:1", secret.public_key)
        for _ in range(1, EPOCH):
            self.chain.start(SHARDS[EPOCH - 1])
        self.chain.start(SHARDS[EPOCH])
        self.ledger = WatchedLedger(self.chain, "node-1")
        self.view = ChainView(self.ledger, 1)
        self.block_list = BlockList(None)
        self.address = ""
        """Where it is served."""
        self.silent_members: set[int] = set()

    # the face the routes see

    @property
    def rounds(self) -> NoRounds:
        return NoRounds()

    def health(self) -> dict[str, Any]:
        return {"version": "test", "epoch": self.view.state.epoch}

    def clock_ahead_s(self) -> int:
        return -840

    def upkeep(self) -> dict[str, int]:
        return dict.fromkeys(UPKEEP, 7)

    def due(self) -> tuple[Due, ...]:
        return ()

    def handover_report(self) -> dict[str, Any]:
        return {"epoch": self.view.state.epoch, "shards": []}

    async def sign_ejection(self, node_id: int, deadline_s: int) -> tuple[bytes, bytes]:
        if node_id not in self.silent_members:
            raise Refusal(400, Reason.MEMBER_ANSWERS, f"node {node_id} answers")
        message = messages.encode(
            messages.Intent.EJECT, self.view.state.epoch, messages.eject_body(node_id, deadline_s), DOMAIN
        )
        return message, self.secret.sign(message)

    def sign_of_life(self, nonce: bytes) -> tuple[bytes, bytes]:
        message = messages.encode(
            messages.Intent.SIGN_OF_LIFE, self.view.state.epoch, messages.sign_of_life_body(1, nonce), DOMAIN
        )
        return message, self.secret.sign(message)

    async def fetch_sign_of_life(self, node_id: int, nonce: bytes) -> tuple[bytes, bytes]:
        if node_id in self.silent_members:
            raise Refusal(503, Reason.UNAVAILABLE, f"node {node_id} gave no sign of life")
        body = messages.sign_of_life_body(node_id, nonce)
        message = messages.encode(messages.Intent.SIGN_OF_LIFE, self.view.state.epoch, body, DOMAIN)
        return message, SECRETS[node_id].sign(message)

    # the chain

    def register(
        self,
        blob: EncodedBlob | BlobMetadata,
        *,
        object_id: int = 7,
        deletable: bool = False,
        end_period: int = 50,
    ) -> None:
        """A blob object on chain, which the node has not looked at yet."""
        self.chain.register(blob, end_period=end_period, deletable=deletable, object_id=object_id)

    def certify(self, *, object_id: int = 7) -> None:
        self.chain.certify(object_id)

    def invalidate(self, blob: EncodedBlob | BlobMetadata) -> None:
        self.chain.invalidate(blob.blob_id)

    def select_next(self) -> None:
        self.chain.select(SHARDS[EPOCH + 1])

    def start_next(self) -> None:
        """Epoch 6 on chain, which the node has not looked at yet; later ones with the same shards."""
        self.chain.start(SHARDS[EPOCH + 1])

    # the store

    def keep(self, blob: EncodedBlob, shards: tuple[int, ...] = SHARDS[4][1]) -> None:
        """Put metadata and the slivers of these shards into the store, past the routes."""
        self.store.put_metadata(blob.blob_id, blob.metadata.to_bcs())
        for shard in shards:
            for axis in Axis:
                self.store.put_sliver(blob.blob_id, shard, axis, self.sliver(blob, shard, axis))

    def sliver(self, blob: EncodedBlob, shard: int, axis: Axis) -> bytes:
        return bytes(blob.sliver(axis, self.code.sliver_index(blob.blob_id, shard, axis)))

    def pair(self, blob: EncodedBlob, shard: int) -> int:
        return self.code.pair_of_shard(blob.blob_id, shard)


@pytest.fixture(scope="session")
def encode() -> Callable[[bytes], EncodedBlob]:
    return RedStuff(N_SHARDS).encode


@pytest.fixture(scope="session")
def blob(encode: Callable[[bytes], EncodedBlob]) -> EncodedBlob:
    """A blob of 28 symbols of 40 bytes."""
    return encode(bytes(number % 251 for number in range(1100)))


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """The address at which an application is served, as a node serves it."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with HttpServer(app, listener):
        yield address


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OneNode]:
    """Node 1, serving, in epoch 5."""
    with SliverStore(tmp_path / "node") as opened:
        one = OneNode(opened)
        await one.view.load()
        async with served(create_app(one, Budget())) as one.address:
            yield one


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def client(node: OneNode, session: aiohttp.ClientSession) -> NodeClient:
    """A client for that node."""
    return NodeClient(session, "node-1", node.address)


class Answer(NamedTuple):
    """A node's answer: its status, and its JSON, or its bytes when it is none."""

    status: int
    body: Any

    def granted(self, status: int = 200) -> Any:
        """The data of what must be a success with this status, in the protocol's form."""
        assert self.status == status, self.body
        assert self.body.keys() == {"success"}
        assert self.body["success"].keys() == {"code", "data"}
        assert self.body["success"]["code"] == status
        return self.body["success"]["data"]

    def refused(self, status: int, reason: str | None) -> str:
        """The message of what must be an error with this status and reason, in the protocol's form."""
        assert self.status == status, self.body
        assert self.body.keys() == {"error"}
        error = self.body["error"]
        assert error.keys() == {"status", "code", "message", "details"}
        assert error["code"] == status
        assert (reason is None) == (error["details"] == [])
        for info in error["details"]:
            assert info.keys() == {"@type", "reason", "domain", "metadata"}
            assert (info["@type"], info["reason"]) == ("ErrorInfo", reason)
            assert info["domain"] == domain_of(Reason(info["reason"]))
        return str(error["message"])


Ask = Callable[..., Coroutine[Any, Any, Answer]]
Put = Callable[..., Coroutine[Any, Any, Answer]]


@pytest.fixture
def ask(node: OneNode, session: aiohttp.ClientSession) -> Ask:
    """`await ask(method, path, body)`."""

    async def request(method: str, path: str, body: Any = None) -> Answer:
        async with session.request(method, node.address + path, data=body) as answer:
            if answer.content_type == "application/json":
                return Answer(answer.status, await answer.json())
            return Answer(answer.status, await answer.read())

    return request


@pytest.fixture
async def prepared(node: OneNode, ask: Ask, blob: EncodedBlob) -> OneNode:
    """The blob is registered and its metadata is here."""
    node.register(blob)
    (await ask("PUT", f"/v1/blobs/{blob_id_text(blob.blob_id)}/metadata", blob.metadata.to_bcs())).granted(
        201
    )
    return node


@pytest.fixture
def put(node: OneNode, ask: Ask, blob: EncodedBlob) -> Put:
    """`await put(shard, axis, changes…)`: put the right sliver, or one with fields changed."""

    async def send(shard: int, axis: Axis, **changes: Any) -> Answer:
        index = node.code.sliver_index(blob.blob_id, shard, axis)
        sliver = SliverData(node.sliver(blob, shard, axis), 40, index)
        body = dataclasses.replace(sliver, **changes).to_bcs()
        where = f"/v1/blobs/{blob_id_text(blob.blob_id)}/slivers/{node.pair(blob, shard)}/{axis.label}"
        return await ask("PUT", where, body)

    return send


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Any], Coroutine[Any, Any, str]]]:
    """`await serve(handler)` → address of a server that answers every request with that handler."""
    servers: list[TestServer] = []

    async def start(handler: Any) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[networks.Network]:
    """Four nodes in epoch 1."""
    async with networks.begun(tmp_path) as network:
        yield network
