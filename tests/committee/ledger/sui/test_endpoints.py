"""Endpoints of a chain on Sui that are down, silent, of another chain, or answer what nobody asked for."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from hypothesis import given
from hypothesis import strategies as st

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.providers import Provider, Providers
from committee.ledger.sui.connections import AnswerTooLarge, CallRefused
from committee.ledger.sui.digests import digest_text, read_digest
from committee.ledger.sui.grpc import TRIES, SuiRpc
from committee.ledger.sui.methods import GET_SERVICE_INFO
from committee.ledger.sui.wire import v2
from localnet.sui_double.chain import Chain
from localnet.sui_double.rpc.server import HOST, SuiDouble
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

PASSWORD = "very-secret"


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


@pytest.fixture
async def first(chain: Chain) -> AsyncIterator[SuiDouble]:
    async with SuiDouble(chain) as double:
        yield double


@pytest.fixture
async def second(chain: Chain) -> AsyncIterator[SuiDouble]:
    async with SuiDouble(chain) as double:
        yield double


class Connected:
    """Endpoints that are closed behind the block."""

    def __init__(self, providers: Providers, chain: Chain) -> None:
        self.rpc = SuiRpc(providers, chain.id)

    async def __aenter__(self) -> SuiRpc:
        return self.rpc

    async def __aexit__(self, *_: object) -> None:
        await self.rpc.close()


async def height(rpc: SuiRpc, limit_bytes: int = 1000) -> int:
    def read(answer: v2.GetServiceInfoResponse) -> int:
        if answer.checkpoint_height is None:
            raise ValueError("no height")
        return answer.checkpoint_height

    return await rpc.ask(GET_SERVICE_INFO, v2.GetServiceInfoRequest(), read, limit_bytes)


async def test_endpoint_that_is_down_is_set_aside_until_its_rest_is_over(
    chain: Chain, first: SuiDouble, second: SuiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 100.0)
    first.faults.is_down = True
    async with Connected([first.url, second.url], chain) as rpc:
        assert await height(rpc) == 0
        first.faults.is_down = False
        await height(rpc)
        now = asyncio.get_running_loop().time()
        sick, well = rpc.endpoints
        assert sick.rest_s(now, is_alone=False) > 30
        assert "UNAVAILABLE: the node is down" in str(sick.trouble)
        assert well.trouble is None
        second.faults.is_down = True
        sick.served()
        await height(rpc)
        assert sick.trouble is None, "it serves again"


async def test_chain_is_unavailable_when_all_endpoints_are_down(
    chain: Chain, first: SuiDouble, second: SuiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    first.faults.is_down = second.faults.is_down = True
    async with Connected([first.url, second.url], chain) as rpc:
        with pytest.raises(LedgerUnavailable, match=r"http://127.*UNAVAILABLE: the node is down"):
            await height(rpc)


async def test_a_lone_endpoint_that_was_asked_too_often_is_waited_for(
    chain: Chain, first: SuiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.002)
    async with Connected(first.url, chain) as rpc:
        await height(rpc)
        first.faults.busy_answers = 2 * TRIES
        assert await height(rpc) == 0
        assert not first.faults.busy_answers


async def test_endpoint_that_nothing_listens_at_is_unavailable(chain: Chain) -> None:
    async with SuiDouble(chain) as double:
        url = double.url
    async with Connected(url, chain) as rpc:
        with pytest.raises(
            LedgerUnavailable, match=rf"no connection to the chain at {url}: Connection refused$"
        ):
            await height(rpc)


async def test_endpoint_whose_connection_ends_is_asked_again(chain: Chain) -> None:
    async with SuiDouble(chain) as double:
        port = double.port
        async with Connected(double.url, chain) as rpc:
            await height(rpc)
            await double.stop()
            await SuiDouble.start(double)
            assert double.port == port
            assert await height(rpc) == 0


async def test_silent_endpoint_leaves_time_for_another(
    chain: Chain, first: SuiDouble, second: SuiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.sui.grpc.REQUEST_LIMIT_S", 0.4)
    first.faults.is_silent = True
    async with Connected([first.url, second.url], chain) as rpc:
        assert await height(rpc) == 0
        assert str(rpc.endpoints[0].trouble) == f"{first.url} did not answer GetServiceInfo within 0.2 s"


async def test_endpoints_that_are_all_silent_are_unavailable_within_the_limit(
    chain: Chain, first: SuiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.sui.grpc.REQUEST_LIMIT_S", 0.1)
    first.faults.is_silent = True
    async with Connected(first.url, chain) as rpc:
        with pytest.raises(LedgerUnavailable, match=r"did not answer GetServiceInfo within 0.1 s"):
            await asyncio.wait_for(height(rpc), 5)


async def test_endpoint_of_another_chain_is_not_used(chain: Chain, first: SuiDouble) -> None:
    async with SuiDouble(Chain(clock=lambda: 7)) as stranger:
        async with Connected([stranger.url, first.url], chain) as rpc:
            assert await height(rpc) == 0
            told = str(rpc.endpoints[0].trouble)
            assert digest_text(stranger.chain.id) in told
            assert digest_text(chain.id) in told
        async with Connected(stranger.url, chain) as rpc:
            with pytest.raises(LedgerUnavailable, match="but the deployment is on chain"):
                await height(rpc)


async def test_answer_over_the_limit_is_not_read(chain: Chain, first: SuiDouble, second: SuiDouble) -> None:
    async with Connected([first.url, second.url], chain) as rpc:
        with pytest.raises(
            AnswerTooLarge, match=r"answered GetServiceInfo with .* bytes, and 20 are the most"
        ):
            await height(rpc, limit_bytes=20)
        assert await height(rpc) == 0, "the connection is used again"
        assert all(endpoint.trouble is None for endpoint in rpc.endpoints)


async def test_answer_that_cannot_be_read_is_the_endpoints_fault(
    chain: Chain, first: SuiDouble, second: SuiDouble
) -> None:
    asked = []

    def read(answer: v2.GetServiceInfoResponse) -> str:
        asked.append(answer)
        if len(asked) == 1:
            raise ValueError("it is nonsense")
        return "sense"

    async with Connected([first.url, second.url], chain) as rpc:
        assert await rpc.ask(GET_SERVICE_INFO, v2.GetServiceInfoRequest(), read) == "sense"
        told = f"{first.url} answered GetServiceInfo with something that cannot be read: it is nonsense"
        assert str(rpc.endpoints[0].trouble) == told


async def test_refusal_counts_when_no_other_endpoint_serves(
    chain: Chain, first: SuiDouble, second: SuiDouble
) -> None:
    asked = []

    def read(answer: v2.GetServiceInfoResponse) -> str:
        asked.append(answer)
        raise CallRefused(f"refusal {len(asked)}", status=Status.NOT_FOUND)

    async with Connected([first.url, second.url], chain) as rpc:
        with pytest.raises(CallRefused, match="refusal 1") as refused:
            await rpc.ask(GET_SERVICE_INFO, v2.GetServiceInfoRequest(), read)
        assert refused.value.is_not_found
        assert len(asked) == 2
        assert all(endpoint.trouble is None for endpoint in rpc.endpoints)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{PASSWORD}@127.0.0.1:9000",
        f"https://127.0.0.1/{PASSWORD}",
        f"https://127.0.0.1?key={PASSWORD}",
    ],
)
def test_url_with_a_secret_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(LedgerError, match="has more in its URL than scheme, host and port") as refused:
        SuiRpc(url, bytes(32))
    assert PASSWORD not in str(refused.value)


async def test_headers_go_with_each_call_and_are_not_shown(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    seen = []

    async def refuse(stream: Any) -> None:
        seen.append(stream.metadata["x-api-key"])
        raise GRPCError(Status.INTERNAL, f"the key {PASSWORD} is used up")

    async with served(refuse) as url, Connected([Provider(url, {"X-Api-Key": PASSWORD})], chain) as rpc:
        with pytest.raises(LedgerUnavailable, match="INTERNAL: the key … is used up"):
            await height(rpc)
        assert set(seen) == {PASSWORD}
        assert PASSWORD not in repr(rpc.endpoints[0])


@pytest.mark.parametrize("content", [b"\1\0\0\0\1x", b"\0\0\0\0\4\x0a\xff\xff\xff", b"\0\0\0\0\7tail"])
async def test_answer_that_is_no_message_is_the_endpoints_fault(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """One that is compressed, one with a field longer than itself, one that ends before its end."""
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)

    async def answer(stream: Any) -> None:
        await stream.send_initial_metadata()
        await stream._stream.send_data(content, end_stream=True)

    async with served(answer) as url, Connected(url, chain) as rpc:
        with pytest.raises(
            LedgerUnavailable, match="answered GetServiceInfo with something that cannot be read"
        ):
            await height(rpc)


async def test_https_is_spoken_to_servers_that_the_system_trusts(
    chain: Chain, first: SuiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    server = Server([first])
    with socket.create_server((HOST, 0)) as listening:
        url = f"https://{HOST}:{listening.getsockname()[1]}"
        await server.start(sock=listening, ssl=context)
        async with Connected(url, chain) as rpc:
            with pytest.raises(LedgerUnavailable, match=rf"no connection to the chain at {url}: TLS failed"):
                await height(rpc)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with Connected(url, chain) as rpc:
            assert await height(rpc) == 0
        server.close()
        await server.wait_closed()


async def test_https_is_never_answered_in_the_clear(
    chain: Chain, first: SuiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    async with Connected(first.url.replace("http:", "https:"), chain) as rpc:
        with pytest.raises(LedgerUnavailable, match=r"TLS failed|did not answer|Connection"):
            await height(rpc)


async def test_closed_endpoints_say_so(chain: Chain, first: SuiDouble) -> None:
    rpc = SuiRpc(first.url, chain.id)
    await rpc.close()
    await rpc.close()
    with pytest.raises(LedgerError, match="was closed"):
        await height(rpc)


def test_missing_package_is_named_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "committee.ledger.sui.wire")
    monkeypatch.setitem(sys.modules, "betterproto2", None)
    with pytest.raises(
        LedgerError, match=r"betterproto2, which is not installed: pip install 'haulout\[sui\]'"
    ):
        importlib.import_module("committee.ledger.sui.wire")


@given(st.binary(min_size=32, max_size=32))
def test_digest_is_read_as_it_is_written(digest: bytes) -> None:
    assert read_digest(digest_text(digest)) == digest


@pytest.mark.parametrize("text", [None, "", "0", "1" * 31, "1" * 33, "1" * 44, "z" * 10**6, "\u00e4" * 40])
def test_text_that_is_no_digest_is_refused(text: str | None) -> None:
    with pytest.raises(ValueError, match=r"digest|Invalid character"):
        read_digest(text)


class Scripted:
    """A service that answers each call for the chain's name as a test wants."""

    def __init__(self, handle: Callable[[Any], Awaitable[None]]) -> None:
        self.handle = handle

    def __mapping__(self) -> dict[str, Handler]:
        method = GET_SERVICE_INFO
        return {method.path: Handler(self.handle, Cardinality.UNARY_UNARY, method.request, method.answer)}


@asynccontextmanager
async def served(handle: Callable[[Any], Awaitable[None]]) -> AsyncIterator[str]:
    """Yield the URL of a `Scripted` service."""
    server = Server([Scripted(handle)])
    with socket.create_server((HOST, 0)) as listening:
        await server.start(sock=listening)
        yield f"http://{HOST}:{listening.getsockname()[1]}"
        server.close()
        await server.wait_closed()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return the files of a certificate for this machine and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, which makes the certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=double"
    subprocess.run(
        [*command.split(), "-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key
