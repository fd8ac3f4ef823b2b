"""Helpers that do no work: `python -m benchmarks.symbol_server FILE CORE` answers from symbols computed beforehand.

So that what is timed is the rebuilder alone, in its own process. FILE is a pickle of (number of shards, blob id, axis
of the slivers to be rebuilt, helping sliver's index → target → symbol). Prints its port.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path

from aiohttp import web

from benchmarks.timing import on_core
from storage.client import wire
from storage.node.http.blobs import bcs_answer
from storage.redstuff import Axis, RedStuff


async def serve(pickled: bytes) -> None:
    """Answer until killed."""
    n, blob_id, axis, symbols = pickle.loads(pickled)
    code = RedStuff(n)
    symbol_bytes = len(next(iter(symbols[0].values())))

    async def decoding_symbols(request: web.Request) -> web.Response:
        targets = [int(one) for one in request.query["targetSlivers"].split(",")]
        shards = wire.read_ranges(request.query["helperShards"], n)
        helpers = [code.sliver_index(blob_id, shard, Axis(axis).other) for shard in shards]
        chosen = [(helper, b"".join(map(symbols[helper].__getitem__, targets))) for helper in helpers]
        return bcs_answer(wire.symbols_to_bcs(targets, symbol_bytes, chosen))

    async def health(request: web.Request) -> web.Response:
        return web.json_response(wire.success({}))

    app = web.Application()
    app.add_routes(
        [web.get("/v1/blobs/{blob}/decodingSymbols", decoding_symbols), web.get("/v1/health", health)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with on_core(int(sys.argv[2])):
        asyncio.run(serve(Path(sys.argv[1]).read_bytes()))
