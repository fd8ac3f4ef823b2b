"""What a node makes of a chain that is silent or refuses when the node starts; over a chain in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from committee.errors import LedgerError, LedgerNotSettled, LedgerRefused, LedgerUnavailable
from storage.node.chain import waiting
from storage.node.store import SliverStore, StoreError, StoreFull
from tests.logged import captured
from tests.storage.network import SHARDS, HeldLedger

if TYPE_CHECKING:
    from tests.storage.network import Network

TROUBLES = {
    "a revert, perhaps made up": LedgerRefused("Registry.nodeOf", "UnknownError"),
    "silence": LedgerUnavailable("no answer within 5 s"),
}


def have_nodes_fail(monkeypatch: pytest.MonkeyPatch, trouble: LedgerError) -> None:
    """From now on nobody can look at the registrations."""

    async def fail(_: HeldLedger, account: str) -> Any:
        raise trouble

    monkeypatch.setattr(HeldLedger, "node_of", fail)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_a_node_that_ran_before_serves_as_the_node_it_was(
    network: Network, monkeypatch: pytest.MonkeyPatch, trouble: LedgerError
) -> None:
    await network.stop(2)
    have_nodes_fail(monkeypatch, trouble)
    await network.start(2)
    health = await network.client(2).health()
    assert (health["nodeId"], health["epoch"]) == (2, 1)
    assert health["shards"]["owned"] == len(SHARDS[2])
    assert abs(health["unixSeconds"] - time.time()) < 60 and health["clockAheadSeconds"] == 0


async def test_a_disk_that_takes_no_id_stops_no_start(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreFull("no space is left on the disk")

    await network.stop(2)
    monkeypatch.setattr("storage.node.chain.store.ChainStore.save_node_id", fail)
    await network.start(2)
    assert (await network.client(2).health())["nodeId"] == 2


@pytest.mark.parametrize("fails", ["Watch", "create_app", "HttpServer.start"])
async def test_a_node_that_fails_while_it_starts_leaves_no_connections_open(
    network: Network, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    await network.stop(2)

    def fail(*_: object) -> Any:
        raise MemoryError("no room for this part")

    monkeypatch.setattr(f"storage.node.node.{fails}", fail)
    node = network.build(2)
    with pytest.raises(MemoryError, match="no room for this part"):
        await node.run()
    assert node.peers._bulk.closed and node.peers._watch.closed


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_a_node_that_has_saved_nothing_ends_with_what_the_chain_said(
    network: Network, monkeypatch: pytest.MonkeyPatch, trouble: LedgerError
) -> None:
    await network.stop(2)
    have_nodes_fail(monkeypatch, trouble)
    node = network.build(2, network.folder / "new")
    async with asyncio.timeout(10):
        with pytest.raises(type(trouble), match=str(trouble)):
            await node.run()


async def test_a_stake_that_an_earlier_process_has_sent_is_not_sent_again(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ethereum/staking-launchpad#165: the node was restarted before its transaction was mined."""
    before = network.chain.nodes[2].stake
    drained: list[int] = []

    async def drain(ledger: HeldLedger) -> None:
        drained.append(ledger.chain.nodes[2].stake)
        if len(drained) == 1:
            await ledger.stake(2, 5)  # the earlier one is mined

    monkeypatch.setattr(HeldLedger, "drain", drain)
    for stake, sees in ((before, []), (before + 5, [before]), (before + 7, [before, before + 5])):
        await network.stop(2)
        await network.start(2, stake=stake)
        assert (network.chain.nodes[2].stake, drained) == (stake, sees)


@pytest.mark.parametrize(("umask", "expected"), [(0o000, 0o022), (0o002, 0o022), (0o077, 0o077)])
def test_nobody_else_may_write_to_what_a_node_makes(umask: int, expected: int) -> None:
    program = (
        f"import asyncio, os; os.umask({umask}); asyncio.run = lambda work: (work.close(), print(os.umask(0)))\n"
        "from pathlib import Path; from storage.node import __main__ as node; node.run(Path('folder'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(told.stdout) == expected


async def test_a_node_waits_for_an_endpoint_that_is_being_synchronised(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """livepeer/go-livepeer#1564. It says so, once and then once a while; and it reads no other node's registration."""
    monkeypatch.delattr("tests.memory_chain.ledger.MemoryLedger.nodes")
    monkeypatch.setattr("storage.node.chain.waiting.SETTLING_POLL_S", 0.0)
    monkeypatch.setattr("storage.node.chain.waiting.TOLD_EVERY_S", 0.0)
    await network.stop(2)
    left, real = 3, HeldLedger.node_of

    async def node_of(ledger: HeldLedger, account: str) -> Any:
        nonlocal left
        if left == 0:
            return await real(ledger, account)
        left -= 1
        raise LedgerNotSettled("the contracts were deployed in block 12, and the endpoint is at block 0")

    monkeypatch.setattr(HeldLedger, "node_of", node_of)
    node = network.build(2, network.folder / "new")
    with captured() as told:
        running = asyncio.create_task(node.run())
        async with asyncio.timeout(10):
            await node.serves.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    words = [one["event"] for one in told if "settle" in one["event"]]
    still = "still waiting for the chain to settle"
    assert words == ["waiting for the chain to settle", still, still, "the chain has settled the contracts"]


@pytest.mark.parametrize("is_zero_for_ever", [True, False])
async def test_a_wait_for_a_finality_that_a_chain_does_not_have_ends(
    monkeypatch: pytest.MonkeyPatch, *, is_zero_for_ever: bool
) -> None:
    monkeypatch.setattr(waiting, "SETTLING_POLL_S", 0.0)
    now_s, asked = 0.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)

    async def work() -> str:
        nonlocal now_s, asked
        asked += 1
        if asked == 20:
            return "settled"
        now_s += waiting.NO_FINALITY_S / 10
        error = LedgerNotSettled("block 0")
        error.lacks_finality = is_zero_for_ever or asked % 10 != 0
        raise error

    if not is_zero_for_ever:
        assert await waiting.once_settled(work) == "settled"
        return
    with pytest.raises(LedgerNotSettled):
        await waiting.once_settled(work)
    assert asked == 11


@pytest.mark.parametrize(
    "start",
    [
        "sys.argv[1:] = ['folder']; node.main()",
        "from pathlib import Path; from storage.node import cli; cli.run_node(Path('folder'))",
    ],
    ids=["python -m storage.node", "haulout node run"],
)
def test_threads_that_compute_give_way_to_requests_soon(start: str) -> None:
    code = (
        "import sys; from storage.node import __main__ as node;"
        "node.asyncio.run = lambda work: (work.close(), print(sys.getswitchinterval()));" + start
    )
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    assert float(told) == 0.001


async def test_a_store_is_opened_beside_the_loop_and_told_to_end(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is converted, which may take hours."""
    begun, told = threading.Event(), threading.Event()

    def convert(store: SliverStore, is_to_end: Callable[[], bool]) -> None:
        begun.set()
        while not is_to_end():
            time.sleep(0.001)
        told.set()
        raise StoreError("the conversion was ended")

    await network.stop(2)
    monkeypatch.setattr(SliverStore, "open", convert)
    starting = asyncio.create_task(network.start(2))
    await asyncio.to_thread(begun.wait)
    assert not told.is_set()
    await network.stop(2)
    assert told.is_set()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
