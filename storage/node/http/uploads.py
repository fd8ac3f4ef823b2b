"""Unfinished uploads of slivers: what came before they broke off is kept (PROTOCOL section 6, "Interrupted uploads").

What has arrived of a sliver whose upload breaks off is kept in memory for the requester that sent it, so that it may
send the rest. That is done only for slivers of registered blobs that this node has to store and does not have yet.
Together they take LIMIT_BYTES at most; a requester may hold at most as much as would then still be free. Each is
dropped after KEPT_S in which nothing was added.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter

from aiohttp import web

from committee.connections import media_type
from storage.client import wire
from storage.client.failures import Reason
from storage.client.progress import LEAST_BYTES
from storage.node.budgets import Requester
from storage.node.face import Refusal
from storage.node.http.transfer import IncomingBody
from storage.redstuff import Axis

LIMIT_BYTES = 64 * 2**20
KEPT_S = 600.0
QUIET_S = 5.0
"""A request under way gives way to the next one for the same upload once nothing has come for so long, as its
connection may be gone for the client alone. One that moves does not: others behind its address cannot end it."""
ENTRY_BYTES = 1024
"""What a part takes beside its bytes. As each has LEAST_BYTES, their number is limited too."""

STATE = web.RequestKey("state of the upload", dict[str, str])
"""Headers that the answer has to have, whatever it is."""
Key = tuple[Requester, bytes, int, Axis]
"""The requester, and the sliver's blob id, shard and axis."""


@dataclass(eq=False)
class Upload:
    """One sliver on its way from one requester."""

    key: Key
    size_bytes: int
    """Bytes of the whole body."""
    content: bytearray = field(default_factory=bytearray)
    """The part of the body that is kept."""
    body: IncomingBody | None = None
    """The body that arrives, whose bytes are to be added; None while none does."""
    transport: asyncio.Transport | None = None
    """The connection on which it arrives."""
    until_s: float = 0.0
    """Loop time at which what is kept is dropped."""
    timer: asyncio.TimerHandle | None = None

    @property
    def offset(self) -> int:
        """Bytes kept."""
        return len(self.content)

    @property
    def is_moving(self) -> bool:
        """Whether a body arrives: its last bytes came less than QUIET_S ago, or wait for this node to read them."""
        if self.body is None:
            return False
        return not self.body.is_read or asyncio.get_running_loop().time() - self.body.came_s < QUIET_S


class Uploads:
    """The uploads under way to one node, and what is kept of those that broke off. For the event loop's thread."""

    def __init__(self) -> None:
        self._uploads: dict[Key, Upload] = {}
        self._held: Counter[Requester] = Counter()

    def begin(self, key: Key, size_bytes: int) -> Upload | None:
        """Return a new upload of a sliver from its first byte; what was kept of an earlier one is dropped.

        None while the same sliver still arrives from the requester: then nothing is kept of this one.
        """
        earlier = self._uploads.get(key)
        if earlier is not None:
            if earlier.is_moving:
                return None
            self._interrupt(earlier)
            self._forget(earlier)
        upload = self._uploads[key] = Upload(key, size_bytes)
        return upload

    def interrupted(self, key: Key) -> Upload | None:
        """Return the upload of which a part is kept; None if there is none.

        A request of it that is still under way ends; raises `Refusal` while its bytes still come.
        """
        upload = self._uploads.get(key)
        if upload is not None:
            if upload.is_moving:
                raise Refusal(
                    503, Reason.UNAVAILABLE, "this upload is still under way; ask again in some seconds"
                )
            self._interrupt(upload)
        return upload if upload is not None and upload.content else None

    @contextmanager
    def receiving(
        self, upload: Upload, body: IncomingBody, transport: asyncio.Transport | None
    ) -> Iterator[None]:
        """Keep what has arrived of `body` if the block fails; forget the upload when it does not: all is there."""
        upload.body, upload.transport = body, transport
        if upload.timer is not None:
            upload.timer.cancel()
        try:
            yield
        except BaseException:
            if upload.body is body:
                self._stop(upload)
            raise
        if upload.body is not body:
            raise Refusal(503, Reason.UNAVAILABLE, "another request goes on with this upload")
        self._forget(upload)

    def close(self) -> None:
        """Drop what is kept. Idempotent."""
        for upload in list(self._uploads.values()):
            self._forget(upload)

    def _interrupt(self, upload: Upload) -> None:
        transport = upload.transport
        self._stop(upload)
        if transport is not None:
            transport.abort()

    def _stop(self, upload: Upload) -> None:
        """Add what has arrived of the body under way, if there is one and room for it."""
        body, upload.body, upload.transport = upload.body, None, None
        if body is None or self._uploads.get(upload.key) is not upload:
            return
        requester, now_s = upload.key[0], asyncio.get_running_loop().time()
        arrived = body.content()
        if upload.offset + len(arrived) >= LEAST_BYTES:
            size_bytes = len(arrived) + (0 if upload.content else ENTRY_BYTES)
            if arrived and self._has_room(requester, size_bytes):
                if not upload.content or len(arrived) >= LEAST_BYTES:
                    upload.until_s = now_s + KEPT_S
                self._held[requester] += size_bytes
                upload.content += arrived
        if upload.content:
            upload.timer = asyncio.get_running_loop().call_at(upload.until_s, self._forget, upload)
        else:
            self._forget(upload)

    def _has_room(self, requester: Requester, size_bytes: int) -> bool:
        """Return whether `size_bytes` more may be kept for a requester, which then holds no more than is still free.

        To make room, the parts of the requester that holds most are dropped, if it holds more than this one will: those
        to which nothing is being added, the oldest first.
        """
        while self._held[requester] + size_bytes > LIMIT_BYTES - self._held.total() - size_bytes:
            most, held_bytes = max(self._held.items(), key=itemgetter(1), default=(requester, 0))
            if held_bytes <= self._held[requester] + size_bytes:
                return False
            idle = [
                one
                for one in self._uploads.values()
                if one.key[0] == most and one.content and one.body is None
            ]
            if not idle:
                return False
            self._forget(min(idle, key=lambda one: one.until_s))
        return True

    def _forget(self, upload: Upload) -> None:
        """Drop an upload. Idempotent."""
        if self._uploads.get(upload.key) is not upload:
            return
        del self._uploads[upload.key]
        if upload.timer is not None:
            upload.timer.cancel()
        if upload.content:
            self._held -= Counter({upload.key[0]: upload.offset + ENTRY_BYTES})


