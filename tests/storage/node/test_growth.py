"""Work that must not grow faster than the blobs: counted, not timed (`benchmarks/bench_scale.py` has the times)."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from benchmarks.scale_chain import blob_ids, filled
from committee.membership import Member
from storage.client import wire
from storage.node.chain import ChainView
from storage.node.handover.copying import PAGE_SLIVERS, Copying, Part
from storage.node.handover.sources import Source
from storage.node.repair import Waste
from storage.node.store import NewSliver, SliverStore
from storage.node.store import index as index_module
from storage.node.upkeep import healing as healing_module
from storage.node.upkeep.garbage import Garbage
from storage.node.upkeep.healing import Healing
from storage.redstuff import Axis

if TYPE_CHECKING:
    from tests.storage.conftest import OneNode


class Untouched(OrderedDict[bytes, Any]):
    """Blobs of which only the number may be asked."""

    def __iter__(self) -> Any:
        raise AssertionError("blobs are gone through")

    keys = values = items = __iter__


async def test_the_number_of_blobs_to_heal_is_told_without_going_through_them(node: OneNode) -> None:
    healing = Healing(node.view, node.store, cast(Any, None), Garbage(node.view, node.store))
    many = [Untouched.fromkeys(blob_ids(1000)) for _ in range(3)]
    healing._line, healing._at_work, healing._retries = many  # type: ignore[assignment]
    assert healing.waiting == 3000 + 1, "one for the search through all live blobs"


class Compared(bytes):
    """A blob id that counts how often it is compared or hashed."""

    times = 0

    def __lt__(self, other: bytes) -> bool:
        Compared.times += 1
        return super().__lt__(other)

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        Compared.times += 1
        return super().__hash__()


async def compared(n_blobs: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often blob ids are compared while a run of so many is copied from a source that has them all."""
    copying = Copying(
        *cast(
            Any, (None, None, None, SimpleNamespace(link=None), SimpleNamespace(reputation=None), None, None)
        )
    )
    run = sorted(map(Compared, blob_ids(n_blobs)))
    source = Source(Member(2, "source", "http://x:1", bytes(48), ()), [])

    async def page(*asked: Any) -> wire.ShardPage:
        run, place = asked[-2:]
        following = run[place + PAGE_SLIVERS] if place + PAGE_SLIVERS < len(run) else None
        return wire.ShardPage(
            [(one, cast(Any, None)) for one in run[place : place + PAGE_SLIVERS]], following
        )

    monkeypatch.setattr(copying, "_page", page)
    monkeypatch.setattr(copying, "_is_too_slow", lambda source: False)
    Compared.times = 0
    await copying._transfer_run(source, Part(0, Axis.PRIMARY, Waste(1)), run)
    return Compared.times


async def test_copying_ten_times_the_slivers_compares_ten_times_the_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few, many = [await compared(PAGE_SLIVERS * pages, monkeypatch) for pages in (8, 80)]
    assert 0 < many <= 16 * few


async def queries(node: OneNode, n_blobs: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the index is asked while all live blobs are looked through, so many more than before."""
    node.chain.send("fill", filled, n_blobs)
    view = node.view = ChainView(node.ledger, 1)
    await view.load()
    healing = Healing(view, node.store, cast(Any, None), Garbage(view, node.store))
    asked: list[str] = []
    query = node.store._index.query

    def counted(statement: str, *values: Any) -> list[Any]:
        asked.append(statement)
        return query(statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(node.store._index, "query", counted)
        await healing._search_all()
    assert len(healing._line) == n_blobs
    return len(asked)


async def test_blobs_that_lack_something_are_found_by_the_page(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are new to the store: they wait in the line, and each page costs as much as one of few blobs."""
    monkeypatch.setattr(healing_module, "BLOBS_IN_A_PAGE", 400)
    few = await queries(node, 40, monkeypatch)
    assert 0 < await queries(node, 400, monkeypatch) == few


def read_bytes(folder: Path) -> int:
    """How much is read while a store is opened."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    store, before_bytes = SliverStore(folder), so_far()
    with store:
        return so_far() - before_bytes


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read")
def test_opening_reads_as_much_of_a_large_store_as_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the size up to which an index is checked as a whole: here one of 200 KB, and one of five times that."""
    monkeypatch.setattr(index_module, "CHECKED_BYTES", 10**5)
    amounts = []
    for n_blobs in (1000, 5000):
        folder = tmp_path / str(n_blobs)
        with SliverStore(folder) as store:
            slivers = [
                NewSliver(one, shard, axis, b"sliver")
                for one in blob_ids(n_blobs)
                for shard in (1, 2)
                for axis in Axis
            ]
            store.put_slivers(slivers)
        assert (folder / "index.sqlite").stat().st_size > index_module.CHECKED_BYTES
        amounts.append(read_bytes(folder))
    few, many = amounts
    assert many < few + 2**12
