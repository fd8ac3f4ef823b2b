"""A running node whose store's index is removed or damaged: it ends, and says what to do, as it does at a start."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage.client.errors import NodeError
from storage.node import node as node_module
from storage.node.store import SliverStore, StoreDamaged, StoreError
from storage.redstuff import Axis

if TYPE_CHECKING:
    from tests.storage.network import Network


def removed(path: Path) -> None:
    path.unlink()


def damaged(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes(one ^ 0x5A for one in content))


@pytest.mark.parametrize(
    ("lose", "name"),
    [(removed, "index.sqlite"), (removed, "index.sqlite-wal"), (damaged, "index.sqlite-wal")],
)
async def test_a_node_ends_when_its_index_is_lost(
    stored: Network, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Path], None], name: str
) -> None:
    monkeypatch.setattr(node_module, "STORE_LOOK_S", 0.01)
    running, node = stored.tasks.pop(1), stored.running.pop(1)
    lose(stored.store_folder(1) / name)
    async with asyncio.timeout(20):
        while not running.done():
            # What is asked for meets the damage.
            with contextlib.suppress(NodeError):
                await stored.client(1).confirmation(next(iter(stored.uploaded)), None)
            with contextlib.suppress(StoreError):
                node.store.put_sliver(bytes(32), 0, Axis.PRIMARY, b"new")
    with pytest.raises(StoreDamaged, match=r"Put back index\.sqlite, .* or move .* away and start again"):
        await running


@pytest.mark.parametrize("failure", [errno.EIO, errno.EACCES, errno.ESTALE])
@pytest.mark.parametrize("lasts", [False, True])
async def test_a_disk_that_fails_ends_a_node_only_if_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: int, lasts: bool
) -> None:
    monkeypatch.setattr(node_module, "STORE_LOOK_S", 0.0)
    most = node_module.STORE_LOOKS
    look, looks = Path.lstat, 0

    def lstat(path: Path) -> os.stat_result:
        nonlocal looks
        if path.name != "index.sqlite":
            return look(path)
        looks += 1
        if lasts or looks % most:
            raise OSError(failure, os.strerror(failure), str(path))
        if looks > 3 * most:
            (tmp_path / "store" / "lock").unlink(missing_ok=True)
        return look(path)

    with SliverStore(tmp_path / "store") as store:
        monkeypatch.setattr(Path, "lstat", lstat)
        expected = StoreError if lasts else StoreDamaged
        async with asyncio.timeout(20):
            with pytest.raises(expected, match=os.strerror(failure) if lasts else "removed or replaced"):
                await node_module.require_store(store)
        monkeypatch.undo()
    assert looks == most if lasts else looks > 3 * most


@pytest.mark.parametrize("left", [(), ("lost+found",)])
async def test_a_node_whose_disk_is_not_mounted_does_not_begin_anew(
    network: Network, left: tuple[str, ...]
) -> None:
    """storj/storj#3973, minio/minio#11810: what was on the disk was fetched again, to the disk below."""
    await network.stop(1)
    network.wipe(1)
    store = network.store_folder(1)
    store.mkdir()
    for name in left:
        (store / name).mkdir()
    with pytest.raises(AssertionError, match="mount its disk there"):
        await network.start(1)
    await network.stop(1)
    assert sorted(one.name for one in store.iterdir()) == list(left)
    (store.parent / "chain.sqlite").unlink()
    await network.start(1)
