"""A real chain with the contracts on it, nodes with real keys, and a proxy that spoils the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web

from committee import bls, certificate, messages
from committee.bls import SecretKey, proof_of_possession
from committee.certificate import Certificate, MemberSignature
from committee.ledger import Attestation, EpochState
from committee.ledger.evm import AccountKey, Deployment, DeploymentParameters, EvmLedger, Roles, deploy
from committee.messages import EjectionReason, Intent
from localnet.chain import LocalChain

EPOCH_S = 600
DEADLINE_S = 300
EVIDENCE_S = 300
PARAMETERS = DeploymentParameters(
    n_shards=10,
    period_duration_s=EPOCH_S,
    handover_deadline_s=DEADLINE_S,
    patience_s=30,
    evidence_window_s=EVIDENCE_S,
    price_per_mib_period=1,
    write_price_per_mib=1,
    opening_members=1,
)


@dataclass
class Node:
    """A registered node: its account's ledger and its signing key."""

    node_id: int
    ledger: EvmLedger
    secret: SecretKey
    key: AccountKey


@dataclass
class Network:
    """The contracts on a chain, and everyone who acts on them."""

    UNIT: ClassVar = 10**9
    """What a stake of 1 is in these tests: the contract's least number of shares."""
    chain: LocalChain
    deployment: Deployment
    operator: EvmLedger
    connections: AsyncExitStack
    key: AccountKey
    """The operator's, who deployed."""
    nodes: list[Node] = field(default_factory=list)

    async def account(self, key: AccountKey | None = None) -> EvmLedger:
        """A ledger with a funded account of its own, or with this one's key, which is funded then."""
        key = key or AccountKey.generate()
        await self.chain.fund(key.address)
        connecting = await EvmLedger.connect(self.chain.rpc_url, self.deployment, key)
        return await self.connections.enter_async_context(connecting)

    async def join(self, stake: int) -> Node:
        """A new node with a stake."""
        key, secret, place = AccountKey.generate(), SecretKey.generate(), len(self.nodes) + 1
        ledger = await self.account(key)
        assert ledger.account is not None
        proof = proof_of_possession(secret, ledger.account, self.deployment.domain)
        node_id, _ = await ledger.register_node(
            f"node-{place}", f"http://node-{place}:1", secret.public_key, proof
        )
        node = Node(node_id, ledger, secret, key)
        self.nodes.append(node)
        if stake:
            await self.stake(node, stake)
        return node

    async def stake(self, node: Node, amount: int) -> None:
        """Give a node's account so many units of tokens and stake them on it."""
        assert node.ledger.account is not None
        await self.operator.mint(node.ledger.account, amount * self.UNIT)
        await node.ledger.stake(node.node_id, amount * self.UNIT)

    async def begin_epoch(self) -> EpochState:
        """Select and start the next epoch, moving the clock as far as it takes."""
        await self.chain.increase_time(EPOCH_S)
        await self.operator.select()
        await self.chain.increase_time((await self.operator.parameters()).notice_s)
        await self.operator.start()
        return await self.operator.epoch_state()

    def gained(self, state: EpochState, node: Node) -> list[int]:
        """The shards that a node must attest in an epoch."""
        assert state.current is not None
        before = state.previous.shards_of(node.node_id) if state.previous else ()
        return [shard for shard in state.current.shards_of(node.node_id) if shard not in before]

    async def hand_over(self, state: EpochState) -> None:
        """Every gaining member attests all that it gained."""
        if state.epoch == 1:
            return
        for node in self.nodes:
            shards = self.gained(state, node)
            if shards:
                await node.ledger.attest(state.epoch, [Attestation(shard, bytes(32), 0) for shard in shards])

    def sign(
        self, state: EpochState, intent: Intent, body: bytes, node_ids: Sequence[int] | None = None
    ) -> Certificate:
        """A certificate by these nodes, or all; by too few also, as a cheat would make it."""
        assert state.current is not None
        message = messages.encode(intent, state.epoch, body, self.deployment.domain)
        confirmations = [
            MemberSignature(node.node_id, node.secret.sign(message))
            for node in self.nodes
            if node.node_id in state.current.by_id and (node_ids is None or node.node_id in node_ids)
        ]
        signers = frozenset(one.node_id for one in confirmations)
        return Certificate(
            state.epoch,
            message,
            certificate.bitmap_of(signers, state.current),
            bls.aggregate([one.signature for one in confirmations]),
        )

    async def eject(self, node_id: int) -> None:
        """Have a member ejected, by all others."""
        state = await self.operator.epoch_state()
        deadline_s = await self.operator.chain_time_s() + 60
        others = [one.node_id for one in self.nodes if one.node_id != node_id]
        certificate = self.sign(state, Intent.EJECT, messages.eject_body(node_id, deadline_s), others)
        await self.operator.eject(node_id, EjectionReason.SILENT, deadline_s, certificate)


@dataclass(frozen=True)
class Launched:
    """A chain with the contracts and nodes on it, to go on from more than once."""

    state: str
    """The chain's blocks and the newest state, as anvil writes them."""
    deployment: Deployment
    key: AccountKey
    nodes: tuple[tuple[int, AccountKey, SecretKey], ...]

    @classmethod
    async def of(cls, network: Network) -> Launched:
        """Keep a network as it is now."""
        nodes = tuple((one.node_id, one.ledger._sending()._key, one.secret) for one in network.nodes)
        state = await network.chain.request("anvil_dumpState")
        return cls(state, network.deployment, network.key, nodes)

    async def on(self, chain: LocalChain, connections: AsyncExitStack) -> Network:
        """The network on a chain without blocks, as if it had just been launched there."""
        await chain.request("anvil_loadState", self.state)
        await chain.mine()  # its time is now

        async def ledger(key: AccountKey) -> EvmLedger:
            connecting = await EvmLedger.connect(chain.rpc_url, self.deployment, key)
            return await connections.enter_async_context(connecting)

        network = Network(chain, self.deployment, await ledger(self.key), connections, self.key)
        network.nodes += [
            Node(node_id, await ledger(key), secret, key) for node_id, key, secret in self.nodes
        ]
        return network


