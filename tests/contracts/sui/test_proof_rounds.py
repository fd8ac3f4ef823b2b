"""Rounds of storage proofs in the Move package: members that show what they store, or whom their fellows certify."""

from __future__ import annotations

from dataclasses import replace

import pytest

from committee import messages
from committee.messages import Intent
from committee.opening import NOTHING_OPENED
from storage.proofs.opening import blob_id_of
from tests.contracts.sui.deployments import Deployment
from tests.contracts.sui.double import Refused
from tests.contracts.sui.rounds import ANSWER_S, COMMIT_S, PLACES, PROVE_S, UNIT, Round
from tests.localnet.sui_double.packages import needs_framework
from tests.storage.proofs.mutations import MUTATIONS

pytestmark = needs_framework


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
    with network.refuses("EDrawNotMade"):
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
    with network.refuses("EDrawNotMade"):
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


@pytest.mark.parametrize(
    "windows",
    [(0, 1, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (100, 50, 17, 1), (2**63, 0, 2**63, 1), (1, 0, 1, 167)],
)
def test_windows_take_time_and_no_more_than_a_sixth_of_a_period(windows: tuple[int, int, int, int]) -> None:
    with pytest.raises(Refused, match=r"^EInvalidWindows$"):
        Deployment(windows=windows)


def test_demand_costs_something() -> None:
    with pytest.raises(Refused, match=r"^EInvalidBond$"):
        Deployment(bond=0)
