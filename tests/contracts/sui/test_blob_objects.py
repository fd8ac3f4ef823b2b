"""Blob objects in the Move package: certified by a quorum's signatures and by no others, invalidated, destroyed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from committee import messages
from committee.certificate import Certificate
from committee.messages import Intent
from localnet.sui_double.move.types import Datatype, ModuleId, Reference
from localnet.sui_double.move.values import Ref
from localnet.sui_double.stored import OwnerKind
from storage.redstuff import BlobMetadata
from tests.contracts.sui.committees import EPOCH, committee_of, signed_by
from tests.contracts.sui.deployments import DOMAIN, OWNER, USUAL, id_of
from tests.contracts.sui.double import PACKAGE, Refused, modules
from tests.contracts.sui.fields import Fields
from tests.contracts.sui.offices import Office
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

PERIOD, END = 3, 5
ROOT, LENGTH = bytes(range(32)), 77
BLOB_ID = BlobMetadata.id_of(LENGTH, ROOT)
ON_CHAIN = int.from_bytes(BLOB_ID, "little")
CERTIFICATION = 1
"""The number of the function that certifies."""
COMMITTEE = committee_of((4, 3, 2, 1))
QUORUM = {0, 1}
NEXT = replace(COMMITTEE, epoch=EPOCH + 1)


class Writer(Office):
    """An account with blobs, in an epoch whose committee is `COMMITTEE`."""

    def __init__(self) -> None:
        super().__init__()
        self.start(COMMITTEE, PERIOD)

    def register(self, *, is_deletable: bool = False, is_shared: bool = False) -> Ref:
        root = int.from_bytes(ROOT, "little")
        self.call("blob", "create", self.system, 1, root, LENGTH, 2, END, is_deletable, is_shared)
        return self.newest("Blob")

    def certify(self, blob: Ref, given: Certificate, epoch: int = EPOCH) -> None:
        self.call("blob", "certify", blob, self.system, epoch, given.bitmap, given.signature, self.clock)

    def invalidate(self, given: Certificate, epoch: int = EPOCH) -> None:
        self.call(
            *("blob", "invalidate", self.system, ON_CHAIN, epoch),
            *(given.bitmap, given.signature, self.clock),
        )


def certificate_of(object_id: int | None = None, *, epoch: int = EPOCH) -> Certificate:
    body = messages.blob_body(BLOB_ID, object_id)
    return signed_by(COMMITTEE, QUORUM, messages.encode(Intent.BLOB, epoch, body, DOMAIN))


def invalidity(places: set[int]) -> Certificate:
    body = messages.invalid_blob_body(BLOB_ID)
    return signed_by(COMMITTEE, places, messages.encode(Intent.INVALID_BLOB, EPOCH, body, DOMAIN))


def object_id(blob: Ref) -> int:
    return int.from_bytes(id_of(blob.get())[0], "big")


def shown(blob: Ref) -> dict[str, Any]:
    names = ("number", "blob_id", "length", "mebibytes", "registered_epoch", "certified_epoch", "end_period")
    fields = Fields("blob", "Blob", blob.get())
    return {name: fields[name] for name in (*names, "is_deletable", "is_shared")}


REGISTERED: dict[str, Any] = {
    "number": 1,
    "blob_id": ON_CHAIN,
    "length": LENGTH,
    "mebibytes": 2,
    "registered_epoch": EPOCH,
    "certified_epoch": [[]],
    "end_period": END,
    "is_deletable": False,
    "is_shared": False,
}


def test_registered_object_is_the_senders_and_told() -> None:
    writer = Writer()
    blob = writer.register()
    assert shown(blob) == REGISTERED
    (output,) = (one for one in writer.transaction.host.outputs.values() if one.type.name == "Blob")
    assert (output.owner.kind, output.owner.id) == (OwnerKind.ADDRESS, OWNER)
    root = int.from_bytes(ROOT, "little")
    object_ = id_of(blob.get())
    assert writer.events()[-1] == (
        "BlobRegistered",
        [object_, 1, ON_CHAIN, OWNER, root, LENGTH, 2, EPOCH, END, False, False],
    )


def test_shared_object_is_everybodys() -> None:
    writer = Writer()
    writer.register(is_shared=True)
    (output,) = (one for one in writer.transaction.host.outputs.values() if one.type.name == "Blob")
    assert output.owner.kind is OwnerKind.SHARED


def test_quorum_certifies_an_object() -> None:
    writer = Writer()
    blob = writer.register()
    writer.certify(blob, certificate_of())
    assert shown(blob) == REGISTERED | {"certified_epoch": [[EPOCH]]}
    told = ("BlobCertified", [id_of(blob.get()), ON_CHAIN, EPOCH, END, False, False])
    assert writer.events()[-1] == told
    with pytest.raises(Refused, match=r"^EAlreadyCertified$"):
        writer.certify(blob, certificate_of())


def test_certifying_changes_no_shared_object_but_a_shared_blob() -> None:
    """Writers wait for each other where transactions change one object."""
    parameters = modules().function(ModuleId(PACKAGE, "blob"), "certify").handle.parameters
    mutable = [one.target for one in parameters if isinstance(one, Reference) and one.is_mutable]
    assert mutable == [Datatype(ModuleId(PACKAGE, "blob"), "Blob")]


def test_certificate_of_a_deletable_object_is_for_that_one() -> None:
    writer = Writer()
    first, second = (writer.register(is_deletable=True) for _ in range(2))
    with pytest.raises(Refused, match=r"^EBadSignature$"):
        writer.certify(first, certificate_of())
    with pytest.raises(Refused, match=r"^EBadSignature$"):
        writer.certify(second, certificate_of(object_id(first)))
    writer.certify(second, certificate_of(object_id(second)))


def test_certificate_of_a_permanent_blob_is_for_all_its_permanent_objects() -> None:
    writer = Writer()
    first, second = (writer.register() for _ in range(2))
    for blob in (first, second):
        writer.certify(blob, certificate_of())
    deletable = writer.register(is_deletable=True)
    with pytest.raises(Refused, match=r"^EBadSignature$"):
        writer.certify(deletable, certificate_of())


def test_too_few_signers_certify_nothing() -> None:
    writer = Writer()
    body = messages.encode(Intent.BLOB, EPOCH, messages.blob_body(BLOB_ID), DOMAIN)
    with pytest.raises(Refused, match=r"^ENotEnoughWeight$"):
        writer.certify(writer.register(), signed_by(COMMITTEE, {0, 2}, body))


def test_expired_object_is_not_certified() -> None:
    writer = Writer()
    blob = writer.register()
    writer.start(NEXT, END - 1)
    writer.certify(blob, certificate_of(epoch=EPOCH + 1), EPOCH + 1)
    late = writer.register()
    writer.start(replace(NEXT, epoch=EPOCH + 2), END)
    with pytest.raises(Refused, match=r"^EExpired$"):
        writer.certify(late, certificate_of(epoch=EPOCH + 2), EPOCH + 2)


def test_certificate_of_the_epoch_before_counts_until_handover_and_grace_are_over() -> None:
    writer = Writer()
    blobs = [writer.register() for _ in range(3)]
    writer.start(NEXT, PERIOD)
    writer.certify(blobs[0], certificate_of())
    writer.finish()
    writer.time_s += USUAL.certificate_grace_s - 1
    writer.certify(blobs[1], certificate_of())
    writer.time_s += 1
    with pytest.raises(Refused, match=r"^EWrongEpoch$"):
        writer.certify(blobs[2], certificate_of())


def test_certificate_is_not_older_than_the_object() -> None:
    writer = Writer()
    writer.start(NEXT, PERIOD)
    blob = writer.register()
    with pytest.raises(Refused, match=r"^ECertificateTooOld$"):
        writer.certify(blob, certificate_of())
    writer.certify(blob, certificate_of(epoch=EPOCH + 1), EPOCH + 1)


def test_nothing_is_certified_while_that_is_paused() -> None:
    writer = Writer()
    blob = writer.register()
    writer.call("system", "pause", writer.system, writer.guardian, CERTIFICATION, writer.clock)
    with pytest.raises(Refused, match=r"^EPaused$"):
        writer.certify(blob, certificate_of())
    writer.call("system", "unpause", writer.system, writer.guardian, CERTIFICATION)
    writer.certify(blob, certificate_of())


def test_members_of_whom_one_is_correct_invalidate_a_blob() -> None:
    writer = Writer()
    registered = writer.register()
    with pytest.raises(Refused, match=r"^ENotEnoughWeight$"):
        writer.invalidate(invalidity({1}))
    with pytest.raises(Refused, match=r"^EBadSignature$"):
        writer.invalidate(certificate_of())
    writer.invalidate(invalidity({0}))
    assert writer.events()[-1] == ("BlobInvalidated", [ON_CHAIN, EPOCH])
    assert writer.call("system", "is_invalid", writer.system, ON_CHAIN)
    assert not writer.call("system", "is_invalid", writer.system, ON_CHAIN + 1)
    for refused in (
        lambda: writer.invalidate(invalidity({0})),
        lambda: writer.certify(registered, certificate_of()),
        writer.register,
    ):
        with pytest.raises(Refused, match=r"^EInvalidBlob$"):
            refused()


def test_invalidation_cannot_be_paused() -> None:
    writer = Writer()
    for function in range(256):
        try:
            writer.call("system", "pause", writer.system, writer.guardian, function, writer.clock)
        except Refused as refused:
            assert str(refused) == "ENotPausable"
            break
    writer.invalidate(invalidity({0}))


def test_object_is_destroyed_when_it_has_ended() -> None:
    writer = Writer()
    blob = writer.register()
    with pytest.raises(Refused, match=r"^ENotExpired$"):
        writer.call("blob", "destroy", list(blob.get()), writer.system)
    writer.start(NEXT, END)
    assert id_of(blob.get())[0] in writer.transaction.host.created
    writer.call("blob", "destroy", blob.get(), writer.system)
    assert writer.events()[-1] == ("BlobDestroyed", [id_of(blob.get())])
    assert id_of(blob.get())[0] not in writer.transaction.host.created
