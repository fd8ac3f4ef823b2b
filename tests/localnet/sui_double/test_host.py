"""Dynamic fields, transfers and events of one transaction, through the bytecode of Sui's own packages."""

from __future__ import annotations

import dataclasses

import pytest

from localnet.sui_double import host as hosts
from localnet.sui_double.host import Event, TransactionContext, TransactionHost
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.errors import LimitFailure, MoveAbort
from localnet.sui_double.move.machine import Machine
from localnet.sui_double.move.natives.objects import derive_object_id, object_id
from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.types import BYTES, Datatype, ModuleId, Scalar, Type
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.stored import Owner, OwnerKind, StoredObject
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.sandbox import function, modules

pytestmark = needs_framework

DIGEST, SENDER, OTHER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
U64, U8 = Scalar.U64, Scalar.U8
COIN = Datatype(ModuleId(SUI, "coin"), "Coin", (Datatype(ModuleId(SUI, "sui"), "SUI"),))


def field_type(name: Type, value: Type) -> Datatype:
    return Datatype(ModuleId(SUI, "dynamic_field"), "Field", (name, value))


class Stored:
    """A chain on which these objects are stored."""

    def __init__(self) -> None:
        self.objects: dict[bytes, StoredObject] = {}
        self.asked: list[bytes] = []

    def get(self, id_: bytes) -> StoredObject | None:
        self.asked.append(id_)
        return self.objects.get(id_)


class Running:
    """A transaction on a chain."""

    def __init__(self, stored: Stored | None = None, digest: bytes = DIGEST) -> None:
        self.stored = stored or Stored()
        self.codec = Codec(modules())
        context = TransactionContext(digest, SENDER, epoch=7, epoch_start_ms=9, gas_budget=11, sponsor=OTHER)
        self.host = TransactionHost(self.stored, self.codec, context)
        self.machine = Machine(modules(), self.codec, self.host)
        self.context = Ref([[SENDER, bytearray(digest), 7, 9, 0]], 0)

    def call(self, module: str, name: str, *arguments: Value, types: tuple[Type, ...] = ()) -> Value:
        """Return the only result of a function of the framework, or None."""
        results = self.machine.call(function(SUI, module, name), types, list(arguments))
        return results[0] if results else None

    def new_uid(self) -> Ref:
        return Ref([self.call("object", "new", self.context)], 0)

    def store_children(self) -> None:
        """Store the children that the transaction has."""
        for id_, child in self.host.children.items():
            contents = self.codec.encode(child.type, child.place[0])
            owner = Owner(OwnerKind.OBJECT, child.parent)
            self.stored.objects[id_] = StoredObject(id_, 1, child.type, contents, owner, DIGEST)


def test_new_ids_are_derived_from_the_transaction_one_after_the_other() -> None:
    running = Running()
    first, second = running.new_uid().get(), running.new_uid().get()
    assert first[0][0] == derive_object_id(DIGEST, 0)
    assert second[0][0] == derive_object_id(DIGEST, 1)
    assert running.host.created == {first[0][0], second[0][0]}
    running.call("object", "delete", first)
    assert (running.host.created, running.host.deleted) == ({second[0][0]}, set())


def test_code_is_told_of_its_transaction() -> None:
    running = Running()
    told = {
        name: running.call("tx_context", name, running.context)
        for name in ("sender", "epoch", "epoch_timestamp_ms", "gas_price")
    }
    assert told == {"sender": SENDER, "epoch": 7, "epoch_timestamp_ms": 9, "gas_price": 1000}
    assert running.call("tx_context", "sponsor", running.context) == [[OTHER]]
    fresh = running.call("tx_context", "fresh_object_address", running.context)
    assert fresh == derive_object_id(DIGEST, 0)


