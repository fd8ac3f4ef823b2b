"""A repair among helpers that lie, fail or hold nothing; their slivers and proofs are real."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee.membership import Member
from storage.client.errors import NodeUnreachable
from storage.client.link import Transfer
from storage.client.wire import Question
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.peers import Peers
from storage.node.repair import Repair
from storage.node.store import SliverStore
from storage.redstuff import Axis, BlobMetadata, MerkleProof, RedStuff

N_SHARDS = 10  # p = 4, s = 7
CODE = RedStuff(N_SHARDS)
DATA = random.Random(1).randbytes(5000)
BLOB = CODE.encode(DATA)
T = CODE.symbol_size(len(DATA))
MINE = 9
"""The shard to be rebuilt; each other node holds the shard of its id."""


class Helper:
    """A node that holds one shard; a corrupter changes what it sends."""

    def __init__(self, shard: int) -> None:
        self.member = Member(shard, f"node{shard}", f"http://node{shard}", bytes(48), (shard,))
        self.shard = shard
        self.asked: list[tuple[Axis, tuple[int, ...]]] = []
        self.metadata_asked = 0
        self.proofs_asked = 0
        self.corrupt: Callable[[bytes], bytes] = lambda symbol: symbol
        self.lies_in_proofs = False
        self.is_down = False

    def _sliver(self, axis: Axis) -> tuple[int, memoryview]:
        index = CODE.sliver_index(BLOB.blob_id, self.shard, axis)
        return index, BLOB.sliver(axis, index)

    async def metadata(self, blob_id: bytes, timeout_s: float) -> BlobMetadata:
        self.metadata_asked += 1
        await asyncio.sleep(0)
        self._require_up()
        return BLOB.metadata

    async def decoding_symbols(
        self,
        blob_id: bytes,
        axis: Axis,
        targets: list[int],
        shards: list[int],
        size_bytes: int,
        transfer: Transfer,
    ) -> dict[int, dict[int, bytes]]:
        self._require_up()
        self.asked.append((axis, tuple(targets)))
        assert shards == [self.shard]
        index, sliver = self._sliver(axis.other)
        symbols = CODE.recovery_symbols(axis.other, sliver, targets, T)
        return {index: {target: self.corrupt(bytes(symbol)) for target, symbol in symbols.items()}}

    async def symbols_of_blobs(
        self, question: Question, size_bytes: int, transfer: Transfer
    ) -> list[dict[int, dict[int, bytes]]]:
        transfer.on_begin()
        targets = [CODE.sliver_index(BLOB.blob_id, shard, question.axis) for shard in question.targets]
        shards = list(question.shards)
        return [
            await self.decoding_symbols(one, question.axis, targets, shards, size_bytes, transfer)
            for one in question.blob_ids
        ]

    async def recovery_symbols(
        self, blob_id: bytes, axis: Axis, target: int, shards: list[int], size_bytes: int, transfer: Transfer
    ) -> dict[int, tuple[bytes, MerkleProof]]:
        self._require_up()
        assert size_bytes == T
        self.proofs_asked += 1
        index, sliver = self._sliver(axis.other)
        symbol, proof = CODE.prove_symbol(axis.other, sliver, target, T)
        return {index: (self.corrupt(bytes(symbol)) if self.lies_in_proofs else bytes(symbol), proof)}

    def _require_up(self) -> None:
        if self.is_down:
            raise NodeUnreachable(self.member.name, self.member.address, "test")


@dataclasses.dataclass
class Bench:
    """A repair for shard MINE, with a helper for every other shard and an empty store."""

    repair: Repair
    store: SliverStore
    helpers: dict[int, Helper]

    async def rebuild(self, axis: Axis) -> bytes:
        (rebuilt,) = await self.repair.rebuild(BLOB.metadata, axis, [MINE])
        assert rebuilt.shard == MINE
        assert rebuilt.symbol_bytes == len(rebuilt.symbols) == CODE.sliver_size(len(DATA), axis)
        return rebuilt.symbols

    def asked(self) -> list[int]:
        return [shard for shard, helper in self.helpers.items() if helper.asked]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    helpers = {shard: Helper(shard) for shard in range(N_SHARDS) if shard != MINE}

    def holders(avoiding: Any) -> dict[int, list[Member]]:
        return {s: [h.member] for s, h in helpers.items() if h.member.node_id not in avoiding}

    peers = SimpleNamespace(
        client=lambda member: helpers[member.node_id],
        holders=holders,
        is_new_owner=lambda member, shard: False,
        has_left=lambda member: False,
        others=lambda: [helper.member for helper in helpers.values()],
    )
    view = SimpleNamespace(node_id=MINE)
    with SliverStore(tmp_path) as store:
        yield Bench(Repair(cast(ChainView, view), store, CODE, cast(Peers, peers), Budget()), store, helpers)


def right(axis: Axis) -> bytes:
    return bytes(BLOB.sliver(axis, CODE.sliver_index(BLOB.blob_id, MINE, axis)))


def flip(symbol: bytes) -> bytes:
    return bytes([symbol[0] ^ 1]) + symbol[1:]
