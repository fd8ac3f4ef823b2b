"""Signs of life: a member that answers anybody correct is shown to be alive, a dead one by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee import messages
from committee.bls import SecretKey
from committee.membership import Committee, Member
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.node import sign_of_life
from storage.node.chain import ChainView
from storage.node.face import Refusal
from storage.node.peers import Peers
from storage.node.sign_of_life import FELLOW_LIMIT_S, NONE_FOUND_S, SignsOfLife

DOMAIN = bytes(range(32))
PATIENCE_S = 10
SECRETS = {node_id: SecretKey(0xCAFE + node_id) for node_id in (1, 2, 3, 4)}
MEMBERS = {
    node_id: Member(node_id, f"node-{node_id}", "", SECRETS[node_id].public_key, shards)
    for node_id, shards in {1: (0, 1, 2), 2: (3, 4, 5), 3: (6, 7), 4: (8, 9)}.items()
}
COMMITTEE = Committee(3, 10, tuple(MEMBERS.values()))
NONCE = bytes(32)
Signed = tuple[bytes, bytes]


class Lines:
    """Four members' signs of life, the lines between them, and the clock. Node 4 is the one that is looked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(sign_of_life, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.answers_to: set[int] = set()
        """Whom node 4 answers."""
        self.asked = 0
        self.lies: dict[int, Callable[[bytes], Signed]] = {}
        """Fellow → what it hands on in place of node 4's sign, by the nonce."""
        self.signs = {node_id: self._signs(node_id) for node_id in MEMBERS}

    def _signs(self, node_id: int) -> SignsOfLife:
        view = SimpleNamespace(
            node_id=node_id,
            parameters=SimpleNamespace(patience_s=PATIENCE_S, domain=DOMAIN),
            state=SimpleNamespace(current=COMMITTEE, epoch=3),
        )
        peers = SimpleNamespace(watch_client=lambda member: self._client(node_id, member))
        return SignsOfLife(cast(ChainView, view), cast(Peers, peers), SECRETS[node_id])

    def _client(self, asking: int, asked: Member) -> Any:
        def require_line() -> None:
            if asked.node_id == 4 and asking not in self.answers_to:
                raise NodeUnreachable(asked.name, "", "test")

        async def sign(nonce: bytes, timeout_s: float) -> Signed:
            assert timeout_s <= PATIENCE_S
            require_line()
            return self.signs[asked.node_id].give(nonce)

        async def members_sign(node_id: int, nonce: bytes, timeout_s: float) -> Signed:
            self.asked += 1
            if asked.node_id in self.lies:
                return self.lies[asked.node_id](nonce)
            try:
                return await self.signs[asked.node_id].fetch(node_id, nonce)
            except Refusal as refusal:
                raise NodeRefused(asked.name, "", refusal.status, refusal.reason, str(refusal)) from refusal

        return SimpleNamespace(sign_of_life=sign, members_sign_of_life=members_sign)

    async def witness(self) -> str | None:
        return await self.signs[1].witness(MEMBERS[4])


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    return Lines(monkeypatch)


@pytest.mark.parametrize("fellow", [2, 3])
async def test_a_member_that_answers_one_fellow_is_shown_to_be_alive(lines: Lines, fellow: int) -> None:
    lines.answers_to = {fellow}
    assert await lines.witness() == f"node-{fellow}"


async def test_a_dead_member_is_shown_by_nobody(lines: Lines) -> None:
    assert await lines.witness() is None
    assert lines.asked == 2, "neither the member itself is asked, nor this node"


@pytest.mark.parametrize("answers", [False, True])
async def test_a_member_signs_for_this_node_itself_or_gives_no_sign(lines: Lines, answers: bool) -> None:
    lines.answers_to = {1} if answers else set()
    assert await lines.signs[1].is_given(MEMBERS[4]) is answers


