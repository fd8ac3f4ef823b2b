"""What a client needs in memory to store and to read a large blob, in a process of its own.

The members are played by this process, over HTTP: they keep what they are given, and confirm it. The client's process
is real. It tells by how much its memory has grown at its highest, the blob itself not counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from committee import messages
from committee.bls import SecretKey
from committee.ledger import Parameters
from localnet.ports import free_port
from storage.client import wire
from storage.client.client import Client
from storage.client.files import content_of
from storage.redstuff import Axis, RedStuff, blob_id_text, parse_blob_id
from storage.redstuff.memory import HUGE_PAGE
from tests.memory_chain import WRITER, MemoryChain

MEMBERS = 4
DOMAIN = bytes(range(32))
MIB = 2**20
WAYS = ("bytes", "file", "read")
CLIENT_SHARDS = 100
BYTES_A_BLOB = 128
LARGEST_BYTES = 10**6 * BYTES_A_BLOB
LEAST_BYTES = MIB
"""Less is told as this: it is within what the process took for its first, small blob."""
STORED = f"client: memory beyond one blob of {BYTES_A_BLOB} bytes times the number, stored"
READ = f"client: memory beyond one blob of {BYTES_A_BLOB} bytes times the number, read"
BESIDES_BYTES = 64 * MIB
"""Memory that a blob of any size may take: pieces and answers under way, the chain, 32 bytes for each symbol."""
MOST_SLIVERS = 8
"""Primary slivers' worth of memory that storing or reading may take beyond the blob and BESIDES_BYTES."""


@dataclass(frozen=True)
class Peak:
    """One blob, stored or read."""

    beyond_bytes: int
    """The highest memory of the process beyond what it had before, and the blob."""
    seconds: float
    blob_id: bytes
    digest: str
    """SHA-256 of the content."""


def most_beyond(n_shards: int, size_bytes: int) -> int:
    """Return the memory that a client may take beyond a blob."""
    return MOST_SLIVERS * RedStuff(n_shards).sliver_size(size_bytes, Axis.PRIMARY) + BESIDES_BYTES


def _secret(number: int) -> SecretKey:
    return SecretKey(0xFEED + number)


def _chain(n_shards: int, ports: list[int]) -> MemoryChain:
    """Return a chain in its first epoch whose members listen at these ports; the same in each process."""
    chain = MemoryChain(Parameters(n_shards, 3600, 600, 60, 500, DOMAIN))
    for number, port in enumerate(ports, 1):
        chain.add_node(f"node-{number}", f"http://127.0.0.1:{port}", _secret(number).public_key)
    chain.start(
        {number: tuple(range(number - 1, n_shards, len(ports))) for number in range(1, len(ports) + 1)}
    )
    return chain


class Members:
    """Members that keep metadata and primary slivers, and check nothing."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}
        self.received_bytes = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[list[int]]:
        """Serve; yields the members' ports."""
        ports, runners = [free_port() for _ in range(MEMBERS)], []
        for number, port in enumerate(ports, 1):
            application = web.Application(client_max_size=2**30)
            application.router.add_route("PUT", "/v1/blobs/{id}/{what:.*}", self._put)
            confirm = partial(self._confirm, _secret(number))
            application.router.add_route("GET", "/v1/blobs/{id}/confirmation/permanent", confirm)
            application.router.add_route("GET", "/v1/blobs/{id}/{what:.*}", self._get)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            runners.append(runner)
        try:
            yield ports
        finally:
            for runner in runners:
                await runner.cleanup()

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.received_bytes += len(body)
        if not request.path.endswith("secondary"):
            self._bodies[request.path] = body
        return web.json_response(wire.success("stored"))

    async def _get(self, request: web.Request) -> web.Response:
        body = self._bodies[request.path]
        if request.path.endswith("metadata"):
            body = parse_blob_id(request.match_info["id"]) + body
        return web.Response(body=body, content_type=wire.BCS)

    async def _confirm(self, secret: SecretKey, request: web.Request) -> web.Response:
        body = messages.blob_body(parse_blob_id(request.match_info["id"]), None)
        message = messages.encode(messages.Intent.BLOB, 1, body, DOMAIN)
        signature = await asyncio.to_thread(secret.sign, message)
        return web.json_response(wire.success(wire.signed(message, signature)))