def may_break(request: web.Request, size_bytes: int) -> bool:
    """Return whether the request is a whole sliver of that size that may be gone on with. Raises `Refusal`."""
    if request.headers.get(wire.UPLOAD_COMPLETE) == wire.FALSE:
        raise Refusal(
            400, Reason.INVALID_REQUEST, "a sliver in parts: send it whole, with Upload-Complete: ?1"
        )
    is_asked_for = request.headers.get(wire.UPLOAD_COMPLETE) == wire.TRUE
    return is_asked_for and request.content_length == size_bytes >= wire.LEAST_RESUMED_BYTES


def require_rest(request: web.Request, upload: Upload) -> None:
    """Refuse a request that does not bring all the rest of an upload, from where it stopped."""
    if media_type(request.headers) != wire.PARTIAL_UPLOAD:
        raise Refusal(
            415, Reason.INVALID_REQUEST, f"the rest of an upload must be sent as {wire.PARTIAL_UPLOAD}"
        )
    if request.headers.get(wire.UPLOAD_COMPLETE) != wire.TRUE:
        raise Refusal(
            400, Reason.INVALID_REQUEST, "a part of the rest: send all of it, with Upload-Complete: ?1"
        )
    if request.headers.get(wire.UPLOAD_OFFSET) != str(upload.offset):
        request[STATE] = {wire.UPLOAD_OFFSET: str(upload.offset)}
        raise Refusal(409, Reason.INVALID_REQUEST, f"the upload goes on at byte {upload.offset}")
    if request.content_length != upload.size_bytes - upload.offset:
        raise Refusal(
            *(400, Reason.INVALID_REQUEST),
            f"the rest has {upload.size_bytes - upload.offset} bytes, of {upload.size_bytes} in all",
        )


def state_headers(offset: int, size_bytes: int, upload: Upload | None) -> dict[str, str]:
    """Return the headers that tell how far an upload is; without an upload it is complete."""
    headers = {wire.UPLOAD_OFFSET: str(offset), wire.UPLOAD_LENGTH: str(size_bytes)}
    if upload is None:
        return headers | {wire.UPLOAD_COMPLETE: wire.TRUE}
    left_s = max(0.0, upload.until_s - asyncio.get_running_loop().time())
    return headers | {wire.UPLOAD_COMPLETE: wire.FALSE, wire.UPLOAD_LIMIT: f"max-age={int(left_s)}"}


async def tell_state(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of STATE."""
    response.headers.update(request.get(STATE, {}))
