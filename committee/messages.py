"""The signed messages, byte for byte (PROTOCOL section 2).

    offset  bytes  field
    0       1      intent
    1       1      version: 0 is Walrus' own form, 1 adds the domain
    2       1      app id, always 3
    3       4      epoch, u32 little-endian
    7       32     domain, in version 1 only
    7|39           body, by intent:

    intent            body
    0 POSSESSION      account, left-padded to 32 ‖ public key 48
    1 BLOB            blob id 32 ‖ 0x00 (permanent), or ‖ 0x01 ‖ object id, u256 big-endian (deletable)
    2 INVALID_BLOB    blob id 32
    3 SHARD_TRANSFER  shard u16 LE ‖ axis u8 ‖ first blob id 32 ‖ max count u64 LE ‖ requester's public key 48
    7 EJECT           node id, u256 big-endian ‖ reason u8 ‖ last second at which it counts, u64 LE
    8 SIGN_OF_LIFE    node id, u256 big-endian ‖ nonce 32; between nodes alone, ours
    9 MEMBER_REQUEST  node id of the node asked ‖ of the member that asks, u256 big-endian each ‖ hour u32 LE; likewise
    10 INVENTORY      root 32 ‖ count u32 LE ‖ weight u64 LE
    11 PROOF          node id, u256 big-endian ‖ draw 32

Every field has one form only, so that equal meaning is equal bytes. Everything here raises `InvalidMessage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from committee.errors import InvalidMessage

APP_ID = 3
VERSION_WITHOUT_DOMAIN = 0
VERSION_WITH_DOMAIN = 1
DOMAIN_BYTES = 32
BLOB_ID_BYTES = 32
PUBLIC_KEY_BYTES = 48
NONCE_BYTES = 32
ROOT_BYTES = 32
DRAW_BYTES = 32

_HEADER_BYTES = 7
_WORD_BYTES = 32
_HOUR_BYTES = 4
_DEADLINE_BYTES = 8
_COUNT_BYTES = 4
_WEIGHT_BYTES = 8
_ACCOUNT_BYTES = (20, 32)
"""An EVM account, a Sui account."""
_PERMANENT = b"\x00"
_DELETABLE = b"\x01"


class Intent(IntEnum):
    """What a signature is for; the first byte of every message."""

    POSSESSION = 0
    BLOB = 1
    INVALID_BLOB = 2
    SHARD_TRANSFER = 3
    EJECT = 7
    SIGN_OF_LIFE = 8
    MEMBER_REQUEST = 9
    INVENTORY = 10
    PROOF = 11


EJECTION_LIFETIME_S = 600
"""Time from the chain's time to the deadline that a member sets for an ejection which its fellows are to sign."""
LONGEST_EJECTION_S = 2 * EJECTION_LIFETIME_S
"""The farthest deadline that a node signs: the asking member's view of the chain may be ahead of the node's."""


class EjectionReason(IntEnum):
    """Why a quorum ejects a member."""

    SILENT = 1
    """The member answers no fellow within the contract's patience."""


