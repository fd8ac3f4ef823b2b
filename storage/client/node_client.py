"""One storage node's HTTP interface, from the outside (PROTOCOL section 6).

Every method raises `NodeUnreachable`, `NodeRefused` or `NodeLied`, each naming the node, and no other error, whatever
address the node registered and whatever it answers. All requests may be repeated without harm: TRIES times when the
connection fails, and for as long as the patience for one request lasts when the node, or a proxy before it, answers
that it cannot serve now (MAY_PASS, see `retrying`). A request whose bytes move is left alone; one that stalls is ended
(`progress`), and not repeated. Answers are cut off at their limit, redirections are not followed, and proxies that the
environment names are not used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from committee.addresses import NetworkAddress
from committee.errors import InvalidAddress
from storage.client import progress, retrying, wire
from storage.client.bodies import Bytes, LargeBody, TooLong, received
from storage.client.errors import NodeError, NodeLied, NodeRefused, NodeStalled, NodeUnreachable
from storage.client.failures import read_failure
from storage.client.link import Link, Transfer, at_once
from storage.client.progress import RequestProgress, TimeLimit
from storage.client.retrying import Patience, retry_after_s
from storage.redstuff import (
    Axis,
    BlobMetadata,
    InconsistencyProof,
    InvalidEncoding,
    MerkleProof,
    Parameters,
    SliverData,
    blob_id_text,
)
from storage.redstuff.parameters import MAX_SYMBOL_BYTES

HEALTH_TIMEOUT_S = 3.0
SMALL_JSON_BYTES = 2**14
"""Of health and signed messages, which take less than 2 KiB. In chunks of one byte each, a longer answer costs its
reader seconds of work, and members are asked for health each second."""
REFUSED_TO_STRANGERS = (451, 503)
"""What a member that shows itself may get all the same."""
_HEADERS = {"Accept-Encoding": "identity"}
_NEEDLESS = ("Accept", "User-Agent")
"""Headers not sent: next to small symbols they weigh."""


class NodeClient:
    """A client for the node `name` at `address`, over a session that stays the caller's."""

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
        self._session = session
        self._patience_s = patience_s
        self._credential = credential
        self._shows_credential = False
        self._link = link
        self.name = name
        self.address = address
        self._base, self._unusable = "", ""
        try:
            self._base = str(NetworkAddress.parse(address))
        except InvalidAddress as error:
            self._unusable = f"it cannot be addressed: {error}"

    # blobs

    async def metadata(self, blob_id: bytes, patience_s: float | None = None) -> BlobMetadata:
        """A blob's metadata, checked against the id."""
        path = _blob(blob_id, "metadata")
        body = await self._request("GET", path, limit=wire.MAX_METADATA_BYTES, patience_s=patience_s)
        with self._must_be_true():
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
    ) -> bytes:
        """A sliver's symbols, `size_bytes` at most. Not verified: that is the caller's, who has the metadata.

        `transfer` lets the caller see how the request gets on.
        """
        path = _blob(blob_id, "slivers", str(pair), axis.label)
        body = await self._get(path, size_bytes=size_bytes, transfer=transfer)
        with self._must_be_true():
            return bytes(SliverData.from_bcs(body).symbols)

    async def put_sliver(
        self, metadata: BlobMetadata, pair: int, axis: Axis, symbols: bytes | memoryview
    ) -> None:
        """Give the node one sliver of a pair."""
        shape = Parameters(metadata.n_shards)
        sliver = SliverData(symbols, shape.symbol_size(metadata.length), shape.sliver_of_pair(pair, axis))
        path = _blob(metadata.blob_id, "slivers", str(pair), axis.label)
        # The sliver is copied into a body when its turn comes: many wait.
        await self._put(path, sliver.to_bcs, len(symbols))

    async def confirmation(
        self, blob_id: bytes, object_id: int | None, registered_block: int | None = None
    ) -> tuple[bytes, bytes]:
        """(message, signature) by which the node confirms a permanent blob, or a deletable blob object.

        `registered_block` is as in `put_metadata`.
        """
        kind = ("permanent",) if object_id is None else ("deletable", str(object_id))
        return await self._signed(_blob(blob_id, "confirmation", *kind) + _registered(registered_block))

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
        with self._must_be_true():
            return wire.symbols_from_bcs(body)

    async def symbols_of_blobs(
        self,
        questions: Sequence[wire.Question],
        size_bytes: int = wire.MAX_SYMBOLS_BYTES,
        transfer: Transfer | None = None,
    ) -> list[wire.SymbolsOfBlob | NodeRefused]:
        """The same of several blobs, `size_bytes` at most together, and for each that the node refuses why."""
        body, limit = wire.questions_to_bcs(questions), size_bytes + len(questions) * wire.FRAME_BYTES
        answer = await self._request(
            *("POST", "/v1/decodingSymbols"), body=body, limit=limit, size_bytes=size_bytes, transfer=transfer
        )
        with self._must_be_true():
            answers = wire.answers_from_bcs(answer, len(questions))
        self._shows_credential |= any(
            isinstance(one, tuple) and one[0] in REFUSED_TO_STRANGERS for one in answers
        )
        return [self._refusal(*one) if isinstance(one, tuple) else one for one in answers]

    async def recovery_symbols(
        self, blob_id: bytes, axis: Axis, target: int, helper_shards: Sequence[int]
    ) -> dict[int, tuple[bytes, MerkleProof]]:
        """The node's symbols for the sliver `target` of `axis`, with proofs: helping sliver → (symbol, proof)."""
        query = {
            "targetSliver": str(target),
            "targetType": axis.label,
            "helperShards": wire.ranges(helper_shards),
        }
        size_bytes = len(helper_shards) * (MAX_SYMBOL_BYTES + wire.FRAME_BYTES)
        body = await self._get(_blob(blob_id, "recoverySymbols"), query, size_bytes=size_bytes)
        with self._must_be_true():
            proven = wire.proven_from_bcs(body)
            return {helper: (symbol, proof) for helper, named, symbol, proof in proven if named == target}

    async def inconsistency_proof(self, blob_id: bytes, proof: InconsistencyProof) -> tuple[bytes, bytes]:
        """(message, signature) by which the node, given the proof, finds the blob encoded inconsistently."""
        path = _blob(blob_id, "inconsistencyProof", proof.axis.label)
        body = await self._request("POST", path, body=proof.to_bcs(), limit=wire.MAX_JSON_BYTES)
        with self._must_be_true():
            return wire.read_signed(wire.read_success(wire.read_json(bytes(body))))

    async def blob_status(self, blob_id: bytes) -> Any:
        """The blob's status, as PROTOCOL section 6 has it."""
        return await self._json(_blob(blob_id, "status"))

    # shards and the node itself

    async def sync_shard(
        self,
        message: bytes,
        signature: bytes,
        size_bytes: int = wire.PAGE_BYTES,
        patience_s: float | None = None,
        transfer: Transfer | None = None,
    ) -> wire.ShardPage:
        """A page of a shard, of about `size_bytes`, for the signed request of its new owner."""
        body = json.dumps(wire.signed(message, signature)).encode()
        answer = await self._request(
            *("POST", "/v1/migrate/sync_shard"),
            body=body,
            limit=wire.MAX_PAGE_BYTES,
            size_bytes=size_bytes,
            patience_s=patience_s,
            transfer=transfer,
        )
        with self._must_be_true():
            return wire.ShardPage.from_bcs(answer)

    async def health(self, timeout_s: float = HEALTH_TIMEOUT_S) -> dict[str, Any]:
        """The node's health; asked once, so that silence is noticed."""
        data = await self._json("/v1/health", within_s=timeout_s, limit=SMALL_JSON_BYTES)
        with self._must_be_true():
            if not isinstance(data, dict):
                raise InvalidEncoding("health that is no object")
            return data

    async def metrics(self) -> str:
        """What the node tells Prometheus."""
        text = await self._request("GET", "/metrics", limit=wire.MAX_JSON_BYTES)
        return bytes(text).decode(errors="replace")

    async def handover(self) -> dict[str, Any]:
        """The node's report of its part of the last handover (`storage.node.handover.report.NodeReport`)."""
        data = await self._json("/v1/handover")
        with self._must_be_true():
            if not isinstance(data, dict):
                raise InvalidEncoding("a report that is no object")
            return data

    async def ejection(self, node_id: int) -> tuple[bytes, bytes]:
        """(message, signature) by which the node too finds a member silent."""
        return await self._signed(f"/v1/members/{node_id}/ejection")

    async def sign_of_life(self, nonce: bytes, timeout_s: float) -> tuple[bytes, bytes]:
        """(message, signature) over the nonce, by which the node is alive; asked for once."""
        return await self._signed(f"/v1/sign_of_life/{nonce.hex()}", timeout_s)

    async def members_sign_of_life(self, node_id: int, nonce: bytes, timeout_s: float) -> tuple[bytes, bytes]:
        """The same of another member, which the node asks for it. Not verified."""
        return await self._signed(f"/v1/members/{node_id}/sign_of_life/{nonce.hex()}", timeout_s)

    # how

    async def _signed(self, path: str, within_s: float | None = None) -> tuple[bytes, bytes]:
        data = await self._json(path, within_s, SMALL_JSON_BYTES)
        with self._must_be_true():
            return wire.read_signed(data)

    async def _json(self, path: str, within_s: float | None = None, limit: int = wire.MAX_JSON_BYTES) -> Any:
        """JSON of `limit` bytes; with `within_s` it is asked for once, and there is no more time than that."""
        body = await self._request("GET", path, limit=limit, within_s=within_s)
        with self._must_be_true():
            return wire.read_success(wire.read_json(bytes(body)))

    async def _get(
        self,
        path: str,
        query: dict[str, str] | None = None,
        *,
        size_bytes: int,
        transfer: Transfer | None = None,
    ) -> Bytes:
        """An answer of up to `size_bytes` and its frame."""
        limit = size_bytes + wire.FRAME_BYTES
        return await self._request(
            "GET", path, query=query, limit=limit, size_bytes=size_bytes, transfer=transfer
        )

    async def _put(self, path: str, body: Callable[[], bytes], size_bytes: int) -> None:
        await self._request("PUT", path, body=body, limit=wire.MAX_JSON_BYTES, size_bytes=size_bytes)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes | Callable[[], bytes] | None = None,
        limit: int,
        size_bytes: int = 0,
        patience_s: float | None = None,
        within_s: float | None = None,
        transfer: Transfer | None = None,
    ) -> Bytes:
        """One request, tried again while the node cannot be reached or is unavailable.

        `body` is made when the request's turn comes. An answer is cut off at `limit`; `size_bytes` is what the link
        is to carry, about. With `within_s` there is one try, which may take no longer.
        """
        if self._unusable:
            raise NodeUnreachable(self.name, self.address, self._unusable)
        transfer = Transfer() if transfer is None else transfer
        transfer.size_bytes, transfer.peer = size_bytes, self
        patience_s = within_s or patience_s or self._patience_s or progress.PATIENCE_S
        async with at_once(transfer) if self._link is None else self._link.turn(transfer):
            content = body() if callable(body) else body

            def begin() -> RequestProgress:
                payload = None if content is None else LargeBody(content, wire.BCS)
                moving = RequestProgress(payload, patience_s, within_s)
                transfer.moved = moving.moved_bytes
                return moving

            tries = Patience(patience_s, retrying.MOST_TRIES if within_s is None else 1)
            while True:
                try:
                    return await self._once(method, path, query, limit, begin)
                except NodeError as error:
                    pause_s = tries.pause_s(error)
                    if pause_s is None:
                        raise
                await retrying.pause(pause_s)

    async def _once(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        limit: int,
        begin: Callable[[], RequestProgress],
    ) -> Bytes:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=progress.CONNECT_S)
        is_stranger = self._credential is not None and not self._shows_credential
        moving, is_over = begin(), False
        try:
            async with (
                TimeLimit(moving.due_s),
                self._session.request(
                    method,
                    self._base + path,
                    params=query,
                    data=moving.body,
                    headers=self._headers(),
                    skip_auto_headers=_NEEDLESS,
                    timeout=timeout,
                    allow_redirects=False,
                ) as response,
            ):
                moving.has_answer = True
                if response.status in (200, 201):
                    answer = await self._read(response, limit, moving)
                    is_over = True
                    return answer
                self._shows_credential |= response.status in REFUSED_TO_STRANGERS
                content = await self._read(response, wire.MAX_JSON_BYTES, moving)
                is_over = True
        except aiohttp.ConnectionTimeoutError:
            raise NodeUnreachable(
                self.name, self.address, f"no connection within {progress.CONNECT_S:g} s"
            ) from None
        except TimeoutError:
            raise NodeStalled(self.name, self.address, moving.describe()) from None
        except aiohttp.ClientResponseError as error:
            raise NodeLied(self.name, self.address, "its answer is not HTTP") from error
        except NodeError:
            raise
        except (
            Exception
        ) as error:  # of aiohttp and what it is built on: their lists of errors are not complete
            raise NodeUnreachable(self.name, self.address, str(error) or type(error).__name__) from error
        finally:
            if not is_over and moving.body is not None:
                moving.body.drop()
        if response.status == 451 and is_stranger:
            return await self._once(method, path, query, limit, begin)
        raise self._refusal(response.status, content, retry_after_s(response.headers.get("Retry-After", "")))

    def _headers(self) -> dict[str, str]:
        if self._credential is None or not self._shows_credential:
            return _HEADERS
        return _HEADERS | {"Authorization": self._credential()}

    async def _read(self, response: aiohttp.ClientResponse, limit: int, moving: RequestProgress) -> Bytes:
        """The answer; one that is too long is not read to its end."""
        try:
            return await received(response, limit, moving.arrived)
        except TooLong:
            raise NodeLied(self.name, self.address, f"answered with more than {limit} bytes") from None

    def _refusal(self, status: int, content: Bytes, retry_after_s: float | None = None) -> NodeRefused:
        try:
            reason, message = read_failure(wire.read_json(bytes(content)))
        except InvalidEncoding:
            reason, message = None, "an error that is no JSON"
        return NodeRefused(self.name, self.address, status, reason, message, retry_after_s)

    def _must_be_true(self) -> _MustBeTrue:
        return _MustBeTrue(self.name, self.address)


class _MustBeTrue:
    """Turns an answer that cannot be read, whatever its reader stumbles over, into `NodeLied`."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            raise NodeLied(self._name, self._address, f"its answer cannot be read: {error}") from error


def _blob(blob_id: bytes, *parts: str) -> str:
    return "/".join(("/v1/blobs", blob_id_text(blob_id), *parts))


def _registered(block: int | None) -> str:
    return "" if block is None else f"?registeredInBlock={block}"
