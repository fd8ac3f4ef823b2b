"""What space and blobs cost in the Move package, when nothing is sold, shared blobs, and what events tell."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from committee import messages
from committee.ledger import MEBIBYTE
from committee.messages import Intent
from committee.terms import Terms
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.stored import OwnerKind
from storage.redstuff import BlobMetadata
from tests.contracts.sui.committees import EPOCH, committee_of, signed_by
from tests.contracts.sui.deployments import DOMAIN, OWNER, STRANGER, SUPPLY, TERMS, USUAL, id_of
from tests.contracts.sui.fields import Fields
from tests.contracts.sui.offices import Office
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

PERIOD = 3
COMMITTEE = committee_of((4, 3, 2, 1))
NEXT = replace(COMMITTEE, epoch=EPOCH + 1)
ROOT, LENGTH, MEBIBYTES = bytes(range(32)), 300_000, 2
"""A blob, and the space that it needs with 10 shards."""
BLOB_ID = BlobMetadata.id_of(LENGTH, ROOT)
CAPACITY = TERMS.capacity_bytes // MEBIBYTE
PRICE, WRITE_PRICE = TERMS.price_per_mib_period, TERMS.write_price_per_mib
LATE_S = 2 * (USUAL.period_duration_s + USUAL.handover_deadline_s)
"""After the newest handover is done: then nothing is sold, and in twice this time periods have stalled."""
RESERVING, REGISTRATION = 5, 6
"""The numbers of functions that can be paused."""


class Shop(Office):
    """An account that buys, in an epoch whose handover is done."""

    def __init__(self, period: int = PERIOD) -> None:
        super().__init__()
        if period:
            self.start(COMMITTEE, period)
            self.finish()

    @property
    def paid(self) -> int:
        """All that the account has paid; it is in the store."""
        spent: int = SUPPLY - self.coins("value", self.purse)
        assert Fields("blobs", "State", self.state_of(self.blobs))["payments"] == [spent]
        return spent

    def reserve(self, mebibytes: int = MEBIBYTES, periods: int = 2, purse: Ref | None = None) -> Value:
        given = (mebibytes, periods, purse or self.purse, self.clock)
        return self.call("blobs", "reserve", self.blobs, self.system, *given)

    def register(self, reservation: Value, known_up_to: int = 0, *, deletable: bool = False) -> Ref:
        root = int.from_bytes(ROOT, "little")
        given = (reservation, root, LENGTH, deletable, known_up_to, self.purse, self.clock)
        self.call("blobs", "register", self.blobs, self.system, *given)
        return self.newest("Blob")

    def share(self, reservation: Value) -> Ref:
        root = int.from_bytes(ROOT, "little")
        given = (reservation, root, LENGTH, 0, self.purse, self.clock)
        self.call("blobs", "register_shared", self.blobs, self.system, *given)
        return self.newest("Blob")

    def certify(self, blob: Ref, sender: bytes = OWNER) -> None:
        message = messages.encode(Intent.BLOB, EPOCH, messages.blob_body(BLOB_ID), DOMAIN)
        given = signed_by(COMMITTEE, {0, 1}, message)
        proven = (EPOCH, given.bitmap, given.signature, self.clock)
        self.call("blob", "certify", blob, self.system, *proven, sender=sender)

    def extend(self, blob: Ref, periods: int, sender: bytes = OWNER) -> None:
        end = Fields("blob", "Blob", blob.get())["end_period"]
        given = (blob, periods, end, self.purse, self.clock)
        self.call("blobs", "extend", self.blobs, self.system, *given, sender=sender)

    def forget(self, *numbers: int) -> None:
        self.call("blobs", "forget", self.blobs, self.system, list(numbers))

    def count(self) -> int:
        return int(self.call("blobs", "count", self.blobs))


def test_space_costs_its_price_for_each_mebibyte_and_period() -> None:
    shop = Shop()
    reservation = shop.reserve(7, 3)
    assert shop.paid == 7 * 3 * PRICE
    assert reservation[1:] == [7, PERIOD, PERIOD + 3]
    assert shop.events()[-2][0] == "SpacePaid"
    assert shop.events()[-2][1] == [OWNER, 7, PERIOD, PERIOD + 3, 7 * PRICE]


def test_registration_costs_by_what_the_blob_needs_and_not_by_what_is_reserved() -> None:
    shop = Shop()
    reservation = shop.reserve(MEBIBYTES + 5)
    before = shop.paid
    shop.register(reservation)
    assert shop.paid == before + MEBIBYTES * WRITE_PRICE


def test_extension_costs_the_price_of_its_periods() -> None:
    shop = Shop()
    blob = shop.register(shop.reserve(9))
    shop.certify(blob)
    before = shop.paid
    shop.extend(blob, 4)
    assert shop.paid == before + 9 * 4 * PRICE


def test_what_costs_more_than_the_coin_has_is_refused() -> None:
    shop = Shop()
    short = Ref([shop.coin(2 * MEBIBYTES * PRICE - 1)], 0)
    with shop.refuses("ETooExpensive"):
        shop.reserve(purse=short)
    most = shop.terms(Terms(2**64 - 1, 0, 2**64 - 1))
    shop.call("blobs", "set_terms", shop.blobs, shop.governor, most)
    with shop.refuses("ETooExpensive"):
        shop.reserve(2**64 - 1, 53)


def test_reservations_are_joined_without_the_periods_that_are_past() -> None:
    shop = Shop()
    first, other = Ref([shop.reserve(2, 3)], 0), Ref([shop.reserve(5, 3)], 0)
    over = shop.reserve(1, 1)
    shop.start(NEXT, PERIOD + 1)
    shop.call("blobs", "merge", first, other.get(), shop.system)
    assert first.get()[1:] == [7, PERIOD + 1, PERIOD + 3]
    with shop.refuses("EExpired"):
        shop.call("blobs", "merge", first, over, shop.system)


def test_no_more_is_sold_than_there_is_in_any_period() -> None:
    shop = Shop()
    shop.reserve(CAPACITY - 1, 2)
    with shop.refuses("ENoCapacity"):
        shop.reserve(2, 1)
    shop.reserve(1, 2)
    with shop.refuses("ENoCapacity"):
        shop.reserve(1, 1)


def test_no_more_is_extended_than_there_is() -> None:
    shop = Shop()
    blob = shop.register(shop.reserve(MEBIBYTES, 2))
    shop.certify(blob)
    shop.reserve(CAPACITY - MEBIBYTES, 3)
    shop.extend(blob, 1)
    later = shop.terms(Terms(PRICE, WRITE_PRICE, MEBIBYTE * (MEBIBYTES - 1)))
    shop.call("blobs", "set_terms", shop.blobs, shop.governor, later)
    with shop.refuses("ENoCapacity"):
        shop.extend(blob, 1)


def test_blob_is_extended_to_53_periods_from_the_current_one_on_and_no_further() -> None:
    shop = Shop()
    blob = shop.register(shop.reserve(MEBIBYTES, 2))
    shop.certify(blob)
    for periods in (0, 52):
        with shop.refuses("EInvalidPeriod"):
            shop.extend(blob, periods)
    shop.extend(blob, 51)
    with shop.refuses("EInvalidPeriod"):
        shop.extend(blob, 1)


def test_terms_are_the_governors_and_count_from_now_on() -> None:
    shop = Shop()
    blob = shop.register(shop.reserve())
    shop.certify(blob)
    before, dearer = shop.paid, shop.terms(Terms(11, 6, 50 * MEBIBYTE))
    shop.call("blobs", "set_terms", shop.blobs, shop.governor, dearer)
    assert shop.events()[-1] == ("TermsChanged", [dearer])
    assert shop.call("blobs", "terms", shop.blobs) == dearer
    shop.extend(blob, 1)
    assert shop.paid == before + MEBIBYTES * 11
    with shop.refuses("ENoCapacity"):
        shop.reserve(51, 1)
    with shop.refuses("EInvalidPrice"):
        shop.call("blobs", "set_terms", shop.blobs, shop.governor, shop.terms(Terms(0, 6, 1)))


def test_nothing_is_sold_before_the_first_epoch() -> None:
    shop = Shop(period=0)
    with shop.refuses("ENoEpochYet"):
        shop.reserve()


def test_nothing_is_sold_late_but_what_is_paid_can_be_used_until_periods_have_stalled() -> None:
    shop = Shop()
    first, second, third = (shop.reserve(MEBIBYTES, 5) for _ in range(3))
    blob = shop.register(first)
    shop.certify(blob)
    shop.time_s += LATE_S
    shop.reserve()
    shop.extend(blob, 1)
    shop.time_s += 1
    with shop.refuses("EStalled"):
        shop.reserve()
    with shop.refuses("EStalled"):
        shop.extend(blob, 1)
    shop.register(second, 1)
    shop.time_s += LATE_S
    with shop.refuses("EStalled"):
        shop.register(deepcopy(third), 2)
    later = shop.call("reservation", "split_by_period", third, PERIOD + 4)
    with shop.refuses("EStalled"):
        shop.call("blobs", "extend_with", shop.blobs, shop.system, blob, later, shop.clock)


@pytest.mark.parametrize("function", [RESERVING, REGISTRATION])
def test_new_things_can_be_paused_each_alone(function: int) -> None:
    shop = Shop()
    reservation = shop.reserve()
    shop.call("system", "pause", shop.system, shop.guardian, function, shop.clock)
    for number, sell in ((RESERVING, shop.reserve), (REGISTRATION, lambda: shop.register(reservation))):
        if number == function:
            with shop.refuses("EPaused"):
                sell()
        else:
            sell()


def test_shared_blob_is_certified_and_extended_by_anyone_and_nobodys() -> None:
    shop = Shop()
    blob = shop.share(shop.reserve())
    output = shop.transaction.host.outputs[id_of(blob.get())[0]]
    assert output.owner.kind is OwnerKind.SHARED
    shop.certify(blob, sender=STRANGER)
    shop.extend(blob, 3, sender=STRANGER)
    assert Fields("blob", "Blob", blob.get())["end_period"] == PERIOD + 5
    with shop.refuses("EShared"):
        shop.call("blobs", "transfer", shop.blobs, shop.system, deepcopy(blob.get()), OWNER)
    with shop.refuses("ENotDeletable"):
        shop.call("blobs", "delete", shop.blobs, shop.system, deepcopy(blob.get()))


def test_sender_that_looked_before_its_own_registration_is_refused() -> None:
    shop = Shop()
    shop.register(shop.reserve())
    for number in range(1, 4):  # of others, and of another kind
        other = int.from_bytes(ROOT, "little") + number
        given = (shop.reserve(), other, LENGTH, False, number, shop.purse, shop.clock)
        shop.call("blobs", "register", shop.blobs, shop.system, *given)
    with shop.refuses("ERegisteredMeanwhile"):
        shop.register(shop.reserve(), 0)
    shop.register(shop.reserve(), 0, deletable=True)
    shop.register(shop.reserve(), 1)
    assert shop.count() == 6


def test_sender_registers_anew_what_has_ended() -> None:
    shop = Shop()
    shop.register(shop.reserve(MEBIBYTES, 1))
    with shop.refuses("ERegisteredMeanwhile"):
        shop.register(shop.reserve(), 0)
    shop.start(NEXT, PERIOD + 1)
    shop.register(shop.reserve(), 0)


def test_sender_that_knows_another_end_pays_nothing() -> None:
    shop = Shop()
    blob = shop.register(shop.reserve())
    shop.certify(blob)
    end = PERIOD + 2
    for known in (end - 1, end + 1):
        with shop.refuses("EEndMoved"):
            given = (blob, 1, known, shop.purse, shop.clock)
            shop.call("blobs", "extend", shop.blobs, shop.system, *given)


def test_object_that_has_ended_is_forgotten_and_no_other() -> None:
    shop = Shop()
    shop.register(shop.reserve(MEBIBYTES, 1))
    shop.register(shop.reserve(MEBIBYTES, 2), 1)
    with shop.refuses("ENotExpired"):
        shop.forget(1)
    shop.start(NEXT, PERIOD + 1)
    with shop.refuses("ENotExpired"):
        shop.forget(1, 2)
    shop.forget(1, 1, 0, 99)
    assert [fields for name, fields in shop.events() if name == "BlobForgotten"] == [[1]]
    shop.register(shop.reserve(), 2)
    with shop.refuses("ERegisteredMeanwhile"):
        shop.register(shop.reserve(), 0)


def test_events_tell_all_of_the_store() -> None:
    shop = Shop()
    given_up = shop.register(shop.reserve(), deletable=True)
    kept = shop.register(shop.reserve(MEBIBYTES + 1, 4), 1)
    shop.certify(kept)
    shop.extend(kept, 2)
    given = shop.register(shop.reserve(), 2)
    shop.call("blobs", "transfer", shop.blobs, shop.system, given.get(), STRANGER)
    shop.call("blobs", "delete", shop.blobs, shop.system, given_up.get())
    shop.register(shop.reserve(MEBIBYTES, 1), 3)
    shop.start(NEXT, PERIOD + 1)
    shop.forget(4)
    listed, accounts, paid = rebuilt(shop)
    state = Fields("blobs", "State", shop.state_of(shop.blobs))
    children = shop.transaction.host.children.values()
    entries = [one.place[0] for one in children if one.parent == id_of(state["listed"])[0] and one.place]
    assert {entry[1]: entry[2] for entry in entries} == listed
    kept_accounts = Fields("space", "Space", state["space"])["accounts"]
    assert {period: one for period, one in enumerate(kept_accounts) if one != [0, 0]} == accounts
    assert paid == shop.paid


def rebuilt(shop: Shop) -> tuple[dict[int, Any], dict[int, list[int]], int]:
    """Return the objects that are listed, the accounts of periods and all that was paid, from the events alone."""
    listed: dict[int, Any] = {}
    numbers: dict[bytes, int] = {}
    accounts: dict[int, list[int]] = {}
    for name, fields in shop.events():
        if name == "BlobRegistered":
            object_, number, blob_id, owner, _, _, _, _, end, deletable, _ = fields
            numbers[object_[0]] = number
            listed[number] = [object_, blob_id, owner, end, deletable]
        elif name == "BlobCertified":
            listed[numbers[fields[0][0]]][3] = fields[3]
        elif name == "BlobTransferred":
            listed[numbers[fields[0][0]]][2] = fields[1]
        elif name == "BlobDeleted":
            del listed[numbers[fields[0][0]]]
        elif name == "BlobForgotten":
            del listed[fields[0]]
        elif name == "SpacePaid":
            _, mebibytes, start, end, per_period = fields
            for period in range(start, end):
                account = accounts.setdefault(period, [0, 0])
                account[:] = [account[0] + mebibytes, account[1] + per_period]
        elif name == "WritePaid":
            accounts.setdefault(fields[1], [0, 0])[1] += fields[2]
    return listed, accounts, sum(payment for _, payment in accounts.values())
