"""Epochs and periods in the Move package: as on the chain in memory, after random histories; and what events tell."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from committee import bls, messages
from committee.bls import SecretKey
from committee.messages import Intent
from tests.contracts.sui.committees import secret
from tests.contracts.sui.deployments import DOMAIN, OWNER, USUAL, Deployment
from tests.contracts.sui.double import Refused
from tests.contracts.sui.twins import Twins
from tests.localnet.sui_double.packages import needs_framework
from tests.memory_chain.epochs import kept_shards

pytestmark = needs_framework

LEAST = 1_000_000
MOST_NODES = 7


class History:
    """Random actions on both, drawn so that periods go on."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.twins = Twins(replace(USUAL, band_millis=self.draw.choice((0, 500)), shrink_s=6000))

    def run(self, n_actions: int) -> None:
        for _ in range(6):
            self.twins.join_network()
            self.twins.stake_on(len(self.twins.caps), self.draw.randrange(2 * LEAST, 4 * LEAST))
        actions = (
            *(self.step,) * 8,
            *(self.attest,) * 5,
            *(self.wait,) * 3,
            *(self.stake,) * 2,
            *(self.eject,) * 3,
            *(self.anything,) * 2,
            *(self.candidacy,) * 2,
        )
        for _ in range(n_actions):
            self.draw.choice(actions)()

    def node(self) -> int:
        return self.draw.choice(list(self.twins.caps))

    def step(self) -> None:
        """Do what comes next, if need be as soon as it can be done."""
        state, twins = self.twins.memory.state, self.twins
        if not state.handover_done:
            twins.time_s += self.draw.choice((1, USUAL.handover_deadline_s))
            twins.close_both()
        elif state.next is not None:
            due_s = (
                0 if state.next_is_replacement else state.regular_handover_done_s + USUAL.period_duration_s
            )
            twins.time_s = max(twins.time_s, due_s - self.draw.choice((0, 0, 1)))
            if not twins.start_both():
                twins.time_s += USUAL.notice_s
                twins.start_both()
        elif self.twins.memory.ejected_at_s and self.draw.random() < 0.7:
            twins.replace_both()
        else:
            if self.draw.random() < 0.6:
                self.return_all()
            half_s = state.regular_handover_done_s + USUAL.period_duration_s // 2
            twins.time_s = max(twins.time_s, half_s - self.draw.choice((0, 0, 0, 1)))
            twins.select_both()

    def wait(self) -> None:
        self.twins.time_s += self.draw.choice((1, 10, USUAL.notice_s, 200, 600))
        self.twins.memory = replace(self.twins.memory, time_s=self.twins.time_s)
        self.twins.compare()

    def anything(self) -> None:
        twins = self.twins
        self.draw.choice((twins.select_both, twins.start_both, twins.close_both, twins.replace_both))()

    def attest(self) -> None:
        """Attest some or all shards that a member gained; seldom others."""
        memory = self.twins.memory
        node_id = self.node()
        own = set() if memory.state.current is None else set(memory.state.current.shards_of(node_id))
        gained = sorted(own - kept_shards(memory.state) - memory.attestations.keys())
        shards = self.draw.sample(gained, self.draw.randint(0, len(gained)))
        if self.draw.random() < 0.3:
            shards.append(self.draw.choice([*own, self.draw.randrange(12)]))
        epoch = memory.state.epoch - (self.draw.random() < 0.1)
        self.twins.attest(node_id, max(0, epoch), shards)

    def stake(self) -> None:
        if not self.twins.memory.is_late:  # what comes then is young, which the chain in memory does not know
            self.twins.stake_on(self.node(), self.draw.randrange(LEAST, 5 * LEAST))

    def candidacy(self) -> None:
        if len(self.twins.caps) < MOST_NODES and self.draw.random() < 0.5:
            self.twins.join_network()
        else:
            self.draw.choice((self.twins.leave, self.twins.become, self.twins.become))(self.node())

    def return_all(self) -> None:
        """Have all nodes stand for election that may."""
        for node_id in self.twins.memory.nodes.keys() - set(self.twins.memory.candidates):
            self.twins.become(node_id)

    def eject(self) -> None:
        memory = self.twins.memory
        members = [] if memory.state.current is None else sorted(memory.state.current.by_id)
        node_id = self.node()
        if memory.ejected_at_s and self.draw.random() < 0.9:  # few at a time, so that they can be replaced
            node_id = self.draw.choice(list(memory.ejected_at_s))
        signers = [one for one in members if self.draw.random() < 0.93]
        deadline_s = self.twins.time_s + self.draw.choice((0, 0, 100, -1))
        self.twins.eject(node_id, deadline_s, signers)


