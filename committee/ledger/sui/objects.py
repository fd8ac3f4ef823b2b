"""Objects as the chain tells them, and how several of them are read as they are together at one checkpoint.

Sui serves the newest version of an object, and an older one to those who know its number; none is asked for by a
checkpoint. But whatever changes a dynamic field of a shared object, however deep, takes that object mutable and so
gives it a new version. Therefore: read the shared objects, then all else, then the shared objects again, all from one
endpoint. If none has another version then, all was read as it is behind the transactions that wrote these versions,
and is so at every checkpoint from theirs up to the one that was the endpoint's newest before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from committee.backoff import next_pause_s
from committee.errors import LedgerStateGone, LedgerUnavailable
from committee.ledger.records import BlockMark
from committee.ledger.sui.connections import CallRefused
from committee.ledger.sui.digests import digest_text, read_digest
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.methods import (
    BATCH_GET_OBJECTS,
    GET_CHECKPOINT,
    GET_TRANSACTION,
    LIST_OWNED_OBJECTS,
    mask,
)
from committee.ledger.sui.types import ADDRESS_BYTES, normal_text
from committee.ledger.sui.wire import Status, v2

Result = TypeVar("Result")

OBJECTS_AT_ONCE = 50
"""Objects in one request: Sui's servers take no more."""
PAGE_SIZE = 200
PAGES = 25
"""Pages of an account's objects of one type that are read at most: anyone can give an account objects."""
READ_TIMES = 8
"""Times that objects are read which change meanwhile, or were written in no checkpoint yet."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5
"""Pauses between them. An executed transaction is in a checkpoint within a second."""
_OBJECT_MASK = ("object_id", "version", "digest", "owner", "object_type", "contents", "previous_transaction")


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object."""

    id: bytes
    version: int
    digest: bytes
    type: str
    """In the form of `normal_text`."""
    contents: bytes
    """In BCS."""
    owner: bytes | None
    """The account whose it is; None for a shared object, an immutable one, and a dynamic field."""
    shared_since: int | None
    """The version in which it became shared; None for any other."""
    previous_transaction: bytes
    """The digest of the transaction that wrote this version."""


