from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_arkworks_bls12381 import G1Point, G2Point, Scalar
from py_ecc.bls import g2_primitives, hash_to_curve
from py_ecc.optimized_bls12_381 import optimized_curve

from committee import bls, messages
from committee.bls import SecretKey
from committee.errors import InvalidKey, InvalidMessage, InvalidSignature

# The oracle's own types promise more than it keeps.
primitives: Any = g2_primitives
curve: Any = optimized_curve
hash_to_g2: Any = hash_to_curve.hash_to_G2

ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
FIELD = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
ACCOUNT = "0x" + "42" * 20
OTHER_ACCOUNT = "0x" + "43" * 20
MESSAGE = b"a message"

G1_IDENTITY = b"\xc0" + bytes(47)
G2_IDENTITY = b"\xc0" + bytes(95)


def words(*elements: int) -> bytes:
    """EIP-2537: field elements of 64 bytes each."""
    return b"".join(element.to_bytes(64, "big") for element in elements)


def point_outside_the_subgroup_g1() -> bytes:
    """Compressed; x = 0 gives y² = 4, a point of order 3."""
    encoded = b"\x80" + bytes(47)
    assert not G1Point.from_compressed_bytes_unchecked(encoded).is_in_subgroup()
    return encoded


def point_outside_the_subgroup_g2() -> bytes:
    for x in range(100):
        encoded = (x | 1 << 767).to_bytes(96, "big")
        try:
            point = G2Point.from_compressed_bytes_unchecked(encoded)
        except ValueError:
            continue  # no point of the curve has this x
        if not point.is_in_subgroup():
            return encoded
    raise AssertionError("no point found")


def flipped(encoded: bytes, bit: int) -> bytes:
    return (int.from_bytes(encoded, "big") ^ 1 << bit).to_bytes(len(encoded), "big")


BAD_KEYS = {
    "identity": G1_IDENTITY,
    "identity with a sign": b"\xe0" + bytes(47),
    "identity with a stray bit": b"\xc0" + bytes(46) + b"\x01",
    "outside the subgroup": point_outside_the_subgroup_g1(),
    "not on the curve": b"\x80" + bytes(46) + b"\x01",
    "x not below the field's prime": (FIELD | 1 << 383).to_bytes(48, "big"),
    "not marked as compressed": bytes(48),
    "too short": SecretKey(1).public_key[:-1],
    "too long": SecretKey(1).public_key + b"\x00",
    "empty": b"",
}
BAD_SIGNATURES = {
    "identity": G2_IDENTITY,
    "identity with a stray bit": b"\xc0" + bytes(94) + b"\x01",
    "outside the subgroup": point_outside_the_subgroup_g2(),
    "x not below the field's prime": (FIELD | 1 << 767).to_bytes(96, "big"),
    "not marked as compressed": bytes(96),
    "too short": SecretKey(1).sign(MESSAGE)[:-1],
    "too long": SecretKey(1).sign(MESSAGE) + b"\x00",
    "empty": b"",
}


# published facts


def test_public_key_of_walrus_test_key() -> None:
    # MystenLabs/walrus, contracts/walrus/tests/test_utils.move, test_bls_pk: the scalar 117.
    expected = (
        "95eacc3adc09c827593f581e8e2de068bf4cf5d0c0eb29e5372f0d23364788ee0f9beb112c8a7e9c2f0c720433705cf0"
    )
    assert SecretKey(117).public_key.hex() == expected


