"""The handover while too few peers can be reached, or all of them are slow; over a chain in memory."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from storage.client.errors import NodeUnreachable
from storage.client.node_client import NodeClient
from storage.node.handover import jobs as handover
from storage.node.repair import RepairError, helpers
from storage.redstuff import Axis
from tests.logged import captured
from tests.storage.node.checks import check
from tests.storage.node.handovers import (
    BLOBS,
    LESS,
    MOVED,
    Bent,
    bend,
    change,
    lacks,
)

if TYPE_CHECKING:
    from tests.storage.network import Network


HANGS_S = 0.1
"""So long a request goes without an answer before it is given up."""


@pytest.mark.usefixtures("no_retries")
async def test_more_than_f_missing_are_named_and_one_that_comes_back_is_enough(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "LONGEST_RETRY_S", 0.1)
    await change(stored, MOVED)
    await stored.stop(1, 3)
    with pytest.raises(RepairError, match=r"needed 7 of 10 shards .* no answer from node-1"):
        await stored.running[2].repair.rebuild(BLOBS[0].metadata, Axis.PRIMARY, [7], avoiding={3})
    with captured() as logs:
        stored.chain.select(LESS)
        stored.chain.start()
        await stored.until(lambda: any("cannot be rebuilt yet" in one["event"] for one in logs))
    assert any("no answer from node-1" in one.get("error", "") for one in logs)
    assert 7 not in stored.chain.attested
    await stored.start(1)
    await stored.until(lambda: 7 in stored.chain.attested)
    await check(stored)


@pytest.mark.usefixtures("no_retries")
async def test_who_attested_a_shard_last_serves_it_until_another_has(stored: Network) -> None:
    """Two committees in a row attest nothing, and hold more than 2f shards: the third has only who came before them."""
    absent, come = stored.add_nodes(2)
    lost = (0, 1, 2, 3, 4, 5, 6, 7)
    for owner in (absent, come):
        stored.chain.start({4: (8, 9), owner: lost})
        stored.chain.close()
        await stored.seen()
    assert set(stored.chain.state.unattested) == stored.chain.missing == set(lost)
    for blob in BLOBS:
        assert len(await stored.read(blob.blob_id)) == blob.length
    await stored.start(come)
    await stored.until(lambda: not stored.chain.missing)
    await check(stored)
    stored.chain.start({4: (8, 9), come: lost})
    for node_id in (1, 2, 3):
        await stored.until(lambda node_id=node_id: not stored.running[node_id].store.shards())


class CutOff:
    """A peer's client whose requests get nowhere while the network is cut: refused at once, or without any answer."""

    def __init__(
        self, real: NodeClient, is_cut: asyncio.Event, is_healed: asyncio.Event | None = None
    ) -> None:
        self._real = real
        self._is_cut = is_cut
        self._is_healed = is_healed

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        async def ask(*arguments: Any, **options: Any) -> Any:
            if self._is_cut.is_set():
                await self._get_nowhere()
            return await method(*arguments, **options)

        return ask

    async def _get_nowhere(self) -> None:
        """What hangs goes through if the network heals in time."""
        if self._is_healed is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(HANGS_S):
                    await self._is_healed.wait()
                    return
        raise NodeUnreachable(self._real.name, self._real.address, "the network is cut")


@pytest.mark.parametrize("hangs", [False, True], ids=["refused", "hanging"])
async def test_a_partition_during_the_change_is_waited_out(
    stored: Network, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.1)
    is_cut, is_healed = asyncio.Event(), asyncio.Event()
    is_cut.set()

    def cut(real: NodeClient) -> CutOff:
        return CutOff(real, is_cut, is_healed if hangs else None)

    for here, there in (((1,), (2, 3, 4)), ((2, 3, 4), (1,))):
        for node_id in here:
            for method in ("client", "watch_client"):
                bend(stored, node_id, dict.fromkeys(there, cut), method)
    with captured() as logs:
        stored.chain.select(MOVED)
        stored.chain.start()
        # Node 1 is alone with three shards, and four are needed.
        await stored.until(lambda: any("cannot be rebuilt yet" in one["event"] for one in logs))
    assert any("the network is cut" in one.get("error", "") for one in logs)
    assert 6 not in stored.chain.attested
    assert not lacks(stored, 3, 6), "the old owner has it still"
    await stored.until(lambda: stored.running[1].watch.silent_s(3) > 0)
    is_cut.clear()
    is_healed.set()
    await stored.until(lambda: 6 in stored.chain.attested)
    await stored.until(lambda: not any(one.watch.silent_s(1) for one in stored.running.values()))
    await check(stored)


async def test_half_a_network_can_be_enough(stored: Network) -> None:
    """Six shards of ten: four primaries give the secondary sliver, and with it seven secondaries the primary."""
    is_cut = asyncio.Event()
    is_cut.set()
    for node_id in (1, 2):
        bend(stored, node_id, {other: lambda real: CutOff(real, is_cut) for other in (3, 4)})
    await change(stored, MOVED)
    await check(stored)


async def test_helpers_are_not_overtaken_when_all_of_them_are_slow(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking more of those who are busy would only make it worse."""
    monkeypatch.setattr(helpers, "OVERTAKEN_AFTER_S", 0.01)
    monkeypatch.setattr(helpers, "FIRST_TIMES", 1000.0)
    monkeypatch.setattr(
        helpers, "TIMES_THE_USUAL", 40.0
    )  # else a pause of the test's own makes a helper slow

    async def late(answer: Any) -> Any:
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.05)
        return answer

    def slowly(name: str, answer: Any) -> Any:
        return late(answer) if name == "decoding_symbols" else answer

    bend(stored, 2, {node_id: lambda real: Bent(real, slowly) for node_id in (1, 3, 4)})
    repair = stored.running[2].repair
    for blob in BLOBS:
        (rebuilt,) = await repair.rebuild(blob.metadata, Axis.PRIMARY, [7])
        assert rebuilt.wasted_bytes == 0
    assert not any(repair.reputation.rank(member) for member in stored.chain.state.current.members)  # type: ignore[union-attr]
    await check(stored)
