"""A year of churn at internet scale: `make simulate`. What changes of epoch move, by the real rules and costs.

A period's committee is elected by `committee.shards.assign`; each member that is ejected in the period is replaced in
it by `committee.shards.replaced`, which is a change of epoch of its own. The shards' ways are decided by
`committee.transition.plan_all`, bytes counted by RedStuff's own sizes; only the stakes and the stored blobs are made up
(the table of assumptions). Compared, for each period with its replacements and the regular change at its end:

Haulout            a pair that is copied or rebuilt moves its own size, (p+s)·t
whole-blob repair  a copied pair the same, but for each rebuilt one the blob is fetched: p·s·t
the same, shared   each member that rebuilds fetches a blob once for all the pairs it rebuilds of it
full copy          at a period's end all blobs are fetched, encoded anew, and all pairs given out: p·s·t + n·(p+s)·t;
                   for a replacement nothing is counted

Framing, metadata, and symbols from a member's own slivers are left out everywhere. The EVM contract takes at most 100
candidates, those with the largest stakes (an election's gas grows with them), so that of these networks it can run the
first one alone; the others show what the rules would do. Writes `results/churn.json` and `results/churn.svg`.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.plot import Panel, Series, svg
from committee import transition as transitions
from committee.membership import Committee, Member
from committee.shards import BAND_MILLIS, assign, least_moves, replaced
from committee.transition import Departure
from storage.redstuff import Parameters

RESULTS = Path(__file__).parent / "results"
MIB, TIB, PIB = 1 << 20, 1 << 40, 1 << 50
MEMBERS = (100, 300, 1000)
CONTRACT_CANDIDATES = 100


@dataclass(frozen=True)
class Assumptions:
    """What is made up. Rates are per period of 14 days."""

    n_shards: int = 1000
    periods: int = 26
    seed: int = 5
    stake_sigma: float = 1.0
    """Of the stakes' logarithms (log-normal): the largest of 100 has about twelve times the median."""
    drift_sigma: float = 0.05
    """Of a stake's change from period to period, as a logarithm."""
    leaving: float = 0.01
    """Members that leave by their own will; a newcomer stands for each at the period's end."""
    crashing: float = 0.005
    """Members that fall silent, are ejected and replaced within the period; a newcomer stands for each at its end."""
    band_millis: int = BAND_MILLIS
    stored_bytes: int = PIB
    blob_shares: tuple[tuple[int, float], ...] = ((MIB, 0.05), (16 * MIB, 0.25), (256 * MIB, 0.7))
    """(blob size, share of the stored bytes)."""


@dataclass(frozen=True)
class Cost:
    """Bytes over all stored blobs."""

    pair: int
    """Of all sliver pairs of one shard."""
    source: int
    """Of all blobs' source symbols."""


@dataclass(frozen=True)
class Change:
    """One change of epoch: shards by their way, and bytes by how they would be moved."""

    members: int
    period: int
    """The period in which a member was replaced, or that ended with the change."""
    epoch: int
    """The one that the change began."""
    is_replacement: bool
    kept: int
    transferred: int
    rebuilt: int
    least_moves: int
    haulout_bytes: int
    whole_blob_bytes: int
    shared_blob_bytes: int
    full_copy_bytes: int


def cost_of(assumed: Assumptions) -> Cost:
    """What the stored blobs cost, by RedStuff's sizes."""
    shape = Parameters(assumed.n_shards)
    pair = source = 0
    for size_bytes, share in assumed.blob_shares:
        count = round(assumed.stored_bytes * share / size_bytes)
        symbol_bytes = shape.symbol_size(size_bytes)
        pair += count * (shape.p + shape.s) * symbol_bytes
        source += count * shape.p * shape.s * symbol_bytes
    return Cost(pair, source)


class Stakes:
    """Stakes that drift, and candidates that come and go, by a seeded die."""

    def __init__(self, members: int, assumed: Assumptions) -> None:
        self._assumed = assumed
        self._dice = random.Random(f"{assumed.seed} {members}")
        self._next_id = 1
        self.of: dict[int, int] = {}
        """Node id → stake, in candidate order."""
        for _ in range(members):
            self._join()

    def pass_period(self) -> dict[int, Departure]:
        """Let a period pass; return the nodes that departed in it, and how."""
        assumed, dice = self._assumed, self._dice
        departed: dict[int, Departure] = {}
        for node_id in list(self.of):
            fate = dice.random()
            if fate < assumed.leaving:
                departed[node_id] = Departure.LEFT
            elif fate < assumed.leaving + assumed.crashing:
                departed[node_id] = Departure.EJECTED
            else:
                self.of[node_id] = round(self.of[node_id] * math.exp(dice.gauss(0, assumed.drift_sigma)))
        for node_id in departed:
            del self.of[node_id]
            self._join()
        return departed

    def _join(self) -> None:
        stake = round(1e24 * math.exp(self._dice.gauss(0, self._assumed.stake_sigma)))
        self.of[self._next_id] = stake
        self._next_id += 1


def elect(previous: Committee | None, stakes: Mapping[int, int], assumed: Assumptions) -> Committee:
    """The next committee, by the real rules."""
    shards = assign(
        previous.holdings if previous else None, list(stakes.items()), assumed.n_shards, assumed.band_millis
    )
    return _committee(1 if previous is None else previous.epoch + 1, shards, assumed.n_shards)


