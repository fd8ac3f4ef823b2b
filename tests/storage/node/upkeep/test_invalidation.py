"""Signatures against an inconsistent blob: who signs, who refuses, who cheats, who was first."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from committee import certificate
from committee.bls import SecretKey
from committee.certificate import Certificate
from committee.errors import LedgerRefused, LedgerUnavailable
from committee.messages import Intent, encode
from committee.rota import Turn
from storage.client import link, overtaking
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.link import Transfer
from storage.node.duties import Rota
from storage.node.peers import Peers
from storage.node.repair import InconsistentBlob
from storage.node.upkeep import invalidation as invalidation_module
from storage.node.upkeep.invalidation import Invalidation
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, InconsistencyProof, RedStuff

if TYPE_CHECKING:
    from tests.storage.conftest import OneNode

CODE = RedStuff(10)
DOMAIN = bytes(range(32))
SECRETS = {node_id: SecretKey(0xF00D + node_id) for node_id in (1, 2, 3)}
# In epoch 5, node 1 has 4 of the 10 shards, just f + 1; nodes 2 and 3 have 3 each.


def inconsistent(blob: EncodedBlob) -> InconsistentBlob:
    roots = list(blob.metadata.secondary_roots)
    roots[3] = bytes(31) + b"\x01"
    metadata = BlobMetadata(blob.length, blob.metadata.primary_roots, tuple(roots))
    proven = {
        helper: CODE.prove_symbol(Axis.PRIMARY, blob.sliver(Axis.PRIMARY, helper), 3, 40)
        for helper in range(CODE.p)
    }
    return InconsistentBlob(metadata, CODE.inconsistency_proof(metadata, Axis.SECONDARY, 3, proven))


class Turns:
    """A rota by which it is always another turn of this node's, unless it is told otherwise."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        """Tasks, and for how long they had been due."""
        self.mine = True
        self.number: int | None = None

    def turn(self, task: str, waited_s: float, longest_round_s: int) -> Turn:
        assert longest_round_s == invalidation_module.LONGEST_ROUND_S
        self.asked.append((task, waited_s))
        return Turn(len(self.asked) if self.number is None else self.number, 1, is_open=True)

    def is_mine(self, turn: Turn) -> bool:
        return self.mine


class Members:
    """Nodes 2 and 3 as peers, and the chain as it is posted to."""

    def __init__(self, node: OneNode) -> None:
        self.node = node
        self.shown: list[int] = []
        self.answer: dict[int, Callable[[bytes], tuple[bytes, bytes]]] = {}
        self.hanging: set[int] = set()
        self.posted: list[tuple[bytes, Certificate]] = []
        self.refusals: list[Exception] = []
        node.ledger.invalidate_blob = self.invalidate_blob  # type: ignore[method-assign, assignment]
        peers = SimpleNamespace(
            client=lambda member: SimpleNamespace(inconsistency_proof=self.signer(member))
        )
        self.rota = Turns()
        self.invalidation = Invalidation(node.view, cast(Rota, self.rota), cast(Peers, peers), node.secret)

    def signer(self, member: Any) -> Any:
        async def sign(blob_id: bytes, proof: InconsistencyProof, transfer: Transfer) -> tuple[bytes, bytes]:
            self.shown.append(member.node_id)
            transfer.began_s = asyncio.get_running_loop().time()
            message = encode(Intent.INVALID_BLOB, self.node.view.state.epoch, blob_id, DOMAIN)
            if member.node_id in self.hanging:
                await asyncio.Event().wait()
            if member.node_id in self.answer:
                return self.answer[member.node_id](message)
            return message, SECRETS[member.node_id].sign(message)

        return sign

    async def invalidate_blob(self, blob_id: bytes, proof: Certificate) -> None:
        current = self.node.view.state.current
        assert current is not None
        certificate.verify(proof, current, DOMAIN, "one_correct", Intent.INVALID_BLOB)
        if self.refusals:
            raise self.refusals.pop(0)
        self.posted.append((blob_id, proof))

    def own_shards(self, *shards: int) -> None:
        """Leave node 1 only these; node 2 has the others of its own."""
        state = self.node.view.state
        assert state.current is not None
        held = {1: shards, 2: (*(one for one in (0, 1, 2, 3) if one not in shards), 4, 5, 6), 3: (7, 8, 9)}
        members = tuple(
            dataclasses.replace(one, shards=held[one.node_id])
            for one in state.current.members
            if held[one.node_id]
        )
        current = dataclasses.replace(state.current, members=members)
        self.node.view.state = dataclasses.replace(state, current=current)

    async def end(self) -> None:
        """Run until nothing is left to be invalidated."""
        await self.until(lambda: not self.invalidation._met)

    async def until(self, condition: Callable[[], object]) -> None:
        """Run until the condition holds."""
        running = asyncio.create_task(self.invalidation.run())
        async with asyncio.timeout(10):
            while not condition():
                assert not running.done(), running
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def members(node: OneNode, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Members]:
    monkeypatch.setattr(invalidation_module, "REST_S", 0.001)
    yield Members(node)


