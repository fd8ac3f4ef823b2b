from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee import messages
from committee.errors import InvalidMessage
from committee.messages import EjectionReason, Intent, Message, ShardTransferRequest

BLOB_ID = bytes([7]) * 32
KEY = bytes(range(48))
DOMAIN = bytes([0xD0]) * 32
REQUEST = ShardTransferRequest(shard=0x0102, axis=1, first_blob_id=BLOB_ID, max_count=0x0304, public_key=KEY)

BODIES = {
    Intent.POSSESSION: messages.possession_body("0x" + "42" * 20, KEY),
    Intent.BLOB: messages.blob_body(BLOB_ID),
    Intent.INVALID_BLOB: messages.invalid_blob_body(BLOB_ID),
    Intent.SHARD_TRANSFER: REQUEST.to_body(),
    Intent.EJECT: messages.eject_body(9, 77),
    Intent.SIGN_OF_LIFE: messages.sign_of_life_body(9, BLOB_ID),
    Intent.MEMBER_REQUEST: messages.member_request_body(9, 10, 500_000),
    Intent.INVENTORY: messages.inventory_body(BLOB_ID, 9, 77),
    Intent.PROOF: messages.proof_body(9, BLOB_ID),
}


def bodies() -> st.SearchStrategy[tuple[Intent, bytes]]:
    """Every intent with a random body of its form."""
    key, blob_id = st.binary(min_size=48, max_size=48), st.binary(min_size=32, max_size=32)
    account = st.binary(min_size=20, max_size=20) | blob_id
    object_id = st.none() | st.integers(0, 2**256 - 1)
    request = st.builds(
        ShardTransferRequest,
        shard=st.integers(0, 2**16 - 1),
        axis=st.integers(0, 1),
        first_blob_id=blob_id,
        max_count=st.integers(0, 2**64 - 1),
        public_key=key,
    )
    node_id = st.integers(0, 2**256 - 1)
    return st.one_of(
        st.builds(
            lambda a, k: (Intent.POSSESSION, messages.possession_body("0x" + a.hex(), k)), account, key
        ),
        st.builds(lambda b, o: (Intent.BLOB, messages.blob_body(b, o)), blob_id, object_id),
        blob_id.map(lambda b: (Intent.INVALID_BLOB, messages.invalid_blob_body(b))),
        request.map(lambda r: (Intent.SHARD_TRANSFER, r.to_body())),
        node_id.map(lambda i: (Intent.EJECT, messages.eject_body(i, 77))),
        st.builds(lambda i, n: (Intent.SIGN_OF_LIFE, messages.sign_of_life_body(i, n)), node_id, blob_id),
        st.builds(
            lambda asked, member, hour: (
                Intent.MEMBER_REQUEST,
                messages.member_request_body(asked, member, hour),
            ),
            *(node_id, node_id, st.integers(0, 2**32 - 1)),
        ),
        st.builds(
            lambda root, count, weight: (Intent.INVENTORY, messages.inventory_body(root, count, weight)),
            *(blob_id, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
        ),
        st.builds(lambda i, d: (Intent.PROOF, messages.proof_body(i, d)), node_id, blob_id),
    )


# MystenLabs/walrus, crates/walrus-core/src/messages: storage_confirmation.rs and proof_of_possession.rs.
# Epoch 21, blob id 07…07, object id 2a…2a, address 2a…2a.


def test_permanent_confirmation_is_walrus_own_in_version_0() -> None:
    encoded = messages.encode(Intent.BLOB, 21, messages.blob_body(BLOB_ID), None)
    assert encoded.hex() == "010003" + "15000000" + "07" * 32 + "00"


def test_deletable_confirmation_is_walrus_own_in_version_0() -> None:
    object_id = int.from_bytes(bytes([42]) * 32, "big")
    encoded = messages.encode(Intent.BLOB, 21, messages.blob_body(BLOB_ID, object_id), None)
    assert encoded.hex() == "010003" + "15000000" + "07" * 32 + "01" + "2a" * 32


def test_possession_is_walrus_own_in_version_0() -> None:
    body = messages.possession_body("0x" + "2a" * 32, KEY)
    encoded = messages.encode(Intent.POSSESSION, 21, body, None)
    assert encoded.hex() == "000003" + "15000000" + "2a" * 32 + KEY.hex()


# Version 1, from the table of PROTOCOL section 2.


def test_domain_comes_between_epoch_and_body() -> None:
    encoded = messages.encode(Intent.INVALID_BLOB, 0x01020304, BLOB_ID, DOMAIN)
    assert encoded.hex() == "020103" + "04030201" + "d0" * 32 + "07" * 32


def test_evm_account_is_padded_on_the_left() -> None:
    body = messages.possession_body("0x" + "aB" * 20, KEY)
    assert body.hex() == "00" * 12 + "ab" * 20 + KEY.hex()


def test_object_id_is_big_endian() -> None:
    assert messages.blob_body(BLOB_ID, 0x0102).hex() == "07" * 32 + "01" + "00" * 30 + "0102"


def test_shard_transfer_request_bytes() -> None:
    expected = "0201" + "01" + "07" * 32 + "0403000000000000" + KEY.hex()
    assert REQUEST.to_body().hex() == expected


def test_ejection_bytes() -> None:
    body = messages.eject_body(0x0102, 0x0102030405060708, EjectionReason.SILENT)
    assert body.hex() == "00" * 30 + "0102" + "01" + "0807060504030201"


def test_bytes_of_what_is_signed_for_storage_proofs() -> None:
    body = messages.inventory_body(BLOB_ID, 0x0102, 0x0304)
    assert body.hex() == "07" * 32 + "02010000" + "0403000000000000"
    assert messages.proof_body(0x0102, BLOB_ID).hex() == "00" * 30 + "0102" + "07" * 32


@given(bodies(), st.integers(0, 2**32 - 1), st.none() | st.binary(min_size=32, max_size=32))
def test_decode_inverts_encode(
    intent_and_body: tuple[Intent, bytes], epoch: int, domain: bytes | None
) -> None:
    intent, body = intent_and_body
    version = 0 if domain is None else 1
    message = messages.decode(messages.encode(intent, epoch, body, domain))
    assert message == Message(intent, version, epoch, domain, body)


@given(st.binary(max_size=200))
def test_decode_takes_nothing_that_encode_would_not_write(encoded: bytes) -> None:
    try:
        message = messages.decode(encoded)
    except InvalidMessage:
        return
    assert messages.encode(message.intent, message.epoch, message.body, message.domain) == encoded


@given(bodies(), st.data())
def test_decode_of_a_mutated_message_is_refused_or_another(
    intent_and_body: tuple[Intent, bytes], data: st.DataObject
) -> None:
    intent, body = intent_and_body
    encoded = messages.encode(intent, 3, body, DOMAIN)
    place = data.draw(st.integers(0, len(encoded) - 1))
    mutated = bytearray(encoded)
    mutated[place] ^= data.draw(st.integers(1, 255))
    try:
        message = messages.decode(bytes(mutated))
    except InvalidMessage:
        return
    assert message != messages.decode(encoded)
    assert messages.encode(message.intent, message.epoch, message.body, message.domain) == bytes(mutated)


def test_shard_transfer_request_from_its_body() -> None:
    assert ShardTransferRequest.from_body(REQUEST.to_body()) == REQUEST


@pytest.mark.parametrize("intent", Intent)
def test_decode_refuses_a_byte_more(intent: Intent) -> None:
    encoded = messages.encode(intent, 5, BODIES[intent], DOMAIN)
    with pytest.raises(InvalidMessage, match=f"{intent.name} body"):
        messages.decode(encoded + b"\x00")


@pytest.mark.parametrize("intent", Intent)
def test_decode_refuses_a_byte_less(intent: Intent) -> None:
    encoded = messages.encode(intent, 5, BODIES[intent], DOMAIN)
    with pytest.raises(InvalidMessage, match=f"{intent.name} body"):
        messages.decode(encoded[:-1])


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [(0, 4, "intent 4"), (0, 255, "intent 255"), (1, 2, "version 2"), (2, 0, "app id 0"), (2, 4, "app id 4")],
)
def test_decode_refuses_a_wrong_header(place: int, value: int, why: str) -> None:
    encoded = bytearray(messages.encode(Intent.BLOB, 5, BODIES[Intent.BLOB], DOMAIN))
    encoded[place] = value
    with pytest.raises(InvalidMessage, match=why):
        messages.decode(bytes(encoded))


