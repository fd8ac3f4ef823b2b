"""Certificates in the Move package: what the rules in Python take is taken, all else is refused by its error's name."""

from __future__ import annotations

import random

import pytest

from committee import certificate, messages
from committee.certificate import Certificate
from committee.errors import InvalidCertificate, NotEnoughWeight
from committee.membership import Committee
from committee.messages import Intent
from tests.contracts.sui.committees import EPOCH, committee_of, in_move, secret, signed_by
from tests.contracts.sui.double import Refused, Transaction
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

DOMAIN = bytes([9]) * 32
BLOB = bytes(range(32))


def verify(committee: Committee, intent: Intent, body: bytes, bitmap: bytes, signature: bytes) -> int:
    transaction = Transaction()
    held = in_move(transaction, committee)
    weight: int = transaction.call("committee", "verify", held, intent, DOMAIN, body, bitmap, signature)
    return weight


SMALL = committee_of((4, 1, 1, 1, 1, 1, 1, 4, 1))
BODY = messages.blob_body(BLOB)
MESSAGE = messages.encode(Intent.BLOB, EPOCH, BODY, DOMAIN)
QUORUM = {0, 1, 2, 4, 7}
GOOD = signed_by(SMALL, QUORUM, MESSAGE)


def test_certificate_of_a_quorum_is_taken_with_its_weight() -> None:
    assert verify(SMALL, Intent.BLOB, BODY, GOOD.bitmap, GOOD.signature) == 11
    assert certificate.verify(GOOD, SMALL, DOMAIN) == 11
    everybody = signed_by(SMALL, set(range(9)), MESSAGE)
    assert verify(SMALL, Intent.BLOB, BODY, everybody.bitmap, everybody.signature) == 15


def test_missing_bytes_of_a_bitmap_count_as_zeros() -> None:
    assert GOOD.bitmap[1] == 0
    assert verify(SMALL, Intent.BLOB, BODY, GOOD.bitmap[:1], GOOD.signature) == 11


def test_one_correct_member_is_enough_for_an_invalid_blob_alone() -> None:
    body = messages.invalid_blob_body(BLOB)
    few = signed_by(SMALL, {0, 1, 2}, messages.encode(Intent.INVALID_BLOB, EPOCH, body, DOMAIN))
    assert verify(SMALL, Intent.INVALID_BLOB, body, few.bitmap, few.signature) == 6
    few = signed_by(SMALL, {0, 1, 2}, MESSAGE)
    with pytest.raises(Refused, match=r"^ENotEnoughWeight$"):
        verify(SMALL, Intent.BLOB, BODY, few.bitmap, few.signature)


@pytest.mark.parametrize(
    ("mutation", "bitmap", "signature", "error"),
    [
        ("one shard short", b"\x87", signed_by(SMALL, {0, 1, 2, 7}, MESSAGE).signature, "ENotEnoughWeight"),
        ("nobody", b"", GOOD.signature, "ENotEnoughWeight"),
        ("a byte too long", b"\x97\x00\x00", GOOD.signature, "EBadBitmap"),
        ("a bit beyond the members", b"\x97\x02", GOOD.signature, "EBadBitmap"),
        ("a member marked that did not sign", b"\x9f", GOOD.signature, "EBadSignature"),
        ("all marked", b"\xff\x01", GOOD.signature, "EBadSignature"),
        ("another member marked in the place of one", b"\xa7", GOOD.signature, "EBadSignature"),
        ("bits from the most significant on", b"\xe9", GOOD.signature, "EBadSignature"),
        ("another signature", b"\x97", secret(0).sign(MESSAGE), "EBadSignature"),
        ("the identity", b"\x97", b"\xc0" + bytes(95), "EBadSignature"),
        ("no point", b"\x97", bytes(96), "EBadSignature"),
        ("cut short", b"\x97", GOOD.signature[:-1], "EBadSignature"),
        ("empty", b"\x97", b"", "EBadSignature"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_other_certificate_is_refused(mutation: str, bitmap: bytes, signature: bytes, error: str) -> None:
    with pytest.raises(Refused, match=f"^{error}$"):
        verify(SMALL, Intent.BLOB, BODY, bitmap, signature)


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        ("epoch", messages.encode(Intent.BLOB, EPOCH + 1, BODY, DOMAIN)),
        ("domain", messages.encode(Intent.BLOB, EPOCH, BODY, bytes(32))),
        ("without a domain", messages.encode(Intent.BLOB, EPOCH, BODY, None)),
        ("intent", messages.encode(Intent.INVALID_BLOB, EPOCH, messages.invalid_blob_body(BLOB), DOMAIN)),
        ("blob", messages.encode(Intent.BLOB, EPOCH, messages.blob_body(bytes(32)), DOMAIN)),
        ("object", messages.encode(Intent.BLOB, EPOCH, messages.blob_body(BLOB, 1), DOMAIN)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_certificate_over_another_message_is_refused(mutation: str, message: bytes) -> None:
    other = signed_by(SMALL, QUORUM, message)
    with pytest.raises(Refused, match=r"^EBadSignature$"):
        verify(SMALL, Intent.BLOB, BODY, other.bitmap, other.signature)


def test_random_certificates_are_judged_as_in_python() -> None:
    draw = random.Random(11)
    verdicts = set()
    for _ in range(40):
        committee = committee_of(tuple(draw.randint(1, 6) for _ in range(draw.randint(1, 12))))
        places = {place for place in range(len(committee.members)) if draw.random() < 0.8} or {0}
        good = signed_by(committee, places, MESSAGE)
        bitmap = bytearray(good.bitmap)
        if draw.random() < 0.5:
            bitmap[draw.randrange(len(bitmap))] ^= 1 << draw.randrange(8)
        expected = judged(committee, Certificate(EPOCH, MESSAGE, bytes(bitmap), good.signature))
        try:
            found: int | str = verify(committee, Intent.BLOB, BODY, bytes(bitmap), good.signature)
        except Refused as refused:
            found = str(refused)
        assert found == expected
        verdicts.add(type(expected) if isinstance(expected, int) else expected)
    assert verdicts == {int, "EBadBitmap", "ENotEnoughWeight", "EBadSignature"}


def judged(committee: Committee, given: Certificate) -> int | str:
    """Return what Python makes of a certificate: its weight, or the package's name of the error."""
    try:
        return certificate.verify(given, committee, DOMAIN)
    except NotEnoughWeight:
        return "ENotEnoughWeight"
    except InvalidCertificate as error:
        return "EBadBitmap" if "bitmap" in str(error) else "EBadSignature"


@pytest.mark.parametrize(
    ("mutation", "ids_and_shards"),
    [
        ("nobody", []),
        ("descending", [(2, 1), (1, 1)]),
        ("twice", [(1, 1), (1, 1)]),
        ("without shards", [(1, 1), (2, 0)]),
    ],
)
def test_members_that_are_no_committee_are_refused(
    mutation: str, ids_and_shards: list[tuple[int, int]]
) -> None:
    transaction = Transaction()
    key = in_move(transaction, committee_of((1,)))[2][0][1]
    members = [[node_id, key, list(range(count))] for node_id, count in ids_and_shards]
    with pytest.raises(Refused, match=r"^EInvalidMembers$"):
        transaction.call("committee", "new", EPOCH, members)
