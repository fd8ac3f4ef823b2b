"""A whole network on one machine: a real chain, and storage nodes as processes of their own.

Everything lives in one folder (`chain/`, `nodes/<name>/`, `deployment.json`) and is stopped with the network, whatever
happens: nodes end with their parent's pipe, the chain with its parent process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from committee.connections import open_session
from committee.key_files import write_secret
from committee.ledger import Transaction
from committee.ledger.evm import AccountKey, Deployment, DeploymentParameters, EvmLedger, Roles, deploy
from committee.membership import Committee
from committee.transition import Change, plan_all
from localnet.chain import LocalChain
from localnet.node_process import NetworkError, NodeProcess
from localnet.ports import free_port
from storage.client.client import Client
from storage.client.errors import NodeError
from storage.client.node_client import NodeClient
from storage.client.settling import until_chain_settles
from storage.node.config import account_key
from storage.node.folder import make_folder
from storage.node.handover.report import NodeReport
from storage.redstuff import Axis, RedStuff

TOKEN = 10**18
"""The token's smallest units in one token."""
OPERATOR_TOKENS = 1_000_000
"""What the operator has to stake, and to pay for storage, which it has approved."""
WAIT_LIMIT_S = 240.0
"""No single wait lasts longer."""
POLL_S = 0.2
BLOCK_INTERVAL_S = 1.0
"""Time between two blocks that `mining` mines."""
LATE_BLOCK_S = 0.1
"""Time between two blocks of a chain that finalises late."""

Progress = Callable[[int, int], Awaitable[None]]
"""Called with (done, total) each time a wait looks how far it has come."""


