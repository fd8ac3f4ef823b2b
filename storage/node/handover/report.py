"""The transition report: what a change of epoch moved, against what it had to move (PROTOCOL section 5).

Each node reports what it did (`NodeReport`, served at `/v1/handover`); `transition_report` adds them up and checks
them against the two committees and the live blobs. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from committee.membership import Committee
from committee.transition import Change, plan_all
from storage.node.store import ShardTally
from storage.redstuff import Parameters


@dataclass(frozen=True)
class ShardReport:
    """What one node did for one shard it gained, over all blobs. Bytes are of slivers and symbols alone."""

    shard: int
    transferred_slivers: int = 0
    transferred_bytes: int = 0
    """Slivers copied from the old owner and found good."""
    rebuilt_slivers: int = 0
    rebuilt_bytes: int = 0
    """Symbols that entered a rebuild."""
    received_bytes: int = 0
    """Transferred and rebuilt bytes that crossed the wire: a node's own slivers give symbols for nothing."""
    wasted_bytes: int = 0
    """Received and thrown away: wrong, superfluous when it came, or too little to rebuild from. What a request had
    brought when it was let go is not counted. No check is on it: a member that stalls for some seconds and answers
    all the same makes some."""


@dataclass(frozen=True)
class NodeReport:
    """One node's part of the handover into `epoch`."""

    epoch: int
    node_id: int
    shards: tuple[ShardReport, ...]
    """Every shard of which the handover received or rebuilt anything, planned or not; healing tells of its own."""
    largest_share_of_a_blob: float
    """The most this node received of one blob in this handover, as a fraction of the blob's source symbols."""

    @classmethod
    def added_up(
        cls, epoch: int, node_id: int, tallies: Iterable[ShardTally], largest_share_of_a_blob: float
    ) -> NodeReport:
        """The report that the store's record comes to."""
        shards: dict[int, Counter[str]] = defaultdict(Counter)
        for one in tallies:
            counts = shards[one.shard]
            counts[f"{one.way}_slivers"] += one.slivers
            counts[f"{one.way}_bytes"] += one.symbol_bytes
            counts["received_bytes"] += one.received_bytes
            counts["wasted_bytes"] += one.wasted_bytes
        reports = tuple(ShardReport(shard, **counts) for shard, counts in sorted(shards.items()))
        return cls(epoch, node_id, reports, largest_share_of_a_blob)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object, which `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NodeReport:
        """Raises `ValueError` when the values are not a report's."""
        try:
            shards = tuple(ShardReport(**{key: int(n) for key, n in one.items()}) for one in values["shards"])
            return cls(
                int(values["epoch"]), int(values["node_id"]), shards, float(values["largest_share_of_a_blob"])
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a node's handover report: {error}") from None


@dataclass(frozen=True)
class Check:
    """One statement about the transition and whether it held."""

    statement: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class TransitionReport:
    """The whole transition; bytes are of slivers and symbols, without framing and metadata."""

    epoch: int
    kept_shards: int
    transferred_shards: int
    rebuilt_shards: int
    departed_shards: int
    transferred_bytes: int
    rebuilt_bytes: int
    """Also of unattested shards, which the lower bound leaves out: what one of them lacks only its owner knows."""
    received_bytes: int
    wasted_bytes: int
    lower_bound_bytes: int
    """`(p+s)·t` for each departed sliver pair: no repair of one pair at a time can enter fewer symbols."""
    whole_blob_repair_bytes: int
    """What one-dimensional Reed-Solomon moves for the same pairs: the whole blob, `p·s·t`, for each."""
    full_reencode_bytes: int
    """Fetch every blob once, encode it anew, give every member its pairs: `p·s·t + n·(p+s)·t` a blob."""
    checks: tuple[Check, ...]


def transition_report(
    previous: Committee,
    current: Committee,
    blob_lengths: Sequence[int],
    nodes: Iterable[NodeReport],
    *,
    unattested: Collection[int],
) -> TransitionReport:
    """Add up the nodes' reports of the change from `previous` to `current`.

    `blob_lengths` are the lengths in bytes of the blobs that were live at the change. The checks are those of the
    protocol: kept shards moved no byte; exactly the departed members' slivers were rebuilt; no node assembled a blob.
    `unattested` are the shards that their owners in `previous` had not attested by that epoch's end. The member
    that has one of these now rebuilds what it lacks, which only that member knows: anything, up to all of it.

    Raises `ValueError` when a node reports on another epoch, as one does that has not seen this one's start yet.
    """
    transition = plan_all(Change(previous, current, unattested=unattested))
    kept, departed = transition.kept, frozenset(transition.rebuilt) - frozenset(unattested)
    reports = list(nodes)
    for report in reports:
        if report.epoch != current.epoch:
            raise ValueError(
                f"node {report.node_id} reports on the handover into epoch {report.epoch}, not {current.epoch}"
            )
    shards = [one for report in reports for one in report.shards]
    certain = [one for one in shards if one.shard not in unattested]
    wasted_bytes = sum(one.wasted_bytes for one in shards)
    needed = _Needed.of(Parameters(current.n_shards), blob_lengths, len(departed))
    checks = (
        _check_kept(reports, current, kept),
        _check_rebuilt(certain, departed, len(blob_lengths)),
        _check_lower_bound(certain, needed.lower_bound_bytes, wasted_bytes),
        _check_no_whole_blob(reports),
    )
    return TransitionReport(
        epoch=current.epoch,
        kept_shards=len(kept),
        transferred_shards=len(transition.transferred),
        rebuilt_shards=len({one.shard for one in shards if one.rebuilt_slivers}),
        departed_shards=len(departed),
        transferred_bytes=sum(one.transferred_bytes for one in shards),
        rebuilt_bytes=sum(one.rebuilt_bytes for one in shards),
        received_bytes=sum(one.received_bytes for one in shards),
        wasted_bytes=wasted_bytes,
        checks=checks,
        **asdict(needed),
    )


@dataclass(frozen=True)
class _Needed:
    """What it takes at least to make the departed pairs anew, and what other ways to do it take."""

    lower_bound_bytes: int
    whole_blob_repair_bytes: int
    full_reencode_bytes: int

    @classmethod
    def of(cls, shape: Parameters, blob_lengths: Iterable[int], departed: int) -> _Needed:
        """Return the bytes for `departed` pairs of each blob; as `TransitionReport` has them."""
        p, s, n = shape.p, shape.s, shape.n_shards
        symbol_bytes = sum(map(shape.symbol_size, blob_lengths))
        return cls(
            departed * (p + s) * symbol_bytes,
            departed * p * s * symbol_bytes,
            (p * s + n * (p + s)) * symbol_bytes,
        )


def _check_kept(reports: Iterable[NodeReport], current: Committee, kept: frozenset[int]) -> Check:
    kept_bytes = sum(
        one.received_bytes + one.wasted_bytes
        for report in reports
        for one in report.shards
        if one.shard in kept and one.shard in current.shards_of(report.node_id)
    )
    return Check("kept shards moved no byte", kept_bytes == 0, f"{kept_bytes} bytes for {len(kept)} shards")


def _check_rebuilt(reports: Iterable[ShardReport], departed: frozenset[int], n_blobs: int) -> Check:
    rebuilt: Counter[int] = Counter()
    for one in reports:
        rebuilt[one.shard] += one.rebuilt_slivers
    expected = Counter(dict.fromkeys(departed, 2 * n_blobs))
    return Check(
        "the slivers rebuilt are exactly the departed members'",
        rebuilt == expected,
        f"{rebuilt.total()} slivers of {len(+rebuilt)} shards; "
        f"departed: {2 * n_blobs * len(departed)} slivers of {len(departed)} shards",
    )


def _check_lower_bound(reports: Iterable[ShardReport], lower_bound_bytes: int, wasted_bytes: int) -> Check:
    rebuilt_bytes = sum(one.rebuilt_bytes for one in reports)
    return Check(
        "no more symbols entered the rebuild than the lower bound",
        rebuilt_bytes == lower_bound_bytes,
        f"{rebuilt_bytes} bytes, lower bound {lower_bound_bytes}; came in vain besides: {wasted_bytes}",
    )


def _check_no_whole_blob(reports: Iterable[NodeReport]) -> Check:
    largest_share = max((report.largest_share_of_a_blob for report in reports), default=0.0)
    return Check(
        "no whole blob was assembled anywhere",
        largest_share < 1,
        f"the most any node received of one blob is {largest_share:.0%} of it",
    )
