"""One storage node's HTTP interface, from the outside (PROTOCOL section 6).

Every method raises `NodeUnreachable`, `NodeRefused` or `NodeLied`, each naming the node, and no other error, whatever
address the node registered and whatever it answers. All requests may be repeated without harm; `transport` says when
they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage.client import batch_wire, wire
from storage.client.batch_wire import Confirmable, Signed, Upload
from storage.client.bodies import PIECE_BYTES, Bytes, Content, Framed
from storage.client.broken_requests import ResumableDownload, ResumableUpload
from storage.client.errors import NodeRefused
from storage.client.link import Transfer
from storage.client.member_client import MemberClient
from storage.client.node_requests import SMALL_JSON_BYTES
from storage.redstuff import (
    Axis,
    BlobMetadata,
    InconsistencyProof,
    InvalidEncoding,
    LargeSliver,
    MerkleProof,
    Parameters,
    SliverData,
    blob_id_text,
)
from storage.redstuff.parameters import MAX_SYMBOL_BYTES


class NodeClient(MemberClient):
    """A client for a node: what users ask of it about blobs, and what members ask of each other."""

    # blobs

    async def metadata(self, blob_id: bytes, patience_s: float | None = None) -> BlobMetadata:
        """A blob's metadata, checked against the id."""
        path = _blob(blob_id, "metadata")
        body = await self._transport.request(
            "GET", path, limit=wire.MAX_METADATA_BYTES, patience_s=patience_s
        )
        with self._transport.must_be_true():
            if body[: len(blob_id)] != blob_id:
                raise InvalidEncoding("metadata of another blob")
            return BlobMetadata.from_bcs(bytes(body[len(blob_id) :]), blob_id)

    async def put_metadata(self, metadata: BlobMetadata, registered_block: int | None = None) -> None:
        """Give the node a blob's metadata.

        `registered_block` is a block of the chain in which the blob is registered: a node that has not taken it in
        answers NOT_YET_REGISTERED then.
        """
        path, body = _blob(metadata.blob_id, "metadata") + _registered(registered_block), metadata.to_bcs()
        await self._put(path, lambda: body, len(body))

    async def sliver(
        self,
        blob_id: bytes,
        pair: int,
        axis: Axis,
        size_bytes: int = wire.MAX_SLIVER_BYTES,
        transfer: Transfer | None = None,
    ) -> Bytes:
        """A sliver's symbols, `size_bytes` at most. Not verified: that is the caller's, who has the metadata.

        `transfer` lets the caller see how the request gets on. An answer that breaks off is gone on with.
        """
        path = _blob(blob_id, "slivers", str(pair), axis.label)
        body = await self._get(
            path, size_bytes=size_bytes, transfer=transfer, exchange=ResumableDownload(path)
        )
        with self._transport.must_be_true():
            return SliverData.from_bcs(body).symbols

    async def put_sliver(
        self,
        metadata: BlobMetadata,
        pair: int,
        axis: Axis,
        symbols: bytes | memoryview | LargeSliver,
        *,
        is_begun: bool = False,
    ) -> None:
        """Give the node one sliver of a pair. A large one whose connection breaks is gone on with.

        `is_begun` when an earlier upload of it may have been cut off: it is gone on with too. A sliver of a `LargeBlob`
        is made while it is sent.
        """
        shape = Parameters(metadata.n_shards)
        size_bytes, t = len(symbols), shape.symbol_size(metadata.length)
        head, tail = SliverData.frame(size_bytes, t, shape.sliver_of_pair(pair, axis))

        def body() -> Content:
            """Make the body when its turn comes, as many wait. Only a short one is copied, to be sent as one packet."""
            if size_bytes <= PIECE_BYTES and not isinstance(symbols, LargeSliver):
                return b"".join((head, symbols, tail))
            return Framed(head, symbols if isinstance(symbols, LargeSliver) else memoryview(symbols), tail)

        path = _blob(metadata.blob_id, "slivers", str(pair), axis.label)
        is_large = size_bytes >= wire.LEAST_RESUMED_BYTES
        await self._put(
            path, body, size_bytes, ResumableUpload(path, is_begun=is_begun) if is_large else None
        )

    async def has_metadata(self, blob_id: bytes) -> bool:
        """Return whether the node says that it has stored the blob's metadata."""
        return bool(
            await self._json(_blob(blob_id, "metadata", "status"), limit=SMALL_JSON_BYTES) == wire.STORED
        )

    async def has_sliver(self, blob_id: bytes, pair: int, axis: Axis) -> bool:
        """Return whether the node says that it has stored one sliver of a pair."""
        path = _blob(blob_id, "slivers", str(pair), axis.label, "status")
        return bool(await self._json(path, limit=SMALL_JSON_BYTES) == wire.STORED)

    async def confirmation(
        self, blob_id: bytes, object_id: int | None, registered_block: int | None = None
    ) -> tuple[bytes, bytes]:
        """(message, signature) by which the node confirms a permanent blob, or a deletable blob object.

        `registered_block` is as in `put_metadata`.
        """
        kind = ("permanent",) if object_id is None else ("deletable", str(object_id))
        return await self._signed(_blob(blob_id, "confirmation", *kind) + _registered(registered_block))

    async def put_blobs(
        self, uploads: Sequence[Upload], registered_block: int | None = None
    ) -> list[NodeRefused | None]:
        """Give the node metadata and slivers of several blobs; for each, None once all is stored, or the refusal.

        `registered_block` is as in `put_metadata`. A node that does not know such requests answers 404 or 405.
        """
        answer = await self._transport.request(
            *("POST", "/v1/uploads" + _registered(registered_block)),
            body=lambda: batch_wire.uploads_to_bcs(uploads),
            limit=batch_wire.MAX_OUTCOMES_BYTES,
            size_bytes=sum(one.most_bytes for one in uploads),
        )
        with self._transport.must_be_true():
            told = batch_wire.stored_from_bcs(answer, len(uploads))
        return [None if one is None else self._transport.refusal(*one) for one in told]

    async def confirmations(
        self, asked: Sequence[Confirmable], registered_block: int | None = None
    ) -> list[Signed | NodeRefused]:
        """As `confirmation` and `put_blobs`: for each of several blobs (message, signature), or the refusal."""
        path, body = (
            "/v1/confirmations" + _registered(registered_block),
            batch_wire.confirmations_to_bcs(asked),
        )
        answer = await self._transport.request("POST", path, body=body, limit=batch_wire.MAX_OUTCOMES_BYTES)
        with self._transport.must_be_true():
            told = batch_wire.signed_from_bcs(answer, len(asked))
        refused = self._transport.refusal
        return [refused(one[0], one[1]) if isinstance(one[0], int) else (one[0], one[1]) for one in told]

    # symbols

    async def decoding_symbols(
        self,
        blob_id: bytes,
        axis: Axis,
        targets: Sequence[int],
        helper_shards: Sequence[int],
        size_bytes: int = wire.MAX_SYMBOLS_BYTES,
        transfer: Transfer | None = None,
    ) -> wire.SymbolsOfBlob:
        """The node's symbols for the slivers `targets` of `axis`, without proofs; `size_bytes` at most.

        From the slivers of just the shards named, so that no symbol travels that is not needed. `transfer` is as in
        `sliver`.
        """
        query = {
            "targetSlivers": ",".join(map(str, targets)),
            "targetType": axis.label,
            "helperShards": wire.ranges(helper_shards),
        }
        path = _blob(blob_id, "decodingSymbols")
        body = await self._get(path, query, size_bytes=size_bytes, transfer=transfer)
        asked = len(targets) * len(helper_shards)
        return await self._symbols(asked, lambda: wire.symbols_from_bcs(body, asked))

    async def symbols_of_blobs(
        self,
        question: wire.Question,
        size_bytes: int = wire.MAX_SYMBOLS_BYTES,
        transfer: Transfer | None = None,
    ) -> list[wire.SymbolsOfBlob | NodeRefused]:
        """Return the symbols, or the node's refusal, for each blob of a question; `size_bytes` at most in all."""
        body, limit = question.to_bcs(), size_bytes + len(question.blob_ids) * wire.FRAME_BYTES
        answer = await self._transport.request(
            *("POST", "/v1/decodingSymbols"), body=body, limit=limit, size_bytes=size_bytes, transfer=transfer
        )
        asked = [len(question.targets) * len(question.shards)] * len(question.blob_ids)
        answers = await self._symbols(sum(asked), lambda: wire.answers_from_bcs(answer, asked))
        return [self._transport.refusal(*one) if isinstance(one, tuple) else one for one in answers]

    async def recovery_symbols(
        self,
        blob_id: bytes,
        axis: Axis,
        target: int,
        helper_shards: Sequence[int],
        symbol_bytes: int = MAX_SYMBOL_BYTES,
        transfer: Transfer | None = None,
    ) -> dict[int, tuple[bytes, MerkleProof]]:
        """The node's symbols for the sliver `target` of `axis`, with proofs: helping sliver → (symbol, proof).

        `symbol_bytes` is the size of a symbol, or the most that it may be. `transfer` is as in `sliver`.
        """
        query = {
            "targetSliver": str(target),
            "targetType": axis.label,
            "helperShards": wire.ranges(helper_shards),
        }
        size_bytes = len(helper_shards) * (symbol_bytes + wire.PROVEN_FRAME_BYTES)
        path = _blob(blob_id, "recoverySymbols")
        body = await self._get(path, query, size_bytes=size_bytes, transfer=transfer)
        with self._transport.must_be_true():
            proven = wire.proven_from_bcs(body, len(helper_shards))
            return {helper: (symbol, proof) for helper, named, symbol, proof in proven if named == target}

    async def inconsistency_proof(
        self, blob_id: bytes, proof: InconsistencyProof, transfer: Transfer | None = None
    ) -> tuple[bytes, bytes]:
        """(message, signature) by which the node, given the proof, finds the blob encoded inconsistently.

        `transfer` is as in `sliver`.
        """
        path, body = _blob(blob_id, "inconsistencyProof", proof.axis.label), proof.to_bcs()
        answer = await self._transport.request(
            "POST", path, body=body, limit=SMALL_JSON_BYTES, size_bytes=len(body), transfer=transfer
        )
        with self._transport.must_be_true():
            return wire.read_signed(wire.read_success(wire.read_json(bytes(answer))))

    async def blob_status(self, blob_id: bytes) -> Any:
        """The blob's status, as PROTOCOL section 6 has it."""
        return await self._json(_blob(blob_id, "status"), limit=SMALL_JSON_BYTES)


def _blob(blob_id: bytes, *parts: str) -> str:
    return "/".join(("/v1/blobs", blob_id_text(blob_id), *parts))


def _registered(block: int | None) -> str:
    return "" if block is None else f"?registeredInBlock={block}"
