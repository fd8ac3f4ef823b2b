"""Serves the interface of a chain over gRPC on this machine, without TLS."""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import betterproto2
import pysui.sui.sui_grpc.suimsgs.sui.rpc.v2 as v2
import structlog
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream

from localnet.sui_double.chain import Chain
from localnet.sui_double.errors import ChainRefusal, ObjectConflict
from localnet.sui_double.move.errors import MoveError
from localnet.sui_double.rpc.faults import Faults
from localnet.sui_double.rpc.service import Service

HOST = "127.0.0.1"
METHODS = {
    "LedgerService": (
        "GetServiceInfo",
        "GetEpoch",
        "GetObject",
        "BatchGetObjects",
        "GetTransaction",
        "GetCheckpoint",
    ),
    "StateService": ("ListOwnedObjects", "ListDynamicFields"),
    "MovePackageService": ("GetFunction",),
    "TransactionExecutionService": ("SimulateTransaction", "ExecuteTransaction"),
    "SubscriptionService": ("SubscribeCheckpoints",),
}
"""The services of `sui.rpc.v2` and their methods that the double has; their others are answered with UNIMPLEMENTED."""
STREAMS = frozenset({"SubscribeCheckpoints"})

_log = structlog.get_logger()

_Stream = Stream[Any, Any]


class _Server(Server):
    """A server that can end its clients' connections: grpclib's own leaves them open when it closes."""

    def __init__(self, handlers: list[Any]) -> None:
        super().__init__(handlers)
        self._protocols: weakref.WeakSet[H2Protocol] = weakref.WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        self._protocols.add(protocol)
        return protocol

    def disconnect(self) -> None:
        """End all connections."""
        for protocol in list(self._protocols):
            if hasattr(protocol, "connection"):
                protocol.connection.close()


class SuiDouble:
    """A chain and its interface. An async context manager that serves in between."""

    def __init__(self, chain: Chain | None = None, port: int = 0) -> None:
        """Nothing is served yet; port 0 stands for any free one. Raises `NoFramework`."""
        self.chain = chain or Chain()
        self.faults = Faults()
        self.port = port
        self._service = Service(self.chain, self.faults)
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Return the address of the interface. Known once it serves."""
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port is in use."""
        listening = _listening(self.port)
        self.port = listening.getsockname()[1]
        self._server = _Server([self])
        await self._server.start(sock=listening)
        _log.info("the Sui double serves: it is a double, and no Sui node", url=self.url)

    async def stop(self) -> None:
        """End all streams and connections, and stop listening."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()
            server.disconnect()

    async def notify(self) -> None:
        """Tell open streams that the chain or the faults were changed from outside of the interface."""
        await self._service.notify()

    async def wait_for_streams(self, count: int) -> None:
        """Return when as many subscriptions are open: later checkpoints will be told on each."""
        await self._service.wait_for_streams(count)

    async def __aenter__(self) -> SuiDouble:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __mapping__(self) -> dict[str, Handler]:
        """Return the handler of each method by its path: what a grpclib server asks of a service."""
        handlers: dict[str, Handler] = {}
        for service, methods in METHODS.items():
            stub = getattr(v2, f"{service}Stub")
            for name in (name for name in vars(stub) if not name.startswith("_")):
                method = "".join(part.capitalize() for part in name.split("_"))
                handler = self._handler(method) if method in methods else _MISSING
                handlers[f"/sui.rpc.v2.{service}/{method}"] = handler
        return handlers

    def _handler(self, method: str) -> Handler:
        request: type[betterproto2.Message] = getattr(v2, f"{method}Request")
        response: type[betterproto2.Message] = getattr(v2, f"{method}Response")
        answer = getattr(self._service, _snake_case(method))
        if method in STREAMS:
            return Handler(self._stream(answer), Cardinality.UNARY_STREAM, request, response)
        return Handler(self._unary(answer), Cardinality.UNARY_UNARY, request, response)

    def _unary(self, answer: Callable[[Any], Awaitable[Any]]) -> Callable[[_Stream], Awaitable[None]]:
        async def handle(stream: _Stream) -> None:
            request = await stream.recv_message()
            await self._check_up()
            try:
                message = await answer(request)
            except (ChainRefusal, MoveError) as error:
                raise _grpc_error(error) from None
            await stream.send_message(message)

        return handle

    def _stream(self, answer: Callable[[Any], Any]) -> Callable[[_Stream], Awaitable[None]]:
        async def handle(stream: _Stream) -> None:
            request = await stream.recv_message()
            await self._check_up()
            await stream.send_initial_metadata()
            try:
                async for message in answer(request):
                    await stream.send_message(message)
            except (ChainRefusal, MoveError) as error:
                raise _grpc_error(error) from None

        return handle

    async def _check_up(self) -> None:
        if self.faults.is_silent:
            await asyncio.Event().wait()  # until the client gives up, or the server stops
        if self.faults.is_down:
            raise GRPCError(Status.UNAVAILABLE, "the node is down, as the test wants it")
        if self.faults.busy_answers:
            self.faults.busy_answers -= 1
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "the node is asked too often, as the test wants it")


def _listening(port: int) -> socket.socket:
    """Return a socket that listens. Raises `OSError` when the port is in use.

    The protocol is named, as `socket.create_server` does not: without it asyncio leaves Nagle's algorithm on for the
    connections, and each answer waits 40 ms for the client's acknowledgement.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except BaseException:
        listening.close()
        raise
    return listening


async def _refuse(_: _Stream) -> None:
    raise GRPCError(Status.UNIMPLEMENTED, "the double does not have this method")


_MISSING = Handler(_refuse, Cardinality.UNARY_UNARY, betterproto2.Message, betterproto2.Message)


def _grpc_error(error: ChainRefusal | MoveError) -> GRPCError:
    if isinstance(error, ObjectConflict):
        return GRPCError(Status.FAILED_PRECONDITION, str(error))
    if isinstance(error, ChainRefusal):
        return GRPCError(Status.INVALID_ARGUMENT, str(error))
    return GRPCError(Status.INTERNAL, f"the double cannot execute this: {error}")


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
