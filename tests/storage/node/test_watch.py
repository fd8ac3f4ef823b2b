"""The watch: who is silent, and who is not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from committee import messages
from committee.membership import Committee
from storage.client.errors import NodeLied, NodeRefused, NodeUnreachable
from storage.node.face import Refusal
from tests.storage.node.watch_bench import (
    COMMITTEE,
    DEADLINE_S,
    ME,
    MEMBERS,
    PATIENCE_S,
    SECRETS,
    WATCHED,
    Bench,
)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


async def test_a_member_that_always_answers_just_in_time_is_never_silent(bench: Bench) -> None:
    for _ in range(5):
        bench.health = bench.answer_after(PATIENCE_S - 0.5)
        await bench.poll()
        bench.now += PATIENCE_S  # nobody asked meanwhile
        assert bench.watch.silent_s(WATCHED) == 0
        with pytest.raises(Refusal, match="answered within the last 10 s"):
            await bench.watch.sign_ejection(WATCHED, DEADLINE_S)


def refuses(status: int) -> Callable[[], Any]:
    def fail() -> Any:
        raise NodeRefused("node-4", "http://4", status, None, "an error that is no JSON")

    return fail


def lies() -> Any:
    raise NodeLied("node-4", "http://4", "its answer cannot be read")


NOT_ITS_OWN: dict[str, Callable[[], Any]] = {
    **{f"a proxy's {status}": refuses(status) for status in (403, 404, 429, 500, 502, 503, 504)},
    "a page": lies,
    "health of another node": lambda: {"nodeId": 3},
    "health of no node": lambda: {"nodeId": None},
    "a number that only equals": lambda: {"nodeId": "4"},
}


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("answer", NOT_ITS_OWN.values(), ids=NOT_ITS_OWN)
async def test_after_an_answer_that_is_not_the_members_own_only_its_signature_is_life(
    bench: Bench, answer: Callable[[], Any], signs: bool
) -> None:
    async def health() -> Any:
        bench.now += PATIENCE_S
        return answer()

    bench.health, bench.signs_itself = health, signs
    await bench.poll()
    assert (WATCHED in bench.watch.silent_members()) is not signs


async def test_silence_begins_with_the_first_request_not_answered(bench: Bench) -> None:
    await bench.poll()
    bench.now += 100
    bench.health = bench.no_answer
    await bench.poll()
    assert bench.watch.silent_s(WATCHED) == PATIENCE_S
    await bench.poll()
    assert bench.watch.silent_s(WATCHED) == 2 * PATIENCE_S
    assert bench.watch.silent_members() == {WATCHED}
    message, signature = await bench.watch.sign_ejection(WATCHED, DEADLINE_S)
    assert messages.decode(message).body == messages.eject_body(WATCHED, DEADLINE_S)
    assert signature == SECRETS[ME].sign(message)
    bench.health = bench.answer
    await bench.poll()
    assert bench.watch.silent_members() == frozenset()


class Hanging:
    """Requests of members' health, none of which is answered until `end`."""

    def __init__(self, bench: Bench) -> None:
        self.asked: asyncio.Queue[None] = asyncio.Queue()
        self._end = asyncio.Event()
        bench.health = self._hang

    async def _hang(self) -> Any:
        self.asked.put_nowait(None)
        await self._end.wait()
        raise NodeUnreachable("node-4", "http://4", "test")

    def end(self) -> None:
        self._end.set()


async def test_nobody_is_silent_to_a_node_that_left_the_committee(bench: Bench) -> None:
    hanging = Hanging(bench)
    without_me = Committee(4, 10, (dataclasses.replace(MEMBERS[2], shards=tuple(range(10))),))
    async with asyncio.TaskGroup() as polls:
        bench.watch._look(polls)
        for _ in (2, 3, 4):
            await hanging.asked.get()
        bench.view.state.current = without_me
        bench.watch._look(polls)
        hanging.end()
    bench.now += 10 * PATIENCE_S
    assert bench.watch.silent_members() == frozenset()
    bench.health = bench.answer
    bench.view.state.current = COMMITTEE
    async with asyncio.TaskGroup() as polls:
        bench.watch._look(polls)
        assert bench.watch.silent_members() == frozenset(), "selected again, it begins anew"


async def test_a_member_that_moves_is_asked_there_while_the_old_place_owes_its_answer(bench: Bench) -> None:
    hanging = Hanging(bench)
    moved = dataclasses.replace(MEMBERS[WATCHED], address="http://elsewhere")
    async with asyncio.TaskGroup() as polls:
        bench.watch._look(polls)
        for _ in (2, 3, 4):
            await hanging.asked.get()
        bench.now += PATIENCE_S - 1
        bench.health = bench.answer
        bench.view.state.current = Committee(3, 10, (*COMMITTEE.members[:3], moved))
        async with asyncio.TaskGroup() as more:
            bench.watch._look(more)
        bench.now += PATIENCE_S
        assert WATCHED not in bench.watch.silent_members()
        hanging.end()
    assert bench.watch.silent_members() == {2, 3}, "they were not asked again meanwhile"


async def test_a_member_that_moves_again_and_again_holds_one_connection(bench: Bench) -> None:
    asked, held, most = [0], [0], [0]

    async def hang() -> None:
        asked[0], held[0] = asked[0] + 1, held[0] + 1
        most[0] = max(most[0], held[0])
        try:
            await asyncio.Event().wait()
        finally:
            held[0] -= 1

    bench.health = hang
    async with asyncio.TaskGroup() as polls:
        for number in range(20):
            moved = dataclasses.replace(MEMBERS[WATCHED], address=f"http://there:{number + 1}")
            bench.view.state.current = Committee(3, 10, (*COMMITTEE.members[:3], moved))
            bench.watch._look(polls)
            for _ in range(3):
                await asyncio.sleep(0)
            bench.now += PATIENCE_S / 20
        assert asked == [20 + 2]
        assert most == held == [1 + 2], "one, and those of the two others"
        assert WATCHED in bench.watch.silent_members(), "nor is it alive by that"
        for _, poll in bench.watch._polls.values():
            poll.cancel()
