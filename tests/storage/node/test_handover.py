"""The handover on real nodes over a chain in memory: ahead of the start, overtaken, owed; and against liars."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from aiohttp import web

from committee.ledger import ShardsAttested
from committee.membership import Member
from storage.client import wire
from storage.client.errors import NodeUnreachable
from storage.client.node_client import NodeClient
from storage.node import filling, helpers
from storage.node.repair import RepairError
from storage.redstuff import Axis, EncodedBlob, RedStuff

if TYPE_CHECKING:
    from tests.storage.network import Network

CODE = RedStuff(10)  # p = 4, s = 7, f = 3
SHARDS = {1: (0, 1, 2), 2: (3, 4, 5), 3: (6, 7), 4: (8, 9)}
MOVED = {1: (0, 1, 2, 6), 2: (3, 4, 5), 3: (7,), 4: (8, 9)}
"""Shard 6 goes from node 3 to node 1."""
Shards = Mapping[int, tuple[int, ...]]


def encoded(number: int) -> EncodedBlob:
    return CODE.encode(random.Random(number).randbytes(3000))


BLOBS = [encoded(number) for number in range(6)]


async def change(network: Network, shards: Shards) -> None:
    """A whole change of epoch, until all that was gained is attested."""
    network.chain.select(shards)
    network.chain.start()
    previous, current = network.chain.state.previous, network.chain.state.current
    assert previous is not None
    assert current is not None
    gained = {s for s, owner in current.owner_of.items() if previous.owner_of[s].node_id != owner.node_id}
    await network.until(gained.issubset, network.chain.attested)
    await network.seen()


def lacks(network: Network, node_id: int, shard: int) -> bool:
    store = network.running[node_id].store
    ids = sorted(blob.blob_id for blob in BLOBS)
    return any(store.missing(shard, axis, ids) for axis in Axis)


def check(network: Network, *, wasted: bool = False) -> None:
    """Every owner has its shards, right; nothing was received for nothing, unless somebody lied."""
    for node_id, node in network.running.items():
        for blob in BLOBS:
            assert network.is_complete(node_id, blob)
        assert wasted or not any(one.wasted_bytes for one in node.store.tallies(node.view.state.epoch))


@pytest.fixture
async def stored(network: Network) -> Network:
    for blob in BLOBS:
        await network.upload(blob)
    return network


def count_pages(network: Network, node_id: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shards of the pages that a node gives from now on."""
    store = network.running[node_id].store
    give, given = store.slivers_from, list[int]()

    def counted(shard: int, *arguments: Any) -> Any:
        given.append(shard)
        return give(shard, *arguments)

    monkeypatch.setattr(store, "slivers_from", counted)
    return given


# ahead of the start


