"""The watch: who is ejected, and who is not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee import messages
from committee.bls import SecretKey
from committee.certificate import Certificate
from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger import BlockMark
from committee.membership import Committee, Member
from committee.rota import draw_order
from storage.client.errors import NodeLied, NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.node import watch as watching
from storage.node.chain import ChainView
from storage.node.face import Refusal
from storage.node.peers import Peers
from storage.node.rota import Rota
from storage.node.sign_of_life import SignsOfLife
from storage.node.watch import Watch

PATIENCE_S = 10
GRACE_S = PATIENCE_S + 2
"""The patience, and twice the interval between two questions."""
TURN_S = 8
DOMAIN = bytes(range(32))
SECRETS = {node_id: SecretKey(0xCAFE + node_id) for node_id in (1, 2, 3, 4)}
MEMBERS = {
    node_id: Member(node_id, f"node-{node_id}", f"http://{node_id}", SECRETS[node_id].public_key, shards)
    for node_id, shards in {1: (0, 1, 2), 2: (3, 4, 5), 3: (6, 7), 4: (8, 9)}.items()
}
COMMITTEE = Committee(3, 10, tuple(MEMBERS.values()))
ME, WATCHED = 1, 4
Answer = Callable[[], Awaitable[Any]]


class Bench:
    """Node 1's watch over three peers and a ledger, all of the test's making, and the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.health: Answer = self.answer
        self.signers: set[int] = {2, 3}
        self.hanging: set[int] = set()
        """Members that never answer whether they find another one silent."""
        self.signs_as: dict[int, int] = {}
        """Member → the member whose key it signs with."""
        self.account: str | None = "0x1"
        self.ejected: list[tuple[int, Certificate]] = []
        self.refusals: list[LedgerError] = []
        """What is answered first to who posts an ejection."""
        self.pauses_s: list[float] = []
        self.view = SimpleNamespace(
            node_id=ME,
            parameters=SimpleNamespace(patience_s=PATIENCE_S, domain=DOMAIN),
            state=SimpleNamespace(current=COMMITTEE, epoch=3),
            ledger=self,
            was_ejected=lambda node_id, epoch: False,
        )
        peers = SimpleNamespace(watch_client=self.client)
        self.witness: str | None = None
        """The fellow that shows the watched member to be alive."""
        self.signs_itself = False
        """Whether the watched member signs a nonce when it is asked for that."""
        signs = SimpleNamespace(witness=self.find_witness, is_given=self.sign, forget=lambda members: None)
        self.view.state.started_block = BlockMark(100, bytes(32))
        self.view.state.started_at_s = 1000
        rota = Rota(cast(ChainView, self.view))
        rota._measured = (self.view.state.started_block, TURN_S)
        self.watch = Watch(
            cast(ChainView, self.view), rota, cast(Peers, peers), cast(SignsOfLife, signs), SECRETS[ME], 1.0
        )

    # the peers

    def client(self, member: Member) -> Any:
        async def health(timeout_s: float) -> Any:
            assert timeout_s == PATIENCE_S
            return {"nodeId": member.node_id} | await self.health()

        async def ejection(node_id: int) -> tuple[bytes, bytes]:
            if member.node_id in self.hanging:
                await asyncio.Event().wait()
            if member.node_id not in self.signers:
                raise NodeRefused(member.name, member.address, 400, Reason.MEMBER_ANSWERS, "it answers me")
            message = messages.encode(messages.Intent.EJECT, 3, messages.eject_body(node_id), DOMAIN)
            return message, SECRETS[self.signs_as.get(member.node_id, member.node_id)].sign(message)

        return SimpleNamespace(health=health, ejection=ejection)

    async def answer(self) -> dict[str, Any]:
        return {}

    def answer_after(self, seconds: float) -> Answer:
        async def answer() -> dict[str, Any]:
            self.now += seconds
            assert WATCHED not in self.watch.silent_members()
            return {}

        return answer

    async def no_answer(self) -> Any:
        self.now += PATIENCE_S
        raise NodeUnreachable("node-4", "http://4", "test")

    async def sign(self, member: Member) -> bool:
        return self.signs_itself

    async def find_witness(self, member: Member) -> str | None:
        assert member.node_id == WATCHED
        return self.witness

    # the ledger

    async def eject(self, node_id: int, reason: int, certificate: Certificate) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.ejected.append((node_id, certificate))

    # doing

    async def pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)

    async def poll(self) -> None:
        await self.watch._poll(MEMBERS[WATCHED])


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(monkeypatch)
    bench.watch._asked_at = dict.fromkeys((2, 3, 4))
    return bench


async def test_a_member_that_always_answers_just_in_time_is_never_silent(bench: Bench) -> None:
    for _ in range(5):
        bench.health = bench.answer_after(PATIENCE_S - 0.5)
        await bench.poll()
        bench.now += PATIENCE_S  # nobody asked meanwhile
        assert bench.watch.silent_s(WATCHED) == 0
        with pytest.raises(Refusal, match="answered within the last 10 s"):
            await bench.watch.sign_ejection(WATCHED)


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
    message, signature = await bench.watch.sign_ejection(WATCHED)
    assert messages.decode(message).body == messages.eject_body(WATCHED)
    assert signature == SECRETS[ME].sign(message)
    bench.health = bench.answer
    await bench.poll()
    assert bench.watch.silent_members() == frozenset()