class Objects:
    """Reads the objects of a chain."""

    def __init__(self, rpc: SuiRpc) -> None:
        self._rpc = rpc

    async def head(self, number: int | None = None) -> BlockMark:
        """Return a checkpoint's sequence number and digest, the newest one's when None. Checkpoints are final."""
        request = v2.GetCheckpointRequest(sequence_number=number, read_mask=mask("sequence_number", "digest"))
        return await self._rpc.ask(GET_CHECKPOINT, request, _mark)

    async def time_s(self, number: int | None = None) -> int:
        """Return the time of a checkpoint, the newest when None, in whole seconds."""
        request = v2.GetCheckpointRequest(sequence_number=number, read_mask=mask("summary.timestamp"))
        return await self._rpc.ask(GET_CHECKPOINT, request, _time_s)

    async def newest(self, ids: Sequence[bytes]) -> list[ObjectVersion | None]:
        """Return the newest version of each object, None for one that there is not (any more)."""
        found: list[ObjectVersion | None] = []
        for start in range(0, len(ids), OBJECTS_AT_ONCE):
            some = ids[start : start + OBJECTS_AT_ONCE]
            request = v2.BatchGetObjectsRequest(
                requests=[v2.GetObjectRequest(object_id=address_text(id_)) for id_ in some],
                read_mask=mask(*_OBJECT_MASK),
            )
            found += await self._rpc.ask(BATCH_GET_OBJECTS, request, _reader(some))
        return found

    async def at_version(self, id_: bytes, version: int) -> ObjectVersion | None:
        """Return an object in one of its versions, None when no endpoint keeps that one."""
        request = v2.BatchGetObjectsRequest(
            requests=[v2.GetObjectRequest(object_id=address_text(id_), version=version)],
            read_mask=mask(*_OBJECT_MASK),
        )
        (found,) = await self._rpc.ask(BATCH_GET_OBJECTS, request, _reader([id_]))
        return found

    async def owned(self, account: bytes, type_: str, limit: int = PAGE_SIZE * PAGES) -> list[ObjectVersion]:
        """Return an account's objects of a type, in the order in which they are told; at most `limit`."""
        owned: list[ObjectVersion] = []
        token: bytes | None = None
        for _ in range(PAGES):
            request = v2.ListOwnedObjectsRequest(
                owner=address_text(account),
                object_type=type_,
                page_size=min(PAGE_SIZE, limit - len(owned)),
                page_token=token,
                read_mask=mask(*_OBJECT_MASK),
            )
            page, token = await self._rpc.ask(LIST_OWNED_OBJECTS, request, _page)
            owned += page
            if not token or len(owned) >= limit:
                break
        return owned[:limit]

    async def together(
        self,
        shared: Sequence[bytes],
        read: Callable[[Objects, list[ObjectVersion]], Awaitable[Result]],
        at: BlockMark | None = None,
    ) -> tuple[Result, BlockMark]:
        """Return what `read` makes of shared objects and all below them, as they are at one checkpoint, and which.

        `read` asks the `Objects` that it is given for what is below.

        That is `at`, or the newest one when None. Raises `LedgerStateGone` when the objects have changed since `at`,
        `LedgerUnavailable` when they change too fast to be read.
        """
        trouble, pause_s = None, 0.0
        for _ in range(READ_TIMES):
            try:
                found = await Objects(self._rpc.alone())._once_together(shared, read, at)
            except LedgerStateGone:
                raise
            except LedgerUnavailable as error:
                trouble = error
            else:
                if found is not None:
                    return found
            pause_s = next_pause_s(pause_s, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
        raise trouble or LedgerUnavailable(
            f"the state was read {READ_TIMES} times and had changed each time before all was read"
        )

    async def _once_together(
        self,
        shared: Sequence[bytes],
        read: Callable[[Objects, list[ObjectVersion]], Awaitable[Result]],
        at: BlockMark | None,
    ) -> tuple[Result, BlockMark] | None:
        """Return what `together` does, None when the objects change meanwhile."""
        head = await self.head()
        mark = head if at is None else at
        if mark.number > head.number:
            raise LedgerUnavailable(f"{self._rpc} is at checkpoint {head.number}, behind {mark.number}")
        before = await self._all(shared)
        newest = max([await self._checkpoint_of(version.previous_transaction) for version in before])
        if newest > mark.number:
            if at is None:
                return None
            raise LedgerStateGone(
                f"the state at checkpoint {mark.number} is gone: it has changed since, and Sui tells the newest alone"
            )
        result = await read(self, before)
        after = await self._all(shared)
        has_changed = [read.version for read in before] != [read.version for read in after]
        return None if has_changed else (result, mark)

    async def _all(self, ids: Sequence[bytes]) -> list[ObjectVersion]:
        found = await self.newest(ids)
        lacking = [id_ for id_, version in zip(ids, found, strict=True) if version is None]
        if lacking:
            raise LedgerUnavailable(
                f"the chain's endpoint does not have the object {address_text(lacking[0])}"
            )
        return [version for version in found if version is not None]

    async def _checkpoint_of(self, transaction: bytes) -> int:
        """Return the checkpoint of a transaction that an object names; a number above all when it has none yet.

        An endpoint that has the object has executed the transaction. If it does not know it any more, it was long ago.
        """
        request = v2.GetTransactionRequest(digest=digest_text(transaction), read_mask=mask("checkpoint"))
        try:
            return await self._rpc.ask(GET_TRANSACTION, request, _checkpoint)
        except CallRefused as refused:
            if refused.is_not_found:
                return -1
            raise


NO_CHECKPOINT = 2**64
"""Stands for the checkpoint of a transaction that is executed and in none yet."""


def address_text(address: bytes) -> str:
    """Return an address, or an id, as the interface writes it."""
    return f"0x{address.hex()}"


def read_address(text: str | None) -> bytes:
    """Return the 32 bytes of an address, which may lack leading zeros. Raises `ValueError`."""
    digits = (text or "").removeprefix("0x")
    if not digits or len(digits) > 2 * ADDRESS_BYTES or not digits.isascii():
        raise ValueError("it is no address")
    return int(digits, 16).to_bytes(ADDRESS_BYTES, "big")


def object_of(message: v2.Object | None) -> ObjectVersion:
    """Return what a message tells of an object. Raises `ValueError`."""
    if message is None or message.version is None or message.contents is None or message.owner is None:
        raise ValueError("an object lacks its version, contents or owner")
    owner = message.owner
    is_owned = owner.kind in (v2.OwnerOwnerKind.ADDRESS, v2.OwnerOwnerKind.CONSENSUS_ADDRESS)
    return ObjectVersion(
        id=read_address(message.object_id),
        version=message.version,
        digest=read_digest(message.digest),
        type=normal_text(message.object_type or ""),
        contents=message.contents.value or b"",
        owner=read_address(owner.address) if is_owned else None,
        shared_since=owner.version if owner.kind is v2.OwnerOwnerKind.SHARED else None,
        previous_transaction=read_digest(message.previous_transaction),
    )


def mark_of(checkpoint: v2.Checkpoint | None) -> BlockMark:
    """Return a checkpoint's number and digest. Raises `ValueError` when it has none, or a digest that is no digest."""
    if checkpoint is None or checkpoint.sequence_number is None:
        raise ValueError("a checkpoint without a number")
    return BlockMark(checkpoint.sequence_number, read_digest(checkpoint.digest))


def _mark(answer: v2.GetCheckpointResponse) -> BlockMark:
    return mark_of(answer.checkpoint)


def _time_s(answer: v2.GetCheckpointResponse) -> int:
    summary = answer.checkpoint.summary if answer.checkpoint else None
    if summary is None or summary.timestamp is None:
        raise ValueError("a checkpoint without a time")
    return int(summary.timestamp.timestamp())


def _checkpoint(answer: v2.GetTransactionResponse) -> int:
    if answer.transaction is None:
        raise ValueError("no transaction")
    number = answer.transaction.checkpoint
    return NO_CHECKPOINT if number is None else number


def _page(answer: v2.ListOwnedObjectsResponse) -> tuple[list[ObjectVersion], bytes | None]:
    return [object_of(message) for message in answer.objects], answer.next_page_token


def _reader(ids: Sequence[bytes]) -> Callable[[v2.BatchGetObjectsResponse], list[ObjectVersion | None]]:
    def read(answer: v2.BatchGetObjectsResponse) -> list[ObjectVersion | None]:
        if len(answer.objects) != len(ids):
            raise ValueError(f"{len(answer.objects)} objects, and {len(ids)} were asked for")
        return [_object_or_none(id_, result) for id_, result in zip(ids, answer.objects, strict=True)]

    return read


def _object_or_none(id_: bytes, result: v2.GetObjectResult) -> ObjectVersion | None:
    if result.error is not None:
        if result.error.code == Status.NOT_FOUND.value:
            return None
        raise ValueError(f"an object with the error {result.error.code}")
    found = object_of(result.object)
    if found.id != id_:
        raise ValueError("another object than was asked for")
    return found
