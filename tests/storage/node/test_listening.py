"""Where a node listens: IPv4, IPv6, both; and what it tells its operator that this exposes."""

from __future__ import annotations

import errno
import socket

import aiohttp
import pytest
from aiohttp import web

from storage.node.config import ConfigError, parse_settings
from storage.node.http.server import HttpServer
from storage.node.listening import exposure, listen
from tests.storage.node.test_config import SETTINGS


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        pytest.param("::1", ["::1"], marks=NEEDS_IPV6),
        ("localhost", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        pytest.param("::", ["127.0.0.1", "::1"], marks=NEEDS_IPV6),
    ],
)
async def test_a_node_listens_where_it_is_told(
    session: aiohttp.ClientSession, host: str, reached_at: list[str]
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        async with HttpServer(app, listener):
            for place in ("127.0.0.1", "::1"):
                url = f"http://[{place}]:{port}/" if ":" in place else f"http://{place}:{port}/"
                if place in reached_at:
                    async with session.get(url) as response:
                        assert await response.text() == "here"
                else:
                    with pytest.raises(aiohttp.ClientConnectorError):
                        await session.get(url)


@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::1", "a..b", "x" * 64 + ".example"])
def test_a_host_that_is_not_this_machines_is_told(host: str) -> None:
    with pytest.raises(ConfigError, match=rf"cannot listen on {host}, port 9: .*set host to an address"):
        listen(host, 9)


def test_a_name_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigError, match="on nowhere, port 9: Name or service not known; set host"):
        listen("nowhere", 9)


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"port {port}: Address already in use; stop what uses the port"
        ):
            listen("127.0.0.1", port)


def test_a_machine_without_ipv6_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(
        ConfigError, match=r"on ::, port 9: Address family .*; set host to an IPv4 .* 0\.0\.0\.0"
    ):
        listen("::", 9)


def test_what_is_exposed_is_told() -> None:
    settings = {**SETTINGS, "host": "0.0.0.0", "public_address": "https://node.example"}
    told = exposure(parse_settings(settings, ""), allow_private=False)
    assert told["listens"] == "0.0.0.0, port 1234 (every interface of this machine)"
    assert told["reached_by"] == "https://node.example"
    assert "without a login" in told["to_anyone"]
    assert told["connects_to"] == "members at public addresses"
    told = exposure(parse_settings({**SETTINGS, "host": "::1"}, ""), allow_private=True)
    assert told["listens"] == "::1, port 1234"
    assert told["connects_to"] == "members at public and private addresses"
