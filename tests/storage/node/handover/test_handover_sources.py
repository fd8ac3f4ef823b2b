"""The handover from old owners that lie, hold back, creep or hang; over a chain in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from committee.messages import ShardTransferRequest, decode
from storage.client import wire
from storage.client.errors import NodeRefused, NodeStalled
from storage.client.failures import Reason
from storage.client.link import Transfer
from storage.client.node_client import NodeClient
from storage.node.budgets import Budget
from storage.node.handover import copying, sources
from storage.node.repair import helpers
from storage.node.repair.reputation import SLOW
from storage.redstuff import Axis, SliverData
from tests.storage.node.checks import check
from tests.storage.node.handovers import (
    BLOBS,
    CODE,
    MOVED,
    TWO_MOVED,
    Bent,
    bend,
    change,
    encoded,
    flip,
    lacks,
)

if TYPE_CHECKING:
    from storage.node.handover.report import ShardReport
    from tests.storage.network import Network
    from tests.storage.node.conftest import Nothing


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


def filled(network: Network, shard: int = 6, node_id: int = 1) -> ShardReport:
    """What filling the shard came to."""
    (report,) = [one for one in network.running[node_id].handover.report().shards if one.shard == shard]
    return report


@pytest.mark.parametrize("lie", LYING_PAGES.values(), ids=LYING_PAGES)
async def test_a_source_that_lies_is_named_and_its_slivers_are_rebuilt(
    stored: Network, lie: Callable[[str, Any], Any]
) -> None:
    bend(stored, 1, {3: lambda real: Bent(real, lie)})
    await change(stored, MOVED)
    await check(stored, in_vain=1)
    assert filled(stored).rebuilt_slivers == 2 * len(BLOBS)
    assert stored.running[1].repair.reputation.lies[3] >= 1


async def test_what_a_source_is_asked_too_often_holds_up_nothing_else(stored: Network) -> None:
    """It refuses the page that begins with the first blob; what lies behind one that is here already is copied."""
    blobs = sorted(BLOBS, key=lambda one: one.blob_id)
    first, here = blobs[0], blobs[2]
    for axis in Axis:
        sliver = here.sliver(axis, CODE.sliver_index(here.blob_id, 6, axis))
        stored.running[1].store.put_sliver(here.blob_id, 6, axis, sliver)

    class Refuses(Bent):
        def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            if name == "sync_shard":
                request = ShardTransferRequest.from_body(decode(arguments[0]).body)
                if request.first_blob_id == first.blob_id:
                    raise NodeRefused("node-3", "", 403, Reason.REQUEST_UNAUTHORIZED, "it is replayed")
            return arguments

    bend(stored, 1, {3: lambda real: Refuses(real, lambda name, answer: answer)})
    await change(stored, MOVED)
    await check(stored)
    report = filled(stored)
    assert (report.rebuilt_slivers, report.transferred_slivers) == (2 * 2, 2 * (len(BLOBS) - 3))


async def test_one_wrong_sliver_is_rebuilt_alone(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "PAGE_SLIVERS", 2)
    first = min(blob.blob_id for blob in BLOBS)

    def lie(name: str, answer: Any) -> Any:
        if name != "sync_shard":
            return answer
        slivers = [
            (blob_id, dataclasses.replace(one, symbols=flip(one.symbols)) if blob_id == first else one)
            for blob_id, one in answer.slivers
        ]
        return wire.ShardPage(slivers, answer.next_blob_id)

    bend(stored, 1, {3: lambda real: Bent(real, lie)})
    await change(stored, MOVED)
    await check(stored, in_vain=1)
    report = filled(stored)
    assert (report.rebuilt_slivers, report.transferred_slivers) == (2, 2 * (len(BLOBS) - 1))


async def test_a_source_that_lies_again_and_again_is_left(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE_SLIVERS", 1)
    asked = []

    def lie(name: str, answer: Any) -> Any:
        asked.append(name)
        return LYING_PAGES["flipped bit"](name, answer)

    bend(stored, 1, {3: lambda real: Bent(real, lie)})
    await change(stored, MOVED)
    await check(stored, in_vain=1)
    assert asked.count("sync_shard") <= sources.FAULTS_BORNE + sources.STREAMS_FROM_A_SOURCE


async def test_a_source_that_holds_back_is_helped_out(stored: Network) -> None:
    """An explicit end that comes too early: what is missing is rebuilt, and nobody is called a liar."""

    def hold_back(name: str, answer: Any) -> Any:
        return wire.ShardPage([], None) if name == "sync_shard" else answer

    bend(stored, 1, {3: lambda real: Bent(real, hold_back)})
    await change(stored, MOVED)
    await check(stored)
    assert not stored.running[1].repair.reputation.lies


class Creeper(Bent):
    """A source that never ends: each page begins one blob id later, and brings nothing that was asked for."""

    def __init__(self, real: NodeClient, slivers: list[Any]) -> None:
        super().__init__(real, lambda name, answer: answer)
        self.slivers = slivers
        self.pages = 0

    async def sync_shard(
        self, message: bytes, signature: bytes, *limits: float, most_bytes: int, with_metadata: bool
    ) -> wire.ShardPage:
        first = ShardTransferRequest.from_body(decode(message).body).first_blob_id
        self.pages += 1
        return wire.ShardPage(self.slivers, (int.from_bytes(first, "big") + 1).to_bytes(32, "big"))


@pytest.mark.parametrize("junk", [False, True], ids=["empty pages", "slivers nobody asked for"])
async def test_a_source_that_creeps_is_left(stored: Network, junk: bool) -> None:
    other = encoded(200)
    sliver = SliverData(other.sliver(Axis.PRIMARY, 0), CODE.symbol_size(3000), 0)
    creeper = Creeper(stored.client(3), [(other.blob_id, sliver)] if junk else [])
    bend(stored, 1, {3: lambda real: creeper})
    await change(stored, MOVED)
    await check(stored)
    assert creeper.pages <= 4, "one for each axis, ahead of the start and after it"
    assert filled(stored).rebuilt_slivers == 2 * len(BLOBS)


@pytest.mark.parametrize("drips", [False, True], ids=["silence", "bytes now and then"])
async def test_a_source_that_is_too_slow_is_left(
    stored: Network,
    drips: bool,
    serve_nothing: Callable[[bool], Coroutine[Any, Any, Nothing]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "PAGE_LIMIT_S", 0.5)
    monkeypatch.setattr(sources, "LEAST_BYTES_PER_S", 2**40)
    monkeypatch.setattr(sources, "SLOWEST_BYTES_PER_S", 2**40)
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.1)
    nothing, session = await serve_nothing(drips), stored.session
    bend(stored, 1, {3: lambda real: NodeClient(session, "node-3", nothing.address)})
    await change(stored, MOVED)
    await check(stored)
    assert filled(stored).rebuilt_slivers == 2 * len(BLOBS)


async def never(answer: Any) -> Any:
    await asyncio.Event().wait()


async def test_a_source_that_drips_a_page_is_left(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves just enough not to have stalled: only the time that a page may take in all ends it."""
    monkeypatch.setattr(sources, "PAGE_LIMIT_S", 0.1)
    monkeypatch.setattr(sources, "LEAST_BYTES_PER_S", 2**60)
    bend(stored, 1, {3: lambda real: Bent(real, lambda name, a: never(a) if name == "sync_shard" else a)})
    await change(stored, MOVED)
    assert filled(stored).rebuilt_slivers == 2 * len(BLOBS)
    node_3 = stored.running[1].view.state.members()[3]
    assert stored.running[1].repair.reputation.rank(node_3) == SLOW


