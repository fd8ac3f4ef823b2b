"""Signatures of transactions: Ed25519, Secp256k1 and Secp256r1, verified by fastcrypto, Sui's own library."""

from __future__ import annotations

import base64

import pysui_fastcrypto

from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.natives.objects import blake2b

TRANSACTION_INTENT = bytes(3)
"""Scope, version and app that a signature of a transaction covers before the transaction."""
SIGNATURE_BYTES = 64
KEY_BYTES = {0: 32, 1: 33, 2: 33}
"""Length of the public key by the scheme's flag: Ed25519, Secp256k1, Secp256r1."""


def signer(data: bytes, signature: bytes) -> bytes:
    """Return the address whose key signed a transaction's bytes.

    `signature` is the scheme's flag, the signature, the public key. Raises `InvalidTransaction` when it does not hold.
    """
    if not signature or signature[0] not in KEY_BYTES:
        raise InvalidTransaction("a signature of a scheme that the double does not verify")
    flag, signed, key = signature[0], signature[1 : 1 + SIGNATURE_BYTES], signature[1 + SIGNATURE_BYTES :]
    if len(signed) != SIGNATURE_BYTES or len(key) != KEY_BYTES[flag]:
        raise InvalidTransaction(f"a signature of {len(signature)} bytes")
    message = blake2b(TRANSACTION_INTENT + data)
    try:
        holds = pysui_fastcrypto.verify_pubk(
            flag, key, base64.b64encode(message).decode(), base64.b64encode(signed).decode()
        )
    except ValueError as error:
        raise InvalidTransaction(f"a signature that cannot be read: {error}") from None
    if not holds:
        raise InvalidTransaction("a signature that does not hold for the transaction and the key")
    return blake2b(bytes([flag]) + key)


def check_signatures(data: bytes, signatures: list[bytes], needed: set[bytes]) -> None:
    """Raise `InvalidTransaction` unless the signatures are of exactly the needed addresses, one each."""
    signers = [signer(data, signature) for signature in signatures]
    if set(signers) != needed or len(signers) != len(needed):
        told = ", ".join(f"0x{address.hex()}" for address in sorted(needed))
        raise InvalidTransaction(f"{len(signers)} signatures, and exactly one of each of {told} is needed")
