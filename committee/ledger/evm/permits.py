"""Allowances by signature (EIP-2612), for the token that storage is paid with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TOKEN_NAME, TOKEN_VERSION = "Haulout", "1"
"""Name and version in the token's EIP-712 domain (`HauloutToken`)."""
PERMIT_TYPES = {
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ]
}


@dataclass(frozen=True, slots=True)
class Permit:
    """An allowance to be signed: `spender` may take `value` of the owner's tokens.

    Everything that it names but `nonce` and `deadline_s` is known without asking the chain, so an endpoint that lies
    about these two makes a permit that does not count, and none for anybody else.
    """

    chain_id: int
    token: str
    spender: str
    value: int
    nonce: int
    """The token's for the owner, which each permit uses up."""
    deadline_s: int
    """Chain time after which the permit does not count."""

    def typed_data(self, owner: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return what the owner signs (EIP-712): domain, types, message."""
        domain = {
            "name": TOKEN_NAME,
            "version": TOKEN_VERSION,
            "chainId": self.chain_id,
            "verifyingContract": self.token,
        }
        message = {
            "owner": owner,
            "spender": self.spender,
            "value": self.value,
            "nonce": self.nonce,
            "deadline": self.deadline_s,
        }
        return domain, PERMIT_TYPES, message