REFUSALS = {
    "EAlreadyAttested",
    "EAlreadyCandidate",
    "EAlreadyEjected",
    "EAlreadySelected",
    "EBarred",
    "EEjectionTooLate",
    "EHandoverIsDone",
    "EHandoverNotDone",
    "ENotAMember",
    "ENotCandidate",
    "ENotEnoughStake",
    "ENotEnoughWeight",
    "ENotSelected",
    "ENotYourShard",
    "ENothingToReplace",
    "EShardIsKept",
    "ETooEarly",
    "ETooFewLeft",
    "EWrongEpoch",
}


def test_epochs_go_on_as_on_the_chain_in_memory_and_events_tell_all_of_them() -> None:
    refused: set[str] = set()
    replacements = periods = 0
    for seed in range(4):
        history = History(seed)
        history.run(150)
        state = history.twins.memory.state
        assert rebuilt(history.twins.events()) == kept(history.twins)
        refused |= history.twins.refused
        replacements += state.epoch - state.period
        periods += state.period
    assert refused == REFUSALS
    assert replacements > 4 and periods > 20


def kept(twins: Twins) -> dict[str, Any]:
    """Return what the system keeps of epochs, by names."""
    epoch = twins.timeline["epoch"]
    known = range(1, epoch + 1 + bool(twins.timeline["selection"][0]))
    terms = {one: twins.entry("terms", one, "Term", "term") for one in range(1, epoch + 1)}
    names = ("epoch", "period", "replacements", "started_at_s", "period_started_at_s", "handover_done")
    times = ("last_handover_done_s", "regular_handover_done_s", "stake", "selection")
    return {
        **{name: twins.timeline[name] for name in (*names, *times)},
        "committees": {one: twins.committee(one) for one in known},
        "held": {one: twins.held(one) for one in terms},
        "terms": {one: [term["started_at_s"], term["salt"], term["ejected"]] for one, term in terms.items()},
    }


