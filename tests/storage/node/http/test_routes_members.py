"""Signs of life and ejections, asked for over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from committee import bls, messages
from storage.client.failures import Reason
from storage.node.budgets import Budget
from storage.node.face import Refusal
from storage.node.http import members
from storage.node.http.routes import create_app
from tests.storage.node.http.conftest import ServeApp, until

if TYPE_CHECKING:
    from storage.client.node_client import NodeClient
    from tests.storage.conftest import Ask, OneNode


async def test_a_silent_members_ejection_is_signed(node: OneNode, client: NodeClient) -> None:
    node.silent_members.add(3)
    message, signature = await client.ejection(3, 77)
    assert messages.decode(message).body == messages.eject_body(3, 77)
    assert bls.verify(node.secret.public_key, message, signature)


async def test_a_member_that_answers_is_not_ejected(ask: Ask) -> None:
    (await ask("GET", "/v1/members/2/ejection/77")).refused(400, "MEMBER_ANSWERS")


async def test_an_address_that_asks_for_many_ejections_leaves_places_to_others(
    node: OneNode, serve_app: ServeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "EJECTIONS_IN_LINE", 4)
    asked, go_on = 0, asyncio.Event()

    async def sign_ejection(node_id: int, deadline_s: int) -> tuple[bytes, bytes]:
        nonlocal asked
        asked += 1
        await go_on.wait()
        return b"message", bytes(bls.SIGNATURE_BYTES)

    monkeypatch.setattr(node, "sign_ejection", sign_ejection)
    url = f"http://127.0.0.1:{await serve_app(create_app(node, Budget()))}/v1/members/3/ejection/77"

    async def status(local: str) -> int:
        connector = aiohttp.TCPConnector(local_addr=(local, 0))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
            return answer.status

    flood = [asyncio.create_task(status("127.0.0.2")) for _ in range(2)]
    await until(lambda: asked == 2)
    assert await status("127.0.0.2") == 503
    other = asyncio.create_task(status("127.0.0.1"))
    await until(lambda: asked == 3)
    go_on.set()
    assert await asyncio.gather(*flood, other) == 3 * [200]


@pytest.mark.parametrize("nonce", ["00" * 31, "00" * 33, "zz" * 32, "00%20" * 21 + "00"])
@pytest.mark.parametrize("whose", ["", "members/3/"])
async def test_a_sign_of_life_wants_32_bytes_in_hexadecimal(ask: Ask, whose: str, nonce: str) -> None:
    (await ask("GET", f"/v1/{whose}sign_of_life/{nonce}")).refused(400, "INVALID_REQUEST")


@pytest.mark.parametrize("node_id", ["x", "-1", "1.5", "9" * 79])
async def test_the_ejection_of_nobody_is_refused(ask: Ask, node_id: str) -> None:
    (await ask("GET", f"/v1/members/{node_id}/ejection/77")).refused(400, "INVALID_REQUEST")


@pytest.mark.parametrize("deadline", ["x", "-1", "1.5", str(1 << 64), "9" * 79])
async def test_an_ejection_until_no_time_is_refused(node: OneNode, ask: Ask, deadline: str) -> None:
    node.silent_members.add(3)
    (await ask("GET", f"/v1/members/3/ejection/{deadline}")).refused(400, "INVALID_REQUEST")


async def test_questions_about_a_member_that_hangs_hold_up_none_about_others(
    node: OneNode, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "FETCHED_AT_ONCE", 8)
    monkeypatch.setattr(members, "FETCHES_IN_LINE", 6)
    at_once, most, gives_up = 0, 0, asyncio.Event()
    fetch = node.fetch_sign_of_life

    async def hang(node_id: int, nonce: bytes) -> tuple[bytes, bytes]:
        nonlocal at_once, most
        if node_id != 3:
            return await fetch(node_id, nonce)
        at_once += 1
        most = max(most, at_once)
        await gives_up.wait()
        at_once -= 1
        raise Refusal(503, Reason.UNAVAILABLE, "node 3 gave no sign of life")

    async def question(node_id: int) -> tuple[int, str]:
        path = f"/v1/members/{node_id}/sign_of_life/{'00' * 32}"
        async with session.get(node.address + path) as answer:
            return answer.status, await answer.text()

    monkeypatch.setattr(node, "fetch_sign_of_life", hang)
    asked = [asyncio.create_task(question(3)) for _ in range(6)]
    (refused,), waiting = await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert "wait for their turn" in refused.result()[1]
    assert (await question(2))[0] == 200
    assert (len(waiting), most) == (5, 2), "strangers have half, and each of them half of that"
    gives_up.set()
    assert all("no sign of life" in text for _, text in await asyncio.gather(*waiting))
    assert most == 2
