"""The adapter against the real contracts on a real chain: blobs, their certificates, and the events of it all."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import pytest

from committee import messages
from committee.errors import LedgerError, LedgerRefused
from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRegistered,
    BlockMark,
    CommitteeSelected,
    EpochStarted,
    EpochState,
    HandoverDone,
    MemberEjected,
    NetworkAddressChanged,
    ShardsAttested,
)
from committee.ledger.evm import DeploymentParameters
from committee.messages import EjectionReason, Intent
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network

STAKES = (40, 30, 20, 10)
ROOT = bytes(range(32))
LENGTH = 5000


def blob_id_of(root: bytes, length: int) -> bytes:
    return hashlib.blake2b(b"\x01" + length.to_bytes(8, "little") + root, digest_size=32).digest()


async def certified_blob(network: Network, *, deletable: bool = False) -> int:
    """A blob object that a quorum signed, in the current epoch."""
    state = await network.operator.epoch_state()
    object_id, _ = await network.operator.register_blob(ROOT, LENGTH, 3, deletable)
    body = messages.blob_body(blob_id_of(ROOT, LENGTH), object_id if deletable else None)
    await network.operator.certify_blob(object_id, network.sign(state, Intent.BLOB, body))
    return object_id


async def test_blob_is_registered_and_certified(launch: Launch) -> None:
    network = await launch(STAKES)
    state = await network.begin_epoch()
    object_id, _ = await network.operator.register_blob(ROOT, LENGTH, 3)
    registered = await network.operator.blob_object(object_id)
    assert registered.blob_id == blob_id_of(ROOT, LENGTH)
    assert (registered.certified_epoch, registered.end_period) == (None, 4)
    assert not registered.is_live(1)

    body = messages.blob_body(registered.blob_id)
    await network.operator.certify_blob(object_id, network.sign(state, Intent.BLOB, body, [1, 2]))
    certified = await network.operator.blob_object(object_id)
    assert certified.certified_epoch == 1
    assert certified.is_live(1)
    assert await live_objects(network.operator) == [certified]


async def test_certificate_below_the_quorum_is_refused(launch: Launch) -> None:
    network = await launch(STAKES)
    state = await network.begin_epoch()
    assert state.current is not None
    object_id, _ = await network.operator.register_blob(ROOT, LENGTH, 3)
    certificate = network.sign(state, Intent.BLOB, messages.blob_body(blob_id_of(ROOT, LENGTH)), [1, 3])
    with pytest.raises(LedgerRefused) as refusal:
        await network.operator.certify_blob(object_id, certificate)
    assert refusal.value.reason == "NotEnoughWeight"
    assert refusal.value.arguments == {"weight": state.current.weight_of({1, 3}), "needed": 7}
    assert "Blobs.certify" in str(refusal.value)


async def test_certificate_over_another_blob_is_refused(launch: Launch) -> None:
    network = await launch(STAKES)
    state = await network.begin_epoch()
    object_id, _ = await network.operator.register_blob(ROOT, LENGTH, 3)
    certificate = network.sign(state, Intent.BLOB, messages.blob_body(blob_id_of(ROOT, LENGTH + 1)))
    with pytest.raises(LedgerRefused, match="BadSignature"):
        await network.operator.certify_blob(object_id, certificate)


async def test_certificate_with_a_swapped_signer_is_refused(launch: Launch) -> None:
    network = await launch((25, 25, 25, 25))
    state = await network.begin_epoch()
    object_id, _ = await network.operator.register_blob(ROOT, LENGTH, 3)
    body = messages.blob_body(blob_id_of(ROOT, LENGTH))
    signed = network.sign(state, Intent.BLOB, body, [1, 2, 3])
    swapped = type(signed)(signed.epoch, signed.message, bytes([0b1101]), signed.signature)
    with pytest.raises(LedgerRefused, match="BadSignature"):
        await network.operator.certify_blob(object_id, swapped)


async def test_a_blob_is_invalidated_by_one_correct_member_and_only_once(launch: Launch) -> None:
    network = await launch(STAKES)
    state = await network.begin_epoch()
    object_id = await certified_blob(network)
    blob_id = blob_id_of(ROOT, LENGTH)
    body = messages.invalid_blob_body(blob_id)
    with pytest.raises(LedgerRefused, match="NotEnoughWeight"):
        await network.operator.invalidate_blob(blob_id, network.sign(state, Intent.INVALID_BLOB, body, [3]))
    with pytest.raises(LedgerRefused, match="BadSignature"):
        await network.operator.invalidate_blob(bytes(32), network.sign(state, Intent.INVALID_BLOB, body))
    await network.operator.invalidate_blob(blob_id, network.sign(state, Intent.INVALID_BLOB, body, [1]))
    invalid = await network.operator.blob_object(object_id)
    assert invalid.invalid
    assert not invalid.is_live(1)
    with pytest.raises(LedgerRefused) as refusal:
        await network.operator.invalidate_blob(
            blob_id, network.sign(state, Intent.INVALID_BLOB, body, [2, 3])
        )
    assert refusal.value.reason == "InvalidBlob"


async def test_registration_is_paid_and_permitted_in_one_transaction(launch: Launch) -> None:
    priced = DeploymentParameters(10, 600, 300, 30, price_per_mib_period=5, write_price_per_mib=0)
    network = await launch(STAKES, priced)
    await network.begin_epoch()
    assert network.operator.account is not None
    with pytest.raises(LedgerRefused, match="ERC20InsufficientBalance"):
        await network.operator.register_blob(ROOT, LENGTH, 2)
    await network.operator.mint(network.operator.account, 25)
    block = (await network.operator.head()).number
    await network.operator.register_blob(ROOT, LENGTH, 2)
    assert (await network.operator.head()).number == block + 1
    assert await network.operator.balance(network.operator.account) == 15
    block = (await network.operator.head()).number
    await network.operator.register_blob(ROOT, LENGTH, 3)
    assert await network.operator.balance(network.operator.account) == 0
    assert (await network.operator.head()).number == block + 1
    token, account = network.operator._reader.token, network.operator.account
    assert await network.operator._reader.call(token, "nonces", account) == 1, "the second needs no permit"


async def test_unknown_blob_object_is_refused(launch: Launch) -> None:
    network = await launch(STAKES)
    with pytest.raises(LedgerRefused) as refusal:
        await network.operator.blob_object(1)
    assert (refusal.value.reason, refusal.value.arguments) == ("UnknownObject", {"objectId": 1})


async def test_blob_longer_than_any_number_is_refused_before_it_is_sent(launch: Launch) -> None:
    network = await launch(STAKES)
    with pytest.raises(LedgerError, match="cannot be encoded"):
        await network.operator.register_blob(ROOT, 1 << 64, 3)


# events

NOWHERE = BlockMark(0, bytes(32))


async def delete_one_invalidate_the_other_and_eject(
    network: Network, state: EpochState, deleted: int
) -> None:
    """Delete a blob object, have all others of its blob id declared invalid, and have member 4 ejected."""
    await network.operator._send(network.operator._reader.blobs, "remove", deleted)
    blob_id = blob_id_of(ROOT, LENGTH)
    wrong = network.sign(state, Intent.INVALID_BLOB, messages.invalid_blob_body(blob_id))
    await network.operator.invalidate_blob(blob_id, wrong)
    deadline_s = await network.operator.chain_time_s() + 60
    ejection = network.sign(state, Intent.EJECT, messages.eject_body(4, deadline_s), [1, 2, 3])
    await network.operator.eject(4, EjectionReason.SILENT, deadline_s, ejection)


async def test_events_are_told_in_the_order_they_happened(launch: Launch) -> None:
    network = await launch((30, 30, 30, 10))
    first = await network.begin_epoch()
    kept, deleted = await certified_blob(network), await certified_blob(network, deletable=True)
    await delete_one_invalidate_the_other_and_eject(network, first, deleted)
    await network.nodes[1].ledger.update_address(2, "http://elsewhere:1")
    second = await network.begin_epoch()
    await network.hand_over(second)
    events = await network.operator.events(0, (await network.operator.head()).number)

    blob_id, account = blob_id_of(ROOT, LENGTH), str(network.operator.account)
    told = [dataclasses.replace(event, block=NOWHERE) for event in events]
    assert [event for event in told if not isinstance(event, ShardsAttested)] == [
        CommitteeSelected(NOWHERE, 1),
        EpochStarted(NOWHERE, 1, 1),
        HandoverDone(NOWHERE, 1),
        BlobRegistered(NOWHERE, kept, blob_id, account, 1, LENGTH, 4, deletable=False),
        BlobCertified(NOWHERE, kept, blob_id, 1, 4, deletable=False, is_extension=False),
        BlobRegistered(NOWHERE, deleted, blob_id, account, 1, LENGTH, 4, deletable=True),
        BlobCertified(NOWHERE, deleted, blob_id, 1, 4, deletable=True, is_extension=False),
        BlobDeleted(NOWHERE, deleted, blob_id, 1),
        BlobInvalidated(NOWHERE, blob_id, 1),
        MemberEjected(NOWHERE, 1, 4, EjectionReason.SILENT),
        NetworkAddressChanged(NOWHERE, 2),
        CommitteeSelected(NOWHERE, 2),
        EpochStarted(NOWHERE, 2, 2),
        HandoverDone(NOWHERE, 2),
    ]
    gained = [(node.node_id, tuple(network.gained(second, node))) for node in network.nodes]
    assert [event for event in told if isinstance(event, ShardsAttested)] == [
        ShardsAttested(NOWHERE, 2, node_id, shards) for node_id, shards in gained if shards
    ]
    blocks = [event.block.number for event in events]
    assert blocks == sorted(blocks)
    assert EpochStarted(second.started_block or NOWHERE, 2, 2) in events
    records = await live_objects(network.operator)
    assert [(one.object_id, one.deleted, one.invalid) for one in records] == [(kept, False, True)]
    assert (await network.operator.blob_object(deleted)).deleted


async def test_events_of_no_blocks_are_none(launch: Launch) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    head = await network.operator.head()
    assert await network.operator.events(head.number + 1, head.number) == []
    assert await network.operator.events(head.number, head.number) != []
