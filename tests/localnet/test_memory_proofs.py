"""Rounds of storage proofs, told to the contracts and to the chain in memory.

Salts and draws follow from hashes of blocks, which the two do not have alike: each is told what its own make of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from committee import messages
from committee.ledger import Attestation, NodeLedger
from committee.ledger.proofs import Round
from committee.messages import Intent
from committee.opening import PLACES_ON_CHAIN, Opening
from storage.proofs.commitment import salt_of
from storage.proofs.draw import drawn_position, position_at, position_count
from storage.proofs.opening import blob_id_of
from storage.redstuff.merkle import depth_of, root_of_hashes
from tests.committee.ledger.conftest import Node
from tests.localnet.twins import Telling, Twins
from tests.storage.proofs.members import HonestMember, member

LENGTHS = [0, 77, 3000]
ALL = range(PLACES_ON_CHAIN)
Change = Callable[[Opening], Opening]
Path = tuple[bytes, ...]


@dataclass
class Rounds:
    """The rounds of both chains, over blobs of LENGTHS."""

    twins: Twins

    @property
    def epoch(self) -> int:
        return self.twins.state.epoch

    def honest(self, node: Node, salt_seed: bytes = bytes(32)) -> HonestMember:
        """A member of the current committee that has all that it should."""
        current = self.twins.state.current
        assert current is not None
        shards = current.shards_of(node.node_id)
        salt = salt_of(self.epoch, node.node_id, node.secret.public_key, salt_seed)
        return replace(member(current.n_shards, LENGTHS, shards), salt=salt)

    async def begin(self) -> str | None:
        inventory = self.honest(self.twins.network.nodes[0]).inventory
        sent = inventory.root, inventory.count, inventory.weight
        certificate = self.twins.network.sign(self.twins.state, Intent.INVENTORY, inventory.body())
        return await self.twins.anyone(lambda told: told.begin_round(*sent, certificate))

    async def commit(self, node: Node) -> str | None:
        async def telling(told: NodeLedger) -> Any:
            honest = self.honest(node, (await self.round(told)).salt_seed)
            return await told.commit(
                self.epoch, root_of_hashes([honest.shard_root(one) for one in honest.shards])
            )

        return await self.twins.tell(node.ledger, telling)

    async def attest(self, node: Node) -> str | None:
        """Attest what a node has to, as an honest member does."""
        shards = self.twins.owed(node)

        async def telling(told: NodeLedger) -> Any:
            salt_seed = (await told.epoch_state(await told.newest())).salt_seed
            assert salt_seed is not None
            honest = self.honest(node, salt_seed)
            roots = [Attestation(one, honest.shard_root(one), len(LENGTHS)) for one in shards]
            return await told.attest(self.epoch, roots)

        return await self.twins.tell(node.ledger, telling)

    async def draw(self) -> None:
        """Pass the commitments' deadline, and have the positions drawn."""
        await self.pass_time((await self.round(self.twins.network.operator)).commit_by_s)
        assert await self.twins.anyone(lambda told: told.draw()) is None
        assert await self.twins.anyone(lambda told: told.draw()) == "DrawPending"
        await self.twins.mine(4)
        assert await self.twins.anyone(lambda told: told.draw()) is None

    async def until_judged(self) -> None:
        """Pass the last second of answers."""
        await self.pass_time((await self.round(self.twins.network.operator)).answer_by_s + 1)

    async def pass_time(self, until_s: int) -> None:
        await self.twins.network.chain.increase_time(
            max(0, until_s - await self.twins.network.operator.chain_time_s())
        )

    async def prove(self, node: Node, signers: Iterable[int] = (1, 2, 3), draw: bytes = b"") -> str | None:
        """Post a certificate of these fellows', for the draw unless another is named."""

        async def telling(told: NodeLedger) -> Any:
            body = messages.proof_body(node.node_id, draw or (await self.round(told)).draw or bytes(32))
            certificate = self.twins.network.sign(self.twins.state, Intent.PROOF, body, list(signers))
            return await told.prove(node.node_id, certificate)

        return await self.twins.anyone(telling)

    async def answer(
        self, node: Node, places: Iterable[int] = ALL, change: Change | None = None
    ) -> str | None:
        """Answer places as an honest member does, or with a change to its openings."""

        async def telling(told: NodeLedger) -> Any:
            round_ = await self.round(told)
            honest = self.honest(node, round_.salt_seed)
            assert round_.draw is not None
            length = position_count(honest.code, len(honest.shards), round_.weight)
            drawn = (drawn_position(round_.draw, node.node_id, place, length) for place in places)
            openings = [honest.opening(position_at(honest.code, round_.weight, one)) for one in drawn]
            shown = [change(one) for one in openings] if change else openings
            return await told.answer(node.node_id, dict(zip(places, shown, strict=True)))

        return await self.twins.anyone(telling)

    def opening(self, node: Node, place: int) -> Opening:
        """What answers a demand."""
        honest = self.honest(node)
        position = position_at(honest.code, honest.inventory.weight, place)
        return replace(honest.opening(position), commitment_path=())

    async def show(
        self, node: Node, account: str, place: int, change: Callable[[Path], Path] = lambda path: path
    ) -> str | None:
        """Answer a demand with the path to the root of the shard, or with a change to that path."""

        async def telling(told: NodeLedger) -> Any:
            honest = self.honest(node, (await self.round(told)).salt_seed)
            opening = honest.opening(position_at(honest.code, honest.inventory.weight, place))
            height = len(opening.commitment_path) - depth_of(len(honest.shards))
            path = change(opening.commitment_path[:height])
            return await told.answer_demand(node.node_id, account, replace(opening, commitment_path=path))

        return await self.twins.anyone(telling)

    def position_count(self, node: Node) -> int:
        honest = self.honest(node)
        return position_count(honest.code, len(honest.shards), honest.inventory.weight)

    async def judge(self, node: Node) -> str | None:
        return await self.twins.anyone(lambda told: told.judge(node.node_id))

    async def round(self, told: NodeLedger) -> Round:
        found = await told.proof_round(self.epoch)
        assert found is not None
        return found

    def part(self, node: Node) -> Any:
        return self.twins.chain.contracts.part(self.epoch, node.node_id)


