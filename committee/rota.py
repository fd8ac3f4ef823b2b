"""Turns: which member does what any member could do, so that none pays for what is done already (PROTOCOL section 5).

These are the rules, pure functions; a node applies them in `storage.node.duties`. `draw_order` draws the members' order
for one task of one epoch, `turn_length_s` is how long each of them has; both follow from what the chain tells every
member alike. `turn_at` is whose turn it is after a time that the task has been due. For a step of the epochs that time
is the chain's. For an ejection it is how long the member has been silent to the node that asks, for an invalidation how
long ago that node met the blob: each by that node's own clock, so that two nodes may see different turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

TAG = b"haulout rota"
DIGEST_BYTES = 32

BLOCKS_A_TURN = 8
"""A member begins within the first half of its turn; in the other half its transaction can be mined."""
TURNS_A_PERIOD = 8
"""Least number of turns that a period has time for, while LEAST_TURN_S allows it."""
LEAST_TURN_S = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """One member's turn."""

    number: int
    """Number of turns that have passed before this one."""
    node_id: int
    is_open: bool
    """Whether the member may still begin: in the turn's first half."""


def draw_order(weights: Mapping[int, int], epoch: int, task: str) -> tuple[int, ...]:
    """Return the node ids of `weights` in the order drawn for a task of an epoch, each once.

    `weights` is node id → shards, all positive. Each place is drawn from the nodes without one, each as likely as its
    weight: the ticket is blake2b-256(TAG ‖ epoch u32 LE ‖ place u16 LE ‖ task) as a big-endian number, modulo their
    weight, and counts through them by ascending node id.
    """
    left = sorted(weights)
    weight_left = sum(weights.values())
    order = []
    for place in range(len(left)):
        drawn = TAG + epoch.to_bytes(4, "little") + place.to_bytes(2, "little") + task.encode()
        ticket = int.from_bytes(blake2b(drawn, digest_size=DIGEST_BYTES).digest(), "big") % weight_left
        for node_id in left:
            ticket -= weights[node_id]
            if ticket < 0:
                break
        left.remove(node_id)
        weight_left -= weights[node_id]
        order.append(node_id)
    return tuple(order)


def turn_length_s(blocks: int, blocks_took_s: int, period_duration_s: int) -> int:
    """Return the seconds of a turn on a chain whose last `blocks` blocks took `blocks_took_s`.

    BLOCKS_A_TURN blocks, at most a TURNS_A_PERIOD-th of a period, at least LEAST_TURN_S.
    """
    of_blocks_s = -(-BLOCKS_A_TURN * blocks_took_s // blocks)
    return max(min(of_blocks_s, period_duration_s // TURNS_A_PERIOD), LEAST_TURN_S)


def turn_at(order: Sequence[int], waited_s: float, length_s: int) -> Turn:
    """Return the turn that runs when a task has been due for `waited_s`, 0 or more. `order` is not empty.

    The turns go around: after the last member's comes the first member's again.
    """
    number, into_s = divmod(waited_s, length_s)
    return Turn(int(number), order[int(number) % len(order)], into_s < length_s / 2)
