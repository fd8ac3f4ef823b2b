"""Repair against helpers that lie, fail or hold nothing (`conftest`)."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from storage.client import link
from storage.client.errors import NodeUnreachable
from storage.client.link import Transfer
from storage.node.repair import InconsistentBlob, RepairError, Waste
from storage.node.repair.gathering import Gathering
from storage.node.store import RESERVE_BYTES, StoreFull, Tally
from storage.node.store.records import Symbols
from storage.redstuff import Axis
from tests.storage.node.repair.conftest import BLOB, CODE, MINE, Bench, Helper, T, flip, right
from tests.storage.node.tallies import tallies


@pytest.mark.parametrize(("axis", "needed"), [(Axis.SECONDARY, CODE.p), (Axis.PRIMARY, CODE.s)])
async def test_a_sliver_is_rebuilt_from_exactly_the_needed_symbols(
    bench: Bench, axis: Axis, needed: int
) -> None:
    assert await bench.rebuild(axis) == right(axis)
    assert len(bench.asked()) == needed
    assert all(helper.proofs_asked == 0 for helper in bench.helpers.values())


@pytest.mark.parametrize(
    "corrupt",
    [
        flip,
        lambda symbol: bytes(len(symbol)),
        lambda symbol: symbol[:-2],
        lambda symbol: b"",
        lambda s: s + b"xx",
    ],
    ids=["flipped bit", "zeros", "truncated", "empty", "too long"],
)
@pytest.mark.parametrize("axis", list(Axis))
async def test_a_lying_helper_is_left_out(
    bench: Bench, axis: Axis, corrupt: Callable[[bytes], bytes]
) -> None:
    bench.helpers[0].corrupt = corrupt
    bench.helpers[1].corrupt = corrupt
    assert await bench.rebuild(axis) == right(axis)
    assert {0, 1} <= set(bench.asked()), "so that there was something to be found"


async def test_a_liar_that_lies_in_its_proof_too_is_left_out(bench: Bench) -> None:
    bench.helpers[0].corrupt, bench.helpers[0].lies_in_proofs = flip, True
    assert await bench.rebuild(Axis.SECONDARY) == right(Axis.SECONDARY)


async def test_waste_by_a_liar_is_counted(bench: Bench) -> None:
    bench.helpers[0].corrupt = flip
    (rebuilt,) = await bench.repair.rebuild(BLOB.metadata, Axis.SECONDARY, [MINE])
    assert rebuilt.wasted_bytes == T
    assert rebuilt.received_bytes == CODE.p * T


@pytest.mark.parametrize("liar_does", ["lies", "proves one alone", "gives no answer", "drips its answer"])
async def test_all_that_a_liar_gave_is_thrown_away_and_of_others_what_they_do_not_prove(
    bench: Bench, liar_does: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper has flipped the symbol of shard 0, and not that of shard 1."""
    monkeypatch.setattr(link, "GRACE_S", 0.01)
    liar, honest = bench.helpers[0].member, bench.helpers[2].member
    sources = {
        CODE.sliver_index(BLOB.blob_id, s, Axis.PRIMARY): (m, s) for s, m in enumerate((liar, liar, honest))
    }
    target = CODE.sliver_index(BLOB.blob_id, MINE, Axis.SECONDARY)
    given: dict[int, Mapping[int, Symbols]] = {
        index: CODE.recovery_symbols(Axis.PRIMARY, BLOB.sliver(Axis.PRIMARY, index), [target], T)
        for index in sources
    }
    first, second, last = sources
    given[first] = {target: flip(bytes(given[first][target]))}
    gathering = Gathering(BLOB.metadata, Axis.SECONDARY, {target: MINE}, CODE.p, T, given, sources)

    async def proven(
        blob_id: bytes, axis: Axis, target: int, shards: list[int], size_bytes: int, transfer: Transfer
    ) -> Any:
        transfer.began_s = asyncio.get_running_loop().time()
        if liar_does == "drips its answer":
            await asyncio.Event().wait()
        if liar_does == "gives no answer":
            raise NodeUnreachable(liar.name, liar.address, "test")
        return {
            index: CODE.prove_symbol(axis.other, BLOB.sliver(axis.other, index), target, T)
            for index, (_, shard) in sources.items()
            if shard in shards and (shard != 0 or liar_does == "lies")
        }

    bench.helpers[0].recovery_symbols = proven  # type: ignore[method-assign]
    proofs = await bench.repair._proofs.ask(gathering, target, {}, 5.0)
    left = [second, last] if liar_does == "proves one alone" else [last]
    assert list(proofs) == list(gathering.sources) == list(gathering.symbols) == left
    assert gathering.wasted == 3 - len(left)
    assert bench.repair.reputation.lies[liar.node_id] == (liar_does == "lies")