@pytest.fixture
async def rounds(twins: Twins) -> Rounds:
    """The first epoch, of members with 4, 3, 2 and 1 of ten shards, before its round."""
    await twins.next_epoch()
    return Rounds(twins)


def nothing(opening: Opening) -> Opening:
    """That the inventory lists the blob, and nothing of it: what is shown of an invalid one."""
    named = replace(opening, blob_root=blob_id_of(opening), symbol=b"", other_root=bytes(32))
    return replace(named, sliver_path=(), blob_path=(), commitment_path=())


def demanding(node_id: int, place: int) -> Telling:
    return lambda told: told.demand(node_id, place)


def answering(node_id: int, account: str, opening: Opening) -> Telling:
    return lambda told: told.answer_demand(node_id, account, opening)


def judging(node_id: int, account: str) -> Telling:
    return lambda told: told.judge_demand(node_id, account)


async def test_a_round_goes_by_its_clock(rounds: Rounds) -> None:
    twins, (one, other, *_) = rounds.twins, rounds.twins.network.nodes
    inventory = rounds.honest(one).inventory
    sent = inventory.root, inventory.count, inventory.weight
    sign = partial(twins.network.sign, twins.state, Intent.INVENTORY)
    few, good = sign(inventory.body(), [1, 3]), sign(inventory.body())
    assert await twins.anyone(lambda told: told.draw()) == "RoundNotBegun"
    assert await twins.tell(one.ledger, lambda told: told.commit(1, bytes(32))) == "RoundNotBegun"
    assert await twins.anyone(lambda told: told.demand(1, 0)) == "RoundNotBegun"
    assert await twins.anyone(lambda told: told.begin_round(sent[0], 0, sent[2], good)) == "EmptyInventory"
    assert await twins.anyone(lambda told: told.begin_round(sent[0], 9, sent[2], good)) == "BadSignature"
    assert await twins.anyone(lambda told: told.begin_round(*sent, few)) == "NotEnoughWeight"
    assert await twins.anyone(lambda told: told.begin_round(*sent, good)) is None
    assert await twins.anyone(lambda told: told.begin_round(*sent, good)) == "AlreadyBegun"
    assert await twins.anyone(lambda told: told.commit(1, bytes(32))) == "NotAnOperator"
    assert await twins.anyone(lambda told: told.draw()) == "TooEarly"
    assert await rounds.judge(one) == "DrawNotMade"
    assert await rounds.prove(one) == "DrawNotMade"
    assert await rounds.commit(one) is None
    assert await rounds.commit(one) is None
    assert await rounds.commit(other) is None
    await rounds.draw()
    assert await rounds.commit(one) == "TooLate"
    assert await twins.anyone(lambda told: told.draw()) == "AlreadyDrawn"
    assert await rounds.judge(one) == "TooEarly"
    assert await rounds.prove(one, [1, 3]) == "NotEnoughWeight"
    assert await rounds.prove(one, draw=b"\x01" * 32) == "BadSignature"
    assert await rounds.prove(one) is None
    assert await rounds.prove(one) == "AlreadyProven"
    assert await rounds.answer(one) == "AlreadyProven"
    await rounds.until_judged()
    assert await rounds.prove(other) == "TooLate"
    assert await rounds.answer(other) == "TooLate"
    assert await rounds.judge(one) == "AlreadyProven"
    assert await rounds.judge(other) is None
    assert await rounds.judge(other) == "AlreadyJudged"
    assert await twins.anyone(lambda told: told.judge(99)) == "NotAMember"


