"""Natives of Sui's object model: ids, transfers, dynamic fields, events, the transaction's context."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from localnet.sui_double.move.errors import MoveAbort
from localnet.sui_double.move.module import StructDefinition
from localnet.sui_double.move.natives.registry import SUI, Natives
from localnet.sui_double.move.types import (
    ADDRESS_BYTES,
    Abilities,
    Datatype,
    Scalar,
    Type,
    type_tag_bytes,
)
from localnet.sui_double.move.values import Ref, Value

if TYPE_CHECKING:
    from localnet.sui_double.move.machine import Machine

CHILD_ID_SCOPE = b"\xf0"
"""First byte of what a dynamic field's id is the hash of."""
OBJECT_ID_SCOPE = b"\xf1"
"""First byte of what a new object's id is the hash of."""
ADDRESS_PARSE_ERROR = 0
"""Abort of `address::from_bytes`."""

_address = Natives(SUI, "address")
_context = Natives(SUI, "tx_context")
_object = Natives(SUI, "object")
_transfer = Natives(SUI, "transfer")
_event = Natives(SUI, "event")
_field = Natives(SUI, "dynamic_field")
_types = Natives(SUI, "types")
NATIVES = (_address, _context, _object, _transfer, _event, _field, _types)


def blake2b(data: bytes) -> bytes:
    """Return the hash by which Sui names objects and transactions, 32 bytes."""
    return hashlib.blake2b(data, digest_size=ADDRESS_BYTES).digest()


def object_id(value: Value) -> bytes:
    """Return the id of an object: its first field is a `UID`, which holds an `ID`, which holds the address."""
    id_: bytes = value[0][0][0]
    return id_


def derive_object_id(transaction_digest: bytes, ids_created: int) -> bytes:
    """Return the id of the object that a transaction makes after `ids_created` others."""
    return blake2b(OBJECT_ID_SCOPE + transaction_digest + ids_created.to_bytes(8, "little"))


def derive_field_id(parent: bytes, name_type: Type, name: bytes) -> bytes:
    """Return the id of the object that holds a dynamic field; `name` is the field's name in BCS."""
    length = len(name).to_bytes(8, "little")
    return blake2b(CHILD_ID_SCOPE + parent + length + name + type_tag_bytes(name_type))


@_address("to_u256")
def _to_u256(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (int.from_bytes(arguments[0], "big"),)


@_address("from_u256")
def _from_u256(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (arguments[0].to_bytes(ADDRESS_BYTES, "big"),)


@_address("from_bytes")
def _from_bytes(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    (data,) = arguments
    if len(data) != ADDRESS_BYTES:
        raise MoveAbort(ADDRESS_PARSE_ERROR)
    return (bytes(data),)


@_context("native_sender")
def _sender(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return (machine.host.sender,)


@_context("native_epoch")
def _epoch(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return (machine.host.epoch,)


@_context("native_epoch_timestamp_ms")
def _epoch_start(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return (machine.host.epoch_start_ms,)


@_context("native_rgp")
@_context("native_gas_price")
def _gas_price(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    """Return the price of gas, which on the double is always the reference price."""
    return (machine.host.gas_price,)


@_context("native_gas_budget")
def _gas_budget(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return (machine.host.gas_budget,)


@_context("native_ids_created")
def _ids_created(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return (machine.host.ids_created,)


@_context("native_sponsor")
def _sponsor(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return ([] if machine.host.sponsor is None else [machine.host.sponsor],)


@_context("fresh_id")
def _fresh_id(machine: Machine, _types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return (machine.host.fresh_id(),)


@_context("derive_id")
def _derive_id(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (derive_object_id(bytes(arguments[0]), arguments[1]),)


@_object("borrow_uid")
def _borrow_uid(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (Ref(arguments[0].get(), 0),)


@_object("record_new_uid")
def _record_new_uid(machine: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    machine.host.note_new_id(arguments[0])
    return ()


@_object("delete_impl")
def _delete(machine: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    machine.host.note_deleted_id(arguments[0])
    return ()


@_transfer("transfer_impl")
def _transfer_object(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    machine.host.transfer(types[0], arguments[0], arguments[1])
    return ()


@_transfer("share_object_impl")
def _share(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    machine.host.share(types[0], arguments[0])
    return ()


@_transfer("freeze_object_impl")
def _freeze(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    machine.host.freeze(types[0], arguments[0])
    return ()


@_event("emit")
def _emit(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    machine.host.emit(types[0], arguments[0])
    return ()


@_field("hash_type_and_key")
def _hash_type_and_key(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    parent, name = arguments
    return (derive_field_id(parent, types[0], machine.codec.encode(types[0], name)),)


@_field("add_child_object")
def _add_child(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    machine.host.add_child(arguments[0], types[0], arguments[1])
    return ()


@_field("borrow_child_object")
def _borrow_child(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    parent = arguments[0].get()[0][0]
    return (machine.host.child(parent, arguments[1], types[0], is_mutable=False),)


@_field("borrow_child_object_mut")
def _borrow_child_mut(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    parent = arguments[0].get()[0][0]
    return (machine.host.child(parent, arguments[1], types[0], is_mutable=True),)


@_field("remove_child_object")
def _remove_child(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (machine.host.remove_child(arguments[0], arguments[1], types[0]),)


@_field("has_child_object")
def _has_child(machine: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (machine.host.child_type(arguments[0], arguments[1]) is not None,)


@_field("has_child_object_with_ty")
def _has_child_of_type(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (machine.host.child_type(arguments[0], arguments[1]) == types[0],)


@_types("is_one_time_witness")
def _is_witness(machine: Machine, types: tuple[Type, ...], _: list[Value]) -> Sequence[Value]:
    return (is_one_time_witness(machine, types[0]),)


def is_one_time_witness(machine: Machine, type_: Type) -> bool:
    """Return whether a type is its module's witness: named as the module in capitals, one bool, `drop` alone."""
    if not isinstance(type_, Datatype) or type_.name != type_.module.name.upper():
        return False
    definition = machine.modules.datatype(type_)
    return (
        isinstance(definition, StructDefinition)
        and not definition.handle.type_parameters
        and definition.handle.abilities == Abilities.DROP
        and [field.type for field in definition.fields] == [Scalar.BOOL]
    )
