"""What a node does about its blobs between handovers, and how health and metrics tell of it, with many blobs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import generate_latest

from benchmarks.scale_chain import blob_ids, chain_of, ledger_of
from committee.membership import Member
from storage.client import wire
from storage.node.chain import ChainView
from storage.node.chain.store import ChainStore
from storage.node.handover.copying import Copying, Part
from storage.node.handover.sources import Source
from storage.node.http.metrics import UPKEEP, Metrics
from storage.node.repair import Waste
from storage.node.rounds.own_part import OwnPart
from storage.node.store import SliverStore
from storage.node.upkeep.garbage import Garbage
from storage.node.upkeep.healing import Healing
from storage.redstuff import Axis

SCRAPES = 20


@contextlib.asynccontextmanager
async def parts(n_blobs: int, folder: Path) -> Any:
    """The view, store, garbage collection and healing of a node for which so many blobs are certified."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240
    with contextlib.closing(ChainStore(folder)) as chain_store, SliverStore(folder / "store") as store:
        view = ChainView(ledger_of(chain_of(n_blobs)), 1, chain_store)
        await view.load()
        garbage = Garbage(view, store)
        yield view, store, garbage, Healing(view, store, cast(Any, None), garbage)


async def health(n_blobs: int, folder: Path) -> Mapping[str, float]:
    """Time what `/metrics` and `/v1/health` take while all blobs wait to be looked after."""
    async with parts(n_blobs, folder) as (view, store, _, healing):
        for blob_id in blob_ids(n_blobs):
            healing.look_after(blob_id)

        def upkeep() -> dict[str, int]:
            return {**dict.fromkeys(UPKEEP, 0), "blobs_to_heal": healing.waiting}

        rounds = SimpleNamespace(health=OwnPart().health)
        node = SimpleNamespace(
            view=view, store=store, upkeep=upkeep, due=tuple, clock_ahead_s=int, rounds=rounds
        )
        metrics = Metrics(cast(Any, node))
        longest_s = 0.0
        for _ in range(SCRAPES):
            began_s = time.perf_counter()
            generate_latest(metrics._registry)
            upkeep()
            longest_s = max(longest_s, time.perf_counter() - began_s)
        return {"one scrape of health and metrics": 1000 * longest_s}


async def lines(n_blobs: int, folder: Path) -> Mapping[str, float]:
    """Time the walks along lines of blobs; what is done for each blob is left out."""
    async with parts(n_blobs, folder) as (view, _, garbage, healing):
        at: dict[str, float] = {}

        async def nothing(blob_id: bytes) -> None:
            pass

        healing._heal, healing._is_searching = nothing, False
        healing._search.clear()
        for blob_id in blob_ids(n_blobs):
            healing.look_after(blob_id)
        with timed(at, "a line of blobs to heal, to its end"):
            running = asyncio.create_task(healing.run())
            while healing.waiting:  # noqa: ASYNC110 (no event tells of it)
                await asyncio.sleep(0)
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for blob_id in blob_ids(n_blobs):
            garbage.look_at(blob_id)
        garbage._sweep_due = False
        with timed(at, "a line of blobs to drop, to its end"):
            await garbage.collect()
        run = sorted(blob_ids(n_blobs))
        with timed(at, "a run of slivers copied in pages, without their verifying and storing"):
            await copied(view, run)
        return at


async def copied(view: ChainView, run: list[bytes]) -> None:
    """Page through a run of slivers that a source has all of."""
    copying = Copying(
        *(view, cast(Any, None), cast(Any, None), cast(Any, SimpleNamespace(link=None))),
        *(cast(Any, SimpleNamespace(reputation=None)), cast(Any, None), cast(Any, None)),
    )
    source = Source(Member(2, "source", "http://x:1", bytes(48), ()), [])

    async def page(*asked: Any) -> wire.ShardPage:
        place, wanted = asked[-1], asked[-2]
        came = wanted[place : place + 256]
        following = wanted[place + 256] if place + 256 < len(wanted) else None
        return wire.ShardPage([(blob_id, cast(Any, None)) for blob_id in came], following)

    vars(copying).update(_page=page, _is_too_slow=lambda source: False)
    await copying._transfer_run(source, Part(0, Axis.PRIMARY, Waste(1)), run)


@contextlib.contextmanager
def timed(at: dict[str, float], figure: str) -> Iterator[None]:
    """Note the seconds that the block takes."""
    began_s = time.perf_counter()
    yield
    at[figure] = time.perf_counter() - began_s
