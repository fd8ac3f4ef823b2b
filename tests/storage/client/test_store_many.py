"""Many blobs stored together: few requests, each paid once, and none fails for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from committee.certificate import Certificate
from committee.errors import LedgerRefused, LedgerUnavailable
from committee.ledger import BlobObjects, BlobRecord, Transaction
from storage.client import batching
from storage.client.client import Client
from storage.client.errors import NodeRefused, NotCertified, NotEnoughConfirmations
from storage.client.failures import Reason
from storage.client.purchase import Outcome, StoredBlob
from storage.redstuff import RedStuff, TooLarge
from tests.storage.client.conftest import Tap, UserLedger
from tests.storage.network import SHARDS

if TYPE_CHECKING:
    from tests.storage.network import Network

CODE = RedStuff(10)
MANY = [bytes((number,)) * (50 + 30 * number) for number in range(8)]
LARGE = bytes(range(256)) * 500
"""Of slivers that are sent one by one."""


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "put_blobs")


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Tap:
    """The requests for confirmations of many blobs."""
    return Tap(monkeypatch, "confirmations")


@pytest.fixture
def slivers_alone(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "put_sliver")


async def outcomes(
    user: Client, blobs: Sequence[bytes] = MANY, **options: Any
) -> list[StoredBlob | Exception]:
    return [one async for one in user.store_many(blobs, 3, **options)]


async def all_stored(user: Client, blobs: Sequence[bytes] = MANY, **options: Any) -> list[StoredBlob]:
    told = await outcomes(user, blobs, **options)
    assert all(isinstance(one, StoredBlob) for one in told), told
    return [one for one in told if isinstance(one, StoredBlob)]


def registered(network: Network) -> int:
    return len(network.chain.records)


async def test_many_blobs_are_stored_in_one_request_a_node(
    network: Network, user: Client, uploads: Tap, together: Tap, slivers_alone: Tap
) -> None:
    before = len(network.chain.blocks)
    stored = await all_stored(user)
    assert [one.blob_id for one in stored] == [CODE.encode(data).blob_id for data in MANY]
    assert {one.outcome for one in stored} == {Outcome.REGISTERED}
    assert [one.object_id for one in stored] == list(range(1, 9))
    assert {one.end_period for one in stored} == {network.chain.state.period + 3}
    assert len(network.chain.blocks) == before + 2, "a registration and a certificate"
    assert sorted(uploads.asked) == sorted(together.asked) == [f"node-{node_id}" for node_id in SHARDS]
    assert slivers_alone.asked == []
    await network.seen()
    for data, one in zip(MANY, stored, strict=True):
        assert all(network.is_complete(node_id, CODE.encode(data)) for node_id in SHARDS)
        assert await user.read(one.blob_id) == data


async def test_a_small_blob_is_stored_in_one_request_a_node_and_a_large_one_sliver_by_sliver(
    user: Client, uploads: Tap, slivers_alone: Tap
) -> None:
    await user.store(MANY[3], 3)
    assert sorted(uploads.asked) == [f"node-{node_id}" for node_id in SHARDS]
    assert slivers_alone.asked == []
    uploads.asked.clear()
    await user.store(LARGE, 3)
    assert uploads.asked == []
    assert len(slivers_alone.asked) == 20


async def test_small_and_large_blobs_are_stored_together(user: Client, slivers_alone: Tap) -> None:
    stored = await all_stored(user, [MANY[0], LARGE, MANY[1]])
    assert len(slivers_alone.asked) == 20
    assert [await user.read(one.blob_id) for one in stored] == [MANY[0], LARGE, MANY[1]]


async def test_blobs_go_in_as_many_batches_as_it_takes(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BLOBS_IN_A_BATCH", 3)

    async def given() -> AsyncIterator[bytes]:
        for data in MANY:
            yield data

    stored = [one async for one in user.store_many(given(), 3)]
    assert [one.blob_id for one in stored if isinstance(one, StoredBlob)] == [
        CODE.encode(data).blob_id for data in MANY
    ]
    assert registered(network) == len(MANY)


async def test_a_blob_given_twice_is_paid_once(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BLOBS_IN_A_BATCH", 3)
    stored = await all_stored(user, [MANY[0], MANY[1], MANY[0], MANY[1]])
    assert sorted(one.outcome for one in stored) == [Outcome.FOUND] * 2 + [Outcome.REGISTERED] * 2
    assert [one.object_id for one in stored[:2]] == [one.object_id for one in stored[2:]]
    assert registered(network) == 2


async def test_a_blob_that_is_too_large_fails_alone(user: Client) -> None:
    too_large, *others = await outcomes(user, [bytes(CODE.max_blob_bytes + 1), *MANY[:2]])
    assert isinstance(too_large, TooLarge)
    assert all(isinstance(one, StoredBlob) for one in others)


async def test_what_is_no_bytes_fails_alone(user: Client) -> None:
    released = memoryview(b"walrus")
    released.release()
    wrong: list[Any] = ["text", None, 5, released]
    told = await outcomes(user, [MANY[0], *wrong, MANY[1]])
    assert [type(one) for one in told] == [
        StoredBlob,
        TypeError,
        TypeError,
        TypeError,
        ValueError,
        StoredBlob,
    ]


async def test_nothing_is_stored_of_no_blobs(network: Network, user: Client) -> None:
    assert await outcomes(user, []) == []
    assert registered(network) == 0


# paid once


async def test_what_was_stored_before_is_found_and_what_was_registered_is_gone_on_with(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    found = await user.store(MANY[0], 3)
    short = await user.store(MANY[1], 1)
    waiting = CODE.encode(MANY[2]).metadata
    object_id, _ = await ledger.register_blob(waiting.root, waiting.length, 3, False)
    stored = await all_stored(user, MANY[:4])
    assert [(one.outcome, one.object_id) for one in stored] == [
        (Outcome.FOUND, found.object_id),
        (Outcome.EXTENDED, short.object_id),
        (Outcome.CONTINUED, object_id),
        (Outcome.REGISTERED, 4),
    ]
    assert len({one.end_period for one in stored}) == 1
    forced = await all_stored(user, MANY[:2], force=True)
    assert [one.object_id for one in forced] == [5, 6]


async def test_a_store_that_ends_between_upload_and_certificate_is_gone_on_with_and_paid_once(
    network: Network, user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(certificates: Mapping[int, Certificate]) -> list[Transaction]:
        raise LedgerUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "certify_blobs", fail)
        failed = await outcomes(user)
    assert [one.object_id for one in failed if isinstance(one, NotCertified)] == list(range(1, 9))
    stored = await all_stored(user)
    assert [(one.outcome, one.object_id) for one in stored] == [
        (Outcome.CONTINUED, object_id) for object_id in range(1, 9)
    ]
    assert registered(network) == len(MANY)


async def test_a_cancelled_store_names_what_is_paid_for(network: Network, user: Client, uploads: Tap) -> None:
    goes_on = uploads.hang(*(f"node-{node_id}" for node_id in SHARDS))
    storing = asyncio.create_task(outcomes(user))
    await network.until(lambda: len(uploads.asked) == len(SHARDS))
    storing.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await storing
    (note,) = cancelled.value.__notes__
    assert "blob objects 1, 2, 3, 4, 5, 6, 7, 8 are registered and paid for" in note
    goes_on.set()
    assert {one.outcome for one in await all_stored(user)} == {Outcome.CONTINUED}
    assert registered(network) == len(MANY)


class OldEndpoint(UserLedger):
    """Tells of no object when it is asked for several blobs, as an endpoint that is behind."""

    async def objects_of_blobs(self, asked: Sequence[tuple[bytes, int]]) -> list[BlobObjects]:
        return [BlobObjects((), 0) for _ in asked]


async def test_an_object_that_the_endpoint_did_not_tell_of_is_not_paid_again(
    network: Network, user: Client
) -> None:
    before = [await user.store(data, 3) for data in MANY[1:3]]
    async with Client(OldEndpoint(network.chain)) as late:
        stored = await all_stored(late, MANY[:4])
    assert [one.object_id for one in stored[1:3]] == [one.object_id for one in before]
    assert registered(network) == 4


async def test_a_blob_whose_registration_is_refused_fails_alone(network: Network, user: Client) -> None:
    invalid = CODE.encode(MANY[5])
    network.chain.invalidate(invalid.blob_id)
    told = await outcomes(user)
    refused = told.pop(5)
    assert isinstance(refused, LedgerRefused)
    assert refused.reason == "InvalidBlob"
    assert all(isinstance(one, StoredBlob) for one in told)
    assert registered(network) == len(MANY) - 1


async def test_an_object_that_cannot_be_certified_fails_alone(
    network: Network, user: Client, ledger: UserLedger, together: Tap
) -> None:
    """Its owner deletes it meanwhile."""

    async def delete(name: str) -> None:
        if not network.chain.records[3].deleted:
            await ledger.delete_blob(3)

    together.before = delete
    told = await outcomes(user, deletable=True)
    failed = told.pop(2)
    assert isinstance(failed, NotCertified)
    assert failed.object_id == 3
    assert all(isinstance(one, StoredBlob) for one in told), told


# nodes


def spoilt(answers: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """The answers with other signatures at some places: each is that of another blob."""
    return [
        (answers[place][0], answers[place - 1][1]) if place in places else answer
        for place, answer in enumerate(answers)
    ]


async def test_a_node_that_signs_some_wrongly_is_left_out_where_it_does(
    network: Network, user: Client, together: Tap
) -> None:
    before = len(network.chain.blocks)
    together.change = lambda name, answers: spoilt(answers, (2, 5)) if name == "node-1" else answers
    assert len(await all_stored(user)) == len(MANY)
    assert len(network.chain.blocks) == before + 2, "those that confirmed all the blobs are enough"


async def test_signatures_that_hold_together_alone_certify_together_alone(
    network: Network, user: Client, ledger: UserLedger, together: Tap
) -> None:
    """Two nodes exchange two of their signatures; a third confirms only some, so that the sets of signers differ."""

    def change(name: str, answers: list[Any]) -> list[Any]:
        if name in ("node-1", "node-2"):
            return answers
        refusal = NodeRefused(name, "", 400, Reason.MISSING_SLIVERS, "lost")
        return [refusal, *answers[1:]] if name == "node-3" else [answers[0], refusal, *answers[2:]]

    together.change = change
    stored = await all_stored(user)
    assert len(stored) == len(MANY)


async def test_too_few_confirmations_of_a_blob_fail_it_alone(user: Client, together: Tap) -> None:
    def change(name: str, answers: list[Any]) -> list[Any]:
        refusal = NodeRefused(name, "", 400, Reason.INVALID_REQUEST, "test")
        return [*answers[:4], refusal, *answers[5:]] if name in ("node-1", "node-2") else answers

    together.change = change
    told = await outcomes(user)
    failed = told.pop(4)
    assert isinstance(failed, NotCertified)
    assert isinstance(failed.cause, NotEnoughConfirmations)
    assert "node-1, node-2: INVALID_REQUEST" in str(failed)
    assert all(isinstance(one, StoredBlob) for one in told)


@pytest.mark.parametrize("status", [404, 405])
async def test_a_node_that_knows_no_batches_is_sent_single_requests(
    network: Network, user: Client, uploads: Tap, slivers_alone: Tap, together: Tap, status: int
) -> None:
    async def refuse(name: str) -> None:
        if name == "node-2":
            raise NodeRefused(name, "", status, None, "no such path")

    uploads.before = refuse
    await all_stored(user, MANY[:2])
    assert slivers_alone.asked == ["node-2"] * 2 * 2 * len(SHARDS[2])
    assert "node-2" not in together.asked
    await all_stored(user, MANY[2:4])
    assert uploads.asked.count("node-2") == 1, "it is not asked again"
    await network.seen()
    assert all(network.is_complete(2, CODE.encode(data)) for data in MANY[:4])


async def test_a_node_that_refuses_a_batch_for_another_reason_fails(
    user: Client, uploads: Tap, slivers_alone: Tap
) -> None:
    async def refuse(name: str) -> None:
        if name == "node-2":
            raise NodeRefused(name, "", 400, Reason.INVALID_REQUEST, "test")

    uploads.before = refuse
    assert len(await all_stored(user)) == len(MANY), "three nodes of four are a quorum"
    assert slivers_alone.asked == []


async def test_nodes_behind_the_chain_are_waited_for(network: Network, user: Client) -> None:
    for node_id in (1, 2):
        network.hold(node_id)
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "settle" and stage not in stages:
            for node_id in (1, 2):
                network.let_go(node_id)
        stages.append(stage)

    stored = await all_stored(user, progress=progress)
    assert len(stored) == len(MANY)
    assert "settle" in stages


async def test_the_epoch_may_change_while_blobs_are_stored(
    network: Network, user: Client, together: Tap
) -> None:
    async def start(name: str) -> None:
        if network.chain.state.epoch == 1:
            network.chain.start(SHARDS)
            await network.seen()

    together.before = start
    stored = await all_stored(user)
    assert {one.certified_epoch for one in stored} <= {1, 2}
    assert registered(network) == len(MANY)


# memory


def counted(blobs: Sequence[bytes], taken: list[bytes]) -> Iterator[bytes]:
    for data in blobs:
        taken.append(data)
        yield data


async def test_no_more_blobs_are_taken_than_may_be_in_memory(
    user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BLOBS_IN_A_BATCH", 2)
    monkeypatch.setattr(batching, "BATCHES_AT_ONCE", 2)
    taken: list[bytes] = []
    many = [number.to_bytes(2, "big") for number in range(20)]
    seen = 0
    async for stored in user.store_many(counted(many, taken), 3):
        assert isinstance(stored, StoredBlob)
        assert len(taken) <= seen + 1 + 2 * 2
        seen += 1
    assert seen == len(taken) == 20


async def test_large_blobs_make_small_batches() -> None:
    given: list[Sequence[batching.Data]] = []

    async def work(batch: Sequence[batching.Data]) -> Sequence[int]:
        given.append(batch)
        return [len(one) for one in batch]

    blobs = [bytes(one) for one in (6, 5, 4, 3, 20, 1)]
    sizes = [one async for one in batching.in_batches(blobs, lambda length: length * 2**21, work)]
    assert sizes == [6, 5, 4, 3, 20, 1]
    assert [[len(one) for one in batch] for batch in given] == [[6, 5, 4], [3], [20], [1]]


async def test_a_store_that_is_given_up_leaves_nothing_running(network: Network, user: Client) -> None:
    async with aclosing(user.store_many(MANY * 30, 3)) as storing:
        async for stored in storing:
            assert isinstance(stored, StoredBlob)
            break
    before = registered(network)
    await asyncio.sleep(0.05)
    assert registered(network) == before


async def test_a_closed_client_takes_no_blobs(ledger: UserLedger) -> None:
    client = Client(ledger)
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await outcomes(client)


async def test_records_are_those_of_the_chain(network: Network, user: Client, ledger: UserLedger) -> None:
    for one in await all_stored(user):
        record: BlobRecord = await ledger.blob_object(one.object_id)
        assert (record.blob_id, record.end_period) == (one.blob_id, one.end_period)
        assert (record.certified_epoch, record.owner) == (one.certified_epoch, one.owner)
