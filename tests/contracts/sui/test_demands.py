"""Demands of single symbols in the Move package: answered for the bond, or judged for the bond and a bounty."""

from __future__ import annotations

from dataclasses import replace

from committee import messages
from committee.messages import Intent
from committee.opening import NOTHING_OPENED, Opening
from localnet.sui_double.move.values import Ref
from storage.proofs import draw, symbols_in_pair
from storage.proofs.opening import blob_id_of
from storage.redstuff.merkle import depth_of
from tests.contracts.sui.deployments import BOND, HAUL, OWNER, STRANGER
from tests.contracts.sui.fields import Fields
from tests.contracts.sui.openings import in_move
from tests.contracts.sui.rounds import CODE, COMMIT_S, DEMAND_S, UNIT, Round
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

MAX_OPEN_DEMANDS = 16
FINE_DIVISOR, BOUNTY_PART = 100, 10
POSITION = 300


class Asking(Round):
    """A round in which accounts demand symbols."""

    def demand(self, node_id: int, position: int = POSITION, asker: bytes = STRANGER) -> None:
        given = (node_id, position, self.purse, self.clock)
        self.call("demands", "demand", self.proofs, self.system, *given, sender=asker)

    def demand_as(self, member: int, node_id: int, asker: bytes = STRANGER) -> None:
        given = (self.registry, self.caps[member - 1], node_id, POSITION, self.purse, self.clock)
        self.call("demands", "demand_as_member", self.proofs, self.system, *given, sender=asker)

    def shown(self, node_id: int, position: int = POSITION) -> Opening:
        """Return what an honest member shows at a position, without the path that no demand needs."""
        opening = self.member(node_id).opening(draw.position_at(CODE, self.inventory().weight, position))
        return replace(opening, commitment_path=())

    def show(self, node_id: int, opening: Opening, asker: bytes = STRANGER) -> None:
        value = in_move(self.transaction.call, opening).get()
        given = (self.registry, node_id, asker, value, self.clock)
        self.call("demands", "answer", self.proofs, self.system, *given)

    def judge_demand(self, node_id: int, asker: bytes = STRANGER) -> None:
        given = (self.system, self.staking, self.registry, node_id, asker, self.clock)
        self.call("demands", "judge", self.proofs, *given)

    def reclaim(self, epoch: int, node_id: int, asker: bytes = STRANGER) -> None:
        self.call("demands", "reclaim", self.proofs, self.system, epoch, node_id, asker)

    def got(self, account: bytes) -> list[int]:
        """Return the coins that an account was sent, oldest first."""
        outputs = self.transaction.host.outputs.values()
        coins = [one for one in outputs if one.type.name == "Coin" and one.type.arguments == (HAUL,)]
        return [one.value[1][0] for one in coins if one.owner.id == account]

    def bonds(self) -> int:
        (bonds,) = Fields("proofs", "State", self.state_of(self.proofs))["bonds"]
        return int(bonds)

    def last_position(self, node_id: int) -> int:
        own = self.member(node_id)
        return draw.position_count(CODE, len(own.shards), own.inventory.weight) - 1


def test_demand_that_is_answered_leaves_the_bond_to_the_receiver() -> None:
    network = Asking()
    network.begin()
    before = network.coins("value", network.purse)
    network.demand(2)
    answer_by_s = network.time_s + DEMAND_S
    assert network.events()[-1] == ("Demanded", [network.epoch, 2, STRANGER, POSITION, answer_by_s, [[]]])
    assert (before - network.coins("value", network.purse), network.bonds()) == (BOND, BOND)
    network.time_s = answer_by_s
    network.show(2, network.shown(2))
    assert network.events()[-1] == ("DemandAnswered", [network.epoch, 2, STRANGER, OWNER])
    assert (network.got(OWNER), network.bonds()) == ([BOND], 0)
    with network.refuses("ENotDemanded"):
        network.show(2, network.shown(2))
    network.demand(2, network.last_position(2))
    network.show(2, network.shown(2, network.last_position(2)))


