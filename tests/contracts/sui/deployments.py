"""A deployment of the Move package in the Sui double, all of whose transactions are one."""

from __future__ import annotations

from typing import Any

from eth_utils.crypto import keccak

from committee.ledger import Parameters
from localnet.sui_double.chain import CLOCK_ID
from localnet.sui_double.move.values import Ref, Value
from tests.contracts.sui.double import PACKAGE, Transaction

CHAIN = bytes([5]) * 32
DOMAIN = keccak(CHAIN + PACKAGE)
OWNER, STRANGER = bytes([1]) * 32, bytes([2]) * 32
BEGIN_S = 1_000_000
"""When everything is deployed."""
USUAL = Parameters(10, 1000, 100, 30, 500, DOMAIN, certificate_grace_s=20, notice_s=50, shrink_s=26_000)
NO_OPENING = (0, 0, 0)


class Deployment:
    """The shared objects of a deployment, and a clock; whoever is not named sends as `OWNER`."""

    def __init__(self, parameters: Parameters = USUAL, opening: tuple[int, int, int] = NO_OPENING) -> None:
        self.transaction = Transaction()
        self.time_s = BEGIN_S
        self.call("deployment", "init")
        (self.founder,) = (one.value for one in self.transaction.host.outputs.values())
        self.governor, self.guardian = self.call(
            "deployment",
            "create",
            self.founder,
            CHAIN,
            parameters.n_shards,
            self.parameters(parameters),
            self.call("parameters", "new_opening", *opening),
            self.clock,
        )
        self.system, self.registry = (self.shared(name) for name in ("System", "Registry"))

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

    @property
    def clock(self) -> Value:
        """Sui's clock, which shows `time_s` and a part of the next second."""
        return [[[CLOCK_ID]], 1000 * self.time_s + 999]

    def shared(self, name: str) -> Ref:
        """Return the only shared object of a type."""
        (value,) = (one.value for one in self.transaction.host.outputs.values() if one.type.name == name)
        return Ref([value], 0)

    def state_of(self, shared: Ref) -> Any:
        """Return the state of a shared object: the value of its dynamic field."""
        parent = shared.get()[0][0][0]
        (child,) = (one for one in self.transaction.host.children.values() if one.parent == parent)
        return child.place[0][2]

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