async def test_what_is_certified_is_there_before_the_start(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = count_pages(stored, 3, monkeypatch)
    stored.chain.select(MOVED)
    await stored.until(lambda: not lacks(stored, 1, 6))
    assert len(pages) == 2
    late = encoded(100)
    await stored.upload(late)
    await stored.until(lambda: stored.running[1].store.has_sliver(late.blob_id, 6, Axis.PRIMARY))
    await stored.until(lambda: stored.running[1].store.has_sliver(late.blob_id, 6, Axis.SECONDARY))
    assert len(pages) == 4
    stored.chain.start()
    await stored.until(lambda: 6 in stored.chain.attested)
    assert len(pages) == 4, "nothing was left to be fetched"
    check(stored)
    (report,) = stored.running[1].handover.report().shards
    assert (report.shard, report.transferred_slivers, report.rebuilt_slivers) == (6, 2 * 7, 0)


async def test_a_page_under_way_at_the_start_is_not_fetched_again(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = count_pages(stored, 3, monkeypatch)
    give, go_on = stored.running[3].store.slivers_from, threading.Event()
    monkeypatch.setattr(stored.running[3].store, "slivers_from", lambda *a: (go_on.wait(20), give(*a))[1])
    stored.chain.select(MOVED)
    await stored.seen()
    stored.chain.start()
    await stored.seen()
    assert not pages
    go_on.set()
    await stored.until(lambda: 6 in stored.chain.attested)
    assert pages == [6, 6]
    check(stored)


async def test_prefetching_ends_with_the_selection_and_goes_to_the_one_selected_instead(
    stored: Network,
) -> None:
    stored.chain.select(MOVED)
    await stored.until(lambda: not lacks(stored, 1, 6))
    instead = {1: (0, 1, 2), 2: (3, 4, 5, 6), 3: (7,), 4: (8, 9)}
    stored.chain.select(instead)
    await stored.until(lambda: not lacks(stored, 2, 6))
    await stored.until(lambda: 6 not in stored.running[1].store.shards())
    stored.chain.start()
    await stored.until(lambda: 6 in stored.chain.attested)
    check(stored)


async def test_what_a_silent_member_cannot_give_is_rebuilt_ahead(stored: Network) -> None:
    await stored.stop(3)
    shards = {1: (0, 1, 2, 6), 2: (3, 4, 5, 7), 4: (8, 9)}
    stored.chain.select(shards)
    await stored.until(lambda: not (lacks(stored, 1, 6) or lacks(stored, 2, 7)))
    stored.chain.start()
    await stored.until(lambda: {6, 7} <= stored.chain.attested)
    check(stored)


async def test_only_what_is_lacking_is_asked_for(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sorted(blob.blob_id for blob in BLOBS)
    by_id = {blob.blob_id: blob for blob in BLOBS}
    store = stored.running[1].store
    for blob_id in (ids[1], ids[4]):
        for axis in Axis:
            store.put_sliver(
                blob_id, 6, axis, by_id[blob_id].sliver(axis, CODE.sliver_index(blob_id, 6, axis))
            )
    await change(stored, MOVED)
    check(stored)
    (report,) = stored.running[1].handover.report().shards
    assert report.transferred_slivers == 2 * 4
    assert report.received_bytes == sum(4 * CODE.sliver_size(3000, axis) for axis in Axis)


# overtaken, returned, owed


async def test_a_plan_overtaken_by_the_next_epoch_is_dropped_with_its_attestation(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    give, go_on = stored.running[3].store.slivers_from, threading.Event()
    monkeypatch.setattr(stored.running[3].store, "slivers_from", lambda *a: (go_on.wait(20), give(*a))[1])
    stored.chain.select(MOVED)
    stored.chain.start()
    await stored.seen()
    stored.chain.select(SHARDS)
    stored.chain.start()
    await stored.seen()
    go_on.set()
    await stored.until(lambda: 6 in stored.chain.attested)
    attested = [
        event for events, _ in stored.chain.blocks for event in events if isinstance(event, ShardsAttested)
    ]
    assert [(event.epoch, event.node_id, event.shards) for event in attested] == [(3, 3, (6,))]
    assert stored.running[3].handover.report().shards == (), "a shard that returns is still there"
    check(stored)


async def test_a_shard_given_up_is_kept_until_somebody_attests_it(stored: Network) -> None:
    await stored.stop(1)
    for shards in (MOVED, MOVED, MOVED):
        stored.chain.select(shards)
        stored.chain.start()
        await stored.seen()
    assert not lacks(stored, 3, 6)
    await stored.stop(3)
    await stored.start(3)
    assert not lacks(stored, 3, 6), "also after a restart"
    stored.chain.attest(stored.chain.state.epoch, 1, (6,))
    await stored.until(lambda: 6 not in stored.running[3].store.shards())


async def test_what_was_attested_while_the_node_was_down_is_not_owed(stored: Network) -> None:
    pages = threading.Event()
    give = stored.running[3].store.slivers_from
    stored.running[3].store.slivers_from = lambda *a: (pages.wait(20), give(*a))[1]  # type: ignore[method-assign]
    stored.chain.select(MOVED)
    stored.chain.start()
    pages.set()
    await stored.stop(3)
    await stored.until(lambda: 6 in stored.chain.attested)
    stored.chain.select(MOVED)
    stored.chain.start()
    await stored.start(3)
    await stored.until(lambda: 6 not in stored.running[3].store.shards())


async def test_what_was_attested_goes_an_epoch_later(stored: Network) -> None:
    await change(stored, MOVED)
    assert not lacks(stored, 3, 6)
    await change(stored, MOVED)
    await stored.until(lambda: 6 not in stored.running[3].store.shards())
    check(stored)


# liars


class Liar:
    """A peer's client whose answers are changed."""

    def __init__(self, real: NodeClient, change: Callable[[str, Any], Any]) -> None:
        self._real = real
        self._change = change

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        async def ask(*arguments: Any, **options: Any) -> Any:
            if name == "recovery_symbols" and self._change is proof_for_another_place:
                blob_id, axis, target, shards = arguments
                arguments = (blob_id, axis, (target + 1) % 10, shards)
            answer = self._change(name, await method(*arguments, **options))
            return await answer if isinstance(answer, Coroutine) else answer

        return ask


def flip(symbols: bytes | memoryview) -> bytes:
    return bytes([symbols[0] ^ 1]) + bytes(symbols[1:])


def change_page(how: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
    """Changes every sliver of a page."""

    def change(name: str, answer: Any) -> Any:
        if name != "sync_shard":
            return answer
        slivers = [(blob_id, how(sliver)) for blob_id, sliver in answer.slivers]
        return wire.ShardPage(slivers, answer.next_blob_id)

    return change


def other_blobs(name: str, answer: Any) -> Any:
    """Each sliver under the next one's blob id."""
    if name != "sync_shard":
        return answer
    ids = [blob_id for blob_id, _ in answer.slivers]
    slivers = [(after, one) for after, (_, one) in zip(ids[1:] + ids[:1], answer.slivers, strict=True)]
    return wire.ShardPage(slivers, answer.next_blob_id)


def circles(name: str, answer: Any) -> Any:
    return wire.ShardPage([], bytes(32)) if name == "sync_shard" else answer


LYING_PAGES = {
    "flipped bit": change_page(lambda one: dataclasses.replace(one, symbols=flip(one.symbols))),
    "truncated": change_page(lambda one: dataclasses.replace(one, symbols=bytes(one.symbols)[:-2])),
    "wrong index": change_page(lambda one: dataclasses.replace(one, index=(one.index + 1) % 10)),
    "another blob's": other_blobs,
    "in circles": circles,
}


def bend(network: Network, node_id: int, liars: Mapping[int, Any]) -> None:
    """Have a node see these clients in place of its peers' own."""
    peers = network.running[node_id].peers
    real = peers.client

    def client(member: Member) -> Any:
        return liars[member.node_id](real(member)) if member.node_id in liars else real(member)

    peers.client = client  # type: ignore[method-assign]


@pytest.mark.parametrize("lie", LYING_PAGES.values(), ids=LYING_PAGES)
async def test_a_source_that_lies_is_named_and_its_slivers_are_rebuilt(
    stored: Network, lie: Callable[[str, Any], Any]
) -> None:
    bend(stored, 1, {3: lambda real: Liar(real, lie)})
    await change(stored, MOVED)
    check(stored, wasted=True)
    (report,) = stored.running[1].handover.report().shards
    assert report.rebuilt_slivers == 2 * len(BLOBS)
    assert stored.running[1].repair.standing.lies["node-3"] >= 1


async def test_a_source_that_holds_back_is_helped_out(stored: Network) -> None:
    """An explicit end that comes too early: what is missing is rebuilt, and nobody is called a liar."""
    bend(
        stored,
        1,
        {
            3: lambda real: Liar(
                real, lambda name, one: wire.ShardPage([], None) if name == "sync_shard" else one
            )
        },
    )
    await change(stored, MOVED)
    check(stored)
    assert not stored.running[1].repair.standing.lies


@pytest.mark.parametrize("drips", [False, True], ids=["silence", "one byte a second"])
async def test_a_source_that_is_too_slow_is_left(
    stored: Network,
    drips: bool,
    serve: Callable[[Any], Coroutine[Any, Any, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filling, "PAGE_LIMIT_S", 0.1)
    monkeypatch.setattr(filling, "SLOWEST_BYTES_PER_S", 2**40)
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.1)
    ended = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while drips and not ended.is_set():
            await answer.write(b"\0")
            await asyncio.wait([asyncio.ensure_future(ended.wait())], timeout=1)
        await ended.wait()
        return answer

    address = await serve(drip)
    session = stored.session
    bend(stored, 1, {3: lambda real: NodeClient(session, "node-3", address)})
    try:
        await change(stored, MOVED)
        check(stored)
    finally:
        ended.set()


def lying_symbols(name: str, answer: Any) -> Any:
    if name == "decoding_symbols":
        return {
            index: {target: flip(one) for target, one in by_target.items()}
            for index, by_target in answer.items()
        }
    return answer


def shifted_symbols(name: str, answer: Any) -> Any:
    """Each sliver's symbols as the next one's."""
    if name == "decoding_symbols":
        return {(index + 1) % 10: by_target for index, by_target in answer.items()}
    return answer


def proof_for_another_place(name: str, answer: Any) -> Any:
    """A wrong symbol; `Liar` asks for the proof of the next target, which is right there."""
    return lying_symbols(name, answer)


def silence(name: str, answer: Any) -> Any:
    if name in ("decoding_symbols", "recovery_symbols"):
        return asyncio.sleep(3600)
    return answer


LYING_HELPERS = {
    "flipped bit": lying_symbols,
    "wrong index": shifted_symbols,
    "proof for another place": proof_for_another_place,
    "silence": silence,
}
LESS = {1: (0, 1, 2, 6), 2: (3, 4, 5, 7), 4: (8, 9)}
"""Node 3 is gone, and node 2 rebuilds its shard."""


@pytest.mark.parametrize("lie", LYING_HELPERS.values(), ids=LYING_HELPERS)
async def test_f_faulty_shards_among_the_helpers_hold_up_nothing(
    stored: Network, lie: Callable[[str, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.1)
    await change(stored, MOVED)
    await stored.stop(3)
    bend(stored, 2, {4: lambda real: Liar(real, lie)})
    await change(stored, LESS)
    check(stored, wasted=True)
    named = set(stored.running[2].repair.standing.lies)
    assert named <= {"node-4"}
    assert bool(named) or lie in (shifted_symbols, silence)


async def test_a_liar_is_remembered_and_asked_no_more(stored: Network) -> None:
    await change(stored, MOVED)
    await stored.stop(3)
    asked = []

    def count(name: str, answer: Any) -> Any:
        asked.append(name)
        return lying_symbols(name, answer)

    bend(stored, 2, {4: lambda real: Liar(real, count)})
    repair = stored.running[2].repair
    for blob in BLOBS:
        for _ in range(2):
            await repair.rebuild(blob.metadata, Axis.PRIMARY, [7], avoiding={3})
    assert asked.count("decoding_symbols") == 1
    assert repair.standing.lies["node-4"] >= 1


async def test_more_than_f_missing_are_named_and_one_that_comes_back_is_enough(stored: Network) -> None:
    await change(stored, MOVED)
    await stored.stop(1, 3)
    with pytest.raises(RepairError, match=r"needed 7 of 10 shards .* no answer from node-1"):
        await stored.running[2].repair.rebuild(BLOBS[0].metadata, Axis.PRIMARY, [7], avoiding={3})
    with structlog.testing.capture_logs() as logs:
        stored.chain.select(LESS)
        stored.chain.start()
        await stored.until(lambda: any("cannot be rebuilt yet" in one["event"] for one in logs))
    assert any("no answer from node-1" in one.get("error", "") for one in logs)
    assert 7 not in stored.chain.attested
    await stored.start(1)
    await stored.until(lambda: 7 in stored.chain.attested)
    check(stored)


class CutOff:
    """A peer's client whose requests get nowhere while the network is cut."""

    def __init__(self, real: NodeClient, is_cut: asyncio.Event) -> None:
        self._real = real
        self._is_cut = is_cut

    def __getattr__(self, name: str) -> Any:
        if self._is_cut.is_set():
            raise NodeUnreachable(self._real.name, self._real.address, "the network is cut")
        return getattr(self._real, name)


async def test_a_partition_during_the_change_is_waited_out(stored: Network) -> None:
    is_cut = asyncio.Event()
    is_cut.set()
    for here, there in (((1,), (2, 3, 4)), ((2, 3, 4), (1,))):
        for node_id in here:
            bend(stored, node_id, {other: lambda real: CutOff(real, is_cut) for other in there})
    with structlog.testing.capture_logs() as logs:
        stored.chain.select(MOVED)
        stored.chain.start()
        # Node 1 is alone with three shards, and four are needed.
        await stored.until(lambda: any("cannot be rebuilt yet" in one["event"] for one in logs))
    assert any("the network is cut" in one.get("error", "") for one in logs)
    assert 6 not in stored.chain.attested
    assert not lacks(stored, 3, 6), "the old owner has it still"
    is_cut.clear()
    await stored.until(lambda: 6 in stored.chain.attested)
    check(stored)


async def test_half_a_network_can_be_enough(stored: Network) -> None:
    """Six shards of ten: four primaries give the secondary sliver, and with it seven secondaries the primary."""
    is_cut = asyncio.Event()
    is_cut.set()
    for node_id in (1, 2):
        bend(stored, node_id, {other: lambda real: CutOff(real, is_cut) for other in (3, 4)})
    await change(stored, MOVED)
    check(stored)


async def test_helpers_are_not_overtaken_when_all_of_them_are_slow(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking more of those who are busy would only make it worse."""
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.01)
    monkeypatch.setattr(helpers, "FIRST_TIMES", 1000.0)

    async def late(answer: Any) -> Any:
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.05)
        return answer

    def slowly(name: str, answer: Any) -> Any:
        return late(answer) if name == "decoding_symbols" else answer

    bend(stored, 2, {node_id: lambda real: Liar(real, slowly) for node_id in (1, 3, 4)})
    repair = stored.running[2].repair
    for blob in BLOBS:
        (rebuilt,) = await repair.rebuild(blob.metadata, Axis.PRIMARY, [7])
        assert rebuilt.wasted_bytes == 0
    assert not any(repair.standing.rank(member) for member in stored.chain.state.current.members)  # type: ignore[union-attr]
