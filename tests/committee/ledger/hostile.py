"""A provider that lies: it passes requests on to the chain and spoils the answers, in every place and way."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

USER, PASSWORD, PATH, QUERY = "operator-7f", "pass-word-7f", "path-secret-7f", "query-secret-7f"
SECRETS = (USER, PASSWORD, PATH, QUERY)
"""What stands in the hostile provider's URL, and it tells whenever it can."""

WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**30, 1.5, 1e308, "", "x", "0x", "-0x1", "0x-1", "0xzz", "0x_1", "0x123"),
    *([], {}, [[]], {"id": []}, "0x" + "f" * 65, "0x" + "f" * 100_000, "\ud800\x1b[2J", PASSWORD * 1000),
    [{"id": []}],
)
"""Values that are right nowhere."""
BODIES = (
    *(b"", b"\xff\xfe", b"null", b"[]", b"{}", b"NaN", b'{"result": NaN}', b'{"jsonrpc":"2.0","id":1,"res'),
    *(b"[" * 200_000, b'{"a":' * 100_000, b'[{"id":[]}]', b'{"result":' + b"9" * 5000 + b"}"),
    b'{"jsonrpc":"2.0","id":1,"result":"0x1","result":' + b"[" * 80 + b"]" * 80 + b"}",
    b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 2_000_000 + b'"}',
    b"<html>" + (PASSWORD + PATH).encode() * 100 + b"</html>",
)
ERRORS: tuple[Any, ...] = (
    *("bad", [], {}, {"code": "x"}, {"code": 10**40, "message": [1]}, {"message": QUERY * 10_000}),
    *(
        {"code": -32601, "message": f"no such method at /{PATH}?key={QUERY}"},
        {"code": -32603, "message": None},
    ),
    {"code": -32000, "message": f"user {USER}:{PASSWORD}", "data": "0xzz"},
)

Answer = tuple[int, bytes, dict[str, str]]
"""Status, body, headers."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every place within a JSON value."""
    if path:
        yield path
    if isinstance(value, dict | list):
        keys = value.keys() if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from places(value[key], (*path, key))


def with_wrong_value(chance: random.Random, answer: Any) -> Answer:
    """Put a wrong value in one place, or leave the place out."""
    answer = copy.deepcopy(answer)
    *path, last = chance.choice(list(places(answer)))
    place = answer
    for key in path:
        place = place[key]
    if chance.randrange(4) == 0:
        del place[last]
    else:
        place[last] = chance.choice(WRONG)
    return 200, json.dumps(answer).encode(), {}


def with_wrong_body(chance: random.Random, answer: Any) -> Answer:
    """Answer something else altogether."""
    return 200, chance.choice(BODIES), {}


def cut_off(chance: random.Random, answer: Any) -> Answer:
    """Answer a part."""
    body = json.dumps(answer).encode()
    return 200, body[: chance.randrange(len(body))], {}


def with_error(chance: random.Random, answer: Any) -> Answer:
    """Answer with an error that is none, or one that makes no sense."""
    error = {"jsonrpc": "2.0", "id": chance.choice((1, None, [], "1")), "error": chance.choice(ERRORS)}
    return chance.choice((200, 200, 400, 413, 500)), json.dumps(error).encode(), {}


def with_status(chance: random.Random, answer: Any) -> Answer:
    """Answer with an HTTP status that is no success, or leads elsewhere."""
    status = chance.choice((204, 301, 302, 307, 308, 400, 401, 403, 404, 413, 429, 500, 502, 503))
    headers = {
        "Location": f"http://127.0.0.1:1/{PATH}",
        "Retry-After": chance.choice(("-1", "nan", "inf", "0")),
    }
    return status, PASSWORD.encode(), headers


def with_wrong_id(chance: random.Random, answer: Any) -> Answer:
    """Answer another request."""
    answer = copy.deepcopy(answer)
    for one in answer if isinstance(answer, list) else [answer]:
        one["id"] = chance.choice((None, 7, "1", [], -1, 1.5))
    return 200, json.dumps(answer).encode(), {}


def with_other_digits(chance: random.Random, answer: Any) -> Answer:
    """Change digits: a lie that is well-formed."""
    text = list(json.dumps(answer))
    digits = [place for place, one in enumerate(text) if one in "0123456789abcdef"]
    for place in chance.sample(digits, min(chance.randint(1, 4), len(digits))):
        text[place] = chance.choice("0123456789abcdef")
    return 200, "".join(text).encode(), {}


UNREADABLE = (with_wrong_value, with_wrong_body, cut_off, with_error, with_status, with_wrong_id)
"""Lies that show in one answer alone."""
LIES = (*UNREADABLE, with_other_digits)
Lie = Callable[[random.Random, Any], Answer]


class HostileProvider:
    """Serves a chain under a URL full of secrets; `lie` spoils its answers while it is set."""

    def __init__(self, target: str, session: aiohttp.ClientSession, chance: random.Random) -> None:
        self.lie: Lie | None = None
        self.asked: list[str] = []
        self.method = ""
        """Of the request whose answer `lie` is to spoil."""
        self._was_asked = asyncio.Condition()
        self.is_down = False
        self._target, self._session, self._chance = target, session, chance
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}/v3/{PATH}?key={QUERY}"

    async def __aenter__(self) -> HostileProvider:
        application = web.Application(client_max_size=2**26)
        application.router.add_post("/{path:.*}", self._handle)
        application.router.add_get("/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def questions(self, more: int) -> None:
        """Wait until so many more requests have come."""
        until = len(self.asked) + more
        async with self._was_asked:
            await self._was_asked.wait_for(lambda: len(self.asked) >= until)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        async with self._was_asked:
            method = (body[0] if isinstance(body, list) else body)["method"]
            self.asked.append(method)
            self._was_asked.notify_all()
        if self.is_down:
            return web.Response(status=503, text=PASSWORD)
        async with self._session.post(self._target, json=body) as answer:
            content = await answer.read()
        if self.lie is None:
            return web.Response(body=content, content_type="application/json")
        self.method = method
        status, content, headers = self.lie(self._chance, json.loads(content))
        return web.Response(status=status, body=content if status != 204 else None, headers=headers)


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FIRST_REST_S", 0.0005), ("LONGEST_REST_S", 0.002), ("RETRY_AFTER_LIMIT_S", 0.0)):
        monkeypatch.setattr(f"committee.ledger.health.{name}", value)
    monkeypatch.setattr("committee.ledger.evm.rpc.REQUEST_LIMIT_S", 5.0)
    monkeypatch.setattr("committee.ledger.evm.sender.RECEIPT_LIMIT_S", 0.3)
    monkeypatch.setattr("committee.ledger.evm.sender.FIRST_POLL_S", 0.001)
    monkeypatch.setattr("committee.ledger.evm.sender.LONGEST_POLL_S", 0.01)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def no_secret(text: str, *more: str) -> None:
    for secret in (*SECRETS, *more):
        assert secret not in text, secret
