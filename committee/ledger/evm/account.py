"""The key of an account that sends transactions."""

from __future__ import annotations

import secrets
from typing import Any

from eth_account import Account
from eth_account.datastructures import SignedTransaction
from eth_account.signers.local import LocalAccount
from eth_utils.exceptions import ValidationError

from committee.errors import InvalidKey, LedgerError
from committee.ledger.evm.permits import Permit

SECRET_BYTES = 32


class AccountKey:
    """A secp256k1 secret of 32 bytes. Shown by address alone, never by `repr` or `str`."""

    __slots__ = ("_account",)

    def __init__(self, secret: bytes) -> None:
        """Raises `InvalidKey` unless the secret has 32 bytes and is a scalar of the curve."""
        if len(secret) != SECRET_BYTES:
            raise InvalidKey(f"account secret of {len(secret)} bytes: it must have {SECRET_BYTES}")
        try:
            self._account: LocalAccount = Account.from_key(secret)
        except (ValueError, ValidationError):
            # The library's message may quote the secret.
            raise InvalidKey("account secret out of range: generate a new one") from None

    @classmethod
    def generate(cls) -> AccountKey:
        """Return a fresh key from the operating system's randomness."""
        # A draw outside the curve's order, one of 2^128, is refused by the constructor.
        return cls(secrets.token_bytes(SECRET_BYTES))

    @property
    def address(self) -> str:
        """The account, "0x" and 40 hexadecimal digits with checksum."""
        return str(self._account.address)

    def to_bytes(self) -> bytes:
        """Return the secret, for the owner's own key file."""
        return bytes(self._account.key)

    def sign(self, transaction: dict[str, Any]) -> SignedTransaction:
        """Return a signed transaction: its raw bytes and its hash. Raises `LedgerError` for fields that make none."""
        try:
            return self._account.sign_transaction(transaction)
        except Exception as error:
            # The library's frames and messages are kept out of what a caller may log.
            raise LedgerError(f"these fields make no transaction ({type(error).__name__})") from None

    def sign_permit(self, permit: Permit) -> tuple[int, bytes, bytes]:
        """Return the signature (v, r, s) of an allowance of this account's tokens. Raises `LedgerError`."""
        try:
            signed = self._account.sign_typed_data(*permit.typed_data(self.address))
        except Exception as error:
            raise LedgerError(f"these fields make no permit ({type(error).__name__})") from None
        return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"AccountKey({self.address})"
