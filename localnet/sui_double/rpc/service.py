"""Answers the requests of `sui.rpc.v2` out of a chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pysui.sui.sui_grpc.suimsgs.google.protobuf as protobuf
import pysui.sui.sui_grpc.suimsgs.google.rpc as rpc_messages
import pysui.sui.sui_grpc.suimsgs.sui.rpc.v2 as v2
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from localnet.sui_double.chain import BUDGET_LIMIT, GAS_PRICE, Chain
from localnet.sui_double.checkpoints import Checkpoint, Executed
from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.errors import LinkError
from localnet.sui_double.move.types import Datatype, ModuleId, Type
from localnet.sui_double.rpc import messages
from localnet.sui_double.rpc.faults import Faults
from localnet.sui_double.rpc.masks import masked
from localnet.sui_double.rpc.requests import simulated
from localnet.sui_double.rpc.texts import (
    address_text,
    digest_text,
    read_address,
    read_digest,
    read_type,
    type_text,
)
from localnet.sui_double.stored import StoredObject

PROTOCOL_VERSION = 100
SERVER = "haulout Sui double"
CHAIN = "double"
PAGE_SIZE, LARGEST_PAGE = 50, 1000
OBJECT_FIELDS = ("object_id", "version", "digest")
"""What a client gets that names no fields, as of Sui's own server; so below."""
OWNED_FIELDS = ("object_id", "version", "object_type")
CHECKPOINT_FIELDS = ("sequence_number", "digest")
EXECUTED_FIELDS = ("effects.status", "checkpoint")
TRANSACTION_FIELDS = ("digest",)
EPOCH_FIELDS = ("epoch", "start", "reference_gas_price")
FIELD_FIELDS = ("parent", "field_id")