async def test_a_sign_by_another_key_is_none(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    lines.answers_to = {1}
    monkeypatch.setattr(lines.signs[4], "_secret", SECRETS[2])
    assert not await lines.signs[1].is_given(MEMBERS[4])


async def test_one_that_answers_this_node_alone_needs_no_witness_of_it(lines: Lines) -> None:
    lines.answers_to = {1}
    assert await lines.witness() is None


def signed(secret: SecretKey, body: bytes, *, domain: bytes | None = DOMAIN, **changes: Any) -> Signed:
    intent = changes.get("intent", messages.Intent.SIGN_OF_LIFE)
    message = messages.encode(intent, 3, body, domain)
    return message, secret.sign(message)


def life(nonce: bytes, node_id: int = 4) -> bytes:
    return messages.sign_of_life_body(node_id, nonce)


def with_a_bit_flipped(message: bytes, signature: bytes) -> Signed:
    return message, signature[:-1] + bytes((signature[-1] ^ 1,))


LIES: dict[str, Callable[[bytes], Signed]] = {
    "by the fellow's own key": lambda nonce: signed(SECRETS[2], life(nonce)),
    "an old nonce": lambda nonce: signed(SECRETS[4], life(NONCE)),
    "of another member": lambda nonce: signed(SECRETS[3], life(nonce, 3)),
    "for another deployment": lambda nonce: signed(SECRETS[4], life(nonce), domain=bytes(32)),
    "for no deployment": lambda nonce: signed(SECRETS[4], life(nonce), domain=None),
    "another message": lambda nonce: signed(
        SECRETS[4], messages.blob_body(nonce), intent=messages.Intent.BLOB
    ),
    "no message": lambda nonce: (b"", bytes(96)),
    "no signature": lambda nonce: (signed(SECRETS[4], life(nonce))[0], b""),
    "a flipped bit": lambda nonce: with_a_bit_flipped(*signed(SECRETS[4], life(nonce))),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_lying_fellow_keeps_no_dead_member_alive(
    lines: Lines, lie: Callable[[bytes], Signed]
) -> None:
    lines.lies[2] = lie
    assert await lines.witness() is None


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_lying_fellow_hides_no_living_member(lines: Lines, lie: Callable[[bytes], Signed]) -> None:
    lines.lies[2] = lie
    lines.answers_to = {3}
    assert await lines.witness() == "node-3"


async def test_what_was_found_counts_as_an_answer_for_the_patience(lines: Lines) -> None:
    lines.answers_to = {2}
    assert await lines.witness() == "node-2"
    lines.answers_to, asked = set(), lines.asked
    lines.now += PATIENCE_S - 1
    assert await lines.witness() == "node-2"
    assert lines.asked == asked
    lines.now += 1
    assert await lines.witness() is None


async def test_all_who_ask_about_the_same_member_share_one_search(lines: Lines) -> None:
    assert await asyncio.gather(*(lines.witness() for _ in range(5))) == [None] * 5
    assert lines.asked == 2
    lines.now += NONE_FOUND_S
    lines.answers_to = {3}
    assert await lines.witness() == "node-3"


async def test_a_search_that_a_hanging_fellow_drags_out_is_shared_too(lines: Lines) -> None:
    """Who asked first has given up; the requests of all who did wait here for each other."""

    def hang(nonce: bytes) -> Signed:
        lines.now += FELLOW_LIMIT_S
        raise NodeUnreachable("node-2", "", "test")

    lines.lies[2] = hang
    assert await asyncio.gather(*(lines.witness() for _ in range(5))) == [None] * 5
    assert lines.asked == 2


async def test_what_is_forgotten_is_looked_for_anew(lines: Lines) -> None:
    lines.answers_to = {2}
    await lines.witness()
    lines.signs[1].forget(frozenset({4}))
    lines.answers_to = set()
    assert await lines.witness() == "node-2"
    lines.signs[1].forget(frozenset())
    assert await lines.witness() is None


@pytest.mark.parametrize("node_id", [1, 5])
async def test_signs_are_fetched_of_fellow_members_alone(lines: Lines, node_id: int) -> None:
    with pytest.raises(Refusal) as refused:
        await lines.signs[1].fetch(node_id, NONCE)
    assert (refused.value.status, refused.value.reason) == (404, Reason.INVALID_REQUEST)


async def test_a_member_without_a_sign_is_named_and_nothing_else_is_told(lines: Lines) -> None:
    """What is at a member's address, and what it answered, is nobody's business."""
    with pytest.raises(Refusal) as refused:
        await lines.signs[1].fetch(4, NONCE)
    assert refused.value.status == 503
    assert str(refused.value) == "node-4 gave no sign of life"


RELAYED = {
    "nothing": (b"", b""),
    "a page": (b"<html>the intranet</html>", bytes(96)),
    "a long page": (bytes(100_000), bytes(96)),
    "another nonce": signed(SECRETS[4], life(bytes(31) + b"1")),
    "of another member": signed(SECRETS[3], life(NONCE, 3)),
    "another message": signed(SECRETS[4], messages.blob_body(NONCE), intent=messages.Intent.BLOB),
    "for no deployment": signed(SECRETS[4], life(NONCE), domain=None),
    "a long signature": (signed(SECRETS[4], life(NONCE))[0], bytes(97)),
    "no signature": (signed(SECRETS[4], life(NONCE))[0], b"the intranet"),
}


@pytest.mark.parametrize("answer", RELAYED.values(), ids=RELAYED)
async def test_nothing_but_the_sign_asked_for_is_handed_on(lines: Lines, answer: Signed) -> None:
    lines.answers_to = {1}
    lines.signs[4] = cast(SignsOfLife, SimpleNamespace(give=lambda nonce: answer))
    with pytest.raises(Refusal) as refused:
        await lines.signs[1].fetch(4, NONCE)
    assert str(refused.value) == "node-4 gave no sign of life"
