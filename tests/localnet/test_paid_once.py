"""`haulout blob store` as a process that fails, is interrupted or cannot print after it has paid."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from committee.ledger.evm import AccountKey
from storage.redstuff import EncodedBlob, RedStuff, blob_id_text
from tests.localnet.lagging import slow_endpoint

if TYPE_CHECKING:
    from tests.localnet.conftest import Scenario

LIMIT_S = 60.0
ESTIMATE_S = 2.0
"""Processes that are started together differ by less until they pay."""


class Ended(NamedTuple):
    """A process that has ended."""

    status: int | None
    out: str
    errors: str

    @property
    def error(self) -> dict[str, Any]:
        """The JSON object on standard error."""
        told: dict[str, Any] = json.loads(self.errors)
        return told


class Writer:
    """An account with ether, and the commands that it types."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.network = scenario.network
        self.folder = folder
        self.key = AccountKey.generate()
        self.environment = os.environ | {
            "HAULOUT_RPC": self.network.chain.rpc_url,
            "HAULOUT_DEPLOYMENT": str(self.network.manifest),
            "HAULOUT_KEY": self.key.to_bytes().hex(),
        }

    def blob(self, content: bytes) -> tuple[Path, EncodedBlob]:
        """A file of this content, and the blob it is."""
        path = self.folder / content.hex()
        path.write_bytes(content)
        return path, RedStuff(13).encode(content)

    async def start(
        self, *words: str | Path, shell: str = "", **environment: str
    ) -> asyncio.subprocess.Process:
        """`haulout blob …`, with a redirection if need be."""
        command = f'exec "$0" -m localnet.cli blob "$@" {shell}'
        return await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", command, sys.executable, *map(str, words)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )

    async def run(self, *words: str | Path, shell: str = "") -> Ended:
        return await self.end(await self.start(*words, shell=shell))

    async def end(self, process: asyncio.subprocess.Process) -> Ended:
        async with asyncio.timeout(LIMIT_S):
            out, errors = await process.communicate()
        return Ended(process.returncode, out.decode(), errors.decode())

    async def registered(self, blob: EncodedBlob) -> int:
        """The blob's object, once it is registered."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                if objects := await self.objects(blob):
                    return objects[0]
                await asyncio.sleep(0.05)

    async def objects(self, blob: EncodedBlob) -> list[int]:
        """The blob's objects on chain, the account's alone."""
        found = await self.network.operator.blob_objects(blob.metadata.root, blob.length)
        return [one.object_id for one in found.objects if one.owner == self.key.address]


@pytest.fixture
async def writer(scenario: Scenario, tmp_path: Path) -> Writer:
    writer = Writer(scenario, tmp_path)
    await writer.network.fund(writer.key)
    return writer


async def check_that_two_at_once_pay_once(writer: Writer) -> None:
    """Both look for the blob's objects before the first of them has registered any."""
    path, blob = writer.blob(b"twice")
    async with slow_endpoint(writer.network.chain.rpc_url, "eth_estimateGas", ESTIMATE_S) as url:
        writer.environment["HAULOUT_RPC"] = url
        storing = [await writer.start("store", path, "--json") for _ in range(2)]
        ended = [await writer.end(process) for process in storing]
    assert [one.status for one in ended] == [0, 0], ended
    results = [json.loads(one.out) for one in ended]
    (object_id,) = await writer.objects(blob)
    assert [one["object_id"] for one in results] == [object_id, object_id]
    assert sum(one["register_gas"] > 0 for one in results) == 1


async def test_a_store_that_ends_badly_has_paid_once(writer: Writer) -> None:
    """Interrupted while nodes are missing, by Ctrl-C and by SIGTERM; finished with no place to print to."""
    names = ["delta", "echo"]
    for name in names:
        await writer.network.nodes[name].kill()
    interrupted = {number: writer.blob(number.name.encode()) for number in (signal.SIGINT, signal.SIGTERM)}
    storing = {
        number: await writer.start("store", path, "--json") for number, (path, _) in interrupted.items()
    }
    objects = {number: await writer.registered(blob) for number, (_, blob) in interrupted.items()}
    await asyncio.sleep(0.5)  # they wait for nodes now
    for number, process in storing.items():
        process.send_signal(number)
        ended = await writer.end(process)
        assert (ended.status, ended.out) == (3, "")
        name, object_id = blob_id_text(interrupted[number][1].blob_id), objects[number]
        assert f"interrupted; blob {name}, object {object_id}, is registered" in ended.error["error"]
        assert [one["action"] for one in ended.error["transactions"]] == ["Blobs.reserveAndRegister"]

    for name in names:
        await writer.network.nodes[name].start()
    await writer.network.serving(*names)
    path, blob = interrupted[signal.SIGINT]
    full = await writer.run("store", path, "--json", shell=">/dev/full")
    assert (full.status, full.out) == (3, "")
    assert "cannot be written to standard output" in full.error["error"]
    result = full.error["result"]
    assert (result["object_id"], result["register_gas"]) == (objects[signal.SIGINT], 0)
    assert result["certify_gas"] > 0

    closed = await writer.run("store", path, shell=">&-")
    assert closed.status == 1, "nothing was paid"
    assert "found certified; nothing was paid" in closed.errors
    assert "Traceback" not in closed.errors and "Exception ignored" not in closed.errors
    assert await writer.objects(blob) == [objects[signal.SIGINT]], "one object, paid once"
    await check_that_two_at_once_pay_once(writer)
