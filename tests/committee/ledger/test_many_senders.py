"""One account, many senders: tasks, threads and processes over a real chain, and the lock they share."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import multiprocessing
import os
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from committee.errors import LedgerUnavailable
from committee.ledger import machine_lock
from committee.ledger.evm import AccountKey, Deployment, EvmLedger
from committee.ledger.evm.nonces import Nonces
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network

HOLDER = "0x00000000000000000000000000000000000000AA"
EACH = 4
"""Transactions of one sender."""
ACCOUNT = "0x00000000000000000000000000000000000000BB"


def register_some(rpc_url: str, manifest: str, secret: bytes, number: int) -> int:
    """In a thread or process of its own: register blobs and mint, one after the other and at once; how many came."""

    async def send() -> int:
        ledger = await EvmLedger.connect(rpc_url, Deployment.from_json(manifest), AccountKey(secret))
        async with ledger:
            sent = await asyncio.gather(
                *(
                    ledger.register_blob((number * EACH + place).to_bytes(32, "big"), 5000, 3)
                    for place in range(EACH // 2)
                )
            )
            for _ in range(EACH // 2):
                await ledger.mint(HOLDER, 1)
            return len(sent) + EACH // 2

    return asyncio.run(send())


async def all_send(network: Network, pool: Executor, senders: int) -> None:
    loop = asyncio.get_running_loop()
    secret, manifest = network.key.to_bytes(), network.deployment.to_json()
    came = await asyncio.gather(
        *(
            loop.run_in_executor(pool, register_some, network.chain.rpc_url, manifest, secret, number)
            for number in range(senders)
        )
    )
    assert came == [EACH] * senders
    assert await network.operator.balance(HOLDER) == senders * EACH // 2
    assert len(await live_objects(network.operator)) == senders * EACH // 2


async def test_threads_that_send_from_one_account_all_come_through(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    await network.begin_epoch()
    with ThreadPoolExecutor(6) as pool:
        await all_send(network, pool, 6)


@pytest.mark.parametrize(
    ("senders", "interval_s"),
    [(2, 0), pytest.param(6, 0, marks=pytest.mark.slow), pytest.param(6, 1, marks=pytest.mark.slow)],
)
async def test_processes_that_send_from_one_account_all_come_through(
    launch: Launch, senders: int, interval_s: int
) -> None:
    network = await launch((40, 30, 20, 10))
    await network.begin_epoch()
    if interval_s:
        await network.chain.request("evm_setAutomine", False)
        await network.chain.request("evm_setIntervalMining", interval_s)
    with ProcessPoolExecutor(senders, multiprocessing.get_context("spawn")) as pool:
        await all_send(network, pool, senders)


async def test_senders_without_a_common_lock_take_the_next_nonce(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    monkeypatch.setattr("committee.ledger.machine_lock._open", lambda name, create: None)
    monkeypatch.setattr("committee.ledger.evm.broadcast.LOOK_PAUSE_S", 0.01)
    await network.chain.request("evm_setAutomine", False)
    await network.chain.request("evm_setIntervalMining", 1)
    ledgers = []
    for _ in range(4):
        ledger = EvmLedger.open(network.chain.rpc_url, network.deployment, network.key)
        await network.connections.enter_async_context(ledger)
        assert ledger._sender is not None
        ledger._sender._nonces = Nonces(network.deployment.chain_id, ledger._sender.account)
        ledgers.append(ledger)
    # Different amounts: what is the same to the last byte, nonce and fees included, is one transaction to the chain.
    await asyncio.gather(*(ledger.mint(HOLDER, 1 << place) for place, ledger in enumerate(ledgers)))
    assert await network.operator.balance(HOLDER) == 0b1111


# the lock


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"haulout-{os.getuid()}"


@pytest.mark.parametrize("lacks", ["a temporary folder", "locks"])
async def test_where_there_can_be_no_lock_there_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    """As in a container whose root is read-only, or on a file system without locks."""

    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if lacks == "locks":
        monkeypatch.setattr(fcntl, "flock", no_lock)
    else:
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.setattr("tempfile._candidate_tempdir_list", list)
    assert await machine_lock.acquire("lock", 1) is None
    async with machine_lock.held("lock", 1):
        machine_lock.remove_abandoned()


async def test_a_lock_that_is_held_too_long_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("committee.ledger.evm.nonces.LOCK_LIMIT_S", 0.05)
    nonces = Nonces(1, ACCOUNT)
    async with nonces.turn():
        pass
    (file,) = folder.iterdir()
    with file.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LedgerUnavailable, match=rf"nothing was sent: .*{file.name} for 0 s"):
            async with nonces.turn():
                pass
    async with nonces.turn():
        pass


async def test_a_counter_is_read_anew_after_another_one_had_its_turn(folder: Path) -> None:
    one, other = Nonces(1, ACCOUNT), Nonces(1, ACCOUNT)
    async with one.turn():
        one.next = 7
    async with one.turn():
        assert one.next == 7
    async with other.turn():
        other.next = 8
    async with one.turn():
        assert one.next is None


async def test_the_last_holder_takes_the_file_with_it(folder: Path) -> None:
    one, other = Nonces(1, ACCOUNT), Nonces(1, ACCOUNT)
    for nonces in (one, other):
        async with nonces.turn():
            pass
    one.close()
    assert len(list(folder.iterdir())) == 1
    other.close()
    other.close()
    assert not folder.exists()
    async with one.turn():
        assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


@pytest.mark.parametrize("kind", ["link", "file", "foreign", "open to others"])
async def test_a_folder_that_others_may_write_to_is_not_used(folder: Path, tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        folder.touch()
    elif kind == "foreign":
        (tmp_path / "none").mkdir()
        folder.parent.joinpath(folder.name).symlink_to("none/../missing")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    async with Nonces(1, ACCOUNT).turn():
        pass
    assert not list((tmp_path / "elsewhere").glob("*"))
    if folder.is_dir():
        assert list(folder.iterdir()) == []


async def test_the_folder_goes_with_its_last_file(folder: Path) -> None:
    one, other = Nonces(1, ACCOUNT), Nonces(1, HOLDER)
    async with one.turn():
        async with other.turn():
            pass
        other.close()
        assert [path.name for path in folder.iterdir()] == [f"1-{ACCOUNT.lower()}.lock"]
    one.close()
    assert not folder.exists()


def used_long_ago(folder: Path, name: str) -> Path:
    """The lock file of a process that was killed."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_bytes(b"0" * 32)
    long_ago_s = time.time() - machine_lock.ABANDONED_S - 1
    os.utime(file, (long_ago_s, long_ago_s))
    return file