def replacement(previous: Committee, regular: Committee, ejected: int) -> Committee:
    """The committee in office without a member that was ejected, by the real rules; `regular` began the period."""
    weights = {one.node_id: one.weight for one in regular.members}
    shards = replaced(previous.holdings, [ejected], weights)
    return _committee(previous.epoch + 1, shards, previous.n_shards)


def _committee(epoch: int, shards: Mapping[int, tuple[int, ...]], n_shards: int) -> Committee:
    members = (
        Member(node_id, f"node-{node_id}", "", node_id.to_bytes(48, "big"), mine)
        for node_id, mine in shards.items()
    )
    return Committee(epoch, n_shards, tuple(members))


def simulate(members: int, assumed: Assumptions) -> list[Change]:
    """A year of one network."""
    cost, stakes = cost_of(assumed), Stakes(members, assumed)
    committee = elect(None, stakes.of, assumed)
    changes = []
    for period in range(1, assumed.periods + 1):
        departed, regular = stakes.pass_period(), committee
        for node_id, how in departed.items():
            if how is Departure.EJECTED and node_id in committee.by_id:
                following = replacement(committee, regular, node_id)
                fallen = {node_id: how}
                changes.append(
                    change(members, period, committee, following, fallen, cost, is_replacement=True)
                )
                committee = following
        following = elect(committee, stakes.of, assumed)
        changes.append(change(members, period, committee, following, departed, cost, is_replacement=False))
        committee = following
    return changes


def change(
    members: int,
    period: int,
    previous: Committee,
    current: Committee,
    departed: Mapping[int, Departure],
    cost: Cost,
    *,
    is_replacement: bool,
) -> Change:
    """One change's shards and bytes."""
    owners = {one: how for one, how in departed.items() if one in previous.by_id}
    transition = transitions.plan_all(transitions.Change(previous, current, owners))
    transferred, rebuilt = len(transition.transferred), len(transition.rebuilt)
    rebuilders = sum(bool(one.rebuilt) for one in transition.plans.values())
    return Change(
        members,
        period,
        current.epoch,
        is_replacement,
        len(transition.kept),
        transferred,
        rebuilt,
        least_moves(previous.holdings, current.holdings),
        (transferred + rebuilt) * cost.pair,
        transferred * cost.pair + rebuilt * cost.source,
        transferred * cost.pair + rebuilders * cost.source,
        0 if is_replacement else cost.source + current.n_shards * cost.pair,
    )


def plot(changes: list[Change]) -> str:
    """A panel for each network."""
    names = {
        "Haulout: kept shards move nothing, lost pairs are rebuilt alone": "haulout_bytes",
        "whole-blob repair: each lost pair costs the blob": "whole_blob_bytes",
        "the same, the blob once for each member that rebuilds": "shared_blob_bytes",
        "full copy: all pairs anew at every change": "full_copy_bytes",
    }
    panels = []
    for members in dict.fromkeys(one.members for one in changes):
        mine = [one for one in changes if one.members == members]
        series = [
            # A period that moves nothing has no place on a logarithmic axis.
            Series(name, [(period, moved) for period, moved in by_period(mine, field).items() if moved])
            for name, field in names.items()
        ]
        panels.append(
            Panel(f"{members} members, 1 PiB of blobs", "period", "bytes moved in the period", series)
        )
    return svg(panels)


def show(console: Console, assumed: Assumptions, changes: list[Change]) -> None:
    """The assumptions, then one line a network."""
    given = Table("assumption", "value", title="Assumed", title_justify="left")
    for name, value in asdict(assumed).items():
        given.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(given)
    ways = ("haulout", "whole_blob", "shared_blob", "full_copy")
    heads = (
        "members",
        "replaced",
        "copied",
        "rebuilt",
        "Haulout",
        "whole-blob repair",
        "the same, shared",
        "full copy",
    )
    table = Table(
        *heads, title="A mean period of the year; how many times Haulout's bytes", title_justify="left"
    )
    for members in dict.fromkeys(one.members for one in changes):
        mine = [one for one in changes if one.members == members]
        haulout = mean(mine, "haulout_bytes")
        table.add_row(
            str(members),
            *(f"{mean(mine, field):.1f}" for field in ("is_replacement", "transferred", "rebuilt")),
            *(
                f"{mean(mine, way + '_bytes') / TIB:,.0f} TiB, ×{mean(mine, way + '_bytes') / haulout:.1f}"
                for way in ways
            ),
        )
    console.print(table)
    console.print(
        f"The contract takes {CONTRACT_CANDIDATES} candidates: it cannot run the networks with more members."
    )


def by_period(changes: Sequence[Change], field: str) -> dict[int, int]:
    """Period → the sum of one number over its changes."""
    sums: dict[int, int] = {}
    for one in changes:
        sums[one.period] = sums.get(one.period, 0) + int(getattr(one, field))
    return sums


def mean(changes: Sequence[Change], field: str) -> float:
    """Of one number, over all periods."""
    sums = by_period(changes, field)
    return sum(sums.values()) / len(sums)


def main() -> None:
    """Simulate, print, write."""
    assumed = Assumptions()
    changes = [one for members in MEMBERS for one in simulate(members, assumed)]
    show(Console(width=None if Console().is_terminal else 150), assumed, changes)
    lines = ",\n".join("  " + json.dumps(asdict(one)) for one in changes)
    document = f'{{"assumptions": {json.dumps(asdict(assumed))},\n "changes": [\n{lines}\n]}}\n'
    (RESULTS / "churn.json").write_text(document)
    (RESULTS / "churn.svg").write_text(plot(changes))


if __name__ == "__main__":
    main()
