"""Rounds of storage proofs in the Move package: members that show what they store, or whom their fellows certify."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from committee import bls, messages
from committee.messages import Intent
from committee.opening import NOTHING_OPENED, Opening
from storage.proofs import Inventory, Position, draw, salt_of
from storage.proofs.opening import blob_id_of
from storage.redstuff import EncodedBlob, RedStuff
from storage.redstuff.merkle import root_of_hashes
from tests.contracts.sui.committees import secret
from tests.contracts.sui.deployments import DOMAIN, WINDOWS, Deployment
from tests.contracts.sui.double import Refused
from tests.contracts.sui.fields import Fields
from tests.contracts.sui.openings import in_move
from tests.localnet.sui_double.packages import needs_framework
from tests.storage.proofs.members import HonestMember
from tests.storage.proofs.mutations import MUTATIONS

pytestmark = needs_framework

STAKES = (4, 3, 2, 1)
UNIT = 10**9
CODE = RedStuff(10)
COMMIT_S, PROVE_S, ANSWER_S = WINDOWS
QUORUM = (0, 1)
"""Places of members with 7 of 10 shards."""
PLACES = range(16)


@cache
def blobs() -> tuple[EncodedBlob, ...]:
    return tuple(
        sorted((CODE.encode(bytes([7]) * n) for n in (0, 40, 77, 200, 333)), key=lambda one: one.blob_id)
    )


class Round(Deployment):
    """A deployment in its first epoch, whose four members store five blobs."""

    def __init__(self) -> None:
        super().__init__()
        self.caps = [self.add_node(place)[1] for place in range(len(STAKES))]
        for place, stake in enumerate(STAKES):
            self.stake(place + 1, stake * UNIT)
        self.begin_period()

    @property
    def epoch(self) -> int:
        return int(self.call("system", "epoch", self.system))

    def told(self, name: str) -> Any:
        """Return the newest event of a name."""
        *_, fields = (fields for one, fields in self.events() if one == name)
        return fields

    def member(self, node_id: int) -> HonestMember:
        """Return a member with all that it should have."""
        _, _, _, node_ids, shards, _ = self.told("CommitteeSelected")
        _, _, salt, _ = self.told("EpochStarted")
        key = secret(node_id - 1).public_key
        own = tuple(shards[node_ids.index(node_id)])
        return HonestMember(CODE, blobs(), own, salt_of(self.epoch, node_id, key, bytes(salt)))

    def inventory(self) -> Inventory:
        return self.member(1).inventory

    def signed(self, intent: Intent, body: bytes, places: tuple[int, ...] = QUORUM) -> tuple[bytes, bytes]:
        """Return bitmap and signature of the members at these places."""
        message = messages.encode(intent, self.epoch, body, DOMAIN)
        signature = bls.aggregate([secret(place).sign(message) for place in places])
        return bytes([sum(1 << place for place in places)]), signature

    def begin(self, inventory: Inventory | None = None, *signed: bytes) -> None:
        shown = inventory or self.inventory()
        given = signed or self.signed(Intent.INVENTORY, shown.body())
        numbers = (shown.root, shown.count, shown.weight)
        self.call("proofs", "begin", self.proofs, self.system, *numbers, *given, self.clock)

    def commit(self, node_id: int, root: bytes | None = None, epoch: int | None = None) -> None:
        own = self.member(node_id)
        honest = root_of_hashes([own.shard_root(shard) for shard in own.shards])
        given = (self.caps[node_id - 1], epoch or self.epoch, root or honest, self.clock)
        self.call("proofs", "commit", self.proofs, self.system, self.registry, *given)

    def draw(self) -> bytes:
        self.call("proofs", "draw", self.proofs, self.system, self.random, self.clock)
        return bytes(self.told("Drawn")[1])

    def begin_and_draw(self, *node_ids: int) -> None:
        """Begin the round, have members commit, and draw."""
        self.begin()
        for node_id in node_ids:
            self.commit(node_id)
        self.time_s += COMMIT_S
        self.draw()

    def prove(self, node_id: int, *signed: bytes) -> None:
        drawn = bytes(self.told("Drawn")[1])
        given = signed or self.signed(Intent.PROOF, messages.proof_body(node_id, drawn))
        self.call("proofs", "prove", self.proofs, self.system, node_id, *given, self.clock)

    def position(self, node_id: int, place: int) -> Position:
        """Return what is drawn for a member at a place."""
        own, weight = self.member(node_id), self.inventory().weight
        drawn = bytes(self.told("Drawn")[1])
        count = draw.position_count(CODE, len(own.shards), weight)
        return draw.position_at(CODE, weight, draw.drawn_position(drawn, node_id, place, count))

    def opening(self, node_id: int, place: int) -> Opening:
        """Return what an honest member shows at a place."""
        return self.member(node_id).opening(self.position(node_id, place))

    def answer(self, node_id: int, place: int, opening: Opening | None = None) -> None:
        shown = in_move(self.transaction.call, opening or self.opening(node_id, place)).get()
        self.call("proofs", "answer", self.proofs, self.system, node_id, place, shown, self.clock)

    def judge(self, node_id: int) -> None:
        given = (self.system, self.staking, self.registry, node_id, self.clock)
        self.call("proofs", "judge", self.proofs, *given)

    def miss(self, *node_ids: int) -> None:
        """Let a round pass that these nodes miss, and judge them."""
        self.begin_and_draw()
        self.time_s += PROVE_S + ANSWER_S + 1
        for node_id in node_ids:
            self.judge(node_id)

    def next_period(self, *, is_paid: bool = True) -> None:
        """Begin the next period, with all nodes settled."""
        self.begin_period()
        given = (self.staking, self.system, self.registry, [1, 2, 3, 4], 2**32 - 1, self.clock)
        if is_paid:
            self.call("payments", "pay_out", self.blobs, *given)

    def staked(self, node_id: int) -> int:
        """Return what stands for the next period on a node."""
        (stake,) = self.call("staking", "stakes_on", self.staking, self.system, [node_id], self.clock)
        return int(stake)

    def earned(self, node_id: int) -> int:
        """Return the parts of the current period that a node has earned."""
        period = self.call("system", "period", self.system)
        return int(self.call("earnings", "of_node", self.system, period, node_id))

    def lack(self, shard: int) -> None:
        """Have a shard be neither kept nor attested."""
        term = self._term()
        for name in ("kept", "held"):
            words, size = term[name]
            assert words[0] >> shard & 1
            term.set(**{name: [[words[0] ^ 1 << shard, *words[1:]], size - 1]})

    def _term(self) -> Fields:
        terms = Fields("system", "State", self.state_of(self.system))["terms"]
        children = self.transaction.host.children.values()
        (entry,) = (
            one.place[0] for one in children if one.parent == terms[0][0][0] and one.place[0][1] == self.epoch
        )
        return Fields("term", "Term", entry[2])

    def names(self) -> list[str]:
        return [name for name, _ in self.events()]


def test_member_that_shows_all_places_has_proven() -> None:
    network = Round()
    network.begin_and_draw(3)
    for place in PLACES:
        assert network.names()[-1] != "Proven"
        network.answer(3, place)
        assert ("Answered", [network.epoch, 3, place, False]) in network.events()[-2:]
    assert network.events()[-1] == ("Proven", [network.epoch, 3])
    with network.refuses("EAlreadyProven"):
        network.answer(3, 0)
    with network.refuses("EAlreadyProven"):
        network.prove(3)


def test_quorum_certifies_a_member_that_showed_it_what_was_drawn() -> None:
    network = Round()
    network.begin_and_draw()
    network.prove(4)
    assert network.events()[-1] == ("Proven", [network.epoch, 4])
    with network.refuses("EAlreadyProven"):
        network.prove(4)
    drawn = bytes(network.told("Drawn")[1])
    body = messages.proof_body(3, drawn)
    with network.refuses("ENotEnoughWeight"):
        network.prove(3, *network.signed(Intent.PROOF, body, (0, 2)))
    for other in (messages.proof_body(4, drawn), messages.proof_body(3, bytes(32))):
        with network.refuses("EBadSignature"):
            network.prove(3, *network.signed(Intent.PROOF, other))


def test_round_begins_once_with_what_a_quorum_signed() -> None:
    network = Round()
    inventory = network.inventory()
    with network.refuses("ENotEnoughWeight"):
        network.begin(inventory, *network.signed(Intent.INVENTORY, inventory.body(), (0, 2)))
    signed = network.signed(Intent.INVENTORY, inventory.body())
    for other in (
        replace(inventory, root=bytes(32)),
        replace(inventory, count=6),
        replace(inventory, weight=inventory.weight + 2),
    ):
        with network.refuses("EBadSignature"):
            network.begin(other, *signed)
    for empty in (replace(inventory, count=0), replace(inventory, weight=0)):
        with network.refuses("EEmptyInventory"):
            network.begin(empty)
    network.begin(inventory)
    expected = [network.epoch, inventory.root, inventory.count, inventory.weight, network.time_s + COMMIT_S]
    assert network.events()[-1] == ("RoundBegun", expected)
    with network.refuses("EAlreadyBegun"):
        network.begin(inventory)


def test_operator_commits_until_the_draw_may_be_made_and_the_last_counts() -> None:
    network = Round()
    with network.refuses("ERoundNotBegun"):
        network.commit(3)
    network.begin()
    with network.refuses("EWrongEpoch"):
        network.commit(3, epoch=network.epoch + 1)
    network.commit(3, bytes([9]) * 32)
    network.time_s += COMMIT_S - 1
    network.commit(3)
    with network.refuses("ETooEarly"):
        network.draw()
    network.time_s += 1
    with network.refuses("ETooLate"):
        network.commit(3)
    network.draw()
    network.answer(3, 0)


def test_positions_are_drawn_once_and_differ() -> None:
    draws = set()
    for _ in range(2):
        network = Round()
        with network.refuses("ERoundNotBegun"):
            network.draw()
        for _ in range(2):
            network.begin_and_draw()
            draws.add(bytes(network.told("Drawn")[1]))
            with network.refuses("EAlreadyDrawn"):
                network.draw()
            network.begin_period()
    assert len(draws) > 1
    assert {len(one) for one in draws} == {32}


def test_nothing_is_shown_before_the_draw_or_too_late() -> None:
    network = Round()
    network.begin()
    network.commit(3)
    with network.refuses("ENotDrawnYet"):
        network.answer(3, 0, NOTHING_OPENED)
    network.time_s += COMMIT_S
    network.draw()
    _, _, prove_by_s, answer_by_s = network.told("Drawn")
    assert (prove_by_s, answer_by_s) == (network.time_s + PROVE_S, network.time_s + PROVE_S + ANSWER_S)
    network.time_s = answer_by_s
    network.answer(3, 0)
    network.prove(2)
    network.time_s += 1
    with network.refuses("ETooLate"):
        network.answer(3, 1)
    with network.refuses("ETooLate"):
        network.prove(1)


@pytest.mark.parametrize(
    ("mutation", "error"),
    [
        ("another index", "ENotInInventory"),
        ("another symbol", "ENotOfTheBlob"),
        ("a symbol too long", "EWrongSymbolSize"),
        ("another commitment path", "ENotCommitted"),
        ("no commitment path", "EWrongPath"),
        ("no symbol", "EWrongSymbolSize"),
    ],
)
def test_changed_opening_answers_no_place(mutation: str, error: str) -> None:
    network = Round()
    network.begin_and_draw(1)
    places = [place for place in PLACES if network.opening(1, place).index > 0]
    change, _ = MUTATIONS[mutation]
    with network.refuses(error):
        network.answer(1, places[0], change(network.opening(1, places[0])))


def test_opening_of_another_place_or_member_answers_no_place() -> None:
    network = Round()
    network.begin_and_draw(1, 2)
    with pytest.raises(Refused):
        network.answer(1, 0, network.opening(2, 0))
    other = next(place for place in PLACES if network.position(1, place) != network.position(1, 0))
    with pytest.raises(Refused):
        network.answer(1, 0, network.opening(1, other))


def test_member_without_a_commitment_answers_no_place() -> None:
    network = Round()
    network.begin_and_draw()
    with network.refuses("ENotCommitted"):
        network.answer(1, 0)


def test_place_that_is_answered_is_passed_over() -> None:
    network = Round()
    network.begin_and_draw(1)
    network.answer(1, 5)
    before = len(network.events())
    network.answer(1, 5, NOTHING_OPENED)
    assert len(network.events()) == before
    with network.refuses("ENoSuchPlace"):
        network.answer(1, 16, network.opening(1, 5))
    with network.refuses("ENotAMember"):
        network.answer(9, 0, NOTHING_OPENED)


def test_place_whose_shard_is_lacking_is_excused() -> None:
    network = Round()
    (shard,) = network.member(4).shards
    network.lack(shard)
    network.begin_and_draw()
    for place in PLACES:
        network.answer(4, place, NOTHING_OPENED)
    assert network.told("Answered") == [network.epoch, 4, 15, True]
    assert network.events()[-1] == ("Proven", [network.epoch, 4])


def test_shard_is_shown_if_it_was_attested_before_commitments_were_refused() -> None:
    for waited_s, error in ((COMMIT_S - 1, None), (COMMIT_S, "excused")):
        network = Round()
        own = network.member(4)
        (shard,) = own.shards
        network.lack(shard)
        network.begin()
        network.time_s += waited_s
        given = (network.caps[3], network.epoch, [shard], [own.shard_root(shard)], [5], network.clock)
        network.call("epochs", "attest", network.system, network.registry, *given)
        if error is None:
            network.commit(4)
        network.time_s += COMMIT_S - waited_s
        network.draw()
        if error is None:
            with pytest.raises(Refused):
                network.answer(4, 0, NOTHING_OPENED)
        network.answer(4, 0)
        assert network.told("Answered")[3] is (error is not None)


def test_opening_leads_to_what_was_attested() -> None:
    network = Round()
    own = network.member(4)
    (shard,) = own.shards
    network.lack(shard)
    network.begin()
    given = (network.caps[3], network.epoch, [shard], [bytes([7]) * 32], [5], network.clock)
    network.call("epochs", "attest", network.system, network.registry, *given)
    network.commit(4)
    network.time_s += COMMIT_S
    network.draw()
    with network.refuses("ENotAttested"):
        network.answer(4, 0)


def test_place_whose_blob_is_invalid_is_excused_without_a_symbol() -> None:
    network = Round()
    network.begin_and_draw(1)
    opening = network.opening(1, 0)
    blob_id = blob_id_of(opening)
    named = replace(opening, symbol=b"", blob_root=blob_id)
    with network.refuses("EWrongSymbolSize"):
        network.answer(1, 0, named)
    given = network.signed(Intent.INVALID_BLOB, messages.invalid_blob_body(blob_id), (0,))
    on_chain = int.from_bytes(blob_id, "little")
    network.call("blob", "invalidate", network.system, on_chain, network.epoch, *given, network.clock)
    with network.refuses("ENotInInventory"):
        network.answer(1, 0, replace(named, blob_root=bytes(32)))
    network.answer(1, 0, named)
    assert network.told("Answered") == [network.epoch, 1, 0, True]


def test_member_that_does_not_prove_in_time_misses_the_round_and_earns_nothing() -> None:
    network = Round()
    with network.refuses("ERoundNotBegun"):
        network.judge(3)
    network.begin()
    with network.refuses("ENotDrawnYet"):
        network.judge(3)
    network.time_s += COMMIT_S
    network.draw()
    network.prove(2)
    network.time_s += PROVE_S + ANSWER_S
    with network.refuses("ETooEarly"):
        network.judge(3)
    network.time_s += 1
    for node_id, error in ((2, "EAlreadyProven"), (9, "ENotAMember")):
        with network.refuses(error):
            network.judge(node_id)
    assert network.earned(3) > 0
    network.judge(3)
    assert network.events()[-1] == ("Missed", [network.epoch, 3, 1])
    assert (network.earned(3), network.earned(2) > 0) == (0, True)
    with network.refuses("EAlreadyJudged"):
        network.judge(3)


def test_second_miss_in_a_row_is_punished() -> None:
    network = Round()
    network.miss(2)
    assert network.staked(2) == 3 * UNIT
    network.next_period()
    network.miss(2)
    epoch = network.epoch
    assert network.told("Missed") == [epoch, 2, 2]
    assert network.told("Punished") == [epoch, 2, 2]
    assert network.told("MemberEjected")[:3] == [epoch, 2, 2]
    drawn, (node_id, fraction, amount, bounty, evidence, _) = (
        network.told("Drawn")[1],
        network.told("Slashed"),
    )
    assert (node_id, fraction, amount, bounty) == (2, 10_000_000, 3 * UNIT // 100, 0)
    assert bytes(evidence) == bytes(drawn)
    assert network.staked(2) == 3 * UNIT - amount


def test_node_that_is_not_settled_is_not_slashed() -> None:
    network = Round()
    network.miss(2)
    network.next_period(is_paid=False)
    with network.refuses("ENotSettled"):
        network.miss(2)


def test_no_more_are_punished_in_a_period_than_may_be_faulty() -> None:
    network = Round()
    network.miss(1, 2, 3, 4)
    network.next_period()
    network.miss(1, 4, 3, 2)
    assert [fields[1] for name, fields in network.events() if name == "Missed"] == [1, 2, 3, 4, 1, 4, 3, 2]
    assert [fields[1] for name, fields in network.events() if name == "Punished"] == [4, 3]


def test_member_that_was_ejected_before_is_slashed_too() -> None:
    network = Round()
    network.miss(4)
    network.next_period()
    network.call("epochs", "remove", network.system, network.registry, 4, 1, network.clock)
    network.miss(4)
    assert "Slashed" in network.names()
    assert network.names().count("MemberEjected") == 1


def test_proof_forgives_misses_and_excuses_do_not() -> None:
    network = Round()
    network.miss(4)
    network.next_period()
    network.begin_and_draw()
    network.prove(4)
    network.next_period()
    network.miss(4)
    assert network.told("Missed")[2] == 1
    network.next_period()
    (shard,) = network.member(4).shards
    network.lack(shard)
    network.begin_and_draw()
    for place in PLACES:
        network.answer(4, place, NOTHING_OPENED)
    network.next_period()
    network.miss(4)
    assert network.told("Missed")[2] == 2


@pytest.mark.parametrize("windows", [(0, 1, 1), (1, 1, 0), (100, 50, 17), (2**63, 0, 2**63)])
def test_windows_take_time_and_no_more_than_a_sixth_of_a_period(windows: tuple[int, int, int]) -> None:
    with pytest.raises(Refused, match=r"^EInvalidWindows$"):
        Deployment(windows=windows)
