"""The handover with helpers that lie or are silent; over a chain in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from storage.client import wire
from storage.client.node_client import NodeClient
from storage.node.handover import jobs
from storage.node.repair import helpers
from storage.node.repair.reputation import SLOW
from storage.redstuff import Axis
from tests.logged import captured
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, LESS, MOVED, Bent, bend, change, flip

if TYPE_CHECKING:
    from tests.storage.network import Network
    from tests.storage.node.conftest import Nothing


class Liar(Bent):
    """A peer that lies in its answers."""

    def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "recovery_symbols" and self._change is proof_for_another_place:
            blob_id, axis, target, *others = arguments
            return (blob_id, axis, (target + 1) % 10, *others)
        return arguments


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


def truncated_symbols(name: str, answer: Any) -> Any:
    if name == "decoding_symbols":
        return {
            index: {target: bytes(one)[:-2] for target, one in by_target.items()}
            for index, by_target in answer.items()
        }
    return answer


class OtherBlobs:
    """The symbols that were asked for of the blob before."""

    def __init__(self) -> None:
        self._before: list[bytes] = []

    def __call__(self, name: str, answer: Any) -> Any:
        if name != "decoding_symbols":
            return answer
        before, self._before = self._before, [one for some in answer.values() for one in some.values()]
        given = iter(before * 10)
        return {
            index: {target: next(given, flip(one)) for target, one in some.items()}
            for index, some in answer.items()
        }


def proof_for_another_place(name: str, answer: Any) -> Any:
    """A wrong symbol; `Liar` asks for the proof of the next target, which is right there."""
    return lying_symbols(name, answer)


LYING_HELPERS = {
    "flipped bit": lying_symbols,
    "truncated": truncated_symbols,
    "another blob's": OtherBlobs(),
    "wrong index": shifted_symbols,
    "proof for another place": proof_for_another_place,
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
    await check(stored, in_vain=1)
    named = set(stored.running[2].repair.reputation.lies)
    assert named <= {4}
    assert bool(named) or lie is shifted_symbols


@pytest.mark.parametrize("drips", [False, True], ids=["silence", "bytes now and then"])
async def test_a_helper_that_gives_nothing_holds_up_nothing(
    stored: Network,
    drips: bool,
    serve_nothing: Callable[[bool], Coroutine[Any, Any, Nothing]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.1)
    await change(stored, MOVED)
    await stored.stop(3)
    nothing, session = await serve_nothing(drips), stored.session
    bend(stored, 2, {4: lambda real: NodeClient(session, "node-4", nothing.address)})
    await change(stored, LESS)
    assert any("decodingSymbols" in path for path in nothing.asked)
    await check(stored)
    repair = stored.running[2].repair
    assert repair.reputation.rank(stored.running[2].view.state.members()[4]) == SLOW
    assert not repair.reputation.lies


@pytest.mark.parametrize("lies", [False, True], ids=["source that holds back", "source that lies"])
async def test_two_helpers_of_f_shards_that_lie_hold_up_nothing(stored: Network, lies: bool) -> None:
    """One of them is the old owner, from which shard 7 is not to be had; the seven shards of the others are enough."""
    await change(stored, MOVED)

    def lie_of_pages_too(name: str, answer: Any) -> Any:
        if name != "sync_shard":
            return lying_symbols(name, answer)
        flipped = [(blob_id, replace(one, symbols=flip(one.symbols))) for blob_id, one in answer.slivers]
        return wire.ShardPage(flipped if lies else [], None)

    bend(stored, 2, {3: lambda real: Liar(real, lie_of_pages_too), 4: lambda real: Liar(real, lying_symbols)})
    await change(stored, {1: (0, 1, 2, 6), 2: (3, 4, 5, 7), 3: (8,), 4: (9,)})
    await check(stored, in_vain=2)
    assert set(stored.running[2].repair.reputation.lies) == {3, 4}


@pytest.mark.usefixtures("no_retries")
async def test_more_than_f_liars_are_named_and_one_that_turns_honest_is_enough(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONGEST_RETRY_S", 0.1)
    await change(stored, MOVED)
    await stored.stop(3)
    is_honest = False

    def lie_at_first(name: str, answer: Any) -> Any:
        return answer if is_honest else lying_symbols(name, answer)

    bend(stored, 2, {1: lambda real: Liar(real, lie_at_first), 4: lambda real: Liar(real, lying_symbols)})
    with captured() as logs:
        stored.chain.start(LESS)
        await stored.until(
            lambda: any(
                "node-1, node-4: sent a wrong symbol" in told
                for told in (one.get("error", "") for one in logs if "cannot be rebuilt" in one["event"])
            )
        )
    assert 7 not in stored.chain.attested
    is_honest = True
    await stored.until(lambda: 7 in stored.chain.attested)
    await check(stored, in_vain=2)


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
    assert repair.reputation.lies[4] >= 1
    await change(stored, LESS)
    assert asked.count("decoding_symbols") == 1
    await check(stored)