async def test_what_did_not_suffice_is_counted_as_waste_of_what_is_rebuilt_later(bench: Bench) -> None:
    async def nothing(*_: Any) -> dict[int, Any]:
        return {}

    for shard in (0, 1, 2, 3):
        bench.helpers[shard].decoding_symbols = nothing  # type: ignore[method-assign, assignment]
    waste = Waste(5)
    with pytest.raises(RepairError) as failed:
        await bench.repair.fill(BLOB.metadata, [MINE], waste)
    assert failed.value.wasted_bytes > 0
    assert waste.of(BLOB.blob_id, MINE, Axis.PRIMARY) == failed.value.wasted_bytes
    assert waste.of(BLOB.blob_id, MINE, Axis.SECONDARY) == 0
    del bench.helpers[0].decoding_symbols
    await bench.repair.fill(BLOB.metadata, [MINE], waste)
    assert sum(one.wasted_bytes for one in tallies(bench.store, 5)) == failed.value.wasted_bytes
    assert not waste


async def test_metadata_symbols_and_proofs_are_charged_to_the_budget(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[int] = []
    monkeypatch.setattr(bench.repair._budget, "charge", charged.append)
    await bench.repair.metadata(BLOB.blob_id)
    assert charged == [len(BLOB.metadata.to_bcs())]
    charged.clear()
    await bench.rebuild(Axis.SECONDARY)
    assert charged == [T] * CODE.p
    charged.clear()
    bench.helpers[0].corrupt = flip
    await bench.rebuild(Axis.SECONDARY)
    proofs = [one - T for one in charged if one != T]
    assert len(proofs) >= CODE.p
    assert all(one > 32 * 4 for one in proofs), "four nodes to the root of ten"


async def test_while_too_few_answer_nothing_is_sent_in_vain(bench: Bench) -> None:
    """Once it is known who does not answer: the others are not asked before one of those does."""
    silent = (0, 1, 2)
    for shard in silent:
        bench.helpers[shard].is_down = True
    with pytest.raises(RepairError):
        await bench.rebuild(Axis.PRIMARY)
    for helper in bench.helpers.values():
        helper.asked.clear()
    with pytest.raises(RepairError, match=r"reachable 6: no answer from node0, node1, node2") as failed:
        await bench.rebuild(Axis.PRIMARY)
    assert failed.value.wasted_bytes == 0
    assert bench.asked() == []
    bench.helpers[1].is_down = False
    assert await bench.rebuild(Axis.PRIMARY) == right(Axis.PRIMARY)
    assert bench.asked() == [1, 3, 4, 5, 6, 7, 8]


async def test_silent_helpers_are_replaced(bench: Bench) -> None:
    for shard in (0, 1):
        bench.helpers[shard].is_down = True
    assert await bench.rebuild(Axis.PRIMARY) == right(Axis.PRIMARY)


async def test_too_few_helpers_are_named(bench: Bench) -> None:
    for shard in (0, 1, 2):
        bench.helpers[shard].is_down = True
    with pytest.raises(
        RepairError, match=r"needed 7 of 10 shards .*, reachable 6: no answer from node0, node1, node2"
    ):
        await bench.rebuild(Axis.PRIMARY)


async def test_more_liars_than_can_be_replaced_are_named(bench: Bench) -> None:
    for shard in (0, 1, 2):
        bench.helpers[shard].corrupt = flip
    with pytest.raises(RepairError, match=r"node0, node1(, node2)?: sent a wrong symbol"):
        await bench.rebuild(Axis.PRIMARY)


async def test_nodes_to_be_avoided_are_not_asked(bench: Bench) -> None:
    await bench.repair.rebuild(BLOB.metadata, Axis.PRIMARY, [MINE], avoiding={3, 5})
    assert not bench.helpers[3].asked
    assert not bench.helpers[5].asked


async def test_own_slivers_help_for_nothing(bench: Bench) -> None:
    for shard in (0, 1):
        index = CODE.sliver_index(BLOB.blob_id, shard, Axis.PRIMARY)
        bench.store.put_sliver(BLOB.blob_id, shard, Axis.PRIMARY, BLOB.sliver(Axis.PRIMARY, index))
    (rebuilt,) = await bench.repair.rebuild(BLOB.metadata, Axis.SECONDARY, [MINE])
    assert rebuilt.symbols == right(Axis.SECONDARY)
    assert rebuilt.symbol_bytes == CODE.p * T
    assert rebuilt.received_bytes == (CODE.p - 2) * T


async def test_a_damaged_own_sliver_does_not_help(bench: Bench) -> None:
    index = CODE.sliver_index(BLOB.blob_id, 0, Axis.PRIMARY)
    damaged = flip(bytes(BLOB.sliver(Axis.PRIMARY, index)))
    bench.store.put_sliver(BLOB.blob_id, 0, Axis.PRIMARY, damaged)
    assert await bench.rebuild(Axis.SECONDARY) == right(Axis.SECONDARY)
    assert not bench.store.has_sliver(BLOB.blob_id, 0, Axis.PRIMARY)
    assert bench.store.damaged == [(BLOB.blob_id, 0, Axis.PRIMARY)]


async def test_fill_stores_nothing_of_a_blob_no_longer_wanted(bench: Bench) -> None:
    answers = iter([True, False])
    await bench.repair.fill(BLOB.metadata, [MINE], is_wanted=lambda: next(answers))
    assert bench.store.sliver(BLOB.blob_id, MINE, Axis.SECONDARY) == right(Axis.SECONDARY)
    assert not bench.store.has_sliver(BLOB.blob_id, MINE, Axis.PRIMARY)


async def test_a_writer_that_lied_is_told_from_a_helper_that_lies(bench: Bench) -> None:
    roots = list(BLOB.metadata.secondary_roots)
    target = CODE.sliver_index(BLOB.blob_id, MINE, Axis.SECONDARY)
    roots[target] = bytes(31) + b"\x01"
    lie = dataclasses.replace(BLOB.metadata, secondary_roots=tuple(roots))
    shard = CODE.shard_of_pair(lie.blob_id, CODE.sliver_of_pair(target, Axis.SECONDARY))
    for helper in bench.helpers.values():
        helper.shard = CODE.shard_of_pair(
            BLOB.blob_id, CODE.pair_of_shard(lie.blob_id, helper.member.node_id)
        )
    for helper in bench.helpers.values():
        helper.decoding_symbols = _any_shard(helper)  # type: ignore[method-assign]
    with pytest.raises(InconsistentBlob, match="its writer lied") as caught:
        await bench.repair.rebuild(lie, Axis.SECONDARY, [shard])
    assert caught.value.metadata == lie
    assert (caught.value.proof.axis, caught.value.proof.target) == (Axis.SECONDARY, target)
    CODE.verify_inconsistency_proof(lie, caught.value.proof)


def _any_shard(helper: Helper) -> Any:
    async def answer(
        blob_id: bytes, axis: Axis, targets: list[int], shards: list[int], size_bytes: int, transfer: Transfer
    ) -> Any:
        index, sliver = helper._sliver(axis.other)
        return {index: CODE.recovery_symbols(axis.other, sliver, targets, T)}

    return answer


async def test_a_full_disk_is_noticed_before_anything_is_fetched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_blocks=1, f_bavail=RESERVE_BYTES, f_frsize=1)
    monkeypatch.setattr("os.statvfs", lambda path: disk)
    with pytest.raises(StoreFull):
        await bench.repair.fill(BLOB.metadata, [MINE])
    assert bench.asked() == []
    disk.f_bavail = 2 * RESERVE_BYTES
    await bench.repair.fill(BLOB.metadata, [MINE])
    assert bench.store.sliver(BLOB.blob_id, MINE, Axis.PRIMARY) == right(Axis.PRIMARY)


async def test_fill_stores_the_pair_and_its_cost_once(bench: Bench) -> None:
    assert (await bench.repair.metadata(BLOB.blob_id)).blob_id == BLOB.blob_id
    for _ in range(2):
        await bench.repair.fill(BLOB.metadata, [MINE], Waste(2))
    for axis in Axis:
        assert bench.store.sliver(BLOB.blob_id, MINE, axis) == right(axis)
    pair_bytes = (CODE.p + CODE.s) * T
    # The new secondary sliver then gives one of the primary's symbols for nothing.
    assert tallies(bench.store, 2) == [
        Tally(2, MINE, BLOB.blob_id, "rebuilt", 2, pair_bytes, pair_bytes - T, 0)
    ]
