"""What travels about many blobs in one request to a node (PROTOCOL section 6), and its limits. All of it is ours.

uploads        ULEB128 count, then per blob: blob id 32 ‖ slivers u16 LE ‖ bytes of its part u32 LE; then the parts, in
               the same order
part           ULEB128 length ‖ BlobMetadata, then per sliver: pair u16 LE ‖ axis u8 ‖ SliverData
confirmations  ULEB128 count, then per blob: blob id 32 ‖ 0x00 (permanent), or ‖ 0x01 ‖ blob object id 32, big-endian
outcomes       per blob, in their order: 0x00 ‖ result, or 0x01 ‖ status u16 LE ‖ ULEB128 length ‖ an error's JSON. The
               result of an upload is empty, that of a confirmation is ULEB128 length ‖ message ‖ signature 96
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from committee.bcs import uleb128
from committee.bls import SIGNATURE_BYTES
from storage.client.bodies import Bytes, joined
from storage.client.wire import MAX_METADATA_BYTES, MAX_REFUSAL_BYTES, Refused
from storage.redstuff import Axis, BlobMetadata, InvalidEncoding, SliverData
from storage.redstuff.bcs import Reader
from storage.redstuff.parameters import BLOB_ID_BYTES, MAX_SHARDS

MAX_BLOBS = 64
"""Named in one request."""
MAX_UPLOADS_BYTES = 2**22
"""Size limit of the body of an upload."""
HEAD_BYTES = BLOB_ID_BYTES + 6
"""What a blob takes among the heads."""
MAX_CONFIRMATIONS_BYTES = 2 + MAX_BLOBS * (BLOB_ID_BYTES + 33)
"""Size limit of a request for confirmations."""
MAX_MESSAGE_BYTES = 2**8
"""Of a signed message: a blob's certificate has at most 104."""
MAX_OUTCOMES_BYTES = MAX_BLOBS * (5 + MAX_REFUSAL_BYTES)
"""Size limit of an answer."""
PART_FRAME_BYTES = 3
"""The most bytes around the metadata of a part."""
SLIVER_FRAME_BYTES = 12
"""The most bytes around the symbols of a sliver in a part."""

Result = TypeVar("Result")
Signed = tuple[bytes, bytes]
"""(message, signature)."""


@dataclass(frozen=True)
class PairSliver:
    """A sliver and the pair that it belongs to."""

    pair: int
    axis: Axis
    sliver: SliverData


@dataclass(frozen=True)
class Upload:
    """The metadata and slivers of one blob that are sent to a node in a request for several blobs."""

    metadata: BlobMetadata
    slivers: Sequence[PairSliver] = field(repr=False)

    @cached_property
    def most_bytes(self) -> int:
        """The most bytes that the upload takes in a request, its head included."""
        metadata_bytes = len(self.metadata.to_bcs())
        symbols_bytes = sum(len(one.sliver.symbols) for one in self.slivers)
        frames_bytes = HEAD_BYTES + PART_FRAME_BYTES + len(self.slivers) * SLIVER_FRAME_BYTES
        return frames_bytes + metadata_bytes + symbols_bytes

    def part(self) -> Bytes:
        """Return the upload's part of a request: metadata and slivers, as the node reads them into a `Part`."""
        metadata = self.metadata.to_bcs()
        parts: list[Bytes] = [uleb128(len(metadata)), metadata]
        for one in self.slivers:
            parts += [one.pair.to_bytes(2, "little") + bytes((one.axis,)), *one.sliver.parts()]
        return joined(parts)


@dataclass(frozen=True)
class Head:
    """What a request tells of one blob before the parts of all blobs."""

    blob_id: bytes
    n_slivers: int
    size_bytes: int


@dataclass(frozen=True)
class Part:
    """The metadata and slivers of one blob as a node reads them from a request, not checked."""

    metadata: bytes = field(repr=False)
    slivers: Sequence[PairSliver] = field(repr=False)


def uploads_to_bcs(uploads: Sequence[Upload]) -> Bytes:
    """Return the bytes of a request that uploads several blobs."""
    parts = [one.part() for one in uploads]
    heads = [
        one.metadata.blob_id + len(one.slivers).to_bytes(2, "little") + len(part).to_bytes(4, "little")
        for one, part in zip(uploads, parts, strict=True)
    ]
    return joined([uleb128(len(heads)), *heads, *parts])


