"""Asks a node for symbols, again and again: `python -m benchmarks.asker FILE CORE`, a process of its own.

So that what is timed is the helper alone. FILE is a pickle of (address, blob id, axis of the slivers to be rebuilt,
their indices, helping shards). Prints the seconds for an answer.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path

import aiohttp

from benchmarks.timing import on_core, shortest
from storage.client.node_client import NodeClient
from storage.redstuff import Axis


async def ask(pickled: bytes) -> None:
    """Ask until the time is up."""
    address, blob_id, axis, targets, shards = pickle.loads(pickled)
    async with aiohttp.ClientSession() as session:
        client = NodeClient(session, "helper", address)
        print(await shortest(lambda: client.decoding_symbols(blob_id, Axis(axis), targets, shards)))


if __name__ == "__main__":
    with on_core(int(sys.argv[2])):
        asyncio.run(ask(Path(sys.argv[1]).read_bytes()))
