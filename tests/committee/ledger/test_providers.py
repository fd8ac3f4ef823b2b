"""Providers that want a key in a header: it comes to them, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from committee.errors import InvalidKey, LedgerError, LedgerUnavailable
from committee.ledger.evm import AccountKey, Deployment, EvmLedger, Provider, deploy, with_headers
from committee.ledger.providers import listed
from storage.cli import app
from tests.committee.ledger.conftest import PARAMETERS

if TYPE_CHECKING:
    from localnet.chain import LocalChain
    from tests.committee.ledger.conftest import Launch

SECRET = "s3cret-of-the-provider"
HEADERS = {"Authorization": f"Bearer {SECRET}", "x-api-key": "another-s3cret"}
REFUSED = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": f"not for Bearer {SECRET}"}}


class Guarded:
    """Passes requests with the right headers on to the chain, and keeps the values of all others."""

    def __init__(self, target: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.is_silent = False
        self.wrong: list[str | None] = []
        self._target, self._session = target, session

    async def handle(self, request: web.Request) -> web.Response:
        if any(request.headers.get(name) != value for name, value in HEADERS.items()):
            self.wrong += [request.headers.get(name) for name in HEADERS]
            return web.Response(status=401, text="no key")
        if self.is_silent:
            return web.json_response(REFUSED)
        async with self._session.post(self._target, data=await request.read()) as answer:
            return web.Response(body=await answer.read())


@pytest.fixture
async def guarded(chain: LocalChain) -> AsyncIterator[Guarded]:
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        provider = Guarded(chain.rpc_url, session)
        application = web.Application()
        application.router.add_post("/", provider.handle)
        async with TestServer(application) as server:
            provider.url = str(server.make_url("")).rstrip("/")
            yield provider


async def test_a_header_comes_to_its_endpoint_alone(
    chain: LocalChain, launch: Launch, guarded: Guarded
) -> None:
    """sigp/lighthouse#2139, blockscout/blockscout#7645."""
    network = await launch()
    with pytest.raises(LedgerUnavailable, match="HTTP 401"):
        await EvmLedger.connect(guarded.url, network.deployment)
    assert set(guarded.wrong) == {None}
    async with await EvmLedger.connect([Provider(guarded.url, HEADERS)], network.deployment) as ledger:
        assert await ledger.nodes() == []
    guarded.wrong.clear()
    # Both are one server; the second one is named without headers.
    other = guarded.url.replace("127.0.0.1", "localhost")
    async with EvmLedger.open([other, Provider(guarded.url, HEADERS)], network.deployment) as ledger:
        assert await ledger.nodes() == []
    assert guarded.wrong and set(guarded.wrong) == {None}


async def test_no_message_tells_a_header(launch: Launch, guarded: Guarded) -> None:
    network = await launch()
    guarded.is_silent = True
    provider = Provider(guarded.url, HEADERS)
    with pytest.raises(LedgerError, match="not for") as told:
        await EvmLedger.connect([provider], network.deployment)
    assert SECRET not in str(told.value) and SECRET not in repr(provider)
    with pytest.raises(LedgerError) as told:
        Provider(guarded.url, {"x-api-key": f"{SECRET}\nHost: elsewhere"})
    assert SECRET not in str(told.value)


def headers_file(folder: Path, text: str) -> Path:
    path = folder / "headers.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_commands_take_headers_from_a_file(chain: LocalChain, guarded: Guarded, tmp_path: Path) -> None:
    await chain.mine()
    key, manifest = AccountKey.generate(), tmp_path / "deployment.json"
    await chain.fund(key.address)
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in HEADERS.items())
    path = headers_file(tmp_path, f'["{guarded.url}/v3/"]\n{lines}')
    providers = with_headers(guarded.url, path)
    (await deploy(providers, key, PARAMETERS)).save(manifest)
    environment = {
        "HAULOUT_RPC": guarded.url,
        "HAULOUT_RPC_HEADERS": str(path),
        "HAULOUT_DEPLOYMENT": str(manifest),
    }

    async def run(*words: str) -> str:
        told = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
        assert told.exit_code == 0, told.exception or told.output
        assert SECRET not in told.output
        return told.stdout

    assert json.loads(await run("epoch", "status", "--json"))["epoch"] == 0
    await run("node", "init", str(tmp_path / "anna"))
    assert f'rpc_headers = "{path}"' in (tmp_path / "anna" / "node.toml").read_text()
    assert guarded.wrong == []
    assert Deployment.load(manifest).chain_id == 31337


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '["http://b"]\nx = "s3cret"',
            r"http://b too, which is no endpoint .* these are http://a:1, https://c",
        ),
        ('["http://a:1"]\nx = 3', "are to be TOML such as"),
        ('["a"]\nx = "s3cret"', "are to be TOML such as"),
        ('"http://a:1" = "s3cret"', "are to be TOML such as"),
        ("x: s3cret", "are to be TOML such as"),
        ('["http://a:1"]\nx = "s3cret\\n"', "the header x .* is not printable ASCII"),
        ('["http://a:1"]\nHost = "s3cret"', "'Host' is no header that can be set"),
        ('["http://a:1"]\n"x y" = "s3cret"', "'x y' is no header"),
    ],
)
def test_a_wrong_file_of_headers_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = headers_file(tmp_path, text)
    with pytest.raises(InvalidKey, match=told) as error:
        with_headers("http://a:1, https://c", path)
    assert "s3cret" not in str(error.value)


def test_a_file_of_headers_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = headers_file(tmp_path, '["http://a:1"]\nx = "s3cret"')
    assert listed(with_headers("http://a:1/v3/key,https://c", path))[0].headers == {"x": "s3cret"}
    path.chmod(0o644)
    if os.geteuid() == path.stat().st_uid:
        with pytest.raises(InvalidKey, match="can be read"):
            with_headers("http://a:1", path)
    with pytest.raises(InvalidKey, match="cannot read"):
        with_headers("http://a:1", tmp_path / "nowhere")
