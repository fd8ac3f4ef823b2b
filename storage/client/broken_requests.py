"""Requests whose connection breaks: each is made again, anew or from where it stopped (PROTOCOL section 6).

The rest of an answer is asked for by a range (RFC 9110 section 14.2). The rest of a body is sent by the upload resource
of draft-ietf-httpbis-resumable-upload-12: HEAD tells how much of it the node has kept, PATCH sends the rest. A node
that knows no such resource is sent all of it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp

from storage.client import wire
from storage.client.bodies import Bytes, Content, Framed, LargeBody
from storage.client.errors import NodeError, NodeLied, NodeRefused, NodeStalled, NodeUnreachable
from storage.client.progress import LEAST_BYTES, RequestProgress
from storage.client.retrying import MAY_PASS

MOST_FALLBACKS = 2
"""Times that all of a body is sent because the node did not take the rest of it."""

Ask = Callable[["Exchange"], Awaitable[object]]
"""Make a request once; raises `NodeError`."""


class Exchange:
    """One request and its answer. When its connection breaks, all of it is sent again; subclasses send the rest."""

    cut: list[Bytes] | None = None
    """What has come of an answer that broke off; None where that is of no use."""
    is_complete = False
    """Whether nothing is left to be sent."""
    moving: RequestProgress | None = None
    """The progress of the try under way."""

    def __init__(self, method: str, path: str, content: Content | None = None) -> None:
        self.method, self.path = method, path
        self.content = content
        self._at_bytes = 0

    @property
    def at_bytes(self) -> int:
        """Bytes of the body or of the answer that need not move again."""
        return self._at_bytes

    def begin(self, patience_s: float, within_s: float | None) -> RequestProgress:
        """Begin a try; return its progress."""
        payload = None if self.content is None else LargeBody(self._rest(self.content), self.media_type)
        self.moving = RequestProgress(payload, patience_s, within_s)
        self.moving.arrived(self.at_bytes)
        return self.moving

    @property
    def media_type(self) -> str:
        """Media type of the body that the next try sends."""
        return wire.BCS

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the next try."""
        return {}

    def _rest(self, content: Content) -> Content:
        return content

    def is_granted(self, response: aiohttp.ClientResponse) -> bool:
        """Return whether the answer brings what this try asked for."""
        return response.status in (200, 201)

    async def has_moved_on(self, ask: Ask) -> bool:
        """Find out where the next try goes on; return whether the last try moved LEAST_BYTES. Raises `NodeError`."""
        return False

    async def is_worth_another_try(self, error: NodeError, ask: Ask) -> bool:
        """Return whether to try again after `error`: the last try moved on, or the next one will be another request."""
        if not isinstance(error, NodeUnreachable) or isinstance(error, NodeStalled):
            return False
        with suppress(NodeError):
            return await self.has_moved_on(ask)
        return False


class ResumableDownload(Exchange):
    """A GET whose answer, if it breaks off, is asked for from there on: it has to be the same each time."""

    def __init__(self, path: str) -> None:
        super().__init__("GET", path)
        self.cut = []
        self._had_bytes = 0

    @property
    def at_bytes(self) -> int:
        """Bytes that have come in earlier tries."""
        return sum(map(len, self.cut or ()))

    @property
    def headers(self) -> dict[str, str]:
        """The range of bytes that have not come."""
        return {"Range": f"bytes={self.at_bytes}-"} if self.cut else {}

    def is_granted(self, response: aiohttp.ClientResponse) -> bool:
        """Return whether the node sends the rest of the answer, or all of it; `cut` is dropped then."""
        if self.cut and response.status == 206:
            return response.headers.get("Content-Range", "").startswith(f"bytes {self.at_bytes}-")
        if self.cut and response.status == 200:
            self.cut.clear()
            if self.moving is not None:
                self.moving.received_bytes = 0
        return super().is_granted(response)

    async def has_moved_on(self, ask: Ask) -> bool:
        """Return whether the try before brought LEAST_BYTES more than any before it."""
        has_moved_on = self.at_bytes >= self._had_bytes + LEAST_BYTES
        self._had_bytes = max(self._had_bytes, self.at_bytes)
        return has_moved_on


