"""A deployment of the Move package in the Sui double, all of whose transactions are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import pytest
from eth_utils.crypto import keccak

from committee import bls
from committee.ledger import Parameters
from committee.terms import Terms
from localnet.sui_double.chain import CLOCK_ID
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.randomness import RANDOM_ID
from tests.contracts.sui.committees import secret
from tests.contracts.sui.double import PACKAGE, Refused, Transaction
from tests.contracts.sui.fields import Fields

CHAIN = bytes([5]) * 32
DOMAIN = keccak(CHAIN + PACKAGE)
OWNER, STRANGER = bytes([1]) * 32, bytes([2]) * 32
BEGIN_S = 1_000_000
"""When everything is deployed."""
USUAL = Parameters(10, 1000, 100, 30, 500, DOMAIN, certificate_grace_s=20, notice_s=50, shrink_s=26_000)
NO_OPENING = (0, 0, 0)
TERMS = Terms(price_per_mib_period=5, write_price_per_mib=2, capacity_bytes=100 << 20)
WINDOWS = (60, 50, 50, 40)
"""Of storage proofs: to commit, to prove, to answer; and to answer a demand."""
BOND = 1000
EVIDENCE_S = 500
SUPPLY = 10**18
HAUL = Datatype(ModuleId(PACKAGE, "haul"), "HAUL")


class Deployment:
    """The shared objects of a deployment, and a clock; calls that name no sender are `OWNER`'s."""

    def __init__(
        self,
        parameters: Parameters = USUAL,
        opening: tuple[int, int, int] = NO_OPENING,
        windows: tuple[int, int, int, int] = WINDOWS,
        bond: int = BOND,
    ) -> None:
        self.transaction = Transaction()
        self.time_s = BEGIN_S
        self.call("deployment", "init")
        self.call("haul", "init", [False])
        self.founder, self.treasury = (self.output(name) for name in ("Founder", "TreasuryCap"))
        self.purse = Ref([self.coins("mint", self.treasury, SUPPLY)], 0)
        self.governor, self.guardian = self.call(
            "deployment",
            "create",
            self.founder,
            self.treasury,
            CHAIN,
            parameters.n_shards,
            self.parameters(parameters),
            self.call("parameters", "new_opening", *opening),
            self.terms(TERMS),
            self.call("proofs", "new_windows", *windows),
            bond,
            EVIDENCE_S,
            self.clock,
        )
        self.transaction.host.note_new_id(RANDOM_ID)
        self.transaction.call("random", "create", package=SUI)
        self.random = self.output("Random")
        names = ("System", "Registry", "Staking", "Blobs", "Ballot", "Proofs")
        self.system, self.registry, self.staking, self.blobs, self.ballot, self.proofs = (
            Ref([self.output(name)], 0) for name in names
        )

    def call(self, module: str, name: str, *arguments: Value, sender: bytes = OWNER) -> Any:
        """Call a function of the package."""
        return self.transaction.call(module, name, *arguments, sender=sender)

    def parameters(self, given: Parameters) -> Value:
        """Return parameters as the package has them."""
        return self.call(
            "parameters",
            "new",
            given.period_duration_s,
            given.handover_deadline_s,
            given.patience_s,
            given.certificate_grace_s,
            given.notice_s,
            given.shrink_s,
            given.band_millis,
        )

    def terms(self, given: Terms) -> Value:
        """Return terms as the package has them."""
        amounts = (given.price_per_mib_period, given.write_price_per_mib, given.capacity_bytes)
        return self.call("terms", "new", *amounts)

    @property
    def clock(self) -> Value:
        """Sui's clock, which shows `time_s` and a part of the next second."""
        return [[[CLOCK_ID]], 1000 * self.time_s + 999]

    def output(self, name: str) -> Value:
        """Return the only object of a type that was given an owner."""
        (value,) = (one.value for one in self.transaction.host.outputs.values() if one.type.name == name)
        return value

    def coins(self, name: str, *arguments: Value) -> Any:
        """Call a function of Sui's coins, of ours."""
        return self.transaction.call("coin", name, *arguments, package=SUI, types=(HAUL,))

    def coin(self, amount: int) -> Value:
        """Return a coin with an amount of the token."""
        return self.coins("split", self.purse, amount)

    def state_of(self, shared: Ref) -> Any:
        """Return the state of a shared object: the value of its dynamic field."""
        parent = shared.get()[0][0][0]
        (child,) = (one for one in self.transaction.host.children.values() if one.parent == parent)
        return child.place[0][2]

    @contextmanager
    def refuses(self, error: str) -> Iterator[None]:
        """Expect that what is inside is refused with this error; undo it, as a transaction of its own would be."""
        host, purse = self.transaction.host, deepcopy(self.purse.get())
        outputs, children = deepcopy(host.outputs), deepcopy(host.children)
        others = {name: copy(getattr(host, name)) for name in ("taken", "created", "deleted", "events")}
        with pytest.raises(Refused, match=f"^{error}$"):
            yield
        host.outputs, host.children = outputs, children
        for name, value in others.items():
            setattr(host, name, value)
        self.purse.get()[:] = purse

    def newest(self, name: str) -> Ref:
        """Return the object of a type that was given to an account, or shared, last."""
        *_, value = (one.value for one in self.transaction.host.outputs.values() if one.type.name == name)
        return Ref([value], 0)

    def select(self) -> None:
        """Select the next period's committee."""
        self.call("epochs", "select", self.system, self.registry, self.staking, self.clock)

    def start_epoch(self) -> None:
        """Start the selected epoch."""
        self.call("epochs", "start", self.system, self.random, self.clock)

    def begin_period(self) -> None:
        """Select and start the next period's committee as soon as it can be; its handover is closed at once."""
        timeline = Fields("timeline", "Timeline", self.state_of(self.system)[6])
        self.time_s = max(self.time_s, timeline["regular_handover_done_s"] + USUAL.period_duration_s)
        self.select()
        self.time_s += USUAL.notice_s
        self.start_epoch()
        if not timeline["handover_done"]:
            self.time_s += USUAL.handover_deadline_s
            self.call("epochs", "close", self.system, self.clock)

    def add_node(self, place: int) -> tuple[Value, Value]:
        """Register a node with a key of its own; return the owner's and the operator's capability."""
        key = secret(place)
        owner_cap, operator_cap = self.call(
            *("registry", "register", self.registry, self.system),
            *(text(f"n{place}"), text(f"http://n{place}.example"), bytes(32), key.public_key),
            *(bls.proof_of_possession(key, f"0x{OWNER.hex()}", DOMAIN), 1000, OWNER, self.clock),
        )
        return owner_cap, operator_cap

    def begin_with(self, amounts: Sequence[int]) -> list[Value]:
        """Begin the first period with a node for each amount, staked with it; return the operators' capabilities."""
        caps = [self.add_node(place)[1] for place in range(len(amounts))]
        for node_id, amount in enumerate(amounts, 1):
            self.stake(node_id, amount)
        self.begin_period()
        return caps

    def stake(self, node_id: int, amount: int) -> Ref:
        """Stake on a node; return the stake."""
        given = (self.staking, self.system, self.registry, node_id, self.coin(amount), self.clock)
        return Ref([self.call("staking", "stake", *given)], 0)

    def events(self) -> list[tuple[str, Any]]:
        """Return the events so far: name and fields."""
        codec = self.transaction.codec
        return [(one.type.name, codec.decode(one.type, one.contents)) for one in self.transaction.host.events]


def text(content: str) -> Value:
    """Return a string as the package has it."""
    return [bytearray(content.encode())]


def id_of(thing: Value) -> Any:
    """Return the id of an object."""
    return thing[0][0]