def test_field_is_added_read_changed_and_removed() -> None:
    running, types = Running(), (U64, BYTES)
    uid = running.new_uid()
    running.call("dynamic_field", "add", uid, 5, bytearray(b"value"), types=types)
    assert running.call("dynamic_field", "exists_", uid, 5, types=(U64,))
    assert not running.call("dynamic_field", "exists_", uid, 6, types=(U64,))
    assert not running.call("dynamic_field", "exists_", uid, 5, types=(U8,)), "another type is another name"
    assert running.call("dynamic_field", "exists_with_type", uid, 5, types=types)
    assert not running.call("dynamic_field", "exists_with_type", uid, 5, types=(U64, U64))
    place = running.call("dynamic_field", "borrow_mut", uid, 5, types=types)
    place.get().append(33)
    assert running.call("dynamic_field", "borrow", uid, 5, types=types).get() == b"value!"
    assert running.call("dynamic_field", "remove", uid, 5, types=types) == b"value!"
    assert not running.call("dynamic_field", "exists_", uid, 5, types=(U64,))
    assert not running.host.children
    assert running.host.created == {uid.get()[0][0]}


def test_stored_field_is_loaded_and_a_look_does_not_make_it_mutable() -> None:
    before, types = Running(), (U64, BYTES)
    uid = before.new_uid()
    before.call("dynamic_field", "add", uid, 5, bytearray(b"value"), types=types)
    before.store_children()
    after = Running(before.stored, OTHER)
    assert after.call("dynamic_field", "borrow", uid, 5, types=types).get() == b"value"
    (child,) = after.host.children.values()
    assert (child.is_mutable, child.type) == (False, field_type(*types))
    after.call("dynamic_field", "borrow_mut", uid, 5, types=types).get().append(33)
    assert child.is_mutable
    after.call("dynamic_field", "remove", uid, 5, types=types)
    ((id_, taken),) = after.host.taken.items()
    assert after.host.deleted == {id_}
    assert taken.owner.id == uid.get()[0][0]
    assert not after.call("dynamic_field", "exists_", uid, 5, types=(U64,))
    after.call("dynamic_field", "add", uid, 5, bytearray(b"again"), types=types)
    assert after.call("dynamic_field", "borrow", uid, 5, types=types).get() == b"again"


def test_field_of_another_parent_is_not_found() -> None:
    before, types = Running(), (U64, BYTES)
    uid = before.new_uid()
    before.call("dynamic_field", "add", uid, 5, bytearray(b"value"), types=types)
    before.store_children()
    ((id_, stored),) = before.stored.objects.items()
    before.stored.objects[id_] = dataclasses.replace(stored, owner=Owner(OwnerKind.OBJECT, OTHER))
    with pytest.raises(MoveAbort, match="abort 1 in 0x2::dynamic_field::borrow_child_object "):
        Running(before.stored, OTHER).call("dynamic_field", "borrow", uid, 5, types=types)


@pytest.mark.parametrize("is_stored", [False, True])
def test_fields_abort_by_their_numbers(is_stored: bool) -> None:
    running, types = Running(), (U64, U64)
    uid = running.new_uid()
    running.call("dynamic_field", "add", uid, 5, 1, types=types)
    if is_stored:
        running.store_children()
        running = Running(running.stored, OTHER)
    with pytest.raises(MoveAbort) as aborted:
        running.call("dynamic_field", "add", uid, 5, 2, types=types)
    assert aborted.value.code == hosts.FIELD_EXISTS
    with pytest.raises(MoveAbort) as aborted:
        running.call("dynamic_field", "borrow", uid, 6, types=types)
    assert aborted.value.code == hosts.FIELD_MISSING
    with pytest.raises(MoveAbort) as aborted:
        running.call("dynamic_field", "remove", uid, 6, types=types)
    assert aborted.value.code == hosts.FIELD_MISSING
    with pytest.raises(MoveAbort) as aborted:
        running.call("dynamic_field", "borrow", uid, 5, types=(U64, U8))
    assert aborted.value.code == hosts.FIELD_OF_OTHER_TYPE


def test_collections_of_the_framework_work_on_fields() -> None:
    running = Running()
    table = Ref([running.call("table", "new", running.context, types=(U64, U8))], 0)
    for key in range(20):
        running.call("table", "add", table, key, 2 * key, types=(U64, U8))
    assert running.call("table", "length", table, types=(U64, U8)) == 20
    assert running.call("table", "borrow", table, 7, types=(U64, U8)).get() == 14
    assert running.call("table", "remove", table, 7, types=(U64, U8)) == 14
    assert not running.call("table", "contains", table, 7, types=(U64, U8))
    with pytest.raises(MoveAbort, match="abort 0 in 0x2::table::destroy_empty"):
        running.call("table", "destroy_empty", table.get(), types=(U64, U8))
    bag = Ref([running.call("bag", "new", running.context)], 0)
    running.call("bag", "add", bag, 1, bytearray(b"x"), types=(U8, BYTES))
    assert running.call("bag", "contains_with_type", bag, 1, types=(U8, BYTES))
    assert running.call("bag", "remove", bag, 1, types=(U8, BYTES)) == b"x"
    running.call("bag", "destroy_empty", bag.get())