def drand_round() -> tuple[bytes, bytes, bytes]:
    """(public key, message, signature) of round 2373935 of drand's main network; it signs with the same DST.

    Source: the tests of Sui's framework for bls12381_min_pk_verify.
    """
    public_key = bytes.fromhex(
        "868f005eb8e6e4ca0a47c8a77ceaa5309a47978a7c71bc5cce96366b5d7a569937c529eeda66c7293784a9402801af31"
    )
    signature = bytes.fromhex(
        "a2cd8577944b84484ef557a7f92f0d5092779497cc470b1b97680b8f7c807d97250d310b801c7c2185c7c8a21032d454"
        "03b97530ca87bd8f05d0cf4ffceb4bcb9bf7184fb604967db7e9e6ea555bc51b25a9e41fbd51181f712aa73aaec749fe"
    )
    previous = bytes.fromhex(
        "a96aace596906562dc525dba4dff734642d71b334d51324f9c9bcb5a3d6caf14b05cde91d6507bf4615cb4285e5b4efd"
        "1358ebc46b80b51e338f9dc46cca17cf2e046765ba857c04101a560887fa81aef101a5bb3b2350884558bd3adc72be37"
    )
    return public_key, hashlib.sha256(previous + (2373935).to_bytes(8, "big")).digest(), signature


def test_verify_takes_a_drand_round() -> None:
    public_key, message, signature = drand_round()
    assert bls.verify(public_key, message, signature)


def test_verify_refuses_a_drand_round_with_another_message() -> None:
    public_key, message, signature = drand_round()
    assert not bls.verify(public_key, flipped(message, 0), signature)


# against py_ecc, an independent implementation


@pytest.mark.parametrize(("scalar", "message"), [(1, b""), (117, MESSAGE), (ORDER - 1, bytes(1000))])
def test_sign_agrees_with_py_ecc(scalar: int, message: bytes) -> None:
    secret = SecretKey(scalar)
    point = curve.multiply(hash_to_g2(message, bls.DOMAIN_SEPARATION_TAG, hashlib.sha256), scalar)
    assert secret.public_key == bytes(primitives.G1_to_pubkey(curve.multiply(curve.G1, scalar)))
    assert secret.sign(message) == bytes(primitives.G2_to_signature(point))


def test_eip2537_key_agrees_with_py_ecc() -> None:
    public_key = SecretKey(0xC0FFEE).public_key
    x, y = curve.normalize(primitives.pubkey_to_G1(public_key))
    assert bls.g1_to_eip2537(public_key) == words(int(x.n), int(y.n))


def test_eip2537_signature_agrees_with_py_ecc_c0_first() -> None:
    signature = SecretKey(0xC0FFEE).sign(MESSAGE)
    x, y = curve.normalize(primitives.signature_to_G2(signature))
    c0_first = [int(coefficient) for element in (x, y) for coefficient in element.coeffs]
    assert bls.g2_to_eip2537(signature) == words(*c0_first)


# keys


def test_secret_key_bytes_there_and_back() -> None:
    secret = SecretKey(0xC0FFEE)
    assert secret.to_bytes() == (0xC0FFEE).to_bytes(32, "big")
    assert SecretKey.from_bytes(secret.to_bytes()).public_key == secret.public_key


def test_generated_keys_differ_and_sign() -> None:
    first, second = SecretKey.generate(), SecretKey.generate()
    assert first.public_key != second.public_key
    assert bls.verify(first.public_key, MESSAGE, first.sign(MESSAGE))


