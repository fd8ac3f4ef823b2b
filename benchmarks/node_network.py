"""The network of the tests, measured: relays in front of its nodes count bytes, and whole handovers are timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.relay import Exchange, Relay
from committee import messages
from committee.ledger import Parameters
from localnet.ports import free_port
from storage.client import wire
from storage.node.config import NodeConfig
from storage.node.handover.report import NodeReport, TransitionReport, transition_report
from storage.redstuff import Axis, RedStuff, parse_blob_id
from tests.memory_chain import MemoryChain
from tests.storage.network import DOMAIN, Network

POLL_INTERVAL_S = 0.05
LONGEST_WAIT_S = 180.0


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


class MeasuredNetwork(Network):
    """A network whose `tally` counts what passes the relays, which stand in front of the nodes if it is `counted`.

    The chain has the relays' addresses. They listen from the start of their nodes on; that of a node that never starts
    refuses connections, as the node would.
    """

    def __init__(
        self, folder: Path, n_shards: int, *, patience_s: int = 120, counted: bool = True, **settings: Any
    ) -> None:
        """`settings` are of each node's `NodeConfig`."""
        chain = MemoryChain(Parameters(n_shards, 60, 600, patience_s, 500, DOMAIN))
        super().__init__(folder, chain, **{"poll_interval_s": POLL_INTERVAL_S, **settings})
        self.limit_s = LONGEST_WAIT_S
        self.tally = WireTally()
        self.watchers: list[Callable[[Exchange], None]] = []
        """Called with each exchange that the relays see."""
        self._counted = counted
        self._relays: dict[int, Relay] = {}

    async def __aexit__(self, *error: object) -> None:
        for relay in self._relays.values():
            await relay.stop()
        await super().__aexit__(*error)

    def add_node(self) -> int:
        """Register a node on the chain, at its relay's address if there is one; return its id."""
        node_id = super().add_node()
        if self._counted:
            port = self.config(node_id).port
            relay = self._relays[node_id] = Relay(node_id, free_port(), port, self._watch)
            self.chain.move_node(node_id, f"http://127.0.0.1:{relay.port}")
        return node_id

    def config(self, node_id: int, **settings: Any) -> NodeConfig:
        """Return the settings of a node, which listens behind its relay if there is one."""
        if node_id in self._relays:
            settings = {"port": self._relays[node_id].target_port, **settings}
        return super().config(node_id, **settings)

    async def start(self, *node_ids: int, **settings: Any) -> None:
        """Start nodes and their relays."""
        for node_id in node_ids:
            if node_id in self._relays:
                await self._relays[node_id].start()
        await super().start(*node_ids, **settings)

    async def stop(self, *node_ids: int) -> None:
        """End nodes and their relays, which refuse connections from now on."""
        for node_id in node_ids:
            if node_id in self._relays:
                await self._relays[node_id].stop()
        await super().stop(*node_ids)

    async def hang(self, *node_ids: int) -> None:
        """End nodes whose relays accept connections all the same; only in a counted network."""
        for node_id in node_ids:
            self._relays[node_id].hang()
        await super().stop(*node_ids)

    def send_to(self, port: int, besides: int) -> None:
        """Have the chain name this port for every node but one."""
        for node_id in self.chain.nodes:
            if node_id != besides:
                self.chain.move_node(node_id, f"http://127.0.0.1:{port}")

    async def handed_over(self, stakes: dict[int, int]) -> HandedOver:
        """Select the next committee by these stakes, start its epoch, and count anew until all is attested."""
        self.tally, before = WireTally(), self.wire_bytes
        self.elect(stakes)
        self.chain.start()
        seconds = await self.until(lambda: not self.chain.missing, what="every gained shard is attested")
        wire_bytes = self.wire_bytes - before - self.tally.by_purpose["health"]
        return HandedOver(self.tally, wire_bytes, self.chain.gained, seconds)

    async def report(self, blob_lengths: Sequence[int]) -> TransitionReport:
        """Return what running nodes say of the change into the current epoch, for live blobs of these lengths.

        Waits until each has seen the epoch's start: before, it tells of the handover before.
        """
        state = self.chain.state
        assert state.previous is not None
        assert state.current is not None
        epoch = state.current.epoch

        def reports() -> list[NodeReport]:
            return [node.handover.report() for node in self.running.values()]

        await self.until(
            lambda: all(one.epoch == epoch for one in reports()), what=f"every node is in epoch {epoch}"
        )
        return transition_report(
            state.previous, state.current, blob_lengths, reports(), unattested=state.unattested
        )

    @property
    def wire_bytes(self) -> int:
        """All bytes that passed the relays."""
        return sum(relay.wire_bytes for relay in self._relays.values())

    def _watch(self, exchange: Exchange) -> None:
        self.tally.take(exchange, self.code)
        for watcher in self.watchers:
            watcher(exchange)
