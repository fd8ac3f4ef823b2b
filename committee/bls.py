"""BLS signatures on BLS12-381, keys in G1 (48 bytes) and signatures in G2 (96 bytes), both compressed.

Sources: draft-irtf-cfrg-bls-signature-05 (minimal-pubkey-size; the message is hashed as it is, and what makes
that safe against rogue keys is a proof of possession for every registered key); ZCash's compressed form of
BLS12-381 points; EIP-2537 for the uncompressed form that the chain takes.

Points are decoded strictly: on the curve, in the prime-order subgroup, not the identity, in their one form.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache

from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from committee import messages
from committee.errors import InvalidKey, InvalidSignature
from committee.messages import PUBLIC_KEY_BYTES, Intent

DOMAIN_SEPARATION_TAG = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_"
SECRET_KEY_BYTES = 32
SIGNATURE_BYTES = 96

_GROUP_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
_FIELD_BYTES = 48
_PADDING = bytes(64 - _FIELD_BYTES)
"""Zero bytes before each coordinate in the encoding of EIP-2537."""
_CACHED_KEYS = 4096
"""Decoded public keys kept: several committees of 1000 members."""
_CACHED_POINTS = 1024
"""Hashed messages and decoded signatures kept: those of a batch of blobs, which several members sign."""
_MINUS_G1 = -G1Point()
_G1_IDENTITY = G1Point.identity()
_G2_IDENTITY = G2Point.identity()


class SecretKey:
    """A node's signing key: a scalar in 1..r-1. Never shown by `repr` or `str`."""

    __slots__ = ("_public_key", "_scalar")

    def __init__(self, scalar: int) -> None:
        if not 1 <= scalar < _GROUP_ORDER:
            raise InvalidKey("secret key out of range: it must be in 1..r-1; generate a new one")
        self._scalar = Scalar(scalar)
        self._public_key = (G1Point() * self._scalar).to_compressed_bytes()

    @classmethod
    def generate(cls) -> SecretKey:
        """Return a fresh key from the operating system's randomness."""
        return cls(1 + secrets.randbelow(_GROUP_ORDER - 1))

    @classmethod
    def from_bytes(cls, encoded: bytes) -> SecretKey:
        """Read 32 big-endian bytes. Raises `InvalidKey` outside 1..r-1."""
        if len(encoded) != SECRET_KEY_BYTES:
            raise InvalidKey(f"secret key of {len(encoded)} bytes: it must have {SECRET_KEY_BYTES}")
        return cls(int.from_bytes(encoded, "big"))

    def to_bytes(self) -> bytes:
        """Return 32 big-endian bytes, for the node's own key file."""
        return self._scalar.to_be_bytes()

    @property
    def public_key(self) -> bytes:
        """48 bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 96 bytes; the same every time."""
        return (_hash_to_curve(message) * self._scalar).to_compressed_bytes()

    def __repr__(self) -> str:
        return f"SecretKey(public_key={self._public_key.hex()})"


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the key's owner signed the message; False also when the signature is not a point of the group.

    Raises `InvalidKey` when the public key itself must not be used.
    """
    return verify_aggregate([public_key], message, signature)


def verify_aggregate(public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
    """Return whether the signature is the aggregate of signatures of all these keys' owners on one message.

    Sound only for keys whose possession was proven: else an attacker may choose a key that cancels the others.
    False without keys. Raises `InvalidKey` when one of the keys must not be used.
    """
    aggregate_key = _G1_IDENTITY
    for public_key in public_keys:
        aggregate_key = aggregate_key + _decode_public_key(public_key)
    try:
        point = _decode_signature(signature)
    except InvalidSignature:
        return False
    # Keys that cancel, and no keys at all, would verify the identity alone, which is refused as a signature.
    return GT.pairing_check([aggregate_key, _MINUS_G1], [_hash_to_curve(message), point])


def verify_each(public_key: bytes, messages: Sequence[bytes], signatures: Sequence[bytes]) -> bool:
    """Whether the key's owner signed all of these different messages; False without any, as `verify` else.

    Only the sum of the signatures is checked, which costs one pairing check in all. A signer may have changed two of
    its own signatures so that the changes cancel: a certificate over all these messages holds all the same, and one
    over fewer does not.
    """
    if len(messages) != len(signatures) or len(set(messages)) != len(messages) or not messages:
        return False
    key, hashed, total = _decode_public_key(public_key), _G2_IDENTITY, _G2_IDENTITY
    try:
        for message, signature in zip(messages, signatures, strict=True):
            hashed, total = hashed + _hash_to_curve(message), total + _decode_signature(signature)
    except InvalidSignature:
        return False
    return GT.pairing_check([key, _MINUS_G1], [hashed, total])


def aggregate(signatures: Sequence[bytes]) -> bytes:
    """Return the sum of signatures, 96 bytes. Raises `InvalidSignature`, naming the place of one that is none."""
    if not signatures:
        raise InvalidSignature("nothing to aggregate: give at least one signature")
    total = _G2_IDENTITY
    for place, signature in enumerate(signatures):
        try:
            total = total + _decode_signature(signature)
        except InvalidSignature as error:
            raise InvalidSignature(f"signature {place} of {len(signatures)}: {error}") from error
    return total.to_compressed_bytes()


def proof_of_possession(secret: SecretKey, account: str, domain: bytes | None) -> bytes:
    """Return the signature that ties a key to the account that registers it (PROTOCOL section 2, intent 0), 96 bytes.

    `account` is "0x" and 40 or 64 hexadecimal digits; the domain names chain and deployment. The epoch is 0.
    """
    return secret.sign(_possession_message(secret.public_key, account, domain))


def verify_possession(public_key: bytes, account: str, domain: bytes | None, proof: bytes) -> bool:
    """Return whether the account's owner holds the key's secret. Raises `InvalidKey` when it must not be used."""
    return verify(public_key, _possession_message(public_key, account, domain), proof)


def g1_to_eip2537(compressed: bytes) -> bytes:
    """Return a public key of 48 bytes as the chain takes it: x, y, each left-padded to 64 bytes (128 in all)."""
    return _pad(_decode_public_key(compressed).to_xy_bytes_be())


def g2_to_eip2537(compressed: bytes) -> bytes:
    """Return a signature of 96 bytes as the chain takes it: x.c0, x.c1, y.c0, y.c1, each left-padded to 64 (256)."""
    return _pad(_decode_signature(compressed).to_xy_bytes_be())


def _possession_message(public_key: bytes, account: str, domain: bytes | None) -> bytes:
    body = messages.possession_body(account, public_key)
    return messages.encode(Intent.POSSESSION, 0, body, domain)


@lru_cache(maxsize=_CACHED_POINTS)
def _hash_to_curve(message: bytes) -> G2Point:
    return G2Point.hash_to_curve(message, DOMAIN_SEPARATION_TAG)


@lru_cache(maxsize=_CACHED_KEYS)
def _decode_public_key(public_key: bytes) -> G1Point:
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidKey(f"public key of {len(public_key)} bytes: it must have {PUBLIC_KEY_BYTES}")
    try:
        point = G1Point.from_compressed_bytes(public_key)
    except ValueError as error:
        raise InvalidKey(f"public key {public_key.hex()} is not a point of the group: {error}") from error
    # The decoder takes several byte strings for the identity and for no other point, so that refusing the
    # identity leaves one form for each key.
    if point == _G1_IDENTITY:
        raise InvalidKey("public key is the identity, under which anyone can sign")
    return point


@lru_cache(maxsize=_CACHED_POINTS)
def _decode_signature(signature: bytes) -> G2Point:
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidSignature(f"signature of {len(signature)} bytes: it must have {SIGNATURE_BYTES}")
    try:
        point = G2Point.from_compressed_bytes(signature)
    except ValueError as error:
        raise InvalidSignature(f"signature is not a point of the group: {error}") from error
    if point == _G2_IDENTITY:
        raise InvalidSignature("signature is the identity, which nobody signs")
    return point


def _pad(coordinates: bytes) -> bytes:
    elements = [coordinates[at : at + _FIELD_BYTES] for at in range(0, len(coordinates), _FIELD_BYTES)]
    return b"".join(_PADDING + element for element in elements)
