"""Storage proofs: who is caught how often, whether an honest node ever misses, and what a member's commitment costs.

`make bench-proofs` writes `results/proofs.json`. With arguments only these parts run, and nothing is written.
"""

from __future__ import annotations

import bisect
import math
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from benchmarks import parts, proof_network, rows
from benchmarks.proof_epochs import N_SHARDS, PAGES, Story
from benchmarks.rows import Row, row
from committee.ledger import BlockMark
from committee.opening import PLACES_ON_CHAIN
from storage.node.chain import ChainView
from storage.node.proving import Proving, Term
from storage.node.store import NewSliver, SliverStore
from storage.proofs.draw import PLACES_FOR_FELLOWS, drawn_position
from storage.redstuff import Axis, EncodedBlob, Parameters, RedStuff
from storage.redstuff.merkle import blake2b_256

RESULTS = Path(__file__).parent / "results" / "proofs.json"
DRAWS = 1000
LACKING = (0.01, 0.1, 1.0)
SIGMAS = 4
"""The shares found may be this many standard deviations off the formula's."""
EPOCHS, SEED = 1000, 1
"""Of the honest node's."""
GRIDS = ((10, 1 << 10, 20_000), (10, 1 << 20, 160), (100, 1 << 10, 10_000), (1000, 1 << 10, 2000))
"""(shards, bytes of a blob, blobs) of the passes."""
SHARD, NODE_ID, START = 5, 1, BlockMark(5, bytes(32))
TIMES = 9
"""How often a pass is timed. The least processor time counts, as other processes only make it longer."""
FEW, MANY = 20_000, 60_000
"""Blobs of the two passes whose memory is compared."""


@dataclass(frozen=True)
class View:
    """What a node's view tells a pass: blobs of one length, all live at the start."""

    blobs: Sequence[bytes]
    """Ids, ascending."""
    length: int
    epoch: int = 2
    started_block: BlockMark = START
    node_id: int = NODE_ID

    @property
    def state(self) -> View:
        """The epoch's state."""
        return self

    def inventory(self, after: bytes, most: int) -> Sequence[bytes]:
        """The next blobs."""
        first = bisect.bisect_right(self.blobs, after)
        return self.blobs[first : first + most]

    live_at_start = inventory

    def lengths(self, blobs: Sequence[bytes]) -> dict[bytes, int]:
        """The blobs' lengths."""
        return dict.fromkeys(blobs, self.length)

    def those_invalid(self, blobs: Sequence[bytes]) -> set[bytes]:
        """None."""
        return set()


@dataclass(frozen=True)
class Shard:
    """A shard on the disk with the same pair of slivers for each blob, and what makes its tree."""

    code: RedStuff
    store: SliverStore
    proving: Proving
    view: View
    pair: tuple[memoryview, memoryview]

    @property
    def term(self) -> Term:
        """The member's part of the epoch."""
        return Term(self.view.epoch, self.view.started_block, START.hash, (SHARD,))


@contextmanager
def shard_of(n: int, length: int, count: int) -> Iterator[Shard]:
    """A shard of a grid with `count` blobs of `length` bytes."""
    choose, code = random.Random(1), RedStuff(n)
    blob: EncodedBlob = code.encode(choose.randbytes(length))
    blobs = sorted(choose.randbytes(32) for _ in range(count))
    pair = blob.sliver(Axis.PRIMARY, 3), blob.sliver(Axis.SECONDARY, 3)
    with tempfile.TemporaryDirectory(prefix="bench-proofs-") as name:
        folder, view = Path(name), View(blobs, length)
        with SliverStore(folder / "store") as store:
            for first in range(0, count, 100):
                some = blobs[first : first + 100]
                store.put_slivers(
                    NewSliver(one, SHARD, axis, sliver)
                    for one in some
                    for axis, sliver in zip(Axis, pair, strict=True)
                )
            proving = Proving(folder / "proofs", cast(ChainView, view), store, code, bytes(48))
            yield Shard(code, store, proving, view, pair)


async def caught() -> list[Row]:
    """How often a member that lacks a part of its bytes is found, in DRAWS draws by the real rules."""
    found: list[Row] = []
    length = 10**9
    for lacking in LACKING:
        for asked in (PLACES_FOR_FELLOWS, PLACES_ON_CHAIN):
            times = sum(
                any(drawn_position(blake2b_256(one.to_bytes(4, "big")), 7, number, length) < lacking * length
                    for number in range(asked))
                for one in range(DRAWS)
            )  # fmt: skip
            formula = 1 - (1 - lacking) ** asked
            least = formula - SIGMAS * (formula * (1 - formula) / DRAWS) ** 0.5
            found.append(
                row(
                    f"share of rounds in which {asked} places find who lacks {lacking:.0%}",
                    *(0, None, None, times / DRAWS, "at least", round(least, 4)),
                    f"the formula: {formula:.4f}",
                )
            )
    return found