def coin(running: Running, amount: int) -> Value:
    return [running.new_uid().get(), [amount]]


def test_object_field_keeps_the_objects_own_id() -> None:
    running, types = Running(), (U64, COIN)
    uid, made = running.new_uid(), coin(running, 5)
    running.call("dynamic_object_field", "add", uid, 1, made, types=types)
    assert running.call("dynamic_object_field", "borrow", uid, 1, types=types).get() == made
    assert running.call("dynamic_object_field", "id", uid, 1, types=(U64,)) == [[[object_id(made)]]]
    assert running.host.children[object_id(made)].type == COIN
    assert running.call("dynamic_object_field", "remove", uid, 1, types=types) == made
    assert not running.host.children


def test_object_gets_the_owner_that_code_gives_it() -> None:
    running = Running()
    given, shared, frozen = (coin(running, amount) for amount in (1, 2, 3))
    running.call("transfer", "public_transfer", given, OTHER, types=(COIN,))
    running.call("transfer", "public_share_object", shared, types=(COIN,))
    running.call("transfer", "public_freeze_object", frozen, types=(COIN,))
    owners = {id_: output.owner for id_, output in running.host.outputs.items()}
    assert owners == {
        object_id(given): Owner(OwnerKind.ADDRESS, OTHER),
        object_id(shared): Owner(OwnerKind.SHARED),
        object_id(frozen): Owner(OwnerKind.IMMUTABLE),
    }


def test_only_a_new_object_can_be_shared() -> None:
    running = Running()
    old = [[[OTHER]], [5]]
    with pytest.raises(MoveAbort, match="abort 0 in 0x2::transfer::share_object_impl"):
        running.call("transfer", "public_share_object", old, types=(COIN,))


def test_event_is_kept_as_bytes() -> None:
    running = Running()
    id_ = Datatype(ModuleId(SUI, "object"), "ID")
    running.call("event", "emit", [OTHER], types=(id_,))
    assert running.host.events == [Event(id_, OTHER)]


def test_limits_of_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running()
    text = Datatype(ModuleId(STANDARD, "string"), "String")
    running.call("event", "emit", [bytearray(hosts.EVENT_BYTES_LIMIT - 3)], types=(text,))
    with pytest.raises(LimitFailure, match="an event of 256001 bytes"):
        running.call("event", "emit", [bytearray(hosts.EVENT_BYTES_LIMIT - 2)], types=(text,))
    monkeypatch.setattr(hosts, "EVENTS_LIMIT", 3)
    with pytest.raises(LimitFailure, match="more than 3 events"):
        for _ in range(3):
            running.call("event", "emit", [bytearray()], types=(text,))
    monkeypatch.setattr(hosts, "IDS_LIMIT", 5)
    with pytest.raises(LimitFailure, match="more than 5 new objects"):
        for _ in range(6):
            running.new_uid()


def test_a_transaction_touches_a_thousand_fields_and_no_more() -> None:
    running, types = Running(), (U64, U8)
    uid = running.new_uid()
    for name in range(hosts.CHILDREN_LIMIT):
        running.call("dynamic_field", "add", uid, name, 1, types=types)
    with pytest.raises(LimitFailure, match="more than 1000 dynamic fields"):
        running.call("dynamic_field", "add", uid, 1000, 1, types=types)
    running.store_children()
    later = Running(running.stored, OTHER)
    for name in range(hosts.CHILDREN_LIMIT):
        later.call("dynamic_field", "borrow", uid, name, types=types)
    with pytest.raises(LimitFailure, match="more than 1000 dynamic fields"):
        later.call("dynamic_field", "exists_", uid, 2000, types=(U64,))
    assert len(set(later.stored.asked)) == hosts.CHILDREN_LIMIT
