"""The key of an account on Sui, and the forms in which key files have one.

hex        64 digits, as in Haulout's other key files: the secret of Ed25519
bech32     `suiprivkey1…`, as Sui's wallets and `sui keytool` show it
base64     the scheme's number and the secret, 33 bytes, as in `sui.keystore`; also that file itself, a list in
JSON, if it has one entry alone
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from committee.errors import InvalidKey
from committee.key_files import SECRET_BYTES, read_private
from committee.ledger.sui.objects import address_text
from committee.ledger.sui.types import ADDRESS_BYTES
from committee.ledger.sui.wire import fastcrypto

Result = TypeVar("Result")

PREFIX = "suiprivkey"
ED25519 = 0
PUBLIC_KEY_BYTES = {ED25519: 32, 1: 33, 2: 33}
"""Length of a public key, by the number of its scheme: Ed25519, Secp256k1, Secp256r1."""
FORMS = "64 hexadecimal digits, a text that begins with suiprivkey1, or an entry of sui.keystore"
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{44}")
_BECH32 = re.compile(rf"{PREFIX}1[0-9a-z]{{40,80}}")


class SuiKey:
    """A secret of 32 bytes and its scheme. Shown by address alone, never by `repr` or `str`."""

    __slots__ = ("_public_key", "_scheme", "_secret", "address")

    def __init__(self, secret: bytes, scheme: int = ED25519) -> None:
        """Raises `InvalidKey` for a secret of another length, or outside the scheme's range, and another scheme."""
        if len(secret) != SECRET_BYTES or scheme not in PUBLIC_KEY_BYTES:
            raise InvalidKey(f"account secret of {len(secret)} bytes and scheme {scheme}: use {FORMS}")
        entry = base64.b64encode(bytes([scheme]) + secret).decode()
        _, public_key, found = _decoded(lambda: fastcrypto.keys_from_keystring(entry))
        if found != secret or len(public_key) != PUBLIC_KEY_BYTES[scheme]:
            raise InvalidKey("account secret that is none: generate a new one")
        self._scheme, self._secret, self._public_key = scheme, secret, public_key
        self.address = blake2b(bytes([scheme]) + public_key, digest_size=ADDRESS_BYTES).digest()
        """The account, 32 bytes."""

    @classmethod
    def generate(cls) -> SuiKey:
        """Return a fresh key of Ed25519 from the operating system's randomness."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str, where: str) -> SuiKey:
        """Return the key of a text. Raises `InvalidKey` saying `where` it stands, without a trace of the text."""
        text = text.strip()
        if text.startswith("["):
            text = _only_entry(text, where)
        if _HEX.fullmatch(text):
            return cls(bytes.fromhex(text.removeprefix("0x")))
        if _BASE64.fullmatch(text):
            content = base64.b64decode(text)
            return cls(content[1:], content[0])
        if _BECH32.fullmatch(text):
            scheme, _, secret = _decoded(lambda: fastcrypto.decode_bech32(text, PREFIX))
            if scheme in PUBLIC_KEY_BYTES:
                return cls(secret, scheme)
        raise InvalidKey(f"{where} does not hold a key of an account on Sui: {FORMS}")

    @classmethod
    def read(cls, path: Path) -> SuiKey:
        """Return the key of a file that its owner alone can read. Raises `InvalidKey` naming the file."""
        return cls.parse(read_private(path, f"the key {path}"), f"the key {path}")

    def sign(self, transaction: bytes) -> bytes:
        """Return the signature of a transaction's bytes: the scheme, the signature, the public key."""
        content = base64.b64encode(transaction).decode()
        return _decoded(lambda: fastcrypto.sign_digest(self._scheme, self._secret, content))

    def __repr__(self) -> str:
        return f"SuiKey({address_text(self.address)})"


def _only_entry(text: str, where: str) -> str:
    try:
        entries = json.loads(text)
    except ValueError:
        entries = None
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], str):
        raise InvalidKey(
            f"{where} is no keystore with exactly one key: write that key into a file of its own"
        )
    entry: str = entries[0]
    return entry


def _decoded(work: Callable[[], Result]) -> Result:
    """Return what the library makes of a secret; its own messages are kept out of what a caller may log."""
    try:
        return work()
    except Exception as error:
        raise InvalidKey(f"account secret that cannot be used ({type(error).__name__})") from None
