"""Real storage nodes in one process: aiohttp on loopback, stores on disk, relays in front, a chain in memory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp

from benchmarks.relay import Exchange, Relay
from committee import messages
from committee.bls import SecretKey
from committee.ledger import NodeLedger, Parameters
from localnet.ports import free_port
from storage.client import wire
from storage.client.errors import NodeError
from storage.client.node_client import NodeClient
from storage.node.config import NodeConfig
from storage.node.handover.report import NodeReport, TransitionReport, transition_report
from storage.node.node import StorageNode
from storage.node.store import NewSliver
from storage.redstuff import Axis, EncodedBlob, RedStuff, parse_blob_id
from tests.memory_chain import MemoryChain

POLL_INTERVAL_S = 0.05
STEP_S = 0.01
"""How often a condition is looked at."""
LONGEST_WAIT_S = 180.0
SLIVERS_AT_ONCE = 256


class TookTooLong(Exception):
    """Something that should have happened has not; the message says what."""


async def until(condition: Callable[[], bool], what: str, limit_s: float = LONGEST_WAIT_S) -> float:
    """Wait for a condition; seconds waited. Raises `TookTooLong`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            raise TookTooLong(f"{what}: not within {limit_s:g} s")
        await asyncio.sleep(STEP_S)
    return time.monotonic() - began


@dataclass
class WireTally:
    """What crossed the wire, by purpose and by what it carried. Bytes."""

    by_purpose: Counter[str] = field(default_factory=Counter)
    """Whole messages: heads, framing, bodies."""
    requests: Counter[str] = field(default_factory=Counter)
    symbol_bytes: int = 0
    """Symbols without proofs, their frames not counted."""
    page_bytes: int = 0
    """Slivers in pages of a shard, their frames not counted."""
    sliver_bytes: Counter[tuple[bytes, int, Axis]] = field(default_factory=Counter)
    """(blob id, shard, axis) → what came of it, as a sliver or as symbols."""

    @property
    def by_shard(self) -> Counter[int]:
        """Symbols and slivers that came for each shard."""
        counts: Counter[int] = Counter()
        for (_, shard, _), size_bytes in self.sliver_bytes.items():
            counts[shard] += size_bytes
        return counts

    def take(self, exchange: Exchange, code: RedStuff) -> None:
        """Add one exchange."""
        self.by_purpose[exchange.purpose] += exchange.wire_bytes
        self.requests[exchange.purpose] += 1
        if exchange.status != 200:
            return
        if exchange.purpose == "decodingSymbols":
            self._take_symbols(exchange, code)
        elif exchange.purpose == "sync_shard":
            for blob_id, sliver in wire.ShardPage.from_bcs(exchange.answer).slivers:
                axis = _axis_of_page(exchange)
                shard = _shard_of(code, blob_id, sliver.index, axis)
                self.page_bytes += len(sliver.symbols)
                self.sliver_bytes[blob_id, shard, axis] += len(sliver.symbols)

    def _take_symbols(self, exchange: Exchange, code: RedStuff) -> None:
        if exchange.method == "POST":
            question = wire.Question.from_bcs(exchange.request, code.n_shards)
            asked = [len(question.targets) * len(question.shards)] * len(question.blob_ids)
            answers = wire.answers_from_bcs(exchange.answer, asked)
            for blob_id, answer in zip(question.blob_ids, answers, strict=True):
                if not isinstance(answer, tuple):
                    self._take_symbols_of(blob_id, question.axis, answer, code)
        else:
            blob_id = parse_blob_id(exchange.path.split("/")[3])
            axis = wire.read_axis(exchange.query["targetType"][0])
            symbols = wire.symbols_from_bcs(exchange.answer, wire.MAX_TARGETS * code.n_shards)
            self._take_symbols_of(blob_id, axis, symbols, code)

    def _take_symbols_of(
        self, blob_id: bytes, axis: Axis, symbols: wire.SymbolsOfBlob, code: RedStuff
    ) -> None:
        for by_target in symbols.values():
            for target, symbol in by_target.items():
                self.symbol_bytes += len(symbol)
                self.sliver_bytes[blob_id, _shard_of(code, blob_id, target, axis), axis] += len(symbol)