@pytest.mark.parametrize("scalar", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_secret_key_refuses_a_scalar_out_of_range(scalar: int) -> None:
    with pytest.raises(InvalidKey, match="out of range") as caught:
        SecretKey.from_bytes(scalar.to_bytes(32, "big"))
    assert str(scalar) not in str(caught.value)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_secret_key_refuses_a_wrong_length(length: int) -> None:
    with pytest.raises(InvalidKey, match=f"of {length} bytes"):
        SecretKey.from_bytes(bytes([1]) * length)


def test_secret_key_is_shown_nowhere() -> None:
    scalar = 0x123456789ABCDEF
    secret = SecretKey(scalar)
    shown = f"{secret!r} {secret} {[secret]}"
    assert secret.public_key.hex() in shown
    assert f"{scalar:x}" not in shown
    assert str(scalar) not in shown


@pytest.mark.parametrize("why", BAD_KEYS)
def test_no_use_of_a_bad_public_key(why: str) -> None:
    key, good = BAD_KEYS[why], SecretKey(7)
    uses: list[Callable[[], object]] = [
        lambda: bls.verify(key, MESSAGE, good.sign(MESSAGE)),
        lambda: bls.verify_aggregate([good.public_key, key], MESSAGE, good.sign(MESSAGE)),
        lambda: bls.g1_to_eip2537(key),
    ]
    for use in uses:
        with pytest.raises(InvalidKey):
            use()


# verifying


def test_verify_refuses_another_message() -> None:
    secret = SecretKey(7)
    assert bls.verify(secret.public_key, MESSAGE, secret.sign(MESSAGE))
    assert not bls.verify(secret.public_key, MESSAGE + b"!", secret.sign(MESSAGE))


def test_verify_refuses_another_key() -> None:
    assert not bls.verify(SecretKey(8).public_key, MESSAGE, SecretKey(7).sign(MESSAGE))


@given(bit=st.integers(0, 767))
@settings(max_examples=60, deadline=None)
def test_verify_refuses_a_flipped_bit(bit: int) -> None:
    secret = SecretKey(7)
    assert not bls.verify(secret.public_key, MESSAGE, flipped(secret.sign(MESSAGE), bit))


def test_verify_refuses_the_negated_signature() -> None:
    # Bit 765 is the sign of y: the same x, the other point.
    secret = SecretKey(7)
    negated = flipped(secret.sign(MESSAGE), 765)
    bls.g2_to_eip2537(negated)  # a point of the group
    assert not bls.verify(secret.public_key, MESSAGE, negated)


@pytest.mark.parametrize("why", BAD_SIGNATURES)
def test_verify_refuses_what_is_no_signature(why: str) -> None:
    assert not bls.verify(SecretKey(1).public_key, MESSAGE, BAD_SIGNATURES[why])


# aggregates


def test_verify_aggregate_of_three() -> None:
    secrets = [SecretKey(scalar) for scalar in (3, 5, 7)]
    keys = [secret.public_key for secret in secrets]
    signature = bls.aggregate([secret.sign(MESSAGE) for secret in secrets])
    assert bls.verify_aggregate(keys, MESSAGE, signature)
    assert not bls.verify_aggregate(keys[:2], MESSAGE, signature)
    assert not bls.verify_aggregate([*keys, keys[0]], MESSAGE, signature)
    assert not bls.verify_aggregate(keys, MESSAGE + b"!", signature)


def test_aggregate_of_one_is_itself() -> None:
    signature = SecretKey(3).sign(MESSAGE)
    assert bls.aggregate([signature]) == signature


def test_aggregate_refuses_nothing() -> None:
    with pytest.raises(InvalidSignature, match="nothing"):
        bls.aggregate([])


@pytest.mark.parametrize("why", BAD_SIGNATURES)
def test_aggregate_names_the_place_of_what_is_no_signature(why: str) -> None:
    with pytest.raises(InvalidSignature, match="signature 1 of 2"):
        bls.aggregate([SecretKey(3).sign(MESSAGE), BAD_SIGNATURES[why]])


def test_verify_aggregate_without_keys_is_false() -> None:
    assert not bls.verify_aggregate([], MESSAGE, SecretKey(3).sign(MESSAGE))
    assert not bls.verify_aggregate([], MESSAGE, G2_IDENTITY)


def test_verify_aggregate_refuses_keys_that_cancel() -> None:
    keys = [SecretKey(3).public_key, SecretKey(ORDER - 3).public_key]
    assert not bls.verify_aggregate(keys, MESSAGE, G2_IDENTITY)
    assert not bls.verify_aggregate(keys, MESSAGE, SecretKey(3).sign(MESSAGE))


# possession


def test_possession_of_a_key(domain: bytes) -> None:
    secret = SecretKey(7)
    proof = bls.proof_of_possession(secret, ACCOUNT, domain)
    assert bls.verify_possession(secret.public_key, ACCOUNT, domain, proof)


def test_possession_refuses_another_account(domain: bytes) -> None:
    proof = bls.proof_of_possession(SecretKey(7), ACCOUNT, domain)
    assert not bls.verify_possession(SecretKey(7).public_key, OTHER_ACCOUNT, domain, proof)


def test_possession_refuses_another_domain(domain: bytes) -> None:
    proof = bls.proof_of_possession(SecretKey(7), ACCOUNT, domain)
    assert not bls.verify_possession(SecretKey(7).public_key, ACCOUNT, domain[::-1], proof)
    assert not bls.verify_possession(SecretKey(7).public_key, ACCOUNT, None, proof)


def test_possession_refuses_another_key(domain: bytes) -> None:
    proof = bls.proof_of_possession(SecretKey(7), ACCOUNT, domain)
    assert not bls.verify_possession(SecretKey(8).public_key, ACCOUNT, domain, proof)


def test_possession_refuses_the_identity(domain: bytes) -> None:
    with pytest.raises(InvalidKey, match="identity"):
        bls.verify_possession(G1_IDENTITY, ACCOUNT, domain, G2_IDENTITY)


def test_possession_refuses_what_is_no_account(domain: bytes) -> None:
    with pytest.raises(InvalidMessage, match="account"):
        bls.proof_of_possession(SecretKey(7), "0x42", domain)


def test_rogue_key_forges_an_aggregate_and_has_no_proof_of_possession(domain: bytes) -> None:
    # The attacker knows `own` and the victim's public key; its rogue key is own·G1 - victim. What it signs
    # with `own` then verifies as signed by both: that is why keys are registered with a proof.
    victim, own = SecretKey(7), SecretKey(11)
    victim_point = G1Point.from_compressed_bytes(victim.public_key)
    rogue = (G1Point() * Scalar(11) - victim_point).to_compressed_bytes()
    assert bls.verify_aggregate([victim.public_key, rogue], MESSAGE, own.sign(MESSAGE))
    assert not bls.verify_possession(rogue, ACCOUNT, domain, bls.proof_of_possession(own, ACCOUNT, domain))
    body_of_rogue = messages.possession_body(ACCOUNT, rogue)
    message = messages.encode(messages.Intent.POSSESSION, 0, body_of_rogue, domain)
    assert not bls.verify_possession(rogue, ACCOUNT, domain, own.sign(message))


def test_verify_each_of_several_messages_of_one_key() -> None:
    secret, other = SecretKey(7), SecretKey(8)
    messages_ = [MESSAGE, b"another", b"a third"]
    signatures = [secret.sign(one) for one in messages_]
    key = secret.public_key
    assert bls.verify_each(key, messages_, signatures)
    assert bls.verify_each(key, messages_[:1], signatures[:1])
    assert not bls.verify_each(other.public_key, messages_, signatures)
    assert not bls.verify_each(key, messages_, [*signatures[:2], other.sign(b"a third")])
    assert not bls.verify_each(key, messages_, [*signatures[:2], secret.sign(MESSAGE)])
    assert not bls.verify_each(key, messages_, [*signatures[:2], bytes(96)])
    assert not bls.verify_each(key, messages_, signatures[:2])
    assert not bls.verify_each(key, [], [])
    assert not bls.verify_each(key, [MESSAGE, MESSAGE], [signatures[0]] * 2), "each once"


def test_verify_each_takes_signatures_whose_changes_cancel_and_their_sum_holds() -> None:
    """As its docstring says: what holds is the sum, which is what a certificate over all these messages has."""
    secret = SecretKey(7)
    pair = [MESSAGE, b"another"]
    swapped = [secret.sign(one) for one in reversed(pair)]
    assert bls.verify_each(secret.public_key, pair, swapped)
    assert not any(
        bls.verify(secret.public_key, one, signature) for one, signature in zip(pair, swapped, strict=True)
    )