class LocalNetwork:
    """The chain, the contracts and the nodes. An async context manager that leaves nothing running.

    With `finality_lag_blocks` the nodes follow the chain's finalized block, that many blocks behind the newest, as they
    do on a public chain; blocks then come every LATE_BLOCK_S. With `keeper` the nodes move the epochs on by themselves
    after the first, as far as the chain's clock goes on; without it `next_epoch` does.
    """

    chain: LocalChain
    deployment: Deployment
    operator: EvmLedger
    """A ledger that acts as the deployer: pushes epochs, stores blobs."""
    client: Client

    def __init__(
        self,
        folder: Path,
        parameters: DeploymentParameters,
        finality_lag_blocks: int = 0,
        *,
        keeper: bool = False,
    ) -> None:
        self.folder = folder
        self.nodes: dict[str, NodeProcess] = {}
        self._lag_blocks = finality_lag_blocks
        self._keeper = keeper
        self._parameters = replace(parameters, finality="finalized") if finality_lag_blocks else parameters
        self._session: aiohttp.ClientSession | None = None
        self._running = contextlib.AsyncExitStack()

    async def __aenter__(self) -> LocalNetwork:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the chain, deploy the contracts, connect as their deployer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(_compile_kernels)
        async with contextlib.AsyncExitStack() as stack:
            late = (0, self._lag_blocks, LATE_BLOCK_S) if self._lag_blocks else ()
            self.chain = await stack.enter_async_context(LocalChain(self.folder / "chain", *late))
            key = AccountKey.generate()
            write_secret(self.operator_key, key.to_bytes())
            await self.chain.fund(key.address)
            roles = Roles(minter=key.address)
            self.deployment = await deploy(self.chain.rpc_url, key, self._parameters, roles)
            self.deployment.save(self.manifest)
            self.operator = await EvmLedger.connect(self.chain.rpc_url, self.deployment, key)
            stack.push_async_callback(self.operator.close)
            await self.operator.mint(key.address, OPERATOR_TOKENS * TOKEN)
            await self.operator.approve(OPERATOR_TOKENS * TOKEN)
            self.client = await stack.enter_async_context(Client(self.operator))
            self._session = await stack.enter_async_context(open_session(allow_private=True))
            stack.push_async_callback(self._stop_nodes)
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop every node, then the chain. Idempotent; goes on to the end whatever fails."""
        await self._running.aclose()

    async def _stop_nodes(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes.values()), return_exceptions=True)

    @property
    def manifest(self) -> Path:
        """The deployment manifest: all a node needs to join."""
        return self.folder / "deployment.json"

    @property
    def operator_key(self) -> Path:
        """The key file of the deployer's account, which may mint tokens."""
        return self.folder / "operator.key"

    async def add_node(
        self,
        name: str,
        stake_tokens: int,
        rpc_url: str | None = None,
        public_address: str | None = None,
        fail_point: str = "",
    ) -> NodeProcess:
        """Make a node's folder, keys and account, give it its stake and gas money, and start it.

        `rpc_url` is an endpoint of its own; None for the chain's. `public_address` is what the node registers, a
        proxy's; None for where it listens. `fail_point` is as in `NodeProcess.start`.
        """
        folder = self.folder / "nodes" / name
        port = free_port()
        settings: dict[str, str | int | bool] = {
            "name": name,
            "port": port,
            "rpc_url": rpc_url or self.chain.rpc_url,
            "deployment": str(self.manifest.resolve()),
            "stake": str(stake_tokens * TOKEN),
            "keeper": self._keeper,
        }
        if public_address is not None:
            settings["public_address"] = public_address
        account = make_folder(folder, settings)
        await self.chain.fund(account)
        await self.operator.mint(account, stake_tokens * TOKEN)
        node = self.nodes[name] = NodeProcess(name, folder, port)
        await node.start(fail_point)
        return node

    async def fund(self, key: AccountKey, units: int = 10**9) -> None:
        """Give an account ether, and `units` of the token's smallest units, which it may pay for storage with."""
        await self.chain.fund(key.address)
        await self.operator.mint(key.address, units)
        async with await EvmLedger.connect(self.chain.rpc_url, self.deployment, key) as ledger:
            await ledger.approve(units)

    @contextlib.asynccontextmanager
    async def mining(self) -> AsyncIterator[None]:
        """Mine a block every `BLOCK_INTERVAL_S` while inside, so that the chain's clock goes on.

        Raises `ChainError` at the end when the chain failed.
        """

        async def mine() -> None:
            while True:
                await self.chain.mine()
                await asyncio.sleep(BLOCK_INTERVAL_S)

        mining = asyncio.create_task(mine())
        try:
            yield
        finally:
            mining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await mining

    async def serving(self, *names: str, progress: Progress | None = None) -> None:
        """Wait until the named nodes serve, or all if none is named."""
        wanted = names or tuple(self.nodes)

        async def count() -> int:
            return len(await self.ready(wanted))

        await self.until(f"serving: {', '.join(wanted)}", count, len(wanted), progress)

    async def next_epoch(self) -> frozenset[int]:
        """Elect and start the next epoch, the first one too; the shards that are gained in it."""
        await self.select()
        await self.start_epoch()
        return await self.gained()

    async def select(self) -> Transaction:
        """Elect the next committee, after moving the chain's clock on by a period, when that is possible."""
        if (await self.operator.epoch_state()).current is not None:
            await self.chain.increase_time(self._parameters.period_duration_s)
        return await self._settled(await self.operator.select())

    async def start_epoch(self) -> Transaction:
        """Start the epoch of the committee that was elected; the chain's clock is moved on by the notice first."""
        if (await self.operator.epoch_state()).current is not None:
            await self.chain.increase_time((await self.operator.parameters()).notice_s)
        return await self._settled(await self.operator.start())

    async def _settled(self, transaction: Transaction) -> Transaction:
        """Return the transaction once its block is settled."""
        await until_chain_settles(self.operator, transaction.block.number)
        return transaction

    async def handed_over(self, progress: Progress | None = None) -> None:
        """Wait until every shard that is gained in this epoch is attested."""
        gained = await self.gained()

        async def count() -> int:
            return len(await self.operator.attested_shards() & gained)

        await self.until("attested shards", count, len(gained), progress)

    async def handover_reports(self, committee: Committee) -> list[NodeReport]:
        """Return what each member did for the handover into the committee's epoch.

        Until a node has seen the epoch's start it tells of the handover before; it is waited for.
        """
        reports: dict[str, NodeReport] = {}

        async def count() -> int:
            for member in committee.members:
                with contextlib.suppress(NodeError):
                    answer = await self.node_client(member.name).handover()
                    reports[member.name] = NodeReport.from_json(answer)
            return sum(one.epoch == committee.epoch for one in reports.values())

        what = f"reports on the handover into epoch {committee.epoch}"
        await self.until(what, count, len(committee.members))
        return list(reports.values())

    async def gained(self) -> frozenset[int]:
        """Return the shards to be attested in this epoch: those of new owners, and those not attested before."""
        state = await self.operator.epoch_state()
        if state.previous is None or state.current is None:
            return frozenset()
        kept = plan_all(Change(state.previous, state.current, unattested=state.unattested)).kept
        return frozenset(range(self._parameters.n_shards)) - kept

    async def ready(self, names: Sequence[str]) -> list[str]:
        """Return those of the named nodes that serve."""
        healths = await self.healths(names)
        return [name for name in names if name in healths and healths[name].get("name") == name]

    async def healths(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what the named nodes say of their health, by name; those that do not answer are left out."""
        healths: dict[str, dict[str, Any]] = {}

        async def ask(name: str) -> None:
            with contextlib.suppress(NodeError):
                healths[name] = await self.node_client(name).health()

        await asyncio.gather(*(ask(name) for name in names))
        return healths

    async def until(
        self, what: str, count: Callable[[], Awaitable[int]], total: int, progress: Progress | None = None
    ) -> None:
        """Wait until `count` reaches `total`.

        Raises `NetworkError` saying how far it came after `WAIT_LIMIT_S`, or at once when a node ends by itself.
        """
        deadline = time.monotonic() + WAIT_LIMIT_S
        while True:
            done = await count()
            if progress is not None:
                await progress(done, total)
            if done >= total:
                return
            self.require_running()
            if time.monotonic() > deadline:
                raise NetworkError(f"{what}: {done} of {total} after {WAIT_LIMIT_S:.0f} s")
            await asyncio.sleep(POLL_S)

    def require_running(self) -> None:
        """Raises `NetworkError` naming each node whose process ended by itself, with the end of its log."""
        dead = [node for node in self.nodes.values() if node.has_ended]
        if dead:
            words = "; ".join(f"{node.name}: {node.last_words()}" for node in dead)
            raise NetworkError(f"nodes ended by themselves: {words}")

    def node_client(self, name: str) -> NodeClient:
        """Return an HTTP client for one node."""
        if self._session is None:
            raise NetworkError("the network is not started")
        return NodeClient(self._session, name, self.nodes[name].address)

    async def ledger_of(self, name: str) -> EvmLedger:
        """Return a ledger that acts with a node's own account; the caller closes it."""
        key = account_key(self.nodes[name].folder)
        return await EvmLedger.connect(self.chain.rpc_url, self.deployment, key)


def _compile_kernels() -> None:
    """Use each part of the grid code once, so that its kernels are compiled before many nodes want them at once."""
    code = RedStuff(4)
    blob = code.encode(b"warm")
    size = code.symbol_size(4)
    symbols = {
        index: code.recovery_symbols(Axis.PRIMARY, blob.sliver(Axis.PRIMARY, index), [3], size)[3]
        for index in (2, 3)
    }
    code.recover(blob.metadata, Axis.SECONDARY, 3, symbols)
    code.verify_sliver(blob.metadata, Axis.PRIMARY, 3, blob.sliver(Axis.PRIMARY, 3))
    code.decode(blob.metadata, Axis.PRIMARY, {index: blob.sliver(Axis.PRIMARY, index) for index in (1, 3)})
