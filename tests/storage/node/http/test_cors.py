"""What a browser asks before it lets a page use a node, and what it must find in the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from storage.redstuff import EncodedBlob, blob_id_text

if TYPE_CHECKING:
    from tests.storage.conftest import OneNode

PAGE = {"Origin": "https://page.example"}


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("where", ["/v1/health", f"/v1/blobs/{'A' * 43}/metadata", "/v1/decodingSymbols"])
async def test_a_preflight_allows_what_a_page_needs(
    node: OneNode, session: aiohttp.ClientSession, where: str, method: str
) -> None:
    asked = PAGE | {
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
    }
    async with session.options(node.address + where, headers=asked) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
        assert answer.headers["Access-Control-Allow-Headers"] == "*"
        assert int(answer.headers["Access-Control-Max-Age"]) > 0
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert await answer.read() == b""


@pytest.mark.parametrize(
    ("method", "where", "status"),
    [
        ("GET", "/v1/health", 200),
        ("GET", "metadata", 200),
        ("GET", "/metrics", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/health", 405),
        ("GET", "/v1/blobs/short/metadata", 400),
    ],
)
async def test_a_page_may_read_every_answer(
    prepared: OneNode,
    session: aiohttp.ClientSession,
    blob: EncodedBlob,
    method: str,
    where: str,
    status: int,
) -> None:
    if where == "metadata":
        where = f"/v1/blobs/{blob_id_text(blob.blob_id)}/metadata"
    for headers in (PAGE, {"Origin": "null"}):
        async with session.request(method, prepared.address + where, headers=headers) as answer:
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_peers_get_no_headers_for_pages(node: OneNode, session: aiohttp.ClientSession) -> None:
    async with session.get(node.address + "/v1/health") as answer:
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(("where", "status"), [("/v1/health", 204), ("/v1/decodingSymbols", 204), ("/", 404)])
async def test_a_proxy_that_looks_whether_a_node_is_there_is_told_the_methods(
    node: OneNode, session: aiohttp.ClientSession, where: str, status: int
) -> None:
    """HAProxy asks so unless told otherwise: standardnotes/server#1038, phpmyadmin/docker#126."""
    async with session.options(node.address + where) as answer:
        assert answer.status == status
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
        if status == 204:
            assert "OPTIONS" in answer.headers["Allow"].split(", ")
    async with session.head(node.address + "/v1/health") as answer:
        assert answer.status == 200
