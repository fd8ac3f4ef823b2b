"""The requests to one node by their kind: JSON, signed messages, bytes of any size, uploads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import aiohttp

from storage.client import wire
from storage.client.bodies import Bytes, Content
from storage.client.broken_requests import Exchange, ResumableUpload
from storage.client.link import Link, Transfer
from storage.client.transport import NodeTransport
from storage.redstuff import InvalidEncoding

Symbols = TypeVar("Symbols")

MAX_SYMBOLS_AT_ONCE = 2**12
"""Read from an answer by the event loop, in 2 to 7 ms."""
SMALL_JSON_BYTES = 2**14
"""Limit of health, statuses and signed messages, which take less than 2 KiB. A longer answer can be made to cost its
reader much work, or to last for minutes, and members are asked for health each second."""


class NodeRequests:
    """Requests to the node `name` at `address`, over a session that stays the caller's."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        address: str,
        patience_s: float | None = None,
        credential: Callable[[], str] | None = None,
        link: Link | None = None,
    ) -> None:
        """`credential` makes the value of a header that shows a member; it is sent once the node refused strangers.

        Large requests wait for their turn on the link; without one they go at once. `patience_s` replaces
        `progress.PATIENCE_S`.
        """
        self._transport = NodeTransport(session, name, address, patience_s, credential, link)
        self.takes_batches = True
        """Whether it may know requests about many blobs."""

    @property
    def name(self) -> str:
        """The node's name."""
        return self._transport.name

    @property
    def address(self) -> str:
        """The node's network address, as its owner registered it."""
        return self._transport.address

    async def _symbols(self, count: int, read: Callable[[], Symbols]) -> Symbols:
        """Return what `read` reads of an answer of up to `count` symbols; many are read in a thread."""
        with self._transport.must_be_true():
            return read() if count <= MAX_SYMBOLS_AT_ONCE else await asyncio.to_thread(read)

    async def _signed(self, path: str, within_s: float | None = None) -> tuple[bytes, bytes]:
        data = await self._json(path, within_s, SMALL_JSON_BYTES)
        with self._transport.must_be_true():
            return wire.read_signed(data)

    async def _object(
        self, path: str, within_s: float | None = None, limit: int = wire.MAX_JSON_BYTES
    ) -> dict[str, Any]:
        """Return the data of an answer, which is a JSON object (`_json`)."""
        data = await self._json(path, within_s, limit)
        with self._transport.must_be_true():
            if not isinstance(data, dict):
                raise InvalidEncoding("no JSON object")
            return data

    async def _json(self, path: str, within_s: float | None = None, limit: int = wire.MAX_JSON_BYTES) -> Any:
        """Return the data of an answer of at most `limit` bytes; with `within_s`, asked for once and in that time."""
        body = await self._transport.request("GET", path, limit=limit, within_s=within_s)
        with self._transport.must_be_true():
            return wire.read_success(wire.read_json(bytes(body)))

    async def _get(
        self,
        path: str,
        query: dict[str, str] | None = None,
        *,
        size_bytes: int,
        transfer: Transfer | None = None,
        exchange: Exchange | None = None,
    ) -> Bytes:
        """Return an answer of at most `size_bytes` and its frame."""
        limit = size_bytes + wire.FRAME_BYTES
        return await self._transport.request(
            *("GET", path),
            query=query,
            limit=limit,
            size_bytes=size_bytes,
            transfer=transfer,
            exchange=exchange,
        )

    async def _put(
        self, path: str, body: Callable[[], Content], size_bytes: int, upload: ResumableUpload | None = None
    ) -> None:
        limit = wire.MAX_ERROR_BYTES
        answer = await self._transport.request(
            "PUT", path, body=body, limit=limit, size_bytes=size_bytes, exchange=upload
        )
        if upload is not None and upload.is_complete:
            return
        with self._transport.must_be_true():  # anything between may answer 200
            wire.read_success(wire.read_json(bytes(answer)))
