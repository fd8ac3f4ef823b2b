"""What the chain holds, in the messages of the interface."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pysui.sui.sui_grpc.suimsgs.sui.rpc.v2 as v2

from localnet.sui_double.checkpoints import Checkpoint, Executed
from localnet.sui_double.effects import Change, Effects, Failure
from localnet.sui_double.move.module import Visibility
from localnet.sui_double.move.modules import Function
from localnet.sui_double.move.types import Abilities, Parameter, Reference, Scalar, Type, Vector
from localnet.sui_double.packages import Package
from localnet.sui_double.rpc.requests import coin_balance
from localnet.sui_double.rpc.texts import address_text, digest_text, type_text
from localnet.sui_double.stored import GAS_COIN, Owner, OwnerKind, StoredObject

PACKAGE = "package"
"""The type that the interface gives for a package."""

_OWNER_KINDS = {
    OwnerKind.ADDRESS: v2.OwnerOwnerKind.ADDRESS,
    OwnerKind.OBJECT: v2.OwnerOwnerKind.OBJECT,
    OwnerKind.SHARED: v2.OwnerOwnerKind.SHARED,
    OwnerKind.IMMUTABLE: v2.OwnerOwnerKind.IMMUTABLE,
}
_VISIBILITIES = {
    Visibility.PRIVATE: v2.FunctionDescriptorVisibility.PRIVATE,
    Visibility.PUBLIC: v2.FunctionDescriptorVisibility.PUBLIC,
    Visibility.FRIEND: v2.FunctionDescriptorVisibility.FRIEND,
}
_ABILITIES = {
    Abilities.COPY: v2.Ability.COPY,
    Abilities.DROP: v2.Ability.DROP,
    Abilities.STORE: v2.Ability.STORE,
    Abilities.KEY: v2.Ability.KEY,
}


def time_of(timestamp_ms: int) -> datetime:
    """Return a time as messages have it."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def owner_message(owner: Owner) -> v2.Owner:
    """Return the message of an object's owner."""
    return v2.Owner(
        kind=_OWNER_KINDS[owner.kind],
        address=address_text(owner.id) if owner.id else None,
        version=owner.since if owner.kind is OwnerKind.SHARED else None,
    )


def object_message(stored: StoredObject) -> v2.Object:
    """Return the message of an object with its contents in BCS."""
    type_ = type_text(stored.type)
    is_coin = (stored.type.module, stored.type.name) == (GAS_COIN.module, GAS_COIN.name)
    return v2.Object(
        object_id=address_text(stored.id),
        version=stored.version,
        digest=digest_text(stored.digest),
        owner=owner_message(stored.owner),
        object_type=type_,
        has_public_transfer=stored.has_public_transfer,
        contents=v2.Bcs(name=type_, value=stored.contents),
        previous_transaction=digest_text(stored.previous_transaction),
        storage_rebate=0,
        balance=coin_balance(stored) if is_coin else None,
    )


def package_object_message(package: Package) -> v2.Object:
    """Return the message of a package as an object."""
    return v2.Object(
        object_id=address_text(package.id),
        version=package.version,
        digest=digest_text(package.digest),
        owner=v2.Owner(kind=v2.OwnerOwnerKind.IMMUTABLE),
        object_type=PACKAGE,
        previous_transaction=digest_text(package.previous_transaction),
        package=v2.Package(
            storage_id=address_text(package.id),
            original_id=address_text(package.id),
            version=package.version,
            modules=[v2.Module(name=name, contents=data) for name, data in package.modules.items()],
        ),
    )