async def test_openings_are_judged_by_the_same_rules(rounds: Rounds) -> None:
    one, other, idle, _ = rounds.twins.network.nodes
    assert await rounds.begin() is None
    for node in (one, other):
        assert await rounds.commit(node) is None
    await rounds.draw()
    assert await rounds.answer(other, [16]) == "NoSuchPlace"
    changes: dict[str, Change] = {
        "WrongPath": lambda opening: replace(opening, blob_path=opening.blob_path[1:]),
        "NotInInventory": lambda opening: replace(opening, blob_root=bytes(32)),
        "WrongSymbolSize": nothing,
        "NotOfTheBlob": lambda opening: replace(opening, other_root=bytes(32)),
        "NotCommitted": lambda opening: replace(
            opening, commitment_path=tuple(reversed(opening.commitment_path))
        ),
    }
    for reason, change in changes.items():
        assert await rounds.answer(other, [3], change) == reason
    assert await rounds.answer(idle, [3]) == "NotCommitted"
    assert await rounds.answer(other, [3, 15]) is None
    assert await rounds.answer(other, [3], changes["WrongPath"]) is None, "what is answered is passed over"
    assert rounds.part(other).answered == {3, 15}
    assert await rounds.answer(other) is None
    assert rounds.part(other).is_proven
    assert await rounds.answer(other) == "AlreadyProven"


async def test_a_second_miss_in_a_row_is_punished(rounds: Rounds) -> None:
    twins, (one, other, third, fourth) = rounds.twins, rounds.twins.network.nodes
    for idle in ([one, other, third, fourth], [one, third, fourth]):
        assert await rounds.begin() is None
        active = [node for node in twins.network.nodes if node not in idle]
        for node in active:
            assert await rounds.commit(node) is None
        await rounds.draw()
        for node in active:
            assert await rounds.answer(node) is None
        await rounds.until_judged()
        assert not any(rounds.part(node).is_punished for node in twins.network.nodes)
        for node in idle:
            assert await rounds.judge(node) is None
        if active:
            break
        await twins.next_epoch()
    assert not rounds.part(other).is_punished
    assert not rounds.part(one).is_punished, "four shards of ten are more than may be faulty"
    assert set(twins.chain.contracts.ejected_at_s) == {third.node_id, fourth.node_id}
    assert twins.chain.nodes[third.node_id].stake < 2 * twins.network.UNIT
    assert twins.state.replaceable_at_s is not None


async def test_what_a_member_need_not_have_is_excused(rounds: Rounds) -> None:
    """A newcomer that attests nothing in time need show nothing; and misses before that are not forgiven for it."""
    twins = rounds.twins
    newcomer, liar, late = [await twins.join(stake) for stake in (5, 4, 3)]
    await twins.next_epoch()
    for answers in (False, True):
        assert await rounds.begin() is None
        await rounds.draw()
        if answers:
            await demand_what_is_attested_late(rounds, late, newcomer)
            assert await rounds.answer(newcomer, change=nothing) is None
            assert rounds.part(newcomer).is_proven
        await rounds.until_judged()
        assert await rounds.judge(newcomer) == ("AlreadyProven" if answers else None)
        if not twins.state.handover_done:
            await rounds.pass_time(twins.state.started_at_s + twins.chain.parameters.handover_deadline_s)
            assert await twins.anyone(lambda told: told.close_handover()) is None
        await twins.next_epoch()
    assert twins.chain.contracts.misses == {newcomer.node_id: 1}
    # What they attest they must show, and with the root that they attested.
    assert await twins.attest(liar, *twins.owed(liar)) is None
    assert await rounds.attest(newcomer) is None
    assert await rounds.begin() is None
    for node in (newcomer, liar):
        assert await rounds.commit(node) is None
    await rounds.draw()
    assert await rounds.answer(newcomer, change=nothing) == "WrongSymbolSize"
    assert await rounds.answer(newcomer) is None
    assert await rounds.answer(liar) == "NotAttested"
    assert not twins.chain.contracts.misses


