"""What a transaction does with objects while its code runs; nothing is written before it has succeeded."""

from __future__ import annotations

from dataclasses import dataclass, field

from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.errors import LimitFailure, MoveAbort
from localnet.sui_double.move.natives.objects import derive_object_id, object_id
from localnet.sui_double.move.types import Datatype, Type, type_name
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.stored import Objects, Owner, OwnerKind, StoredObject

OBJECT_BYTES_LIMIT = 250 * 1024
EVENT_BYTES_LIMIT = 250 * 1024
EVENTS_LIMIT = 1024
CHILDREN_LIMIT = 1000
"""Dynamic fields that a transaction may touch."""
IDS_LIMIT = 2048
"""Objects that a transaction may make, delete or transfer, each."""

FIELD_EXISTS, FIELD_MISSING, FIELD_OF_OTHER_TYPE = 0, 1, 2
"""Aborts of `dynamic_field`."""
SHARED_NOT_NEW = 0
"""Abort of `transfer::share_object` for an object that the transaction has not made."""


@dataclass(frozen=True, slots=True)
class TransactionContext:
    """What code can ask of the transaction that runs it."""

    digest: bytes
    sender: bytes
    epoch: int = 0
    epoch_start_ms: int = 0
    gas_price: int = 1000
    gas_budget: int = 0
    sponsor: bytes | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An event: its type, its contents in BCS."""

    type: Datatype
    contents: bytes


@dataclass(slots=True)
class Output:
    """An object that the transaction gave an owner."""

    type: Datatype
    value: Value
    owner: Owner


@dataclass(slots=True)
class Child:
    """A child object that the transaction looked at; `place` holds its value in a list of one."""

    parent: bytes
    type: Datatype
    place: list[Value]
    is_mutable: bool


@dataclass(slots=True)
class TransactionHost:
    """The objects of one transaction, for the native functions of `move.machine.Host`.

    `outputs`, `children`, `created`, `deleted` and `events` are what it has done; `changes` writes them.
    """

    objects: Objects
    codec: Codec
    context: TransactionContext
    outputs: dict[bytes, Output] = field(default_factory=dict)
    children: dict[bytes, Child] = field(default_factory=dict)
    taken: dict[bytes, StoredObject] = field(default_factory=dict)
    """Stored objects that left their owner: inputs by value and removed children."""
    created: set[bytes] = field(default_factory=set)
    deleted: set[bytes] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    ids_created: int = 0
    _looked_at: dict[bytes, StoredObject | None] = field(default_factory=dict)

    @property
    def sender(self) -> bytes:
        """Return the account that sent the transaction."""
        return self.context.sender

    @property
    def epoch(self) -> int:
        """Return the chain's epoch."""
        return self.context.epoch

    @property
    def epoch_start_ms(self) -> int:
        """Return when the epoch began, in milliseconds since 1970."""
        return self.context.epoch_start_ms

    @property
    def gas_price(self) -> int:
        """Return the price of a unit of gas, in MIST."""
        return self.context.gas_price

    @property
    def gas_budget(self) -> int:
        """Return the most gas that the sender pays, in MIST."""
        return self.context.gas_budget

    @property
    def sponsor(self) -> bytes | None:
        """Return the account that pays the gas if it is not the sender."""
        return self.context.sponsor

    def fresh_id(self) -> bytes:
        """Return an object id that was never given before."""
        id_ = derive_object_id(self.context.digest, self.ids_created)
        self.ids_created += 1
        self.note_new_id(id_)
        return id_

    def note_new_id(self, id_: bytes) -> None:
        """Take note that an object with this id begins to exist."""
        self.created.add(id_)
        if len(self.created) > IDS_LIMIT:
            raise LimitFailure(f"more than {IDS_LIMIT} new objects")

    def note_deleted_id(self, id_: bytes) -> None:
        """Take note that the object with this id ends."""
        if id_ in self.created:
            self.created.remove(id_)
            return
        self.deleted.add(id_)
        if len(self.deleted) > IDS_LIMIT:
            raise LimitFailure(f"more than {IDS_LIMIT} deleted objects")

    def transfer(self, type_: Type, value: Value, recipient: bytes) -> None:
        """Give an object to an address."""
        self._put_out(type_, value, Owner(OwnerKind.ADDRESS, recipient))

    def share(self, type_: Type, value: Value) -> None:
        """Make an object shared. Raises `MoveAbort` when the transaction has not made it."""
        id_ = object_id(value)
        earlier = self.taken.get(id_)
        if earlier is not None and earlier.owner.kind is OwnerKind.SHARED:
            self._put_out(type_, value, earlier.owner)
        elif id_ in self.created:
            self._put_out(type_, value, Owner(OwnerKind.SHARED))
        else:
            raise MoveAbort(SHARED_NOT_NEW)

    def freeze(self, type_: Type, value: Value) -> None:
        """Make an object immutable."""
        self._put_out(type_, value, Owner(OwnerKind.IMMUTABLE))

    def emit(self, type_: Type, value: Value) -> None:
        """Emit an event. Raises `LimitFailure` for one too large or one too many."""
        contents = self.codec.encode(type_, value)
        if len(contents) > EVENT_BYTES_LIMIT:
            raise LimitFailure(f"an event of {len(contents)} bytes, and {EVENT_BYTES_LIMIT} are the most")
        if len(self.events) >= EVENTS_LIMIT:
            raise LimitFailure(f"more than {EVENTS_LIMIT} events")
        self.events.append(Event(_as_datatype(type_), contents))

    def add_child(self, parent: bytes, type_: Type, value: Value) -> None:
        """Make an object the child of another. Raises `MoveAbort` when the parent has a child of this id."""
        id_ = object_id(value)
        if self.child_type(parent, id_) is not None:
            raise MoveAbort(FIELD_EXISTS)
        self._keep(id_, Child(parent, _as_datatype(type_), [value], is_mutable=True))

    def child(self, parent: bytes, id_: bytes, type_: Type, is_mutable: bool) -> Ref:
        """Return a reference to a child. Raises `MoveAbort` when it is missing or of another type."""
        child = self._load(parent, id_, type_)
        child.is_mutable |= is_mutable
        return Ref(child.place, 0)

    def remove_child(self, parent: bytes, id_: bytes, type_: Type) -> Value:
        """Take a child from its parent. Raises `MoveAbort` when it is missing or of another type."""
        child = self._load(parent, id_, type_)
        del self.children[id_]
        stored = self._look_at(id_)
        if stored is not None:
            self.taken[id_] = stored
        return child.place[0]

    def child_type(self, parent: bytes, id_: bytes) -> Type | None:
        """Return the type of a child, and None when the parent has no child of this id."""
        live = self.children.get(id_)
        if live is not None:
            return live.type if live.parent == parent else None
        stored = self._stored_child(parent, id_)
        return stored.type if stored is not None else None

    def _load(self, parent: bytes, id_: bytes, type_: Type) -> Child:
        found = self.child_type(parent, id_)
        if found is None:
            raise MoveAbort(FIELD_MISSING)
        if found != type_:
            raise MoveAbort(FIELD_OF_OTHER_TYPE)
        live = self.children.get(id_)
        if live is None:
            stored = self._look_at(id_)
            assert stored is not None  # noqa: S101 (child_type has found it)
            value = self.codec.decode(stored.type, stored.contents)
            live = Child(parent, stored.type, [value], is_mutable=False)
            self._keep(id_, live)
        return live

    def _keep(self, id_: bytes, child: Child) -> None:
        self.children[id_] = child
        if len(self.children) > CHILDREN_LIMIT:
            raise LimitFailure(f"more than {CHILDREN_LIMIT} dynamic fields in a transaction")

    def _stored_child(self, parent: bytes, id_: bytes) -> StoredObject | None:
        if id_ in self.taken or id_ in self.outputs:
            return None
        stored = self._look_at(id_)
        return stored if stored is not None and stored.owner == Owner(OwnerKind.OBJECT, parent) else None

    def _look_at(self, id_: bytes) -> StoredObject | None:
        if id_ not in self._looked_at:
            if len(self._looked_at) >= CHILDREN_LIMIT:
                raise LimitFailure(f"more than {CHILDREN_LIMIT} dynamic fields in a transaction")
            self._looked_at[id_] = self.objects.get(id_)
        return self._looked_at[id_]

    def _put_out(self, type_: Type, value: Value, owner: Owner) -> None:
        self.outputs[object_id(value)] = Output(_as_datatype(type_), value, owner)
        if len(self.outputs) > IDS_LIMIT:
            raise LimitFailure(f"more than {IDS_LIMIT} objects transferred")


def _as_datatype(type_: Type) -> Datatype:
    if not isinstance(type_, Datatype):
        raise TypeError(f"{type_name(type_)} is no struct or enum")
    return type_