def executed_message(executed: Executed) -> v2.ExecutedTransaction:
    """Return the message of a transaction with its effects and its events."""
    effects, digest = executed.effects, digest_text(executed.effects.transaction.digest)
    return v2.ExecutedTransaction(
        digest=digest,
        transaction=v2.Transaction(
            bcs=v2.Bcs(name="TransactionData", value=executed.data),
            digest=digest,
            sender=address_text(effects.transaction.sender),
        ),
        signatures=[v2.UserSignature(bcs=v2.Bcs(value=signature)) for signature in executed.signatures],
        effects=effects_message(effects),
        events=events_message(effects) if effects.events else None,
        checkpoint=executed.checkpoint,
        timestamp=time_of(executed.timestamp_ms),
    )


def events_message(effects: Effects) -> v2.TransactionEvents:
    """Return the message of a transaction's events."""
    sender = address_text(effects.transaction.sender)
    return v2.TransactionEvents(
        digest=digest_text(effects.events_digest),
        events=[
            v2.Event(
                package_id=address_text(event.type.module.address),
                module=event.type.module.name,
                sender=sender,
                event_type=type_text(event.type),
                contents=v2.Bcs(name=type_text(event.type), value=event.contents),
            )
            for event in effects.events
        ],
    )


def effects_message(effects: Effects) -> v2.TransactionEffects:
    """Return the message of a transaction's effects."""
    changes = [_change(change) for change in effects.changes]
    changes += [_published(package) for package in effects.published]
    gas = address_text(effects.gas_object)
    return v2.TransactionEffects(
        digest=digest_text(effects.digest),
        version=2,
        status=v2.ExecutionStatus(
            success=effects.succeeded,
            error=None if effects.failure is None else _failure(effects.failure),
        ),
        epoch=effects.epoch,
        gas_used=v2.GasCostSummary(
            computation_cost=effects.gas_used, storage_cost=0, storage_rebate=0, non_refundable_storage_fee=0
        ),
        transaction_digest=digest_text(effects.transaction.digest),
        gas_object=next((change for change in changes if change.object_id == gas), None),
        events_digest=digest_text(effects.events_digest) if effects.events else None,
        lamport_version=effects.version,
        changed_objects=changes,
        unchanged_consensus_objects=[
            v2.UnchangedConsensusObject(
                object_id=address_text(stored.id),
                version=stored.version,
                digest=digest_text(stored.digest),
                object_type=type_text(stored.type),
            )
            for stored in effects.read_shared
        ],
    )


def _failure(failure: Failure) -> v2.ExecutionError:
    location = None
    if failure.location is not None:
        location = v2.MoveLocation(
            package=address_text(failure.location.address),
            module=failure.location.module,
            instruction=failure.location.instruction,
            function_name=failure.location.function,
        )
    abort = None
    if failure.abort_code is not None:
        abort = v2.MoveAbort(abort_code=failure.abort_code, location=location)
    return v2.ExecutionError(
        description=failure.message,
        command=failure.command,
        kind=v2.ExecutionErrorExecutionErrorKind[failure.kind],
        abort=abort,
    )


def _change(change: Change) -> v2.ChangedObject:
    before, after = change.before, change.after
    operation = v2.ChangedObjectIdOperation.NONE
    if change.is_created:
        operation = v2.ChangedObjectIdOperation.CREATED
    if change.is_deleted:
        operation = v2.ChangedObjectIdOperation.DELETED
    known = after or before
    return v2.ChangedObject(
        object_id=address_text(change.id),
        input_state=(
            v2.ChangedObjectInputObjectState.EXISTS
            if before
            else v2.ChangedObjectInputObjectState.DOES_NOT_EXIST
        ),
        input_version=before.version if before else None,
        input_digest=digest_text(before.digest) if before else None,
        input_owner=owner_message(before.owner) if before else None,
        output_state=(
            v2.ChangedObjectOutputObjectState.OBJECT_WRITE
            if after
            else v2.ChangedObjectOutputObjectState.DOES_NOT_EXIST
        ),
        output_version=after.version if after else None,
        output_digest=digest_text(after.digest) if after else None,
        output_owner=owner_message(after.owner) if after else None,
        id_operation=operation,
        object_type=type_text(known.type) if known else None,
    )