Launch = Callable[..., Awaitable[Network]]


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[LocalChain]:
    """An empty chain."""
    async with LocalChain(tmp_path / "chain") as running:
        yield running


async def deployed(
    chain: LocalChain, connections: AsyncExitStack, stakes: Sequence[int], parameters: DeploymentParameters
) -> Network:
    """The contracts, and nodes with these stakes, from nothing."""
    key = AccountKey.generate()
    await chain.fund(key.address)
    deployment = await deploy(chain.rpc_url, key, parameters, Roles(minter=key.address))
    operator = await EvmLedger.connect(chain.rpc_url, deployment, key)
    await connections.enter_async_context(operator)
    network = Network(chain, deployment, operator, connections, key)
    if parameters == PARAMETERS:
        await operator.mint(key.address, 10**9)
        await operator.approve(10**9)
    for stake in stakes:
        await network.join(stake)
    return network


LaunchedBefore = dict[tuple[DeploymentParameters, tuple[int, ...]], Launched]
"""(parameters, stakes) → what was launched with them on a chain of its own."""


@pytest.fixture(scope="session")
def launched() -> LaunchedBefore:
    return {}


@pytest.fixture
async def launch(chain: LocalChain, launched: LaunchedBefore, tmp_path: Path) -> AsyncIterator[Launch]:
    """(stakes, parameters) → the contracts and nodes with these stakes, before the first epoch.

    What was launched once is loaded into other tests' chains: these have no state older than it. A chain that has
    blocks, as that of a test's second launch, keeps them, and everything is sent.
    """
    async with AsyncExitStack() as connections:

        async def start(stakes: Sequence[int] = (), parameters: DeploymentParameters = PARAMETERS) -> Network:
            if await chain.request("eth_blockNumber") != "0x0":
                return await deployed(chain, connections, stakes, parameters)
            place = parameters, tuple(stakes)
            if place not in launched:
                async with LocalChain(tmp_path / "launching") as another, AsyncExitStack() as until_kept:
                    launched[place] = await Launched.of(
                        await deployed(another, until_kept, stakes, parameters)
                    )
            return await launched[place].on(chain, connections)

        yield start


Rule = Callable[[str, list[Any]], Awaitable[web.StreamResponse | None]]
"""(method, parameters) → what to answer instead, None to let the request through."""


Change = Callable[[str, Any], Any]
"""(method, result) → the result to tell instead."""


class SpoiltConnection:
    """Between the adapter and the chain: passes requests on unless a rule says otherwise, and counts them."""

    def __init__(self, target: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.rules: list[Rule] = []
        self.asked: list[str] = []
        self.changes: list[Change] = []
        self._target = target
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        # Several requests in one are all of one method; rules see the parameters of the first.
        first = body[0] if isinstance(body, list) else body
        self.asked.append(first["method"])
        for rule in self.rules:
            answer = await rule(first["method"], first["params"])
            if answer is not None:
                return answer
        answer_body = await self.forward(body)
        if self.changes:
            answer_body = self._changed(first["method"], json.loads(answer_body))
        return web.Response(body=answer_body, content_type="application/json")

    def _changed(self, method: str, answer: Any) -> bytes:
        for one in answer if isinstance(answer, list) else [answer]:
            for change in self.changes:
                if "result" in one:
                    one["result"] = change(method, one["result"])
        return json.dumps(answer).encode()

    async def forward(self, body: Any) -> bytes:
        async with self._session.post(self._target, json=body) as answer:
            return await answer.read()

    def answer(self, method: str, response: Callable[[], web.StreamResponse], times: int = 1) -> None:
        """Answer a method so, the next `times` times."""
        left = times

        async def rule(asked: str, _: list[Any]) -> web.StreamResponse | None:
            nonlocal left
            if asked != method or left == 0:
                return None
            left -= 1
            return response()

        self.rules.append(rule)

    def fail(self, method: str, code: int, message: str, times: int = 1) -> None:
        """Answer a method with a JSON-RPC error, the next `times` times."""
        error = {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}
        self.answer(method, lambda: web.json_response(error), times)

    def lose_answer(self, method: str, times: int = 1) -> None:
        """Let a method's request through but answer with HTTP 502, the next `times` times."""
        left = times

        async def rule(asked: str, parameters: list[Any]) -> web.StreamResponse | None:
            nonlocal left
            if asked != method or left == 0:
                return None
            left -= 1
            await self.forward({"jsonrpc": "2.0", "id": 1, "method": asked, "params": parameters})
            return web.Response(status=502)

        self.rules.append(rule)

    def hang(self, method: str) -> None:
        """Never answer a method."""

        async def rule(asked: str, _: list[Any]) -> web.StreamResponse | None:
            if asked == method:
                await asyncio.Event().wait()
            return None

        self.rules.append(rule)


@pytest.fixture
async def spoil(chain: LocalChain) -> AsyncIterator[Callable[[], Awaitable[SpoiltConnection]]]:
    """() → a further connection to the chain that tests may spoil."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def connect() -> SpoiltConnection:
            connection = SpoiltConnection(chain.rpc_url, session)
            application = web.Application()
            application.router.add_post("/", connection.handle)
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            connection.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return connection

        yield connect


@pytest.fixture
async def spoilt(spoil: Callable[[], Awaitable[SpoiltConnection]]) -> SpoiltConnection:
    """A connection to the chain that tests may spoil."""
    return await spoil()
