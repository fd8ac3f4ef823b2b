"""Storing pays once: what an earlier try has paid for is found on chain and gone on with."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from committee.certificate import Certificate
from committee.errors import LedgerRefused, TransactionUnknown
from committee.ledger import BlobObjects, BlobRecord, Transaction
from storage.client import cli
from storage.client.client import Client
from storage.client.errors import NotCertified, NotEnoughConfirmations, NotExtended, WrongBlob
from storage.client.purchase import Outcome, StoredBlob, best_object
from storage.redstuff import RedStuff, blob_id_text
from tests.storage.client.conftest import UserLedger
from tests.storage.network import SHARDS

if TYPE_CHECKING:
    from tests.storage.client.conftest import Tap
    from tests.storage.network import Network

DATA = random.Random(2).randbytes(2000)
BLOB = RedStuff(10).encode(DATA)


def objects(ledger: UserLedger) -> int:
    """How many objects were registered, so paid for."""
    return len(ledger.chain.records)


async def leave_registered(network: Network, user: Client, periods: int = 3, deletable: bool = False) -> int:
    """A store that fails after its registration; the object's id."""
    await network.stop(3, 4)
    with pytest.raises(NotCertified) as failed:
        await user.store(DATA, periods, deletable)
    await network.start(3, 4)
    return failed.value.object_id


