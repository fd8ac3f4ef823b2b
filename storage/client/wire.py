"""What travels between nodes and their clients (PROTOCOL section 6): limits, JSON and BCS forms.

symbols      bytes of a symbol u16 LE ‖ ULEB128 count ‖ target slivers u16 LE each ‖ ULEB128 count, then per helping
             sliver: its index u16 LE ‖ its symbols for all the targets in their order
question     axis u8 of the slivers to be rebuilt ‖ ULEB128 count ‖ their shards u16 LE each ‖ ULEB128 count ‖ helping
             shards u16 LE each ‖ ULEB128 count ‖ blob ids 32 each
answers      per blob, in their order: 0x00 ‖ symbols, or 0x01 ‖ status u16 LE ‖ ULEB128 length ‖ an error's JSON
proven       ULEB128 count, then per symbol: helping sliver u16 LE ‖ target sliver u16 LE ‖ ULEB128 length ‖ symbol ‖
             Merkle proof
shard page   ULEB128 count, then per sliver: blob id 32 ‖ SliverData; then 0x00 (the end) or 0x01 ‖ next id; then, if
             metadata was asked for, ULEB128 count, then per blob: blob id 32 ‖ ULEB128 length ‖ BlobMetadata
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from committee.bcs import listed, u16, uleb128
from committee.untrusted import InvalidJson, parse_json
from storage.client.bodies import Bytes, joined
from storage.redstuff import Axis, InvalidEncoding, MerkleProof, SliverData
from storage.redstuff.bcs import Reader
from storage.redstuff.parameters import BLOB_ID_BYTES, MAX_SYMBOL_BYTES

BCS = "application/octet-stream"
PARTIAL_UPLOAD = "application/partial-upload"
"""Type of the rest of a body whose beginning a node has kept (draft-ietf-httpbis-resumable-upload-12)."""
UPLOAD_COMPLETE, UPLOAD_OFFSET, UPLOAD_LENGTH = "Upload-Complete", "Upload-Offset", "Upload-Length"
UPLOAD_LIMIT = "Upload-Limit"
TRUE, FALSE = "?1", "?0"
"""Booleans in such headers (RFC 9651)."""
MAX_OFFSET_DIGITS = 15
"""Of an integer in such headers."""
LEAST_RESUMED_BYTES = 2**16
"""Least size of a sliver whose upload is gone on with: below it two round trips cost as much as to send it again."""
MAX_METADATA_BYTES = 2**17
"""1000 shards take 66 013 bytes."""
MAX_SLIVER_BYTES = 2**26
"""The largest sliver, 667 symbols of 65 534 bytes, and its frame."""
MAX_TARGETS = 64
"""Slivers to be rebuilt named in one request."""
MAX_SYMBOLS_BYTES = 2**26
"""Bytes of the symbols in one answer: one target always fits, as its symbols are no more than its sliver."""
MAX_BLOBS = 256
"""In one request for symbols of several."""
MAX_HELPING_SLIVERS = 2**12
"""Asked for symbols in one request: helping shards times blobs."""
MAX_QUESTION_BYTES = 2**14
"""Size limit of such a request."""
MAX_PAGE_SLIVERS = 1024
PAGE_BYTES = 2**23
"""A page ends before it passes this size, unless a single sliver does."""
PAGE_FRAME_BYTES = 128 * MAX_PAGE_SLIVERS
"""The most bytes of a page beside slivers and metadata."""
FRAME_BYTES = 2**13
"""Around the symbols of one blob, a sliver of a page or a sliver alone; far less around most."""
PROVEN_FRAME_BYTES = 2**10
"""The most bytes of a proven symbol beside the symbol: a proof of at most 17 nodes and some lengths."""
MAX_JSON_BYTES = 2**20
HEALTH = "/v1/health"
"""The path of a node's health, which is answered at once."""
MAX_ERROR_BYTES = 2**16
"""Size limit of an answer that is an error: the node's own, or the page of a proxy before it."""
MAX_REQUEST_JSON_BYTES = 2**12
MAX_JSON_BRACKETS = 2**12
"""Opening ones: a handover report of 1000 shards has about as many objects."""
MAX_REFUSAL_BYTES = 2**12
"""Size limit of an error's JSON among answers."""

STORED = "stored"
"""The status of metadata and slivers that a node has on its disk."""