@pytest.mark.parametrize("node_id", [ME, 5])
async def test_only_fellow_members_can_be_ejected(bench: Bench, node_id: int) -> None:
    with pytest.raises(Refusal):
        await bench.watch.sign_ejection(node_id)


async def test_a_member_that_is_silent_to_a_quorum_is_ejected(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    ((node_id, certificate),) = bench.ejected
    assert node_id == WATCHED
    assert certificate.epoch == 3


@pytest.mark.parametrize("cheat", ["hangs", "signs with another key"])
async def test_an_ejection_that_a_quorum_signs_waits_for_no_other_member(bench: Bench, cheat: str) -> None:
    """Node 2 is asked first, and nodes 1 and 3 have seven shards of ten."""
    shards = {1: (0, 1, 2, 3), 2: (4, 5), 3: (6, 7, 8), 4: (9,)}
    committee = Committee(
        3, 10, tuple(dataclasses.replace(MEMBERS[one], shards=held) for one, held in shards.items())
    )
    bench.view.state.current = committee
    bench.health = bench.no_answer
    await bench.poll()
    if cheat == "hangs":
        bench.hanging = {2}
    else:
        bench.signs_as = {2: 3}
    async with asyncio.timeout(10):
        await bench.watch._eject(committee, committee.by_id[WATCHED])
    ((_, certificate),) = bench.ejected
    assert certificate.bitmap == bytes([0b101])


@pytest.mark.parametrize("signers", [set(), {2}, {3}])
async def test_a_member_that_answers_some_is_not_ejected(bench: Bench, signers: set[int]) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.signers = signers
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.ejected


async def test_a_member_shown_to_be_alive_is_neither_ejected_nor_signed_against(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.witness = "node-3"
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.ejected
    with pytest.raises(Refusal, match="node-4 answers node-3") as refused:
        await bench.watch.sign_ejection(WATCHED)
    assert refused.value.reason is Reason.MEMBER_ANSWERS


async def test_a_member_that_answers_while_its_life_is_looked_for_stays(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()

    async def find(member: Member) -> None:
        bench.health = bench.answer
        await bench.poll()

    bench.watch._signs.witness = find  # type: ignore[method-assign]
    with pytest.raises(Refusal, match="answered within"):
        await bench.watch.sign_ejection(WATCHED)


def refused(reason: str) -> LedgerRefused:
    return LedgerRefused("Committee.eject", reason)


@pytest.mark.parametrize(
    "refusal",
    [
        *map(refused, ("EnforcedPause", "InsufficientFunds", "TooMuchGas", "WrongEpoch", "NotEnoughWeight")),
        LedgerUnavailable("no answer within 5 s"),
    ],
    ids=str,
)
async def test_an_ejection_that_is_not_taken_is_posted_again_after_ever_longer_pauses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refusal: LedgerError
) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    monkeypatch.setattr(asyncio, "sleep", bench.pause)
    bench.refusals = [refusal] * 8
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert [node_id for node_id, _ in bench.ejected] == [WATCHED]
    assert bench.pauses_s == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_an_ejection_that_is_not_taken_is_left_to_the_next_member(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pause(seconds: float) -> None:
        bench.pauses_s.append(seconds)
        bench.now += seconds

    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    monkeypatch.setattr(asyncio, "sleep", pause)
    bench.refusals = [refused("InsufficientFunds")] * 8
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert bench.pauses_s == [1, 2, 4], "the first half of a turn is over"
    assert not bench.ejected


async def test_members_eject_in_turns_without_those_that_are_silent(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    order = draw_order({node_id: MEMBERS[node_id].weight for node_id in (1, 2, 3)}, 3, f"eject {WATCHED}")
    for turn in range(2 * len(order)):
        for into_s in range(TURN_S):
            acting = []
            for bench.view.node_id in (1, 2, 3):
                if bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED]):
                    acting.append(bench.view.node_id)
            assert acting == ([order[turn % len(order)]] if into_s < TURN_S / 2 else [])
            bench.now += 1


async def test_nobody_ejects_before_the_others_can_know(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    for _ in range(PATIENCE_S, GRACE_S):
        for bench.view.node_id in (1, 2, 3):
            assert not bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])
        bench.now += 1


async def test_a_node_without_an_account_ejects_nobody(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    assert bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])
    bench.account = None
    assert not bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])


async def test_an_ejection_that_another_posted_is_not_posted_again(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    assert bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])
    bench.refusals = [refused("AlreadyEjected")]
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.refusals
    assert not bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])


async def test_an_ejection_is_not_tried_again_when_the_committee_has_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(seconds: float) -> None:
        bench.view.state.current = dataclasses.replace(COMMITTEE, epoch=4)

    bench.health = bench.no_answer
    await bench.poll()
    monkeypatch.setattr(asyncio, "sleep", change)
    bench.refusals = [refused("WrongEpoch")]
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.refusals
    assert not bench.ejected


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
