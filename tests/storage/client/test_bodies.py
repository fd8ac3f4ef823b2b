"""Large bodies arrive whole, and none that is longer than it may be or said is taken."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import aiohttp
import pytest
from aiohttp import web

from storage.client.bodies import LARGE_BYTES, PIECE_BYTES, Framed, LargeBody, TooLong, joined, received

SIZES = [LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + PIECE_BYTES, 3 * LARGE_BYTES + 1]
Get = Callable[[web.Response, int], Awaitable[bytes | memoryview]]


@pytest.fixture
async def get() -> AsyncIterator[Get]:
    """What is received of an answer, with a limit."""
    answers: list[web.Response] = []

    async def answer(request: web.Request) -> web.Response:
        return answers.pop()

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:

        async def get(body: web.Response, limit: int) -> bytes | memoryview:
            answers.append(body)
            async with session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/") as response:
                return await received(response, limit)

        yield get
    await runner.cleanup()


def content(size_bytes: int) -> bytes:
    return (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_a_body_arrives_whole(get: Get, size_bytes: int) -> None:
    body = content(size_bytes)
    large = LargeBody(memoryview(body), "application/octet-stream")
    assert await get(web.Response(body=large), size_bytes) == body
    assert large.moved_bytes == large.size_bytes == size_bytes
    assert await get(web.Response(body=body), size_bytes) == body


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_a_body_over_the_limit_is_not_taken(get: Get, size_bytes: int) -> None:
    with pytest.raises(TooLong):
        await get(web.Response(body=content(size_bytes)), size_bytes - 1)


async def test_a_packed_body_longer_than_it_said_is_not_taken(get: Get) -> None:
    packed = gzip.compress(content(2 * LARGE_BYTES) + bytes(1)) + bytes(LARGE_BYTES)
    unpacked_limit = 8 * LARGE_BYTES
    with pytest.raises(TooLong):
        await get(web.Response(body=packed, headers={"Content-Encoding": "gzip"}), unpacked_limit)


async def test_bodies_kept_at_once_keep_their_content(get: Get) -> None:
    bodies = [bytes([number]) * LARGE_BYTES for number in range(3)]
    assert [await get(web.Response(body=body), LARGE_BYTES) for body in bodies] == bodies


@pytest.mark.parametrize("size_bytes", SIZES)
def test_parts_are_joined_in_their_order(size_bytes: int) -> None:
    body = content(size_bytes)
    assert joined([b"", body[:7], memoryview(body)[7 : size_bytes - 1], body[-1:]]) == body


class Made:
    """A content that is made anew in pieces whenever it is sent, and notes how many."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.made = 0

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def pieces(self, most_bytes: int, start: int = 0) -> Iterator[Callable[[], bytes]]:
        assert most_bytes == PIECE_BYTES
        for piece in self._pieces:
            if start < len(piece):
                yield partial(self._make, piece[start:])
            start = max(0, start - len(piece))

    def _make(self, piece: bytes) -> bytes:
        self.made += 1
        return piece


async def test_a_content_is_made_while_it_is_sent(get: Get) -> None:
    made = Made([content(LARGE_BYTES), b"", b"end"])
    framed = Framed(b"head", made, b"tail")
    assert (len(framed), made.made) == (len(made) + 8, 0)
    response = web.Response(body=LargeBody(framed, "application/octet-stream"))
    assert await get(response, len(framed)) == b"head" + content(LARGE_BYTES) + b"endtail"
    assert made.made == 2


async def test_a_framed_content_in_memory_is_sent_as_it_lies(get: Get) -> None:
    body = content(3 * PIECE_BYTES + 1)
    response = web.Response(body=LargeBody(Framed(b"<", memoryview(body), b">"), "application/octet-stream"))
    assert await get(response, len(body) + 2) == b"<" + body + b">"


@pytest.mark.parametrize("starts", [(0,), (3,), (4,), (5,), (4 + PIECE_BYTES,), (2, 9), (PIECE_BYTES + 9,)])
@pytest.mark.parametrize("is_made", [False, True])
async def test_the_rest_of_a_framed_content_is_sent(get: Get, starts: tuple[int, ...], is_made: bool) -> None:
    body = content(PIECE_BYTES + 5)
    framed = Framed(b"head", Made([body[:100], body[100:]]) if is_made else memoryview(body), b"tail")
    for start in starts:
        framed = framed.behind(start)
    expected = (b"head" + body + b"tail")[sum(starts) :]
    assert len(framed) == len(expected)
    assert (
        await get(web.Response(body=LargeBody(framed, "application/octet-stream")), LARGE_BYTES) == expected
    )
