"""Clients that ask for symbols without end and read them slowly, strangers or one member's, stop no repair.

The member that repairs comes from one of their addresses, so that only its credential tells it from them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from storage.client import wire
from storage.node.credentials import Credentials
from storage.redstuff import Axis
from tests.storage.network import Network
from tests.storage.node.handovers import BLOBS

MEMORY_BYTES = 2**20
"""What a node lends peers here; each answer to a slow reader takes more."""
BUFFER_BYTES = 2**14
READ_BYTES, READ_EVERY_S = 2**12, 0.2
REPAIRED_WITHIN_S = 25.0
"""A slow reader keeps its memory for 5 s at least; ten of them before the member would take 50 s."""


async def read_slowly(port: int, local: str, header: str) -> None:
    """Ask a node for megabytes of symbols and read them at 20 kB a second; when cut off, again."""
    loop = asyncio.get_running_loop()
    body = wire.Question(Axis.PRIMARY, range(10), range(10), [BLOBS[-1].blob_id] * 64).to_bcs()
    head = f"POST /v1/decodingSymbols HTTP/1.1\r\nHost: node\r\n{header}Content-Length: {len(body)}\r\n\r\n"
    while True:
        with socket.socket() as connection, suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            connection.setblocking(False)
            connection.bind((local, 0))
            await loop.sock_connect(connection, ("127.0.0.1", port))
            await loop.sock_sendall(connection, head.encode() + body)
            while await loop.sock_recv(connection, READ_BYTES):  # noqa: ASYNC110 - the pace is the point
                await asyncio.sleep(READ_EVERY_S)
        await asyncio.sleep(READ_EVERY_S)


def credential(network: Network, member_id: int, asked_id: int) -> str:
    """The header by which a member shows itself to another."""
    node = network.running[member_id]
    return f"Authorization: {Credentials(node.view, node.secret).header_for(asked_id)}\r\n"


@asynccontextmanager
async def slow_readers(
    network: Network, node_ids: Sequence[int], locals_: Sequence[str], member_id: int | None
) -> AsyncIterator[None]:
    """A slow reader of each node from each address, which have what memory they can when the block begins."""
    readers = []
    for node_id in node_ids:
        port = int(network.chain.nodes[node_id].address.rpartition(":")[2])
        header = "" if member_id is None else credential(network, member_id, node_id)
        readers += [asyncio.create_task(read_slowly(port, local, header)) for local in locals_]
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        for one in readers:
            one.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


@pytest.mark.parametrize(
    ("addresses", "member_id"),
    [
        (["127.0.0.1"] * 10, None),
        ([f"127.0.0.{number}" for number in range(1, 51)], None),
        (["127.0.0.1"] * 10, 3),
    ],
    ids=["ten from one address", "fifty from as many", "ten of one member"],
)
async def test_slow_readers_of_symbols_stop_no_repair(
    network: Network, addresses: list[str], member_id: int | None
) -> None:
    await network.stop(1, 2, 3, 4)
    await network.start(1, 2, 3, 4, bulk_memory_bytes=MEMORY_BYTES)
    for blob in BLOBS:
        await network.upload(blob)
    await network.stop(4)
    network.wipe(4)
    async with slow_readers(network, (1, 2, 3), addresses, member_id):
        await network.start(4)
        async with asyncio.timeout(REPAIRED_WITHIN_S):
            await network.until(lambda: all(network.is_complete(4, blob) for blob in BLOBS))
