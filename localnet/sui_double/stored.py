"""Objects as the chain keeps them: in BCS, with an owner and a version."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from localnet.sui_double.move.types import Datatype


class OwnerKind(enum.Enum):
    """Who may use an object."""

    ADDRESS = "address"
    """The transactions of one account."""
    OBJECT = "object"
    """The object whose dynamic field it is."""
    SHARED = "shared"
    IMMUTABLE = "immutable"


@dataclass(frozen=True, slots=True)
class Owner:
    """An object's owner: `id` is the address or the parent object, `since` the version at which it became shared."""

    kind: OwnerKind
    id: bytes = b""
    since: int = 0


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


class Objects(Protocol):
    """Gives the newest version of objects."""

    def get(self, id_: bytes) -> StoredObject | None:
        """Return an object, and None when there is none: never made, deleted, or wrapped in another."""
