"""The package's events as the ledger tells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from committee.ledger.events import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRegistered,
    BlobTransferred,
    CommitteeSelected,
    EpochStarted,
    Event,
    HandoverDone,
    MemberEjected,
    NetworkAddressChanged,
    ShardsAttested,
)
from committee.ledger.records import BlockMark
from committee.ledger.sui.package import Package
from committee.ledger.sui.types import ADDRESS_BYTES, Datatype, type_text

_Told: TypeAlias = Callable[[BlockMark, dict[str, Any]], Event]


class Happenings:
    """Decodes the events of one package; those that the ledger does not tell are left out."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._known: dict[str, tuple[Datatype, _Told]] = {}
        for name, tell in _EVENTS.items():
            module, _, struct = name.partition("::")
            type_ = package.type(module, struct)
            self._known[type_text(type_)] = type_, tell

    def decode(self, block: BlockMark, type_: str, contents: bytes) -> Event | None:
        """Return the event of a type, in the form of `normal_text`; None for one that the ledger does not tell.

        Raises `ValueError` for contents that are not of the type.
        """
        if type_ not in self._known:
            return None
        datatype, tell = self._known[type_]
        return tell(block, self._package.decode(datatype, contents))


def blob_id_of(number: int) -> bytes:
    """Return a blob id, which the package has as the number of its little-endian bytes."""
    return number.to_bytes(ADDRESS_BYTES, "little")


def object_number(id_: bytes) -> int:
    """Return an object's id as the ledger's records have it: the number of its big-endian bytes."""
    return int.from_bytes(id_, "big")


def _registered(block: BlockMark, told: dict[str, Any]) -> Event:
    return BlobRegistered(
        block=block,
        object_id=object_number(told["object"]),
        blob_id=blob_id_of(told["blob_id"]),
        owner=f"0x{told['owner'].hex()}",
        epoch=told["epoch"],
        length=told["length"],
        end_period=told["end_period"],
        deletable=told["is_deletable"],
    )


def _certified(block: BlockMark, told: dict[str, Any]) -> Event:
    return BlobCertified(
        block=block,
        object_id=object_number(told["object"]),
        blob_id=blob_id_of(told["blob_id"]),
        epoch=told["epoch"],
        end_period=told["end_period"],
        deletable=told["is_deletable"],
        is_extension=told["is_extension"],
    )


def _transferred(block: BlockMark, told: dict[str, Any]) -> Event:
    return BlobTransferred(block, object_number(told["object"]), f"0x{told['to'].hex()}")


def _deleted(block: BlockMark, told: dict[str, Any]) -> Event:
    return BlobDeleted(block, object_number(told["object"]), blob_id_of(told["blob_id"]), told["epoch"])


def _invalidated(block: BlockMark, told: dict[str, Any]) -> Event:
    return BlobInvalidated(block, blob_id_of(told["blob_id"]), told["epoch"])


def _moved(block: BlockMark, told: dict[str, Any]) -> Event:
    return NetworkAddressChanged(block, told["node_id"])


def _selected(block: BlockMark, told: dict[str, Any]) -> Event:
    return CommitteeSelected(block, told["epoch"])


def _started(block: BlockMark, told: dict[str, Any]) -> Event:
    return EpochStarted(block, told["epoch"], told["period"])


def _attested(block: BlockMark, told: dict[str, Any]) -> Event:
    return ShardsAttested(block, told["epoch"], told["node_id"], tuple(told["shards"]))


def _handed_over(block: BlockMark, told: dict[str, Any]) -> Event:
    return HandoverDone(block, told["epoch"])


def _ejected(block: BlockMark, told: dict[str, Any]) -> Event:
    return MemberEjected(block, told["epoch"], told["node_id"], told["reason"])


_EVENTS: dict[str, _Told] = {
    "blob::BlobRegistered": _registered,
    "blob::BlobCertified": _certified,
    "blob::BlobTransferred": _transferred,
    "blob::BlobDeleted": _deleted,
    "blob::BlobInvalidated": _invalidated,
    "epochs::CommitteeSelected": _selected,
    "epochs::EpochStarted": _started,
    "epochs::HandoverDone": _handed_over,
    "epochs::MemberEjected": _ejected,
    "epochs::ShardsAttested": _attested,
    "registry::NetworkAddressChanged": _moved,
}
