"""How signatures are gathered: of few members, the slow and lying replaced. A test says how time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from committee import messages
from committee.bls import SecretKey
from committee.certificate import MemberSignature, signers, verify
from committee.membership import Committee, Member
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.client.overtaking import OVERTAKEN_AFTER_S
from storage.node.signatures import TooFewSignatures, gather_certificate, round_behind

SECRETS = [SecretKey(0xACED + node_id) for node_id in range(7)]
COMMITTEE = Committee(
    3,
    14,
    tuple(
        Member(node_id, f"node-{node_id}", "", secret.public_key, (2 * node_id, 2 * node_id + 1))
        for node_id, secret in enumerate(SECRETS)
    ),
)
MESSAGE = messages.encode(messages.Intent.EJECT, 3, messages.eject_body(6, 77), bytes(32))
ME = 0


class Members:
    """Members that answer at once, but for those of whom a test says something else."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.asked: list[int] = []
        self.hanging: dict[int, asyncio.Event] = {}
        self.given_up: set[int] = set()
        self.does: dict[int, str] = {}

    def ask(self, member: Member) -> tuple[Coroutine[Any, Any, tuple[bytes, bytes]], None]:
        self.asked.append(member.node_id)
        return self._answer(member), None

    async def _answer(self, member: Member) -> tuple[bytes, bytes]:
        if member.node_id in self.hanging:
            try:
                await self.hanging[member.node_id].wait()
            except asyncio.CancelledError:
                self.given_up.add(member.node_id)
                raise
        match self.does.get(member.node_id):
            case "is down":
                raise NodeUnreachable(member.name, "", "test")
            case "signs another message":
                return MESSAGE[:-1], SECRETS[member.node_id].sign(MESSAGE[:-1])
            case "signs with another key":
                return MESSAGE, SECRETS[ME].sign(MESSAGE)
            case "sends no signature":
                return MESSAGE, b"x"
        return MESSAGE, SECRETS[member.node_id].sign(MESSAGE)

    async def gather(self, committee: Committee = COMMITTEE) -> set[int]:
        """The ids of the members in the certificate that one of them is correct: of 3 of the 7, node 0 among them."""
        own = MemberSignature(ME, SECRETS[ME].sign(MESSAGE))
        certificate = await gather_certificate(
            committee, MESSAGE, own, round_behind(ME, committee), self.ask, "one_correct"
        )
        verify(certificate, committee, bytes(32), "one_correct", messages.Intent.EJECT)
        return {member.node_id for member in signers(certificate.bitmap, committee)}


@pytest.fixture
async def members(monkeypatch: pytest.MonkeyPatch) -> Members:
    members = Members()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: members.now_s)
    return members


async def looked(task: asyncio.Task[Any], until: Any) -> None:
    """Let the gathering go on until something holds."""
    while not until():
        assert not task.done()
        await asyncio.sleep(0)


async def test_no_more_are_asked_than_needed(members: Members) -> None:
    assert await members.gather() == {0, 1, 2}
    assert members.asked == [1, 2]


async def test_nobody_is_asked_when_the_own_signature_is_enough(members: Members) -> None:
    shards = [tuple(range(8)), *((shard,) for shard in range(8, 14))]
    heavy = tuple(replace(one, shards=held) for one, held in zip(COMMITTEE.members, shards, strict=True))
    assert await members.gather(replace(COMMITTEE, members=heavy)) == {0}
    assert members.asked == []


@pytest.mark.parametrize(
    "does", ["is down", "signs another message", "signs with another key", "sends no signature"]
)
async def test_a_member_that_gives_no_good_signature_is_replaced(members: Members, does: str) -> None:
    members.does[1] = does
    assert await members.gather() == {0, 2, 3}
    assert members.asked == [1, 2, 3]


