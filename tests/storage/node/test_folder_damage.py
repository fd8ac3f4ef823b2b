"""Something else in the place of a node's settings, keys or record of the chain: one line, or made anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from committee.errors import InvalidKey, LedgerError
from committee.ledger.evm import Deployment
from committee.ledger.evm.deployment import domain_of
from localnet.ports import free_port
from storage.node.chain.store import FILE, ChainStore
from storage.node.config import ConfigError, account_key, bls_key, load_config
from storage.node.folder import make_folder
from storage.node.sqlite import StoreError
from storage.node.store import SliverStore
from tests.damages import (
    DAMAGES,
    Damage,
    as_user,
    device,
    fifo,
    link_to_a_file,
    link_to_what_was_there,
    playground,
    read_only,
    unreadable,
)
from tests.storage.node.chain.kept import DOMAIN, put, whole
from tests.storage.node.chain.test_chain_store import FIRST, SAVED

MANIFEST = "deployment.json"
READ: dict[str, Callable[[Path], object]] = {
    "node.toml": load_config,
    "keys/bls.key": bls_key,
    "keys/account.key": account_key,
    "keys": bls_key,
    MANIFEST: lambda folder: Deployment.load(folder / MANIFEST),
}
"""What is only read: its place, and what reads it."""
LIMIT_S = 60.0
CHAIN_PLACES = [FILE + suffix for suffix in ("", "-wal", "-shm", "-journal")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's folder with all that is not slivers."""
    folder = tmp_path_factory.mktemp("made")
    settings = {"name": "a", "rpc_url": "http://a:1", "deployment": MANIFEST}
    make_folder(folder, {**settings, "port": 1, "allow_private_addresses": True})
    one = "0x" + "11" * 20
    manifest = Deployment(1, one, one, one, one, one, one, one, one, 0, domain_of(1, one), "latest")
    manifest.save(folder / MANIFEST)
    with contextlib.closing(ChainStore(folder)) as store:
        store.open(DOMAIN)
        put(store, FIRST)
        shutil.copytree(folder, folder / "copy")
    return folder / "copy"


def damaged(made: Path, place: str) -> Iterator[tuple[Damage, Path]]:
    """Yield each damage and a copy of the folder in which it was done to `place`; look at what lies outside after."""
    for damage in DAMAGES:
        if damage is device and os.geteuid() != 0:
            continue
        with playground() as ground:
            folder = ground.inside / "node"
            shutil.copytree(made, folder)
            ground.damage(damage, folder / place)
            yield damage, folder
            ground.check_outside()


@pytest.mark.parametrize("place", READ)
def test_what_is_read_is_right_or_told_in_one_line(made: Path, place: str) -> None:
    for damage, folder in damaged(made, place):
        harmless = damage in (link_to_what_was_there, read_only)
        try:
            with as_user():
                READ[place](folder)
            assert harmless, damage
        except (ConfigError, InvalidKey, LedgerError) as error:
            assert not harmless or (damage is read_only and "chmod 600" in str(error)), damage
            assert str(folder / place) in str(error)
            assert "\n" not in str(error)


@pytest.mark.parametrize("place", CHAIN_PLACES)
def test_a_record_of_the_chain_is_right_or_made_anew(made: Path, place: str) -> None:
    for damage, folder in damaged(made, place):
        with as_user():
            with contextlib.closing(ChainStore(folder)) as store:
                assert whole(store) in (None, SAVED), damage
                put(store, FIRST)
            with contextlib.closing(ChainStore(folder)) as store:
                assert whole(store) == SAVED, damage


@pytest.mark.parametrize("damage", [unreadable, read_only])
def test_a_folder_in_which_nothing_can_be_made_anew_is_told_in_one_line(made: Path, damage: Damage) -> None:
    with playground() as ground:
        folder = ground.inside / "node"
        shutil.copytree(made, folder)
        (folder / FILE).write_bytes(b"no database" * 1000)
        (folder / f"{FILE}-wal").unlink()
        ground.damage(damage, folder)
        with (
            as_user(),
            contextlib.closing(ChainStore(folder)) as store,
            pytest.raises(StoreError, match=FILE),
        ):
            store.open(DOMAIN)


async def test_a_process_ends_at_once_and_says_what_is_damaged(made: Path) -> None:
    async def run(place: str, damage: Damage) -> None:
        with playground() as ground:
            folder = ground.inside / "node"
            shutil.copytree(made, folder)
            with SliverStore(folder / "store"):
                pass
            ground.damage(damage, folder / place)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "storage.node", str(folder)),
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "HAULOUT_NODE_PORT": str(free_port())},
            )
            async with asyncio.timeout(LIMIT_S):
                _, errors = await process.communicate()
            last = json.loads(errors.splitlines()[-1])
            assert process.returncode == 1
            assert str(folder / place) in last["error"]
            ground.check_outside()

    await asyncio.gather(run("keys/bls.key", fifo), run("store/index.sqlite", link_to_a_file))