class Service:
    """The methods of the interface. Each takes a request and returns the answer, or raises `GRPCError`."""

    def __init__(self, chain: Chain, faults: Faults) -> None:
        self.chain = chain
        self.faults = faults
        self.streams = 0
        """Subscriptions that are open."""
        self._changed = asyncio.Condition()

    async def notify(self) -> None:
        """Wake the subscriptions: the chain has a new checkpoint, or the faults have changed."""
        async with self._changed:
            self._changed.notify_all()

    async def wait_for_streams(self, count: int) -> None:
        """Return when as many subscriptions are open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.streams == count)

    @property
    def height(self) -> int:
        """Return the newest checkpoint that is shown."""
        return max(0, len(self.chain.ledger.checkpoints) - 1 - self.faults.checkpoint_lag)

    async def get_service_info(self, _: v2.GetServiceInfoRequest) -> v2.GetServiceInfoResponse:
        """Return the chain, its epoch and its height."""
        newest = self.chain.ledger.checkpoints[self.height]
        return v2.GetServiceInfoResponse(
            chain_id=digest_text(self.chain.id),
            chain=CHAIN,
            epoch=newest.epoch,
            checkpoint_height=newest.sequence,
            timestamp=messages.time_of(newest.timestamp_ms),
            lowest_available_checkpoint=self.faults.first_checkpoint,
            lowest_available_checkpoint_objects=self.faults.first_checkpoint,
            server=SERVER,
        )

    async def get_epoch(self, request: v2.GetEpochRequest) -> v2.GetEpochResponse:
        """Return the present epoch; the double keeps no other."""
        epoch = self.chain.epoch
        if request.epoch not in (None, epoch):
            raise GRPCError(Status.NOT_FOUND, f"the double tells of epoch {epoch} alone")
        protocol = v2.ProtocolConfig(protocol_version=PROTOCOL_VERSION)
        # Deprecated, and so not an argument of the class; pysui reads it.
        protocol.attributes = {"max_tx_gas": str(BUDGET_LIMIT)}
        message = v2.Epoch(
            epoch=epoch,
            start=messages.time_of(self.chain.epoch_start_ms),
            reference_gas_price=GAS_PRICE,
            protocol_config=protocol,
        )
        return v2.GetEpochResponse(epoch=masked(message, _paths(request.read_mask, EPOCH_FIELDS)))

    async def get_object(self, request: v2.GetObjectRequest) -> v2.GetObjectResponse:
        """Return an object or a package, in the newest version or the one that is asked for."""
        found = self._object(request, _paths(request.read_mask, OBJECT_FIELDS))
        return v2.GetObjectResponse(object=found)

    async def batch_get_objects(self, request: v2.BatchGetObjectsRequest) -> v2.BatchGetObjectsResponse:
        """Return objects one by one, each of them or the reason why it is not there."""
        results: list[v2.GetObjectResult] = []
        for wanted in request.requests:
            paths = _paths(wanted.read_mask or request.read_mask, OBJECT_FIELDS)
            try:
                results.append(v2.GetObjectResult(object=self._object(wanted, paths)))
            except GRPCError as error:
                status = rpc_messages.Status(code=error.status.value, message=error.message or "")
                results.append(v2.GetObjectResult(error=status))
        return v2.BatchGetObjectsResponse(objects=results)

    async def list_owned_objects(self, request: v2.ListOwnedObjectsRequest) -> v2.ListOwnedObjectsResponse:
        """Return an account's objects, all or those of a type, by pages."""
        wanted = read_type(request.object_type) if request.object_type else None
        owned = [
            stored
            for stored in self.chain.objects.owned_by(read_address(request.owner))
            if wanted is None or _matches(stored.type, wanted)
        ]
        page, token = _page(owned, request.page_size, request.page_token)
        paths = _paths(request.read_mask, OWNED_FIELDS)
        return v2.ListOwnedObjectsResponse(
            objects=[masked(messages.object_message(stored), paths) for stored in page], next_page_token=token
        )

    async def list_dynamic_fields(self, request: v2.ListDynamicFieldsRequest) -> v2.ListDynamicFieldsResponse:
        """Return an object's dynamic fields, by pages."""
        children = list(self.chain.objects.owned_by(read_address(request.parent)))
        page, token = _page(children, request.page_size, request.page_token)
        paths = _paths(request.read_mask, FIELD_FIELDS)
        return v2.ListDynamicFieldsResponse(
            dynamic_fields=[masked(self._field(stored), paths) for stored in page if _is_field(stored)],
            next_page_token=token,
        )

    async def get_transaction(self, request: v2.GetTransactionRequest) -> v2.GetTransactionResponse:
        """Return a transaction that was executed."""
        executed = self.chain.ledger.transactions.get(read_digest(request.digest))
        if executed is None or executed.checkpoint < self.faults.first_checkpoint:
            raise GRPCError(Status.NOT_FOUND, f"there is no transaction {request.digest}")
        message = masked(self._executed(executed), _paths(request.read_mask, TRANSACTION_FIELDS))
        return v2.GetTransactionResponse(transaction=message)

    async def get_checkpoint(self, request: v2.GetCheckpointRequest) -> v2.GetCheckpointResponse:
        """Return a checkpoint by its number or digest, else the newest."""
        checkpoint = self._checkpoint(request)
        paths = _paths(request.read_mask, CHECKPOINT_FIELDS)
        return v2.GetCheckpointResponse(checkpoint=masked(messages.checkpoint_message(checkpoint), paths))

    async def get_function(self, request: v2.GetFunctionRequest) -> v2.GetFunctionResponse:
        """Return a function's signature."""
        module = ModuleId(read_address(request.package_id), request.module_name or "")
        try:
            function = self.chain.modules.function(module, request.name or "")
        except LinkError as error:
            raise GRPCError(Status.NOT_FOUND, str(error)) from None
        return v2.GetFunctionResponse(function=messages.function_message(function))

    async def simulate_transaction(
        self, request: v2.SimulateTransactionRequest
    ) -> v2.SimulateTransactionResponse:
        """Return the effects that a transaction would have."""
        effects = self.chain.simulate(simulated(self.chain, request))
        message = v2.ExecutedTransaction(
            digest=digest_text(effects.transaction.digest),
            effects=messages.effects_message(effects),
            events=messages.events_message(effects) if effects.events else None,
        )
        paths = _paths(request.read_mask, ("transaction.effects.status",))
        answer = v2.SimulateTransactionResponse(transaction=message, suggested_gas_price=GAS_PRICE)
        return masked(answer, paths)

    async def execute_transaction(
        self, request: v2.ExecuteTransactionRequest
    ) -> v2.ExecuteTransactionResponse:
        """Execute a signed transaction and return it."""
        bcs = request.transaction.bcs if request.transaction else None
        if bcs is None or bcs.value is None:
            raise InvalidTransaction("the request has no transaction in BCS")
        signatures = [
            signature.bcs.value for signature in request.signatures if signature.bcs and signature.bcs.value
        ]
        executed = self.chain.submit(bcs.value, signatures)
        await self.notify()
        if self.faults.lost_answers > 0:
            self.faults.lost_answers -= 1
            raise GRPCError(Status.UNAVAILABLE, "the answer is lost, as the test wants it")
        message = masked(self._executed(executed), _paths(request.read_mask, EXECUTED_FIELDS))
        return v2.ExecuteTransactionResponse(transaction=message)

    async def subscribe_checkpoints(
        self, request: v2.SubscribeCheckpointsRequest
    ) -> AsyncIterator[v2.SubscribeCheckpointsResponse]:
        """Yield the checkpoints that come after the request, in their order."""
        paths = _paths(request.read_mask, CHECKPOINT_FIELDS)
        following = self.height + 1
        self.streams += 1
        await self.notify()
        try:
            async for checkpoint in self._following(following):
                message = masked(messages.checkpoint_message(checkpoint), paths)
                yield v2.SubscribeCheckpointsResponse(cursor=checkpoint.sequence, checkpoint=message)
        finally:
            self.streams -= 1
            await self.notify()

    async def _following(self, sequence: int) -> AsyncIterator[Checkpoint]:
        """Yield the checkpoints from this one on, each when it is shown; raise where a fault ends the stream."""
        sent = 0
        while True:
            async with self._changed:
                while self.height < sequence and not self._has_ended(sent):
                    await self._changed.wait()
            if self._has_ended(sent):
                raise GRPCError(Status.UNAVAILABLE, "the stream ends, as the test wants it")
            if sequence not in self.faults.missing_checkpoints:
                sent += 1
                yield self.chain.ledger.checkpoints[sequence]
            sequence += 1

    def _has_ended(self, sent: int) -> bool:
        length = self.faults.stream_length
        return self.faults.is_down or (length is not None and sent >= length)

    def _object(self, request: v2.GetObjectRequest, paths: Sequence[str]) -> v2.Object:
        id_ = read_address(request.object_id)
        package = self.chain.packages.get(id_)
        if package is not None:
            return masked(messages.package_object_message(package), paths)
        objects = self.chain.objects
        stored = objects.get(id_) if request.version is None else objects.at_version(id_, request.version)
        if stored is None:
            version = "" if request.version is None else f" in version {request.version}"
            raise GRPCError(Status.NOT_FOUND, f"there is no object {request.object_id}{version}")
        return masked(messages.object_message(stored), paths)

    def _field(self, stored: StoredObject) -> v2.DynamicField:
        """Return a dynamic field: the object that holds its name and value."""
        name_type, value_type = stored.type.arguments
        _, name, value = self.chain.codec.decode(stored.type, stored.contents)
        encode = self.chain.codec.encode
        return v2.DynamicField(
            kind=v2.DynamicFieldDynamicFieldKind.FIELD,
            parent=address_text(stored.owner.id),
            field_id=address_text(stored.id),
            field_object=messages.object_message(stored),
            name=v2.Bcs(name=type_text(name_type), value=encode(name_type, name)),
            value=v2.Bcs(name=type_text(value_type), value=encode(value_type, value)),
            value_type=type_text(value_type),
        )

    def _checkpoint(self, request: v2.GetCheckpointRequest) -> Checkpoint:
        checkpoints = self.chain.ledger.checkpoints[: self.height + 1]
        sequence = request.sequence_number
        if request.digest:
            digest = read_digest(request.digest)
            sequence = next(
                (checkpoint.sequence for checkpoint in checkpoints if checkpoint.digest == digest),
                len(checkpoints),
            )
        elif sequence is None:
            sequence = self.height
        if not self.faults.first_checkpoint <= sequence < len(checkpoints):
            raise GRPCError(Status.NOT_FOUND, f"there is no checkpoint {request.digest or sequence}")
        return checkpoints[sequence]

    def _executed(self, executed: Executed) -> v2.ExecutedTransaction:
        message = messages.executed_message(executed)
        if executed.checkpoint > self.height:
            message.checkpoint, message.timestamp = None, None
        return message


def _paths(mask: protobuf.FieldMask | None, default: Sequence[str]) -> Sequence[str]:
    return mask.paths if mask is not None and mask.paths else default


def _matches(type_: Type, wanted: Type) -> bool:
    """Return whether an object's type is the wanted one, which may leave out its type arguments."""
    if isinstance(type_, Datatype) and isinstance(wanted, Datatype) and not wanted.arguments:
        return (type_.module, type_.name) == (wanted.module, wanted.name)
    return type_ == wanted


def _is_field(stored: StoredObject) -> bool:
    return stored.type.name == "Field" and stored.type.module.name == "dynamic_field"


def _page(
    objects: list[StoredObject], size: int | None, token: bytes | None
) -> tuple[list[StoredObject], bytes | None]:
    """Return a page of objects and the token of the next one; the token is the id of the next page's first object."""
    ids = [stored.id for stored in objects]
    if token and token not in ids:
        raise InvalidTransaction("the page token names no object that is there")
    start = ids.index(token) if token else 0
    end = start + min(size or PAGE_SIZE, LARGEST_PAGE)
    return objects[start:end], ids[end] if end < len(ids) else None