def _published(package: Package) -> v2.ChangedObject:
    return v2.ChangedObject(
        object_id=address_text(package.id),
        input_state=v2.ChangedObjectInputObjectState.DOES_NOT_EXIST,
        output_state=v2.ChangedObjectOutputObjectState.PACKAGE_WRITE,
        output_version=package.version,
        output_digest=digest_text(package.digest),
        output_owner=v2.Owner(kind=v2.OwnerOwnerKind.IMMUTABLE),
        id_operation=v2.ChangedObjectIdOperation.CREATED,
        object_type=PACKAGE,
    )


def checkpoint_message(checkpoint: Checkpoint) -> v2.Checkpoint:
    """Return the message of a checkpoint with its transactions."""
    sequence, digest = checkpoint.sequence, digest_text(checkpoint.digest)
    contents = [
        v2.CheckpointedTransactionInfo(
            transaction=digest_text(executed.effects.transaction.digest),
            effects=digest_text(executed.effects.digest),
        )
        for executed in checkpoint.transactions
    ]
    return v2.Checkpoint(
        sequence_number=sequence,
        digest=digest,
        summary=v2.CheckpointSummary(
            digest=digest,
            epoch=checkpoint.epoch,
            sequence_number=sequence,
            total_network_transactions=checkpoint.transactions_total,
            content_digest=digest_text(checkpoint.content_digest),
            previous_digest=digest_text(checkpoint.previous) if sequence else None,
            timestamp=time_of(checkpoint.timestamp_ms),
            end_of_epoch_data=v2.EndOfEpochData() if checkpoint.ends_epoch else None,
        ),
        contents=v2.CheckpointContents(
            digest=digest_text(checkpoint.content_digest), version=1, transactions=contents
        ),
        transactions=[executed_message(executed) for executed in checkpoint.transactions],
    )


def function_message(function: Function) -> v2.FunctionDescriptor:
    """Return the message of a function's signature."""
    definition, handle = function.definition, function.handle
    return v2.FunctionDescriptor(
        name=handle.name,
        visibility=_VISIBILITIES[definition.visibility],
        is_entry=definition.is_entry,
        type_parameters=[
            v2.TypeParameter(constraints=_abilities(abilities)) for abilities in handle.type_parameters
        ],
        parameters=_signatures(handle.parameters),
        returns=_signatures(handle.returns),
    )


def _abilities(abilities: Abilities) -> list[v2.Ability]:
    return [message for ability, message in _ABILITIES.items() if ability & abilities]


def _signatures(types: Iterable[Type]) -> list[v2.OpenSignature]:
    return [_signature(type_) for type_ in types]


def _signature(type_: Type) -> v2.OpenSignature:
    if not isinstance(type_, Reference):
        return v2.OpenSignature(body=_body(type_))
    kinds = v2.OpenSignatureReference
    return v2.OpenSignature(
        reference=kinds.MUTABLE if type_.is_mutable else kinds.IMMUTABLE, body=_body(type_.target)
    )


def _body(type_: Type) -> v2.OpenSignatureBody:
    kinds = v2.OpenSignatureBodyType
    if isinstance(type_, Scalar):
        return v2.OpenSignatureBody(type=kinds[type_.name])
    if isinstance(type_, Vector):
        return v2.OpenSignatureBody(type=kinds.VECTOR, type_parameter_instantiation=[_body(type_.element)])
    if isinstance(type_, Parameter):
        return v2.OpenSignatureBody(type=kinds.TYPE_PARAMETER, type_parameter=type_.index)
    if isinstance(type_, Reference):
        raise TypeError("a reference within a type")
    name = f"{address_text(type_.module.address)}::{type_.module.name}::{type_.name}"
    arguments = [_body(argument) for argument in type_.arguments]
    return v2.OpenSignatureBody(type=kinds.DATATYPE, type_name=name, type_parameter_instantiation=arguments)