@pytest.fixture
async def met(members: Members, blob: EncodedBlob) -> InconsistentBlob:
    """A registered blob that repair has met."""
    one = inconsistent(blob)
    members.node.register(one.metadata)
    await members.node.view.refresh()
    members.invalidation.take(one)
    return one


async def test_a_node_with_f_plus_1_shards_needs_nobody(members: Members, met: InconsistentBlob) -> None:
    await members.end()
    ((blob_id, proof),) = members.posted
    assert blob_id == met.metadata.blob_id
    assert proof.message == encode(Intent.INVALID_BLOB, 5, blob_id, DOMAIN)
    assert members.shown == []


async def test_no_more_members_are_shown_the_proof_than_needed(
    members: Members, met: InconsistentBlob
) -> None:
    members.own_shards(0)
    await members.end()
    assert len(members.posted) == 1
    assert members.shown == [2]


@pytest.mark.usefixtures("met")
@pytest.mark.parametrize("cheat", ["silent", "refuses", "another message", "bad signature", "another's"])
async def test_a_member_that_does_not_sign_is_replaced(members: Members, cheat: str) -> None:
    def answer(message: bytes) -> tuple[bytes, bytes]:
        if cheat == "silent":
            raise NodeUnreachable("node-2", "http://node-2:1", "test")
        if cheat == "refuses":
            raise NodeRefused("node-2", "http://node-2:1", 400, None, "test")
        if cheat == "another message":
            other = message[:-1] + bytes([message[-1] ^ 1])
            return other, SECRETS[2].sign(other)
        if cheat == "bad signature":
            return message, bytes(96)
        return message, SECRETS[3].sign(message)

    members.answer[2] = answer
    members.own_shards(0)
    await members.end()
    assert members.shown == [2, 3]
    assert len(members.posted) == 1


