"""What members of the Move package are paid of what users paid, and what users get back at a standstill."""

from __future__ import annotations

from copy import deepcopy

from committee import bls, messages
from committee.messages import Intent
from committee.terms import Terms
from localnet.sui_double.move.values import Ref, Value
from storage.redstuff import BlobMetadata
from tests.contracts.sui.committees import secret
from tests.contracts.sui.deployments import DOMAIN, USUAL, Deployment, id_of
from tests.contracts.sui.fields import Fields
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

STAKES = (4, 3, 2, 1)
"""Of the members, in units of which each elects one of the 10 shards."""
UNIT = 10**9
PARTS = 10_000
NEVER = 2**32 - 1
PRICE = 1_000_003
ROOT, LENGTH = bytes(range(32)), 300_000
STALL_S = 4 * (USUAL.period_duration_s + USUAL.handover_deadline_s) + 1


class Payday(Deployment):
    """A deployment in its first period, with four members that keep their shards for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.caps = self.begin_with([stake * UNIT for stake in STAKES])
        self.started_s = Fields("timeline", "Timeline", self.system_state["timeline"])["started_at_s"]
        self.bought = 0
        dear = self.terms(Terms(PRICE, 7, 1 << 40))
        self.call("blobs", "set_terms", self.blobs, self.governor, dear)

    def reserve(self, mebibytes: int, periods: int) -> Ref:
        given = (mebibytes, periods, self.purse, self.clock)
        self.bought += mebibytes * periods * PRICE
        return Ref([self.call("blobs", "reserve", self.blobs, self.system, *given)], 0)

    def pay_out(self, *node_ids: int, until: int = NEVER) -> dict[tuple[int, int], int]:
        """Pay nodes out; return what each got for a period: (node, period) → amount, where it is not nothing."""
        before = len(self.events())
        given = (self.staking, self.system, self.registry, list(node_ids or range(1, 5)), until, self.clock)
        self.call("payments", "pay_out", self.blobs, *given)
        told = [fields for name, fields in self.events()[before:] if name == "Rewarded"]
        return {(node_id, period): amount for node_id, period, _, amount, _ in told}

    @property
    def system_state(self) -> Fields:
        return Fields("system", "State", self.state_of(self.system))

    def forfeit(self, node_id: int) -> None:
        self.call("epochs", "forfeit", self.system, node_id, self.clock)

    @property
    def held(self) -> int:
        """All that users paid and nobody has got."""
        (held,) = Fields("blobs", "State", self.state_of(self.blobs))["payments"]
        return int(held)

    @property
    def staked(self) -> int:
        """All tokens that are staked."""
        (staked,) = Fields("staking", "State", self.state_of(self.staking))["tokens"]
        return int(staked)

    def commissions(self) -> int:
        """All that receivers got."""
        return sum(fields[-1] for name, fields in self.events() if name == "Rewarded")

    def check(self, given_back: int = 0) -> None:
        """Require that all that was paid is held, staked, a receiver's or given back."""
        assert self.bought == self.held + self.staked - sum(STAKES) * UNIT + self.commissions() + given_back

    def refund(self, reservation: Value) -> int:
        coin = self.call("payments", "refund", self.blobs, self.system, reservation, self.clock)
        return int(self.coins("value", coin))

    def refund_blob(self, blob: Ref) -> int:
        given = (self.blobs, self.system, deepcopy(blob.get()), self.clock)
        return int(self.coins("value", self.call("payments", "refund_blob", *given)))

    def register(self, reservation: Ref, *, is_shared: bool = False) -> Ref:
        root, known = int.from_bytes(ROOT, "little"), 2**64 - 1
        name, deletable = ("register_shared", []) if is_shared else ("register", [False])
        before = self.coins("value", self.purse)
        given = (reservation.get(), root, LENGTH, *deletable, known, self.purse, self.clock)
        self.call("blobs", name, self.blobs, self.system, *given)
        self.bought += before - self.coins("value", self.purse)
        return self.newest("Blob")

    def certify(self, blob: Ref) -> None:
        epoch = int(self.call("system", "epoch", self.system))
        body = messages.blob_body(BlobMetadata.id_of(LENGTH, ROOT))
        message = messages.encode(Intent.BLOB, epoch, body, DOMAIN)
        signature = bls.aggregate([secret(place).sign(message) for place in range(3)])
        self.call("blob", "certify", blob, self.system, epoch, b"\x07", signature, self.clock)


