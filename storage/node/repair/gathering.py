"""Symbols for some slivers of one blob, as they come in from helpers, and what was made of them. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from committee.membership import Member
from storage.client.errors import NodeFailure
from storage.node.store.records import Symbols
from storage.redstuff import Axis, SliverRoots


@dataclass(frozen=True)
class Rebuilt:
    """One rebuilt sliver, verified against its root, and what it cost."""

    shard: int
    symbols: bytes = field(repr=False)
    """The sliver: `s·t` bytes (primary) or `p·t` bytes (secondary)."""
    symbol_bytes: int
    """All symbols that entered the rebuild: exactly the sliver's own size."""
    received_bytes: int
    """Bytes of these symbols that crossed the wire; the rest came from slivers that this node holds itself."""
    wasted_bytes: int
    """Symbols received for this sliver and thrown away."""


@dataclass(eq=False)
class Gathering:
    """Symbols for some slivers of one blob, as they come in from helpers."""

    metadata: SliverRoots
    axis: Axis
    """The axis of the slivers to be rebuilt; the helpers' slivers are of the other one."""
    targets: dict[int, int]
    """sliver index → shard."""
    needed: int
    """Symbols for each target."""
    symbol_bytes: int
    symbols: dict[int, Mapping[int, Symbols]] = field(default_factory=dict)
    """helping sliver's index → target → symbol."""
    sources: dict[int, tuple[Member, int]] = field(default_factory=dict)
    """helping sliver's index → the member that sent it, and its shard; this node's own slivers are missing here."""
    failures: dict[int, NodeFailure] = field(default_factory=dict)
    """node id → why the node does not help."""
    refused: set[tuple[int, int]] = field(default_factory=set)
    """(node id, shard) not to be asked again."""
    cancelled: set[tuple[int, int]] = field(default_factory=set)
    """(node id, shard) of requests that were cancelled; asked for again where no other is left, and then waited for."""
    wasted: int = 0
    """Symbols for each target received and thrown away."""

    @property
    def lacking(self) -> int:
        """Symbols for each target still to come."""
        return self.needed - len(self.symbols)

    @property
    def came_bytes(self) -> int:
        """Bytes that came for each target so far, those thrown away included."""
        return (len(self.sources) + self.wasted) * self.symbol_bytes

    def note_failure(self, member: Member, why: str) -> None:
        """Note why a member does not help."""
        self.failures[member.node_id] = NodeFailure(member.name, why)

    def note_refusal(self, member: Member, shards: Collection[int], why: str) -> None:
        """Note why a member gives no symbols of these shards, and ask it no more for them."""
        self.note_failure(member, why)
        self.refused.update((member.node_id, shard) for shard in shards)

    def rebuilt(self, shard: int, sliver: bytes) -> Rebuilt:
        """Return the sliver of one of the targets' shards that these symbols gave."""
        t = self.symbol_bytes
        return Rebuilt(shard, sliver, self.needed * t, len(self.sources) * t, self.wasted * t)
