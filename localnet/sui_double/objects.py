"""The objects of a chain, in every version."""

from __future__ import annotations

from collections.abc import Iterator

from localnet.sui_double.stored import OwnerKind, StoredObject


class ObjectStore:
    """Keeps the newest version of every object, and the older ones for readers."""

    def __init__(self) -> None:
        self._newest: dict[bytes, StoredObject] = {}
        self._versions: dict[bytes, dict[int, StoredObject]] = {}
        self._owned: dict[bytes, dict[bytes, None]] = {}
        """Address or parent → ids of what it owns, in the order in which it got them."""

    def get(self, id_: bytes) -> StoredObject | None:
        """Return the newest version of an object, None when it does not exist."""
        return self._newest.get(id_)

    def at_version(self, id_: bytes, version: int) -> StoredObject | None:
        """Return a version of an object, None when it never had it."""
        return self._versions.get(id_, {}).get(version)

    def was_there(self, id_: bytes) -> bool:
        """Return whether an object exists, or existed."""
        return id_ in self._versions

    def put(self, stored: StoredObject) -> None:
        """Keep a new version of an object."""
        self._disown(stored.id)
        self._newest[stored.id] = stored
        self._versions.setdefault(stored.id, {})[stored.version] = stored
        if stored.owner.kind in (OwnerKind.ADDRESS, OwnerKind.OBJECT):
            self._owned.setdefault(stored.owner.id, {})[stored.id] = None

    def remove(self, id_: bytes) -> None:
        """Take note that an object exists no more; its versions stay."""
        self._disown(id_)
        self._newest.pop(id_, None)

    def owned_by(self, owner: bytes) -> Iterator[StoredObject]:
        """Yield the objects of an address, or the children of an object."""
        for id_ in list(self._owned.get(owner, ())):
            yield self._newest[id_]

    def _disown(self, id_: bytes) -> None:
        earlier = self._newest.get(id_)
        if earlier is not None:
            self._owned.get(earlier.owner.id, {}).pop(id_, None)