SMALL_SYMBOL_BYTES = 2**9
"""Symbols of up to this size are copied out of a body rather than viewed in it: a view takes as much memory, and time
of Python's garbage collector, which does not look at bytes."""
SymbolsOfBlob = dict[int, dict[int, Bytes]]
"""Helping sliver's index → target → symbol."""
Refused = tuple[int, bytes]
"""The status and the JSON of an error."""


def read_json(content: bytes) -> Any:
    """The JSON of a body or answer. Raises `InvalidEncoding`, also for too many or too deeply nested brackets."""
    try:
        return parse_json(content, MAX_JSON_BRACKETS)
    except InvalidJson as error:
        raise InvalidEncoding(str(error)) from None


def success(data: Any, code: int = 200) -> dict[str, Any]:
    """The JSON of an answer that is not BCS."""
    return {"success": {"code": code, "data": data}}


def read_success(answer: Any) -> Any:
    """The data of an answer. Raises `InvalidEncoding`."""
    try:
        return answer["success"]["data"]
    except (KeyError, TypeError):
        raise InvalidEncoding("an answer without success and data") from None


def signed(message: bytes, signature: bytes) -> dict[str, Any]:
    """A signed message as JSON data."""
    encoded = [base64.b64encode(one).decode() for one in (message, signature)]
    return {"signed": {"serializedMessage": encoded[0], "signature": encoded[1]}}


def read_signed(data: Any) -> tuple[bytes, bytes]:
    """(message, signature) of such data. Raises `InvalidEncoding`."""
    try:
        pair = data["signed"]
        message, signature = (
            base64.b64decode(pair[key], validate=True) for key in ("serializedMessage", "signature")
        )
    except (KeyError, TypeError, ValueError):
        raise InvalidEncoding("not a signed message") from None
    return message, signature


@dataclass(frozen=True)
class ShardPage:
    """A page of a shard's slivers on one axis, in blob-id order."""

    slivers: Sequence[tuple[bytes, SliverData]] = field(repr=False)
    next_blob_id: bytes | None
    """Where the next page begins; None is the explicit end of the shard."""
    metadata: Mapping[bytes, Bytes] | None = field(default=None, repr=False)
    """Blob id → BCS BlobMetadata, not verified, of those of the blobs whose metadata the source has; None unless asked
    for."""

    def to_bcs(self) -> Bytes:
        """Return the bytes of the page."""
        parts: list[Bytes] = [uleb128(len(self.slivers))]
        for blob_id, sliver in self.slivers:
            parts += [blob_id, *sliver.parts()]
        parts.append(b"\x00" if self.next_blob_id is None else b"\x01" + self.next_blob_id)
        if self.metadata is not None:
            parts.append(uleb128(len(self.metadata)))
            for blob_id, metadata in self.metadata.items():
                parts += [blob_id, uleb128(len(metadata)), metadata]
        return joined(parts)

    @classmethod
    def from_bcs(cls, encoded: Bytes, *, with_metadata: bool = False) -> ShardPage:
        """Read a page, which may have metadata if it was asked for; symbols and metadata are views into `encoded`.

        Raises `InvalidEncoding`.
        """
        reader = Reader(encoded)
        count = reader.uleb128(MAX_PAGE_SLIVERS)
        slivers = [(reader.take(BLOB_ID_BYTES), SliverData.read(reader)) for _ in range(count)]
        if any(one >= following for (one, _), (following, _) in pairwise(slivers)):
            raise InvalidEncoding("a page's blob ids do not ascend")
        more = reader.unsigned(1)
        if more > 1:
            raise InvalidEncoding(f"a page's end is marked by 0 or 1, not {more}")
        following = reader.take(BLOB_ID_BYTES) if more else None
        metadata: dict[bytes, Bytes] | None = None
        if with_metadata and reader.left_bytes:
            count = reader.uleb128(MAX_PAGE_SLIVERS)
            ids = (reader.take(BLOB_ID_BYTES) for _ in range(count))
            metadata = {blob_id: reader.view(reader.uleb128(MAX_METADATA_BYTES)) for blob_id in ids}
        reader.end()
        return cls(slivers, following, metadata)


def sliver_bytes(symbols_bytes: int) -> int:
    """Return the size of a SliverData with so many bytes of symbols."""
    return len(uleb128(symbols_bytes)) + symbols_bytes + 4


