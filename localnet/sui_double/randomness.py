"""Sui's source of randomness: the shared object 0x8, whose bytes no transaction can know before it is executed."""

from __future__ import annotations

from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.natives.objects import blake2b, derive_field_id
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import ADDRESS_BYTES, Datatype, ModuleId, Scalar
from localnet.sui_double.objects import ObjectStore
from localnet.sui_double.stored import GENESIS, Owner, OwnerKind, StoredObject
from localnet.sui_double.transactions import (
    Input,
    InputAt,
    MergeCoins,
    MoveCall,
    SharedInput,
    Transaction,
    TransferObjects,
)

RANDOM_ID = (8).to_bytes(ADDRESS_BYTES, "big")
RANDOM = Datatype(ModuleId(SUI, "random"), "Random")

_VERSIONED_ID = blake2b(b"random")
_INNER = Datatype(ModuleId(SUI, "random"), "RandomInner")
_FIELD = Datatype(ModuleId(SUI, "dynamic_field"), "Field", (Scalar.U64, _INNER))
_VERSION = 1
"""Of the state, whose dynamic field is named for it."""


def renew(objects: ObjectStore, codec: Codec, epoch: int, entropy: bytes) -> None:
    """Give the source new bytes, 32 or more; the first time, make it."""
    field_id = derive_field_id(_VERSIONED_ID, Scalar.U64, codec.encode(Scalar.U64, _VERSION))
    field = objects.get(field_id)
    round_ = 0 if field is None else codec.decode(_FIELD, field.contents)[2][2] + 1
    shared = Owner(OwnerKind.SHARED, since=1)
    version = round_ + 1
    for id_, type_, value, owner in (
        (RANDOM_ID, RANDOM, [[[RANDOM_ID]], [[[_VERSIONED_ID]], _VERSION]], shared),
        (
            *(field_id, _FIELD),
            [[[field_id]], _VERSION, [_VERSION, epoch, round_, bytearray(entropy)]],
            Owner(OwnerKind.OBJECT, _VERSIONED_ID),
        ),
    ):
        objects.put(StoredObject(id_, version, type_, codec.encode(type_, value), owner, GENESIS, False))


def uses_randomness(transaction: Transaction) -> bool:
    """Return whether a transaction names the source among its inputs."""
    return any(map(_is_source, transaction.inputs))


def check_commands(transaction: Transaction) -> None:
    """Raise `InvalidTransaction` when a command could undo what a call before it has drawn.

    Behind a call that takes the source Sui allows only transfers of objects and mergers of coins.
    """
    sources = {InputAt(index) for index, given in enumerate(transaction.inputs) if _is_source(given)}
    has_drawn = False
    for command in transaction.commands:
        if has_drawn and not isinstance(command, TransferObjects | MergeCoins):
            raise InvalidTransaction(
                "behind a call that takes Random a transaction may only transfer objects and merge coins"
            )
        has_drawn |= isinstance(command, MoveCall) and not sources.isdisjoint(command.arguments)


def _is_source(given: Input) -> bool:
    return isinstance(given, SharedInput) and given.id == RANDOM_ID
