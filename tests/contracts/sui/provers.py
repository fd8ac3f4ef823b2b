"""A network of the Move package whose members prove what they store, and the chain in memory, which does the same."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from committee import bls, certificate, messages
from committee.certificate import Certificate
from committee.ledger import Attestation, BlockMark
from committee.ledger.proofs import ProofTerms
from committee.messages import Intent
from committee.opening import NOTHING_OPENED, Opening
from localnet.sui_double.move.values import Value
from storage.proofs import Position, salt_of
from storage.proofs.draw import drawn_position, position_at, position_count
from storage.proofs.opening import blob_id_of
from storage.redstuff.merkle import root_of_hashes
from tests.contracts.sui.committees import secret
from tests.contracts.sui.deployments import BOND, USUAL, WINDOWS
from tests.contracts.sui.fields import Fields
from tests.contracts.sui.openings import in_move
from tests.contracts.sui.rounds import CODE, blobs
from tests.contracts.sui.twins import Twins
from tests.memory_chain import blobs as blob_rules
from tests.memory_chain import epochs
from tests.memory_chain import proofs as rules
from tests.memory_chain.contracts import Contracts, Outcome, Part
from tests.storage.proofs.members import HonestMember
from tests.storage.proofs.mutations import MUTATIONS

N_NODES = 5
UNIT = 10**8
PLACES = range(16)
ASKERS = [bytes([0x60 + place]) * 32 for place in range(3)]
DRAWN = bytes([1]) * 32
"""What memory draws until it is told what the package drew."""


class Provers(Twins):
    """A network whose members have real slivers, and the chain in memory."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(USUAL)
        self.draw = draw
        self.memory = replace(self.memory, proof_terms=ProofTerms(BOND, *WINDOWS))
        for node_id in range(1, N_NODES + 1):
            self.join_network()
            self.stake_on(node_id, draw.randint(1, 4) * UNIT)
        self.next_epoch()

    def told(self, name: str) -> Any:
        *_, fields = (fields for one, fields in self.events() if one == name)
        return fields

    @property
    def epoch(self) -> int:
        return self.memory.state.epoch

    def next_epoch(self) -> None:
        """Start the next period, or a replacement if members were ejected, as soon as can be; settle all nodes."""
        if not self.memory.state.handover_done:
            self.time_s += USUAL.handover_deadline_s
            self.close_both()
        if not (self.memory.ejected_at_s and self.replace_both()):
            self.time_s = max(
                self.time_s, self.memory.state.regular_handover_done_s + USUAL.period_duration_s
            )
            self.select_both()
        self.time_s += USUAL.notice_s
        assert self.start_both()
        self.memory = self.memory.changed(salt_seed=bytes(self.told("EpochStarted")[2]))
        for node_id in self.memory.nodes.keys() - set(self.memory.candidates):
            self.become(node_id)
        given = (self.staking, self.system, self.registry, list(self.memory.nodes), 2**32 - 1, self.clock)
        self.call("payments", "pay_out", self.blobs, *given)

    def member(self, node_id: int) -> HonestMember:
        """Return a member with all that it should have; a node that is none, with another's shard."""
        current, salt_seed = self.memory.state.current, self.memory.state.salt_seed
        assert current is not None and salt_seed is not None
        shards = current.shards_of(node_id) or (0,)
        key = secret(node_id - 1).public_key
        return HonestMember(CODE, blobs(), tuple(shards), salt_of(self.epoch, node_id, key, salt_seed))

    def certificate(self, intent: Intent, body: bytes) -> Certificate:
        """Return a certificate by most members, which usually are enough."""
        current = self.memory.state.current
        assert current is not None
        signers = [node_id for node_id in current.by_id if self.draw.random() < 0.85]
        message = messages.encode(intent, self.epoch, body, self.memory.parameters.domain)
        signature = bls.aggregate([secret(node_id - 1).sign(message) for node_id in signers or [1]])
        return Certificate(self.epoch, message, certificate.bitmap_of(frozenset(signers), current), signature)

    def begin(self) -> bool:
        inventory = self.member(1).inventory
        count = self.draw.choice((inventory.count, inventory.count, 0))
        given = self.certificate(Intent.INVENTORY, inventory.body())
        numbers = (inventory.root, count, inventory.weight)
        proven = (given.bitmap, given.signature, self.clock)
        return self.both(
            lambda now: rules.begin(now, *numbers, given),
            lambda: self.call("proofs", "begin", self.proofs, self.system, *numbers, *proven),
        )

    def commit(self, node_id: int) -> bool:
        own = self.member(node_id)
        lacking = [shard not in self.memory.held for shard in own.shards]
        roots = [
            bytes(32) if lacks else own.shard_root(shard)
            for shard, lacks in zip(own.shards, lacking, strict=True)
        ]
        root = root_of_hashes(roots) if self.draw.random() < 0.9 else self.draw.randbytes(32)
        given = (self.registry, self.caps[node_id], self.epoch, root, self.clock)
        return self.both(
            lambda now: rules.commit(now, f"n{node_id - 1}", self.epoch, root),
            lambda: self.call("proofs", "commit", self.proofs, self.system, *given),
        )

    def draw_positions(self) -> bool:
        def rule(now: Contracts) -> Outcome:
            if self.epoch in now.rounds and not now.rounds[self.epoch].answer_by_s:
                pending = replace(now.rounds[self.epoch], draw_block=1)
                now = replace(now, rounds={**now.rounds, self.epoch: pending})
            block = BlockMark(2, bytes(32))
            then, told = rules.draw(now.changed(block=block), lambda _: DRAWN)
            return then.changed(block=now.state.block), told

        is_drawn = self.both(
            rule, lambda: self.call("proofs", "draw", self.proofs, self.system, self.random, self.clock)
        )
        if is_drawn:
            drawn = replace(self.memory.rounds[self.epoch], draw=bytes(self.told("Drawn")[1]))
            self.memory = replace(self.memory, rounds={**self.memory.rounds, self.epoch: drawn})
        return is_drawn

    def prove(self, node_id: int) -> bool:
        round_ = self.memory.rounds.get(self.epoch)
        drawn = DRAWN if round_ is None or round_.draw is None else round_.draw
        given = self.certificate(Intent.PROOF, messages.proof_body(node_id, drawn))
        proven = (given.bitmap, given.signature, self.clock)
        return self.both(
            lambda now: rules.prove(now, node_id, given),
            lambda: self.call("proofs", "prove", self.proofs, self.system, node_id, *proven),
        )

    def shown(self, node_id: int, position: Position) -> Opening:
        """Return what is shown of a position: an honest opening, one that is changed, or nothing."""
        own = self.member(node_id)
        opening = own.opening(position)
        if self.draw.random() < 0.1:
            name = self.draw.choice(self.draw.choice(BY_RULE))
            if opening.index or name != "another index":
                return MUTATIONS[name][0](opening)
        if self.draw.random() < 0.1:
            return NOTHING_OPENED
        if blob_id_of(opening) in self.memory.invalid and self.draw.random() < 0.8:
            return replace(opening, symbol=b"", blob_root=blob_id_of(opening))
        return opening

    def answer(self, node_id: int, place: int) -> bool:
        own, round_ = self.member(node_id), self.memory.rounds.get(self.epoch)
        drawn = DRAWN if round_ is None or round_.draw is None else round_.draw
        weight = own.inventory.weight
        count = position_count(CODE, len(own.shards), weight)
        opening = self.shown(node_id, position_at(CODE, weight, drawn_position(drawn, node_id, place, count)))
        given = (node_id, place, self.opened(opening), self.clock)
        return self.both(
            lambda now: rules.answer(now, node_id, {place: opening}),
            lambda: self.call("proofs", "answer", self.proofs, self.system, *given),
        )

    def opened(self, opening: Opening) -> Value:
        return in_move(self.transaction.call, opening).get()

    def judge(self, node_id: int) -> bool:
        given = (self.system, self.staking, self.registry, node_id, self.clock)
        return self.both(
            lambda now: rules.judge_member(now, node_id),
            lambda: self.call("proofs", "judge", self.proofs, *given),
        )

    def demand(self, node_id: int, asker: bytes) -> bool:
        own = self.member(node_id)
        end = position_count(CODE, len(own.shards), own.inventory.weight)
        position = self.draw.choice((self.draw.randrange(end), self.draw.randrange(end), end))
        given = (node_id, position, self.purse, self.clock)
        return self.both(
            lambda now: rules.demand(now, asker.hex(), node_id, position),
            lambda: self.call("demands", "demand", self.proofs, self.system, *given, sender=asker),
        )

    def answer_demand(self, node_id: int, asker: bytes) -> bool:
        own, asked = self.member(node_id), self.memory.demands.get((self.epoch, node_id, asker.hex()))
        number = asked.demand.position if asked else 0
        position = position_at(CODE, own.inventory.weight, number)
        opening = self.shown(node_id, position)
        if self.draw.random() < 0.5:
            opening = replace(opening, commitment_path=opening.commitment_path[:LATE_DEPTH])
        given = (self.registry, node_id, asker, self.opened(opening), self.clock)
        return self.both(
            lambda now: rules.answer_demand(now, node_id, asker.hex(), opening),
            lambda: self.call("demands", "answer", self.proofs, self.system, *given),
        )

    def judge_demand(self, node_id: int, asker: bytes) -> bool:
        given = (self.system, self.staking, self.registry, node_id, asker, self.clock)
        return self.both(
            lambda now: rules.judge_demand(now, node_id, asker.hex()),
            lambda: self.call("demands", "judge", self.proofs, *given),
        )

    def reclaim(self, epoch: int, node_id: int, asker: bytes) -> bool:
        given = (self.system, epoch, node_id, asker)
        return self.both(
            lambda now: rules.reclaim(now, epoch, node_id, asker.hex()),
            lambda: self.call("demands", "reclaim", self.proofs, *given),
        )

    def attest_some(self, node_id: int) -> bool:
        """Attest what a member gained, usually with the root that it has."""
        own = self.member(node_id)
        gained = [shard for shard in own.shards if shard not in self.memory.held]
        roots = [own.shard_root(shard) if self.draw.random() < 0.8 else DRAWN for shard in gained]
        attestations = [Attestation(*one, len(blobs())) for one in zip(gained, roots, strict=True)]
        counts = [len(blobs())] * len(gained)
        given = (self.registry, self.caps[node_id], self.epoch, gained, roots, counts, self.clock)
        return self.both(
            lambda now: epochs.attest(now, f"n{node_id - 1}", self.epoch, attestations),
            lambda: self.call("epochs", "attest", self.system, *given),
        )

    def invalidate(self) -> bool:
        blob_id = bytes(self.draw.choice(blobs()).blob_id)
        given = self.certificate(Intent.INVALID_BLOB, messages.invalid_blob_body(blob_id))
        on_chain = int.from_bytes(blob_id, "little")
        proven = (self.epoch, given.bitmap, given.signature, self.clock)
        return self.both(
            lambda now: blob_rules.invalidate(now, blob_id, given),
            lambda: self.call("blob", "invalidate", self.system, on_chain, *proven),
        )

    def compare(self) -> None:
        super().compare()
        if self.epoch:
            assert self.kept_parts() == {
                key: part for key, part in self.memory.parts.items() if part != Part()
            }
            assert self.kept_demands() == {
                (epoch, node_id, asker): (one.demand.position, one.demand.answer_by_s)
                for (epoch, node_id, asker), one in self.memory.demands.items()
            }
            state = self.proofs_state
            assert self.table(state["misses"]) == dict(self.memory.misses)
            assert self.table(state["punished"]) == dict(self.memory.punished_shards)
            assert state["bonds"] == [BOND * len(self.memory.demands)]

    @property
    def proofs_state(self) -> Fields:
        return Fields("proofs", "State", self.state_of(self.proofs))

    def table(self, table: Value) -> dict[Any, Any]:
        """Return the entries of a table that the package keeps."""
        children = self.transaction.host.children.values()
        parent = table[0][0][0]
        entries = [one.place[0] for one in children if one.parent == parent and one.place]
        return {entry[1] if isinstance(entry[1], int) else tuple(entry[1]): entry[2] for entry in entries}

    def kept_parts(self) -> dict[tuple[int, int], Part]:
        """Return the parts that the package keeps, as the chain in memory does, but for those without content."""
        found = {}
        for epoch, value in self.table(self.proofs_state["rounds"]).items():
            for node_id, kept in self.table(Fields("round", "Round", value)["parts"]).items():
                part = Fields("round", "Part", kept)
                found[epoch, node_id] = Part(
                    commitment=bytes(part["commitment"]),
                    answered=frozenset(place for place in PLACES if part["answered"] >> place & 1),
                    **{
                        name: part[name]
                        for name in ("has_shown", "is_proven", "is_missed", "is_punished", "open_demands")
                    },
                )
        return {key: part for key, part in found.items() if part != Part()}

    def kept_demands(self) -> dict[tuple[int, int, str], tuple[int, int]]:
        found = {}
        for epoch, value in self.table(self.proofs_state["rounds"]).items():
            for (node_id, asker), kept in self.table(Fields("round", "Round", value)["demands"]).items():
                demand = Fields("round", "Demand", kept)
                found[epoch, node_id, bytes(asker).hex()] = (demand["position"], demand["answer_by_s"])
        return found


UNFIT = {"a negative index", "a length that no blob has"}
"""Numbers that no opening on chain can have, or whose refusal has a name of its own there."""
BY_RULE = [
    [name for name, (_, broken) in MUTATIONS.items() if broken is rule and name not in UNFIT]
    for rule in dict.fromkeys(broken for _, broken in MUTATIONS.values())
]
"""The mutations, in a list for each rule that they break."""
LATE_DEPTH = 4 + 3
"""Of a path to a shard's root, with 11 symbols in a pair and 5 blobs."""