async def network() -> list[Row]:
    """Which members that lack a part are found in one round of real processes: few, so no share can be told of them."""
    seen = await proof_network.round_with_lacking_members()
    found: list[Row] = []
    at = (proof_network.N_SHARDS, None, None)
    for every, names in proof_network.LACKING.items():
        for asked, figure, count in (
            (PLACES_FOR_FELLOWS, "fellows do not certify", len(set(names) - seen.certified)),
            (PLACES_ON_CHAIN, "miss the round", len(seen.missed & set(names))),
        ):
            share = 1 - (1 - 1 / every) ** asked
            told = f"of {len(names)} members; by the formula {share * len(names):.2f}"
            found.append(
                row(f"real network: members that lack {1 / every:.0%} and {figure}", *at, count, remark=told)
            )
    missed = len(seen.missed & proof_network.HONEST.keys())
    return [*found, row("real network: honest members that miss the round", *at, missed, "exactly", 0)]


async def honest() -> list[Row]:
    """Whether an honest node ever misses a round, and how it proves, in EPOCHS simulated ones."""
    with tempfile.TemporaryDirectory(prefix="bench-proofs-") as name:
        lived = await Story(Path(name), SEED).run(EPOCHS)
    at = N_SHARDS, None, None
    hostile = ", ".join(f"{how} {times}" for how, times in sorted(lived.hostile.items()))
    return [
        row(
            "epochs of an honest node",
            *at,
            lived.epochs,
            remark=f"seed {SEED}; {PAGES} page of openings shown",
        ),
        row("rounds that an honest node missed", *at, lived.misses, "exactly", 0),
        row("stake that an honest node was fined", *at, lived.fined, "exactly", 0),
        row("demands that an honest node did not answer", *at, lived.unanswered, "exactly", 0),
        row("rounds proven by fellows' certificate", *at, lived.certified),
        row("rounds proven by answers on chain", *at, lived.answered),
        row("demands answered", *at, lived.demands - lived.unanswered),
        row("restarts at a random step", *at, lived.restarts),
        row("times hostile fellows, asked to sign, did not", *at, lived.hostile.total(), remark=hostile),
    ]


async def passes() -> list[Row]:
    """What making a shard's tree costs beside what it cannot do without: hashing, and reading the slivers."""
    return [one for grid in GRIDS for one in pass_over(*grid)] + [memory()]


def pass_over(n: int, length: int, count: int) -> list[Row]:
    """One pass."""
    with shard_of(n, length, count) as shard:
        size = Parameters(n).symbol_size(length)
        shard.code.salted_roots(bytes(32), [shard.pair], size)  # what is loaded once
        shard.proving.inventory(shard.term)
        tree = shard.proving.folder_of(shard.term) / f"{SHARD}.tree"
        made_s = read_s = hashed_s = math.inf
        for _ in range(TIMES):
            tree.unlink(missing_ok=True)
            made_s = min(made_s, took(partial(shard.proving.shard_root, shard.term, SHARD)))
            hash_all = partial(shard.code.salted_roots, bytes(32), [shard.pair] * count, size)
            hashed_s = min(hashed_s, took(hash_all))
            read_s = min(read_s, took(partial(all_read, shard)))
    at, mb = (n, length, None), sum(map(len, shard.pair)) * count / 1e6
    return [
        row(
            "rate of a pass ÷ that of the slower of the next two",
            *at,
            max(hashed_s, read_s) / made_s,
            "at least",
            0.5,
        ),
        row("hashing alone, MB/s of a core", *at, mb / hashed_s),
        row("reading the slivers alone, index included, MB/s of a core", *at, mb / read_s),
        row("the pass, MB/s of a core", *at, mb / made_s),
        row("rate of a pass ÷ that of both one after the other", *at, (hashed_s + read_s) / made_s),
    ]


def memory() -> Row:
    """What a pass takes for more blobs."""
    peaks = {}
    for count in (FEW, MANY):
        with shard_of(10, 1 << 10, count) as shard:
            shard.proving.inventory(shard.term)
            tracemalloc.start()
            shard.proving.shard_root(shard.term, SHARD)
            peaks[count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    grown = (peaks[MANY] - peaks[FEW]) / (MANY - FEW)
    return row("memory of a pass for one blob more, bytes", 10, 1 << 10, None, grown, "at most", 4)


def all_read(shard: Shard) -> None:
    """Read all slivers of the shard, many at a time."""
    bulk, blobs = shard.store.bulk, shard.view.blobs
    for first in range(0, len(blobs), 1024):
        for axis in Axis:
            for _ in bulk.read(bulk.find((SHARD,), axis, blobs[first : first + 1024])):
                pass


def took(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    before = time.process_time()
    work()
    return time.process_time() - before


PARTS: parts.Parts = {"caught": caught, "network": network, "honest": honest, "passes": passes}


def main() -> None:
    """Measure, show, and write the results if all was measured."""
    found, is_all = parts.run("benchmarks.bench_proofs", __doc__ or "", PARTS)
    rows.show(found, "Storage proofs")
    if is_all:
        rows.write(RESULTS, found)


if __name__ == "__main__":
    main()