def test_demand_that_is_not_answered_is_punished_for_the_bond_and_a_bounty() -> None:
    network = Asking()
    network.begin()
    network.demand(2)
    network.time_s += DEMAND_S
    with network.refuses("ETooEarly"):
        network.judge_demand(2)
    network.time_s += 1
    with network.refuses("ENotSettled"):
        network.judge_demand(2)
    network.pay_out()
    with network.refuses("ETooLate"):
        network.show(2, network.shown(2))
    network.judge_demand(2)
    epoch, fine = network.epoch, 3 * UNIT // FINE_DIVISOR
    assert network.told("DemandMissed") == [epoch, 2, STRANGER]
    assert network.told("Slashed")[1:4] == [10_000_000, fine, BOND // BOUNTY_PART]
    assert network.told("Punished") == [epoch, 2, 3]
    assert network.told("MemberEjected")[:3] == [epoch, 2, 3]
    assert network.earned(2) == 0
    assert (network.got(STRANGER), network.bonds()) == ([BOND + BOND // BOUNTY_PART], 0)
    with network.refuses("ENotDemanded"):
        network.judge_demand(2)


def test_second_demand_that_is_not_answered_gives_back_the_bond_alone() -> None:
    network = Asking()
    network.begin()
    network.demand(2)
    network.demand(2, asker=OWNER)
    network.time_s += DEMAND_S + 1
    network.pay_out()
    network.judge_demand(2)
    network.judge_demand(2, OWNER)
    assert network.got(OWNER) == [BOND]
    assert network.names().count("Slashed") == network.names().count("MemberEjected") == 1


def test_demand_is_of_a_position_that_a_member_has_and_is_paid() -> None:
    network = Asking()
    with network.refuses("ERoundNotBegun"):
        network.demand(2)
    network.begin()
    with network.refuses("ENotAMember"):
        network.demand(9)
    with network.refuses("ENoSuchPosition"):
        network.demand(2, network.last_position(2) + 1)
    short = Ref([network.coin(BOND - 1)], 0)
    with network.refuses("ETooExpensive"):
        given = (2, POSITION, short, network.clock)
        network.call("demands", "demand", network.proofs, network.system, *given)
    network.demand(2)
    with network.refuses("EAlreadyDemanded"):
        network.demand(2, POSITION + 1)
    network.demand(3)


def test_members_have_places_of_their_own_when_all_others_are_taken() -> None:
    network = Asking()
    network.begin()
    askers = [bytes([0x40 + place]) * 32 for place in range(MAX_OPEN_DEMANDS + 1)]
    for asker in askers[:-1]:
        network.demand(2, asker=asker)
    with network.refuses("ETooManyDemands"):
        network.demand(2, asker=askers[-1])
    network.demand_as(3, 2)
    assert network.told("Demanded")[5] == [[3]]
    with network.refuses("ETooManyDemands"):
        network.demand_as(3, 2, askers[-1])
    network.demand_as(4, 2, askers[-1])
    network.show(2, network.shown(2))
    network.demand_as(3, 2)
    network.show(2, network.shown(2), askers[0])
    network.demand(2, asker=askers[0])
    _, stranger = network.add_node(4)
    network.caps.append(stranger)
    with network.refuses("ENotAMember"):
        network.demand_as(5, 2, OWNER)


def test_changed_opening_answers_no_demand() -> None:
    network = Asking()
    network.begin()
    network.demand(2)
    shown = network.shown(2)
    for changed, error in (
        (replace(shown, symbol=bytes(len(shown.symbol))), "ENotOfTheBlob"),
        (replace(shown, symbol=shown.symbol + bytes(2)), "EWrongSymbolSize"),
        (replace(shown, offset=shown.offset + 2), "ENotInInventory"),
        (NOTHING_OPENED, "EWrongPath"),
    ):
        with network.refuses(error):
            network.show(2, changed)
    with network.refuses("ENotDrawn"):
        weight = network.inventory().weight
        network.show(2, network.shown(2, (POSITION + weight // 2) % weight + POSITION // weight * weight))


def test_nothing_is_shown_of_a_shard_that_the_member_lacks() -> None:
    network = Asking()
    (shard,) = network.member(4).shards
    network.lack(shard)
    network.begin()
    network.demand(4)
    network.show(4, NOTHING_OPENED)
    assert network.got(OWNER) == [BOND]


def test_shard_that_was_attested_too_late_is_shown_up_to_its_root() -> None:
    network = Asking()
    own = network.member(4)
    (shard,) = own.shards
    network.lack(shard)
    network.begin()
    network.time_s += COMMIT_S
    given = (network.caps[3], network.epoch, [shard], [own.shard_root(shard)], [5], network.clock)
    network.call("epochs", "attest", network.system, network.registry, *given)
    network.demand(4)
    with network.refuses("EWrongPath"):
        network.show(4, network.shown(4))
    position = draw.position_at(CODE, own.inventory.weight, POSITION)
    whole = own.opening(position)
    depth = depth_of(symbols_in_pair(CODE)) + depth_of(own.inventory.count)
    late = replace(whole, commitment_path=whole.commitment_path[:depth])
    for wrong in (late.commitment_path[:-1], (*late.commitment_path, bytes(32))):
        with network.refuses("EWrongPath"):
            network.show(4, replace(late, commitment_path=wrong))
    with network.refuses("ENotAttested"):
        network.show(4, replace(late, commitment_path=(bytes([7]) * 32, *late.commitment_path[1:])))
    network.show(4, late)


def test_invalid_blob_need_not_be_shown() -> None:
    network = Asking()
    network.begin()
    network.demand(2)
    blob_id = blob_id_of(network.shown(2))
    named = replace(network.shown(2), symbol=b"", blob_root=blob_id)
    with network.refuses("EWrongSymbolSize"):
        network.show(2, named)
    given = network.signed(Intent.INVALID_BLOB, messages.invalid_blob_body(blob_id), (0,))
    on_chain = int.from_bytes(blob_id, "little")
    network.call("blob", "invalidate", network.system, on_chain, network.epoch, *given, network.clock)
    network.show(2, named)


def test_bond_is_given_back_when_the_epoch_has_ended() -> None:
    network = Asking()
    network.begin()
    network.demand(2)
    epoch = network.epoch
    with network.refuses("EEpochNotOver"):
        network.reclaim(epoch, 2)
    network.begin_period()
    with network.refuses("ERoundNotBegun"):
        network.judge_demand(2)
    network.reclaim(epoch, 2)
    assert network.events()[-1] == ("DemandReclaimed", [epoch, 2, STRANGER])
    assert (network.got(STRANGER), network.bonds()) == ([BOND], 0)
    with network.refuses("ENotDemanded"):
        network.reclaim(epoch, 2)