async def test_a_failure_names_the_object_and_the_next_store_goes_on_with_it(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    await network.stop(3, 4)
    with pytest.raises(NotCertified, match=r"object 1, is registered and paid for.*node-3, node-4") as failed:
        await user.store(DATA, 3)
    assert (failed.value.object_id, failed.value.blob_id) == (1, BLOB.blob_id)
    assert isinstance(failed.value.cause, NotEnoughConfirmations)
    assert failed.value.__cause__ is failed.value.cause
    assert blob_id_text(BLOB.blob_id) in str(failed.value)
    await network.start(3, 4)
    stored = await user.store(DATA, 3)
    assert (stored.object_id, stored.outcome, stored.register_gas) == (1, Outcome.CONTINUED, 0)
    assert stored.end_period == 4
    assert objects(ledger) == 1


@pytest.mark.parametrize("deletable", [False, True])
async def test_another_process_goes_on_with_it_as_well(
    network: Network, user: Client, ledger: UserLedger, deletable: bool
) -> None:
    object_id = await leave_registered(network, user, deletable=deletable)
    async with Client(UserLedger(network.chain)) as another:
        stored = await another.store(DATA, 3, deletable)
    assert (stored.object_id, stored.outcome) == (object_id, Outcome.CONTINUED)
    assert ledger.chain.records[object_id].certified_epoch == 1


async def test_a_certified_blob_is_not_paid_again(user: Client, ledger: UserLedger) -> None:
    first = await user.store(DATA, 3)
    again = await user.store(DATA, 2)
    assert (first.outcome, again.outcome) == (Outcome.REGISTERED, Outcome.FOUND)
    assert replace(again, outcome=first.outcome, register_gas=0) == first
    assert (objects(ledger), ledger.posted) == (1, [1])


async def test_force_pays_again(user: Client, ledger: UserLedger) -> None:
    first = await user.store(DATA, 3)
    again = await user.store(DATA, 3, force=True)
    assert (again.outcome, again.object_id) == (Outcome.REGISTERED, first.object_id + 1)
    assert objects(ledger) == 2


async def test_a_blob_that_ends_too_early_is_extended(user: Client, ledger: UserLedger) -> None:
    await user.store(DATA, 2)
    stored = await user.store(DATA, 5)
    assert (stored.outcome, stored.end_period, objects(ledger)) == (Outcome.EXTENDED, 6, 1)
    assert ledger.chain.records[1].end_period == 6


async def test_an_extension_that_fails_names_the_object(
    user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await user.store(DATA, 2)

    async def refuse(object_id: int, periods: int, *, known_end: int) -> Transaction:
        raise LedgerRefused("Blobs.extend", "NoCapacity")

    monkeypatch.setattr(ledger, "extend_blob", refuse)
    with pytest.raises(NotExtended, match=r"object 1, is certified.*NoCapacity"):
        await user.store(DATA, 5)


async def test_a_registered_object_is_certified_and_extended_after_an_epoch(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    object_id = await leave_registered(network, user, periods=3)
    network.chain.start(SHARDS)
    await network.seen()
    stored = await user.store(DATA, 3)
    assert (stored.object_id, stored.outcome, stored.end_period) == (object_id, Outcome.CONTINUED, 5)
    assert ledger.chain.records[object_id].end_period == 5


async def test_an_expired_object_is_not_gone_on_with(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    object_id = await leave_registered(network, user, periods=1)
    network.chain.start(SHARDS)
    await network.seen()
    stored = await user.store(DATA, 1)
    assert (stored.object_id, stored.outcome, stored.end_period) == (object_id + 1, Outcome.REGISTERED, 3)
    assert objects(ledger) == 2
    assert await user.read(BLOB.blob_id) == DATA


async def test_anothers_permanent_blob_serves_and_its_owner_is_named(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    await network.upload(BLOB, end_period=4)
    stored = await user.store(DATA, 3)
    assert (stored.owner, stored.outcome, objects(ledger)) == ("writer", Outcome.FOUND, 1)
    assert (await user.store(DATA, 4)).owner == "user", (
        "it ends too early, and is not the account's to extend"
    )
    assert objects(ledger) == 2


async def test_anothers_deletable_blob_does_not_serve(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    others = await network.upload(BLOB, end_period=40, deletable=True)
    stored = await user.store(DATA, 3)
    assert (stored.object_id, stored.outcome, stored.owner) == (others + 1, Outcome.REGISTERED, "user")
    assert (stored.end_period, objects(ledger)) == (4, 2)
    network.chain.delete(others)
    await network.seen()
    assert await user.read(BLOB.blob_id) == DATA


async def test_two_stores_of_the_same_bytes_at_once_pay_once(user: Client, ledger: UserLedger) -> None:
    one, other = await asyncio.gather(user.store(DATA, 3), user.store(DATA, 3))
    assert one.object_id == other.object_id
    assert {one.outcome, other.outcome} == {Outcome.REGISTERED, Outcome.FOUND}
    assert objects(ledger) == 1


class SlowLedger(UserLedger):
    """The account's chain as another process has it, whose looks take so long that all that run at once look too."""

    async def blob_objects(self, root: bytes, length: int) -> BlobObjects:
        found = await super().blob_objects(root, length)
        for _ in range(10):
            await asyncio.sleep(0)
        return found


async def store_in_two_processes(network: Network, periods: int) -> list[StoredBlob]:
    """As two processes of one account do that store the same bytes at once."""
    async with (
        Client(SlowLedger(network.chain)) as one,
        Client(SlowLedger(network.chain)) as other,
    ):
        purchases = [client._purchase(RedStuff(10), BLOB, lambda *_: None) for client in (one, other)]
        return await asyncio.gather(*(each.store(periods, False, False) for each in purchases))


async def test_two_processes_that_register_the_same_bytes_at_once_pay_once(network: Network) -> None:
    one, other = await store_in_two_processes(network, 3)
    assert len(network.chain.records) == 1
    assert {one.outcome, other.outcome} == {Outcome.REGISTERED, Outcome.CONTINUED}
    assert one.object_id == other.object_id


async def test_two_processes_that_extend_the_same_object_at_once_pay_once(
    network: Network, user: Client
) -> None:
    await user.store(DATA, 2)
    one, other = await store_in_two_processes(network, 5)
    assert network.chain.records[1].end_period == one.end_period == other.end_period == 6
    assert {one.outcome, other.outcome} == {Outcome.EXTENDED, Outcome.FOUND}


async def test_a_cancelled_store_says_in_a_note_what_is_paid(
    network: Network, user: Client, ledger: UserLedger, confirmations: Tap
) -> None:
    confirmations.hang(*(f"node-{node_id}" for node_id in SHARDS))
    storing = asyncio.create_task(user.store(DATA, 3))
    await network.until(lambda: len(confirmations.asked) == len(SHARDS))
    storing.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await storing
    assert "object 1, is registered and paid for" in cancelled.value.__notes__[0]
    confirmations.before = None
    assert (await user.store(DATA, 3)).object_id == 1
    assert objects(ledger) == 1


async def test_a_lost_answer_to_the_registration_is_found_on_chain(
    user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger.register_blob

    async def lose(*arguments: object, **options: object) -> tuple[int, Transaction]:
        await real(*arguments, **options)  # type: ignore[arg-type]
        raise TransactionUnknown("no receipt of transaction 0x00", bytes(32))

    with monkeypatch.context() as lost:
        lost.setattr(ledger, "register_blob", lose)
        with pytest.raises(TransactionUnknown):
            await user.store(DATA, 3)
    assert (await user.store(DATA, 3)).outcome is Outcome.CONTINUED
    assert objects(ledger) == 1


async def test_a_lost_answer_to_the_certificate_is_found_on_chain(
    user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger.certify_blob

    async def lose(object_id: int, certificate: Certificate) -> Transaction:
        await real(object_id, certificate)
        raise TransactionUnknown("no receipt of transaction 0x00", bytes(32))

    with monkeypatch.context() as lost:
        lost.setattr(ledger, "certify_blob", lose)
        with pytest.raises(NotCertified, match=r"object 1, .*no receipt of transaction 0x00"):
            await user.store(DATA, 3)
    assert (await user.store(DATA, 3)).outcome is Outcome.FOUND
    assert objects(ledger) == 1


async def test_an_object_that_is_certified_meanwhile_is_no_failure(user: Client, ledger: UserLedger) -> None:
    async def certify() -> None:
        ledger.chain.certify(1)

    ledger.before_certify = certify
    stored = await user.store(DATA, 3)
    assert (stored.certified_epoch, stored.certify_gas) == (1, 0)


@pytest.mark.parametrize("deletable", [False, True])
async def test_an_object_that_a_reorganisation_gave_another_id_is_gone_on_with(
    user: Client, ledger: UserLedger, confirmations: Tap, deletable: bool
) -> None:
    """The registration was mined again, behind another account's: raiden-network/light-client#1936."""
    chain, before = ledger.chain, ledger.chain.blocks[-1].mark
    other = RedStuff(10).encode(b"another's")

    async def reorganise(_: str) -> None:
        confirmations.before = None
        chain.rewind(before)
        chain.register(other)
        await ledger.register_blob(BLOB.metadata.root, BLOB.length, 3, deletable)

    confirmations.before = reorganise
    stored = await user.store(DATA, 3, deletable)
    assert (stored.object_id, stored.outcome) == (2, Outcome.CONTINUED)
    assert [one.certified_epoch for one in chain.records.values()] == [None, 1]


# certifying by object id


async def test_an_object_that_is_certified_already_needs_no_certificate(
    user: Client, ledger: UserLedger
) -> None:
    stored = await user.store(DATA, 3)
    again = await user.certify(stored.object_id, DATA)
    assert (again.outcome, again.certify_gas, ledger.posted) == (Outcome.FOUND, 0, [1])


async def test_a_deleted_object_is_told_as_such(user: Client, ledger: UserLedger) -> None:
    stored = await user.store(DATA, 3, deletable=True)
    await ledger.delete_blob(stored.object_id)
    with pytest.raises(WrongBlob, match="object 1 was deleted"):
        await user.certify(stored.object_id, DATA)


# the rule

RECORDS = st.builds(
    BlobRecord,
    object_id=st.integers(1, 5),
    blob_id=st.just(BLOB.blob_id),
    length=st.just(len(DATA)),
    owner=st.sampled_from(["user", "another"]),
    registered_epoch=st.just(1),
    certified_epoch=st.sampled_from([None, 2]),
    end_period=st.integers(3, 9),
    deletable=st.booleans(),
    invalid=st.booleans(),
)


@given(st.lists(RECORDS, max_size=5, unique_by=lambda one: one.object_id), st.integers(3, 9), st.booleans())
def test_the_object_gone_on_with_costs_least(records: list[BlobRecord], end: int, deletable: bool) -> None:
    def cost(one: BlobRecord) -> int | None:
        """In periods to pay, before gas; None for an object that cannot serve."""
        if one.invalid or one.deletable != deletable:
            return None
        if one.owner != "user" and (deletable or one.certified_epoch is None or one.end_period < end):
            return None
        return max(0, end - one.end_period)

    costs = [paid for paid in map(cost, records) if paid is not None]
    chosen = best_object(records, "user", end, deletable)
    if not costs:
        assert chosen is None
    else:
        assert chosen is not None
        if min(costs) == 0:
            assert cost(chosen) == 0
        certified = [
            one for one in records if cost(one) is not None and one.certified_epoch and one.owner == "user"
        ]
        if chosen.certified_epoch is None:
            assert all(cost(one) for one in certified), "a certified object that lasts needs no gas"


async def test_an_extension_to_an_epoch_is_paid_once(user: Client, ledger: UserLedger) -> None:
    """Typed again after an answer was lost: akash-network/console#3449, MutinyWallet/mutiny-web#1105."""
    stored = await user.store(DATA, 2)
    paying = ledger
    until = stored.end_period + 3
    extended = await cli.extend(paying, stored.object_id, until=until)
    assert (extended["periods"], extended["end_period"]) == (3, until)
    for earlier in (until, until - 1):
        again = await cli.extend(paying, stored.object_id, until=earlier)
        assert "nothing was paid" in again["outcome"] and again["end_period"] == until
    assert (await ledger.blob_object(stored.object_id)).end_period == until
    with pytest.raises(typer.BadParameter, match="not both"):
        await cli.extend(paying, stored.object_id, periods=1, until=until)
    await cli.extend(paying, stored.object_id)
    assert (await ledger.blob_object(stored.object_id)).end_period == until + 1