def sliver_to_bcs(sliver: SliverData) -> Bytes:
    """Return the bytes of a sliver."""
    return joined(sliver.parts())


def symbols_to_bcs(targets: Sequence[int], symbol_bytes: int, symbols: Sequence[tuple[int, Bytes]]) -> Bytes:
    """Return the bytes of symbols without proofs.

    `symbols` has (helping sliver's index, its symbols for all targets, one after the other) for each helping sliver.
    """
    parts = [part for helper, row in symbols for part in (u16(helper), row)]
    return rows_to_bcs(targets, symbol_bytes, len(symbols), parts)


def symbol_rows(helpers: Sequence[int], symbols: NDArray[np.uint8]) -> Bytes:
    """Return the bytes of several rows for `rows_to_bcs`.

    `helpers` are the helping slivers' indices, `symbols` their symbols for all targets, `(helpers, bytes)`.
    """
    rows = np.empty((len(helpers), 2 + symbols.shape[1]), np.uint8)
    rows[:, :2] = np.array(helpers, "<u2").view(np.uint8).reshape(-1, 2)
    rows[:, 2:] = symbols
    return rows.data.cast("B")


def rows_to_bcs(targets: Sequence[int], symbol_bytes: int, count: int, parts: Sequence[Bytes]) -> Bytes:
    """Return the bytes of symbols without proofs, as `symbols_to_bcs`, from `parts` with `count` rows in all."""
    return joined([u16(symbol_bytes) + _numbers(targets) + uleb128(count), *parts])


def symbols_from_bcs(encoded: Bytes, most: int) -> SymbolsOfBlob:
    """Return the symbols in `encoded`, as views into it. Raises `InvalidEncoding`, also for more than `most`."""
    reader = Reader(encoded)
    symbols = _read_symbols(reader, most)
    reader.end()
    return symbols


