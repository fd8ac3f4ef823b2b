"""`haulout localnet`: what it prints is enough for the other commands, and nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from committee.ledger.evm import DeploymentParameters
from localnet.chain import LocalChain
from localnet.network import LocalNetwork
from localnet.node_process import NetworkError
from localnet.stay import stay, usage
from tests.localnet.test_demo import LIMIT_S, processes_of

HAULOUT = (sys.executable, "-m", "localnet.cli")


async def haulout(environment: dict[str, str], *words: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *HAULOUT, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def test_the_commands_work_on_a_local_network_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    network = await asyncio.create_subprocess_exec(
        *(*HAULOUT, "localnet", "--nodes", "3", "--epoch-s", "3600", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        assert network.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            environment |= json.loads(await network.stdout.readline())
        status, out, _ = await haulout(environment, "epoch", "status", "--json")
        assert (status, json.loads(out)["epoch"]) == (0, 1)
        status, out, errors = await haulout(environment, "stake", "add", "1", "2.5", "--json")
        assert status == 0, errors
        status, out, errors = await haulout(environment, "epoch", "close", "--json")
        refused = json.loads(errors)
        assert (status, out, refused["reason"]) == (1, "", "HandoverIsDone")
        assert "haulout epoch status" in refused["hint"]
        status, out, errors = await haulout(environment, "epoch", "close")
        assert errors.count("\n") == 1 and refused["hint"] in errors
    finally:
        for _ in range(2):  # as the kernel and a shell do when the terminal is closed
            network.send_signal(signal.SIGHUP)
        async with asyncio.timeout(LIMIT_S):
            _, last = await network.communicate()
    assert last.decode().splitlines()[0] == "stopping…"
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(NetworkError, match="is not an empty folder"):
        await stay(tmp_path, 1, 10, 60, print)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_shell_lines_set_what_the_json_object_names(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    network = LocalNetwork(folder, DeploymentParameters(10, price_per_mib_period=1, write_price_per_mib=1))
    network.chain = LocalChain(folder / "chain")
    script = usage(network, as_json=False) + "\nenv"
    lines = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {f"{name}={value}" for name, value in json.loads(usage(network, as_json=True)).items()} <= {*lines}
