"""Relays before a chain's endpoint: one that knows no block newer than a few behind the newest, one slow, one cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

TAGS = ("latest", "safe", "finalized")
JSON = {"Content-Type": "application/json"}


class LaggingEndpoint:
    """Answers for the chain as it was `lag_blocks` ago; transactions are passed on at once."""

    def __init__(self, upstream: str, lag_blocks: int, session: aiohttp.ClientSession) -> None:
        self.lag_blocks = lag_blocks
        self._upstream = upstream
        self._session = session

    async def answer(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        newest = int((await self._ask("eth_blockNumber", []))["result"], 16) - self.lag_blocks
        if isinstance(asked, list):
            return web.json_response([await self._one(each, max(newest, 0)) for each in asked])
        return web.json_response(await self._one(asked, max(newest, 0)))

    async def _one(self, asked: dict[str, Any], newest: int) -> dict[str, Any]:
        method, parameters = asked["method"], list(asked["params"])
        answer: dict[str, Any]
        match method:
            case "eth_blockNumber":
                answer = {"jsonrpc": "2.0", "result": hex(newest)}
            case "eth_getBlockByNumber":
                answer = await self._block(parameters, newest)
            case "eth_getLogs":
                told = dict(parameters[0])
                if "toBlock" in told:
                    told["toBlock"] = hex(min(_number(told["toBlock"], newest), newest))
                    first = _number(told["fromBlock"], newest)
                    if first > newest:
                        return {"jsonrpc": "2.0", "id": asked["id"], "result": []}
                answer = await self._ask(method, [told])
            case "eth_getTransactionReceipt":
                answer = await self._ask(method, parameters)
                receipt = answer.get("result")
                if receipt is not None and int(receipt["blockNumber"], 16) > newest:
                    answer["result"] = None
            case "eth_call" | "eth_getBalance" if parameters[-1] == "latest":
                answer = await self._ask(method, [*parameters[:-1], hex(newest)])
            case _:
                answer = await self._ask(method, parameters)
        return answer | {"id": asked["id"]}

    async def _block(self, parameters: list[Any], newest: int) -> dict[str, Any]:
        which, whole = parameters
        if which not in TAGS:
            if int(which, 16) > newest:
                return {"jsonrpc": "2.0", "result": None}
            return await self._ask("eth_getBlockByNumber", [which, whole])
        answer = await self._ask("eth_getBlockByNumber", [which, whole])
        if int(answer["result"]["number"], 16) > newest:
            answer = await self._ask("eth_getBlockByNumber", [hex(newest), whole])
        return answer

    async def _ask(self, method: str, parameters: list[Any]) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        async with self._session.post(self._upstream, json=body) as answer:
            told = await answer.json()
            assert isinstance(told, dict)
            return told


def _number(tag: str, newest: int) -> int:
    return newest if tag in TAGS else int(tag, 16)


@asynccontextmanager
async def lagging_endpoint(upstream: str, lag_blocks: int) -> AsyncIterator[str]:
    """The URL of an endpoint that lags by so many blocks."""
    async with aiohttp.ClientSession() as session:
        app = web.Application()
        app.router.add_post("/", LaggingEndpoint(upstream, lag_blocks, session).answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/"))
            await asyncio.sleep(0)


@asynccontextmanager
async def slow_endpoint(upstream: str, method: str, seconds: float) -> AsyncIterator[str]:
    """The URL of an endpoint that takes so long for requests that name this method."""
    async with aiohttp.ClientSession() as session:

        async def answer(request: web.Request) -> web.Response:
            body = await request.read()
            if method.encode() in body:
                await asyncio.sleep(seconds)
            async with session.post(upstream, data=body, headers=JSON) as told:
                return web.Response(body=await told.read(), status=told.status, headers=JSON)

        app = web.Application()
        app.router.add_post("/", answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/"))
            await asyncio.sleep(0)


class Cut:
    """Whether an endpoint answers."""

    is_cut = False


@asynccontextmanager
async def cut_endpoint(upstream: str) -> AsyncIterator[tuple[str, Cut]]:
    """The URL of an endpoint that answers nothing but errors while it is cut off, and what cuts it off."""
    cut = Cut()
    async with aiohttp.ClientSession() as session:

        async def answer(request: web.Request) -> web.Response:
            body = await request.read()
            if cut.is_cut:
                return web.Response(status=503)
            async with session.post(upstream, data=body, headers=JSON) as told:
                return web.Response(body=await told.read(), status=told.status, headers=JSON)

        app = web.Application()
        app.router.add_post("/", answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/")), cut
            await asyncio.sleep(0)
