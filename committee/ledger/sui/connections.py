"""One gRPC endpoint: a connection with or without TLS, as its URL says, and answers limited in time and size."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

from multidict import MultiDict

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.health import EndpointFault, EndpointHealth
from committee.ledger.providers import Provider
from committee.ledger.sui.methods import Answer, Method, Request
from committee.ledger.sui.wire import Cardinality, Channel, GRPCError, ProtoCodec, Status, Stream

PORTS = {"http": 80, "https": 443}
ANSWER_LIMIT_BYTES = 8 << 20
"""Size limit of one answer, if the caller names no other."""
HEADER_BYTES = 5
"""What precedes a message in gRPC: whether it is compressed, and its length."""
REFUSALS = (
    Status.NOT_FOUND,
    Status.INVALID_ARGUMENT,
    Status.FAILED_PRECONDITION,
    Status.OUT_OF_RANGE,
    Status.ABORTED,
    Status.ALREADY_EXISTS,
)
"""What an endpoint answers that is well itself; with any other status but OK it is at fault."""

_Headers: TypeAlias = list[tuple[str, str]]


class CallRefused(LedgerUnavailable):
    """An endpoint that is well did not serve a request. `status` is why; another endpoint may serve it."""

    def __init__(self, message: str, status: Status) -> None:
        self.status = status
        super().__init__(message)

    @property
    def is_not_found(self) -> bool:
        """Whether the endpoint does not have what was asked for: it does not exist, or not any more, or not yet."""
        return self.status is Status.NOT_FOUND


class AnswerTooLarge(LedgerUnavailable):
    """An answer exceeds its limit; a request for less may be served."""


class _LimitedStream(Stream[Any, Any]):
    """A call whose answers may have `limit_bytes` each. grpclib itself reads as much as the other end announces."""

    def __init__(
        self,
        channel: Channel,
        method: Method[Any, Any],
        cardinality: Cardinality,
        headers: _Headers,
        limit_bytes: int,
    ) -> None:
        super().__init__(
            channel,
            method.path,
            cast(Any, MultiDict(headers)),  # the type that grpclib names is its own
            cardinality,
            method.request,
            method.answer,
            codec=ProtoCodec(),
            status_details_codec=None,
            dispatch=channel.__dispatch__,
        )
        self._limit_bytes = limit_bytes

    async def recv_message(self) -> Any:
        """Return the next answer, None behind the last one. Raises `AnswerTooLarge` before it is read."""
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        with self._wrapper:
            header = await self._stream.recv_data(HEADER_BYTES)
            if not header:
                return None
            if header[0]:
                raise ValueError("it is compressed, which was not asked for")
            size = int.from_bytes(header[1:], "big")
            if size > self._limit_bytes:
                raise AnswerTooLarge(f"{size} bytes, and {self._limit_bytes} are the most")
            content = await self._stream.recv_data(size)
            if len(content) != size:
                raise ValueError("it ends before its end")
            return self._codec.decode(content, self._recv_type)


class Endpoint(EndpointHealth):
    """One URL, with its health and its connection, which is opened when it is first used."""

    def __init__(self, provider: Provider) -> None:
        """Raises `LedgerError` for a URL with more than scheme, host and port: gRPC has no place for it."""
        super().__init__(provider.url, provider.headers)
        parts = urlsplit(provider.url)
        if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise LedgerError(
                f"the endpoint {self} of the chain has more in its URL than scheme, host and port: gRPC knows no "
                "more; a provider's key belongs into a header (HAULOUT_RPC_HEADERS)"
            )
        self._host, self._port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        self._has_tls = parts.scheme == "https"
        self._headers = [(name.lower(), value) for name, value in provider.headers.items()]
        self._channel: Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that the channel belongs to."""

    async def call(
        self,
        method: Method[Request, Answer],
        request: Request,
        limit_s: float,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> Answer:
        """Return the answer to a request. Raises `CallRefused`, `AnswerTooLarge`, else `EndpointFault`."""
        try:
            async with (
                asyncio.timeout(limit_s),
                self._begun(method, Cardinality.UNARY_UNARY, limit_bytes) as stream,
            ):
                await stream.send_message(request, end=True)
                answer = await stream.recv_message()
        except TimeoutError:
            self._disconnect()
            raise EndpointFault(f"{self} did not answer {method.name} within {limit_s:.2g} s") from None
        except Exception as error:
            raise self._failure(method.name, error) from None
        if answer is None:
            raise EndpointFault(f"{self} ended {method.name} without an answer")
        found: Answer = answer
        return found

    async def stream(
        self, method: Method[Request, Answer], request: Request, limit_bytes: int, silence_s: float
    ) -> AsyncGenerator[Answer, None]:
        """Yield the answers of a method that gives many, until the endpoint ends it. Raises as `call`.

        An endpoint that gives none for `silence_s` is at fault.
        """
        try:
            async with self._begun(method, Cardinality.UNARY_STREAM, limit_bytes) as stream:
                async with asyncio.timeout(silence_s):
                    await stream.send_message(request, end=True)
                while True:
                    async with asyncio.timeout(silence_s):
                        answer = await stream.recv_message()
                    if answer is None:
                        return
                    yield answer
        except TimeoutError:
            self._disconnect()
            raise EndpointFault(
                f"{self} gave nothing more for {method.name} within {silence_s:.2g} s"
            ) from None
        except LedgerError:
            raise
        except Exception as error:
            raise self._failure(method.name, error) from None

    def close(self) -> None:
        """Close the connection; another call opens a new one."""
        self._disconnect()

    def _begun(
        self, method: Method[Request, Answer], cardinality: Cardinality, limit_bytes: int
    ) -> _LimitedStream:
        loop = asyncio.get_running_loop()
        if self._channel is None:
            self._loop = loop
            self._channel = Channel(self._host, self._port, ssl=_tls() if self._has_tls else None)
        if self._loop is not loop:
            raise RuntimeError(
                f"{method.name}: this connection to {self} belongs to another event loop: connect anew in each "
                "asyncio.run()"
            )
        return _LimitedStream(self._channel, method, cardinality, self._headers, limit_bytes)

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _failure(self, what: str, error: Exception) -> LedgerUnavailable:
        """Return the error of a call that failed. Its words are the endpoint's, but for its secrets."""
        if isinstance(error, GRPCError):
            told = f"{self} answered {what} with {error.status.name}: {self.quote(error.message or 'no message')}"
            if error.status in REFUSALS:
                return CallRefused(told, error.status)
            return EndpointFault(told, is_busy=error.status is Status.RESOURCE_EXHAUSTED)
        if isinstance(error, AnswerTooLarge):
            return AnswerTooLarge(f"{self} answered {what} with {error}")
        self._disconnect()
        if isinstance(error, ssl.SSLError):
            return EndpointFault(f"{what}: no connection to the chain at {self}: TLS failed: {error.reason}")
        if isinstance(error, OSError):
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else type(error).__name__
            return EndpointFault(f"{what}: no connection to the chain at {self}: {why}")
        return EndpointFault(
            f"{self} answered {what} with something that cannot be read ({type(error).__name__})"
        )


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    return context