def rebuilt(events: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the same by events alone."""
    told: dict[str, Any] = {
        **dict.fromkeys(
            ("epoch", "period", "replacements", "started_at_s", "period_started_at_s", "stake"), 0
        ),
        "handover_done": True,
        "selection": [[]],
        "committees": {},
        "held": {},
        "terms": {},
    }
    for name, fields in events:
        match name:
            case "SystemCreated":
                told["last_handover_done_s"] = told["regular_handover_done_s"] = fields[-1]
            case "CommitteeSelected":
                epoch, period, stake, node_ids, shards, at_s = fields
                told["committees"][epoch] = {
                    node_id: tuple(own) for node_id, own in zip(node_ids, shards, strict=True)
                }
                told["selection"] = [[[at_s, stake, period == told["period"]]]]
            case "SelectionDropped":
                del told["committees"][fields[0]]
                told["selection"] = [[]]
            case "EpochStarted":
                start_told(told, *fields)
            case "ShardsAttested":
                told["held"][fields[0]].update(fields[2])
            case "HandoverDone":
                told["handover_done"], told["last_handover_done_s"] = True, fields[2]
                if told["replacements"] == 0:
                    told["regular_handover_done_s"] = fields[2]
            case "MemberEjected":
                told["terms"][fields[0]][2].append(fields[1])
    return told


def start_told(told: dict[str, Any], epoch: int, period: int, salt: bytes, at_s: int) -> None:
    """Start an epoch that an event tells of."""
    is_replacement = period == told["period"]
    ((_, stake, _),) = told["selection"][0]
    told |= {
        "epoch": epoch,
        "period": period,
        "started_at_s": at_s,
        "handover_done": False,
        "selection": [[]],
    }
    told["replacements"] = told["replacements"] + 1 if is_replacement else 0
    if not is_replacement:
        told |= {"period_started_at_s": at_s, "stake": stake}
    before = told["committees"].get(epoch - 1)
    told["held"][epoch] = {
        shard
        for node_id, own in told["committees"][epoch].items()
        for shard in own
        if before is None or (shard in before.get(node_id, ()) and shard in told["held"][epoch - 1])
    }
    told["terms"][epoch] = [at_s, salt, []]


class Running(Deployment):
    """A deployment in its first epoch, with four members."""

    def __init__(self, opening: tuple[int, int, int] = (0, 0, 0), n_nodes: int = 4) -> None:
        super().__init__(opening=opening)
        self.caps = [self.add_node(place) for place in range(n_nodes)]
        for node_id in range(1, n_nodes + 1):
            self.stake(node_id, 3 * LEAST)

    def eject(self, node_id: int, signers: Sequence[SecretKey]) -> None:
        """Eject a member with a certificate by the first ones, which sign with these keys."""
        epoch, deadline_s = self.call("system", "epoch", self.system), self.time_s
        body = messages.eject_body(node_id, deadline_s)
        message = messages.encode(Intent.EJECT, epoch, body, DOMAIN)
        bitmap = bytes([(1 << len(signers)) - 1])
        signature = bls.aggregate([one.sign(message) for one in signers])
        given = (self.registry, node_id, 1, deadline_s, bitmap, signature, self.clock)
        self.call("epochs", "eject", self.system, *given)

    def salt(self) -> bytes:
        """Return the salt of the epoch that was started last."""
        *_, fields = (fields for name, fields in self.events() if name == "EpochStarted")
        return bytes(fields[2])


@pytest.mark.parametrize(
    ("opening", "error"),
    [((5, 0, 100), "ENotEnoughMembers"), ((0, 12 * LEAST + 1, 100), "ENotEnoughStake")],
)
def test_first_selection_waits_for_the_opening_or_its_time(opening: tuple[int, int, int], error: str) -> None:
    network = Running(opening)
    network.time_s += 99
    with pytest.raises(Refused, match=f"^{error}$"):
        network.select()
    network.time_s += 1
    network.select()


def test_first_selection_takes_place_once_the_opening_has_come() -> None:
    Running((4, 12 * LEAST, 100)).select()


def test_parameters_hold_from_the_start_of_a_period_on() -> None:
    network = Running()
    changed = network.parameters(replace(USUAL, patience_s=31))
    network.call("system", "set_parameters", network.system, network.governor, changed)
    network.select()
    assert network.call("system", "parameters", network.system) == network.parameters(USUAL)
    network.start_epoch()
    assert network.call("system", "parameters", network.system) == changed


def test_salts_of_epochs_are_all_different() -> None:
    salts = set()
    for _ in range(2):
        network = Running()
        network.begin_period()
        salts.add(network.salt())
        network.begin_period()
        salts.add(network.salt())
    assert {len(salt) for salt in salts} == {32}
    assert len(salts) > 1


def test_members_sign_with_the_keys_of_the_period() -> None:
    network, new = Running(), secret(50)
    network.begin_period()
    proof = bls.proof_of_possession(new, f"0x{OWNER.hex()}", DOMAIN)
    given = (network.registry, network.system, network.caps[0][0], new.public_key, proof, network.clock)
    network.call("registry", "change_public_key", *given)
    network.eject(4, [secret(place) for place in range(3)])
    network.begin_period()
    with pytest.raises(Refused, match=r"^EBadSignature$"):
        network.eject(3, [secret(place) for place in range(2)])
    network = Running()
    network.begin_period()
    network.call(
        "registry", "change_public_key", network.registry, network.system, network.caps[0][0], *given[3:]
    )
    network.begin_period()
    network.eject(4, [new, secret(1), secret(2)])


def test_guardian_pauses_ejections() -> None:
    network = Running()
    network.begin_period()
    network.call("system", "pause", network.system, network.guardian, 7, network.clock)
    given = (network.registry, 4, 1, network.time_s, b"", b"", network.clock)
    with pytest.raises(Refused, match=r"^EPaused$"):
        network.call("epochs", "eject", network.system, *given)


def test_operator_that_is_replaced_attests_nothing() -> None:
    network = Running()
    network.begin_period()
    owner_cap, operator_cap = network.caps[0]
    network.call("registry", "replace_operator", network.registry, owner_cap)
    given: tuple[Any, ...] = (network.registry, operator_cap, 1, [], [], [], network.clock)
    with pytest.raises(Refused, match=r"^ENotOperator$"):
        network.call("epochs", "attest", network.system, *given)


def test_attestation_has_a_root_and_a_count_for_each_shard() -> None:
    network = Running()
    network.begin_period()
    for roots, counts in (([], [7]), ([bytes(32)], [])):
        lists: tuple[Any, ...] = ([0], roots, counts)
        given = (network.registry, network.caps[0][1], 1, *lists, network.clock)
        with pytest.raises(Refused, match=r"^EUnequalLists$"):
            network.call("epochs", "attest", network.system, *given)


def test_shard_is_held_since_the_start_or_its_attestation() -> None:
    twins = Twins(USUAL)
    for node_id in range(1, 5):
        twins.join_network()
        twins.stake_on(node_id, 2 * LEAST)
    twins.begin_period()
    twins.stake(1, 8 * LEAST)
    twins.begin_period()
    gained = [shard for shard in twins.committee(2)[1] if shard not in twins.committee(1)[1]]
    started_s = twins.timeline["started_at_s"]
    assert len(gained) > 1
    twins.time_s += 7
    given = (twins.registry, twins.caps[1], 2, gained[:1], [bytes([9]) * 32], [5], twins.clock)
    twins.call("epochs", "attest", twins.system, *given)
    for shard, expected in (
        (twins.committee(2)[1][0], [started_s, [[]]]),
        (gained[0], [twins.time_s, [[bytes([9]) * 32]]]),
        (gained[1], [0, [[]]]),
    ):
        assert twins.call("epochs", "held_since", twins.system, shard) == expected