def test_decode_refuses_a_version_without_its_domain() -> None:
    encoded = bytearray(messages.encode(Intent.BLOB, 5, BODIES[Intent.BLOB], None))
    encoded[1] = 1
    with pytest.raises(InvalidMessage, match="body of 1 bytes"):
        messages.decode(bytes(encoded))


def test_decode_refuses_a_domain_in_version_0() -> None:
    encoded = bytearray(messages.encode(Intent.INVALID_BLOB, 5, BLOB_ID, DOMAIN))
    encoded[1] = 0
    with pytest.raises(InvalidMessage, match="body of 64 bytes"):
        messages.decode(bytes(encoded))


@pytest.mark.parametrize("length", [0, 6, 7, 38])
def test_decode_refuses_a_cut_message(length: int) -> None:
    encoded = messages.encode(Intent.BLOB, 5, BODIES[Intent.BLOB], DOMAIN)
    with pytest.raises(InvalidMessage):
        messages.decode(encoded[:length])


@pytest.mark.parametrize("tag", [1, 2, 255])
def test_decode_refuses_a_permanent_blob_with_another_tag(tag: int) -> None:
    with pytest.raises(InvalidMessage, match=f"tag {tag}"):
        messages.encode(Intent.BLOB, 5, BLOB_ID + bytes([tag]), DOMAIN)


