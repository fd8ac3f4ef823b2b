"""The handover with helpers that lie or are silent; over a chain in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from storage.node.repair import helpers
from storage.redstuff import Axis
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, LESS, MOVED, Bent, bend, change, flip

if TYPE_CHECKING:
    from tests.storage.network import Network


class Liar(Bent):
    """A peer that lies in its answers."""

    def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "recovery_symbols" and self._change is proof_for_another_place:
            blob_id, axis, target, shards = arguments
            return (blob_id, axis, (target + 1) % 10, shards)
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


def silence(name: str, answer: Any) -> Any:
    if name in ("decoding_symbols", "recovery_symbols"):
        return asyncio.sleep(3600)
    return answer


LYING_HELPERS = {
    "flipped bit": lying_symbols,
    "truncated": truncated_symbols,
    "another blob's": OtherBlobs(),
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
    await change(stored, LESS)
    assert asked.count("decoding_symbols") == 1
    await check(stored)
