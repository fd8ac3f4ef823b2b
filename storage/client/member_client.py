"""What members ask of each other: pages of shards, signatures, openings, and how a node fares (PROTOCOL section 6)."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

from committee.opening import Opening
from storage.client import progress, proof_wire, wire
from storage.client.link import Transfer
from storage.client.node_requests import SMALL_JSON_BYTES, NodeRequests
from storage.proofs import EntryProof
from storage.redstuff import blob_id_text

SMALL_PAGE_BYTES = 2**16
"""A page is read by the event loop up to this size, in 2 ms at most: each of its slivers has 40 bytes at least."""


class MemberClient(NodeRequests):
    """A client for a member, as another member has it."""

    async def sync_shard(
        self,
        message: bytes,
        signature: bytes,
        size_bytes: int = wire.PAGE_BYTES,
        patience_s: float | None = None,
        transfer: Transfer | None = None,
        *,
        most_bytes: int = wire.MAX_SLIVER_BYTES,
        with_metadata: bool = False,
    ) -> wire.ShardPage:
        """A page of a shard, for the signed request of its new owner; with metadata if asked.

        It has about `size_bytes`, and `most_bytes` with its frame at most.
        """
        body = json.dumps(wire.signed(message, signature)).encode()
        answer = await self._transport.request(
            *("POST", "/v1/migrate/sync_shard"),
            query={"metadata": "true"} if with_metadata else None,
            body=body,
            limit=most_bytes + wire.PAGE_FRAME_BYTES,
            size_bytes=size_bytes,
            patience_s=patience_s,
            transfer=transfer,
        )
        with self._transport.must_be_true():
            read = partial(wire.ShardPage.from_bcs, answer, with_metadata=with_metadata)
            return read() if len(answer) <= SMALL_PAGE_BYTES else await asyncio.to_thread(read)

    async def health(self, timeout_s: float = progress.HEALTH_TIMEOUT_S) -> dict[str, Any]:
        """The node's health; asked once, so that silence is noticed."""
        return await self._object(wire.HEALTH, within_s=timeout_s, limit=SMALL_JSON_BYTES)

    async def metrics(self) -> str:
        """What the node tells Prometheus."""
        text = await self._transport.request("GET", "/metrics", limit=wire.MAX_JSON_BYTES)
        return bytes(text).decode(errors="replace")

    async def handover(self) -> dict[str, Any]:
        """The node's report of its part of the last handover (`storage.node.handover.report.NodeReport`)."""
        return await self._object("/v1/handover")

    async def ejection(self, node_id: int, deadline_s: int) -> tuple[bytes, bytes]:
        """Return the node's (message, signature) for a member's ejection, which counts until the deadline."""
        return await self._signed(f"/v1/members/{node_id}/ejection/{deadline_s}")

    async def sign_of_life(self, nonce: bytes, timeout_s: float) -> tuple[bytes, bytes]:
        """Return the node's sign of life: (message, signature) over the nonce. The request is made once."""
        return await self._signed(f"/v1/sign_of_life/{nonce.hex()}", timeout_s)

    async def members_sign_of_life(self, node_id: int, nonce: bytes, timeout_s: float) -> tuple[bytes, bytes]:
        """Have the node ask another member for its sign of life; return what it brings, not verified."""
        return await self._signed(f"/v1/members/{node_id}/sign_of_life/{nonce.hex()}", timeout_s)

    # storage proofs

    async def inventory(self) -> tuple[bytes, bytes]:
        """Return the node's (message, signature) for the inventory of the current epoch."""
        return await self._signed("/v1/inventory")

    async def entry_of(self, blob_id: bytes) -> EntryProof:
        """Return what the node shows of a blob's place in the inventory of the current epoch, not verified."""
        path = f"/v1/inventory/{blob_id_text(blob_id)}"
        body = await self._get(path, size_bytes=proof_wire.MAX_ENTRY_BYTES)
        with self._transport.must_be_true():
            return proof_wire.entry_proof_from_bcs(body)

    async def openings(self, draw: bytes, page: int) -> list[Opening]:
        """Return what the node shows of the places of a page (`proof_wire.places_of`), not verified."""
        body = await self._get(f"/v1/openings/{draw.hex()}/{page}", size_bytes=proof_wire.MAX_PAGE_BYTES)
        with self._transport.must_be_true():
            return await asyncio.to_thread(proof_wire.page_from_bcs, body)

    async def opening_at(self, position: int) -> Opening:
        """Return what the node shows of a position of its line, not verified.

        It is for a demand; if the node has made the tree of the position's shard, with the path to the tree's root.
        """
        body = await self._get(f"/v1/openings/at/{position}", size_bytes=proof_wire.MAX_OPENING_BYTES)
        with self._transport.must_be_true():
            return proof_wire.opening_from_bcs(body)

    async def proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        """Return the node's (message, signature) for a fellow whose openings it has found right."""
        return await self._signed(f"/v1/members/{node_id}/proof/{draw.hex()}")
