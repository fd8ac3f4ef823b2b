"""`haulout blob …` as its user types it, against a network of real nodes."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from committee.errors import CommitteeError, LedgerRefused
from committee.ledger.evm import AccountKey
from committee.printing import PAID, CommandFailed, details_of
from storage.cli import app
from storage.client.errors import ClientError, WrongBlob
from storage.redstuff import RedStuff, TooLarge, blob_id_text

if TYPE_CHECKING:
    from tests.localnet.conftest import Scenario


def no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")


Run = Callable[..., Awaitable[dict[str, Any]]]


@pytest_asyncio.fixture(loop_scope="module")
async def haulout(five: Scenario, tmp_path: Path) -> Run:
    """`haulout blob …` from an account of its own; what it prints as JSON."""
    key, network = AccountKey.generate(), five.network
    await network.fund(key)
    key_file = tmp_path / "account.key"
    key_file.touch(0o600)
    key_file.write_text(key.to_bytes().hex())
    options = [
        "--rpc",
        network.chain.rpc_url,
        "--deployment",
        str(network.manifest),
        "--key-file",
        str(key_file),
    ]

    async def run(*words: str) -> dict[str, Any]:
        answer = await asyncio.to_thread(CliRunner().invoke, app, ["blob", *words, *options, "--json"])
        if answer.exception is not None:
            raise answer.exception
        result: dict[str, Any] = json.loads(answer.stdout)
        return result

    return run


@pytest.mark.asyncio(loop_scope="module")
async def test_a_blob_from_its_registration_to_its_end(
    haulout: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(random.Random(5).randbytes(70_000))
    other.write_bytes(b"another blob")
    name = blob_id_text(RedStuff(13).blob_id(file.read_bytes()))

    registered = await haulout("register", str(file), "--periods", "2", "--deletable")
    assert registered["blob_id"] == name
    object_id = str(registered["object_id"])
    with pytest.raises(WrongBlob, match="was registered for blob"):
        await haulout("certify", object_id, str(other))
    assert (await haulout("certify", object_id, str(file)))["certified_epoch"] == 1
    await haulout("read", name, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    with pytest.raises(CommitteeError, match="exists"):
        await haulout("read", name, str(tmp_path / "copy"))
    with pytest.raises(CommitteeError, match="there is no folder"):
        await haulout("read", name, str(tmp_path / "nowhere" / "copy"))
    with monkeypatch.context() as full_disk:
        full_disk.setattr("storage.client.files.write_whole", no_space)
        with pytest.raises(ClientError, match=r"cannot write .*third: No space left"):
            await haulout("read", name, str(tmp_path / "third"))
    huge = tmp_path / "huge"
    with huge.open("wb") as sparse:
        sparse.truncate(20 * 2**30)
    with monkeypatch.context() as unread:
        unread.setattr(os, "pread", no_space)
        for words in (["store", str(huge)], ["certify", object_id, str(huge)]):
            with pytest.raises(TooLarge, match="does not fit 13 shards"):
                await haulout(*words)

    await haulout("extend", object_id, "--periods", "3")
    status = await haulout("status", name)
    assert status["live"] and status["objects"][0]["end_period"] == 6
    assert status["blob_id"] == name and "blob_id" not in status["objects"][0]
    await haulout("delete", object_id)
    for nowhere in (name, blob_id_text(bytes(32))):
        with pytest.raises(
            CommitteeError, match="registered in a later one, never, or is deleted or expired"
        ):
            await haulout("status", nowhere)
    with pytest.raises(LedgerRefused, match="UnknownObject"):
        await haulout("extend", object_id)

    stored = await haulout("store", str(other))
    assert (await haulout("status", stored["blob_id"]))["objects"][0]["owner"] == status["objects"][0][
        "owner"
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_several_files_are_stored_together_and_one_that_fails_alone(
    haulout: Run, tmp_path: Path
) -> None:
    files = [tmp_path / f"file-{number}" for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(random.Random(number).randbytes(1000 + number))
    (tmp_path / "again").write_bytes(files[0].read_bytes())
    huge = tmp_path / "huge"
    with huge.open("wb") as sparse:
        sparse.truncate(20 * 2**30)
    dangling, folder = tmp_path / "dangling", tmp_path / "folder"
    dangling.symlink_to("nowhere")
    folder.mkdir()
    names = [blob_id_text(RedStuff(13).blob_id(file.read_bytes())) for file in files]
    others = [
        str(huge),
        str(dangling),
        str(folder),
        f"{files[3]}/",
    ]  # aws/aws-cli#487, MagaluCloud/magalu#1302
    with pytest.raises(
        CommandFailed,
        match=r"4 of 7 files were not stored: .*huge: .* does not fit.*there is no file .*dangling",
    ) as failed:
        await haulout("store", *map(str, files[:2]), *others, str(files[2]), "--periods", "2")
    assert failed.value.status == PAID
    details = details_of(failed.value)
    assert [one["file"] for one in details["stored"]] == [str(file) for file in files[:3]]
    assert [one["file"] for one in details["failed"]] == others
    told = await haulout("store", *map(str, files), str(tmp_path / "again"), "--periods", "2")
    rows = told["stored"]
    assert [one["file"] for one in rows] == [*map(str, files), str(tmp_path / "again")]
    assert [one["blob_id"] for one in rows] == [*names, names[0]]
    found, registered = "found certified; nothing was paid", "registered and certified"
    assert [one["outcome"] for one in rows] == [found] * 3 + [registered] * 2 + [found]
    await haulout("read", names[4], str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == files[4].read_bytes()
