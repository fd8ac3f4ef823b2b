"""Credentials show a member to the node they were made for, in their hour, and nobody else to anybody."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from typing import Any, cast

import pytest
from aiohttp import web

from committee import bls, messages
from committee.messages import Intent
from storage.client.node_client import NodeClient
from storage.node import credentials
from storage.node.budgets import Line, Requester
from storage.node.chain import ChainView
from storage.node.credentials import SCHEME, Credentials
from storage.node.http.turns import stranger
from tests.storage.conftest import DOMAIN, EPOCH, SECRETS, OneNode

STRANGER = stranger("192.0.2.1")
HOUR = 500_000


@pytest.fixture(autouse=True)
def hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_hour", lambda: HOUR)


@pytest.fixture
def asked(node: OneNode) -> Credentials:
    """The node that is asked, node 1."""
    return Credentials(node.view, node.secret)


def header(
    asked_id: int = 1,
    member_id: int = 2,
    hour: int = HOUR,
    epoch: int = EPOCH,
    domain: bytes | None = DOMAIN,
    signer: int = 2,
    message: bytes | None = None,
) -> str:
    if message is None:
        body = messages.member_request_body(asked_id, member_id, hour)
        message = messages.encode(Intent.MEMBER_REQUEST, epoch, body, domain)
    return SCHEME + base64.b64encode(message + SECRETS[signer].sign(message)).decode()


async def test_a_members_credential_shows_it(node: OneNode, asked: Credentials) -> None:
    view = cast(
        ChainView, dataclasses.replace(Seen(), state=node.view.state, parameters=node.view.parameters)
    )
    made = Credentials(view, SECRETS[2]).header_for(1)
    assert await asked.member(made, STRANGER) == Requester("2", is_member=True)


@dataclasses.dataclass
class Seen:
    """The chain as node 2 sees it."""

    state: Any = None
    parameters: Any = None
    node_id: int = 2


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "Bearer x",
        SCHEME,
        SCHEME + "%%%",
        SCHEME + base64.b64encode(bytes(95)).decode(),
        SCHEME + base64.b64encode(bytes(203)).decode(),
        header(asked_id=3),
        header(member_id=9),
        header(member_id=3),
        header(signer=3),
        header(hour=HOUR - 2),
        header(hour=HOUR + 2),
        header(epoch=EPOCH - 2),
        header(epoch=EPOCH + 2),
        header(domain=bytes(32)),
        header(domain=None),
        header(message=messages.encode(Intent.EJECT, EPOCH, messages.eject_body(1, 77), DOMAIN)),
        header()[:-8] + "AAAAAAA=",
    ],
    ids=lambda shown: None,
)
async def test_anything_else_shows_no_member(asked: Credentials, shown: str | None) -> None:
    assert await asked.member(shown, STRANGER) == STRANGER


@pytest.mark.parametrize(
    "shift", [{"hour": HOUR - 1}, {"hour": HOUR + 1}, {"epoch": EPOCH - 1}, {"epoch": EPOCH + 1}]
)
async def test_clocks_and_chains_may_differ_a_little(asked: Credentials, shift: dict[str, Any]) -> None:
    assert (await asked.member(header(**shift), STRANGER)).is_member


async def test_every_flipped_bit_is_noticed(asked: Credentials) -> None:
    good = base64.b64decode(header()[len(SCHEME) :])
    for place in range(0, len(good), 5):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        assert await asked.member(SCHEME + base64.b64encode(bad).decode(), STRANGER) == STRANGER


def forgeries(count: int) -> list[str]:
    """Credentials of a member's whose signatures do not hold, each another."""
    signed = base64.b64decode(header()[len(SCHEME) :])
    return [SCHEME + base64.b64encode(signed[:-1] + bytes([number])).decode() for number in range(count)]


async def test_a_credential_is_checked_once_and_forged_ones_wait_in_their_own_line(
    asked: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bytes] = []
    may_go_on = asyncio.Event()

    async def to_thread(verify: Any, public_key: bytes, message: bytes, signature: bytes) -> bool:
        checked.append(message)
        await may_go_on.wait()
        return bls.verify(public_key, message, signature)

    monkeypatch.setattr("storage.node.credentials.asyncio.to_thread", to_thread)
    monkeypatch.setattr(asked, "_line", Line(64))
    flood = [asyncio.create_task(asked.member(one, STRANGER)) for one in forgeries(100)]
    await asyncio.sleep(0)
    honest = asyncio.create_task(asked.member(header(), stranger("192.0.2.2")))
    await asyncio.sleep(0)
    may_go_on.set()
    assert (await honest).is_member
    assert len(checked) <= 3, "the honest one is the second or third to be checked"
    await asyncio.gather(*flood)
    assert 30 < len(checked) <= 1 + 64 // 2
    before = len(checked)
    assert (await asked.member(header(), STRANGER)).is_member
    assert len(checked) == before


async def test_what_was_checked_is_remembered_within_bounds(
    asked: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "KEPT", 3)
    for hour in (HOUR - 1, HOUR, HOUR + 1):
        for epoch in (EPOCH - 1, EPOCH):
            assert (await asked.member(header(hour=hour, epoch=epoch), STRANGER)).is_member
    assert len(asked._held) == 3


async def test_forged_credentials_push_out_none_that_holds(
    asked: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "KEPT", 3)
    assert (await asked.member(header(), STRANGER)).is_member
    for forged in forgeries(6):
        assert await asked.member(forged, STRANGER) == STRANGER
    monkeypatch.setattr(bls, "verify", lambda *_: False)
    assert (await asked.member(header(), STRANGER)).is_member, "not checked again"
    assert len(asked._forged) == 3


async def test_a_client_shows_itself_once_it_was_refused_for_lack_of_room(serve: Any, session: Any) -> None:
    shown: list[str | None] = []

    async def answer(request: Any) -> Any:
        shown.append(request.headers.get("Authorization"))
        return web.json_response(
            {"success": {"code": 200, "data": {}}}, status=503 if len(shown) == 2 else 200
        )

    address = await serve(answer)
    client = NodeClient(session, "node", address, credential=lambda: "Haulout credential")
    for _ in range(3):
        await client.handover()
    assert shown == [None, None, "Haulout credential", "Haulout credential"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "no address"),
        ("", "no address"),
        ("/run/haulout.sock", "/run/haulout.sock"),
    ],
)
def test_strangers_are_told_apart_by_address(address: str | None, name: str) -> None:
    assert stranger(address) == Requester(name)