async def test_lock_files_of_killed_processes_go_with_the_next_sender_of_any_account(folder: Path) -> None:
    for number in range(20):
        used_long_ago(folder, f"1-{number}.lock")
    recent = folder / "1-recent.lock"
    recent.touch()
    held = used_long_ago(folder, "1-held.lock")
    with held.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        one = Nonces(1, ACCOUNT)
        async with one.turn():
            pass
        one.close()
        assert set(folder.iterdir()) == {recent, held}
    recent.unlink()
    one.close()
    assert not folder.exists()


async def test_a_lock_that_is_used_is_not_abandoned(folder: Path) -> None:
    one, other = Nonces(1, ACCOUNT), Nonces(1, HOLDER)
    async with one.turn():
        one.next = 7
    (file,) = folder.iterdir()
    os.utime(file, (0, 0))
    async with one.turn():
        assert one.next == 7
    other.close()
    async with one.turn():
        assert one.next == 7


async def test_a_lock_that_was_used_lately_is_never_held_by_a_look_for_abandoned_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes that ended together left the lock of one: it found its own file held by another's look."""
    async with Nonces(1, ACCOUNT).turn():
        pass
    locked = list[int]()
    monkeypatch.setattr("committee.ledger.machine_lock.fcntl.flock", lambda file, how: locked.append(file))
    machine_lock.remove_abandoned()
    assert locked == []
    (file,) = folder.iterdir()
    os.utime(file, (0, 0))
    machine_lock.remove_abandoned()
    assert locked and not folder.exists()


async def test_whoever_waits_for_a_lock_file_that_is_removed_gets_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and its lock the file is abandoned, and removed by another sender's end."""
    used_long_ago(folder, f"1-{ACCOUNT.lower()}.lock")
    locked = fcntl.flock
    removals = iter([True])

    def lock_late(file: int, how: int) -> None:
        if next(removals, False):
            Nonces(1, HOLDER).close()
        locked(file, how)

    monkeypatch.setattr("committee.ledger.machine_lock.fcntl.flock", lock_late)
    async with Nonces(1, ACCOUNT).turn():
        (file,) = folder.iterdir()
        assert file.stat().st_mtime > time.time() - machine_lock.ABANDONED_S
        with file.open("r+b") as second, pytest.raises(BlockingIOError):
            locked(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_lock_is_taken_though_its_folder_is_removed_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    removals = iter((True, True, False))

    def open_late(path: Path, flags: int, mode: int) -> int:
        if next(removals):
            path.parent.rmdir()
        return opened(path, flags, mode)

    monkeypatch.setattr("committee.ledger.evm.nonces.os.open", open_late)
    async with Nonces(1, ACCOUNT).turn():
        assert [path.name for path in folder.iterdir()] == [f"1-{ACCOUNT.lower()}.lock"]


# one payer of a blob


async def test_two_that_pay_for_the_same_blob_at_once_pay_once(launch: Launch, folder: Path) -> None:
    """As two processes of one account do that store the same bytes at the same moment."""
    network = await launch((10,))
    await network.begin_epoch()
    root = bytes(range(32))

    async def pay() -> None:
        async with EvmLedger.open(network.chain.rpc_url, network.deployment, network.key) as ledger:
            ledger._sending()._nonces = Nonces(network.deployment.chain_id, network.key.address)
            async with ledger.only_payer(root):
                await ledger.drain()
                if not (await ledger.blob_objects(root, 5000)).objects:
                    await ledger.register_blob(root, 5000, 3)

    await asyncio.gather(*(pay() for _ in range(3)))
    assert len((await network.operator.blob_objects(root, 5000)).objects) == 1
    async with network.operator.only_payer(root), network.operator.only_payer(bytes(32)):
        pass
    assert not folder.exists() or not list(folder.glob("*-" + root.hex() + "*"))


async def test_a_payer_that_takes_too_long_is_named(
    launch: Launch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.writer.PAYER_LIMIT_S", 0.05)
    async with network.operator.only_payer(bytes(32)):
        with pytest.raises(LedgerUnavailable, match=r"nothing was paid: another process .*\.lock for 0 s"):
            async with network.operator.only_payer(bytes(32)):
                pass
