"""The operator's block list: how it is read, and what of a faulty one is said."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.client.errors import BlobUnavailable, NodeRefused
from storage.node import block_list
from storage.node.block_list import BlockList, BlockListError, parse
from storage.node.config import ConfigError
from storage.redstuff import Axis, blob_id_text
from tests.damages import (
    Damage,
    as_user,
    fifo,
    full_folder,
    link_to_a_device,
    link_to_itself,
    playground,
    unix_socket,
    unreadable,
)
from tests.logged import captured
from tests.storage.network import SHARDS
from tests.storage.node.handovers import BLOBS

if TYPE_CHECKING:
    from tests.storage.network import Network

ONE, TWO = bytes(range(32)), bytes(range(32, 64))


def write(path: Path, *lines: str) -> Path:
    """A file that is another than before, also to a clock that stands still."""
    new = path.with_suffix(".new")
    new.write_text("".join(line + "\n" for line in lines))
    return new.replace(path)


@given(
    blob_ids=st.lists(st.binary(min_size=32, max_size=32), max_size=5),
    comments=st.lists(
        st.text(st.characters(exclude_categories=("C", "Z")), max_size=9), min_size=6, max_size=6
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_what_is_written_is_read(blob_ids: list[bytes], comments: list[str], end: str, mark: str) -> None:
    lines = [f"# {comments[-1]}", ""]
    for blob_id, comment in zip(blob_ids, comments, strict=False):
        lines.append(f"  {blob_id_text(blob_id)}\t# {comment}")
    content = (mark + end.join(lines)).encode()
    assert parse(content) == (frozenset(blob_ids), [])


@given(st.binary(max_size=200))
def test_no_content_is_too_strange_to_be_read(content: bytes) -> None:
    blob_ids, bad_lines = parse(content)
    numbers = [number for number, _ in bad_lines]
    assert numbers == sorted(set(numbers))
    assert all(len(blob_id) == 32 for blob_id in blob_ids)


def test_bad_lines_are_told_and_skipped(tmp_path: Path) -> None:
    text = blob_id_text(ONE)
    path = write(
        tmp_path / "blocked", "# mine", text, text[:-1], "0x" + ONE.hex(), text + "=", blob_id_text(TWO)
    )
    listed = BlockList(path)
    with captured() as logs:
        listed.read()
    assert ONE in listed
    assert TWO in listed
    assert listed.health() == {"blobs": 2, "badLines": 3, "problem": ""}
    assert [one["line"] for one in logs if one["log_level"] == "warning"] == [3, 4, 5]


async def test_it_is_read_again_when_it_has_changed_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "blocked", blob_id_text(ONE))
    listed = BlockList(path)
    listed.read()
    parsed: list[bytes] = []

    def counted(content: bytes) -> tuple[frozenset[bytes], list[tuple[int, str]]]:
        parsed.append(content)
        return parse(content)

    monkeypatch.setattr(block_list, "parse", counted)
    await listed.look()
    assert not parsed
    write(path, blob_id_text(TWO))
    await listed.look()
    assert ONE not in listed
    assert TWO in listed
    assert len(parsed) == 1


async def test_a_change_within_a_step_of_the_clock_is_seen(tmp_path: Path) -> None:
    """git/git Documentation/technical/racy-git: the same size and time, and another content."""
    path = write(tmp_path / "blocked", blob_id_text(ONE))
    listed, changed_s = BlockList(path), int(time.time())
    os.utime(path, (changed_s, changed_s))
    listed.read()
    path.write_text(path.read_text().replace(blob_id_text(ONE), blob_id_text(TWO)))
    os.utime(path, (changed_s, changed_s))
    await listed.look()
    assert TWO in listed


@pytest.mark.parametrize("fault", ["gone", "a folder", "too large"])
async def test_a_file_that_cannot_be_read_leaves_the_list_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = write(tmp_path / "blocked", blob_id_text(ONE))
    listed = BlockList(path)
    listed.read()
    if fault == "too large":
        monkeypatch.setattr(block_list, "MAX_BYTES", 40)
        write(path, blob_id_text(TWO))
    else:
        path.unlink()
    if fault == "a folder":
        path.mkdir()
    with captured() as logs:
        for _ in range(3):
            await listed.look()
    assert ONE in listed
    assert "cannot be read" in listed.health()["problem"]
    assert str(tmp_path) not in listed.health()["problem"]
    assert len(logs) == 1, "not at every look"
    if fault == "a folder":
        path.rmdir()
    monkeypatch.undo()
    write(path)
    await listed.look()
    assert ONE not in listed
    assert listed.health() == {"blobs": 0, "badLines": 0, "problem": ""}


@pytest.mark.parametrize(
    "damage", [fifo, full_folder, link_to_itself, link_to_a_device, unix_socket, unreadable]
)
def test_what_is_no_file_is_told_and_not_waited_for(damage: Damage) -> None:
    with playground() as ground:
        path = ground.inside / "blocked.txt"
        path.write_text(blob_id_text(ONE))
        ground.damage(damage, path)
        with as_user(), pytest.raises(BlockListError, match=r"cannot read the block list .*blocked\.txt"):
            BlockList(path).read()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BlockListError, match=r"cannot read the block list .*missing: No such file"):
        BlockList(tmp_path / "missing").read()


async def test_a_node_does_not_start_without_the_list_it_is_to_have(network: Network, tmp_path: Path) -> None:
    node = network.running[1]
    await network.stop(1)
    node.block_list = BlockList(tmp_path / "missing")
    with pytest.raises(ConfigError, match="make it, if only empty, or take block_list out"):
        await node.run()


async def test_a_node_serves_no_blob_of_its_list_and_does_its_duties(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_list, "LOOK_S", 0.01)
    blob, other = BLOBS[:2]
    path = write(tmp_path / "blocked")
    await network.stop(*SHARDS)
    await network.start(*SHARDS, block_list=path)
    for one in (blob, other):
        await network.upload(one)
    assert await network.read(blob.blob_id)
    write(path, blob_id_text(blob.blob_id))
    for node in network.running.values():
        await network.until(lambda node=node: blob.blob_id in node.block_list)
    client = network.client(1)
    assert (await client.health())["blockList"] == {"blobs": 1, "badLines": 0, "problem": ""}
    pair = network.code.pair_of_shard(blob.blob_id, SHARDS[1][0])
    for request in (client.metadata(blob.blob_id), client.sliver(blob.blob_id, pair, Axis.PRIMARY)):
        with pytest.raises(NodeRefused, match=r"FORBIDDEN_BLOB: .*operator") as refused:
            await request
        assert refused.value.status == 451
    assert "permanent" in await client.blob_status(blob.blob_id)
    assert (await client.confirmation(blob.blob_id, None))[0]
    with pytest.raises(BlobUnavailable, match=r"node-1, .*: FORBIDDEN_BLOB"):
        await network.read(blob.blob_id)
    assert await network.read(other.blob_id)
    # A member gets it all the same: the one that lost its store repairs it, a new owner copies it.
    await network.stop(4)
    network.wipe(4)
    await network.start(4, block_list=path)
    await network.until(network.is_complete, 4, blob)
    network.chain.start({1: SHARDS[2], 2: SHARDS[1], 3: SHARDS[3], 4: SHARDS[4]})
    await network.until(lambda: network.chain.state.handover_done)
    write(path)
    for node in network.running.values():
        await network.until(lambda node=node: blob.blob_id not in node.block_list)
    assert await network.read(blob.blob_id)