async def peaks(n_shards: int, size_bytes: int, ways: tuple[str, ...] = WAYS) -> Mapping[str, Peak]:
    """Store a blob from memory and from a file, and read it; each in a process of its own."""
    found: dict[str, Peak] = {}
    members = Members()
    with tempfile.TemporaryDirectory(prefix="client-memory-") as folder:
        path = Path(folder) / "blob"
        path.write_bytes(os.urandom(size_bytes))
        async with members.serving() as ports:
            for way in ways:
                blob_id = blob_id_text(found["file"].blob_id) if way == "read" else ""
                arguments = (way, str(n_shards), str(path), blob_id, *map(str, ports))
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "benchmarks.client_memory", *arguments),
                    stdout=asyncio.subprocess.PIPE,
                )
                output, _ = await process.communicate()
                if process.returncode:
                    raise RuntimeError(f"the client that was to {way} ended with {process.returncode}")
                told = json.loads(output)
                found[way] = Peak(told["beyond"], told["seconds"], bytes.fromhex(told["id"]), told["digest"])
    return found


async def client(n_blobs: int, folder: Path) -> Mapping[str, float]:
    """Store and read one blob that grows with the number of blobs."""
    found = await peaks(CLIENT_SHARDS, min(LARGEST_BYTES, BYTES_A_BLOB * n_blobs), ("file", "read"))
    return {
        STORED: max(LEAST_BYTES, found["file"].beyond_bytes) / MIB,
        READ: max(LEAST_BYTES, found["read"].beyond_bytes) / MIB,
    }


def _highest_bytes() -> int:
    """Return the most memory that the process had; `ru_maxrss` would count its parent's too, of before the exec."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def _client(way: str, n_shards: int, path: Path, blob_id: str, ports: list[int]) -> dict[str, Any]:
    """Run one client; `path` holds the blob's content, of which a reader uses the size alone."""
    size_bytes = path.stat().st_size  # noqa: ASYNC240
    chain = _chain(n_shards, ports)
    async with Client(chain.ledger(WRITER)) as client:
        await client.store(b"warm", 1)
        _warm(n_shards)
        before_bytes, began_s = _highest_bytes(), time.perf_counter()
        if way == "read":
            found, data = parse_blob_id(blob_id), await client.read(parse_blob_id(blob_id))
        else:
            if way == "file":
                data = await content_of(path, lambda size: None)
            else:
                data = bytearray(size_bytes)
                with path.open("rb") as file:
                    file.readinto(data)
            found = (await client.store(data, 1)).blob_id
        seconds = time.perf_counter() - began_s
        beyond = _highest_bytes() - before_bytes - size_bytes
    digest = hashlib.sha256(data).hexdigest()
    return {"beyond": beyond, "seconds": seconds, "id": found.hex(), "digest": digest}


def _warm(n_shards: int) -> None:
    """Use each part of the grid's code once."""
    code, data = RedStuff(n_shards), bytes(2 * HUGE_PAGE)
    blob = code.encode_large(data)
    decoding = code.decoding(blob.metadata)
    for index in range(code.f, code.f + code.p):
        pieces = [make() for make in blob.sliver(Axis.PRIMARY, index).pieces(2**18)]
        sliver = b"".join(pieces)
        code.verify_sliver(blob.metadata, Axis.PRIMARY, index, sliver)
        decoding.add(index, sliver)
    assert decoding.blob() == data


def main() -> None:
    """Run as the client's process."""
    way, n_shards, path, blob_id, *ports = sys.argv[1:]
    told = asyncio.run(_client(way, int(n_shards), Path(path), blob_id, list(map(int, ports))))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