@pytest.mark.usefixtures("met")
async def test_a_member_that_keeps_the_node_waiting_is_replaced(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may drip its signature for as long as it is waited for."""
    monkeypatch.setattr(link, "GRACE_S", 0.01)
    monkeypatch.setattr(overtaking, "OVERTAKEN_AFTER_S", 0.01)
    members.hanging = {2}
    members.own_shards(0)
    await members.end()
    assert members.shown == [2, 3]
    assert len(members.posted) == 1


@pytest.mark.usefixtures("met")
async def test_too_few_signatures_are_asked_for_again(members: Members) -> None:
    def refuse_once(node_id: int) -> Callable[[bytes], tuple[bytes, bytes]]:
        def answer(message: bytes) -> tuple[bytes, bytes]:
            del members.answer[node_id]
            raise NodeUnreachable(f"node-{node_id}", "http://node:1", "test")

        return answer

    members.answer = {2: refuse_once(2), 3: refuse_once(3)}
    members.own_shards(0)
    await members.end()
    assert members.shown == [2, 3, 2]
    assert len(members.posted) == 1


@pytest.mark.usefixtures("met")
async def test_another_member_may_be_first(members: Members) -> None:
    members.refusals = [LedgerRefused("Blobs.invalidate", "InvalidBlob")]
    await members.end()
    assert (members.posted, members.refusals) == ([], [])


@pytest.mark.usefixtures("met")
@pytest.mark.parametrize("refusal", [LedgerRefused("test", "BadEpoch"), LedgerUnavailable("test")])
async def test_what_is_not_posted_is_posted_again(members: Members, refusal: Exception) -> None:
    members.refusals = [refusal, refusal]
    await members.end()
    assert len(members.posted) == 1


async def test_signatures_are_gathered_once_in_each_turn_of_the_node(
    members: Members, met: InconsistentBlob
) -> None:
    members.refusals = [LedgerUnavailable("test") for _ in range(3)]
    (one,) = members.invalidation._met.values()
    for members.rota.mine, members.rota.number, left in (
        (False, 7, 3),
        (True, 8, 2),
        (True, 8, 2),
        (False, 9, 2),
        (True, 12, 1),
    ):
        async with asyncio.TaskGroup() as work:
            members.invalidation._look(work, one)
        assert members.invalidation._met
        assert len(members.refusals) == left
    assert {task for task, _ in members.rota.asked} == {f"invalidate {met.metadata.blob_id.hex()}"}
    waits_s = [waited_s for _, waited_s in members.rota.asked]
    assert waits_s == sorted(waits_s)


async def test_a_blob_invalid_already_is_nobodys_business(members: Members, met: InconsistentBlob) -> None:
    members.node.invalidate(met.metadata)
    await members.node.view.refresh()
    await members.end()
    assert members.posted == []


async def test_a_blob_that_is_gone_is_nobodys_business(members: Members, blob: EncodedBlob) -> None:
    members.invalidation.take(inconsistent(blob))
    await members.end()
    assert members.posted == []


def many(count: int) -> list[InconsistentBlob]:
    return [inconsistent(CODE.encode(number.to_bytes(2, "big") * 550)) for number in range(count)]


async def test_blobs_whose_turns_are_far_off_keep_no_other_from_being_invalidated(members: Members) -> None:
    """A writer may register bad blobs by the thousand: if a few had to be through before the next one's turns began,
    the shards that lack their slivers would not be attested for days."""
    *others, last = many(30)
    for number, one in enumerate((*others, last), 1):
        members.node.register(one.metadata, object_id=number)
        members.invalidation.take(one)
    await members.node.view.refresh()
    task = f"invalidate {last.metadata.blob_id.hex()}"
    members.rota.is_mine = lambda turn: members.rota.asked[-1][0] == task  # type: ignore[method-assign]
    members.rota.number = 1
    await members.until(lambda: members.posted)
    assert [blob_id for blob_id, _ in members.posted] == [last.metadata.blob_id]
    assert len(members.invalidation._met) == len(others)


async def test_a_blob_whose_posting_takes_long_holds_up_no_other(members: Members) -> None:
    first, second = many(2)
    post = members.node.ledger.invalidate_blob

    async def post_second_first(blob_id: bytes, proof: Certificate) -> None:
        if blob_id == first.metadata.blob_id:
            members.invalidation.take(second)
            await is_second_posted.wait()
        await post(blob_id, proof)
        is_second_posted.set()

    is_second_posted = asyncio.Event()
    members.node.ledger.invalidate_blob = post_second_first  # type: ignore[method-assign, assignment]
    for number, one in enumerate((first, second), 1):
        members.node.register(one.metadata, object_id=number)
    await members.node.view.refresh()
    members.invalidation.take(first)
    await members.end()
    assert [blob_id for blob_id, _ in members.posted] == [second.metadata.blob_id, first.metadata.blob_id]


async def test_a_blob_that_was_seen_to_during_a_round_of_looks_is_not_looked_at_again(
    members: Members, met: InconsistentBlob
) -> None:
    (one,) = members.invalidation._met.values()
    await members.end()
    async with asyncio.TaskGroup() as work:
        members.invalidation._look(work, one)
    assert len(members.posted) == 1


async def test_no_more_blobs_than_the_limit_are_waited_for(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invalidation_module, "MOST_MET", 4)
    first, *others = many(6)
    for one in (first, first, *others):
        members.invalidation.take(one)
    assert list(members.invalidation._met) == [one.metadata.blob_id for one in (first, *others[:3])]


async def test_no_more_bytes_of_proofs_than_the_limit_are_kept(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is larger alone is taken alone; what is forgotten makes room."""
    first, second, third = many(3)
    for limit_bytes, taken in ((1, 1), (2 * len(first.proof.to_bcs()), 2)):
        monkeypatch.setattr(invalidation_module, "PROOFS_BYTES", limit_bytes)
        for one in (first, second, third):
            members.invalidation.take(one)
        assert len(members.invalidation._met) == taken
        await members.end()