def heads_from_bcs(beginning: Bytes, total_bytes: int) -> tuple[list[Head], int]:
    """Return the heads at the beginning of a body of `total_bytes`, and where the parts begin.

    Raises `InvalidEncoding` unless they name 1 to MAX_BLOBS blobs, each once, and the parts fill the body.
    """
    reader = Reader(beginning)
    count = reader.uleb128(MAX_BLOBS)
    heads = [Head(reader.take(BLOB_ID_BYTES), reader.unsigned(2), reader.unsigned(4)) for _ in range(count)]
    begin = len(uleb128(count)) + count * HEAD_BYTES
    _require_distinct([one.blob_id for one in heads])
    if begin + sum(one.size_bytes for one in heads) != total_bytes:
        raise InvalidEncoding(f"parts of other sizes than the heads tell, in a body of {total_bytes} bytes")
    return heads, begin


def part_from_bcs(encoded: Bytes, n_slivers: int) -> Part:
    """Read a blob's part; symbols are views into it. Raises `InvalidEncoding`."""
    if n_slivers > 2 * MAX_SHARDS:
        raise InvalidEncoding(f"{n_slivers} slivers of one blob")
    reader = Reader(encoded)
    metadata = reader.take(reader.uleb128(MAX_METADATA_BYTES))
    slivers = []
    for _ in range(n_slivers):
        pair, axis = reader.unsigned(2), reader.unsigned(1)
        if axis not in tuple(Axis):
            raise InvalidEncoding(f"axis {axis} is neither 0 (primary) nor 1 (secondary)")
        slivers.append(PairSliver(pair, Axis(axis), SliverData.read(reader)))
    reader.end()
    return Part(metadata, slivers)


@dataclass(frozen=True)
class Confirmable:
    """A blob whose storage a node is asked to confirm: as permanent, or as a deletable object."""

    blob_id: bytes
    object_id: int | None


def confirmations_to_bcs(asked: Sequence[Confirmable]) -> bytes:
    """Return the bytes of a request for confirmations."""
    parts = [uleb128(len(asked))]
    for one in asked:
        kind = b"\x00" if one.object_id is None else b"\x01" + one.object_id.to_bytes(32, "big")
        parts += [one.blob_id, kind]
    return b"".join(parts)


def confirmations_from_bcs(encoded: Bytes) -> list[Confirmable]:
    """Read a request for confirmations. Raises `InvalidEncoding` unless it names 1 to MAX_BLOBS blobs, each once."""
    reader = Reader(encoded)
    asked = []
    for _ in range(reader.uleb128(MAX_BLOBS)):
        blob_id, kind = reader.take(BLOB_ID_BYTES), reader.unsigned(1)
        if kind > 1:
            raise InvalidEncoding(f"a confirmation is 0 (permanent) or 1 (deletable), not {kind}")
        asked.append(Confirmable(blob_id, int.from_bytes(reader.view(32), "big") if kind else None))
    reader.end()
    _require_distinct([one.blob_id for one in asked])
    return asked


def outcomes_to_bcs(outcomes: Sequence[Signed | Refused | None]) -> bytes:
    """The answer for each blob: None for an upload that is stored, a signed message, or a refusal."""
    parts: list[bytes] = []
    for one in outcomes:
        if one is None:
            parts.append(b"\x00")
            continue
        first, second = one
        if isinstance(first, int):
            parts += [b"\x01", first.to_bytes(2, "little"), uleb128(len(second)), second]
        else:
            parts += [b"\x00", uleb128(len(first)), first, second]
    return b"".join(parts)


def stored_from_bcs(encoded: Bytes, count: int) -> list[Refused | None]:
    """Read the outcomes of `count` uploads. Raises `InvalidEncoding`."""
    return _outcomes(encoded, count, lambda reader: None)


def signed_from_bcs(encoded: Bytes, count: int) -> list[Signed | Refused]:
    """Read the outcomes of a request for `count` confirmations. Raises `InvalidEncoding`."""

    def signed(reader: Reader) -> Signed:
        return reader.take(reader.uleb128(MAX_MESSAGE_BYTES)), reader.take(SIGNATURE_BYTES)

    return _outcomes(encoded, count, signed)


def _outcomes(encoded: Bytes, count: int, result: Callable[[Reader], Result]) -> list[Result | Refused]:
    reader = Reader(encoded)
    outcomes: list[Result | Refused] = []
    for _ in range(count):
        match reader.unsigned(1):
            case 0:
                outcomes.append(result(reader))
            case 1:
                outcomes.append((reader.unsigned(2), reader.take(reader.uleb128(MAX_REFUSAL_BYTES))))
            case kind:
                raise InvalidEncoding(f"an outcome is 0 (granted) or 1 (an error), not {kind}")
    reader.end()
    return outcomes


def _require_distinct(blob_ids: Sequence[bytes]) -> None:
    if not blob_ids or len(set(blob_ids)) != len(blob_ids):
        raise InvalidEncoding("1 blob at least, and each once")