def one_a_page(name: str, answer: Any) -> Any:
    if name != "sync_shard" or len(answer.slivers) < 2:
        return answer
    return wire.ShardPage(answer.slivers[:1], answer.slivers[1][0])


async def test_a_source_that_gives_little_for_the_time_it_takes_is_left(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page comes in time; together they are worth less than the wait."""
    monkeypatch.setattr(sources, "PAGE_LIMIT_S", 0.0)
    monkeypatch.setattr(sources, "SLOWEST_SLIVERS_PER_S", 1e9)
    monkeypatch.setattr(sources, "LEAST_BYTES_PER_S", 2**60)
    monkeypatch.setattr(sources, "SLOWEST_BYTES_PER_S", 2**60)
    bend(stored, 1, {3: lambda real: Bent(real, one_a_page)})
    await change(stored, MOVED)
    await check(stored)
    assert filled(stored).rebuilt_slivers >= len(BLOBS)
    node_3 = stored.running[1].view.state.members()[3]
    assert stored.running[1].repair.reputation.rank(node_3) == SLOW


async def test_a_source_of_one_sliver_a_page_is_not_left_while_it_is_quick(stored: Network) -> None:
    bend(stored, 1, {3: lambda real: Bent(real, one_a_page)})
    await change(stored, MOVED)
    await check(stored)
    assert filled(stored).transferred_slivers == 2 * len(BLOBS)


@pytest.mark.parametrize("ahead", [True, False], ids=["fetched ahead", "fetched after the start"])
async def test_nothing_waits_for_a_source_that_hangs(
    stored: Network, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 2 gains a shard of node 4, which hangs, one of node 1, and one of node 3, which is gone."""
    monkeypatch.setattr(sources, "PAGE_LIMIT_S", 60.0)
    await change(stored, MOVED)
    await stored.stop(3)
    hangs = asyncio.Event()

    async def late(answer: Any) -> Any:
        await hangs.wait()
        return answer

    bend(stored, 2, {4: lambda real: Bent(real, lambda name, a: late(a) if name == "sync_shard" else a)})
    stored.chain.select({1: (0, 1, 2), 2: (3, 4, 5, 6, 7, 8), 4: (9,)})
    if ahead:
        await stored.until(lambda: not lacks(stored, 2, 6) and not lacks(stored, 2, 7))
    stored.chain.start()
    await stored.until(lambda: {6, 7} <= stored.chain.attested)
    assert 8 not in stored.chain.attested
    hangs.set()
    await stored.until(lambda: 8 in stored.chain.attested)
    await check(stored)
    assert filled(stored, 8, 2).transferred_slivers == 2 * len(BLOBS)


async def test_a_page_that_waits_for_its_turn_is_not_held_against_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other sources may keep the link for as long as they like."""
    loop, passed_s, page = asyncio.get_running_loop(), 0.0, wire.ShardPage([], None)
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + passed_s)

    async def pass_time() -> None:
        nonlocal passed_s
        passed_s += 1000
        for _ in range(5):
            await asyncio.sleep(0)

    class Late:
        hangs = False

        async def sync_shard(self, *asked: Any, **limits: Any) -> wire.ShardPage:
            await pass_time()
            asked[4].began_s = loop.time()
            if self.hangs:
                await pass_time()
            return page

    late: Any = Late()
    stub: Any = SimpleNamespace(client=lambda member: late, reputation=None)
    member: Any = SimpleNamespace(name="node-3", address="")
    source = sources.Source(member, [])
    copies = copying.Copying(*(stub,) * 6, Budget())
    wanted = copying.Wanted(
        [], 0, 0, with_metadata=False, is_mostly_metadata=False, message=b"", signature=b""
    )
    assert await copies._asked(source, wanted) is page
    late.hangs = True
    with pytest.raises(NodeStalled):
        await copies._asked(source, wanted)


async def test_a_source_that_refuses_after_a_long_time_is_not_asked_for_each_shard(stored: Network) -> None:
    """Else one with a hundred shards would hold up a hundred times as long what can be rebuilt at once."""
    asked: list[bytes] = []

    class Late(Bent):
        async def sync_shard(self, message: bytes, *arguments: Any, **options: Any) -> wire.ShardPage:
            asked.append(message)
            (transfer,) = (one for one in arguments if isinstance(one, Transfer))
            transfer.began_s = asyncio.get_running_loop().time() - 3 * sources.PAGE_LIMIT_S
            raise NodeRefused("node-1", "", 503, Reason.UNAVAILABLE, "too many requests wait")

    bend(stored, 4, {1: lambda real: Late(real, lambda name, answer: answer)})
    stored.chain.start(TWO_MOVED)
    await stored.until(lambda: stored.chain.attested >= {1, 2})
    await check(stored)
    assert len(asked) <= sources.STREAMS_FROM_A_SOURCE
