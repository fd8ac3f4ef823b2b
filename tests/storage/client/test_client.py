"""Storing against real nodes over a chain in memory: members that are behind, certificates that are late."""

from __future__ import annotations

import asyncio
import pickle
import random
import re
from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from committee import bls, messages
from committee.errors import LedgerRefused
from committee.ledger import BlockMark, EpochState
from committee.messages import Intent
from storage.client.errors import (
    BlobUnavailable,
    NoCommittee,
    NodeFailure,
    NotCertified,
    NotEnoughConfirmations,
    ObjectEnded,
    WrongBlob,
)
from storage.redstuff import InvalidEncoding, RedStuff
from tests.memory_chain import MemoryChain
from tests.storage.client.conftest import Tap
from tests.storage.network import PARAMETERS, SHARDS

if TYPE_CHECKING:
    from storage.client.client import Client
    from tests.storage.client.conftest import UserLedger
    from tests.storage.network import Network

CODE = RedStuff(10)  # p = 4, s = 7; 7 of 10 shards are a quorum
DATA = random.Random(1).randbytes(3000)
MOVED = {1: (0, 1, 2, 6), 2: (3, 4, 5), 3: (7,), 4: (8, 9)}
"""Shard 6 goes from node 3 to node 1."""
SWAPPED = {1: (3, 4, 5), 2: (0, 1, 2), 3: (6, 7), 4: (8, 9)}
"""Nodes 1 and 2 change places: four shards are kept, no quorum."""


async def register_and_start_unseen(network: Network, node_id: int) -> int:
    """The object of a blob, and then the next epoch, with the same shards, which one node does not see start.

    (Of a blob that is registered later than it sees, it would not take a sliver.)
    """
    object_id = network.chain.register(CODE.encode(DATA).metadata)
    await network.seen()
    network.hold(node_id)
    network.chain.start(SHARDS)
    await network.seen()
    return object_id


def failures_of(error: NotCertified) -> dict[int, NodeFailure]:
    """Node → why it did not confirm."""
    assert isinstance(error.cause, NotEnoughConfirmations)
    return error.cause.failures


# storing


async def test_a_blob_goes_there_and_back(network: Network, user: Client, ledger: UserLedger) -> None:
    stored = await user.store(DATA, 3)
    assert (stored.size_bytes, stored.certified_epoch, ledger.posted) == (3000, 1, [1])
    await network.seen()
    assert all(node.view.is_live(stored.blob_id) for node in network.running.values())
    assert await user.read(stored.blob_id) == DATA
    for form in (str(stored.blob_id), int.from_bytes(stored.blob_id, "little"), bytes(stored.blob_id)):
        assert await user.read(form) == DATA
    with pytest.raises(InvalidEncoding, match="has 43 characters"):
        await user.read("no id")