class ResumableUpload(Exchange):
    """A PUT whose body, if it breaks off, is gone on with behind the part that the node has kept."""

    def __init__(self, path: str, *, is_begun: bool = False) -> None:
        """`is_begun` when the node may have kept a part of an earlier request: it is asked first."""
        super().__init__("PUT", path)
        self._whole_path = path
        self._is_begun = is_begun
        self._had_bytes = 0
        self._fallbacks = 0

    @property
    def media_type(self) -> str:
        """Media type of the whole body, or of its rest."""
        return wire.BCS if self.method == "PUT" else wire.PARTIAL_UPLOAD

    @property
    def headers(self) -> dict[str, str]:
        """Headers that ask the node to keep what arrives if the body breaks off, and name the offset of a rest."""
        offset = {wire.UPLOAD_OFFSET: str(self.at_bytes)} if self.method == "PATCH" else {}
        return {wire.UPLOAD_COMPLETE: wire.TRUE} | offset

    def _rest(self, content: Content) -> Content:
        return (
            content.behind(self.at_bytes)
            if isinstance(content, Framed)
            else memoryview(content)[self.at_bytes :]
        )

    async def has_moved_on(self, ask: Ask) -> bool:
        """Ask the node how much it has kept; return whether it is LEAST_BYTES more than it ever had."""
        is_first, self._is_begun = not self._is_begun, True
        if is_first:
            return False
        state = _UploadState(wire.upload_path(self._whole_path), len(self.content or b""))
        try:
            await ask(state)
        except NodeRefused as refused:
            if refused.status in MAY_PASS:
                raise
        except NodeLied:  # a proxy that answers HEAD with a body, which cannot be read as HTTP
            state = _UploadState(self._whole_path, 0)
        self._go_on_at(state.at_bytes)
        self.is_complete = state.is_complete
        has_moved_on = self.at_bytes >= self._had_bytes + LEAST_BYTES
        self._had_bytes = max(self._had_bytes, self.at_bytes)
        return has_moved_on

    async def is_worth_another_try(self, error: NodeError, ask: Ask) -> bool:
        """As in `Exchange`; have all of the body sent when the node refused the rest: its part may be lost or wrong."""
        if not isinstance(error, NodeRefused):
            return await super().is_worth_another_try(error, ask)
        if self.method == "PUT" or self._fallbacks == MOST_FALLBACKS:
            return False
        self._fallbacks += 1
        self._is_begun = False
        self._go_on_at(0)
        return True

    def _go_on_at(self, at_bytes: int) -> None:
        self._at_bytes = at_bytes
        is_rest = at_bytes > 0
        self.method = "PATCH" if is_rest else "PUT"
        self.path = wire.upload_path(self._whole_path) if is_rest else self._whole_path


class _UploadState(Exchange):
    """The question for how much of a body a node has kept; its answer is in `at_bytes` and `is_complete`."""

    def __init__(self, path: str, size_bytes: int) -> None:
        super().__init__("HEAD", path)
        self._size_bytes = size_bytes

    def begin(self, patience_s: float, within_s: float | None) -> RequestProgress:
        """Begin the only try."""
        return RequestProgress(None, patience_s, within_s)

    def is_granted(self, response: aiohttp.ClientResponse) -> bool:
        """Read the state; an answer without one tells of no part."""
        if response.status not in (200, 204):
            return False
        text = response.headers.get(wire.UPLOAD_OFFSET, "")
        offset = int(text) if text.isascii() and text.isdigit() and len(text) <= wire.MAX_OFFSET_DIGITS else 0
        self.is_complete = response.headers.get(wire.UPLOAD_COMPLETE) == wire.TRUE
        self._at_bytes = offset if offset <= self._size_bytes else 0
        return True