@dataclass(frozen=True)
class HandedOver:
    """One handover, from before the selection until every gained shard is attested."""

    tally: WireTally
    wire_bytes: int
    """All that passed the relays, but for the health polls: members watch each other at all times, the longer a
    handover takes, the more often."""
    gained: frozenset[int]
    """Shards."""
    seconds: float

    @property
    def kept_bytes(self) -> int:
        """Symbols and slivers on the wire that were for shards kept by their owners."""
        return sum(count for shard, count in self.tally.by_shard.items() if shard not in self.gained)


def _axis_of_page(exchange: Exchange) -> Axis:
    message, _ = wire.read_signed(wire.read_json(exchange.request))
    return Axis(messages.ShardTransferRequest.from_body(messages.decode(message).body).axis)


def _shard_of(code: RedStuff, blob_id: bytes, sliver_index: int, axis: Axis) -> int:
    return code.shard_of_pair(blob_id, code.sliver_of_pair(sliver_index, axis))


@dataclass
class Place:
    """Where one node lives, whether or not it runs."""

    node_id: int
    folder: Path
    config: NodeConfig
    secret: SecretKey
    relay: Relay | None
    node: StorageNode | None = None
    running: asyncio.Task[None] | None = None


async def _end(place: Place) -> None:
    if place.running is not None:
        place.running.cancel()
        await asyncio.gather(place.running, return_exceptions=True)
        place.running = place.node = None