async def demand_what_is_attested_late(rounds: Rounds, late: Node, never: Node) -> None:
    """A shard that is attested behind the commitments' deadline is shown to who demands it, as it was attested."""
    twins, asker = rounds.twins, await rounds.twins.writer()
    account, shown = str(asker.account), nothing(rounds.opening(late, 0))
    assert await rounds.attest(late) is None
    assert await rounds.answer(late, change=nothing) is None
    assert rounds.part(late).is_proven
    for node, refusal in ((late, "WrongSymbolSize"), (never, None)):
        node_id = node.node_id
        assert await twins.tell(asker, demanding(node_id, 0)) is None
        assert await twins.anyone(answering(node_id, account, shown)) == refusal
    assert await twins.anyone(answering(late.node_id, account, rounds.opening(late, 0))) == "WrongPath"
    assert await rounds.show(late, account, 0, lambda path: (*path, bytes(32))) == "WrongPath"
    assert await rounds.show(late, account, 0, lambda path: tuple(reversed(path))) == "NotAttested"
    assert await rounds.show(late, account, 0) is None


async def test_a_blob_that_is_invalid_is_excused(rounds: Rounds) -> None:
    twins, node = rounds.twins, rounds.twins.network.nodes[0]
    assert await rounds.begin() is None
    assert await rounds.commit(node) is None
    await rounds.draw()
    assert await rounds.answer(node, change=nothing) == "WrongSymbolSize"
    for blob in rounds.honest(node).blobs:
        assert await twins.invalidate(blob.metadata.root, [1], blob.length) is None
    assert await rounds.answer(node, [0], lambda one: replace(nothing(one), index=one.index ^ 1)) in (
        "NotInInventory",
        "WrongPath",
    )
    assert await rounds.answer(node, change=nothing) is None
    assert rounds.part(node).is_proven


async def test_demands_are_answered_judged_or_void(rounds: Rounds) -> None:
    twins, (one, other, *_) = rounds.twins, rounds.twins.network.nodes
    askers = [await twins.writer() for _ in range(2)]
    accounts = [str(one.account) for one in askers]
    assert await rounds.begin() is None

    assert await twins.tell(askers[0], demanding(one.node_id, rounds.position_count(one))) == "NoSuchPosition"
    assert await twins.tell(askers[0], lambda told: told.demand(99, 0)) == "NotAMember"
    place = rounds.position_count(one) - 1
    for asker in askers:
        assert await twins.tell(asker, demanding(one.node_id, place)) is None
    assert await twins.tell(askers[0], demanding(one.node_id, 0)) == "AlreadyDemanded"
    assert await twins.tell(askers[0], demanding(other.node_id, 0)) is None
    assert await twins.anyone(judging(other.node_id, accounts[0])) == "TooEarly"
    assert await twins.anyone(judging(other.node_id, accounts[1])) == "NotDemanded"
    assert await twins.anyone(answering(one.node_id, accounts[0], rounds.opening(one, 0))) in (
        "NotDrawn",
        "NotOfTheBlob",
    )
    assert await twins.anyone(answering(one.node_id, accounts[0], rounds.opening(one, place))) is None
    assert (
        await twins.anyone(answering(one.node_id, accounts[0], rounds.opening(one, place))) == "NotDemanded"
    )
    (left,) = await twins.chain.ledger(None).demands(one.node_id)
    assert await twins.anyone(lambda told: told.reclaim(1, one.node_id, accounts[1])) == "EpochNotOver"
    (later,) = await twins.chain.ledger(None).demands(other.node_id)
    await rounds.pass_time(max(left.answer_by_s, later.answer_by_s) + 1)
    assert await twins.anyone(answering(one.node_id, accounts[1], rounds.opening(one, place))) == "TooLate"
    assert await twins.anyone(judging(other.node_id, accounts[0])) is None
    assert rounds.part(other).is_punished
    assert other.node_id in twins.chain.contracts.ejected_at_s
    epoch = rounds.epoch
    await twins.next_epoch()
    assert await twins.anyone(judging(one.node_id, accounts[1])) == "RoundNotBegun"
    assert await twins.anyone(lambda told: told.reclaim(epoch, one.node_id, accounts[1])) is None
    assert await twins.anyone(lambda told: told.reclaim(epoch, one.node_id, accounts[1])) == "NotDemanded"


async def test_fellows_have_a_place_for_a_demand_that_nobody_else_can_take(rounds: Rounds) -> None:
    twins, (one, other, *_) = rounds.twins, rounds.twins.network.nodes
    assert await rounds.begin() is None
    for _ in range(16):
        assert await twins.tell(await twins.writer(), lambda told: told.demand(one.node_id, 0)) is None
    assert await twins.tell(await twins.writer(), lambda told: told.demand(1, 0)) == "TooManyDemands"
    await twins.network.operator.mint(str(other.ledger.account), 10**27)
    assert await twins.tell(other.ledger, lambda told: told.demand(one.node_id, 1)) is None
    assert rounds.part(one).open_demands == 16
    opening = rounds.opening(one, 1)
    account = str(other.ledger.account)
    assert await twins.anyone(lambda told: told.answer_demand(one.node_id, account, opening)) is None
    assert await twins.tell(other.ledger, lambda told: told.demand(one.node_id, 2)) is None
