"""The handover against old owners and helpers that lie, hold back or are silent; over a chain in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from storage.client import wire
from storage.client.node_client import NodeClient
from storage.node.handover import filling
from storage.node.repair import helpers
from storage.redstuff import Axis
from tests.storage.node.checks import check
from tests.storage.node.handovers import (
    BLOBS,
    LESS,
    MOVED,
    Bent,
    bend,
    change,
)

if TYPE_CHECKING:
    from tests.storage.network import Network


class Liar(Bent):
    """A peer that lies in its answers."""

    def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "recovery_symbols" and self._change is proof_for_another_place:
            blob_id, axis, target, shards = arguments
            return (blob_id, axis, (target + 1) % 10, shards)
        return arguments


def flip(symbols: bytes | memoryview) -> bytes:
    return bytes([symbols[0] ^ 1]) + bytes(symbols[1:])


# sources


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


@pytest.mark.parametrize("lie", LYING_PAGES.values(), ids=LYING_PAGES)
async def test_a_source_that_lies_is_named_and_its_slivers_are_rebuilt(
    stored: Network, lie: Callable[[str, Any], Any]
) -> None:
    bend(stored, 1, {3: lambda real: Liar(real, lie)})
    await change(stored, MOVED)
    await check(stored, lied=True)
    (report,) = stored.running[1].handover.report().shards
    assert report.rebuilt_slivers == 2 * len(BLOBS)
    assert stored.running[1].repair.standing.lies["node-3"] >= 1


async def test_a_source_that_holds_back_is_helped_out(stored: Network) -> None:
    """An explicit end that comes too early: what is missing is rebuilt, and nobody is called a liar."""

    def hold_back(name: str, answer: Any) -> Any:
        return wire.ShardPage([], None) if name == "sync_shard" else answer

    bend(stored, 1, {3: lambda real: Liar(real, hold_back)})
    await change(stored, MOVED)
    await check(stored)
    assert not stored.running[1].repair.standing.lies


@pytest.mark.parametrize("drips", [False, True], ids=["silence", "one byte a second"])
async def test_a_source_that_is_too_slow_is_left(
    stored: Network,
    drips: bool,
    serve: Callable[[Any], Coroutine[Any, Any, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filling, "PAGE_LIMIT_S", 0.1)
    monkeypatch.setattr(wire, "SLOWEST_BYTES_PER_S", 2**40)
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
        await check(stored)
    finally:
        ended.set()


# helpers


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


@pytest.mark.parametrize("lie", LYING_HELPERS.values(), ids=LYING_HELPERS)
async def test_f_faulty_shards_among_the_helpers_hold_up_nothing(
    stored: Network, lie: Callable[[str, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.1)
    await change(stored, MOVED)
    await stored.stop(3)
    bend(stored, 2, {4: lambda real: Liar(real, lie)})
    await change(stored, LESS)
    await check(stored, lied=True)
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
