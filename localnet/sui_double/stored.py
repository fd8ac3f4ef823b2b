"""Objects as the chain keeps them: in BCS, with an owner and a version."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.reader import uleb_bytes
from localnet.sui_double.move.types import Datatype, ModuleId, type_tag_bytes

DIGEST_SALT = b"Object::"
GENESIS = bytes(32)
"""Digest that objects name which no transaction has made."""
GAS = Datatype(ModuleId(SUI, "sui"), "SUI")
GAS_COIN = Datatype(ModuleId(SUI, "coin"), "Coin", (GAS,))
"""The type of the coins that pay for transactions."""


class OwnerKind(enum.Enum):
    """Who may use an object. The value is the number in BCS."""

    ADDRESS = 0
    """The transactions of one account."""
    OBJECT = 1
    """The object whose dynamic field it is."""
    SHARED = 2
    IMMUTABLE = 3


@dataclass(frozen=True, slots=True)
class Owner:
    """An object's owner: `id` is the address or the parent object, `since` the version at which it became shared."""

    kind: OwnerKind
    id: bytes = b""
    since: int = 0

    def to_bytes(self) -> bytes:
        """Return the owner in BCS."""
        number = bytes([self.kind.value])
        return number + (self.since.to_bytes(8, "little") if self.kind is OwnerKind.SHARED else self.id)


IMMUTABLE = Owner(OwnerKind.IMMUTABLE)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of an object."""

    id: bytes
    version: int
    type: Datatype
    contents: bytes
    owner: Owner
    previous_transaction: bytes
    """Digest of the transaction that wrote this version."""
    has_public_transfer: bool = True
    """Whether its type has the ability `store`."""

    @property
    def digest(self) -> bytes:
        """Return the hash that names this version, as Sui computes it (of an object without storage rebate)."""
        parts = [
            DIGEST_SALT,
            b"\x00",  # a Move object, not a package
            _type_bytes(self.type),
            bytes([self.has_public_transfer]),
            self.version.to_bytes(8, "little"),
            uleb_bytes(len(self.contents)),
            self.contents,
            self.owner.to_bytes(),
            uleb_bytes(len(self.previous_transaction)),
            self.previous_transaction,
            bytes(8),
        ]
        return blake2b(b"".join(parts))


def _type_bytes(type_: Datatype) -> bytes:
    """Return an object's type in BCS: Sui has short forms for coins."""
    if type_ == GAS_COIN:
        return b"\x01"
    if (type_.module, type_.name) == (GAS_COIN.module, GAS_COIN.name):
        return b"\x03" + type_tag_bytes(type_.arguments[0])
    return b"\x00" + type_tag_bytes(type_)[1:]


class Objects(Protocol):
    """Gives the newest version of objects."""

    def get(self, id_: bytes) -> StoredObject | None:
        """Return an object, and None when there is none: never made, deleted, or wrapped in another."""
