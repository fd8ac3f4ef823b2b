"""Many small blobs rebuilt together, among helpers that lie, fail, hang or lack slivers; their slivers are real."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee.membership import Member
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.client.link import Transfer
from storage.client.wire import Question
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.peers import Peers
from storage.node.repair import Repair, RepairError, Waste
from storage.node.repair import helpers as helpers_module
from storage.node.repair import rebuild as rebuild_module
from storage.node.repair.reputation import GOOD
from storage.node.store import RESERVE_BYTES, SliverStore, StoreFull
from storage.redstuff import Axis, EncodedBlob, MerkleProof, RedStuff
from tests.storage.node.repair.conftest import flip
from tests.storage.node.tallies import tallies

N_SHARDS = 10  # p = 4, s = 7
CODE = RedStuff(N_SHARDS)
MINE = (8, 9)
"""The shards to be rebuilt; each other node holds the shard of its id."""
BLOBS: dict[bytes, EncodedBlob] = {
    blob.blob_id: blob for blob in (CODE.encode(random.Random(number).randbytes(900)) for number in range(12))
}
SIZES = {axis: CODE.sliver_size(900, axis) for axis in Axis}
T = CODE.symbol_size(900)


class Helper:
    """A node that holds one shard."""

    def __init__(self, shard: int) -> None:
        self.member = Member(shard, f"node{shard}", f"http://node{shard}", bytes(48), (shard,))
        self.shard = shard
        self.batches: list[Question] = []
        self.asked_alone: list[bytes] = []
        self.proofs_asked = 0
        self.corrupt: Callable[[bytes, bytes], bytes] = lambda blob_id, symbol: symbol
        self.lacks: Collection[bytes] = ()
        self.is_down = False
        self.hangs = False

    def _symbols(self, blob_id: bytes, axis: Axis, targets: Sequence[int]) -> dict[int, dict[int, bytes]]:
        if blob_id in self.lacks:
            raise NodeRefused(self.member.name, "", 404, Reason.SLIVER_NOT_FOUND, "it is not here")
        index = CODE.sliver_index(blob_id, self.shard, axis.other)
        sliver = BLOBS[blob_id].sliver(axis.other, index)
        symbols = CODE.recovery_symbols(axis.other, sliver, targets, T)
        return {index: {target: self.corrupt(blob_id, bytes(one)) for target, one in symbols.items()}}

    async def symbols_of_blobs(self, question: Question, size_bytes: int, transfer: Transfer) -> list[Any]:
        transfer.on_begin()
        self.batches.append(question)
        await self._may_fail()
        assert question.shards == [self.shard]
        answers: list[Any] = []
        for blob_id in question.blob_ids:
            targets = [CODE.sliver_index(blob_id, shard, question.axis) for shard in question.targets]
            try:
                answers.append(self._symbols(blob_id, question.axis, targets))
            except NodeRefused as refused:
                answers.append(refused)
        return answers

    async def decoding_symbols(
        self,
        blob_id: bytes,
        axis: Axis,
        targets: list[int],
        shards: list[int],
        size_bytes: int,
        transfer: Transfer,
    ) -> dict[int, dict[int, bytes]]:
        transfer.on_begin()
        self.asked_alone.append(blob_id)
        await self._may_fail()
        return self._symbols(blob_id, axis, targets)

    async def recovery_symbols(
        self, blob_id: bytes, axis: Axis, target: int, shards: list[int], size_bytes: int, transfer: Transfer
    ) -> dict[int, tuple[bytes, MerkleProof]]:
        self.proofs_asked += 1
        index = CODE.sliver_index(blob_id, self.shard, axis.other)
        symbol, proof = CODE.prove_symbol(axis.other, BLOBS[blob_id].sliver(axis.other, index), target, T)
        return {index: (bytes(symbol), proof)}

    async def _may_fail(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_down:
            raise NodeUnreachable(self.member.name, self.member.address, "test")


class Bench:
    """A repair for shards MINE, with a helper for every other shard and a store without slivers."""

    def __init__(self, store: SliverStore) -> None:
        self.store = store
        self.helpers = {shard: Helper(shard) for shard in range(N_SHARDS) if shard not in MINE}
        peers = SimpleNamespace(
            client=lambda member: self.helpers[member.node_id],
            holders=lambda avoiding: {
                s: [h.member] for s, h in self.helpers.items() if h.member.node_id not in avoiding
            },
            is_new_owner=lambda member, shard: False,
            has_left=lambda member: False,
            others=lambda: [helper.member for helper in self.helpers.values()],
        )
        # By its node id it begins with the first helper.
        begin = int.from_bytes(min(BLOBS)[:4], "big")
        view = SimpleNamespace(node_id=-begin % len(self.helpers))
        self.repair = Repair(cast(ChainView, view), store, CODE, cast(Peers, peers), Budget())
        self.waste = Waste(5)
        for blob_id, blob in BLOBS.items():
            store.put_metadata(blob_id, blob.metadata.to_bcs())

    async def fill(
        self, shards: Sequence[int] = MINE, is_wanted: Callable[[bytes], bool] = lambda blob_id: True
    ) -> dict[bytes, Exception]:
        known, failed = await self.repair.metadata_of(list(BLOBS))
        assert not failed
        return await self.repair.fill_together(known, shards, self.waste, lambda: (), is_wanted)

    def is_whole(self, blob_id: bytes, shards: Sequence[int] = MINE) -> bool:
        return all(
            self.store.sliver(blob_id, shard, axis)
            == bytes(BLOBS[blob_id].sliver(axis, CODE.sliver_index(blob_id, shard, axis)))
            for shard in shards
            for axis in Axis
        )

    def costs(self) -> tuple[int, int, int]:
        """Bytes of all symbols that entered, that crossed the wire, and that were wasted."""
        some = tallies(self.store, 5)
        return (
            sum(one.symbol_bytes for one in some),
            sum(one.received_bytes for one in some),
            sum(one.wasted_bytes for one in some),
        )

    def batches(self) -> list[Question]:
        return [question for helper in self.helpers.values() for question in helper.batches]

    def asked_alone(self) -> set[bytes]:
        return {blob_id for helper in self.helpers.values() for blob_id in helper.asked_alone}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    with SliverStore(tmp_path) as store:
        yield Bench(store)


PAIRS_BYTES = len(BLOBS) * len(MINE) * sum(SIZES.values())


async def test_a_helper_is_asked_once_on_each_axis_for_all_blobs(bench: Bench) -> None:
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    batches = bench.batches()
    assert len(batches) == CODE.p + CODE.s - len(MINE), "own secondary slivers help with the primaries"
    assert {frozenset(one.blob_ids) for one in batches} == {frozenset(BLOBS)}
    assert {tuple(one.targets) for one in batches} == {MINE}
    assert bench.asked_alone() == set()
    own = len(BLOBS) * len(MINE) * len(MINE) * T
    assert bench.costs() == (PAIRS_BYTES, PAIRS_BYTES - own, 0)
    assert not bench.waste


async def test_what_is_here_already_is_not_asked_for(bench: Bench) -> None:
    here = sorted(BLOBS)[0]
    await bench.fill([MINE[0]])
    for axis in Axis:
        sliver = BLOBS[here].sliver(axis, CODE.sliver_index(here, MINE[1], axis))
        bench.store.put_sliver(here, MINE[1], axis, sliver)
    for helper in bench.helpers.values():
        helper.batches.clear()
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    assert {frozenset(one.blob_ids) for one in bench.batches()} == {frozenset(BLOBS) - {here}}
    assert {tuple(one.targets) for one in bench.batches()} == {MINE[1:]}


async def test_a_lie_about_one_blob_blames_the_helper_and_has_that_blob_asked_again_alone(
    bench: Bench,
) -> None:
    victim = sorted(BLOBS)[3]
    liar = bench.helpers[0]
    liar.corrupt = lambda blob_id, symbol: flip(symbol) if blob_id == victim else symbol
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    asked = any(liar.batches)
    assert bench.asked_alone() == ({victim} if asked else set())
    assert dict(bench.repair.reputation.lies) == ({0: 1} if asked else {})
    assert asked, "so that there was something to be found"
    (wasted,) = {one.blob_id: one.wasted_bytes for one in tallies(bench.store, 5) if one.wasted_bytes}.items()
    assert wasted[0] == victim
    assert bench.costs()[2] == len(MINE) * T, "one symbol for each sliver"


@pytest.mark.parametrize("how", ["truncated", "empty"])
async def test_symbols_that_are_none_are_a_lie_about_all_blobs(bench: Bench, how: str) -> None:
    for shard in (0, 1):
        bench.helpers[shard].corrupt = lambda blob_id, symbol: symbol[:-2] if how == "truncated" else b""
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    asked = {shard for shard in (0, 1) if bench.helpers[shard].batches}
    assert asked
    assert set(bench.repair.reputation.lies) == asked


async def test_slivers_that_a_helper_lacks_are_asked_of_another_and_nothing_is_wasted(bench: Bench) -> None:
    lacking = sorted(BLOBS)[:5]
    for shard in (0, 1, 2):
        bench.helpers[shard].lacks = lacking
    bench.helpers[1].lacks = lacking[:2]
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    symbols, _, wasted = bench.costs()
    assert (symbols, wasted) == (PAIRS_BYTES, 0)
    assert not bench.repair.reputation.lies


async def test_helpers_that_are_down_are_replaced_and_nothing_is_wasted(bench: Bench) -> None:
    for shard in (0, 1, 2):
        bench.helpers[shard].is_down = True
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    assert bench.costs()[2] == 0
    assert bench.asked_alone() == set()


async def test_helpers_that_hang_are_overtaken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers_module, "OVERTAKEN_AFTER_S", 0.05)
    for shard in (0, 1):
        bench.helpers[shard].hangs = True
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    hanging = [one for shard in (0, 1) if (one := bench.helpers[shard]).batches]
    assert hanging
    assert all(bench.repair.reputation.rank(one.member) != GOOD for one in hanging)
    assert bench.costs()[2] == 0


async def test_too_few_helpers_are_named_for_each_blob_and_nothing_is_fetched_in_vain(bench: Bench) -> None:
    for shard in range(5):
        bench.helpers[shard].is_down = True
    with_few = await bench.fill()
    assert with_few.keys() == BLOBS.keys()
    assert all(isinstance(error, RepairError) and "node0" in str(error) for error in with_few.values())
    for helper in bench.helpers.values():
        helper.batches.clear()
        helper.asked_alone.clear()
        helper.is_down = False
    assert await bench.fill() == {}
    assert all(bench.is_whole(blob_id) for blob_id in BLOBS)
    assert not bench.waste, "what came in vain is in the record"


async def test_own_slivers_that_are_wrong_are_found_and_given_up(bench: Bench) -> None:
    """Their checksums are right, as a node that was deceived has stored them."""
    victim = sorted(BLOBS)[0]
    for blob_id, blob in BLOBS.items():
        sliver = bytes(blob.sliver(Axis.PRIMARY, CODE.sliver_index(blob_id, 7, Axis.PRIMARY)))
        bench.store.put_sliver(blob_id, 7, Axis.PRIMARY, flip(sliver) if blob_id == victim else sliver)
    target = CODE.sliver_index(victim, MINE[0], Axis.SECONDARY)
    own = flip(bytes(BLOBS[victim].sliver(Axis.PRIMARY, CODE.sliver_index(victim, 7, Axis.PRIMARY))))
    right = BLOBS[victim].sliver(Axis.PRIMARY, CODE.sliver_index(victim, 7, Axis.PRIMARY))
    size = CODE.symbol_size(BLOBS[victim].length)
    told, true = (CODE.recovery_symbols(Axis.PRIMARY, one, [target], size) for one in (own, right))
    differs = told != true
    assert await bench.fill([MINE[0]]) == {}
    assert all(bench.is_whole(blob_id, [MINE[0]]) for blob_id in BLOBS)
    assert bench.store.has_sliver(victim, 7, Axis.PRIMARY) is not differs
    assert not bench.repair.reputation.lies
    assert bench.costs()[2] == 0


async def test_what_is_no_longer_wanted_is_not_stored(bench: Bench) -> None:
    unwanted = set(sorted(BLOBS)[:4])
    assert await bench.fill(is_wanted=lambda blob_id: blob_id not in unwanted) == {}
    for blob_id in BLOBS:
        assert bench.is_whole(blob_id) is (blob_id not in unwanted)


async def test_a_full_disk_is_told_for_each_blob_before_anything_is_fetched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_bavail=RESERVE_BYTES, f_frsize=1, f_blocks=1)
    monkeypatch.setattr("os.statvfs", lambda path: disk)
    failed = await bench.fill()
    assert failed.keys() == BLOBS.keys()
    assert {type(error) for error in failed.values()} == {StoreFull}
    assert bench.batches() == []
    monkeypatch.undo()
    assert await bench.fill() == {}
    assert bench.costs()[2] == 0


async def test_what_a_disk_refused_is_wasted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def refuse(*arguments: Any) -> int:
            raise StoreFull("no space is left")

        patch.setattr(bench.store, "put_slivers", refuse)
        assert (await bench.fill()).keys() == BLOBS.keys()
    assert await bench.fill() == {}
    secondaries = len(BLOBS) * len(MINE) * SIZES[Axis.SECONDARY]
    assert bench.costs()[2] == secondaries


async def test_batches_are_no_larger_than_their_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_module, "BLOBS_TOGETHER_BYTES", 5 * len(MINE) * SIZES[Axis.PRIMARY])
    lent: list[int] = []
    memory = bench.repair._budget.memory

    def noted(size_bytes: int) -> Any:
        lent.append(size_bytes)
        return memory(size_bytes)

    monkeypatch.setattr(bench.repair._budget, "memory", noted)
    assert await bench.fill() == {}
    assert sum(lent) == 2 * PAIRS_BYTES
    assert max(lent) <= 2 * rebuild_module.BLOBS_TOGETHER_BYTES
    assert len(lent) > 2
