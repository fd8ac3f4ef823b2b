"""What becomes of the objects of a transaction: which are written, which exist no more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from localnet.sui_double.arguments import Slot
from localnet.sui_double.effects import Change
from localnet.sui_double.errors import CommandFailure
from localnet.sui_double.host import OBJECT_BYTES_LIMIT, TransactionHost
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.natives.objects import object_id
from localnet.sui_double.move.types import Abilities, Datatype, type_name
from localnet.sui_double.move.values import Value
from localnet.sui_double.stored import Owner, OwnerKind, StoredObject


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes the new versions of objects."""

    modules: Modules
    codec: Codec
    version: int
    digest: bytes
    """Of the transaction."""

    def write(self, type_: Datatype, value: Value, owner: Owner) -> StoredObject:
        """Return the new version of an object. Raises `CommandFailure` when it is too large."""
        contents = self.codec.encode(type_, value)
        if len(contents) > OBJECT_BYTES_LIMIT:
            raise CommandFailure(
                "OBJECT_TOO_BIG",
                f"a {type_name(type_)} of {len(contents)} bytes, and {OBJECT_BYTES_LIMIT} are the most",
            )
        if owner.kind is OwnerKind.SHARED and owner.since == 0:
            owner = dataclasses.replace(owner, since=self.version)
        is_public = bool(self.modules.abilities(type_) & Abilities.STORE)
        return StoredObject(object_id(value), self.version, type_, contents, owner, self.digest, is_public)


def changes_of(
    writer: Writer, host: TransactionHost, slots: Sequence[Slot], merged: Sequence[StoredObject]
) -> Iterator[Change]:
    """Yield the changes of a transaction that has executed all of its commands. Raises `CommandFailure`.

    `slots` are its gas coin and object inputs, `merged` the coins that were merged into the gas coin.
    """
    written: dict[bytes, StoredObject] = {}
    before = host.taken | {coin.id: coin for coin in merged}
    gone = set(before)
    for slot in slots:
        stored = slot.stored
        assert stored is not None  # noqa: S101 (inputs and gas are stored objects)
        before[stored.id] = stored
        if slot.place and slot.may_change:
            written[stored.id] = writer.write(stored.type, slot.place[0], stored.owner)
    for id_, output in host.outputs.items():
        written[id_] = writer.write(output.type, output.value, output.owner)
    for child in _changed_children(writer, host, before):
        written[child.id] = child
    deleted = host.deleted | {coin.id for coin in merged}
    for id_, after in written.items():
        earlier = before.get(id_)
        if earlier is not None and after.owner != earlier.owner:
            _check_not_shared(earlier)
        yield Change(id_, earlier, after, is_created=earlier is None and id_ in host.created)
    for id_ in gone - set(written) - set(host.children):
        if id_ not in deleted:
            _check_not_shared(before[id_])
        yield Change(id_, before[id_], None, is_deleted=id_ in deleted)


def _changed_children(
    writer: Writer, host: TransactionHost, before: dict[bytes, StoredObject]
) -> Iterator[StoredObject]:
    """Yield the children that are not as they were, and note in `before` what they were."""
    for id_, child in host.children.items():
        if not child.is_mutable:
            continue
        after = writer.write(child.type, child.place[0], Owner(OwnerKind.OBJECT, child.parent))
        earlier = before.get(id_) or host.objects.get(id_)
        if earlier is not None:
            if (earlier.contents, earlier.owner) == (after.contents, after.owner):
                continue
            before[id_] = earlier
        yield after


def _check_not_shared(stored: StoredObject) -> None:
    """Raise `CommandFailure` for a shared object: it may be changed and deleted, and nothing else."""
    if stored.owner.kind is OwnerKind.SHARED:
        raise CommandFailure(
            "CONSENSUS_OBJECT_OPERATION_NOT_ALLOWED",
            f"shared object 0x{stored.id.hex()} would be wrapped, or get another owner",
        )
