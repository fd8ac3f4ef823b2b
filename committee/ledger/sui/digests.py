"""Digests in the form in which Sui writes them: 32 bytes in base 58."""

from __future__ import annotations

from committee.ledger.sui.wire import base58

DIGEST_BYTES = 32
LONGEST_DIGEST = 44
"""Characters of 32 bytes in base 58, at most."""


def digest_text(digest: bytes) -> str:
    """Return a digest in base 58."""
    return base58.b58encode(digest).decode()


def read_digest(text: str | None) -> bytes:
    """Return the 32 bytes of a digest in base 58. Raises `ValueError`."""
    if text is None or not text.isascii() or len(text) > LONGEST_DIGEST:
        raise ValueError("it is no digest in base 58")
    digest = base58.b58decode(text)
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest of {len(digest)} bytes, and {DIGEST_BYTES} are right")
    return digest
