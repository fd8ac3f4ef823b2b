"""Members, committees, weights and quorums (PROTOCOL sections 2 and 3).

A committee of `n_shards` shards tolerates `f = (n - 1) // 3` shards in the hands of members that are down or
lie. A member weighs as many votes as it holds shards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from committee.errors import CommitteeError


@dataclass(frozen=True, slots=True)
class Member:
    """One storage node in one epoch's committee, as the contract names it."""

    node_id: int
    """Counted from 1 by the contract, in order of registration."""
    name: str
    address: str
    """Network address as its owner registered it; `committee.addresses` says whether it can be used."""
    public_key: bytes
    """BLS12-381 G1, compressed, 48 bytes."""
    shards: tuple[int, ...]
    """In the contract's order: a shrinking member gives up from the tail."""

    @property
    def weight(self) -> int:
        """Votes of this member: the number of its shards."""
        return len(self.shards)


@dataclass(frozen=True)
class Committee:
    """The members of one epoch, in the contract's order (ascending node id); every shard has one owner.

    Raises `CommitteeError` when built from members that are not in that order, that hold nothing, or that do
    not hold each of the `n_shards` shards exactly once.
    """

    epoch: int
    n_shards: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        node_ids = [member.node_id for member in self.members]
        if any(left >= right for left, right in pairwise(node_ids)):
            raise CommitteeError(
                f"committee of epoch {self.epoch}: node ids {node_ids} must ascend, the order of its members"
            )
        if idle := [member.name for member in self.members if not member.shards]:
            raise CommitteeError(
                f"committee of epoch {self.epoch}: {', '.join(idle)} without a shard is no member"
            )
        held = sorted(shard for member in self.members for shard in member.shards)
        if held != list(range(self.n_shards)):
            raise CommitteeError(
                f"committee of epoch {self.epoch}: its {len(self.members)} members hold {len(held)} shards, "
                f"which are not the shards 0..{self.n_shards - 1}, each once"
            )

    @cached_property
    def owner_of(self) -> dict[int, Member]:
        """shard → the member that holds it in this epoch."""
        return {shard: member for member in self.members for shard in member.shards}

    @cached_property
    def by_id(self) -> dict[int, Member]:
        """node id → member."""
        return {member.node_id: member for member in self.members}

    @cached_property
    def holdings(self) -> dict[int, tuple[int, ...]]:
        """node id → its shards, as an election (`committee.shards`) takes and gives them."""
        return {member.node_id: member.shards for member in self.members}

    def shards_of(self, node_id: int) -> tuple[int, ...]:
        """Return the shards of a node in this epoch; none when it is not a member."""
        member = self.by_id.get(node_id)
        return member.shards if member else ()

    def weight_of(self, node_ids: set[int] | frozenset[int]) -> int:
        """Return the votes of a set of nodes; a node that is no member weighs nothing."""
        return sum(member.weight for member in self.members if member.node_id in node_ids)

    @property
    def quorum(self) -> int:
        """The fewest votes that certify: the least `w` with `3w >= 2n + 1`.

        Any two quorums overlap in more than `f` shards, so in a correct member.
        """
        return 2 * self.n_shards // 3 + 1

    @property
    def one_correct(self) -> int:
        """The fewest votes of which at least one is a correct node's: the least `w` with `3w >= n + 1`."""
        return self.n_shards // 3 + 1

    def is_quorum(self, weight: int) -> bool:
        """Return whether these votes are enough to certify."""
        return weight >= self.quorum

    def has_one_correct(self, weight: int) -> bool:
        """Return whether at least one of these votes is a correct node's."""
        return weight >= self.one_correct
