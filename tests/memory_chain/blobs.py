"""The rules of blob objects: `contracts/evm/src/Blobs.sol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from committee import messages
from committee.certificate import Certificate
from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobObjects,
    BlobRecord,
    BlobRegistered,
    BlobTransferred,
    Event,
)
from committee.messages import BLOB_ID_BYTES, Intent
from storage.redstuff import BlobMetadata
from tests.memory_chain import space
from tests.memory_chain.contracts import Contracts, Outcome, Revert
from tests.memory_chain.space import MAX_PERIODS_AHEAD, NOBODY


def reserve_and_register(
    now: Contracts,
    account: str,
    root: bytes,
    length: int,
    periods: int,
    deletable: bool,
    known_up_to: int | None = None,
) -> Outcome:
    """Register a blob object of the account's for `periods` periods."""
    _require_no_newer(now, account, root, length, deletable, known_up_to)
    space.needed(now, length)
    end_period = space.end_of(now, periods)
    return register(now, account, BlobMetadata.id_of(length, root), length, end_period, deletable)


def reserve_and_register_all(
    now: Contracts,
    account: str,
    new: Sequence[tuple[bytes, int]],
    periods: int,
    deletable: bool,
    known_up_to: int | None = None,
) -> Outcome:
    """Register blob objects of the account's, by root and length, all or none."""
    events: list[Event] = []
    for root, length in new:
        now, told = reserve_and_register(now, account, root, length, periods, deletable, known_up_to)
        events.extend(told)
    return now, tuple(events)


def register_in(
    now: Contracts,
    account: str,
    resource_id: int,
    root: bytes,
    length: int,
    deletable: bool,
    known_up_to: int | None = None,
) -> Outcome:
    """Register a blob object in a reservation of the account's, which it uses up."""
    _require_no_newer(now, account, root, length, deletable, known_up_to)
    reserved = space.own(now, account, resource_id)
    if reserved.start_period > now.state.period:
        raise Revert("NotBegun", startPeriod=reserved.start_period)
    if now.is_stalled:
        raise Revert("Stalled")
    size_bytes = space.needed(now, length)
    if reserved.size_bytes < size_bytes:
        raise Revert("ReservationTooSmall", size=reserved.size_bytes, needed=size_bytes)
    blob_id, end_period = BlobMetadata.id_of(length, root), reserved.end_period
    left = space.gone(now, resource_id)
    return register(left, account, blob_id, length, end_period, deletable, size_bytes=reserved.size_bytes)


def register(
    now: Contracts,
    owner: str,
    blob_id: bytes,
    length: int,
    end_period: int,
    deletable: bool,
    object_id: int | None = None,
    *,
    size_bytes: int | None = None,
) -> Outcome:
    """Register a blob object with the next id, or with the id named by hand, in as much space as it needs."""
    _require_valid(now, blob_id)
    if object_id is None:
        object_id = max(now.records, default=0) + 1
    state = now.state
    record = BlobRecord(object_id, blob_id, length, owner, state.epoch, None, end_period, deletable)
    told = BlobRegistered(state.block, object_id, blob_id, owner, state.epoch, length, end_period, deletable)
    sizes = {**now.sizes, object_id: space.whole(size_bytes or space.needed(now, length))}
    return replace(_with(now, record), sizes=sizes), (told,)


def live_objects(now: Contracts, blob_id: bytes) -> list[BlobRecord]:
    """Return the blob's objects that are neither deleted nor expired, newest first."""
    records = [one for one in now.records.values() if one.blob_id == blob_id]
    live = [one for one in records if one.is_registered(now.state.period)]
    return sorted(live, key=lambda one: one.object_id, reverse=True)


def objects(now: Contracts, root: bytes, length: int) -> BlobObjects:
    """As `Ledger.blob_objects`."""
    live = live_objects(now, BlobMetadata.id_of(length, root))
    return BlobObjects(tuple(live), max(now.records, default=0))


def certify(now: Contracts, object_id: int, certificate: Certificate) -> Outcome:
    """Certify an object by the signatures of a quorum that holds the blob."""
    certified_epoch = _existing(now, object_id).certified_epoch
    if certified_epoch is not None:
        raise Revert("AlreadyCertified", objectId=object_id, epoch=certified_epoch)
    return certify_many(now, {object_id: certificate})


def certify_many(now: Contracts, certificates: Mapping[int, Certificate]) -> Outcome:
    """Certify objects, by object id each with its certificate; those that are certified stay as they are."""
    then, events, bodies = now, list[Event](), dict[int, bytes]()
    for object_id, certificate in certificates.items():
        then, told = certified(then, object_id, certificate.epoch)
        events.extend(told)
        record = then.records[object_id]
        bodies[object_id] = messages.blob_body(record.blob_id, object_id if record.deletable else None)
    for object_id, certificate in certificates.items():
        now.verify(certificate.epoch, Intent.BLOB, bodies[object_id], certificate)
    return then, tuple(events)


def certified(now: Contracts, object_id: int, epoch: int) -> Outcome:
    """Return the state with the object certified in `epoch`; the certificate is still to be verified."""
    record = _existing(now, object_id)
    _require_unexpired(now, record)
    if epoch < record.registered_epoch:
        raise Revert("CertificateTooOld", epoch=epoch, registeredEpoch=record.registered_epoch)
    _require_valid(now, record.blob_id)
    if record.certified_epoch is not None:
        return now, ()
    return _told(now, replace(record, certified_epoch=epoch), is_extension=False)


