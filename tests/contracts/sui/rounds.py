"""A network of the Move package whose members have real slivers of real blobs, and prove it."""

from __future__ import annotations

from functools import cache
from typing import Any

from committee import bls, messages
from committee.messages import Intent
from committee.opening import Opening
from storage.proofs import Inventory, Position, draw, salt_of
from storage.redstuff import EncodedBlob, RedStuff
from storage.redstuff.merkle import root_of_hashes
from tests.contracts.sui.committees import secret
from tests.contracts.sui.deployments import DOMAIN, WINDOWS, Deployment
from tests.contracts.sui.fields import Fields
from tests.contracts.sui.openings import in_move
from tests.storage.proofs.members import HonestMember

STAKES = (4, 3, 2, 1)
UNIT = 10**9
CODE = RedStuff(10)
COMMIT_S, PROVE_S, ANSWER_S, DEMAND_S = WINDOWS
QUORUM = (0, 1)
"""Places of members with 7 of 10 shards."""
PLACES = range(16)


@cache
def blobs() -> tuple[EncodedBlob, ...]:
    return tuple(
        sorted((CODE.encode(bytes([7]) * n) for n in (0, 40, 77, 200, 333)), key=lambda one: one.blob_id)
    )


class Round(Deployment):
    """A deployment in its first epoch, whose four members store five blobs."""

    def __init__(self) -> None:
        super().__init__()
        self.caps = self.begin_with([stake * UNIT for stake in STAKES])

    @property
    def epoch(self) -> int:
        return int(self.call("system", "epoch", self.system))

    def told(self, name: str) -> Any:
        """Return the newest event of a name."""
        *_, fields = (fields for one, fields in self.events() if one == name)
        return fields

    def member(self, node_id: int) -> HonestMember:
        """Return a member with all that it should have."""
        _, _, _, node_ids, shards, _ = self.told("CommitteeSelected")
        _, _, salt, _ = self.told("EpochStarted")
        key = secret(node_id - 1).public_key
        own = tuple(shards[node_ids.index(node_id)])
        return HonestMember(CODE, blobs(), own, salt_of(self.epoch, node_id, key, bytes(salt)))

    def inventory(self) -> Inventory:
        return self.member(1).inventory

    def signed(self, intent: Intent, body: bytes, places: tuple[int, ...] = QUORUM) -> tuple[bytes, bytes]:
        """Return bitmap and signature of the members at these places."""
        message = messages.encode(intent, self.epoch, body, DOMAIN)
        signature = bls.aggregate([secret(place).sign(message) for place in places])
        return bytes([sum(1 << place for place in places)]), signature

    def begin(self, inventory: Inventory | None = None, *signed: bytes) -> None:
        shown = inventory or self.inventory()
        given = signed or self.signed(Intent.INVENTORY, shown.body())
        numbers = (shown.root, shown.count, shown.weight)
        self.call("proofs", "begin", self.proofs, self.system, *numbers, *given, self.clock)

    def commit(self, node_id: int, root: bytes | None = None, epoch: int | None = None) -> None:
        own = self.member(node_id)
        honest = root_of_hashes([own.shard_root(shard) for shard in own.shards])
        given = (self.caps[node_id - 1], epoch or self.epoch, root or honest, self.clock)
        self.call("proofs", "commit", self.proofs, self.system, self.registry, *given)

    def draw(self) -> bytes:
        self.call("proofs", "draw", self.proofs, self.system, self.random, self.clock)
        return bytes(self.told("Drawn")[1])

    def begin_and_draw(self, *node_ids: int) -> None:
        """Begin the round, have members commit, and draw."""
        self.begin()
        for node_id in node_ids:
            self.commit(node_id)
        self.time_s += COMMIT_S
        self.draw()

    def prove(self, node_id: int, *signed: bytes) -> None:
        drawn = bytes(self.told("Drawn")[1])
        given = signed or self.signed(Intent.PROOF, messages.proof_body(node_id, drawn))
        self.call("proofs", "prove", self.proofs, self.system, node_id, *given, self.clock)

    def position(self, node_id: int, place: int) -> Position:
        """Return what is drawn for a member at a place."""
        own, weight = self.member(node_id), self.inventory().weight
        drawn = bytes(self.told("Drawn")[1])
        count = draw.position_count(CODE, len(own.shards), weight)
        return draw.position_at(CODE, weight, draw.drawn_position(drawn, node_id, place, count))

    def opening(self, node_id: int, place: int) -> Opening:
        """Return what an honest member shows at a place."""
        return self.member(node_id).opening(self.position(node_id, place))

    def answer(self, node_id: int, place: int, opening: Opening | None = None) -> None:
        shown = in_move(self.transaction.call, opening or self.opening(node_id, place)).get()
        self.call("proofs", "answer", self.proofs, self.system, node_id, place, shown, self.clock)

    def judge(self, node_id: int) -> None:
        given = (self.system, self.staking, self.registry, node_id, self.clock)
        self.call("proofs", "judge", self.proofs, *given)

    def miss(self, *node_ids: int) -> None:
        """Let a round pass that these nodes miss, and judge them."""
        self.begin_and_draw()
        self.time_s += PROVE_S + ANSWER_S + 1
        for node_id in node_ids:
            self.judge(node_id)

    def next_period(self, *, is_paid: bool = True) -> None:
        """Begin the next period, with all nodes settled."""
        self.begin_period()
        if is_paid:
            self.pay_out()

    def pay_out(self) -> None:
        """Settle all nodes for the periods that are over."""
        given = (self.staking, self.system, self.registry, [1, 2, 3, 4], 2**32 - 1, self.clock)
        self.call("payments", "pay_out", self.blobs, *given)

    def staked(self, node_id: int) -> int:
        """Return what stands for the next period on a node."""
        (stake,) = self.call("staking", "stakes_on", self.staking, self.system, [node_id], self.clock)
        return int(stake)

    def earned(self, node_id: int) -> int:
        """Return the parts of the current period that a node has earned."""
        period = self.call("system", "period", self.system)
        return int(self.call("earnings", "of_node", self.system, period, node_id))

    def lack(self, shard: int) -> None:
        """Have a shard be neither kept nor attested."""
        term = self._term()
        for name in ("kept", "held"):
            words, size = term[name]
            assert words[0] >> shard & 1
            term.set(**{name: [[words[0] ^ 1 << shard, *words[1:]], size - 1]})

    def _term(self) -> Fields:
        terms = Fields("system", "State", self.state_of(self.system))["terms"]
        children = self.transaction.host.children.values()
        (entry,) = (
            one.place[0] for one in children if one.parent == terms[0][0][0] and one.place[0][1] == self.epoch
        )
        return Fields("term", "Term", entry[2])

    def names(self) -> list[str]:
        return [name for name, _ in self.events()]
