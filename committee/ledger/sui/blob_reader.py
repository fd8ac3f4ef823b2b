"""Blob objects and the terms of storage, as the package keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from committee import bcs
from committee.errors import LedgerRefused
from committee.ledger.records import BlobRecord, BlockMark
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.happenings import blob_id_of, object_number
from committee.ledger.sui.objects import Objects, ObjectVersion, address_text
from committee.ledger.sui.package import Keyed, Package
from committee.ledger.sui.state import State
from committee.ledger.sui.types import ADDRESS_BYTES, Scalar, type_text
from committee.terms import Terms

PAGE = 200
"""Objects of a page, counted with those that have ended."""


class BlobReader:
    """Reads blob objects and terms of one deployment."""

    def __init__(self, objects: Objects, state: State, deployment: SuiDeployment, package: Package) -> None:
        self._objects = objects
        self._state = state
        self._shared = [deployment.system, deployment.blobs]
        self._package = package

    async def terms(self, at: BlockMark | None = None) -> tuple[Terms, BlockMark]:
        """Return what space costs and how much of it there is at a checkpoint, the newest when None; and that one."""

        async def read(objects: Objects, shared: list[ObjectVersion]) -> Terms:
            told = (await self._blobs(objects, shared))["terms"]
            return Terms(told["price"], told["write_price"], told["capacity"])

        return await self._objects.together(self._shared, read, at)

    async def live_page(
        self, cursor: int, at: BlockMark | None = None
    ) -> tuple[list[BlobRecord], int, BlockMark]:
        """Return some of the blob objects that are neither deleted nor expired at a checkpoint, and the next cursor.

        The cursor is 0 for the first page and behind the last one; the checkpoint is the newest when None, and is
        returned too. An object may be told to be certified that is so since the checkpoint: certificates change the
        object alone. Raises `LedgerStateGone` as `Objects.together`.
        """

        async def read(objects: Objects, shared: list[ObjectVersion]) -> tuple[list[BlobRecord], int]:
            system = await self._system(objects, shared)
            blobs = await self._blobs(objects, shared)
            last = min(cursor + PAGE, blobs["count"])
            listed = await self._listed(objects, blobs, range(cursor + 1, last + 1))
            period = system["timeline"]["period"]
            living = [entry for entry in listed if period < entry["end_period"]]
            return await self._records(objects, system, living), 0 if last == blobs["count"] else last

        (records, following), mark = await self._objects.together(self._shared, read, at)
        return records, following, mark

    async def blob_object(self, object_id: int) -> BlobRecord:
        """Return one blob object, also one that has expired. Raises `LedgerRefused` when there is none (any more)."""
        id_ = object_id.to_bytes(ADDRESS_BYTES, "big")

        async def read(objects: Objects, shared: list[ObjectVersion]) -> BlobRecord | None:
            system, blobs = await self._system(objects, shared), await self._blobs(objects, shared)
            blob = await self._blob(objects, id_)
            listed = await self._listed(objects, blobs, [blob["number"]] if blob else [])
            records = await self._records(objects, system, listed)
            return records[0] if records else None

        found, _ = await self._objects.together(self._shared, read)
        if found is None:
            raise LedgerRefused("blobs.blob", "UnknownObject", {"objectId": object_id})
        return found

    async def _system(self, objects: Objects, shared: Sequence[ObjectVersion]) -> dict[str, Any]:
        return await self._state.state_of(objects, shared[0], "system", "System")

    async def _blobs(self, objects: Objects, shared: Sequence[ObjectVersion]) -> dict[str, Any]:
        return await self._state.state_of(objects, shared[1], "blobs", "Blobs")

    async def _listed(
        self, objects: Objects, blobs: Mapping[str, Any], numbers: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Return the list's entries of these objects; what is not on the list has none."""
        table: Keyed = blobs["listed"]
        keys = [bcs.u64(number) for number in numbers]
        type_ = self._package.type("blobs", "Listed")
        found = await self._state.fields_there(objects, table.id, Scalar.U64, keys, type_)
        return [entry for entry in found if entry is not None]

    async def _blob(self, objects: Objects, id_: bytes) -> dict[str, Any] | None:
        (found,) = await objects.newest([id_])
        return None if found is None else self._decoded(found)

    def _decoded(self, found: ObjectVersion) -> dict[str, Any] | None:
        """Return a blob object's fields; None for an object of another type."""
        type_ = self._package.type("blob", "Blob")
        if found.type != type_text(type_):
            return None
        fields: dict[str, Any] = self._package.decode(type_, found.contents)
        return fields

    async def _records(
        self, objects: Objects, system: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]
    ) -> list[BlobRecord]:
        """Return the records of objects on the list. One that is destroyed, having expired, is left out."""
        versions = await objects.newest([entry["object"] for entry in listed])
        table: Keyed = system["invalid_blobs"]
        ids = [entry["blob_id"].to_bytes(ADDRESS_BYTES, "little") for entry in listed]
        invalid = await self._state.fields_there(objects, table.id, Scalar.U256, ids, Scalar.U32)
        records = []
        for entry, version, since_epoch in zip(listed, versions, invalid, strict=True):
            blob = None if version is None else self._decoded(version)
            if blob is not None:
                records.append(_record(entry, blob, is_invalid=since_epoch is not None))
        return records


def _record(entry: Mapping[str, Any], blob: Mapping[str, Any], *, is_invalid: bool) -> BlobRecord:
    return BlobRecord(
        object_id=object_number(entry["object"]),
        blob_id=blob_id_of(entry["blob_id"]),
        length=blob["length"],
        owner=address_text(entry["owner"]),
        registered_epoch=blob["registered_epoch"],
        certified_epoch=blob["certified_epoch"],
        end_period=entry["end_period"],
        deletable=entry["is_deletable"],
        invalid=is_invalid,
    )
