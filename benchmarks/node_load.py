"""Load on one node from a process of its own: `python -m benchmarks.node_load KIND PORT SECONDS BLOB_ID PAIR`.

KIND is one of ATTACKS. The blob's primary sliver of the pair must be the node's. Prints `ready` when all connections of
the attack have been made, and one JSON object of counts at the end. For loopback on Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from storage.client import wire
from storage.redstuff import Axis, parse_blob_id

HOST, SOURCE = "127.0.0.1", "127.0.0.2"
"""Addresses of the node and of its attacker; users have other addresses than the attacker."""
IP_BIND_ADDRESS_NO_PORT = 24
"""Leaves the choice of a port to `connect`, which may use one again that goes to another address."""
CONNECTING_AT_ONCE = 64
DRIP_S = 1.0
SMALL_BUFFER_BYTES = 2**12
HEAD_PART = b"X-Padding: " + b"x" * 3000 + b"\r\n"
PROOF_BYTES = 2**18
BOMB = gzip.compress(bytes(2**22))
"""4 MiB of zeros."""


@dataclass
class Attack:
    """What one kind of load knows of its target, and what it counts."""

    port: int
    seconds: float
    blob_id: str
    pair: int
    counts: Counter[str] = field(default_factory=Counter)
    _connecting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTING_AT_ONCE))

    @property
    def sliver_path(self) -> str:
        """The path of the sliver that the node has."""
        return f"/v1/blobs/{self.blob_id}/slivers/{self.pair}/primary"

    def head(self, method: str, path: str, *fields: str) -> bytes:
        """Return a request's head."""
        return "\r\n".join(
            (f"{method} {path} HTTP/1.1", f"Host: {HOST}:{self.port}", *fields, "", "")
        ).encode()

    async def connect(self, receiving_bytes: int = 0) -> socket.socket:
        """Return a connection; it is counted."""
        one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if receiving_bytes:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receiving_bytes)
        async with self._connecting:
            try:
                one.bind((SOURCE, 0))
                await asyncio.get_running_loop().sock_connect(one, (HOST, self.port))
            except BaseException:
                one.close()
                raise
        self.counts["connections"] += 1
        return one

    async def asked(self, one: socket.socket, request: bytes) -> int:
        """Send a request, read its answer to the end of the connection or of the body; return the status."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(one, request)
        answer = bytearray()
        while b"\r\n\r\n" not in answer:
            received = await loop.sock_recv(one, 2**16)
            if not received:
                raise ConnectionResetError
            answer += received
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0) - len(body)
        while left > 0:
            received = await loop.sock_recv(one, min(left, 2**18))
            if not received:
                raise ConnectionResetError
            left -= len(received)
        return int(head.split(b" ", 2)[1])


Step = Callable[[Attack], Awaitable[None]]


async def idle(attack: Attack) -> None:
    """Connect and say nothing."""
    await _held(attack, b"", b"")


async def slow_head(attack: Attack) -> None:
    """Send a large part of a head, then a byte a second."""
    await _held(attack, attack.head("GET", "/v1/health")[:-2] + 4 * HEAD_PART, b"x")


async def slow_body(attack: Attack) -> None:
    """Send a large part of a sliver, then a byte a second."""
    head = attack.head("PUT", attack.sliver_path, "Content-Length: 400000")
    await _held(attack, head + bytes(120_000), b"\0")


async def unread(attack: Attack) -> None:
    """Ask for slivers and read nothing."""
    await _held(attack, 8 * attack.head("GET", attack.sliver_path), b"", SMALL_BUFFER_BYTES)


async def _held(attack: Attack, first: bytes, drip: bytes, receiving_bytes: int = 0) -> None:
    """Send something and hold the connection until the node closes it; then once more."""
    loop = asyncio.get_running_loop()
    with await attack.connect(receiving_bytes) as one, contextlib.suppress(OSError):
        if first:
            await loop.sock_sendall(one, first)
        attack.counts["held"] += 1
        while drip:
            await asyncio.sleep(DRIP_S)
            await loop.sock_sendall(one, drip)
        if receiving_bytes:
            await asyncio.sleep(attack.seconds)
        while await loop.sock_recv(one, 4096):
            pass
    attack.counts["closed by the node"] += 1
    await asyncio.sleep(DRIP_S)


async def bomb(attack: Attack) -> None:
    """Send bodies that grow when they are decompressed."""
    request = attack.head(
        *("PUT", f"/v1/blobs/{attack.blob_id}/metadata"),
        *(f"Content-Length: {len(BOMB)}", "Content-Encoding: gzip"),
    )
    await _asked_again_and_again(attack, request + BOMB)


async def dearest(attack: Attack) -> None:
    """Ask for as many symbols as one answer holds, 64 MiB."""
    asked = [parse_blob_id(attack.blob_id)] * 10
    body = wire.Question(Axis.PRIMARY, range(10), range(10), asked).to_bcs()
    request = attack.head("POST", "/v1/decodingSymbols", f"Content-Length: {len(body)}") + body
    await _asked_again_and_again(attack, request)


async def signatures(attack: Attack) -> None:
    """Ask for signatures, the dearest answer for its size."""
    await _asked_again_and_again(attack, attack.head("GET", f"/v1/sign_of_life/{'0' * 64}"))


async def _asked_again_and_again(attack: Attack, request: bytes) -> None:
    with await attack.connect() as one:
        while True:
            status = await attack.asked(one, request)
            attack.counts[f"answers {status}"] += 1


async def malformed(attack: Attack) -> None:
    """Send what is no HTTP, on a new connection each time: no head, then no chunk."""
    chunked = (
        attack.head("POST", "/v1/migrate/sync_shard", "Transfer-Encoding: chunked") + b"1\r\na\r\nzz\r\n"
    )
    for request in (b"\x16\x03\x01\r\n\r\n", chunked):
        with await attack.connect() as one:
            attack.counts[f"answers {await attack.asked(one, request)}"] += 1


async def churn(attack: Attack) -> None:
    """Connect, ask, hang up before or after the answer."""
    with await attack.connect() as one:
        request = attack.head("GET", attack.sliver_path)
        if attack.counts["connections"] % 2:
            await asyncio.get_running_loop().sock_sendall(one, request)
        else:
            attack.counts[f"answers {await attack.asked(one, request)}"] += 1


async def resets(attack: Attack) -> None:
    """Connect, ask, and reset the connection at once."""
    with await attack.connect() as one:
        await asyncio.get_running_loop().sock_sendall(one, attack.head("GET", attack.sliver_path))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def questions(attack: Attack) -> None:
    """Ask for symbols of as many blobs as one request holds."""
    asked = [parse_blob_id(attack.blob_id)] * wire.MAX_BLOBS
    body = wire.Question(Axis.PRIMARY, range(1), range(1), asked).to_bcs()
    request = attack.head("POST", "/v1/decodingSymbols", f"Content-Length: {len(body)}") + body
    await _asked_again_and_again(attack, request)


async def proofs(attack: Attack) -> None:
    """Send proofs of inconsistency, as large as a node reads them, that prove nothing."""
    body = bytes(PROOF_BYTES)
    path = f"/v1/blobs/{attack.blob_id}/inconsistencyProof/primary"
    await _asked_again_and_again(attack, attack.head("POST", path, f"Content-Length: {len(body)}") + body)


ATTACKS: dict[str, tuple[int, Step]] = {
    "idle": (5000, idle),
    "slow heads": (2000, slow_head),
    "slow bodies": (1000, slow_body),
    "unread answers": (300, unread),
    "bombs": (16, bomb),
    "the dearest": (1000, dearest),
    "signatures": (64, signatures),
    "churn": (200, churn),
    "resets": (200, resets),
    "questions": (400, questions),
    "proofs": (64, proofs),
    "malformed": (64, malformed),
}
"""Kind → how many at once, and what each of them does again and again."""


async def run(attack: Attack, kind: str) -> None:
    """Load the node for the attack's time."""
    at_once, step = ATTACKS[kind]

    async def again_and_again() -> None:
        while True:
            try:
                await step(attack)
            except OSError as error:
                attack.counts[type(error).__name__] += 1
                await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(again_and_again()) for _ in range(at_once)]
    while attack.counts["connections"] < at_once and not any(map(asyncio.Task.done, tasks)):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.wait(tasks, timeout=attack.seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    failed = [
        one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)
    ]
    sys.stdout.write(json.dumps(attack.counts | {"failed": list(map(repr, failed[:1]))}) + "\n")


def main() -> None:
    """Run as a program."""
    kind, port, seconds, blob_id, pair = sys.argv[1:]
    asyncio.run(_main(kind, int(port), float(seconds), blob_id, int(pair)))


async def _main(kind: str, port: int, seconds: float, blob_id: str, pair: int) -> None:
    await run(Attack(port, seconds, blob_id, pair), kind)


if __name__ == "__main__":
    main()