_INTENTS = frozenset(map(int, Intent))
_EJECTION_REASONS = frozenset(map(int, EjectionReason))
_BODY_BYTES = {
    Intent.POSSESSION: (_WORD_BYTES + PUBLIC_KEY_BYTES,),
    Intent.BLOB: (BLOB_ID_BYTES + 1, BLOB_ID_BYTES + 1 + _WORD_BYTES),
    Intent.INVALID_BLOB: (BLOB_ID_BYTES,),
    Intent.SHARD_TRANSFER: (2 + 1 + BLOB_ID_BYTES + 8 + PUBLIC_KEY_BYTES,),
    Intent.EJECT: (_WORD_BYTES + 1 + _DEADLINE_BYTES,),
    Intent.SIGN_OF_LIFE: (_WORD_BYTES + NONCE_BYTES,),
    Intent.MEMBER_REQUEST: (2 * _WORD_BYTES + _HOUR_BYTES,),
    Intent.INVENTORY: (ROOT_BYTES + _COUNT_BYTES + _WEIGHT_BYTES,),
    Intent.PROOF: (_WORD_BYTES + DRAW_BYTES,),
}


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message; `domain` is None in version 0."""

    intent: Intent
    version: int
    epoch: int
    domain: bytes | None
    body: bytes


def encode(intent: Intent, epoch: int, body: bytes, domain: bytes | None) -> bytes:
    """Return the bytes to sign: version 1 with a domain of 32 bytes, version 0 (Walrus' own) with None."""
    version = VERSION_WITHOUT_DOMAIN if domain is None else VERSION_WITH_DOMAIN
    if domain is not None:
        _require_length("domain", domain, DOMAIN_BYTES)
    _require_body(intent, body)
    header = bytes((intent, version, APP_ID)) + _unsigned("epoch", epoch, 4, "little")
    return header + (domain or b"") + body


def decode(encoded: bytes) -> Message:
    """Read a message back; refuses all that `encode` would not write."""
    if len(encoded) < _HEADER_BYTES:
        raise InvalidMessage(f"message of {len(encoded)} bytes: shorter than the header of {_HEADER_BYTES}")
    intent_byte, version, app_id = encoded[0], encoded[1], encoded[2]
    if intent_byte not in _INTENTS:
        raise InvalidMessage(f"intent {intent_byte} is not known; known are {sorted(_INTENTS)}")
    if version not in (VERSION_WITHOUT_DOMAIN, VERSION_WITH_DOMAIN):
        raise InvalidMessage(f"version {version} is not known; known are 0 (without domain) and 1 (with)")
    if app_id != APP_ID:
        raise InvalidMessage(f"app id {app_id} is not {APP_ID}: this message is for something else")
    intent = Intent(intent_byte)
    rest = encoded[_HEADER_BYTES:]
    domain = None
    if version == VERSION_WITH_DOMAIN:
        domain, rest = rest[:DOMAIN_BYTES], rest[DOMAIN_BYTES:]
        _require_length("domain", domain, DOMAIN_BYTES)
    _require_body(intent, rest)
    epoch = int.from_bytes(encoded[3:_HEADER_BYTES], "little")
    return Message(intent, version, epoch, domain, rest)


def possession_body(account: str, public_key: bytes) -> bytes:
    """Return the body of a proof of possession. `account` is "0x" and 40 (EVM) or 64 (Sui) hexadecimal digits."""
    try:
        address = bytes.fromhex(account.removeprefix("0x"))
    except ValueError:
        address = b""
    if not account.startswith("0x") or len(address) not in _ACCOUNT_BYTES:
        raise InvalidMessage(f"account {account!r} is not 0x and 40 or 64 hexadecimal digits")
    _require_length("public key", public_key, PUBLIC_KEY_BYTES)
    return address.rjust(_WORD_BYTES, b"\x00") + public_key


def blob_body(blob_id: bytes, object_id: int | None = None) -> bytes:
    """Return the body of a blob confirmation: permanent without an object id, else of that deletable blob object."""
    _require_length("blob id", blob_id, BLOB_ID_BYTES)
    if object_id is None:
        return blob_id + _PERMANENT
    return blob_id + _DELETABLE + _unsigned("object id", object_id, _WORD_BYTES, "big")


def invalid_blob_body(blob_id: bytes) -> bytes:
    """Return the body of the message that a blob was encoded inconsistently."""
    _require_length("blob id", blob_id, BLOB_ID_BYTES)
    return blob_id


def eject_body(node_id: int, deadline_s: int, reason: int = EjectionReason.SILENT) -> bytes:
    """Return the body of the message that ejects a member; the reason is an `EjectionReason`.

    `deadline_s` is the chain's last second at which the message counts.
    """
    body = _unsigned("node id", node_id, _WORD_BYTES, "big") + _unsigned("reason", reason, 1, "big")
    body += _unsigned("deadline", deadline_s, _DEADLINE_BYTES, "little")
    _require_body(Intent.EJECT, body)
    return body


def sign_of_life_body(node_id: int, nonce: bytes) -> bytes:
    """Return the body of the message by which a member shows the node that made up the nonce that it is alive."""
    _require_length("nonce", nonce, NONCE_BYTES)
    return _unsigned("node id", node_id, _WORD_BYTES, "big") + nonce


def member_request_body(asked_id: int, member_id: int, hour: int) -> bytes:
    """Return the body of the message by which a member shows itself to a node; `hour` is Unix time in hours."""
    ids = (_unsigned("node id", node_id, _WORD_BYTES, "big") for node_id in (asked_id, member_id))
    return b"".join((*ids, _unsigned("hour", hour, _HOUR_BYTES, "little")))


def inventory_body(root: bytes, count: int, weight: int) -> bytes:
    """Return the body of the message by which members certify an epoch's inventory (PROTOCOL section 8)."""
    _require_length("root", root, ROOT_BYTES)
    sizes = (
        _unsigned("count", count, _COUNT_BYTES, "little"),
        _unsigned("weight", weight, _WEIGHT_BYTES, "little"),
    )
    return root + b"".join(sizes)


def proof_body(node_id: int, draw: bytes) -> bytes:
    """Return the body of the message by which a member's fellows certify that it opened what was drawn."""
    _require_length("draw", draw, DRAW_BYTES)
    return _unsigned("node id", node_id, _WORD_BYTES, "big") + draw


def read_member_request(body: bytes) -> tuple[int, int, int]:
    """Return (id of the node asked, id of the member that asks, hour) of such a body."""
    _require_body(Intent.MEMBER_REQUEST, body)
    asked, member, hour = body[:_WORD_BYTES], body[_WORD_BYTES : 2 * _WORD_BYTES], body[2 * _WORD_BYTES :]
    return int.from_bytes(asked, "big"), int.from_bytes(member, "big"), int.from_bytes(hour, "little")


@dataclass(frozen=True, slots=True)
class ShardTransferRequest:
    """What the new owner of a shard asks of the old one: one page of slivers, in blob-id order."""

    shard: int
    axis: int
    """0 primary, 1 secondary slivers."""
    first_blob_id: bytes
    """The page starts with this blob, or with the next one after it."""
    max_count: int
    public_key: bytes
    """The public key of the requester, which signs."""

    def to_body(self) -> bytes:
        """Return the body of a `SHARD_TRANSFER` message."""
        _require_axis(self.axis)
        _require_length("first blob id", self.first_blob_id, BLOB_ID_BYTES)
        _require_length("public key", self.public_key, PUBLIC_KEY_BYTES)
        shard = _unsigned("shard", self.shard, 2, "little")
        count = _unsigned("max count", self.max_count, 8, "little")
        return shard + bytes((self.axis,)) + self.first_blob_id + count + self.public_key

    @classmethod
    def from_body(cls, body: bytes) -> ShardTransferRequest:
        """Read the body of a `SHARD_TRANSFER` message."""
        _require_body(Intent.SHARD_TRANSFER, body)
        return cls(
            shard=int.from_bytes(body[0:2], "little"),
            axis=body[2],
            first_blob_id=body[3:35],
            max_count=int.from_bytes(body[35:43], "little"),
            public_key=body[43:91],
        )


def _require_body(intent: Intent, body: bytes) -> None:
    lengths = _BODY_BYTES[intent]
    if len(body) not in lengths:
        wanted = " or ".join(str(length) for length in lengths)
        raise InvalidMessage(f"{intent.name} body of {len(body)} bytes: it must have {wanted}")
    if intent is Intent.BLOB:
        tag = _PERMANENT if len(body) == lengths[0] else _DELETABLE
        found = body[BLOB_ID_BYTES : BLOB_ID_BYTES + 1]
        if found != tag:
            raise InvalidMessage(f"BLOB body of {len(body)} bytes with tag {found[0]}: it must be {tag[0]}")
    if intent is Intent.SHARD_TRANSFER:
        _require_axis(body[2])
    if intent is Intent.EJECT and body[_WORD_BYTES] not in _EJECTION_REASONS:
        raise InvalidMessage(
            f"EJECT reason {body[_WORD_BYTES]} is not known; known are {sorted(_EJECTION_REASONS)}"
        )


def _require_axis(axis: int) -> None:
    if axis not in (0, 1):
        raise InvalidMessage(f"axis {axis} is neither 0 (primary) nor 1 (secondary)")


def _require_length(field: str, value: bytes, n_bytes: int) -> None:
    if len(value) != n_bytes:
        raise InvalidMessage(f"{field} of {len(value)} bytes: it must have {n_bytes}")


def _unsigned(field: str, value: int, n_bytes: int, order: Literal["little", "big"]) -> bytes:
    if not 0 <= value < 1 << (8 * n_bytes):
        raise InvalidMessage(f"{field} {value} is not in 0..2^{8 * n_bytes}-1")
    return value.to_bytes(n_bytes, order)