class NodeNetwork:
    """Nodes of one network, none at first; a context manager that stops them all in the end.

    `tally` counts what passes the relays, which stand in front of the nodes if the network is `counted`.
    """

    def __init__(
        self,
        folder: Path,
        n_shards: int,
        *,
        patience_s: int = 120,
        watch_interval_s: float = 10.0,
        poll_interval_s: float = POLL_INTERVAL_S,
        counted: bool = True,
    ) -> None:
        self.code = RedStuff(n_shards)
        self.chain = MemoryChain(Parameters(n_shards, 60, 600, patience_s, 500, bytes(range(32))))
        self.tally = WireTally()
        self.places: dict[int, Place] = {}
        self.watchers: list[Callable[[Exchange], None]] = []
        self._folder = folder
        self._watch_interval_s = watch_interval_s
        self._poll_interval_s = poll_interval_s
        self._counted = counted

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*(self.stop(node_id) for node_id in self.places))

    def add_node(self) -> int:
        """A node known to the chain, not started; its id."""
        node_id = len(self.places) + 1
        port = free_port()
        relay = Relay(node_id, free_port(), port, self._watch) if self._counted else None
        name = f"node-{node_id}"
        config = NodeConfig(
            name=name,
            port=port,
            rpc_url="memory:",
            deployment=Path("none"),
            poll_interval_s=self._poll_interval_s,
            watch_interval_s=self._watch_interval_s,
            keeper=False,
        )
        secret = secret_of(node_id)
        public_port = relay.port if relay is not None else port
        self.chain.add_node(name, f"http://127.0.0.1:{public_port}", secret.public_key)
        self.places[node_id] = Place(node_id, self._folder / name, config, secret, relay)
        return node_id

    def elect(self, stakes: Mapping[int, int]) -> None:
        """Select the next committee by these stakes: node id → stake, in candidate order."""
        self.chain.stand(stakes)
        self.chain.select()

    async def handed_over(self, stakes: Mapping[int, int]) -> HandedOver:
        """Select the next committee by these stakes, start its epoch, and count anew until all is attested."""
        self.tally, before = WireTally(), self.wire_bytes
        self.elect(stakes)
        self.chain.start()
        seconds = await until(lambda: not self.chain.missing, "every gained shard is attested")
        wire_bytes = self.wire_bytes - before - self.tally.by_purpose["health"]
        return HandedOver(self.tally, wire_bytes, self.chain.gained, seconds)

    async def report(self, blob_lengths: Sequence[int]) -> TransitionReport:
        """What the nodes that run say of the change into the current epoch, for live blobs of these lengths.

        Waits until each has seen the epoch's start: before, it tells of the handover before.
        """
        state = self.chain.state
        assert state.previous is not None
        assert state.current is not None
        nodes = [place.node for place in self.places.values() if place.node is not None]
        epoch = state.current.epoch

        def reports() -> list[NodeReport]:
            return [node.handover.report() for node in nodes]

        await until(lambda: all(one.epoch == epoch for one in reports()), f"every node is in epoch {epoch}")
        return transition_report(
            state.previous, state.current, blob_lengths, reports(), unattested=state.unattested
        )

    def add_nodes(self, count: int) -> list[int]:
        """Several."""
        return [self.add_node() for _ in range(count)]

    async def start(self, *node_ids: int) -> None:
        """Run these nodes, and wait until each serves."""
        for node_id in node_ids:
            place = self.places[node_id]
            place.node = StorageNode(place.folder, place.config, place.secret, self.ledger_of(place))
            place.running = asyncio.create_task(place.node.run())
            if place.relay is not None:
                await place.relay.start()
        async with aiohttp.ClientSession() as session:
            for node_id in node_ids:
                await self._wait_for(session, self.places[node_id])

    def ledger_of(self, place: Place) -> NodeLedger:
        """The chain as a node sees it."""
        return self.chain.ledger(place.config.name)

    async def stop(self, node_id: int) -> None:
        """Stop a node; it answers nobody from now on. Idempotent."""
        place = self.places[node_id]
        if place.relay is not None:
            await place.relay.stop()
        await _end(place)

    async def hang(self, node_id: int) -> None:
        """End a node behind its relay, which accepts connections all the same; only in a counted network."""
        place = self.places[node_id]
        assert place.relay is not None
        place.relay.hang()
        await _end(place)

    def send_to(self, port: int, besides: int) -> None:
        """Have the chain name this port for every node but one."""
        for node_id in self.places:
            if node_id != besides:
                self.chain.move_node(node_id, f"http://127.0.0.1:{port}")

    async def store(self, *blobs: EncodedBlob) -> None:
        """Give the blobs' slivers to all members that run, past the routes, and certify them on chain."""
        current = self.chain.state.current
        assert current is not None
        numbers = [self.chain.register(blob) for blob in blobs]
        await self.caught_up()
        for member in current.members:
            node = self.places[member.node_id].node
            if node is not None:
                for blob in blobs:
                    await asyncio.to_thread(self._put, node, blob, member.shards)
        for number in numbers:
            self.chain.certify(number)
        await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until every running node has followed the chain to its head."""
        head = self.chain.state.block.number
        nodes = [place.node for place in self.places.values() if place.node is not None]
        await until(lambda: all(node.view.block.number >= head for node in nodes), "nodes follow the chain")

    @property
    def wire_bytes(self) -> int:
        """All bytes that passed the relays."""
        return sum(place.relay.wire_bytes for place in self.places.values() if place.relay is not None)

    def _put(self, node: StorageNode, blob: EncodedBlob, shards: Iterable[int]) -> None:
        node.store.put_metadata(blob.blob_id, blob.metadata.to_bcs())
        slivers = [
            NewSliver(
                blob.blob_id,
                shard,
                axis,
                blob.sliver(axis, self.code.sliver_index(blob.blob_id, shard, axis)),
            )
            for shard in shards
            for axis in Axis
        ]
        for first in range(0, len(slivers), SLIVERS_AT_ONCE):
            node.store.put_slivers(slivers[first : first + SLIVERS_AT_ONCE])

    def _watch(self, exchange: Exchange) -> None:
        self.tally.take(exchange, self.code)
        for watcher in self.watchers:
            watcher(exchange)

    async def _wait_for(self, session: aiohttp.ClientSession, place: Place) -> None:
        client = NodeClient(session, place.config.name, place.config.address)
        began = time.monotonic()
        while True:
            if place.running is None or place.running.done():
                raise TookTooLong(f"{place.config.name} ended before it served")
            try:
                await client.health()
                return
            except NodeError:
                if time.monotonic() - began > LONGEST_WAIT_S:
                    raise
                await asyncio.sleep(STEP_S)


def secret_of(node_id: int) -> SecretKey:
    """The BLS key of a node; nobody has anything to protect here."""
    return SecretKey(0x4A01 + node_id)