@pytest.mark.parametrize(
    "data",
    [memoryview(b"abcdefgh" * 500)[::2], memoryview(array("d", range(500))), memoryview(b"")],
    ids=["scattered", "of eight bytes each", "empty"],
)
async def test_a_view_of_any_form_is_stored_as_its_bytes(
    user: Client, data: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dask/distributed#1159, btclib-org/btclib#1260: the length of a view is not the number of its bytes."""
    sizes: list[int] = []
    real = RedStuff.grid_size

    def grid_size(code: RedStuff, size_bytes: int) -> int:
        sizes.append(size_bytes)
        return real(code, size_bytes)

    monkeypatch.setattr(RedStuff, "grid_size", grid_size)
    stored = await user.store(data, 2)
    assert await user.read(stored.blob_id) == data.tobytes()
    async for again in user.store_many([data], 2):
        assert not isinstance(again, Exception) and again.blob_id == stored.blob_id
    assert set(sizes) == {data.nbytes}


async def test_a_deletable_blob_is_confirmed_as_its_object(user: Client, ledger: UserLedger) -> None:
    stored = await user.store(DATA, 3, deletable=True)
    assert ledger.chain.records[stored.object_id].deletable


async def test_a_registered_blob_is_certified_later(user: Client, ledger: UserLedger) -> None:
    blob = CODE.encode(DATA)
    object_id, _ = await ledger.register_blob(blob.metadata.root, len(DATA), 3, False)
    with pytest.raises(WrongBlob, match=f"object {object_id} was registered for blob"):
        await user.certify(object_id, DATA[:-1])
    stored = await user.certify(object_id, DATA)
    assert (stored.blob_id, stored.object_id) == (blob.blob_id, object_id)


async def test_nothing_is_stored_before_the_first_epoch(user: Client, ledger: UserLedger) -> None:
    ledger.chain = MemoryChain(PARAMETERS)
    with pytest.raises(NoCommittee, match="start an epoch first"):
        await user.store(DATA, 1)


# members that are behind


async def test_a_client_that_is_closed_says_so_before_anything_is_paid(
    user: Client, ledger: UserLedger
) -> None:
    await user.close()
    for work in (user.store(DATA, 3), user.certify(1, DATA), user.read(bytes(32))):
        with pytest.raises(RuntimeError, match="this client is closed"):
            await work
    assert not ledger.chain.records


async def test_a_member_that_sees_the_epoch_late_is_waited_for(
    network: Network, user: Client, confirmations: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    await network.stop(3)
    object_id = await register_and_start_unseen(network, 4)
    healths = Tap(monkeypatch, "health")

    async def see_at_the_third(name: str) -> None:
        if healths.asked.count("node-4") == 3:
            network.let_go(4)
            await network.seen()

    healths.before = see_at_the_third
    stored = await user.certify(object_id, DATA)
    assert stored.certified_epoch == 2, "without node 4, six of ten shards would have been left"
    assert healths.asked.count("node-4") >= 3
    assert confirmations.asked.count("node-4") <= 2
    assert confirmations.asked.count("node-1") == 1


@pytest.mark.usefixtures("hasty")
async def test_a_member_that_stays_behind_is_named_when_the_quorum_is_missed(
    network: Network, user: Client, confirmations: Tap, ledger: UserLedger
) -> None:
    await network.stop(3)
    object_id = await register_and_start_unseen(network, 4)
    with pytest.raises(
        NotCertified, match=r"needed 7 of 10 shards, reachable 6: no answer from node-3; node-4: "
    ) as missed:
        await user.certify(object_id, DATA)
    failures = failures_of(missed.value)
    assert failures.keys() == {3, 4}
    assert re.match(r"stands at block \d+ of the chain for 0.3 s, and", failures[4].why)
    assert ledger.posted == []


@pytest.mark.usefixtures("hasty")
async def test_a_member_that_stays_behind_is_done_without_when_the_others_are_a_quorum(
    network: Network, user: Client, confirmations: Tap
) -> None:
    object_id = await register_and_start_unseen(network, 4)
    stored = await user.certify(object_id, DATA)
    assert stored.certified_epoch == 2


async def test_members_that_are_ahead_are_not_waited_for_but_asked_anew(
    network: Network, user: Client, confirmations: Tap, ledger: UserLedger
) -> None:
    """The epoch starts when the slivers are uploaded and nothing is confirmed."""

    async def start(name: str) -> None:
        if network.chain.state.epoch == 1:
            network.chain.start(SHARDS)
        await network.seen()

    confirmations.before = start
    stored = await user.store(DATA, 3)
    assert (stored.certified_epoch, ledger.posted) == (2, [2])
    assert sorted(confirmations.asked) == sorted(2 * [f"node-{node_id}" for node_id in SHARDS])


def another_blob(signed: bytes) -> bytes:
    decoded = messages.decode(signed)
    return messages.encode(Intent.BLOB, decoded.epoch, messages.blob_body(bytes(32)), decoded.domain)


def another_chain(signed: bytes) -> bytes:
    decoded = messages.decode(signed)
    return messages.encode(Intent.BLOB, decoded.epoch, decoded.body, bytes(32))


@pytest.mark.parametrize("message", [another_blob, another_chain, lambda signed: signed[:-1], lambda _: b""])
async def test_another_message_than_the_blobs_is_not_waited_for(
    network: Network, user: Client, confirmations: Tap, message: Callable[[bytes], bytes]
) -> None:
    await network.stop(3)
    confirmations.change = lambda name, answer: (
        (message(answer[0]), answer[1]) if name == "node-4" else answer
    )
    with pytest.raises(NotCertified, match="node-4: confirmed another message"):
        await user.store(DATA, 3)
    assert confirmations.asked.count("node-4") == 1


def forge(network: Network, confirmations: Tap, liar: str) -> None:
    forged = network.secret(9).sign(b"another")
    confirmations.change = lambda name, answer: (answer[0], forged) if name == liar else answer


async def test_a_signature_that_does_not_hold_is_left_out(
    network: Network, user: Client, confirmations: Tap
) -> None:
    forge(network, confirmations, "node-4")
    assert (await user.store(DATA, 3)).certified_epoch == 1


async def test_a_forged_signature_does_not_end_the_wait_for_an_honest_one(
    network: Network, user: Client, confirmations: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 3 confirms when the others' signatures were judged: six good shards of ten, and two forged ones."""
    forge(network, confirmations, "node-4")
    goes_on = confirmations.hang("node-3")
    loop, judged, real = asyncio.get_running_loop(), 0, bls.verify

    def verify(*arguments: bytes) -> bool:
        nonlocal judged
        judged += 1
        if judged == 3:
            loop.call_soon_threadsafe(goes_on.set)
        return real(*arguments)

    monkeypatch.setattr(bls, "verify", verify)
    assert (await user.store(DATA, 3)).certified_epoch == 1


async def test_members_that_share_a_name_are_told_apart(
    network: Network, user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are not unique on chain: kept by name, one failure would hide the other."""
    real = ledger.epoch_state

    async def with_twins(at: BlockMark | None = None) -> EpochState:
        state = await real(at)
        assert state.current is not None
        members = (replace(one, name="twin") if one.node_id >= 3 else one for one in state.current.members)
        return replace(state, current=replace(state.current, members=tuple(members)))

    monkeypatch.setattr(ledger, "epoch_state", with_twins)
    await network.stop(3, 4)
    with pytest.raises(NotCertified, match=r"no answer from twin \(node 3\), twin \(node 4\)") as missed:
        await user.store(DATA, 3)
    assert failures_of(missed.value).keys() == {3, 4}
    await network.stop(1)
    with pytest.raises(BlobUnavailable, match=r"no answer from node-1, twin \(node 3\), twin \(node 4\)"):
        await user.read(CODE.encode(DATA).blob_id)


async def test_who_forges_a_signature_is_named(network: Network, user: Client, confirmations: Tap) -> None:
    forge(network, confirmations, "node-4")
    await network.stop(3)
    with pytest.raises(NotCertified, match=r"reachable 6: no answer from node-3; node-4: ") as missed:
        await user.store(DATA, 3)
    assert failures_of(missed.value)[4].why == "its signature does not hold"


# certificates that are late


async def change(network: Network, *, done: bool) -> None:
    """The next epoch, seen by all when its handover is done; while it is not, its gaining members see nothing of it."""
    if done:
        network.chain.start(MOVED)
        await network.until(lambda: 6 in network.chain.attested)
    else:
        for node_id in (1, 2):
            network.hold(node_id)
        network.chain.start(SWAPPED)
    await network.seen()
    assert network.chain.state.handover_done is done


async def test_a_certificate_that_comes_after_the_handover_is_gathered_anew(
    network: Network, user: Client, ledger: UserLedger, confirmations: Tap
) -> None:
    ledger.before_certify = lambda: change(network, done=True)
    stored = await user.store(DATA, 3)
    assert ledger.posted == [1, 2]
    assert stored.certified_epoch == 2
    assert sorted(confirmations.asked) == sorted(2 * [f"node-{node_id}" for node_id in SHARDS])
    await network.seen()
    assert all(network.is_complete(node_id, CODE.encode(DATA)) for node_id in SHARDS), "shard 6 too"


async def test_a_certificate_that_comes_during_the_handover_is_good(
    network: Network, user: Client, ledger: UserLedger
) -> None:
    ledger.before_certify = lambda: change(network, done=False)
    stored = await user.store(DATA, 3)
    assert (stored.certified_epoch, ledger.posted) == (1, [1])


@pytest.mark.parametrize("size_bytes", [3000, 40_000], ids=["together", "one by one"])
async def test_what_nodes_drop_of_a_deleted_object_is_uploaded_anew_for_the_next(
    network: Network, user: Client, confirmations: Tap, size_bytes: int
) -> None:
    """ipfs/kubo#6252: what is added again while its garbage is collected. Nodes see the deletion after the upload."""
    data = random.Random(3).randbytes(size_bytes)
    stored = await user.store(data, 3, deletable=True)
    await network.seen()
    for node_id in SHARDS:
        network.hold(node_id)
    deleted = await user.ledger.delete_blob(stored.object_id)
    is_dropped = asyncio.Event()

    async def drop(name: str) -> None:
        if not is_dropped.is_set():
            is_dropped.set()
            for node_id in SHARDS:
                network.ledgers[node_id].held = deleted.block
            await network.until(lambda: all(network.has_nothing(one, stored.blob_id) for one in SHARDS))
            for node_id in SHARDS:
                network.let_go(node_id)

    confirmations.before = drop
    again = await user.store(data, 3, deletable=True)
    assert is_dropped.is_set() and again.object_id == stored.object_id + 1
    assert await user.read(again.blob_id) == data


@pytest.mark.parametrize("is_certified", [False, True])
async def test_an_object_whose_time_is_over_is_not_told_as_certified(
    network: Network, user: Client, is_certified: bool
) -> None:
    if is_certified:
        object_id = (await user.store(DATA, 1)).object_id
    else:
        object_id = (await user.ledger.register_blob(CODE.encode(DATA).metadata.root, len(DATA), 1))[0]
    network.chain.start(SHARDS)
    await network.seen()
    with pytest.raises(
        WrongBlob, match=f"object {object_id} lived until period 2 began: store the blob anew"
    ):
        await user.certify(object_id, DATA)


@pytest.mark.parametrize("is_confirmed", [False, True])
async def test_an_object_that_is_deleted_while_its_blob_is_uploaded_is_told_as_lost(
    network: Network, user: Client, ledger: UserLedger, confirmations: Tap, is_confirmed: bool
) -> None:
    async def delete(name: str = "") -> None:
        if not network.chain.records[1].deleted:
            await user.ledger.delete_blob(1)
            await network.seen()

    if is_confirmed:
        ledger.before_certify = delete
    else:
        confirmations.before = delete
    with pytest.raises(NotCertified, match="not certified: it was deleted before it was certified") as lost:
        await user.store(DATA, 3, deletable=True)
    assert isinstance(lost.value.cause, ObjectEnded) and "no second time" not in str(lost.value)


@pytest.mark.parametrize("is_batch", [False, True])
async def test_a_blob_whose_periods_end_while_it_is_uploaded_is_told_as_lost(
    network: Network, user: Client, confirmations: Tap, monkeypatch: pytest.MonkeyPatch, is_batch: bool
) -> None:
    """MystenLabs/walrus#940, at the end of a period that alone was paid for: to go on with the object is no use."""

    async def start(name: str) -> None:
        if network.chain.state.epoch == 1:
            network.chain.start(SHARDS)
            await network.seen()

    async def store() -> object:
        if not is_batch:
            return await user.store(DATA, 1)
        (one,) = [one async for one in user.store_many([DATA], 1)]
        if isinstance(one, Exception):
            raise one
        return one

    for tap in (confirmations, Tap(monkeypatch, "confirmations")):
        tap.before = start
    with pytest.raises(
        NotCertified, match=r"time was over when period 2 began, .* pays for a new object"
    ) as lost:
        await store()
    assert isinstance(lost.value.cause, ObjectEnded) and "no second time" not in str(lost.value)
    assert str(pickle.loads(pickle.dumps(lost.value))) == str(lost.value)
    await store()
    assert [one.certified_epoch for one in network.chain.records.values()] == [None, 2]


@pytest.mark.parametrize("overtaken", [False, True], ids=["same epoch", "next epoch"])
async def test_a_certificate_that_is_refused_for_another_reason_is_not_gathered_anew(
    network: Network, user: Client, ledger: UserLedger, overtaken: bool
) -> None:
    async def refuse() -> None:
        if overtaken:
            await change(network, done=True)
        raise LedgerRefused("certify", "BlobExpired")

    ledger.before_certify = refuse
    with pytest.raises(NotCertified, match="BlobExpired"):
        await user.store(DATA, 3)
    assert ledger.posted == [1]


async def test_a_wrong_epoch_that_is_the_current_one_is_not_tried_again(
    user: Client, ledger: UserLedger
) -> None:
    async def refuse() -> None:
        raise LedgerRefused("certify", "WrongEpoch")

    ledger.before_certify = refuse
    with pytest.raises(NotCertified, match="WrongEpoch"):
        await user.store(DATA, 3)
    assert ledger.posted == [1]