async def test_a_member_that_keeps_others_waiting_is_overtaken_and_given_up(members: Members) -> None:
    members.hanging = {1: asyncio.Event()}
    gathering = asyncio.create_task(members.gather())
    await looked(gathering, lambda: members.asked == [1, 2])
    members.now_s += OVERTAKEN_AFTER_S
    assert await gathering > {0, 2}
    assert members.asked[:3] == [1, 2, 3]
    assert 1 in members.given_up


async def test_one_that_was_overtaken_counts_when_it_signs_after_all(members: Members) -> None:
    members.hanging = {node_id: asyncio.Event() for node_id in range(1, 7)}
    gathering = asyncio.create_task(members.gather())
    await looked(gathering, lambda: members.asked == [1, 2])
    members.now_s += OVERTAKEN_AFTER_S
    await looked(gathering, lambda: members.asked == [1, 2, 3, 4])
    for one in (1, 2):
        members.hanging[one].set()
    assert await gathering == {0, 1, 2}
    assert members.given_up == {3, 4}


async def test_what_all_together_do_not_sign_ends_with_the_reasons(members: Members) -> None:
    members.does = dict.fromkeys(range(2, 7), "is down") | {1: "signs another message"}
    why = r"shards? signed, 5 are needed: no answer from node-2, .*node-6; node-1: signed another message"
    with pytest.raises(TooFewSignatures, match=f"^members with 2 {why}$"):
        await members.gather()


# a hundred members of a shard each: 67 are a quorum, 33 may be at fault


@pytest.fixture(scope="module")
def hundred() -> tuple[list[SecretKey], Committee]:
    secrets = [SecretKey(0xF00D + node_id) for node_id in range(100)]
    members = tuple(
        Member(node_id, f"node-{node_id}", "", secret.public_key, (node_id,))
        for node_id, secret in enumerate(secrets)
    )
    return secrets, Committee(3, 100, members)


@pytest.mark.parametrize(
    ("unwilling", "how"),
    [
        (range(1, 34), "refuse"),  # those that are asked first
        (range(1, 34), "sign another message"),
        (range(1, 34), "hang"),
        (range(67, 100), "refuse"),  # those that are asked last
        (range(1, 100, 3), "refuse"),
        (range(1, 35), "refuse"),  # one too many
    ],
)
async def test_33_of_100_that_do_not_sign_keep_no_member_from_its_certificate(
    monkeypatch: pytest.MonkeyPatch,
    hundred: tuple[list[SecretKey], Committee],
    unwilling: Sequence[int],
    how: str,
) -> None:
    secrets, committee = hundred
    loop = asyncio.get_running_loop()
    real_time, ahead_s = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real_time() + ahead_s)
    message = messages.encode(messages.Intent.PROOF, 3, messages.proof_body(ME, bytes(32)), bytes(32))

    async def answer(member: Member) -> tuple[bytes, bytes]:
        nonlocal ahead_s
        if member.node_id not in unwilling:
            return message, secrets[member.node_id].sign(message)
        match how:
            case "refuse":
                raise NodeRefused(member.name, "", 400, Reason.INVALID_PROOF, "wrong")
            case "hang":
                ahead_s = OVERTAKEN_AFTER_S
                await asyncio.Event().wait()
        return message[:-1], secrets[member.node_id].sign(message[:-1])

    def ask(member: Member) -> tuple[Coroutine[Any, Any, tuple[bytes, bytes]], None]:
        return answer(member), None

    own = MemberSignature(ME, secrets[ME].sign(message))
    others = round_behind(ME, committee)
    gathering = gather_certificate(committee, message, own, others, ask)
    if len(unwilling) > 33:
        with pytest.raises(TooFewSignatures, match="with 66 shards signed, 67 are needed"):
            await gathering
        return
    certificate = await gathering
    assert not {one.node_id for one in signers(certificate.bitmap, committee)} & set(unwilling)
    assert verify(certificate, committee, bytes(32), intent=messages.Intent.PROOF) >= 67


def test_the_round_begins_behind_this_node() -> None:
    assert [one.node_id for one in round_behind(3, COMMITTEE)] == [4, 5, 6, 0, 1, 2]
