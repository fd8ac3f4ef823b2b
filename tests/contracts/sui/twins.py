"""A deployment of the Move package and the chain in memory, which do the same at the same times."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

from committee import bls, certificate, messages
from committee.certificate import Certificate
from committee.ledger import Attestation, BlockMark, Parameters
from committee.membership import Committee
from committee.messages import Intent
from localnet.sui_double.host import Child
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import Datatype, ModuleId, Scalar
from localnet.sui_double.move.values import Value
from tests.contracts.sui.committees import secret
from tests.contracts.sui.deployments import BEGIN_S, Deployment
from tests.contracts.sui.double import PACKAGE, Refused
from tests.contracts.sui.fields import Fields
from tests.memory_chain import epochs, registry
from tests.memory_chain.contracts import Contracts, Outcome, Revert, usual_proof_terms

Rule = Callable[[Contracts], Outcome]


class Twins(Deployment):
    """The two. A node has the id and the key of its place and 1, and is operated by the account of its name."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        terms = usual_proof_terms(parameters.period_duration_s)
        self.memory = Contracts.deployed(parameters, BlockMark(1, bytes(32)), BEGIN_S, terms)
        self.caps: dict[int, Value] = {}
        self.refused: set[str] = set()
        """The reasons that both have given."""

    def both(self, rule: Rule, act: Callable[[], object]) -> bool:
        """Do the same on both, and compare; return whether they took it."""
        try:
            then, expected = rule(replace(self.memory, time_s=self.time_s))[0], ""
        except Revert as revert:
            then, expected = replace(self.memory, time_s=self.time_s), f"E{revert.reason}"
        host = self.transaction.host
        kept, n_events = self._copied_children() if expected else {}, len(host.events)
        found = ""
        try:
            act()
        except Refused as refused:
            found = str(refused)
            host.children = kept
            del host.events[n_events:]
        assert found == expected
        self.memory = then
        self.refused |= {expected} - {""}
        self.compare()
        return not expected

    def _copied_children(self) -> dict[bytes, Child]:
        """Return a copy of all dynamic fields, which a refused transaction leaves as they were."""
        children = self.transaction.host.children
        return {id_: replace(child, place=copy.deepcopy(child.place)) for id_, child in children.items()}

    def join_network(self) -> None:
        """Register a node."""
        place = len(self.caps)

        def rule(now: Contracts) -> Outcome:
            return registry.register_node(
                now, f"n{place}", f"n{place}", f"http://n{place}.example", secret(place).public_key, None
            )

        def act() -> None:
            _, self.caps[place + 1] = self.add_node(place)

        self.both(rule, act)

    def stake_on(self, node_id: int, amount: int) -> None:
        self.both(
            lambda now: registry.stake(now, node_id, amount),
            lambda: super(Twins, self).stake(node_id, amount),
        )

    def leave(self, node_id: int) -> None:
        self.both(
            lambda now: registry.leave(now, f"n{node_id - 1}", node_id),
            lambda: self.call("candidates", "leave", self.registry, self.caps[node_id]),
        )

    def become(self, node_id: int) -> None:
        given = (self.registry, self.system, self.staking, self.caps[node_id], self.clock)
        self.both(
            lambda now: registry.become_candidate(now, f"n{node_id - 1}", node_id),
            lambda: self.call("candidates", "become", *given),
        )

    def select_both(self) -> bool:
        return self.both(epochs.select, self.select)

    def start_both(self) -> bool:
        return self.both(epochs.start, self.start_epoch)

    def replace_both(self) -> bool:
        return self.both(
            epochs.replace_ejected, lambda: self.call("epochs", "replace", self.system, self.clock)
        )

    def close_both(self) -> bool:
        return self.both(epochs.close, lambda: self.call("epochs", "close", self.system, self.clock))

    def attest(self, node_id: int, epoch: int, shards: Sequence[int]) -> bool:
        digests = [bytes([shard % 256]) * 32 for shard in shards]
        attestations = [Attestation(*one, 7) for one in zip(shards, digests, strict=True)]
        given = (self.registry, self.caps[node_id], epoch, list(shards), digests, [7] * len(shards))
        return self.both(
            lambda now: epochs.attest(now, f"n{node_id - 1}", epoch, attestations),
            lambda: self.call("epochs", "attest", self.system, *given, self.clock),
        )

    def eject(self, node_id: int, deadline_s: int, signers: Sequence[int], reason: int = 1) -> bool:
        """Eject a node with a certificate by some members of the committee in office."""
        current = self.memory.state.current
        epoch = self.memory.state.epoch
        message = messages.encode(
            Intent.EJECT,
            epoch,
            messages.eject_body(node_id, deadline_s, reason),
            self.memory.parameters.domain,
        )
        bitmap = b"" if current is None else certificate.bitmap_of(frozenset(signers), current)
        signature = bls.aggregate([secret(one - 1).sign(message) for one in signers]) if signers else b""
        given = Certificate(epoch, message, bitmap, signature)
        arguments = (self.registry, node_id, reason, deadline_s, bitmap, signature, self.clock)
        return self.both(
            lambda now: epochs.eject(now, node_id, reason, deadline_s, given),
            lambda: self.call("epochs", "eject", self.system, *arguments),
        )

    @property
    def kept(self) -> Fields:
        """What the system keeps."""
        return Fields("system", "State", self.state_of(self.system))

    @property
    def timeline(self) -> Fields:
        return Fields("timeline", "Timeline", self.kept["timeline"])

    def entry(self, table: str, key: int, value: str, module: str) -> Fields:
        """Return an entry of one of the system's tables."""
        types = (Scalar.U32, Datatype(ModuleId(PACKAGE, module), value))
        found = self.transaction.call("table", "borrow", self.kept[table], key, package=SUI, types=types)
        return Fields(module, value, found.get())

    def committee(self, epoch: int) -> dict[int, tuple[int, ...]]:
        """Return the members of an epoch's committee, and their shards."""
        members = self.entry("committees", epoch, "Committee", "committee")["members"]
        return {node_id: tuple(shards) for node_id, _, shards in members}

    def held(self, epoch: int) -> set[int]:
        """Return the shards that are kept or attested in an epoch."""
        words, size = self.entry("terms", epoch, "Term", "term")["held"]
        held = {
            256 * place + bit for place, word in enumerate(words) for bit in range(256) if word >> bit & 1
        }
        assert len(held) == size
        return held

    def compare(self) -> None:
        """Compare all that the two keep of epochs and candidates."""
        state, timeline = self.memory.state, self.timeline
        for name, expected in (
            ("epoch", state.epoch),
            ("period", state.period),
            ("replacements", state.epoch - state.first_epoch),
            ("started_at_s", state.started_at_s),
            ("handover_done", state.handover_done),
            ("last_handover_done_s", state.last_handover_done_s),
            ("regular_handover_done_s", state.regular_handover_done_s),
            ("stake", self.memory.elected_stake),
        ):
            assert timeline[name] == expected, name
        (selection,) = timeline["selection"]
        if state.next is None:
            assert selection == []
        else:
            assert selection == [[state.selected_at_s, self.memory.selected_stake, state.next_is_replacement]]
            assert self.committee(state.epoch + 1) == state.next.holdings
        if state.epoch:
            self._compare_epoch(state.epoch, state.current)
        assert list(self.call("registry", "candidates", self.registry)) == list(self.memory.candidates)
        if self.memory.is_stalled:
            return  # then stake behind a selection does not count, which the chain in memory does not know
        node_ids = sorted(self.memory.nodes)
        stakes = self.call("staking", "stakes_on", self.staking, self.system, node_ids, self.clock)
        assert list(stakes) == [self.memory.nodes[node_id].stake for node_id in node_ids]

    def _compare_epoch(self, epoch: int, committee: Committee | None) -> None:
        assert committee is not None
        assert self.committee(epoch) == committee.holdings
        assert self.held(epoch) == self.memory.held
        ejected = self.entry("terms", epoch, "Term", "term")["ejected"]
        assert ejected == list(self.memory.ejected_at_s)
        for judged in range(max(0, epoch - 2), epoch + 2):
            accepts = self.call("system", "accepts", self.system, judged, self.clock)
            assert accepts == self.memory.accepts(judged)
        for name, expected in (("is_late", self.memory.is_late), ("is_stalled", self.memory.is_stalled)):
            assert self.call("system", name, self.system, self.clock) == expected, name
        if self.memory.state.handover_done:
            needed = self.call("system", "needed", self.system, self.time_s)
            assert needed == [epochs.stake_needed(self.memory), 0]
