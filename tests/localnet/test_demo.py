"""The main job as a user runs it: the command, its JSON, its exit status, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "localnet.cli", "demo", "--json")
LIMIT_S = 480
"""Four times what it takes where nothing else computes."""


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demo as a process whose network lives below `folder`; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, NotADirectoryError):
            continue
        if str(folder) in command:
            found.append(command)
    return found


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - another process's doing sets no event here
            await asyncio.sleep(0.1)


async def test_demo_runs_the_main_job_and_every_check_holds(tmp_path: Path) -> None:
    file = tmp_path / "mine.bin"
    file.write_bytes(bytes(range(256)) * 1000)
    async with demo(tmp_path, str(file)) as process, asyncio.timeout(LIMIT_S):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    result = json.loads(output)
    assert result["ok"]
    assert all(check["holds"] for check in result["checks"])
    (blob,) = result["blobs"]
    assert blob["size_bytes"] == 256_000
    assert blob["certified_epoch"] == 1
    assert blob["read_ok"] == dict.fromkeys("12345", True)
    committees = result["committees"]
    for committee in committees:
        assert sorted(s for member in committee["members"] for s in member["shards"]) == list(range(100))
    assert len({len(member["shards"]) for member in committees[0]["members"]}) > 1, (
        "unequal stakes, unequal shards"
    )
    shards = [{member["name"]: member["shards"] for member in one["members"]} for one in committees]
    changes = result["handovers"]
    assert [(one["epoch"], one["period"]) for one in changes] == [(2, 1), (3, 2), (4, 3), (5, 3)]
    gone = [before.keys() - after.keys() for before, after in pairwise(shards)]
    assert gone == [{"barents"}, {"baffin"}, set(), {"pechora"}]
    for one, proof in zip((3, 4), result["proofs"], strict=True):
        assert (proof["epoch"], proof["missed"], len(proof["proven"])) == (one, ["pechora"], 8)
    assert [list(proof["fined"]) for proof in result["proofs"]] == [[], ["pechora"]]
    assert shards[2].keys() - shards[1].keys() == {"svalbard"}
    for handover, before, left in zip(changes, shards, gone, strict=False):
        departed = sum(len(before[name]) for name in left)
        assert handover["departed_shards"] == handover["rebuilt_shards"] == departed
        assert handover["kept_shards"] + handover["transferred_shards"] + departed == 100
        assert handover["rebuilt_bytes"] == handover["lower_bound_bytes"] == departed * (34 + 67) * 114
        assert handover["rebuilt_bytes"] + handover["transferred_bytes"] < handover["full_reencode_bytes"]
    assert changes[0]["transferred_shards"] == 0, "who stays keeps what it has"
    assert result["gas"]["certify"] <= 235_000
    assert processes_of(tmp_path) == []
    locks = f"haulout-{os.getuid()}"  # of the member that was killed, which could not remove its own
    assert {path.name for path in tmp_path.iterdir()} - {locks} == {"mine.bin"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_demo_interrupted_stops_everything_it_started(tmp_path: Path, number: signal.Signals) -> None:
    async with demo(tmp_path) as process:
        await until(lambda: len(processes_of(tmp_path)) > 3)
        process.send_signal(number)
        async with asyncio.timeout(LIMIT_S):
            _, errors = await process.communicate()
    assert process.returncode == 130
    assert errors.decode().splitlines() == ["stopping…", "interrupted; everything started has been stopped"]
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the chain is tied to its parent on Linux only")
async def test_demo_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    async with demo(tmp_path) as process:
        await until(lambda: len(processes_of(tmp_path)) > 3)
        process.kill()
        await process.communicate()
        await until(lambda: not processes_of(tmp_path))
    assert processes_of(tmp_path) == []


async def test_demo_refuses_a_file_too_large_before_it_starts_anything(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(34 * 67 * 65534 + 1)
    async with demo(tmp_path, str(file)) as process:
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"does not fit 100 shards, which take at most 149286452 bytes" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


async def test_demo_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    async with demo(tmp_path, str(tmp_path / "nowhere")) as process:
        output, errors = await process.communicate()
    assert process.returncode == 1
    assert output == b""
    assert json.loads(errors)["error"].startswith("no file ")


async def test_demo_calls_a_directory_one(tmp_path: Path) -> None:
    async with demo(tmp_path, str(tmp_path)) as process:
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert "is a directory" in json.loads(errors)["error"]