def paid_for(payment: int, *, without: tuple[int, ...] = ()) -> dict[int, int]:
    """Return what each member gets of a period's payment, all of whose shards but for these members' were kept."""
    part = payment // (sum(STAKES) * PARTS)
    amounts = {place + 1: part * PARTS * stake for place, stake in enumerate(STAKES)}
    return {node_id: amount for node_id, amount in amounts.items() if node_id not in without and amount}


def test_members_are_paid_by_their_shards_once_a_period_is_over() -> None:
    network = Payday()
    network.reserve(3, 2)
    assert network.pay_out() == {}, "the period is not over"
    network.begin_period()
    assert network.pay_out() == of_period(1, paid_for(3 * PRICE))
    network.check()
    assert network.pay_out() == {}, "it is paid"
    assert network.held > 3 * PRICE


def test_each_node_is_paid_when_anybody_asks_for_it() -> None:
    network = Payday()
    for mebibytes in (3, 5, 2):
        network.reserve(mebibytes, 1)
        network.begin_period()
    assert network.pay_out(2, until=3) == {(2, 1): paid_for(3 * PRICE)[2], (2, 2): rest_of((3, 5))[2]}
    assert network.pay_out(1, 2, until=2) == {(1, 1): paid_for(3 * PRICE)[1]}
    late = network.pay_out()
    assert {(node_id, period) for node_id, period in late} == {
        *((1, 2), (1, 3), (2, 3)),
        *((node_id, period) for node_id in (3, 4) for period in (1, 2, 3)),
    }
    assert late[1, 2] == rest_of((3, 5))[1]
    network.check()
    assert network.held < sum(STAKES) * PARTS, "what rounding leaves"


def test_what_no_member_earned_waits_for_the_next_period() -> None:
    network = Payday()
    network.reserve(3, 1)
    network.reserve(8, 2)
    network.forfeit(1)
    network.begin_period()
    network.begin_period()
    first, second = paid_for(11 * PRICE, without=(1,)), 8 * PRICE
    left = 11 * PRICE - sum(first.values())
    assert network.pay_out() == of_period(1, first) | of_period(2, paid_for(second + left))
    network.check()


def test_node_without_a_shard_is_paid_nothing() -> None:
    network = Payday()
    network.add_node(4)
    network.reserve(3, 1)
    network.begin_period()
    assert network.pay_out(5) == {}
    assert network.pay_out(99) == {}


def test_period_of_several_epochs_is_paid_by_what_was_held_in_each() -> None:
    network = Payday()
    network.reserve(3, 1)
    network.time_s += USUAL.period_duration_s // 4
    network.call("epochs", "remove", network.system, network.registry, 4, 2, network.clock)
    network.call("epochs", "replace", network.system, network.clock)
    *_, (_, (_, _, _, _, shards, _)) = network.events()
    (gained,) = set(range(10)) - {one for own, n in zip(shards, STAKES, strict=False) for one in own[:n]}
    (heir,) = (place for place, own in enumerate(shards) if gained in own)
    network.time_s += USUAL.notice_s
    network.start_epoch()
    network.time_s += USUAL.period_duration_s // 4
    given = (network.registry, network.caps[heir], 2, [gained], [bytes(32)], [0], network.clock)
    network.call("epochs", "attest", network.system, *given)
    passed = PARTS * (network.time_s - network.started_s) // USUAL.period_duration_s
    network.begin_period()
    part = 3 * PRICE // (sum(STAKES) * PARTS)
    earned = {place + 1: stake * PARTS for place, stake in enumerate(STAKES[:3])}
    earned[heir + 1] += PARTS - passed
    assert 0 < passed < PARTS
    assert network.pay_out() == of_period(1, {node_id: part * parts for node_id, parts in earned.items()})
    network.check()


def test_current_period_is_over_at_a_standstill_and_stays_so() -> None:
    network = Payday()
    network.reserve(3, 2)
    network.time_s += STALL_S - 1
    assert network.pay_out() == {}
    network.time_s += 1
    assert network.pay_out() == of_period(1, paid_for(3 * PRICE))
    assert network.pay_out() == {}
    network.begin_period()
    network.begin_period()
    assert network.pay_out() == of_period(2, rest_of((3, 3)))
    network.check()