def transfer(now: Contracts, account: str, object_id: int, to: str) -> Outcome:
    """Give a blob object of the account's, while it lives, to another owner."""
    record = _owned(now, account, object_id)
    _require_unexpired(now, record)
    if to == NOBODY:
        raise Revert("InvalidOwner")
    return _with(now, replace(record, owner=to)), (BlobTransferred(now.state.block, object_id, to),)


def extend(now: Contracts, object_id: int, periods: int, known_end: int | None = None) -> Outcome:
    """Extend a certified blob, while it lives; any account may. `known_end` is None for the end that it has."""
    record, period = _extendable(now, object_id), now.state.period
    if known_end not in (None, record.end_period):
        raise Revert("EndMoved", endPeriod=record.end_period)
    if now.is_late:
        raise Revert("Stalled")
    most = period + MAX_PERIODS_AHEAD - record.end_period
    if not 1 <= periods <= most:
        raise Revert("InvalidPeriod", periodsAhead=periods, most=most)
    return _told(now, replace(record, end_period=record.end_period + periods), is_extension=True)


def extend_with(now: Contracts, account: str, object_id: int, resource_id: int) -> Outcome:
    """Extend a certified blob, of any owner, by the periods of the account's reservation behind the blob's end."""
    record = _extendable(now, object_id)
    reserved = space.own(now, account, resource_id)
    is_adjoining = reserved.start_period <= record.end_period < reserved.end_period
    if not is_adjoining or reserved.size_bytes != now.sizes[object_id]:
        raise Revert("NotAdjoining", resourceId=resource_id)
    left = space.shortened(now, reserved, record.end_period)
    return _told(left, replace(record, end_period=reserved.end_period), is_extension=True)


def remove(now: Contracts, account: str, object_id: int) -> Outcome:
    """Delete a deletable blob of the account's, while it lives; the chain then knows the object's id alone."""
    record = _owned(now, account, object_id)
    if not record.deletable:
        raise Revert("NotDeletable", objectId=object_id)
    _require_unexpired(now, record)
    told = BlobDeleted(now.state.block, object_id, record.blob_id, now.state.epoch)
    gone = BlobRecord(object_id, bytes(BLOB_ID_BYTES), 0, NOBODY, 0, None, 0, deletable=False, deleted=True)
    size_bytes = now.sizes[object_id]
    then = space.kept(now, account, size_bytes, now.state.period, record.end_period)
    return _with(then, gone), (told,)


def invalidate(now: Contracts, blob_id: bytes, certificate: Certificate | None) -> Outcome:
    """Mark a blob as invalid: no node has to keep it. `certificate` is None when this is done by hand."""
    _require_valid(now, blob_id)
    epoch = now.state.epoch
    if certificate is not None:
        epoch, body = certificate.epoch, messages.invalid_blob_body(blob_id)
        now.verify(epoch, Intent.INVALID_BLOB, body, certificate, "one_correct")
    records = {
        object_id: replace(one, invalid=True) if one.blob_id == blob_id else one
        for object_id, one in now.records.items()
    }
    then = replace(now, records=records, invalid=now.invalid | {blob_id})
    return then, (BlobInvalidated(now.state.block, blob_id, epoch),)


def _told(now: Contracts, record: BlobRecord, *, is_extension: bool) -> Outcome:
    assert record.certified_epoch is not None
    told = BlobCertified(
        now.state.block,
        record.object_id,
        record.blob_id,
        record.certified_epoch,
        record.end_period,
        record.deletable,
        is_extension,
    )
    return _with(now, record), (told,)


def _with(now: Contracts, record: BlobRecord) -> Contracts:
    return replace(now, records={**now.records, record.object_id: record})


def _existing(now: Contracts, object_id: int) -> BlobRecord:
    record = now.records.get(object_id)
    if record is None or record.deleted:
        raise Revert("UnknownObject", objectId=object_id)
    return record


def _extendable(now: Contracts, object_id: int) -> BlobRecord:
    record = _existing(now, object_id)
    if record.certified_epoch is None:
        raise Revert("NotCertified", objectId=object_id)
    _require_unexpired(now, record)
    if now.is_stalled:
        raise Revert("Stalled")
    _require_valid(now, record.blob_id)
    return record


def _owned(now: Contracts, account: str, object_id: int) -> BlobRecord:
    record = _existing(now, object_id)
    if record.owner != account:
        raise Revert("NotOwner", owner=record.owner)
    return record


def _require_no_newer(
    now: Contracts, account: str, root: bytes, length: int, deletable: bool, known_up_to: int | None
) -> None:
    """Refuse an account that has a newer object of the blob than it knows of; none when that is None."""
    if known_up_to is None:
        return
    for one in live_objects(now, BlobMetadata.id_of(length, root)):
        if (one.owner, one.deletable) == (account, deletable) and one.object_id > known_up_to:
            raise Revert("RegisteredMeanwhile", objectId=one.object_id)


def _require_unexpired(now: Contracts, record: BlobRecord) -> None:
    if record.end_period <= now.state.period:
        raise Revert("Expired", endPeriod=record.end_period)


def _require_valid(now: Contracts, blob_id: bytes) -> None:
    if blob_id in now.invalid:
        raise Revert("InvalidBlob", blobId=int.from_bytes(blob_id, "little"))