def _read_symbols(reader: Reader, most: int) -> SymbolsOfBlob:
    """Read the symbols of one blob; more than `most` are refused before a view of any is made."""
    size = reader.unsigned(2)
    targets = _read_numbers(reader, MAX_TARGETS)
    count, row_bytes = reader.uleb128(most // max(1, len(targets))), 2 + len(targets) * size
    rows = reader.view(count * row_bytes)
    symbols: SymbolsOfBlob = {}
    if len(targets) == 1 and size <= SMALL_SYMBOL_BYTES:
        (target,), content = targets, bytes(rows)
        for begin in range(0, count * row_bytes, row_bytes):
            symbols[content[begin] | content[begin + 1] << 8] = {
                target: content[begin + 2 : begin + row_bytes]
            }
        return symbols
    for begin in range(0, count * row_bytes, row_bytes):
        places = enumerate(targets)
        symbols[rows[begin] | rows[begin + 1] << 8] = {
            target: rows[begin + 2 + place * size : begin + 2 + (place + 1) * size]
            for place, target in places
        }
    return symbols


@dataclass(frozen=True)
class Question:
    """What a node is asked about several blobs: symbols, without proofs, for slivers of the same shards."""

    axis: Axis
    """The axis of the slivers to be rebuilt."""
    targets: Sequence[int]
    """Their shards."""
    shards: Sequence[int]
    """Whose slivers of the other axis are to help: just these, so that no symbol travels that is not needed."""
    blob_ids: Sequence[bytes]

    def to_bcs(self) -> bytes:
        """Return the bytes of the question."""
        numbers = (bytes((self.axis,)), _numbers(self.targets), _numbers(self.shards))
        return b"".join((*numbers, uleb128(len(self.blob_ids)), *self.blob_ids))

    @classmethod
    def from_bcs(cls, encoded: Bytes, n: int) -> Question:
        """Read a question, for `n` shards. Raises `InvalidEncoding`."""
        reader = Reader(encoded)
        axis = reader.unsigned(1)
        if axis not in tuple(Axis):
            raise InvalidEncoding(f"axis {axis} is neither 0 (primary) nor 1 (secondary)")
        targets, shards = _read_numbers(reader, MAX_TARGETS), _read_numbers(reader, MAX_HELPING_SLIVERS)
        for numbers in (targets, shards):
            if not numbers or len(set(numbers)) != len(numbers) or max(numbers) >= n:
                raise InvalidEncoding(
                    f"one shard at least to rebuild and one to help, each once and below {n}"
                )
        count = reader.uleb128(MAX_BLOBS)
        blob_ids = [reader.take(BLOB_ID_BYTES) for _ in range(count)]
        reader.end()
        if not 0 < count * len(shards) <= MAX_HELPING_SLIVERS:
            raise InvalidEncoding(
                f"one blob at least, and at most {MAX_HELPING_SLIVERS} helping slivers together"
            )
        return cls(Axis(axis), targets, shards, blob_ids)


def answers_to_bcs(answers: Sequence[Bytes | Refused]) -> Bytes:
    """An answer about each blob: symbols as `symbols_to_bcs` makes them, or (status, error's JSON)."""
    parts: list[Bytes] = []
    for one in answers:
        if isinstance(one, tuple):
            status, told = one
            parts += [b"\x01", u16(status), uleb128(len(told)), told]
        else:
            parts += [b"\x00", one]
    return joined(parts)


def answers_from_bcs(encoded: Bytes, asked: Sequence[int]) -> list[SymbolsOfBlob | Refused]:
    """Read the answers about blobs; `asked` are the symbols asked for of each. Symbols are views into `encoded`.

    Raises `InvalidEncoding`, also for more symbols than were asked for: each costs memory, even when it is empty.
    """
    reader = Reader(encoded)
    answers: list[SymbolsOfBlob | Refused] = []
    for most in asked:
        match reader.unsigned(1):
            case 0:
                answers.append(_read_symbols(reader, most))
            case 1:
                answers.append((reader.unsigned(2), reader.take(reader.uleb128(MAX_REFUSAL_BYTES))))
            case kind:
                raise InvalidEncoding(f"an answer is 0 (symbols) or 1 (an error), not {kind}")
    reader.end()
    return answers


def proven_to_bcs(symbols: Iterable[tuple[int, int, bytes, MerkleProof]]) -> bytes:
    """(helping sliver's index, target, symbol, proof) each."""
    flat = [
        b"".join((u16(helper), u16(target), uleb128(len(symbol)), symbol, proof.to_bcs()))
        for helper, target, symbol, proof in symbols
    ]
    return listed(flat)


def proven_from_bcs(encoded: Bytes, most: int) -> list[tuple[int, int, bytes, MerkleProof]]:
    """Read proven symbols. Raises `InvalidEncoding`, also for more than `most` symbols: each costs 10 µs to read."""
    reader = Reader(encoded)
    proven = []
    for _ in range(reader.uleb128(most)):
        helper, target = reader.unsigned(2), reader.unsigned(2)
        symbol = reader.take(reader.uleb128(MAX_SYMBOL_BYTES))
        proven.append((helper, target, symbol, MerkleProof.read(reader)))
    reader.end()
    return proven


def _numbers(numbers: Sequence[int]) -> bytes:
    return listed([*map(u16, numbers)])


def _read_numbers(reader: Reader, most: int) -> list[int]:
    count = reader.uleb128(most)
    return list(struct.unpack(f"<{count}H", reader.view(2 * count)))


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text for a query, ascending: runs as "first-last", all separated by commas."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def read_ranges(text: str, n: int) -> list[int]:
    """Read what `ranges` wrote: numbers below `n`. Raises `InvalidEncoding` unless they ascend, each once."""
    numbers: list[int] = []
    for run in text.split(","):
        first, _, last = run.partition("-")
        if not re.fullmatch("[0-9]{1,6}(-[0-9]{1,6})?", run, re.ASCII):
            raise InvalidEncoding(f"{run[:40]!r} is no range of numbers")
        begin, end = int(first), int(last or first)
        if begin > end or end >= n or (numbers and begin <= numbers[-1]):
            raise InvalidEncoding(f"ranges of numbers below {n} that ascend, not {run!r}")
        numbers += range(begin, end + 1)
    return numbers


def upload_path(path: str) -> str:
    """Return the path of the resource by which an upload to `path` is gone on with."""
    return path + "/upload"


def read_axis(text: str) -> Axis:
    """The axis that a path or query names by its `label`. Raises `InvalidEncoding`."""
    for axis in Axis:
        if axis.label == text:
            return axis
    raise InvalidEncoding(f"{text[:40]!r} is neither primary nor secondary")