def test_node_that_has_no_stake_any_more_is_settled_up_to_the_periods_that_are_over() -> None:
    network = Payday()
    network.add_node(4)
    network.time_s += STALL_S
    given = (network.staking, network.system, network.stake(5, UNIT).get(), network.clock)
    network.call("staking", "cancel", *given)
    for _ in range(2):
        network.begin_period()
    network.time_s += STALL_S
    assert network.pay_out(5) == {}
    assert network.call("staking", "settled_period", network.staking, network.system, 5) == 4


def test_nothing_is_given_back_while_periods_go_on() -> None:
    network = Payday()
    later = network.call("reservation", "split_by_period", network.reserve(3, 4), 3)
    blob = network.register(network.reserve(2, 3))
    network.time_s += STALL_S - 1
    with network.refuses("ENotStalled"):
        network.refund(later)
    with network.refuses("ENotStalled"):
        network.refund_blob(blob)


def test_periods_to_come_are_given_back_by_the_space_in_each() -> None:
    network = Payday()
    reservation = network.reserve(3, 4)
    other = network.reserve(1, 2)
    dearer = network.terms(Terms(5 * PRICE, 7, 1 << 40))
    network.call("blobs", "set_terms", network.blobs, network.governor, dearer)
    network.reserve(4, 2)
    network.bought += 4 * 4 * 2 * PRICE
    network.time_s += STALL_S
    with network.refuses("EHasBegun"):
        network.refund(deepcopy(reservation.get()))
    later = network.call("reservation", "split_by_period", reservation, 2)
    amount = network.refund(later)
    in_period = (3 + 1 + 4 * 5) * PRICE
    assert amount == in_period * 3 // 8 + 2 * 3 * PRICE
    assert network.events()[-1][0] == "SpaceRefunded"
    assert network.events()[-1][1][1:] == [3, 2, 5, amount]
    second = network.refund(network.call("reservation", "split_by_period", other, 2))
    assert second == (in_period - in_period * 3 // 8) // 5
    network.check(amount + second)
    assert network.pay_out() == of_period(1, paid_for(in_period))


def test_blob_that_is_given_back_ends_with_the_current_period() -> None:
    network = Payday()
    certified, registered = (network.register(network.reserve(2, 3)) for _ in range(2))
    network.certify(certified)
    network.time_s += STALL_S
    amounts = [network.refund_blob(blob) for blob in (certified, registered)]
    assert amounts == [2 * 2 * PRICE] * 2
    listed = Fields("blobs", "State", network.state_of(network.blobs))["listed"]
    children = network.transaction.host.children.values()
    entries = [one.place[0] for one in children if one.parent == listed[0][0][0] and one.place]
    assert [(entry[1], entry[2][3]) for entry in entries] == [(1, 2)]
    kept = Ref([network.transaction.host.outputs[id_of(certified.get())[0]].value], 0)
    assert Fields("blob", "Blob", kept.get())["end_period"] == 2
    assert [name for name, _ in network.events()[-4:]] == [
        *("BlobCertified", "SpaceRefunded"),
        *("BlobDeleted", "SpaceRefunded"),
    ]
    with network.refuses("ENothingToRefund"):
        network.refund_blob(kept)
    network.check(sum(amounts))


def test_what_is_paid_for_a_shared_blob_is_not_given_back() -> None:
    network = Payday()
    blob = network.register(network.reserve(2, 3), is_shared=True)
    network.time_s += STALL_S
    with network.refuses("EShared"):
        network.refund_blob(blob)


def of_period(period: int, amounts: dict[int, int]) -> dict[tuple[int, int], int]:
    return {(node_id, period): amount for node_id, amount in amounts.items()}


def rest_of(sizes: tuple[int, ...]) -> dict[int, int]:
    """Return what members get of the last of some periods in which so many mebibytes were paid for, all earned."""
    rest = 0
    for mebibytes in sizes:
        payment = mebibytes * PRICE + rest
        amounts = paid_for(payment)
        rest = payment - sum(amounts.values())
    return amounts