@pytest.mark.parametrize("tag", [0, 2])
def test_decode_refuses_a_deletable_blob_with_another_tag(tag: int) -> None:
    with pytest.raises(InvalidMessage, match=f"tag {tag}"):
        messages.encode(Intent.BLOB, 5, BLOB_ID + bytes([tag]) + bytes(32), DOMAIN)


def test_transfer_request_refuses_a_third_axis() -> None:
    with pytest.raises(InvalidMessage, match="axis 2"):
        replace(REQUEST, axis=2).to_body()
    with pytest.raises(InvalidMessage, match="axis 2"):
        ShardTransferRequest.from_body(REQUEST.to_body()[:2] + b"\x02" + REQUEST.to_body()[3:])


def test_ejection_refuses_an_unknown_reason() -> None:
    with pytest.raises(InvalidMessage, match="reason 2"):
        messages.eject_body(1, 77, 2)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: messages.encode(Intent.BLOB, -1, BODIES[Intent.BLOB], DOMAIN), "epoch -1"),
        (lambda: messages.encode(Intent.BLOB, 2**32, BODIES[Intent.BLOB], DOMAIN), "epoch 4294967296"),
        (lambda: messages.encode(Intent.BLOB, 1, BODIES[Intent.BLOB], DOMAIN[1:]), "domain of 31"),
        (lambda: messages.encode(Intent.BLOB, 1, BODIES[Intent.BLOB], b""), "domain of 0"),
        (lambda: messages.blob_body(BLOB_ID[1:]), "blob id of 31"),
        (lambda: messages.blob_body(BLOB_ID, 2**256), "object id"),
        (lambda: messages.blob_body(BLOB_ID, -1), "object id -1"),
        (lambda: messages.invalid_blob_body(BLOB_ID + b"\x00"), "blob id of 33"),
        (lambda: messages.eject_body(-1, 77), "node id -1"),
        (lambda: messages.eject_body(1, 77, 256), "reason 256"),
        (lambda: messages.eject_body(1, 1 << 64), "deadline 18446744073709551616"),
        (lambda: messages.inventory_body(BLOB_ID[1:], 1, 2), "root of 31 bytes"),
        (lambda: messages.inventory_body(BLOB_ID, 1 << 32, 2), "count 4294967296"),
        (lambda: messages.inventory_body(BLOB_ID, 1, 1 << 64), "weight 18446744073709551616"),
        (lambda: messages.proof_body(1, BLOB_ID[1:]), "draw of 31 bytes"),
        (lambda: messages.possession_body("0x" + "42" * 20, KEY[1:]), "public key of 47"),
        (lambda: messages.possession_body("42" * 20, KEY), "account"),
        (lambda: messages.possession_body("0x" + "42" * 21, KEY), "account"),
        (lambda: messages.possession_body("0x" + "4g" * 20, KEY), "account"),
        (lambda: messages.possession_body("", KEY), "account"),
        (lambda: replace(REQUEST, shard=2**16).to_body(), "shard 65536"),
        (lambda: replace(REQUEST, max_count=2**64).to_body(), "max count"),
        (lambda: replace(REQUEST, first_blob_id=b"").to_body(), "first blob id of 0"),
        (lambda: replace(REQUEST, public_key=KEY + KEY).to_body(), "public key of 96"),
    ],
)
def test_builders_refuse_a_field_out_of_range(build: Callable[[], bytes], why: str) -> None:
    with pytest.raises(InvalidMessage, match=why):
        build()


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1), st.integers(0, 2**32 - 1))
def test_a_members_request_comes_back(asked_id: int, member_id: int, hour: int) -> None:
    body = messages.member_request_body(asked_id, member_id, hour)
    assert messages.read_member_request(body) == (asked_id, member_id, hour)
